"""WebSocket frames that no client would send, on correctly opened connections."""

import socket
import struct
import threading
import time
import zlib

import pytest

from conftest import health_check, message
from fanfare import token
from wire import close_code, connect as dial, frame, upgrade_request, upgraded

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def code(number):
    return struct.pack("!H", number)


PROTOCOL_ERRORS = {
    "unmasked": (frame(TEXT, b"hi", mask=None), 1002),
    "RSV1 without compression": (frame(TEXT, b"hi", rsv=4), 1002),
    "RSV2": (frame(TEXT, b"hi", rsv=2), 1002),
    "RSV3": (frame(TEXT, b"hi", rsv=1), 1002),
    "reserved data opcode": (frame(3, b"hi"), 1002),
    "reserved control opcode": (frame(11, b"hi"), 1002),
    "a ping in fragments": (frame(PING, b"hi", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"hi"), 1002),
    "a message inside a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "a length with the top bit": (b"\x81\xff" + b"\xff" * 8, 1002),
    "bad UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "a cut UTF-8 sequence": (frame(TEXT, b"\xe2\x82"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "bad UTF-8 before the message is complete": (frame(TEXT, b"\xff", fin=False), 1007),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close code 999": (frame(CLOSE, code(999)), 1002),
    "close code 1005": (frame(CLOSE, code(1005)), 1002),
    "close code 5000": (frame(CLOSE, code(5000)), 1002),
    "a close reason of bad UTF-8": (frame(CLOSE, code(1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize("sent, expected", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS)
def test_protocol_errors_close_with_their_code(server, healthy, sent, expected):
    peer = upgraded(server.port, token("odd"))
    peer.sendall(sent)
    assert close_code(peer) == expected
    healthy()


@pytest.mark.parametrize("announced", [513, 65_536, 1 << 30, 1 << 40, (1 << 63) - 1])
def test_a_frame_is_refused_by_its_header(server, healthy, announced):
    """The server neither waits nor takes memory for a payload that is too long."""
    before, peer = server.memory(), upgraded(server.port, token("big"))
    peer.sendall(frame(TEXT, b"", length=announced))
    assert close_code(peer) == 1009
    assert server.memory() - before < 16 << 20
    healthy()


def test_endless_empty_fragments_take_no_memory(server, healthy):
    before, peer = server.memory(), upgraded(server.port, token("fragments"))
    peer.sendall(frame(TEXT, b"", fin=False))
    burst = frame(CONTINUATION, b"", fin=False) * 1000
    try:
        for _ in range(200):
            peer.sendall(burst)
    except OSError:
        pass  # the server gave up, which is one valid reaction
    assert server.memory() - before < 16 << 20
    healthy_apart_from(peer, healthy)


def test_a_flood_of_pings_with_unread_pongs_takes_no_memory(server, healthy):
    before, peer = server.memory(), upgraded(server.port, token("pings"))
    peer.settimeout(2)
    burst = frame(PING, b"x" * 125) * 500
    try:
        for _ in range(400):
            peer.sendall(burst)
    except OSError:
        pass  # it stopped reading, or closed
    assert server.memory() - before < 16 << 20
    healthy_apart_from(peer, healthy)


def healthy_apart_from(peer, healthy):
    peer.close()
    healthy()


def test_a_frame_that_comes_with_the_handshake_is_read(server, healthy):
    peer = dial(server.port)
    peer.sendall(upgrade_request(f"/ws?token={token('eager')}") + frame(PING, b"first") + frame(CLOSE, code(1000)))
    got = b""
    while chunk := peer.recv(4096):
        got += chunk
    assert b"\r\n\r\n\x8a\x05first\x88\x02\x03\xe8" in got, got
    healthy()


def test_a_frame_in_single_bytes_is_read(server, healthy):
    peer = upgraded(server.port, token("slow"))
    for byte in frame(PING, b"slowly"):
        peer.sendall(bytes([byte]))
        time.sleep(0.01)
    assert peer.recv(64) == b"\x8a\x06slowly"
    peer.close()
    healthy()


def test_half_a_frame_and_silence_do_not_delay_other_clients(server, healthy):
    peers = [upgraded(server.port, token("half")) for _ in range(20)]
    for peer in peers:
        peer.sendall(frame(TEXT, b"x" * 100)[:50])
    for peer in peers:
        peer.close()
    healthy()


def test_a_half_closed_socket_is_closed(server, healthy):
    """The client will send no more; the server must not keep the connection for ever."""
    peer = upgraded(server.port, token("half"))
    peer.shutdown(socket.SHUT_WR)
    close_code(peer)
    healthy()


def test_frames_after_a_close_are_ignored(server, healthy):
    peer = upgraded(server.port, token("late"))
    try:
        peer.sendall(frame(CLOSE, code(1000)) + frame(TEXT, b"more") * 100)
    except OSError:
        pass
    assert close_code(peer) in (1000, None)
    healthy()


def test_a_compression_bomb_takes_no_memory(launch, connect, publisher):
    server = launch(notify={"compression": True})
    check = health_check(server, connect, publisher)
    peer = upgraded(server.port, token("bomb"), "Sec-WebSocket-Extensions: permessage-deflate")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = (deflate.compress(bytes(8 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    before = server.memory()
    try:
        peer.sendall(frame(TEXT, bomb[:500], rsv=4))
    except OSError:
        pass
    assert close_code(peer) == 1009
    assert server.memory() - before < 16 << 20
    check()


def test_floods_do_not_delay_other_clients(launch, connect, publisher):
    """Clients that send as fast as they can share the one thread with a healthy client."""
    server = launch(server={"shards": 1})
    healthy, backend = connect(server, "bob"), publisher(server.resp_port)
    stop = threading.Event()
    ping = b"\x89\x80\x01\x02\x03\x04"
    text = b"\x81\x80\x01\x02\x03\x04"

    def flood(frame):
        peer = upgraded(server.port, token("ann"))
        reader = threading.Thread(target=drain, args=(peer,), daemon=True)
        reader.start()
        while not stop.is_set():
            peer.sendall(frame * 10_000)
        peer.close()

    def drain(peer):
        try:
            while peer.recv(1 << 20):
                pass
        except OSError:
            pass

    floods = [threading.Thread(target=flood, args=(frame,), daemon=True) for frame in (ping, ping, text)]
    for each in floods:
        each.start()
    try:
        worst = 0
        for n in range(100):
            began = time.monotonic()
            assert backend.publish("user_noti:bob", message(n)) == 1
            assert healthy.next_json()["payload"] == n
            worst = max(worst, time.monotonic() - began)
    finally:
        stop.set()
    # It would take seconds if a flood could hold the thread; the bound is loose, since the machine is shared.
    assert worst < 2, worst
