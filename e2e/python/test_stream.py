"""Events over HTTP: `GET /api/v1/stream`, as server-sent events and as lines of JSON."""

import concurrent.futures
import contextlib
import http.client
import json
import signal
import socket
import time
import urllib.parse

import pytest

from dialects import NAMES, all_dialects, port_of
from fanfare import SECRET, Redis, run, token, wait_until

HISTORY = {"size": 100, "ttl": "5m"}
RULES = [
    {"pattern": "chat.**", "subscribe": "anyone", "history": HISTORY},
    {"pattern": "members.**", "subscribe": "authenticated", "history": HISTORY},
    {"pattern": "closed.**", "subscribe": "nobody", "publish": "nobody"},
]
CONFIG = {"channel": RULES, "history": {"users": HISTORY, "everyone": HISTORY, "replay_limit": 50}}
LINES = "application/x-ndjson"


class Stream:
    """A client of one stream. Messages are (type, data, cursor)."""

    def __init__(self, server, *channels, port=None, tls=None, method="GET", accept=None, headers=None, timeout=30, **query):
        self.lines = accept == LINES
        if tls is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port or server.port, timeout=timeout)
        else:
            self.connection = http.client.HTTPSConnection("localhost", port, timeout=timeout, context=tls)
        query = [("channel", channel) for channel in channels] + list(query.items())
        headers = {"Accept": accept} | (headers or {}) if accept else headers or {}
        self.connection.request(method, "/api/v1/stream?" + urllib.parse.urlencode(query), headers=headers)
        self.answer = self.connection.getresponse()
        self.status, self.headers = self.answer.status, self.answer.headers
        self.retry, self.comments = None, 0

    def error(self):
        return json.loads(self.answer.read())["error"]

    def line(self):
        """The next line without its end; None at the end of the body."""
        line = self.answer.readline().decode()
        assert not line or line.endswith("\n"), f"cut: {line!r}"
        return line[:-1] if line else None

    def next(self):
        """The next message; None at the end of the body."""
        if self.lines:
            while (line := self.line()) == "":
                self.comments += 1
            if line is None:
                return None
            message = json.loads(line)
            if message["type"] in ("resume", "stream.end"):
                return message["type"], message["data"], message["data"].get("cursor")
            cursor = message.pop("cursor", None)
            return message["type"], message, cursor
        fields = {}
        while line := self.line():
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if line is None:
            return None
        self.retry = fields.pop("retry", self.retry)
        if "data" not in fields:
            self.comments += 1
            return self.next()
        return fields.get("event"), json.loads(fields["data"]), fields.get("id")

    def data(self):
        """The data of the next event."""
        return self.next()[1]["data"]

    def rest(self):
        """All messages until the end."""
        messages = []
        while (message := self.next()) is not None:
            messages.append(message)
        return messages

    def close(self):
        # The answer also holds the socket.
        self.answer.close()
        self.connection.close()


@pytest.fixture
def stream(opener):
    """stream(server, "chat.a", since=…) opens a stream that is closed with the test."""
    return opener(Stream)


@pytest.fixture
def kept(launch):
    return launch(**CONFIG)


def begun(client):
    """The resume object at the beginning of a stream."""
    kind, resume, cursor = client.next()
    assert (kind, cursor) == ("resume", resume["cursor"])
    return resume


def publish(server, to, *data, kind="note"):
    for value in data:
        answer = server.get("/api/v1/events", "POST", json.dumps({"to": to, "type": kind, "data": value}))
        assert answer.status == 200, answer.text


def streams(server):
    """The open streams in the operators' list."""
    return [each for each in server.json("/api/v1/connections")["connections"] if each["dialect"] == "stream"]


@pytest.mark.parametrize("accept", [None, "text/event-stream", LINES, "*/*", "application/json, Application/X-NDJSON;q=0.9"])
def test_events_in_the_form_that_is_asked_for(kept, stream, accept):
    client = stream(kept, "chat.*", accept=accept)
    client.lines = "ndjson" in (accept or "").lower()
    assert client.status == 200
    assert client.headers["content-type"] == (LINES if client.lines else "text/event-stream")
    assert (client.headers["cache-control"], client.headers["x-accel-buffering"]) == ("no-store", "no")
    assert begun(client) == {"cursor": begun(stream(kept, "chat.*"))["cursor"], "recovered": True, "replayed": 0}
    publish(kept, {"channel": "chat.a"}, {"n": 1})
    kind, event, cursor = client.next()
    assert (kind, event["channel"], event["type"], event["data"], event["sender"]) == ("note", "chat.a", "note", {"n": 1}, None)
    assert set(event) == {"channel", "type", "data", "sender", "id", "timestamp"} and cursor
    publish(kept, {"channel": "other"}, 2)  # has no history, and is not requested
    publish(kept, {"channel": "chat.b"}, 3)
    assert client.data() == 3


@pytest.mark.parametrize("accept", [None, LINES])
def test_a_cursor_and_a_rewind_bring_what_was_missed(kept, stream, accept):
    client = stream(kept, "chat.*", accept=accept)
    start = begun(client)["cursor"]
    publish(kept, {"channel": "chat.a"}, 1, 2, 3)
    first = client.next()[2]
    client.close()
    for query, missed in [({"since": first}, [2, 3]), ({"since": start}, [1, 2, 3]), ({"rewind": "2"}, [2, 3]), ({"rewind": "5m"}, [1, 2, 3])]:
        client = stream(kept, "chat.*", accept=accept, **query)
        resume = begun(client)
        assert (resume["recovered"], resume["replayed"]) == (True, len(missed)), query
        assert [client.data() for _ in missed] == missed, query
    # The browser's last event id takes precedence over the URL.
    client = stream(kept, "chat.*", accept=accept, headers={"Last-Event-ID": first}, since=start)
    assert begun(client)["replayed"] == 2


def test_a_poll_ends_when_nothing_is_left(kept, stream):
    for accept in [None, LINES]:
        publish(kept, {"channel": "chat.a"}, *range(10))
        client = stream(kept, "chat.*", accept=accept, rewind=5, poll=1)
        messages = client.rest()
        assert [data["data"] for _, data, _ in messages[1:-1]] == [5, 6, 7, 8, 9]
        assert messages[-1] == ("stream.end", {"reason": "complete"}, None)
        # The cursor of one poll is the start of the next.
        cursor = messages[-2][2]
        publish(kept, {"channel": "chat.b"}, "new")
        messages = stream(kept, "chat.*", accept=accept, since=cursor, poll=1).rest()
        assert [data["data"] for _, data, _ in messages[1:-1]] == ["new"]
    wait_until(lambda: not streams(kept), what="no stream")


def test_a_long_poll_arrives_whole(launch, stream):
    """More events than the queue of a connection holds: they are sent as the client reads."""
    server = launch(**CONFIG | {
        "channel": [{"pattern": "chat.**", "subscribe": "anyone", "history": {"size": 900, "ttl": "5m"}}],
        "history": {"replay_limit": 1000}, "stream": {"send_queue": 64},
    })
    publish(server, {"channel": "chat.a"}, *[f"{n} " + "x" * 5_000 for n in range(800)])
    client = stream(server, "chat.a", rewind=1000, poll=1)
    messages = client.rest()
    assert [int(data["data"].split()[0]) for _, data, _ in messages[1:-1]] == list(range(800))


@pytest.mark.parametrize(
    ("since", "reason"),
    [("gone", "unknown"), ("0000000000000001-1", "epoch"), ("\0", "unknown"), ("x" * 7000, "unknown"), ("ü", "unknown"), ("-", "unknown")],
)
def test_a_bad_cursor_is_not_recovered_and_the_stream_goes_on(kept, stream, since, reason):
    client = stream(kept, "chat.a", since=since)
    resume = begun(client)
    assert (resume["recovered"], resume["replayed"], resume["reason"]) == (False, 0, reason)
    publish(kept, {"channel": "chat.a"}, 1)
    assert client.data() == 1


def test_bad_requests_are_refused_with_their_reason(kept, stream):
    for channels, query, status, words in [
        ([], {}, 400, "channel is required"),
        ([""], {}, 400, "the name is empty"),
        (["chat.a", "a..b"], {}, 400, 'channel "a..b"'),
        (["a\0b"], {}, 400, "control"),
        (["chat.a*"], {}, 400, "chat.a*"),
        (["x" * 300], {}, 400, "xxx…"),
        (["closed.x"], {}, 403, 'channel "closed.x": not allowed'),
        (["chat.a", "members.x"], {}, 403, 'channel "members.x": not allowed'),
        (["chat.a"], {"token": "no token"}, 401, "not valid"),
        (["chat.a"], {"token": token("ann", ttl=-60)}, 401, "expired"),
        (["members.x", "notifications.user.bob"], {"token": token("ann")}, 403, "notifications.user.bob"),
    ]:
        client = stream(kept, *channels, **query)
        error = client.error()
        assert (client.status, words in error["message"]) == (status, True), (channels, error)
        assert client.headers["content-type"] == "application/json" and error["code"]
    assert stream(kept, "chat.a", method="POST").status == 405
    assert stream(kept, "x" * 100_000).status in (414, 431)
    head = stream(kept, "chat.a", method="HEAD")
    assert (head.status, head.headers["content-type"], head.answer.read()) == (200, "text/event-stream", b"")
    assert stream(kept, "closed.x", method="HEAD").status == 403
    wait_until(lambda: not streams(kept), what="no stream")


def test_a_users_events_and_those_for_everyone(kept, stream):
    ann = {"Authorization": f"Bearer {token('ann')}"}
    client = stream(kept, "notifications.user.ann", "notifications", headers=ann)
    cursor = begun(client)["cursor"]
    publish(kept, {"user": "bob"}, "not mine")
    publish(kept, {"user": "ann"}, "mine")
    publish(kept, "everyone", "everyone's")
    events = [client.next()[1] for _ in range(2)]
    assert [(event["channel"], event["data"]) for event in events] == [("notifications.user.ann", "mine"), ("notifications", "everyone's")]
    client.close()
    again = stream(kept, "notifications.user.ann", "notifications", since=cursor, headers=ann)
    assert begun(again)["replayed"] == 2
    # Without a channel that shows them, they do not arrive.
    other = stream(kept, "chat.a", rewind=10, poll=1, headers=ann)
    assert len(other.rest()) == 2


def test_a_pattern_shows_what_the_rules_allow(kept, stream):
    anonymous, ann = stream(kept, "**", poll=0), stream(kept, "**", token=token("ann"))
    begun(anonymous), begun(ann)
    publish(kept, {"channel": "closed.a"}, 1)
    publish(kept, {"channel": "members.a"}, 2)
    publish(kept, {"channel": "chat.a"}, 3)
    assert anonymous.data() == 3
    assert [ann.data(), ann.data()] == [2, 3]


def test_an_api_key_reads_what_it_likes_until_it_is_revoked(kept, stream):
    def by(key):
        return {"Authorization": f"Bearer {key}"} if key else {}

    def create(scope, creator=None):
        answer = kept.get("/api/v1/keys", "POST", json.dumps({"name": scope, "scopes": [scope]}), **by(creator))
        return json.loads(answer.text)

    admin = create("admin")["key"]
    reader, publisher = create("read", admin), create("publish", admin)["key"]
    clients = [stream(kept, "closed.x", headers=by(reader["key"])), stream(kept, "closed.**", token=reader["key"])]
    for client in clients:
        begun(client)
    answer = kept.get("/api/v1/events", "POST", json.dumps({"to": {"channel": "closed.x"}, "data": 1}), **by(publisher))
    assert answer.status == 200, answer.text
    assert [client.data() for client in clients] == [1, 1]
    assert stream(kept, "closed.x", headers=by(publisher)).status == 403
    assert stream(kept, "closed.x", headers=by(reader["key"] + "x")).status == 401
    assert kept.get(f"/api/v1/keys/{reader['id']}", "DELETE", **by(admin)).status in (200, 204)
    for client in clients:
        assert client.rest() == [("stream.end", {"reason": "session_terminated"}, None)]
    assert stream(kept, "closed.x", headers=by(reader["key"])).status == 401


def test_every_listener_serves_streams(launch, stream):
    server = launch(**all_dialects(**CONFIG))
    opened = [stream(server, "chat.a", port=port_of(server, name)) for name in NAMES]
    for client in opened:
        begun(client)
    publish(server, {"channel": "chat.a"}, 1)
    assert [client.data() for client in opened] == [1] * len(NAMES)
    assert server.prometheus("fanfare_connections") == len(NAMES)


def test_a_prefix_is_before_it(launch):
    server = launch(prefix="/live", **CONFIG)
    assert server.get("/api/v1/stream?channel=chat.a&poll=1").status == 200  # `get` adds the prefix
    server.prefix = ""
    assert server.get("/api/v1/stream?channel=chat.a&poll=1").status == 404


def test_it_is_a_connection_like_any_other(kept, stream):
    client = stream(kept, "chat.a", "chat.b.*", token=token("ann"), headers={"User-Agent": "test/1"})
    begun(client)
    [listed] = streams(kept)
    assert (listed["user"], listed["subscriptions"]) == ("ann", ["chat.a", "chat.b.*"])
    answer = kept.get(f"/api/v1/connections/{listed['id']}", "DELETE")
    assert answer.status in (200, 204), answer.text
    assert client.rest() == [("stream.end", {"reason": "dismissed"}, None)]
    wait_until(lambda: not streams(kept), what="no stream")
    # A client that vanishes is removed at once.
    client = stream(kept, "chat.a")
    begun(client)
    assert len(streams(kept)) == 1
    client.close()
    wait_until(lambda: not streams(kept), 5, "no stream")


def test_it_ends_with_its_token(kept, stream):
    client = stream(kept, "members.a", token=token("ann", ttl=2))
    begun(client)
    assert client.rest() == [("stream.end", {"reason": "token_expired"}, None)]


def test_it_ends_with_the_server(kept, stream):
    clients = [stream(kept, "chat.a", accept=accept) for accept in (None, LINES)]
    for client in clients:
        begun(client)
    kept.signal(signal.SIGTERM)
    for client in clients:
        assert client.rest() == [("stream.end", {"reason": "shutting_down"}, None)]
    assert kept.wait() == 0


def test_a_browser_that_comes_back_too_early_comes_back_again(launch, stream):
    """An EventSource stops at any status but 200, so it is refused by a stream that ends at once."""
    server = launch(**CONFIG, shutdown={"timeout": "20s", "drain_window": "8s"})
    clients = [stream(server, "chat.a") for _ in range(8)]
    cursor = [begun(client) for client in clients][0]["cursor"]
    server.signal(signal.SIGTERM)
    wait_until(lambda: stream(server, "chat.a").status == 503, what="a drain")
    again = stream(server, "chat.a", headers={"Last-Event-ID": cursor})
    assert (again.status, again.rest()) == (200, [("stream.end", {"reason": "shutting_down"}, None)])
    assert 1_000 <= int(again.retry) < 5_000
    assert stream(server, "chat.a", accept=LINES, headers={"Last-Event-ID": cursor}).status == 503
    for client in clients:
        assert client.rest()[-1][0] == "stream.end"
    assert server.wait() == 0


def test_limits_are_those_of_a_dialect(launch, stream):
    server = launch(**CONFIG, stream={"max_connections": 3, "max_connections_per_user": 1, "max_subscriptions": 2})
    ann = stream(server, "chat.a", token=token("ann"))
    begun(ann)
    assert stream(server, "chat.a", token=token("ann")).status == 429
    assert stream(server, "chat.a", "chat.b", "chat.c").error()["message"].endswith("more channels than a stream may have")
    begun(stream(server, "chat.a", "chat.b", "chat.b"))
    begun(stream(server, "chat.a"))
    full = stream(server, "chat.a")
    assert (full.status, full.headers["retry-after"]) == (503, "5")
    ann.close()
    wait_until(lambda: len(streams(server)) == 2, what="a place")
    begun(stream(server, "chat.a"))


def test_limits_of_an_address_and_of_its_rate(launch, stream):
    server = launch(**CONFIG, stream={"max_connections_per_ip": 1})
    begun(stream(server, "chat.a"))
    assert stream(server, "chat.a").status == 429
    server = launch(**CONFIG, limits={"upgrades_per_second_per_ip": 1, "burst": 2})
    statuses = [stream(server, "chat.a", poll=1).status for _ in range(5)]
    assert statuses[:2] == [200, 200] and 429 in statuses[2:]


def test_pages_of_other_origins(launch, stream):
    server = launch(**CONFIG, auth={"allowed_origins": ["https://app.example"]})
    good = stream(server, "chat.a", headers={"Origin": "https://app.example"})
    assert (good.status, good.headers["access-control-allow-origin"]) == (200, "https://app.example")
    bad = stream(server, "chat.a", headers={"Origin": "https://other.example"})
    assert (bad.status, bad.error()["message"]) == (403, "origin not allowed")
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id"}
    preflight = server.get("/api/v1/stream", "OPTIONS", **headers)
    assert (preflight.status, preflight.headers["access-control-allow-headers"]) == (204, "last-event-id")


def test_comments_come_and_clients_differ_in_when_they_come_back(launch, stream):
    server = launch(**CONFIG, stream={"ping_interval": "300ms", "ping_timeout": "2s"})
    clients = [stream(server, "chat.a", accept=accept) for accept in [None] * 6 + [LINES]]
    for client in clients:
        begun(client)
    retries = {client.retry for client in clients[:6]}
    assert len(retries) > 1 and all(1_000 <= int(retry) < 5_000 for retry in retries)
    time.sleep(3)  # longer than a WebSocket client may be silent
    publish(server, {"channel": "chat.a"}, 1)
    for client in clients:
        assert client.data() == 1 and client.comments >= 3


def test_a_reader_that_never_reads_is_closed_and_others_are_not(launch, stream):
    server = launch(**CONFIG, stream={"send_queue": 16, "send_queue_size": 65_536, "ping_interval": "1s", "ping_timeout": "3s"})
    stuck = socket.create_connection(("127.0.0.1", server.port))
    with contextlib.closing(stuck):
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(b"GET /api/v1/stream?channel=chat.a HTTP/1.1\r\nHost: x\r\n\r\n")
        reader = stream(server, "chat.a")
        begun(reader)
        wait_until(lambda: len(streams(server)) == 2, what="two streams")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            read = pool.submit(lambda: [len(reader.data()) for _ in range(300)])
            for _ in range(300):
                publish(server, {"channel": "chat.a"}, "x" * 50_000)
            assert read.result(60) == [50_000] * 300
        wait_until(lambda: len(streams(server)) == 1, 60, "the stuck stream's end")
    # By the limits of its queue, or because it acknowledged nothing for longer than `ping_timeout`.
    lost = [server.prometheus(f"fanfare_messages_{what}_total") for what in ("dropped", "abandoned")]
    assert sum(lost) >= 1


def test_what_a_client_sends_behind_its_request_means_nothing(kept):
    with contextlib.closing(socket.create_connection(("127.0.0.1", kept.port))) as client:
        request = b"GET /api/v1/stream?channel=chat.a HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(request + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + b"\0\xff" * 100_000)
        client.settimeout(20)
        received = b""
        while b"resume" not in received:
            received += client.recv(65_536)
        publish(kept, {"channel": "chat.a"}, "still here")
        while b"still here" not in received:
            received += client.recv(65_536)
        assert received.count(b"HTTP/1.1") == 1


def test_an_old_client_gets_a_body_without_chunks(kept):
    with contextlib.closing(socket.create_connection(("127.0.0.1", kept.port))) as client:
        client.sendall(b"GET /api/v1/stream?channel=chat.a&poll=1 HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n")
        client.settimeout(20)
        received = b""
        while part := client.recv(65_536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200") and b"chunked" not in head
    assert [json.loads(line)["type"] for line in body.splitlines()] == ["resume", "stream.end"]


def test_nothing_of_it_is_in_the_log(kept, stream):
    secret = token("ann")
    begun(stream(kept, "members.secret-name", token=secret))
    publish(kept, {"channel": "members.secret-name"}, "secret-data")
    stream(kept, "closed.secret-name", token=secret)
    log = kept.log()
    assert secret not in log and "secret-data" not in log and "secret-name" not in log


def test_a_restart_with_redis_loses_and_repeats_nothing(launch, stream, cleanup):
    broker = Redis().start()
    cleanup.callback(broker.remove)
    tables = {**CONFIG, "broker": {"kind": "redis", "url": broker.url}}
    first, other = launch(**tables), launch(**tables)
    client = stream(first, "chat.*")
    begun(client)
    publish(other, {"channel": "chat.a"}, 1)
    _, event, cursor = client.next()
    assert event["data"] == 1
    first.signal(signal.SIGTERM)
    assert client.rest()[-1][0] == "stream.end"
    assert first.wait() == 0
    publish(other, {"channel": "chat.a"}, 2, 3)
    first.start()
    client = stream(first, "chat.*", headers={"Last-Event-ID": cursor})
    assert begun(client)["replayed"] == 2
    publish(other, {"channel": "chat.b"}, 4)
    assert [client.data() for _ in range(3)] == [2, 3, 4]
    # The other node has the same journal.
    assert begun(stream(other, "chat.*", since=cursor))["replayed"] == 3


def test_the_command_line_reads_what_was_missed(kept):
    url = f"http://127.0.0.1:{kept.port}"
    publish(kept, {"channel": "chat.a"}, 1, {"two": 2}, 3)
    publish(kept, {"user": "ann"}, "hers")
    publish(kept, "everyone", "all")

    def printed(*arguments):
        done = run(*arguments, "--url", url, FANFARE_AUTH_JWT_SECRET=SECRET)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    kept_events = printed("history", "--channel", "chat.a")
    assert [event["data"] for event in kept_events] == [1, {"two": 2}, 3]
    assert [event["data"] for event in printed("history", "--channel", "chat.a", "--reverse", "--limit", "2")] == [3, {"two": 2}]
    assert [event["data"] for event in printed("history", "--user", "ann")] == ["hers"]
    assert [event["data"] for event in printed("history", "--everyone", "--json")] == ["all"]
    cursor = kept_events[0]["cursor"]
    assert [event["data"] for event in printed("history", "--channel", "chat.a", "--since", cursor)] == [{"two": 2}, 3]
    for since, count, expected in [(cursor, 2, [{"two": 2}, 3]), ("1", 1, [3]), ("5m", 3, [1, {"two": 2}, 3])]:
        events = printed("listen", "--channel", "chat.a", "--since", since, "--count", str(count))
        assert [event["data"] for event in events] == expected, since
    assert [event["data"] for event in printed("listen", "--user", "ann", "--since", "5m", "--count", "2")] == ["hers", "all"]
    refused = run("listen", "--channel", "closed.x", "--since", "1", "--url", url)
    assert (refused.returncode, "not allowed" in refused.stderr) == (1, True), refused.stderr
    both = run("listen", "--channel", "a", "--since", "1", "--dialect", "topics")
    assert both.returncode == 2, both.stderr
