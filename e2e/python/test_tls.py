"""A listener with TLS: the same service, and no plain text."""

import json
import pathlib
import socket
import subprocess
import urllib.request

import pytest

import fanfare
import tls_client
from conftest import Client, message
from fanfare import free_port, run, token

FILES = pathlib.Path(__file__).parent / "tls"


@pytest.fixture
def trusting():
    return tls_client.trusting(FILES / "cert.txt")


@pytest.fixture
def secure(launch):
    """A server with two listeners: the fixtures' own, and one with TLS below a prefix."""
    port, plain = free_port(), free_port()
    tls = {"cert": str(FILES / "cert.txt"), "key": str(FILES / "key.txt")}
    server = launch(
        listener=[
            {"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]},
            {"bind": f"127.0.0.1:{port}", "dialects": ["notify"], "prefix": "/live", "tls": tls},
        ],
        # Long enough for a real TLS handshake on a busy machine.
        limits={"handshake_timeout": "3s"},
        port=plain,
    )
    server.tls_port = port
    return server


def connect(server, user, trusting):
    return Client(f"wss://localhost:{server.tls_port}/live/ws?token={token(user)}", ssl=trusting)


def test_messages_of_every_size_arrive_whole_and_in_order(secure, trusting, publisher):
    client, backend = connect(secure, "ann", trusting), publisher(secure.resp_port)
    sizes = [0, 1, 125, 126, 16_383, 16_384, 65_535, 65_536, 1_000_000]
    for size in sizes:
        assert backend.publish("user_noti:ann", message("x" * size)) == 1
    assert [len(client.next_json()["payload"]) for _ in sizes] == sizes
    client.close()


def test_http_routes_are_there_too(secure, trusting):
    with urllib.request.urlopen(f"https://localhost:{secure.tls_port}/live/health", context=trusting) as answer:
        assert json.load(answer)["status"] == "healthy"


def test_the_commands_trust_the_authorities_of_the_system(secure, publisher):
    """`SSL_CERT_FILE` names the authorities, as for other programs."""
    url = f"https://localhost:{secure.tls_port}/live"
    listen = ["listen", "--url", url.replace("https", "wss") + "/ws", "--token", token("ann"), "--count", "1"]
    done = run(*listen)
    assert done.returncode == 1 and "invalid peer certificate" in done.stderr
    command = [fanfare.binary(), *listen]
    trusted = fanfare.environment(SSL_CERT_FILE=str(FILES / "cert.txt"))
    with subprocess.Popen(command, env=trusted, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listener:
        assert listener.stderr.readline().startswith("listening")
        done = run("publish", "--url", url, "--user", "ann", "1", SSL_CERT_FILE=str(FILES / "cert.txt"))
        assert done.returncode == 0 and json.loads(done.stdout)["recipients"] == 1, done.stderr
        assert json.loads(listener.stdout.readline())["payload"] == 1 and listener.wait(10) == 0


def test_a_client_that_does_not_speak_tls_is_cut(secure, trusting, publisher):
    for opening in (b"GET /live/ws HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", secure.tls_port), timeout=5) as peer:
            peer.sendall(opening)
            while received := peer.recv(4096):  # at the latest when the time for a handshake is over
                assert not received.startswith(b"HTTP"), received
    client = connect(secure, "ann", trusting)
    assert publisher(secure.resp_port).publish("user_noti:ann", message(1)) == 1
    assert client.next_json()["payload"] == 1
    client.close()
