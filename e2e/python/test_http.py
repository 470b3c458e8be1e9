"""The routes for operators: health, metrics, probes."""

import http.client
import json
import re
import signal

import pytest

from conftest import message
from fanfare import wait_until

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PROMETHEUS = "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def is_count(value):
    return type(value) is int and value >= 0


def test_health_has_the_documented_fields(server, connect):
    for user in ("ann", "ann", "bob"):
        connect(server, user)
    answer = server.get("/health")
    assert answer.status == 200
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    health = json.loads(answer.text)
    assert health["status"] == "healthy"
    assert TIMESTAMP.fullmatch(health["timestamp"])
    assert health["redis"]["status"] == "disabled"
    assert health["websocket"]["active_connections"] == 3
    assert health["websocket"]["total_unique_users"] == 2
    assert is_count(health["uptime_seconds"])


def test_health_shows_redis(launch, real_redis):
    server = launch(broker={"kind": "redis", "url": real_redis().url})
    # A server does not wait for its Redis at the start.
    wait_until(lambda: server.json("/health")["redis"]["status"] == "connected")
    redis = server.json("/health")["redis"]
    assert isinstance(redis["ping_ms"], (int, float)) and 0 <= redis["ping_ms"] < 10_000
    assert "error" not in redis


def test_health_counts_closed_connections(server, connect):
    client = connect(server, "ann")
    client.close()
    wait_until(lambda: server.json("/health")["websocket"] == {"active_connections": 0, "total_unique_users": 0})


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html,application/xhtml+xml,*/*;q=0.8"])
def test_metrics_are_json_by_default(server, connect, accept):
    connect(server, "ann")
    answer = server.get("/metrics", **({"Accept": accept} if accept else {}))
    assert answer.status == 200
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    metrics = json.loads(answer.text)
    assert isinstance(metrics["service"], str)
    assert TIMESTAMP.fullmatch(metrics["timestamp"])
    assert is_count(metrics["uptime_seconds"])
    assert metrics["connections"]["active"] == 1
    assert metrics["connections"]["total_unique_users"] == 1
    assert all(is_count(metrics["messages"][name]) for name in ("received_from_redis", "sent_to_clients", "failed"))


@pytest.mark.parametrize(
    "path, accept",
    [
        ("/metrics", PROMETHEUS),
        ("/metrics", "text/plain"),
        ("/metrics", OPENMETRICS),
        ("/metrics/prometheus", None),
        ("/metrics/prometheus", "application/json"),
    ],
)
def test_metrics_are_text_if_the_caller_accepts_it(server, path, accept):
    """A caller that accepts OpenMetrics also accepts the older format; either is correct if the content type matches."""
    answer = server.get(path, **({"Accept": accept} if accept else {}))
    assert answer.status == 200
    type, _, parameters = answer.headers["Content-Type"].partition(";")
    openmetrics = type == "application/openmetrics-text" and accept == OPENMETRICS
    assert openmetrics or (type == "text/plain" and "version=0.0.4" in parameters)
    check_exposition(answer.text, openmetrics)


def check_exposition(text, openmetrics):
    """Every line is a comment or a sample, every sample's family has a TYPE, and no sample occurs twice."""
    lines, families, samples = text.splitlines(), set(), set()
    assert lines
    if openmetrics:
        assert lines.pop() == "# EOF"
    for line in lines:
        if comment := re.fullmatch(r"# (HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) ?(.*)", line):
            families.add(comment[2])
            continue
        sample = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)", line)
        assert sample, line
        float(sample[3])
        base = re.sub(r"_(total|bucket|sum|count|created)$", "", sample[1])
        assert {sample[1], base} & families, line
        assert (sample[1], sample[2]) not in samples, line
        samples.add((sample[1], sample[2]))
    assert samples


def test_counters_equal_the_messages_sent(server, connect, publisher):
    tabs, backend = [connect(server, "ann"), connect(server, "ann")], publisher(server.resp_port)
    assert server.metrics() == {"received_from_redis": 0, "sent_to_clients": 0, "failed": 0}
    for n in range(7):
        backend.publish("user_noti:ann", message(n))
    for tab in tabs:
        assert [tab.next_json()["payload"] for _ in range(7)] == list(range(7))
    for broken in ("not json", "[]", '{"payload":{}}'):
        backend.publish("user_noti:ann", broken)
    wait_until(lambda: server.metrics()["failed"] == 3, what="three failed messages")
    assert server.metrics()["sent_to_clients"] == 14
    assert server.metrics()["received_from_redis"] in (7, 10)  # with or without the failed ones


def test_counters_count_the_messages_of_redis(launch, real_redis, connect, publisher):
    broker = real_redis()
    server = launch(broker={"kind": "redis", "url": broker.url})
    client, backend = connect(server, "ann"), publisher(broker.port)
    for n in range(5):
        backend.publish("user_noti:ann", message(n))
    assert [client.next_json()["payload"] for _ in range(5)] == list(range(5))
    assert server.metrics() == {"received_from_redis": 5, "sent_to_clients": 5, "failed": 0}


def test_probes_reply_with_200(server):
    assert server.get("/livez").status == 200
    assert server.get("/readyz").status == 200


@pytest.mark.parametrize("path", ["/", "/nothing", "/ws/more", "/healthz", "/HEALTH", "/metrics/x"])
def test_unknown_paths_are_404(server, path):
    assert server.get(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/health", "/metrics", "/livez"])
def test_other_methods_are_refused(server, path, method):
    assert server.get(path, method=method, body="{}").status == 405


@pytest.mark.parametrize("path", ["/ws", "/health", "/metrics", "/metrics/prometheus", "/livez", "/readyz", "/api/v1/events", "/nothing"])
def test_a_page_may_send_a_preflight(launch, path):
    """A browser sends a preflight before it calls; without an answer, the page cannot even read an error."""
    server = launch(prefix="/p", auth={"allowed_origins": ["https://app.example"]})
    asked = {"Origin": "https://app.example", "Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "authorization"}
    for prefix in ("/p", ""):
        server.prefix = prefix
        answer = server.get(path, "OPTIONS", **asked)
        assert answer.status == 204, prefix
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()


WANTED = "authorization, baggage, content-type, sentry-trace, traceparent, x-requested-with"


@pytest.mark.parametrize(
    "listed, origin, allowed",
    [
        ("*", "https://app.example", True),
        ("https://app.example", "https://app.example", True),
        ("https://APP.example:443", "https://app.example", True),
        ("http://app.example:80", "http://app.example", True),
        ("null", "null", True),
        ("file://", "file://", True),
        ("https://app.example", "null", False),
        ("https://app.example", "https://other.example", False),
    ],
)
def test_a_preflight_allows_the_headers_it_asks_for(launch, connect, listed, origin, allowed):
    server = launch(auth={"allowed_origins": [listed]})
    asked = {"Origin": origin, "Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": WANTED}
    answer = server.get("/api/v1/events", "OPTIONS", **asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Headers"] == (WANTED if allowed else None)
    assert answer.headers["Access-Control-Allow-Origin"] == (("*" if listed == "*" else origin) if allowed else None)
    vary = ", ".join(answer.headers.get_all("Vary", []))
    assert "Access-Control-Request-Headers" in vary
    assert ("Origin" in vary.split(", ")) == (listed != "*")
    answer = server.get("/health", Origin=origin)
    assert (answer.headers["Access-Control-Allow-Origin"] is not None) == allowed
    if allowed:
        connect(server, "ann", origin=origin)


@pytest.mark.parametrize("path", ["/", "*"])
def test_options_of_the_root_report_whether_the_server_is_ready(launch, connect, path):
    server = launch(prefix="/p", shutdown={"timeout": "20s", "drain_window": "10s"})
    clients = [connect(server, f"user {n}") for n in range(20)]
    server.prefix = ""
    answer = server.get(path, "OPTIONS")
    assert (answer.status, answer.text) == (204, "")
    assert "GET" in answer.headers["Allow"]
    server.signal(signal.SIGTERM)
    wait_until(lambda: server.get(path, "OPTIONS").status == 503)
    for client in clients:
        client.close()
    assert server.wait() == 0


def test_head_has_no_body(server):
    answer = server.get("/health", method="HEAD")
    assert (answer.status, answer.text) == (200, "")


def test_several_requests_share_one_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for path in ("/livez", "/health", "/metrics", "/nothing", "/livez"):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (404 if path == "/nothing" else 200)
    connection.close()


def test_a_prefix_mounts_every_route_below_it(launch, connect, publisher):
    server = launch(prefix="/a/b")
    assert server.get("/health").status == 200  # the helper adds the prefix to every path
    client = connect(server, "ann")
    assert publisher(server.resp_port).publish("user_noti:ann", message(1)) == 1
    assert client.next_json()["payload"] == 1
    server.prefix = ""
    assert server.get("/health").status == 404
    assert server.get("/ws").status == 404
