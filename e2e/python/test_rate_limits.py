"""Requests per client address: X-RateLimit headers, 429 with Retry-After, and requests without a limit."""

import json
import time

import pytest
import websockets
from fanfare import wait_until

EVENT = json.dumps({"to": "everyone", "type": "news", "data": {}})
FEW = {"upgrades_per_second_per_ip": 1, "requests_per_second_per_ip": 1, "burst": 3}
HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def publish(server, **headers):
    return server.get("/api/v1/events", "POST", EVENT, **headers)


def upgrade(server, user, **headers):
    """The answer to a handshake, as (status, headers, body); the connection is closed at once."""
    try:
        with websockets.sync.client.connect(server.ws(user), additional_headers=headers) as socket:
            return 101, socket.response.headers, ""
    except websockets.InvalidStatus as refused:
        return refused.response.status_code, refused.response.headers, refused.response.body.decode()


def limits(headers):
    return tuple(int(headers[name]) for name in HEADERS)


def test_no_rate_is_limited_by_default(server):
    for _ in range(50):
        answer = publish(server)
        assert answer.status == 200
        assert not any(answer.headers[name] for name in HEADERS)
    status, headers, _ = upgrade(server, "ann")
    assert status == 101
    assert not any(name in headers for name in HEADERS)


def test_requests_over_the_rate_are_refused_with_headers(launch):
    server = launch(limits=FEW)
    for left in (2, 1, 0):
        answer = publish(server)
        assert answer.status == 200
        limit, remaining, reset = limits(answer.headers)
        assert (limit, remaining) == (3, left)
        assert 0 <= reset - time.time() <= 4
        assert answer.headers["Retry-After"] is None
    answer = publish(server)
    assert answer.status == 429
    assert limits(answer.headers)[:2] == (3, 0)
    assert json.loads(answer.text)["error"]["code"] == "RATE_LIMITED"
    assert server.get("/nothing").status == 429  # one bucket for all routes
    assert json.loads(server.get("/nothing").text) == {"error": "too many requests"}
    assert server.prometheus("fanfare_requests_rate_limited_total") == 3

    time.sleep(int(answer.headers["Retry-After"]))
    assert publish(server).status == 200


def test_upgrades_have_a_separate_bucket(launch):
    server = launch(limits=FEW)
    for left in (2, 1, 0):
        status, headers, _ = upgrade(server, "ann")
        assert (status, limits(headers)[:2]) == (101, (3, left))
    status, headers, body = upgrade(server, "ann")
    assert (status, limits(headers)[:2]) == (429, (3, 0))
    assert json.loads(body) == {"error": "too many requests"}
    assert int(headers["Retry-After"]) >= 1
    assert publish(server).status == 200
    assert server.prometheus("fanfare_requests_rate_limited_total") == 1
    refused = server.get("/metrics/prometheus").text
    assert 'fanfare_handshakes_refused_total{dialect="notify",reason="rate_limited"} 1' in refused


def test_probes_and_metrics_are_not_limited(launch):
    server = launch(limits=FEW)
    for path in ("/livez", "/readyz", "/health", "/metrics", "/metrics/prometheus"):
        for _ in range(10):
            answer = server.get(path)
            assert answer.status == 200
            assert not any(answer.headers[name] for name in HEADERS)
    assert limits(publish(server).headers)[:2] == (3, 2)


def test_pages_may_read_the_headers(launch):
    answer = publish(launch(limits=FEW), Origin="http://localhost:3000")
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {*HEADERS, "Retry-After"} <= set(exposed)


@pytest.mark.parametrize("trusted", [True, False])
def test_clients_behind_a_trusted_proxy_are_counted_by_their_addresses(launch, trusted):
    """Each client is counted by its own address if the proxy is trusted; otherwise all count as one."""
    proxies = ["127.0.0.1/32"] if trusted else []
    server = launch(limits=FEW | {"trusted_proxies": proxies})

    def is_limited(addresses):
        return any(server.get("/nothing", X_Forwarded_For=address).status == 429 for address in addresses)

    # On a slow machine a request is returned each second, so emptying the bucket may take more than four.
    wait_until(lambda: is_limited(["192.0.2.1"]), what="a client over its limit")
    if trusted:
        assert server.get("/nothing", X_Forwarded_For="192.0.2.2").status == 404
    else:
        wait_until(lambda: is_limited(f"192.0.2.{host}" for host in range(2, 200)), what="one limit for all clients of a proxy")
    # An IPv6 network of 64 bits is one client: none of these addresses alone exceeds a limit.
    wait_until(lambda: is_limited(f"2001:db8::{host:x}" for host in range(1, 200)), what="one limit for a network")


def test_listeners_and_shards_share_the_buckets(launch):
    server = launch(limits=FEW, server={"shards": 4})
    began = time.monotonic()
    statuses = [server.get("/nothing").status for _ in range(12)]
    refilled = time.monotonic() - began
    assert statuses.count(404) <= 3 + refilled, "more than one bucket for one address"


def test_the_production_profile_limits(launch):
    server = launch(
        arguments=("--profile", "production"), auth={"allowed_origins": ["https://app.example.com"]}, api={"trust_loopback": True}
    )
    assert limits(publish(server).headers)[:2] == (20, 19)
    status, headers, _ = upgrade(server, "ann")
    assert (status, limits(headers)[:2]) == (101, (20, 19))
