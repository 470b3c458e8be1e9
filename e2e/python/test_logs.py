"""The log about listeners and refused clients: enough to diagnose, and no secret."""

import json

import pytest
import websockets

from conftest import Client
from dialects import DIALECTS, NAMES, all_dialects, port_of
from fanfare import SECRET, token, wait_until

OTHER_SECRET = "another-secret-that-is-long-enough-for-hs256"


def entries(server, message):
    """The log's entries with that message, in the form without a terminal."""
    lines = (json.loads(line) for line in server.log().splitlines() if line.startswith("{") and line.endswith("}"))
    return [line for line in lines if line["message"] == message]


def knock(server, dialect, token):
    return Client(f"ws://127.0.0.1:{port_of(server, dialect)}{DIALECTS[dialect].path}?token={token}")


def test_a_start_names_each_address(launch):
    """Each listener has a line once it accepts connections."""
    server = launch(**all_dialects())
    addresses = {entry["address"] for entry in entries(server, "listening")}
    assert addresses >= {f"127.0.0.1:{port_of(server, name)}" for name in NAMES}


@pytest.mark.parametrize("dialect", [name for name in NAMES if name != "topics"])
def test_each_refused_connection_leaves_a_line_without_its_token(launch, dialect):
    """A line for each refusal, with the dialect and the reason, and never a token."""
    server = launch(**all_dialects(log={"level": "debug"}))
    good, bad = token("ann"), token("ann", secret=OTHER_SECRET)
    knock(server, dialect, good).close()
    with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
        knock(server, dialect, bad).socket.recv(10)
    opened = wait_until(lambda: entries(server, "connection opened"), what="a line about the connection")
    assert [entry["dialect"] for entry in opened] == [dialect]
    [refused] = wait_until(lambda: entries(server, "connection refused"), what="a line about the refusal")
    assert (refused["dialect"], refused["reason"]) == (dialect, "bad_credential")
    hidden(server, good, bad)


def test_a_bad_token_in_a_frame_leaves_a_line(launch, speak):
    """Topics clients send their tokens later, so their lines come then."""
    server = launch(**all_dialects(log={"level": "debug"}))
    bad = token("ann", secret=OTHER_SECRET)
    client = speak(server, "topics")
    assert client.ask(type="auth", token=bad)["type"] == "auth_error"
    assert len(wait_until(lambda: entries(server, "token refused"), what="a line about the token")) == 1
    hidden(server, client.token, bad)


def hidden(server, *tokens):
    for secret in [SECRET, *tokens, *(one.split(".")[2] for one in tokens)]:
        assert secret not in server.log()
