"""Requests that no client would send. Each is refused or cut, and a healthy client is served meanwhile."""

import os
import socket
import time

import pytest

from conftest import health_check
from fanfare import token
from wire import connect as dial, read_all, send_slowly, status, upgrade_request, upgraded

REFUSED = {None, *range(400, 500)}  # a 4xx, or a close without an answer


@pytest.fixture
def hasty(launch):
    """A server that permits a second for a handshake."""
    return launch(limits={"handshake_timeout": "1s"})


def seconds_until_cut(peer):
    start = time.monotonic()
    read_all(peer, timeout=30)
    return time.monotonic() - start


# --- silence ---

HALVES = {
    "nothing at all": b"",
    "one letter": b"G",
    "a request line": b"GET /ws HTTP/1.1\r\n",
    "half a header": b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgra",
    "all but the last line": b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_an_incomplete_handshake_is_cut(hasty, connect, publisher, half):
    check = health_check(hasty, connect, publisher)
    peer = dial(hasty.port)
    peer.sendall(half)
    assert 0.5 < seconds_until_cut(peer) < 10
    check()


def test_by_default_an_incomplete_handshake_is_cut_after_ten_seconds(server, healthy):
    peer = dial(server.port)
    peer.sendall(HALVES["half a header"])
    assert 5 < seconds_until_cut(peer) < 25
    healthy()


def test_single_bytes_do_not_prolong_a_handshake(hasty, connect, publisher):
    check = health_check(hasty, connect, publisher)
    peer, start = dial(hasty.port), time.monotonic()
    request = upgrade_request(f"/ws?token={token('slow')}")
    assert send_slowly(peer, request, 0.1) < len(request)
    assert time.monotonic() - start < 15
    check()


def test_a_silent_connected_client_is_not_cut(hasty, connect):
    client = connect(hasty, "ann")
    time.sleep(2.5)
    client.socket.ping().wait(5)
    assert hasty.connections() == 1


# --- too large ---


def send_all(peer, data):
    """Sends as much as the server accepts; it may close before the end."""
    try:
        peer.sendall(data)
    except OSError:
        pass


def test_a_hundred_thousand_headers_are_refused(server, healthy):
    peer = dial(server.port)
    send_all(peer, b"GET /ws HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(100_000)) + b"\r\n")
    assert status(peer) in REFUSED
    healthy()


def test_a_header_of_ten_megabytes_is_refused_without_memory(server, healthy):
    before, peer = server.memory(), dial(server.port)
    send_all(peer, b"GET /ws HTTP/1.1\r\nHost: a\r\nX: " + b"y" * (10 << 20) + b"\r\n\r\n")
    assert status(peer) in REFUSED
    assert server.memory() - before < 8 << 20
    healthy()


def test_a_token_of_a_megabyte_is_refused(server, healthy):
    peer = dial(server.port)
    send_all(peer, upgrade_request("/ws?token=" + "x" * (1 << 20)))
    assert status(peer) in REFUSED
    healthy()


def test_a_token_of_dots_is_refused(server, healthy):
    peer = dial(server.port)
    send_all(peer, upgrade_request("/ws?token=" + "." * 30_000))
    assert status(peer) in REFUSED
    healthy()


# --- malformed ---

GOOD = "GOOD-TOKEN"  # replaced by a valid one
TARGETS = {
    "/%00": REFUSED,
    "/ws%00?token=GOOD-TOKEN": REFUSED,
    "/ws/../ws?token=GOOD-TOKEN": REFUSED,
    "/%77%73?token=GOOD-TOKEN": REFUSED | {101},  # an escaped /ws: both readings are valid
    "/ws?token=%00": {401},
    "/ws?token=%ff%fe": {401},
    "/ws?token=%": {401},
    "/ws?token=%zz": {401},
    "/ws?token=GOOD-TOKEN%00": {401},
    "/ws?TOKEN=GOOD-TOKEN": {401},
    "/ws?&&=&token=GOOD-TOKEN": {101},
    "/ws?a=b&token=GOOD-TOKEN&c=d": {101},
    "/ws?%74oken=GOOD-TOKEN": {101},
    "/ws?token=GOOD-TOKEN&token=GOOD-TOKEN": {401},  # either of the two may count
    "/ws?token=GOOD-TOKEN&token=bad": {401},
    "/ws?token=bad&token=GOOD-TOKEN": {401},
}


@pytest.mark.parametrize("target", TARGETS)
def test_unusual_targets_get_their_status(server, healthy, target):
    peer = dial(server.port)
    peer.sendall(upgrade_request(target.replace(GOOD, token("ann"))))
    line = peer.recv(65536).split(b"\r\n")[0]
    assert (int(line.split(b" ")[1]) if line else None) in TARGETS[target], line
    peer.close()
    healthy()


GARBAGE = {
    "random bytes": os.urandom(4096),
    "zeros": bytes(4096),
    "newlines": b"\r\n" * 4096,
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "HTTP/9": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a Redis command": b"*2\r\n$7\r\nPUBLISH\r\n$1\r\nx\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "two lengths": b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a negative length": b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "an endless length": b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "a bad chunk": b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused_or_cut(hasty, connect, publisher, garbage):
    check = health_check(hasty, connect, publisher)
    peer = dial(hasty.port)
    send_all(peer, garbage)
    assert status(peer, timeout=20) in REFUSED | {505}
    check()


def test_a_request_smuggled_behind_a_length_is_not_answered(server, healthy):
    """Both framings at once: the second request must not be answered as a request of its own."""
    peer = dial(server.port, timeout=5)
    peer.sendall(
        b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    answers = read_all(peer, timeout=15)
    assert b" 200 " not in answers.split(b"\r\n")[0]
    assert answers.count(b"HTTP/1.1 400") == 1 or answers.count(b"HTTP/1.1") <= 2
    healthy()


def test_resets_at_every_stage_are_harmless(server, healthy):
    request = upgrade_request(f"/ws?token={token('gone')}")
    for cut in range(0, len(request), 16):
        peer = dial(server.port)
        peer.sendall(request[:cut])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close is a reset
        peer.close()
    for _ in range(50):
        peer = upgraded(server.port, token("gone"))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer.close()
    healthy()
