"""Helpers of the dialects' tests: a server with a listener for each dialect, and a client for each."""

import json
import re
import time
import urllib.parse
from dataclasses import dataclass

import wire
from conftest import Client
from fanfare import free_port, token

NAMES = ["notify", "broadcast", "topics", "realtime", "rooms"]
TALKING = [name for name in NAMES if name != "notify"]  # the others: clients of notify send nothing
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class Dialect:
    """The properties of a dialect that a client needs: its address, its login and its ping."""

    path: str
    welcome: str | None
    ping: str = '{"type":"ping"}'
    pong: str = "pong"
    max_size: int = 65_536


DIALECTS = {
    "notify": Dialect("/ws", None, max_size=512),
    "broadcast": Dialect("/ws", "welcome"),
    "topics": Dialect("/ws", None, max_size=1_048_576),
    "realtime": Dialect("/ws", "Status", '{"type":"Ping"}', "Pong"),
    "rooms": Dialect("/api/v1/ws/connect", "connected"),
}


def all_dialects(**tables):
    """Arguments for `launch`: each dialect on its own port, and no test notifications unless requested."""
    ports = {name: free_port() for name in NAMES}
    listeners = [{"bind": f"127.0.0.1:{port}", "dialects": [name]} for name, port in ports.items()]
    quiet = {"notification_interval": "0s"} | tables.pop("broadcast", {})
    return {"port": ports["notify"], "listener": listeners, "broadcast": quiet} | tables


def port_of(server, dialect):
    """The port of the listener that serves `dialect`."""
    [bind] = [each["bind"] for each in server.config["listener"] if dialect in each["dialects"]]
    return int(bind.rsplit(":", 1)[1])


def target(dialect, /, **query):
    """The path and query of a handshake. Topics gets its token in a frame instead."""
    if dialect == "topics" or query.get("token") is None:
        query.pop("token", None)
    return DIALECTS[dialect].path + ("?" + urllib.parse.urlencode(query) if query else "")


class Speaker(Client):
    """A client of one dialect that has read its welcome; `user=None` is anonymous, where the dialect permits it."""

    def __init__(self, server, dialect, user="ann", claims=None, query=None, prove=True, **options):
        self.name, self.dialect = dialect, DIALECTS[dialect]
        self.token = None if user is None else token(user, **({"name": str(user)} | (claims or {})))
        address = f"ws://127.0.0.1:{port_of(server, dialect)}" + target(dialect, **({"token": self.token} | (query or {})))
        super().__init__(address, **options)
        self.greeting = self.next_json() if self.dialect.welcome else None
        assert (self.greeting or {}).get("type") == self.dialect.welcome, self.greeting
        if dialect == "topics" and prove and user is not None:
            self.prove(self.token)

    def prove(self, token):
        """Topics: sends the token and reads the answer."""
        answer = self.ask(type="auth", token=token)
        assert answer["type"] == "auth_success", answer
        return answer

    def say(self, text=None, **frame):
        """Sends `text` as it is, or a frame of these fields."""
        self.socket.send(json.dumps(frame) if text is None else text)

    def ask(self, text=None, **frame):
        """Sends a message, and returns the next frame."""
        self.say(text, **frame)
        return self.next_json()

    def alive(self):
        """Asserts that a ping is answered and no other frame has arrived since the last one that was read."""
        answer = self.ask(self.dialect.ping)
        assert answer["type"] == self.dialect.pong, f"expected a pong: {answer}"

    def complaint(self, text=None, **frame):
        """Sends an invalid message, and returns the error."""
        return complaint(self.name, self.ask(text, **frame))

    def subscribe(self, channel):
        """Subscribes to `channel`, or joins it."""
        match self.name:
            case "topics":
                answer = self.ask(type="subscribe", topic=channel)
                assert answer["type"] == "subscribed", answer
            case "realtime":
                answer = self.ask(type="Subscribe", data={"topics": [channel]})
                assert answer["data"].get("status") == "subscribed", answer
            case "rooms":
                answer = self.ask(type="join_room", room=channel)
                assert answer["type"] == "joined_room", answer
                assert self.next_json()["type"] == "user_joined"
        return self


def complaint(dialect, frame):
    """Checks the form of an error frame, and returns (code, message, field, issue), or its text."""
    timestamp = frame.pop("timestamp")
    match dialect:
        case "broadcast":
            assert TIME.fullmatch(timestamp) and frame.pop("error_id").startswith("error_")
            assert frame.pop("type") == "error" and frame.keys() == {"message", "code"}, frame
            return frame["message"] if frame["code"] == 1008 else (frame["code"], frame["message"])
        case "topics":
            assert TIME.fullmatch(timestamp) and frame.pop("type") in ("error", "auth_error"), frame
            assert frame.keys() <= {"code", "message", "details"}
            details = frame.get("details")
            return (frame["code"], details["field"], details["issue"]) if details else (frame["code"], frame["message"])
        case "realtime":
            assert type(timestamp) is int and abs(timestamp / 1000 - time.time()) < 60
            assert frame.pop("type") == "Error" and frame.keys() == {"data"} and frame["data"].keys() == {"code", "message"}
            return (frame["data"]["code"], frame["data"]["message"])
        case "rooms":
            assert TIME.fullmatch(timestamp) and frame.pop("type") == "error", frame
            assert frame.keys() == {"data"} and frame["data"].keys() == {"error"}
            return frame["data"]["error"]
    raise AssertionError(dialect)


def ask(server, dialect, path, method="GET", body=None, **headers):
    """An HTTP request to the listener of a dialect, as `Fanfare.get` sends it."""
    ours, server.port = server.port, port_of(server, dialect)
    try:
        return server.get(path, method, body, **headers)
    finally:
        server.port = ours


def raw(server, dialect, token=None, *headers, **query):
    """A raw socket: it answers no ping and reads nothing by itself. Its welcome is not read."""
    peer = wire.connect(port_of(server, dialect))
    peer.sendall(wire.upgrade_request(target(dialect, token=token, **query), *headers))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        assert byte, f"closed during the handshake: {head!r}"
        head += byte
    assert head.startswith(b"HTTP/1.1 101 "), head
    return peer


def closing(frames):
    """The (code, reason) of the close frame in `frames`, or None."""
    for opcode, payload in frames:
        if opcode == 8:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()
    return None
