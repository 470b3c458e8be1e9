"""The answer to a handshake, byte for byte: some clients compare it with the document."""

import base64
import hashlib
import re
import ssl

import pytest

from dialects import all_dialects, port_of
from fanfare import free_port, token
from test_tls import FILES
from wire import connect as dial

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def answer(peer, target, *headers, version=13):
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Version: {version}", f"Sec-WebSocket-Key: {KEY}", *headers]
    peer.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(1)
    lines = head.decode().split("\r\n")[:-2]
    return [line for line in lines if not re.match("(?i)date: ", line)]


SWITCHING = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_the_101_is_spelled_as_in_the_document(launch, secure):
    port, plain = free_port(), free_port()
    tls = {"cert": str(FILES / "cert.txt"), "key": str(FILES / "key.txt")}
    listeners = [{"bind": f"127.0.0.1:{plain}", "dialects": ["realtime"]}, {"bind": f"127.0.0.1:{port}", "dialects": ["realtime"], "tls": tls}]
    launch(port=plain, listener=listeners, realtime={"compression": True})
    for offered, answered in [
        ((), []),
        (("Sec-WebSocket-Extensions: permessage-deflate",), ["Sec-WebSocket-Extensions: permessage-deflate"]),
        ((f"Sec-WebSocket-Protocol: access_token.{token('ann')}",), ["Sec-WebSocket-Protocol: access_token."]),
    ]:
        peer = dial(port if secure else plain)
        if secure:
            peer = ssl.create_default_context(cafile=FILES / "cert.txt").wrap_socket(peer, server_hostname="localhost")
        found = answer(peer, "/ws", *offered)
        assert found[:4] == SWITCHING
        assert all(line.startswith(start) for line, start in zip(found[4:], answered, strict=True)), found
        assert peer.recv(2)[0] in (0x81, 0xC1)  # the welcome follows at once
        peer.close()


def test_a_client_refused_after_the_upgrade_sees_the_same_spelling(launch):
    server = launch(**all_dialects())
    assert answer(dial(port_of(server, "rooms")), "/api/v1/ws/connect?token=bad") == SWITCHING


def test_another_version_is_refused_in_the_same_spelling(server):
    found = answer(dial(server.port), f"/ws?token={token('ann')}", version=8)
    assert found[0].startswith("HTTP/1.1 426 ")
    assert "Sec-WebSocket-Version: 13" in found


def test_tls_agrees_on_http_1_1(launch):
    port, plain = free_port(), free_port()
    tls = {"cert": str(FILES / "cert.txt"), "key": str(FILES / "key.txt")}
    listeners = [{"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]}, {"bind": f"127.0.0.1:{port}", "dialects": ["notify"], "tls": tls}]
    launch(port=plain, listener=listeners)
    for offered, agreed in [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"), (None, None)]:
        context = ssl.create_default_context(cafile=FILES / "cert.txt")
        if offered:
            context.set_alpn_protocols(offered)
        with context.wrap_socket(dial(port), server_hostname="localhost") as peer:
            assert peer.selected_alpn_protocol() == agreed
