"""Fixtures. Each test has its own server: it starts in milliseconds, and no test sees another test's connections."""

import contextlib
import json
import pathlib
import struct
import subprocess
import sys

import pytest
import redis
import websockets.sync.client

import fanfare
import postgres
from interop.fixtures import deploy, deployment, world  # noqa: F401, fixtures for the tests of all protocols together


class Client:
    """A `websockets` client of one user. It returns messages as they arrived."""

    def __init__(self, url, **options):
        options = {"compression": None, "max_size": None, "open_timeout": 20} | options
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(websockets.sync.client.connect(url, **options))

    def next(self, timeout=30):
        return self.socket.recv(timeout)

    def next_json(self, timeout=30):
        return json.loads(self.next(timeout))

    def nothing(self, within=0.3):
        """Asserts that no message arrives."""
        with pytest.raises(TimeoutError):
            raise AssertionError(f"came: {self.socket.recv(within)!r}")

    def closed(self, timeout=30):
        """The (code, reason) of the server's close; (1006, "") if the connection was lost without one."""
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                self.socket.recv(timeout)
        received = closed.value.rcvd
        return (received.code, received.reason) if received else (1006, "")

    def close(self):
        self.stack.close()


@pytest.fixture
def cleanup():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def launch(cleanup):
    """launch(notify={...}, ...) starts a server with that configuration; it ends with the test."""
    return lambda **arguments: cleanup.enter_context(fanfare.running(**arguments))


@pytest.fixture
def server(launch):
    """A server with the default configuration."""
    return launch()


@pytest.fixture
def attempt(cleanup):
    """attempt(...) starts a server that must not start; returns its exit code and log."""

    def ended(**arguments):
        server = fanfare.Fanfare(**arguments)
        cleanup.callback(server.kill)
        return server.spawn().wait(), server.log()

    return ended


@pytest.fixture
def opener(cleanup):
    """opener(make) is a function that calls `make`, and closes the result with the test."""
    return lambda make: lambda *arguments, **options: cleanup.enter_context(contextlib.closing(make(*arguments, **options)))


@pytest.fixture
def connect(opener):
    """connect(server, "ann") opens a client that is closed with the test."""
    return opener(lambda server, user, claims=None, **options: Client(server.ws(user, **(claims or {})), **options))


@pytest.fixture
def speak(opener):
    """speak(server, "rooms", "ann") opens a client of that dialect, which is closed with the test."""
    from dialects import Speaker  # which needs the class above

    return opener(Speaker)


@pytest.fixture
def publisher(opener):
    """publisher(port) opens a redis-py connection."""
    return opener(lambda port, **options: redis.Redis(port=port, **options))


@pytest.fixture
def real_redis(cleanup):
    """real_redis() starts a Redis that ends with the test."""

    def started(**options):
        instance = fanfare.Redis(**options)
        cleanup.callback(instance.remove)
        return instance.start()

    return started


@pytest.fixture
def clock(tmp_path):
    """A library and a file; `clock.move(seconds)` shifts the wall clock of a program that was started with `clock.env`."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the clock of one process is moved by LD_PRELOAD")

    class Clock:
        def __init__(self):
            library, self.file = tmp_path / "clock.so", tmp_path / "offset"
            source = pathlib.Path(__file__).with_name("clock.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True, env=fanfare.environment())
            self.move(0)
            self.env = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self.file)}

        def move(self, seconds):
            with open(self.file, "r+b" if self.file.exists() else "w+b") as file:
                file.write(struct.pack("q", seconds))

    return Clock()


@pytest.fixture
def real_postgres(cleanup):
    """real_postgres() starts a PostgreSQL that ends with the test."""

    def started():
        instance = postgres.Postgres()
        cleanup.callback(instance.remove)
        return instance.create()

    return started


@pytest.fixture
def healthy(server, connect, publisher):
    """Checks that a client from before the test and a new client are still served."""
    return health_check(server, connect, publisher)


def health_check(server, connect, publisher):
    old, rounds = connect(server, "healthy"), []

    def check():
        rounds.append(None)
        new, payload = connect(server, "healthy"), len(rounds)
        count = publisher(server.resp_port).publish("user_noti:healthy", message(payload))
        assert count == 2, f"{count} connections reached, the old and the new one expected"
        for client in (old, new):
            assert client.next_json()["payload"] == payload
        new.close()
        fanfare.wait_until(lambda: server.connections() == 1, what="only the healthy client left")

    return check


def message(payload, type="notification"):
    """An event as a backend publishes it."""
    return json.dumps({"type": type, "payload": payload})
