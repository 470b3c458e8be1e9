"""Connections of HTTP callers: half-closed ones, answers before the body was read, and kept ones."""

import contextlib
import json
import signal
import socket
import ssl
import time

import pytest

from dialects import all_dialects, port_of
from fanfare import free_port, wait_until
from test_tls import FILES
from wire import connect as dial, read_all, send_slowly, status

EVENT = json.dumps({"to": "everyone", "type": "news", "data": {}}).encode()
BODY = 20 << 20


def request(method, path, body=b"", *headers, length=None):
    length = len(body) if length is None else length
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_answer(peer):
    """One answer with a Content-Length: (status, headers, body)."""
    with peer.makefile("rb") as stream:
        line = stream.readline()
        assert line, "closed without an answer"
        fields = {}
        while (field := stream.readline().strip()):
            name, _, value = field.decode().partition(":")
            fields[name.lower()] = value.strip()
        return int(line.split()[1]), fields, stream.read(int(fields.get("content-length", 0)))


# --- a caller that has closed its sending side, or has gone ---

HALF_CLOSED = {
    "/notify": (request("POST", "/notify", b'{"message":"hi"}'), 200),
    "/api/v1/events": (request("POST", "/api/v1/events", EVENT), 200),
    "/api/auth/register": (request("POST", "/api/auth/register", b'{"email":"a@example.com","password":"long enough"}'), 201),
    "/sessions": (request("POST", "/sessions", b'{"username":"b@example.com","password":"long enough"}'), 401),
    "/health": (request("GET", "/health"), 200),
    "/readyz": (request("GET", "/readyz"), 200),
    "half a body": (request("POST", "/notify", b"{", length=100), 400),
}


@pytest.mark.parametrize("name", HALF_CLOSED)
def test_a_half_closed_caller_is_answered(launch, name):
    sent, expected = HALF_CLOSED[name]
    server = launch(**all_dialects())
    for _ in range(1 if name == "/api/auth/register" else 10):
        peer = dial(port_of(server, "broadcast"))
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert status(peer) == expected


def test_a_half_closed_publisher_of_redis_commands_is_answered(server):
    peer = dial(server.resp_port)
    peer.sendall(b"PING\r\nPUBLISH user_noti:nobody {}\r\n")
    peer.shutdown(socket.SHUT_WR)
    assert read_all(peer).startswith(b"+PONG\r\n:0")


@pytest.mark.parametrize("expect", [False, True], ids=["", "expecting 100"])
def test_a_request_is_finished_although_its_caller_is_gone(server, expect):
    """A password is hashed before the user is stored, so a caller that is cut between the two leaves half a registration."""
    user = {"email": "gone@example.com", "password": "long enough"}
    peer = dial(server.port)
    peer.sendall(request("POST", "/api/auth/register", json.dumps(user).encode(), *["Expect: 100-continue"] * expect))
    time.sleep(0.01)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close is a reset
    peer.close()
    login = lambda: server.get("/api/auth/login", "POST", json.dumps(user)).status == 200  # noqa: E731
    wait_until(login, what="the user whose caller is gone")


def test_a_request_is_answered_although_the_server_stops(server):
    peer = dial(server.port)
    user = {"email": "late@example.com", "password": "long enough"}
    body = json.dumps(user).encode()
    peer.sendall(request("POST", "/api/auth/register", body[:-1], length=len(body)))
    wait_until(lambda: server.get("/livez").status == 200)
    time.sleep(0.2)
    server.signal(signal.SIGTERM)
    time.sleep(0.2)  # without a connected client, it would end at once
    peer.sendall(body[-1:])
    assert read_answer(peer)[0] == 201
    assert server.wait() == 0


# --- an answer before the body was read ---

EARLY = {
    "too big": ("/api/v1/events", "POST", (), 413),
    "too big for a user": ("/api/auth/login", "POST", (), 413),
    "a stale key": ("/api/v1/events", "POST", ("Authorization: Bearer stale",), 401),
    "a stale key for a dialect's route": ("/notify", "POST", ("Authorization: Bearer stale",), 401),
    "a stale token": ("/api/messages", "POST", ("Authorization: Bearer stale",), 401),
    "another method": ("/health", "POST", (), 405),
    "another method of the service API": ("/api/v1/events", "PUT", (), 405),
    "another method of a dialect's route": ("/notify", "PUT", (), 405),
    "no route": ("/nothing", "POST", (), 404),
    "no route of the service API": ("/api/v1/nothing", "POST", (), 404),
    "an upgrade": ("/ws", "POST", (), 405),
    "a session": ("/sessions", "PUT", (), 405),
}


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_answer_before_the_body_was_read_can_be_read(launch, name, framing):
    path, method, headers, expected = EARLY[name]
    server = launch(**all_dialects())
    peer = dial(port_of(server, "broadcast"), timeout=30)
    post_much(peer, path, method, headers, framing)
    code, fields, _ = read_answer(peer)
    assert (code, fields["connection"]) == (expected, "close")
    assert peer.recv(1) == b""


def post_much(peer, path, method, headers=(), framing="length"):
    """Sends all of a long body before it reads, as most clients do."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    lines.append(f"Content-Length: {BODY}" if framing == "length" else "Transfer-Encoding: chunked")
    peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    piece = b"x" * 65_536
    for _ in range(BODY // len(piece)):
        peer.sendall(b"10000\r\n" + piece + b"\r\n" if framing == "chunks" else piece)
    if framing == "chunks":
        peer.sendall(b"0\r\n\r\n")


def test_a_refusal_by_the_rate_can_be_read(launch):
    server = launch(limits={"requests_per_second_per_ip": 1, "burst": 1})
    assert server.get("/nothing").status == 404
    peer = dial(server.port, timeout=30)
    post_much(peer, "/api/v1/events", "POST")
    code, fields, _ = read_answer(peer)
    assert (code, fields["connection"]) == (429, "close")


def test_a_refusal_during_a_drain_can_be_read(launch, connect):
    server = launch(shutdown={"timeout": "20s", "drain_window": "10s"})
    clients = [connect(server, f"user {n}") for n in range(20)]
    server.signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz").status == 503)
    peer = dial(server.port, timeout=30)
    post_much(peer, "/api/v1/events", "POST")
    code, fields, _ = read_answer(peer)
    assert (code, fields["connection"]) == (503, "close")
    for client in clients:
        client.close()
    assert server.wait() == 0


def test_an_answer_over_tls_can_be_read(launch):
    port, plain = free_port(), free_port()
    tls = {"cert": str(FILES / "cert.txt"), "key": str(FILES / "key.txt")}
    listeners = [{"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]}, {"bind": f"127.0.0.1:{port}", "dialects": ["notify"], "tls": tls}]
    launch(port=plain, listener=listeners)
    context = ssl.create_default_context(cafile=FILES / "cert.txt")
    with context.wrap_socket(dial(port, timeout=30), server_hostname="localhost") as peer:
        post_much(peer, "/api/v1/events", "POST")
        assert read_answer(peer)[0] == 413


def test_a_body_that_never_ends_is_cut(server):
    """The server discards a bounded part: eight times the longest body."""
    peer = dial(server.port, timeout=30)
    peer.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
    piece, sent = b"x" * (1 << 20), 0
    with contextlib.suppress(ConnectionError):
        while sent < 1000:
            peer.sendall(piece)
            sent += 1
    assert 60 < sent < 200


def test_a_caller_that_does_not_hang_up_after_the_last_answer_is_cut(server):
    peer = dial(server.port, timeout=30)
    peer.sendall(request("GET", "/livez", b"", "Connection: close"))
    assert status(peer) == 200
    time.sleep(7)  # each byte from the caller prolongs it, so the test waits
    wait_until(lambda: not alive(peer), 40, "the end of an unclosed connection")


def alive(peer):
    """Whether the server still has the connection: a reset shows at the second byte."""
    try:
        for _ in range(2):
            peer.sendall(b"\r\n")
            time.sleep(0.05)
    except OSError:
        return False
    return True


# --- kept connections ---


@pytest.fixture
def hasty(launch):
    """A server that permits a second for a handshake, and a second more for a kept connection."""
    return launch(limits={"handshake_timeout": "1s"})


def test_a_busy_connection_is_kept(hasty):
    peer, until, answers = dial(hasty.port), time.monotonic() + 9, 0
    while time.monotonic() < until:
        peer.sendall(request("POST", "/api/v1/events", EVENT))
        code, fields, _ = read_answer(peer)
        assert (code, fields.get("connection")) == (200, None)
        answers += 1
        time.sleep(0.2)
    assert answers > 10


def test_an_idle_connection_is_kept(hasty):
    peer = dial(hasty.port)
    for _ in range(3):
        peer.sendall(request("GET", "/livez"))
        assert read_answer(peer)[0] == 200
        time.sleep(3)


def test_an_idle_connection_ends_after_keep_alive_timeout(launch):
    server = launch(limits={"keep_alive_timeout": "1s"})
    peer = dial(server.port)
    peer.sendall(request("GET", "/livez"))
    assert read_answer(peer)[0] == 200
    start = time.monotonic()
    assert read_all(peer, timeout=20) == b""
    assert time.monotonic() - start > 0.5


def test_a_caller_that_takes_no_answers_is_cut(launch):
    server = launch(limits={"keep_alive_timeout": "1s"})
    peer = dial(server.port, timeout=3)
    with contextlib.suppress(OSError):
        while True:  # until both sides' buffers are full
            peer.sendall(request("GET", "/metrics/prometheus") * 100)
    wait_until(lambda: not alive(peer), 30, "the end of a connection whose answers are not taken")


@pytest.mark.parametrize("sent", [b"G", request("POST", "/api/v1/events", b"{", length=1000)], ids=["head", "body"])
def test_a_further_incomplete_request_is_cut(launch, sent):
    server = launch(limits={"request_timeout": "1s"})
    peer = dial(server.port)
    peer.sendall(request("GET", "/livez"))
    assert read_answer(peer)[0] == 200
    peer.sendall(sent)
    assert status(peer, timeout=20) in (None, 408)


def test_a_byte_now_and_then_does_not_prolong_a_request(launch):
    server = launch(limits={"request_timeout": "1s"})
    peer = dial(server.port)
    peer.sendall(request("GET", "/livez"))
    assert read_answer(peer)[0] == 200
    assert send_slowly(peer, request("GET", "/livez", b"", "X-Long: " + "x" * 200), 0.1) < 200
    peer = dial(server.port)
    peer.sendall(request("POST", "/api/v1/events", b"", length=1000))
    send_slowly(peer, b"x" * 25, 0.1)
    assert read_answer(peer)[0] == 408  # although most of the body has not arrived


def test_answers_during_a_drain_announce_the_end(launch, connect):
    server = launch(shutdown={"timeout": "20s", "drain_window": "10s"})
    clients = [connect(server, f"user {n}") for n in range(20)]
    peer = dial(server.port)
    peer.sendall(request("GET", "/livez"))
    assert read_answer(peer)[1].get("connection") is None
    server.signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz").status == 503)
    peer.sendall(request("GET", "/livez"))
    assert read_answer(peer)[1]["connection"] == "close"
    assert peer.recv(1) == b""
    for client in clients:
        client.close()
    assert server.wait() == 0
