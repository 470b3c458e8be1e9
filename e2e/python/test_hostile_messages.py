"""Broken messages and broken RESP. They are counted and dropped; all others are delivered."""

import os
import time

import pytest

from conftest import message
from fanfare import wait_until
from wire import Resp, RespError, connect as dial

BROKEN = {
    "nothing": b"",
    "not JSON": b"hello",
    "an array": b"[1,2,3]",
    "a string": b'"text"',
    "a number": b"42",
    "null": b"null",
    "no type": b'{"payload":{}}',
    "a type that is no string": b'{"type":1,"payload":{}}',
    "a type that is null": b'{"type":null,"payload":{}}',
    "no payload": b'{"type":"t"}',
    "cut short": b'{"type":"t","payload":{"a":1}',
    "something behind it": b'{"type":"t","payload":{}} x',
    "bad JSON in the payload": b'{"type":"t","payload":{a:1}}',
    "a number no JSON knows": b'{"type":"t","payload":NaN}',
    "a raw control character": b'{"type":"t","payload":"a\nb"}',
    "bad UTF-8": b'{"type":"t","payload":"\xff"}',
    "bad UTF-8 in the type": b'{"type":"\xff","payload":1}',
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"type":"t","payload":1}',
    "five megabytes of not JSON": b"x" * (5 << 20),
    "very deep": b'{"type":"t","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "very deep and cut short": b'{"type":"t","payload":' + b"[" * 1_000_000,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_message_is_counted_and_dropped(server, connect, publisher, broken):
    client, backend = connect(server, "ann"), publisher(server.resp_port)
    assert backend.publish("user_noti:ann", broken) == 0
    assert backend.publish("user_noti:ann", message("after")) == 1
    assert client.next_json()["payload"] == "after"
    assert server.metrics()["failed"] == 1


def test_a_byte_order_mark_is_skipped(server, connect, publisher):
    client = connect(server, "ann")
    assert publisher(server.resp_port).publish("user_noti:ann", b'\xef\xbb\xbf{"type":"t","payload":1}') == 1
    assert client.next_json()["payload"] == 1


def test_broken_messages_from_redis_are_dropped(launch, real_redis, connect, publisher):
    broker = real_redis()
    server = launch(broker={"kind": "redis", "url": broker.url})
    client, backend = connect(server, "ann"), publisher(broker.port)
    for broken in BROKEN.values():
        backend.publish("user_noti:ann", broken)
    backend.publish("user_noti:ann", message("after"))
    assert client.next_json()["payload"] == "after"
    wait_until(lambda: server.metrics()["failed"] == len(BROKEN), what="every broken message counted")


CHANNELS = [
    "user_noti:", "user_noti", "user_noti::", "user_noti: ", "USER_NOTI:ann", "", " ", "é😀", "x" * 10_000, b"\xff\xfe",
    "user_noti:" + "x" * 100_000, b"user_noti:\xff", "user_noti:\0", "fanfare:nothing", "*", "__keyspace@0__:x",
]


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: repr(c[:20]))
def test_unusual_channels_reach_no_client(server, healthy, publisher, channel):
    try:
        assert publisher(server.resp_port).publish(channel, message({})) == 0
    except Exception as error:  # an error reply is also correct
        assert type(error).__name__ == "ResponseError", error
    healthy()


# --- broken RESP ---

GARBAGE = {
    "random bytes": os.urandom(1000) + b"\r\n",
    "a negative array": b"*-2\r\n",
    "an empty array": b"*0\r\n*0\r\n$",
    "no number": b"*x\r\n",
    "an endless number": b"*" + b"9" * 100 + b"\r\n",
    "an array of a billion": b"*1000000000\r\n$4\r\nPING\r\n",
    "a bulk of 10^18": b"*2\r\n$7\r\nPUBLISH\r\n$1000000000000000000\r\n",
    "a bulk of 2 GB": b"*1\r\n$2147483648\r\n",
    "a negative bulk": b"*1\r\n$-5\r\n",
    "a null bulk": b"*1\r\n$-1\r\n",
    "an integer for a bulk": b"*1\r\n:5\r\n",
    "an array in an array": b"*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n",
    "a bulk that is too short": b"*1\r\n$4\r\nPINGPONG\r\n",
    "a bare bulk": b"$4\r\nPING\r\n",
    "an inline command of a megabyte": b"x" * (1 << 20),
    "an unclosed quote": b'PUBLISH "user_noti:ann\r\n',
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_broken_commands_are_harmless(server, healthy, garbage):
    before, peer = server.memory(), dial(server.resp_port)
    try:
        peer.sendall(garbage)
        peer.settimeout(0.5)
        peer.recv(4096)  # an error, the end, or silence while it waits for more
    except OSError:
        pass
    assert server.memory() - before < 16 << 20
    peer.close()
    healthy()


def test_a_protocol_error_is_named_and_ends_the_connection(server):
    with Resp(server.resp_port) as peer:
        peer.raw(b"*1\r\n$1000000000000000000\r\n")
        answer = peer.read()
        assert isinstance(answer, RespError) and "rotocol error" in str(answer)
        assert peer.closed()


BROWSER = {
    "GET": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "POST": b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n",
    "Host first": b"Host: 127.0.0.1\r\n",
}


@pytest.mark.parametrize("request_head", BROWSER.values(), ids=BROWSER)
def test_a_browser_cannot_be_used_to_publish(server, connect, request_head):
    """A web page may send a POST here whose body has commands: the connection ends before they are read."""
    client, peer = connect(server, "ann"), dial(server.resp_port)
    peer.sendall(request_head + b"""PUBLISH user_noti:ann '{"type":"t","payload":"from a page"}'\r\n""")
    peer.settimeout(10)
    try:
        while chunk := peer.recv(4096):
            assert b":1" not in chunk
    except ConnectionError:
        pass
    client.nothing()


def test_incomplete_commands_are_bounded(server, healthy):
    peers = [dial(server.resp_port) for _ in range(200)]
    for peer in peers:
        peer.sendall(b"*3\r\n$7\r\nPUBLISH\r\n$100000\r\n" + b"x" * 1000)
    healthy()
    for peer in peers:
        peer.close()


def test_a_publisher_that_never_reads_its_replies_is_bounded(server, healthy):
    before, peer = server.memory(), dial(server.resp_port)
    peer.settimeout(2)
    burst = Resp.encode("PING", "x" * 1000) * 100
    try:
        for _ in range(500):
            peer.sendall(burst)
    except OSError:
        pass  # it stopped reading, as it should
    assert server.memory() - before < 32 << 20
    healthy()
    peer.close()


def test_hundreds_of_short_connections_are_served(server, healthy):
    start = time.monotonic()
    for _ in range(300):
        with Resp(server.resp_port) as peer:
            assert peer.call("PING") == "PONG"
    assert time.monotonic() - start < 60
    healthy()
