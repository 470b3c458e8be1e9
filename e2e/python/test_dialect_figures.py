"""The documents' HTTP routes: every field and its type, with connections of every dialect open, and errors in the form of the document that
has the route."""

import itertools
import json
import re
import time

import pytest
import websockets

from conftest import message
from dialects import NAMES, TIME, all_dialects, ask, complaint, port_of
from fanfare import SECRET, token, wait_until
from wire import connect as dial, status

OPEN = {"notify": 1, "broadcast": 2, "topics": 3, "realtime": 4, "rooms": 5}  # the number of connections of each dialect


@pytest.fixture
def busy(launch, speak):
    """A server with connections of every dialect, a different number of each."""
    server = launch(**all_dialects())
    server.clients = {name: [speak(server, name, f"{name}{n}") for n in range(count)] for name, count in OPEN.items()}
    return server


def shape(value):
    """A value whose leaves are replaced by their types."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return TIME if isinstance(value, str) and TIME.fullmatch(value) else type(value)


def answer(server, dialect, path, expected=200):
    got = ask(server, dialect, path)
    assert got.status == expected and got.headers["Content-Type"].split(";")[0] == "application/json"
    return json.loads(got.text)


@pytest.mark.parametrize("dialect", NAMES)
def test_health_has_the_fields_of_all_documents(busy, dialect):
    """The union of three documents, on every listener, each with the figures of its own dialect."""
    health = answer(busy, dialect, "/health")
    assert shape(health) == {
        "status": str, "timestamp": TIME, "uptime_seconds": int,
        "redis": {"status": str}, "websocket": {"active_connections": int, "total_unique_users": int},  # notify
        "message": str, "connections": {"active": int, "total": int, "max_allowed": int},  # broadcast
        "server_info": {"version": str, "workers": int, "notification_interval": int},
        "active_connections": int, "max_connections": int,  # realtime
    }
    assert health["status"] == "healthy" and health["message"] == "WebSocket Notification Server is running"
    assert health["websocket"] == {"active_connections": 1, "total_unique_users": 1}
    assert health["connections"] == {"active": 2, "total": 2, "max_allowed": 1000}
    assert (health["active_connections"], health["max_connections"]) == (4, 10_000)


@pytest.mark.parametrize("dialect", NAMES)
def test_metrics_have_the_fields_of_all_documents(busy, dialect):
    metrics = answer(busy, dialect, "/metrics")
    assert shape(metrics) == {
        "service": str, "timestamp": TIME, "uptime_seconds": int,
        "connections": {"active": int, "total_unique_users": int, "active_connections": int, "total_connections": int,
                        "messages_sent": int, "uptime_seconds": float},
        "messages": {"received_from_redis": int, "sent_to_clients": int, "failed": int},
        "notification_service": {"is_running": bool, "notification_interval": int, "start_time": TIME},
        "server": {"version": str, "workers": int, "max_connections": int, "debug_mode": bool},
        "active_connections": int, "total_connections": int, "messages_sent": int, "messages_received": int, "errors": int,
    }
    assert (metrics["connections"]["active"], metrics["connections"]["total_unique_users"]) == (1, 1)
    assert (metrics["connections"]["active_connections"], metrics["connections"]["total_connections"]) == (2, 2)
    assert (metrics["active_connections"], metrics["total_connections"]) == (4, 4)
    assert metrics["server"]["max_connections"] == 1000 and metrics["server"]["debug_mode"] is False


def test_each_dialect_counts_its_own(busy, publisher):
    """Messages of one dialect's clients count in its own figures and in no other's."""
    before = answer(busy, "realtime", "/metrics")
    busy.clients["realtime"][0].alive(), busy.clients["rooms"][0].alive(), busy.clients["broadcast"][0].alive()
    after = answer(busy, "realtime", "/metrics")
    for field in ("messages_received", "messages_sent"):
        assert after[field] == before[field] + 1
    assert after["connections"]["messages_sent"] == before["connections"]["messages_sent"] + 1
    assert after["messages"] == {"received_from_redis": 0, "sent_to_clients": 0, "failed": 0}
    assert publisher(busy.resp_port).publish("user_noti:notify0", message(1)) == 1
    assert answer(busy, "notify", "/metrics")["messages"] == {"received_from_redis": 1, "sent_to_clients": 1, "failed": 0}


def test_the_documented_prometheus_metrics_are_on_every_listener(busy):
    """The four documented names, with help and type, on every listener and for every accepted media type."""
    protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
    for dialect, accept in itertools.product(NAMES, ("application/json", protobuf)):
        got = ask(busy, dialect, "/metrics/prometheus", Accept=accept)
        assert got.headers["Content-Type"].startswith("text/plain")
        for name, kind in (("active_connections", "gauge"), ("total_connections", "counter"),
                           ("notifications_sent", "counter"), ("server_uptime_seconds", "gauge")):
            name = f"websocket_{name}"
            assert re.search(rf"^# HELP {name} \S.*\n# TYPE {name} {kind}\n{name} [0-9.]+$", got.text, re.M), name
    for name, count in OPEN.items():
        assert f'fanfare_connections{{dialect="{name}"}} {count}\n' in got.text


def test_status_reports_the_server_and_its_connections(launch, speak):
    broadcast = {"notification_interval": "10s", "max_connections": 77}
    server = launch(**all_dialects(broadcast=broadcast, shutdown={"timeout": "7s", "drain_window": "0s"}))
    speak(server, "broadcast", query={"client_id": "one"}, user_agent_header="Test/1.0")
    speak(server, "broadcast", None, query={"client_id": "two"}, user_agent_header=None)
    speak(server, "rooms"), speak(server, "notify")
    got = answer(server, "broadcast", "/status")
    details = got["connections"].pop("details")
    assert shape(got) == {
        "server": {"status": str, "version": str, "uptime_seconds": float, "start_time": TIME, "current_time": TIME},
        "connections": {"active": int, "total": int, "max_allowed": int},
        "notification_service": {"is_running": bool, "notifications_sent": int, "notification_interval": int},
        "shutdown": {"shutdown_requested": bool, "shutdown_timeout": int},
        "configuration": {"host": str, "port": int, "workers": int, "debug": bool, "log_level": str},
    }
    assert got["server"]["status"] == "running"
    assert got["connections"] == {"active": 2, "total": 2, "max_allowed": 77}
    assert got["shutdown"] == {"shutdown_requested": False, "shutdown_timeout": 7}
    assert got["configuration"] | {"workers": 0} == {
        "host": "127.0.0.1", "port": port_of(server, "broadcast"), "workers": 0, "debug": False, "log_level": "INFO"}
    assert got["server"]["start_time"] <= min(each["connected_at"] for each in details)
    assert {each["client_id"]: each["user_agent"] for each in details}["one"] == "Test/1.0"
    for each in details:
        assert each.keys() == {"client_id", "connected_at", "last_ping", "user_agent"}
        assert TIME.fullmatch(each["connected_at"]) and each["last_ping"] is None


def test_info_reports_settings_and_figures(busy):
    got = answer(busy, "realtime", "/info")
    assert shape(got) == {
        "server": {"name": str, "version": str, "config": {
            "host": str, "port": int, "max_connections": int, "heartbeat_interval_secs": int, "client_timeout_secs": int,
            "max_frame_size": int}},
        "stats": {"active_connections": int, "total_connections": int, "messages_sent": int, "messages_received": int,
                  "errors": int},
        "features": [str],
    }
    assert got["server"]["name"] == "WebSocket Real-time Communication Server"
    assert got["server"]["config"] == {
        "host": "127.0.0.1", "port": port_of(busy, "realtime"), "max_connections": 10_000, "heartbeat_interval_secs": 30,
        "client_timeout_secs": 60, "max_frame_size": 65_536,
    }
    assert got["stats"]["active_connections"] == 4
    assert got["features"] == ["websocket", "heartbeat", "topic_subscription", "broadcast_messaging", "direct_messaging",
                               "connection_management", "metrics"]


def test_a_status_request_is_answered_with_figures(busy):
    got = busy.clients["broadcast"][0].ask(type="status_request")
    figures = {"active_connections": int, "total_connections": int, "server_time": TIME}
    assert shape(got) == {"type": str, "data": figures, "timestamp": TIME}
    assert got["type"] == "status_response"
    assert (got["data"]["active_connections"], got["data"]["total_connections"]) == (2, 2)


# --- names of clients in broadcast ---


def test_a_name_belongs_to_one_connection(launch, speak):
    server = launch(**all_dialects())
    first = speak(server, "broadcast", query={"client_id": "client_123"})
    assert first.greeting["client_id"] == "client_123"
    for _ in range(2):  # a refused client does not take the name
        with pytest.raises(websockets.ConnectionClosed) as closed:
            speak(server, "broadcast", "bob", query={"client_id": "client_123"})
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Client client_123 is already connected")
        first.alive()
    first.close()
    wait_until(lambda: answer(server, "broadcast", "/health")["connections"]["active"] == 0)
    assert speak(server, "broadcast", query={"client_id": "client_123"}).greeting["client_id"] == "client_123"
    names = {speak(server, "broadcast").greeting["client_id"] for _ in range(5)}
    assert len(names) == 5 and all(re.fullmatch(r"client_\w+", name) for name in names)


def test_a_name_belongs_to_one_connection_in_the_cluster(launch, speak, real_redis):
    broker = {"kind": "redis", "url": real_redis().url}
    nodes = [launch(**all_dialects(broker=broker)) for _ in range(2)]
    speak(nodes[0], "broadcast", query={"client_id": "one"})
    with pytest.raises(websockets.ConnectionClosed) as closed:
        speak(nodes[1], "broadcast", query={"client_id": "one"})
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Client one is already connected")


def test_a_client_id_does_not_authenticate_a_user(launch, speak):
    server = launch(**all_dialects())
    speak(server, "broadcast", None, query={"client_id": "ann"}).nothing(within=0)
    event = {"to": {"user": "ann"}, "type": "secret", "data": {}}
    assert json.loads(server.get("/api/v1/events", "POST", json.dumps(event)).text)["recipients"] == 0
    by_header = speak(server, "broadcast", None, additional_headers={"Authorization": f"Bearer {token('ann')}"})
    assert json.loads(server.get("/api/v1/events", "POST", json.dumps(event)).text)["recipients"] == 1
    assert by_header.next_json()["type"] == "secret"


# --- POST /notify ---


def notify(server, body, **headers):
    got = ask(server, "broadcast", "/notify", "POST", body if isinstance(body, (str, bytes)) else json.dumps(body), **headers)
    return got.status, json.loads(got.text)


def test_notify_publishes_to_everyone_and_replies_with_the_documented_form(busy):
    topics, realtime = busy.clients["topics"][0].subscribe("notifications"), busy.clients["realtime"][0].subscribe("*")
    code, got = notify(busy, {"message": "Up", "type": "alert", "data": {"priority": "high", "message": "loses"}})
    assert code == 200 and shape(got) == {
        "status": str, "message": str, "recipients": int, "timestamp": TIME,
        "notification": {"message": str, "type": str, "data": {"priority": str, "message": str}},
    }
    assert (got["status"], got["message"]) == ("success", "Notification sent successfully")
    assert got["notification"] == {"message": "Up", "type": "alert", "data": {"priority": "high", "message": "loses"}}
    assert got["recipients"] == 1 + 2 + 1 + 1 + 5
    said = {"message": "Up", "priority": "high"}
    arrived = busy.clients["broadcast"][1].next_json()
    assert shape(arrived) == {"id": str, "type": str, "timestamp": TIME, "data": {"message": str, "priority": str}, "sender": str}
    assert (arrived["type"], arrived["data"], arrived["sender"]) == ("alert", said, "notification_service")
    arrived = busy.clients["notify"][0].next_json()
    assert (arrived["type"], arrived["payload"]) == ("alert", said)
    arrived = topics.next_json()
    assert (arrived["type"], arrived["topic"], arrived["eventType"], arrived["data"]) == ("message", "notifications", "alert", said)
    arrived = realtime.next_json()
    assert (arrived["type"], arrived["data"]) == ("Broadcast", {"topic": "notifications", "payload": said})
    arrived = busy.clients["rooms"][4].next_json()
    assert (arrived["type"], arrived["data"]) == ("alert", said) and arrived.keys() == {"type", "data", "timestamp"}


@pytest.mark.parametrize("body, type", [
    ({"message": ""}, "custom"), ({"message": "x", "data": {}}, "custom"), ({"message": "x", "type": "t", "more": 1}, "t"),
    ({"message": "\ud83d"}, "custom"),
])
def test_bodies_that_notify_accepts(busy, body, type):
    code, got = notify(busy, body)
    assert code == 200 and got["notification"]["type"] == type
    assert busy.clients["broadcast"][0].next_json()["type"] == type


BAD = ["", "x", "null", "[]", "7", "{}", '{"message":7}', '{"message":null}', '{"message":["x"]}', '{"message":"x","data":[]}',
       '{"message":"x","data":"y"}', '{"message":"x","data":7}', '{"message":"x","type":7}',
       '{"message":"x"', '{"message":"x"}x',
       '{"message":"x","data":' + '{"a":' * 10_000 + "1" + "}" * 10_001, b'{"message":"\xff"}']


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body)[:30])
def test_bodies_that_notify_refuses(busy, body):
    code, got = notify(busy, body)
    assert code == 400, got
    is_broadcasts(got, "validation")
    busy.clients["broadcast"][0].alive()


# --- errors of the routes, each in the form of its document ---


def is_broadcasts(body, category=None):
    assert shape(body) == {"error": {"id": str, "message": str, "category": str, "timestamp": TIME}}
    assert re.fullmatch(r"error_\w+", body["error"]["id"])
    assert body["error"]["category"] in ("validation", "application", "system", "connection")
    assert category in (None, body["error"]["category"])


def is_topics(body, _=None):
    assert shape(body) == {"success": bool, "error": str} and body["success"] is False


def is_realtimes(body, code):
    assert body == {"error": {"code": code, "message": body["error"]["message"], "details": body["error"]["details"]}}
    assert type(body["error"]["message"]) is str and type(body["error"]["details"]) is dict


def is_notifys(body, _=None):
    assert shape(body) == {"error": str}


KEYED = {"api": {"keys": ["a-key-that-is-long-enough-for-a-test"]}, "limits": {"max_body_size": 1000}}
ROUTES = [
    ("broadcast", "/notify", "GET", "", 405, is_broadcasts, "application"),
    ("broadcast", "/notify", "PUT", "{}", 405, is_broadcasts, None),
    ("broadcast", "/notify", "POST", '{"message":"x"}', 401, is_broadcasts, None),
    ("broadcast", "/status", "POST", "{}", 405, is_broadcasts, None),
    ("broadcast", "/status", "GET", "", 401, is_broadcasts, None),
    ("realtime", "/info", "POST", "{}", 405, is_realtimes, "METHOD_NOT_ALLOWED"),
    ("realtime", "/api/v1/events", "POST", "{}", 401, is_realtimes, "INVALID_TOKEN"),
    ("notify", "/api/v1/events", "GET", "", 405, is_realtimes, "METHOD_NOT_ALLOWED"),
    ("rooms", "/api/v1/events", "POST", "{}", 401, is_realtimes, "INVALID_TOKEN"),
    *[
        (dialect, path, method, body, 405, form, code)
        for dialect, path, form, code in [
            ("broadcast", "/ws", is_broadcasts, None),
            ("topics", "/ws", is_topics, None),
            ("realtime", "/ws", is_realtimes, "METHOD_NOT_ALLOWED"),
            ("notify", "/ws", is_notifys, None),
            ("rooms", "/api/v1/ws/connect", is_notifys, None),
        ]
        for method in ("POST", "DELETE", "OPTIONS")
        for body in ("", "{}")
    ],
    ("notify", "/ws", "GET", "", 401, is_notifys, None),
    ("broadcast", "/ws", "GET", "", 426, is_broadcasts, None),
    ("topics", "/ws", "GET", "", 426, is_topics, None),
    ("realtime", "/ws", "GET", "", 426, is_realtimes, "INVALID_REQUEST"),
    ("rooms", "/api/v1/ws/connect", "GET", "", 426, is_notifys, None),
    ("notify", "/nothing", "GET", "", 404, is_notifys, None),
]


@pytest.mark.parametrize("dialect, path, method, body, code, form, text", ROUTES, ids=lambda v: v if isinstance(v, str) else "")
def test_errors_of_routes_have_the_dialects_form(launch, dialect, path, method, body, code, form, text):
    got = ask(launch(**all_dialects(**KEYED)), dialect, path, method, body)
    assert got.status == code, got.text
    assert got.headers["Content-Type"].split(";")[0] == "application/json"
    form(json.loads(got.text), text)
    if code == 405:
        assert got.headers["Allow"]


def test_bodies_that_are_too_long_are_refused(launch):
    server = launch(**all_dialects(**KEYED))
    key = {"Authorization": f"Bearer {KEYED['api']['keys'][0]}"}
    long = json.dumps({"message": "x" * 1000})
    got = ask(server, "broadcast", "/notify", "POST", long, **key)
    assert got.status == 413
    is_broadcasts(json.loads(got.text))
    got = server.get("/api/v1/events", "POST", long, **key)
    assert got.status == 413
    is_realtimes(json.loads(got.text), "INVALID_REQUEST")
    assert notify(server, {"message": "x" * 900}, **key)[0] == 200


STRANGERS = [
    {"X-Forwarded-For": "192.0.2.1"}, {"Forwarded": "for=192.0.2.1"}, {"X-Real-IP": "192.0.2.1"},
    {"Host": "evil.example"}, {"Origin": "https://evil.example"},
]


@pytest.mark.parametrize("headers", STRANGERS, ids=lambda h: next(iter(h)))
def test_without_a_key_only_this_machine_may_call(launch, headers):
    server = launch(**all_dialects())
    assert notify(server, {"message": "x"})[0] == 200
    code, got = notify(server, {"message": "x"}, **headers)
    assert code == 401
    is_broadcasts(got)
    assert ask(server, "broadcast", "/status", **headers).status == 401


@pytest.mark.parametrize("bearer, code", [
    (KEYED["api"]["keys"][0], 200), (token("boss", roles=["admin"]), 200),
    (token("ann"), 401), (token("ann", roles=["user"]), 401), ("", 401), ("nonsense", 401),
    (token("boss", roles=["admin"], ttl=-5), 401), (token("boss", roles=["admin"], secret="x" * 40), 401),
], ids=range(8))
def test_with_a_key_other_credentials_are_refused(launch, bearer, code):
    server = launch(**all_dialects(**KEYED))
    assert notify(server, {"message": "x"}, Authorization=f"Bearer {bearer}")[0] == code
    assert ask(server, "broadcast", "/status", Authorization=f"Bearer {bearer}").status == code


# --- tokens in the handshake ---

BAD_TOKENS = {
    "expired": token("ann", ttl=-5), "forged": token("ann", secret="x" * 40), "nonsense": "x", "no sub": token(None),
    "no exp": token("ann", exp=None), "not yet": token("ann", nbf=int(time.time()) + 3600), "long": "a." * 2000,
}


@pytest.mark.parametrize("bad", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_tokens_are_refused_in_the_dialects_form(launch, speak, bad):
    server = launch(**all_dialects())
    for dialect in ("notify", "broadcast", "realtime"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            speak(server, dialect, None, query={"token": bad})
        answer = refused.value.response
        assert answer.status_code == 401 and answer.headers["Content-Type"].split(";")[0] == "application/json"
        body = json.loads(answer.body)
        if dialect == "notify":
            assert body == {"error": "invalid or expired token"}
        elif dialect == "broadcast":
            is_broadcasts(body)
        else:
            is_realtimes(body, "TOKEN_EXPIRED" if bad == BAD_TOKENS["expired"] else "INVALID_TOKEN")
        assert bad == "x" or bad not in answer.body.decode()
    with pytest.raises(websockets.ConnectionClosed) as closed:
        speak(server, "rooms", None, query={"token": bad})
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "Authentication Failed")
    says = complaint("topics", speak(server, "topics", None).ask(type="auth", token=bad))
    assert says == (401, "Token expired" if bad == BAD_TOKENS["expired"] else "Invalid token")
    assert bad == "x" or bad not in server.log()


@pytest.mark.parametrize("dialect", NAMES)
def test_foreign_origins_are_refused(launch, speak, dialect):
    server = launch(**all_dialects(auth={"jwt_secret": SECRET, "allowed_origins": ["https://app.example"]}))
    speak(server, dialect, origin="https://app.example").close()
    with pytest.raises(websockets.InvalidStatus) as refused:
        speak(server, dialect, origin="https://evil.example")
    assert refused.value.response.status_code == 403


# --- rate limits in broadcast's form ---


def test_upgrades_over_the_rate_are_refused(launch, speak):
    server = launch(**all_dialects(limits={"upgrades_per_second_per_ip": 1, "requests_per_second_per_ip": 1, "burst": 2}))
    for left in (1, 0):
        got = ask(server, "broadcast", "/notify", "POST", '{"message":"x"}')
        assert got.status == 200 and got.headers["X-RateLimit-Remaining"] == str(left)
        assert speak(server, "broadcast").socket.response.headers["X-RateLimit-Remaining"] == str(left)
    got = ask(server, "broadcast", "/notify", "POST", '{"message":"x"}')
    assert got.status == 429
    is_broadcasts(json.loads(got.text), "connection")
    assert got.headers["X-RateLimit-Limit"] == "2" and got.headers["X-RateLimit-Remaining"] == "0"
    assert 0 <= int(got.headers["X-RateLimit-Reset"]) - time.time() < 5 and int(got.headers["Retry-After"]) >= 1
    for dialect in ("notify", "broadcast", "topics", "realtime"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            speak(server, dialect)
        assert refused.value.response.status_code == 429 and refused.value.response.headers["Retry-After"]
    with pytest.raises(websockets.ConnectionClosed) as closed:
        speak(server, "rooms")
    assert closed.value.rcvd.code == 4429
    assert ask(server, "broadcast", "/health").status == ask(server, "broadcast", "/metrics").status == 200
