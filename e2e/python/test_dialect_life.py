"""The life of connections of each dialect: pings and silence, expiring tokens, test notifications, and drains."""

import json
import signal
import time

import pytest
import websockets

from dialects import DIALECTS, NAMES, TALKING, TIME, Speaker, all_dialects, ask, closing, complaint, raw
from fanfare import token, wait_until
from wire import frame, frames

TEXT, PING, PONG = 1, 9, 10
EVENTS = "/api/v1/events"


def everywhere(**settings):
    """The same settings in every dialect's table."""
    return {name: settings for name in NAMES}


def publish(server, to, data, type="news"):
    return json.loads(server.get(EVENTS, "POST", json.dumps({"to": to, "type": type, "data": data})).text)["recipients"]


# --- pings and silence ---

IMPATIENT = everywhere(ping_interval="250ms", ping_timeout="750ms")


def test_a_silent_connection_is_closed(launch):
    """A silent connection is pinged first, and its close has the reason."""
    server = launch(**all_dialects(**IMPATIENT))
    for name, peer in [(name, raw(server, name, token("mute"))) for name in NAMES]:
        got = list(frames_until_close(peer))
        assert PING in [opcode for opcode, _ in got], name
        assert closing(got) == (1008, "ping timeout"), name
    wait_until(lambda: server.connections() == 0)


def frames_until_close(peer):
    for opcode, payload in frames(peer):
        yield opcode, payload
        if opcode == 8:
            peer.close()
            return


def test_any_frame_counts_as_activity(launch):
    """A client that answers no ping also stays connected by other messages: a pong or a ping of WebSocket, the dialect's own, or an invalid one."""
    server = launch(**all_dialects(**IMPATIENT))
    signs = {"pong": frame(PONG), "ping": frame(PING), "empty": frame(TEXT), "nonsense": frame(TEXT, b"x")}
    peers = [(name, sign, raw(server, name, token(f"{name} {n}"))) for name in NAMES for n, sign in enumerate(signs.values())]
    peers += [(name, frame(TEXT, DIALECTS[name].ping.encode()), raw(server, name, token(name))) for name in TALKING]
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for _, sign, peer in peers:
            peer.sendall(sign)
        time.sleep(0.2)
    assert server.prometheus("fanfare_connections") == len(peers)
    for _, _, peer in peers:
        peer.close()


def test_broadcast_also_pings_in_json(launch, speak):
    """Its pings are also sent as JSON, and an answer to either counts; no other dialect sends them."""
    server = launch(**all_dialects(**IMPATIENT))
    peer = raw(server, "broadcast", client_id="json")
    kinds = set()
    for opcode, payload in frames(peer):
        if opcode == TEXT and json.loads(payload)["type"] == "ping":
            assert json.loads(payload).keys() == {"type", "timestamp"} and TIME.fullmatch(json.loads(payload)["timestamp"])
        kinds.add(opcode)
        if kinds == {TEXT, PING}:
            break
    silent = [speak(server, name, "ann") for name in ("notify", "topics", "realtime", "rooms")]
    for client in silent:
        client.nothing(within=0.6 if client is silent[0] else 0)
    peer.close()


def test_status_shows_the_time_of_the_last_answered_ping(launch, speak):
    """Null before the first answer, then the time of it, whichever ping was answered."""
    server = launch(**all_dialects(broadcast={"ping_interval": "400ms", "ping_timeout": "30s"}))

    def last_pings():
        details = json.loads(ask(server, "broadcast", "/status").text)["connections"]["details"]
        return {each["client_id"]: each["last_ping"] for each in details}

    peers = {name: raw(server, "broadcast", client_id=name) for name in ("mute", "frame", "json pong", "json ping")}
    assert last_pings() == dict.fromkeys(peers)
    peers["frame"].sendall(frame(PONG))
    peers["json pong"].sendall(frame(TEXT, b'{"type":"pong"}'))
    peers["json ping"].sendall(frame(TEXT, b'{"type":"ping"}'))
    wait_until(lambda: all(TIME.fullmatch(last or "") for name, last in last_pings().items() if name != "mute"))
    assert last_pings()["mute"] is None
    for peer in peers.values():
        peer.close()


# --- expiring tokens ---


def test_an_expired_token_closes_its_connection(launch, speak):
    server = launch(**all_dialects())
    ends = {"notify": (1008, "token expired"), "broadcast": (1008, "token expired"), "realtime": (1008, "token expired"),
            "rooms": (4401, "token expired")}
    clients = [speak(server, name, "ann", {"exp": int(time.time()) + 2}) for name in ends]
    anonymous = [speak(server, name, None) for name in ("broadcast", "realtime")]
    for client in clients:
        assert client.closed() == ends[client.name], client.name
    for client in anonymous:
        client.alive()


NEED_A_TOKEN = [
    {"type": "subscribe", "topic": "a"}, {"type": "unsubscribe", "topic": "a"}, {"type": "message", "topic": "a", "data": 1},
]


@pytest.fixture
def expiring(launch, speak):
    """A topics client whose token has just expired, and its server; the grace is a parameter."""

    def made(grace="30s"):
        server = launch(**all_dialects(topics={"reauth_grace": grace}))
        client = speak(server, "topics", prove=False)
        client.prove(token("ann", exp=int(time.time()) + 4))
        client.subscribe("t.*")
        assert publish(server, {"channel": "t.1"}, "before") == 1
        assert client.next_json()["data"] == "before"
        assert complaint("topics", client.next_json()) == (401, "Token expired")
        return server, client

    return made


def test_topics_pauses_events_until_the_same_user_authenticates_again(expiring):
    server, client = expiring()
    assert publish(server, {"channel": "t.1"}, "meanwhile") == 0
    for frame in NEED_A_TOKEN:
        assert client.complaint(**frame) == (401, "Token expired")
    client.alive()
    assert client.complaint(type="auth", token=token("bob")) == (401, "Token belongs to another user")
    assert client.complaint(type="auth", token=token("ann", ttl=-5)) == (401, "Token expired")
    assert client.complaint(type="auth", token="nonsense") == (401, "Invalid token")
    assert publish(server, {"channel": "t.1"}, "still not") == 0

    client.prove(token("ann"))
    assert publish(server, {"channel": "t.1"}, "after") == 1
    assert client.next_json()["data"] == "after"
    client.subscribe("a")


def test_topics_closes_a_connection_after_the_grace(expiring):
    _, client = expiring("300ms")
    assert client.closed() == (1008, "token expired")


def test_another_users_token_does_not_stop_the_grace(expiring):
    _, client = expiring("600ms")
    assert client.complaint(type="auth", token=token("bob")) == (401, "Token belongs to another user")
    assert client.closed() == (1008, "token expired")


def test_topics_closes_a_connection_that_does_not_authenticate_in_time(launch, speak):
    server = launch(**all_dialects(topics={"auth_timeout": "500ms"}))
    proven, never, busy = (speak(server, "topics", prove=False) for _ in range(3))
    proven.prove(token("ann"))
    for frame in NEED_A_TOKEN:
        assert busy.complaint(**frame) == (401, "Authentication required")
    assert busy.complaint(type="auth", token="nonsense") == (401, "Invalid token")
    busy.alive()
    assert never.closed() == (1008, "authentication timeout")
    assert busy.closed() == (1008, "authentication timeout")
    proven.alive()


def test_a_connection_in_topics_stays_with_its_user(launch, speak):
    client = speak(launch(**all_dialects()), "topics")
    assert client.complaint(type="auth", token=token("bob")) == (401, "Token belongs to another user")
    assert client.prove(token("ann", ttl=7200))["userId"] == "ann"


# --- test notifications ---


def test_test_notifications_are_sent_only_to_broadcast(launch, speak):
    """They are sent only to broadcast, with a counter and the documented fields."""
    server = launch(**all_dialects(broadcast={"notification_interval": "200ms"}))
    others = [speak(server, name) for name in ("notify", "topics", "realtime", "rooms")]
    others[2].subscribe("**"), others[1].subscribe("**")
    client, second = speak(server, "broadcast"), speak(server, "broadcast", "bob")
    assert client.greeting["notification_interval"] == 1  # whole seconds; 0 would disable them
    got = [client.next_json() for _ in range(3)]
    for each in got:
        assert each.keys() == {"id", "type", "timestamp", "data", "sender"}
        assert each["type"] == "test_notification" and each["sender"] == "notification_service"
        data = each["data"]
        assert data.keys() == {"message", "counter", "uptime_seconds", "active_connections", "server_time"}
        assert data["message"] == f"Test notification #{data['counter']}"
        assert type(data["uptime_seconds"]) is float
        assert TIME.fullmatch(data["server_time"]) and TIME.fullmatch(each["timestamp"])
    counters = [each["data"]["counter"] for each in got]
    assert counters == list(range(counters[0], counters[0] + 3))
    assert got[-1]["data"]["active_connections"] == 2
    assert len({each["id"] for each in got}) == 3
    twin = {each["data"]["counter"]: each for each in (second.next_json() for _ in range(3))}
    shared = [each for each in got if each["data"]["counter"] in twin]
    assert shared and all(twin[each["data"]["counter"]]["id"] == each["id"] for each in shared)
    for other in others:
        other.nothing(within=0)
        other.close()


@pytest.mark.parametrize("interval, shown, running", [("0s", 0, False), ("10s", 10, True), ("90s", 90, True)])
def test_their_interval_is_shown(launch, speak, interval, shown, running):
    server = launch(**all_dialects(broadcast={"notification_interval": interval}))
    client = speak(server, "broadcast")
    assert client.greeting["notification_interval"] == shown
    assert json.loads(ask(server, "broadcast", "/health").text)["server_info"]["notification_interval"] == shown
    for path in ("/metrics", "/status"):
        service = json.loads(ask(server, "broadcast", path).text)["notification_service"]
        assert (service["notification_interval"], service["is_running"]) == (shown, running)
    client.nothing(within=0.3)


# --- the end of the server ---


def test_a_drain_closes_every_connection_with_1001(launch, speak):
    """Broadcast gets two messages; every connection is closed with 1001; the exit code is 0."""
    server = launch(**all_dialects(shutdown={"timeout": "10s", "drain_window": "400ms"}))
    clients = [speak(server, name) for name in NAMES]
    server.signal()
    for client in clients:
        said = []
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                said.append(client.next_json())
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "Server shutting down"), client.name
        if client.name != "broadcast":
            assert said == [], client.name
            continue
        system, shutdown = said
        assert system.keys() == {"id", "type", "timestamp", "data", "sender"}
        assert (system["type"], system["sender"]) == ("system", "system")
        assert system["data"].keys() == {"message", "priority", "system_time"}
        assert system["data"]["message"] == "Server is shutting down. Please reconnect later."
        assert system["data"]["priority"] == "high" and TIME.fullmatch(system["data"]["system_time"])
        assert TIME.fullmatch(shutdown.pop("timestamp"))
        assert shutdown == {"type": "shutdown", "message": "Server is shutting down"}
    assert server.wait() == 0


DRAINING = {
    "notify": "",
    "broadcast": {"message": "Server shutting down", "category": "system"},
    "topics": {"success": False, "error": "Server shutting down"},
    "realtime": {"code": "SERVER_FULL", "message": "Server shutting down", "details": {}},
    "rooms": {"error": "Server shutting down"},
}


def test_new_connections_are_refused_during_a_drain(launch, speak):
    """503 before the upgrade, in each dialect's form; requests are refused, probes and figures answer."""
    server = launch(**all_dialects(shutdown={"timeout": "60s", "drain_window": "30s"}))
    crowd = [speak(server, name) for name in NAMES for _ in range(4)]
    server.signal()
    wait_until(lambda: server.get("/readyz").status == 503)
    for name in NAMES:
        with pytest.raises(websockets.InvalidStatus) as refused:
            Speaker(server, name, "late")
        answer = refused.value.response
        assert answer.status_code == 503, name
        body = json.loads(answer.body or '""')
        if name in ("broadcast", "realtime"):
            body = {key: body["error"][key] for key in DRAINING[name]}
        assert name == "notify" or body == DRAINING[name], (name, body)
    assert ask(server, "broadcast", "/notify", "POST", '{"message":"x"}').status == 503
    assert server.get(EVENTS, "POST", json.dumps({"to": "everyone", "type": "t", "data": 1})).status == 503
    assert ask(server, "realtime", "/info").status == 503
    for path, status in (("/livez", 200), ("/readyz", 503), ("/health", 503), ("/metrics", 200), ("/metrics/prometheus", 200)):
        for name in NAMES:
            assert ask(server, name, path).status == status, (name, path)
    health = json.loads(ask(server, "broadcast", "/health").text)
    assert (health["status"], health["reason"]) == ("unhealthy", "Server shutting down")
    server.signal(signal.SIGINT)  # the second signal ends the process at once
    assert server.wait() == 1
    for client in crowd:
        client.close()


def test_clients_that_do_not_answer_the_close_are_cut(launch):
    """Connections are cut at the timeout, and the exit code is 0."""
    server = launch(**all_dialects(shutdown={"timeout": "1s", "drain_window": "100ms"}))
    peers = [raw(server, name, token("mute")) for name in NAMES]
    server.signal()
    assert server.wait() == 0
    for peer in peers:
        assert closing(frames(peer)) == (1001, "Server shutting down")
        peer.close()
