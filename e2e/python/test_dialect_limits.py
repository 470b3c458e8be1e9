"""Every limit of every dialect, on numbers, sizes and rates, and the text of its refusal."""

import itertools
import json
import time

import pytest
import websockets

from dialects import DIALECTS, NAMES, TALKING, Speaker, all_dialects, ask, closing, complaint, raw
from fanfare import token, wait_until
from wire import frame, frames

TEXT = 1


def realtimes(code, message, **details):
    return {"error": {"code": code, "message": message, "details": details}}


REFUSED = {
    "max_connections": {
        "notify": (503, ""),
        "broadcast": (1008, "Connection limit exceeded: 1/1"),
        "topics": (1008, "server at capacity"),
        "realtime": (503, realtimes("SERVER_FULL", "Server at capacity", active_connections=1, max_connections=1)),
        "rooms": (4429, "Too Many Connections"),
    },
    "max_connections_per_ip": {
        "notify": (503, ""),
        "broadcast": (1008, "Connection limit exceeded for this address"),
        "topics": (1008, "too many connections from this address"),
        "realtime": (429, realtimes("RATE_LIMITED", "Too many connections from this address")),
        "rooms": (4429, "Too Many Connections"),
    },
    "max_connections_per_user": {
        "notify": (503, ""),
        "broadcast": (1008, "Connection limit exceeded for this user"),
        "topics": (1008, "too many connections of this user"),
        "realtime": (429, realtimes("RATE_LIMITED", "Too many connections of this user")),
        "rooms": (4429, "Too Many Connections"),
    },
}


def knock(server, dialect, user="ann", **options):
    """The answer to a new connection: None if it is accepted, else (status, body) before the upgrade or (code, reason) after it."""
    try:
        client = Speaker(server, dialect, user, **options)
    except websockets.InvalidStatus as refused:
        body = refused.response.body.decode()
        is_json = refused.response.headers.get("Content-Type", "").startswith("application/json")
        return refused.response.status_code, json.loads(body) if is_json else body
    except websockets.ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason
    try:
        if dialect != "notify":
            client.alive()
    except websockets.ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason
    finally:
        client.close()


@pytest.mark.parametrize("limit", REFUSED)
@pytest.mark.parametrize("dialect", NAMES)
def test_connections_over_a_limit_are_refused(launch, speak, dialect, limit):
    server = launch(**all_dialects(**{dialect: {limit: 1}}))
    first = speak(server, dialect)
    for _ in range(3):
        assert knock(server, dialect) == REFUSED[limit][dialect]
    if limit == "max_connections_per_user":
        assert knock(server, dialect, "bob") is None, "another user is let in"
    for other in NAMES:
        assert other == dialect or knock(server, other) is None, "other dialects have limits of their own"
    if dialect != "notify":
        first.alive()
    if (dialect, limit) != ("topics", "max_connections_per_user"):  # the user is known only after the handshake
        assert server.prometheus("fanfare_handshakes_refused_total") == 3
    first.close()
    wait_until(lambda: knock(server, dialect) is None, what="room after one has left")


def test_the_default_limits_are_those_of_the_documents(launch, speak):
    """Five connections of one user in rooms; a hundred of one address in topics."""
    server = launch(**all_dialects())
    tabs = [speak(server, "rooms") for _ in range(5)]
    assert knock(server, "rooms") == (4429, "Too Many Connections")
    assert knock(server, "rooms", "bob") is None
    tabs[0].close()
    wait_until(lambda: knock(server, "rooms") is None, what="room for another tab")

    peers = [raw(server, "topics") for _ in range(100)]
    assert knock(server, "topics") == (1008, "too many connections from this address")
    peers.pop().close()
    wait_until(lambda: knock(server, "topics") is None, what="room for another address")
    for peer in peers:
        peer.close()


def test_a_refused_connection_is_not_counted(launch, speak):
    """The number of active connections never exceeds the maximum, even if clients close at once."""
    server = launch(**all_dialects(broadcast={"max_connections": 1}, rooms={"max_connections": 1}))
    speak(server, "broadcast"), speak(server, "rooms")
    # They do not answer the close.
    mute = [raw(server, name, token("bob")) for name in ("broadcast", "rooms") for _ in range(5)]
    assert json.loads(ask(server, "broadcast", "/health").text)["connections"]["active"] == 1
    for peer in mute:
        assert closing(frames(peer)) in (REFUSED["max_connections"]["broadcast"], REFUSED["max_connections"]["rooms"])
        peer.close()


@pytest.mark.parametrize("full, status", [(["broadcast"], 200), (["rooms"], 200), (["broadcast", "rooms"], 503)])
def test_a_listener_of_two_dialects_is_full_when_both_are_full(launch, speak, full, status):
    """A listener is full when all of its dialects are full."""
    arguments = all_dialects(**{name: {"max_connections": 1} for name in full})
    arguments["listener"] = [{"bind": f"127.0.0.1:{arguments['port']}", "dialects": ["broadcast", "rooms"]}]
    server = launch(**arguments)
    for name in full:
        speak(server, name)
    answer = server.get("/health")
    health = json.loads(answer.text)
    assert (answer.status, health["status"], health.get("reason")) == (
        (503, "unhealthy", "At capacity") if status == 503 else (200, "healthy", None))


# --- slow readers ---

TO = {
    "notify": {"user": "slow"}, "broadcast": {"user": "slow"}, "topics": {"channel": "c"}, "realtime": {"channel": "c"},
    "rooms": {"channel": "channel:1"},
}
LISTEN = {
    "topics": [{"type": "auth"}, {"type": "subscribe", "topic": "c"}],
    "realtime": [{"type": "Subscribe", "data": {"topics": ["c"]}}],
    "rooms": [{"type": "join_room", "room": "channel:1"}],
}


@pytest.mark.parametrize("dialect", NAMES)
def test_a_slow_reader_is_closed_and_no_client_waits_for_it(launch, speak, dialect):
    server = launch(**all_dialects(**{dialect: {"send_queue": 8}}))
    reader, numbers = speak(server, dialect, "slow"), itertools.count(1)
    if dialect in LISTEN:
        reader.subscribe(TO[dialect]["channel"])
    peer = raw(server, dialect, reader.token)
    for each in LISTEN.get(dialect, []):
        peer.sendall(frame(TEXT, json.dumps(each | {"token": reader.token}).encode()))

    def published():
        n = next(numbers)
        event = {"to": TO[dialect], "type": "big", "data": {"x": "x" * 200_000, "n": n}}
        recipients = json.loads(server.get("/api/v1/events", "POST", json.dumps(event)).text)["recipients"]
        assert f'"n": {n}}}' in reader.next()
        return recipients

    wait_until(lambda: published() == 2, what="both to receive it")
    wait_until(lambda: published() == 1, what="one of them to be given up")
    if dialect != "notify":
        reader.alive()
    assert closing(frames(peer)) == (1008, "slow consumer")
    peer.close()
    wait_until(lambda: server.connections() == (1 if dialect == "notify" else 0))


# --- fast senders ---

TOO_FAST = {
    "broadcast": (429, "Rate limit exceeded"), "topics": (429, "Too many messages"), "realtime": (429, "too many messages"),
    "rooms": "Rate limit exceeded",
}


@pytest.mark.parametrize("dialect", TALKING)
def test_messages_over_the_rate_are_dropped(launch, speak, dialect):
    server = launch(**all_dialects(limits={"messages_per_second_per_connection": 1, "burst": 4}))
    client, other = speak(server, dialect), speak(server, dialect, "bob")
    for _ in range(10):
        client.say(DIALECTS[dialect].ping)
    answers = [client.next_json() for _ in range(10)]
    dropped = [complaint(dialect, answer) for answer in answers if answer["type"] != DIALECTS[dialect].pong]
    assert 5 <= len(dropped) <= 7 and set(dropped) == {TOO_FAST[dialect]}
    other.alive()  # each connection has its own rate
    # After a pause, messages are accepted again.
    wait_until(lambda: client.ask(DIALECTS[dialect].ping)["type"] == DIALECTS[dialect].pong or time.sleep(0.3))


def test_ten_seconds_over_the_rate_end_a_connection(launch, speak):
    server = launch(**all_dialects(limits={"messages_per_second_per_connection": 2, "burst": 2}))
    clients = [speak(server, name) for name in TALKING]
    ends, began = {}, time.monotonic()
    while len(ends) < len(clients) and time.monotonic() < began + 20:
        for client in clients:
            if client.name in ends:
                continue
            try:
                for _ in range(4):
                    client.say(client.dialect.ping)
                for _ in range(4):
                    client.next()
            except websockets.ConnectionClosed as closed:
                ends[client.name] = closed.rcvd.code, closed.rcvd.reason
                assert time.monotonic() - began > 9
        time.sleep(0.1)
    assert ends == dict.fromkeys(TALKING, (1008, "rate limit exceeded"))


def test_messages_within_the_rate_are_never_dropped(launch, speak):
    server = launch(**all_dialects(limits={"messages_per_second_per_connection": 1000, "burst": 1000}))
    for name in TALKING:
        client = speak(server, name)
        for _ in range(200):
            client.alive()


# --- the number of subscriptions, and the length of names ---


def test_topics_limits_subscriptions(launch, speak):
    client = speak(launch(**all_dialects(topics={"max_subscriptions": 3})), "topics")
    full = (400, "topic", "the connection has as many as it may")
    for name in ("a", "b.*", "notifications.user.ann"):
        client.subscribe(name)
    assert client.complaint(type="subscribe", topic="d") == full
    client.subscribe("a")  # an existing subscription does not count again
    answers = [client.ask(type="subscribe", topics=["a", "d", "b.*"]), client.next_json(), client.next_json()]
    assert [answer["type"] for answer in answers] == ["subscribed", "error", "subscribed"]
    assert client.ask(type="unsubscribe", topic="a")["type"] == "unsubscribed"
    client.subscribe("d")


def test_a_name_that_occurs_twice_in_a_list_counts_once(launch, speak):
    server = launch(**all_dialects(topics={"max_subscriptions": 2}, realtime={"max_subscriptions": 2}))
    client = speak(server, "topics")
    client.say(type="subscribe", topics=["a", "a", "a", "b"])
    assert [client.next_json()["type"] for _ in range(4)] == ["subscribed"] * 4
    client = speak(server, "realtime")
    assert client.ask(type="Subscribe", data={"topics": ["a", "a", "a", "b"]})["type"] == "Status"


def test_realtime_limits_subscriptions(launch, speak):
    client = speak(launch(**all_dialects(realtime={"max_subscriptions": 2})), "realtime")
    client.subscribe("a")
    assert client.complaint(type="Subscribe", data={"topics": ["b", "c"]}) == (400, "too many subscriptions")
    client.subscribe("b")  # no part of the refused list was subscribed
    client.subscribe("a")
    assert client.complaint(type="Subscribe", data={"topics": ["c"]}) == (400, "too many subscriptions")
    assert client.ask(type="Unsubscribe", data={"topics": ["a"]})["data"]["status"] == "unsubscribed"
    client.subscribe("c")


def test_rooms_limits_the_rooms_of_a_connection(launch, speak):
    client = speak(launch(**all_dialects(rooms={"max_subscriptions": 1})), "rooms")
    client.subscribe("channel:1")
    assert client.complaint(type="join_room", room="channel:2") == "Too many rooms"
    assert client.ask(type="join_room", room="channel:1")["type"] == "joined_room"
    assert client.ask(type="leave_room", room="channel:1")["type"] == "left_room"
    client.subscribe("channel:2")


LONGEST = {"topics": "t" * 255, "realtime": "t" * 255, "rooms": "channel:" + "r" * 247}
DEEPEST = {"topics": ".".join("a" * 32), "realtime": ":".join("a" * 32), "rooms": "channel:" + ".".join("a" * 31)}


@pytest.mark.parametrize("dialect", LONGEST)
def test_names_of_255_bytes_and_32_segments_are_accepted(launch, speak, dialect):
    client = speak(launch(**all_dialects()), dialect)
    for name, more in ((LONGEST[dialect], "x"), (LONGEST[dialect][:-2] + "é", "x"), (DEEPEST[dialect], ".a")):
        client.subscribe(name)
        with pytest.raises(AssertionError, match=r"[Ee]rror.*([Ii]nvalid)"):
            client.subscribe(name + more)
        client.alive()
