"""The figures in /metrics/prometheus about subscriptions, rooms, the authorizer, cached tokens and messages over the rate."""

import json
import threading

import pytest

from conftest import Client
from fanfare import free_port, token, wait_until
from http_service import HttpService


@pytest.fixture
def subscriber(cleanup):
    """subscriber(server, "a.b") is a client of topics with these subscriptions."""

    def opened(server, *topics, user="ann"):
        client = Client(f"ws://127.0.0.1:{server.port}/ws")
        cleanup.callback(client.close)
        client.socket.send(json.dumps({"type": "auth", "token": token(user)}))
        assert client.next_json()["type"] == "auth_success"
        for topic in topics:
            client.socket.send(json.dumps({"type": "subscribe", "topic": topic}))
            assert client.next_json()["type"] == "subscribed"
        return client

    return opened


@pytest.fixture
def authorizer(cleanup):
    """authorizer() is the address of an authorizer that allows everything once it is released."""

    def started():
        go = threading.Event()

        def answer(_, body):
            go.wait(10)
            return 200, b'{"allow": true}'

        service = HttpService(answer)
        cleanup.callback(service.stop)
        cleanup.callback(go.set)
        return service.url, go

    return started


def topics(launch, **tables):
    port = free_port()
    return launch(port=port, listener=[{"bind": f"127.0.0.1:{port}", "dialects": ["topics", "rooms"]}], **tables)


def held(server):
    names = ("subscriptions", "channels", "channel_subscriptions", "pattern_subscriptions", "rooms")
    return [server.prometheus(f"fanfare_{name}") for name in names]


def test_the_metrics_count_subscriptions_and_channels(launch, subscriber, cleanup):
    server = topics(launch)
    assert held(server) == [0, 0, 0, 0, 0]
    first = subscriber(server, "a.b", "c.*", "notifications.user.ann", "a.b")
    second = subscriber(server, "a.b", "d.e", user="bob")
    assert held(server) == [5, 2, 3, 1, 0]

    member = Client(f"ws://127.0.0.1:{server.port}/api/v1/ws/connect?token={token('ann')}")
    cleanup.callback(member.close)
    member.socket.send('{"type":"join_room","room":"project:1"}')
    assert [member.next_json()["type"] for _ in range(3)] == ["connected", "joined_room", "user_joined"]
    assert held(server) == [6, 3, 4, 1, 1]

    second.socket.send('{"type":"unsubscribe","topic":"d.e"}')
    assert second.next_json()["type"] == "unsubscribed"
    assert held(server) == [5, 2, 3, 1, 1]
    for client in (first, second, member):
        client.close()
    wait_until(lambda: held(server) == [0, 0, 0, 0, 0], what="nothing held")


def test_the_metrics_count_messages_over_the_rate(launch, subscriber):
    server = topics(launch, limits={"messages_per_second_per_connection": 1, "burst": 5})
    client = subscriber(server)
    for _ in range(10):
        client.socket.send('{"type":"ping"}')
    answers = [client.next_json() for _ in range(10)]
    dropped = sum(answer["type"] == "error" for answer in answers)
    assert dropped > 0
    assert server.prometheus("fanfare_messages_rate_limited_total") == dropped


@pytest.mark.parametrize("most, hits, misses", [(1, 2, 3), (0, 0, 5)])
def test_the_metrics_count_cached_tokens(launch, most, hits, misses):
    server = topics(launch, auth={"max_cached_tokens": most})
    ann, bob = token("ann"), token("bob")
    for bearer in (ann, ann, ann, bob, ann):
        client = Client(f"ws://127.0.0.1:{server.port}/ws")
        client.socket.send(json.dumps({"type": "auth", "token": bearer}))
        assert client.next_json()["type"] == "auth_success"
        client.close()
    text = server.get("/metrics/prometheus").text
    for result, count in (("hit", hits), ("miss", misses)):
        assert f'fanfare_token_cache_lookups_total{{result="{result}"}} {count}\n' in text


def test_the_metrics_count_the_authorizers_answers(launch, subscriber, authorizer, publisher):
    address, go = authorizer()
    server = topics(launch, authorizer={"url": address, "timeout": "10s"})
    answers = lambda: server.prometheus("fanfare_authorizer_answers_total")
    client = subscriber(server, "project:*")
    backend = publisher(server.resp_port)
    for n in range(2):
        backend.publish("fanfare:channel:project:1", json.dumps({"type": "t", "payload": n}))
    wait_until(lambda: server.prometheus("fanfare_events_undecided") == 2, what="events that wait")
    assert answers() == 0
    go.set()
    assert [client.next_json()["data"] for _ in range(2)] == [0, 1]
    assert (answers(), server.prometheus("fanfare_events_undecided")) == (1, 0)
    text = server.get("/metrics/prometheus").text
    assert 'fanfare_authorizer_answers_total{answer="allowed"} 1' in text
