"""`fanfare tail` and the stream of the service API that it reads: published events, live, on all nodes."""

import contextlib
import http.client
import json
import queue
import signal
import socket
import subprocess
import threading

import pytest

import fanfare
from fanfare import wait_until
from test_service_api import call, complaint, good


class Tail:
    """An open stream. Unless it is a slow reader, its own thread reads the lines."""

    def __init__(self, port, query, key=None, reads=True):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.connection.request("GET", f"/api/v1/tail?{query}", headers={"Authorization": f"Bearer {key}"} if key else {})
        self.socket = self.connection.sock  # an endless answer owns it
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.getheader("content-type") == "application/jsonl"
        assert self.line().keys() == {"open"}
        self.lines = queue.Queue()
        if reads:
            threading.Thread(target=self.read, daemon=True).start()

    def line(self):
        while True:
            line = self.answer.readline()
            if not line:
                return None
            if line.strip():
                return json.loads(line)

    def read(self):
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            while line := self.line():
                self.lines.put(line)
        self.lines.put(None)

    def next(self):
        """The next line; None at the end."""
        return self.lines.get(timeout=30)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tail(opener):
    """tail(server, …) opens a tail that is closed with the test."""
    return opener(Tail)


def test_events_of_all_nodes_in_order(world, tail):
    user, channel = world.name("nobody"), world.name("chat.")
    own = tail(world.last.ports["shared"], f"user={user}&channel={channel}&everyone=true&data=true")
    world.events([
        {"to": {"user": user}, "type": "a", "data": {"n": 1}, "metadata": {"m": 1}},
        {"to": {"channel": "other"}, "data": 0},
        {"to": {"channel": channel}, "data": 1.00000000000000000001},
        {"to": "everyone", "data": "😀<b>\n"},
    ])
    first, second, third = [own.next()["event"] for _ in range(3)]
    assert (first["user"], first["channel"], first["type"]) == (user, None, "a")
    assert (first["data"], first["metadata"]) == ({"n": 1}, {"m": 1})
    assert (second["channel"], third["user"], third["channel"]) == (channel, None, None)
    assert third["data"] == "😀<b>\n"
    # A tail is not a receiver.
    assert good(world.first, f"/api/v1/users/{user}/presence")["online"] is False
    assert [own["id"] for own in good(world.first, "/api/v1/users", prefix=user)["users"]] == []
    assert [own["name"] for own in good(world.first, "/api/v1/channels", prefix=channel)["channels"]] == []


def test_patterns(world, tail):
    prefix = world.name("orders")
    own = tail(world.last.ports["shared"], f"channel={prefix}.*")
    for channel in (f"{prefix}.a.b", f"{prefix}.a"):
        world.events({"to": {"channel": channel}, "data": 1})
    event = own.next()["event"]
    assert event["channel"] == f"{prefix}.a" and "data" not in event and event["data_bytes"] == 1


@pytest.mark.parametrize("query", ["", "everyone=false", "user=", "channel=a*", "channel=a..b", "data=yes&user=a", "users=a", "user=a&user=b"])
def test_bad_queries(world, query):
    answer = call(world.first, f"/api/v1/tail?{query}")
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")


def test_a_slow_reader_learns_what_it_lost(launch, tail):
    server = launch(observe={"tail_queue": 10})
    slow = tail(server.port, "everyone=true&data=true", reads=False)
    event = json.dumps({"to": "everyone", "data": "x" * 100_000})

    def publish():
        server.get("/api/v1/events", "POST", event)
        return server.prometheus("fanfare_tail_events_lost_total") > 0

    wait_until(publish, what="lost events")
    lost = 0
    while not lost:
        server.get("/api/v1/events", "POST", event)
        for _ in range(2):
            lost += slow.line().get("lost", 0)
    assert 0 < lost <= server.prometheus("fanfare_tail_events_lost_total")


def test_limits(launch, tail):
    server = launch(observe={"max_tails": 1})
    first = tail(server.port, "everyone=true")
    assert server.get("/api/v1/tail?everyone=true").status == 429
    assert (server.prometheus("fanfare_tails"), server.prometheus("fanfare_tails_refused_total")) == (1, 1)
    first.close()
    wait_until(lambda: server.prometheus("fanfare_tails") == 0, 60, "its end")
    tail(server.port, "everyone=true")


def test_data_needs_more_than_reading(launch, tail):
    server = launch(api={"keys": ["a-key-for-operators-0123456789"]})
    made = fanfare.run("key", "create", "reader", "--scope", "read", "--config", str(server.config_file))
    key = made.stdout.split()[-1]
    status = lambda query: server.get(f"/api/v1/tail?{query}", Authorization=f"Bearer {key}").status  # noqa: E731
    wait_until(lambda: server.get("/api/v1/users", Authorization=f"Bearer {key}").status == 200, what="the key")
    assert status("everyone=true&data=true") == 403
    assert server.get("/api/v1/tail?everyone=true").status == 401
    own = tail(server.port, "everyone=true", key=key)
    operator = {"Authorization": "Bearer a-key-for-operators-0123456789"}
    server.get("/api/v1/events", "POST", json.dumps({"to": "everyone", "data": "secret"}), **operator)
    assert "secret" not in json.dumps(own.next())


def test_an_admin_whose_role_is_taken_away_during_a_tail(launch, tail):
    """Two admins: one removes the other's role, and the other's tail ends."""
    server = launch(api={"keys": ["a-key-for-operators-0123456789"]})
    operator = {"Authorization": "Bearer a-key-for-operators-0123456789"}
    for email in ("ann@example.com", "bob@example.com"):
        body = json.dumps({"email": email, "password": "correct horse battery", "roles": ["admin"]})
        assert server.get("/api/v1/accounts", "POST", body, **operator).status == 201

    def login(email):
        body = json.dumps({"email": email, "password": "correct horse battery"})
        return json.loads(server.get("/api/auth/login", "POST", body).text)["data"]["accessToken"]

    ann, bob = login("ann@example.com"), login("bob@example.com")
    cut, stays = tail(server.port, "everyone=true&data=true", key=bob), tail(server.port, "everyone=true&data=true", key=ann)
    auth = {"Authorization": f"Bearer {ann}"}
    accounts = json.loads(server.get("/api/v1/accounts", **auth).text)["accounts"]
    [bobs] = [account["id"] for account in accounts if account["email"] == "bob@example.com"]
    assert server.get(f"/api/v1/accounts/{bobs}", "PATCH", json.dumps({"roles": ["user"]}), **auth).status == 200
    end = cut.next()["end"]
    assert end["code"] == "INVALID_TOKEN" and cut.next() is None
    server.get("/api/v1/events", "POST", json.dumps({"to": "everyone", "data": 1}), **auth)
    assert stays.next()["event"]["data"] == 1


def test_a_server_that_stops_ends_its_tails(launch, tail):
    server = launch()
    own = tail(server.port, "everyone=true")
    server.signal()
    assert own.next()["end"]["code"] == "SHUTTING_DOWN" and own.next() is None
    assert server.wait() == 0


# --- the command ---


@pytest.fixture
def command(cleanup):
    """Starts `fanfare tail`, and returns the process and a queue of its lines."""

    def started(server, *arguments, url=None):
        url = url or f"http://127.0.0.1:{server.port}"
        process = subprocess.Popen(
            [fanfare.binary(), "tail", *arguments, "--url", url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=fanfare.environment(),
        )
        cleanup.callback(process.kill)
        lines, said = queue.Queue(), queue.Queue()
        for stream, into in [(process.stdout, lines), (process.stderr, said)]:
            threading.Thread(target=lambda stream=stream, into=into: [into.put(line) for line in stream], daemon=True).start()
        return process, lines, said

    return started


def publish(server, to, data=1):
    return json.loads(server.get("/api/v1/events", "POST", json.dumps({"to": to, "data": data})).text)["ids"][0]


def test_lines_of_json(launch, command):
    server = launch()
    process, lines, said = command(server, "--user", "ann", "--channel", "chat.*", "--count", "2")
    assert "listening" in said.get(timeout=30)
    ids = [publish(server, {"user": "ann"}, {"a": "\n"}), publish(server, {"channel": "chat.a"})]
    events = [json.loads(lines.get(timeout=30)) for _ in ids]
    assert [event["id"] for event in events] == ids and events[0]["data"] == {"a": "\n"}
    assert process.wait(30) == 0


def test_it_reconnects(launch, command):
    server = launch()
    process, lines, said = command(server, "--everyone")
    assert "listening" in said.get(timeout=30)
    server.stop()
    assert "the tail was lost" in said.get(timeout=30)
    server.start()
    while "listening" not in said.get(timeout=30):
        pass
    event = publish(server, "everyone")
    assert json.loads(lines.get(timeout=30))["id"] == event
    process.send_signal(signal.SIGINT)
    process.wait(30)


def test_what_the_command_cannot_do(launch, command):
    server = launch(api={"keys": ["a-key-for-operators-0123456789"]})
    for arguments, url, code, words in [
        (("--everyone",), None, 1, "401"),
        (("--everyone", "--key", "wrong"), None, 1, "401"),
        (("--everyone",), f"http://127.0.0.1:{fanfare.free_port()}", 1, "cannot reach the server"),
        ((), None, 2, "required"),
        (("--channel", "a*"), None, 1, "401"),
    ]:
        process, _, said = command(server, *arguments, url=url)
        assert process.wait(60) == code, arguments
        text = said.get(timeout=30)
        while not said.empty():
            text += said.get()
        assert words in text, (arguments, text)
