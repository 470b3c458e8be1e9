"""A real Redis between the backend and the clients, and its outages."""

import concurrent.futures
import json
import signal
import subprocess
import threading
import time

import pytest
import redis

from conftest import message
from fanfare import ROOT, Fanfare, Redis, free_port, running, wait_until
from test_resp_door import REDIS_CLI


@pytest.fixture
def broker(real_redis):
    return real_redis()


@pytest.fixture
def node(launch, broker):
    return launch(broker={"kind": "redis", "url": broker.url})


@pytest.fixture
def backend(publisher, broker):
    return publisher(broker.port)


def held_users(backend):
    return {name.decode() for name in backend.pubsub_channels("user_noti:*")}


def redis_status(server):
    return server.json("/health")["redis"]["status"]


# --- delivery ---


def test_redis_py_reaches_a_client_by_the_broker(node, connect, backend):
    client = connect(node, "user123")
    backend.publish("user_noti:user123", message({"n": 1}))
    assert client.next_json()["payload"] == {"n": 1}


def test_redis_cli_reaches_a_client_by_the_broker(node, broker, connect):
    client = connect(node, "user123")
    command = [REDIS_CLI, "-p", str(broker.port), "PUBLISH", "user_noti:user123", message({"n": 1})]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    assert client.next_json()["payload"] == {"n": 1}


def test_a_password_in_the_url_is_decoded(real_redis, launch, connect, publisher):
    broker = real_redis(password="p:a/s@s")
    url = f"redis://:p%3Aa%2Fs%40s@127.0.0.1:{broker.port}/0"
    node = launch(broker={"kind": "redis", "url": url})
    client = connect(node, "ann")
    publisher(broker.port, password="p:a/s@s").publish("user_noti:ann", message(1))
    assert client.next_json()["payload"] == 1
    assert "p:a/s@s" not in node.log() and "p%3Aa" not in node.log()


@pytest.mark.parametrize("user", ["a:b", "with space", "é😀", "", "star*", "[range]", "que?stion"])
def test_an_unusual_user_name_is_never_a_pattern(node, connect, backend, user):
    """Each text is a name, never a pattern. An empty name is no user's, and must cause no harm."""
    backend.publish(f"user_noti:{user}", message("unusual"))
    if not user:
        assert redis_status(node) == "connected"
        return
    client, other = connect(node, user), connect(node, "starfish")
    backend.publish("user_noti:starfish", message("other"))
    backend.publish(f"user_noti:{user}", message("own"))
    assert client.next_json()["payload"] == "own"
    assert other.next_json()["payload"] == "other"


def test_two_nodes_on_one_redis_deliver_to_their_own_clients(node, launch, broker, connect, backend):
    second = launch(broker={"kind": "redis", "url": broker.url})
    tabs = [connect(node, "ann"), connect(second, "ann"), connect(second, "ann")]
    only_second = connect(second, "bob")
    backend.publish("user_noti:ann", message("both"))
    backend.publish("user_noti:bob", message("second"))
    assert [tab.next_json()["payload"] for tab in tabs] == ["both"] * 3
    assert only_second.next_json()["payload"] == "second"
    for tab in tabs:
        tab.nothing()  # and no duplicates


def test_a_message_of_five_megabytes_arrives(node, connect, backend):
    client = connect(node, "ann")
    backend.publish("user_noti:ann", message("x" * (5 << 20)))
    assert len(client.next_json()["payload"]) == 5 << 20


# --- subscriptions on Redis ---


def test_subscriptions_are_exactly_the_held_users(node, connect, backend):
    assert held_users(backend) == set()
    ann, again, bob = connect(node, "ann"), connect(node, "ann"), connect(node, "bob")
    assert held_users(backend) == {"user_noti:ann", "user_noti:bob"}
    ann.close()
    bob.close()
    wait_until(lambda: held_users(backend) == {"user_noti:ann"}, what="only Ann's subscription left")
    again.close()
    wait_until(lambda: held_users(backend) == set(), what="no subscription left")


def test_a_subscription_is_in_place_when_the_upgrade_is_answered(node, connect, backend):
    """Events that are published right after the client reports its connection arrive, every time."""
    for n in range(50):
        client = connect(node, f"user{n}")
        assert backend.publish(f"user_noti:user{n}", message(n)) == 1
        assert client.next_json()["payload"] == n


def test_many_at_once_are_subscribed_too(node, connect, backend):
    def open_and_receive(n):
        client = connect(node, f"user{n}")
        assert backend.publish(f"user_noti:user{n}", message(n)) == 1
        return client.next_json()["payload"]

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert list(pool.map(open_and_receive, range(50))) == list(range(50))


def test_a_user_who_comes_and_goes_quickly_ends_as_held(node, connect, backend):
    for _ in range(30):
        connect(node, "ann").close()
    last = connect(node, "ann")
    time.sleep(0.3)  # earlier events that are still under way
    assert backend.publish("user_noti:ann", message("last")) == 1
    assert last.next_json()["payload"] == "last"


# --- permissions on Redis ---


def documented_rights():
    """The rules of docs/redis.md for a node on one server."""
    rules = (ROOT / "docs" / "redis.md").read_text().split("ACL SETUSER fanfare ", 1)[1]
    return rules.split("```", 1)[0].split()


def test_the_documented_rights_are_enough(broker, launch, connect, backend):
    """PING is not among the permitted commands: Redis' refusal of it proves that the connection works."""
    backend.execute_command("ACL", "SETUSER", "fanfare", *documented_rights())
    node = launch(broker={"kind": "redis", "url": f"redis://fanfare:password@127.0.0.1:{broker.port}"})
    client = connect(node, "ann")
    wait_until(lambda: any(entry["object"] == "ping" for entry in backend.acl_log()), what="a refused PING")
    for n in range(3):
        assert node.get("/health").status == 200
        assert node.get("/readyz").status == 200
        backend.publish("user_noti:ann", message(n))
        assert client.next_json()["payload"] == n
        time.sleep(0.5)
    assert {entry["object"] for entry in backend.acl_log()} <= {"ping", "client|setinfo"}


def test_events_are_delivered_while_redis_cannot_store_ids(node, launch, broker, connect, backend):
    second = launch(broker={"kind": "redis", "url": broker.url})
    clients = [connect(node, "ann"), connect(second, "ann")]
    backend.config_set("maxmemory", 1)

    def post(data, **fields):
        body = json.dumps({"to": {"user": "ann"}, "data": data, **fields})
        done = node.get("/api/v1/events", method="POST", body=body)
        assert done.status == 200
        return json.loads(done.text)

    key = {"id": "0192f0c1-2345-7abc-8def-0123456789ab"}
    first, repeated, without = post("first", **key), post("repeated", **key), post("without an id")
    assert first["degraded"] is True
    assert first["recipients"] == repeated["recipients"] == 2
    assert "degraded" not in without
    for client in clients:
        assert [client.next_json()["payload"] for _ in range(2)] == ["first", "without an id"]
    assert "Redis refused ids of events" in node.log()
    assert "OOM command not allowed" in node.log()
    assert "only this node's connections" not in node.log()


@pytest.mark.parametrize(
    ("rest", "error"),
    [("/99", "Redis answered ERR DB index is out of range"), ("/0", "authentication failed")],
)
def test_the_log_has_the_answer_and_the_address_of_redis(real_redis, rest, error):
    """The first password is right, the second is not."""
    broker = real_redis(password="s3cret")
    password = "s3cret" if rest == "/99" else "s3cret-too"
    url = f"redis://:{password}@127.0.0.1:{broker.port}{rest}"
    with running(broker={"kind": "redis", "url": url}) as node:
        wait_until(lambda: "Redis is away" in node.log(), what="a line about Redis")
        line = next(line for line in node.log().splitlines() if "Redis is away" in line)
        assert f"127.0.0.1:{broker.port}" in line
        assert error in line
        assert "s3cret" not in node.log()


def test_the_number_of_a_database_is_warned_of(launch, broker):
    node = launch(broker={"kind": "redis", "url": f"redis://127.0.0.1:{broker.port}/2"})
    assert "the number of the database does not separate nodes" in node.log()


def test_a_prefix_separates_two_environments_on_one_redis(broker, launch, connect, backend):
    """Two environments share one server; the number of a database causes no warning then."""
    url = broker.url.replace("/0", "/2")
    staging, other = (launch(broker={"kind": "redis", "url": url, "prefix": prefix}) for prefix in ["staging:", "eu:"])
    assert "number of the database" not in staging.log()
    clients = [connect(staging, "ann"), connect(other, "ann")]
    backend.publish("user_noti:ann", message("nobody"))
    backend.publish("staging:user_noti:ann", message("staging"))
    backend.publish("eu:user_noti:ann", message("eu"))
    assert [client.next_json()["payload"] for client in clients] == ["staging", "eu"]
    body = json.dumps({"to": {"user": "ann"}, "data": 1, "id": "order-1"})
    assert json.loads(staging.get("/api/v1/events", method="POST", body=body).text)["recipients"] == 1
    keys = {key.decode().split("id:")[0] for key in redis.Redis(port=broker.port, db=2).keys()}
    assert keys == {"staging:fanfare:", "staging:fanfare:leases", "eu:fanfare:leases"}


# --- outages of Redis ---


def test_a_node_recovers_after_an_outage_of_redis(node, broker, connect, backend):
    client = connect(node, "ann")
    assert node.get("/readyz").status == 200

    broker.kill()
    wait_until(lambda: node.get("/health").status == 503, what="a degraded /health")
    health = node.json("/health")
    assert health["status"] == "degraded"
    assert health["redis"]["status"] == "disconnected"
    assert isinstance(health["redis"]["error"], str) and health["redis"]["error"]
    assert health["websocket"]["active_connections"] == 1
    assert node.get("/readyz").status == 503
    assert node.get("/livez").status == 200

    broker.start()
    wait_until(lambda: backend.publish("user_noti:ann", message("back")) == 1, what="a renewed subscription")
    assert client.next_json()["payload"] == "back"
    wait_until(lambda: node.get("/health").status == 200, what="a healthy /health")
    assert node.get("/readyz").status == 200


def test_a_node_restores_its_subscriptions_after_a_longer_outage(node, broker, connect, backend):
    stays, leaves = connect(node, "stays"), connect(node, "leaves")
    broker.kill()
    wait_until(lambda: redis_status(node) == "disconnected", what="the outage")
    leaves.close()
    newcomer = connect(node, "newcomer")
    time.sleep(3)  # several attempts to reconnect, with growing pauses
    broker.start()
    expected = {"user_noti:stays", "user_noti:newcomer"}
    wait_until(lambda: held_users(backend) == expected, timeout=15, what="the subscriptions of those who are here")
    for client, user in ((stays, "stays"), (newcomer, "newcomer")):
        backend.publish(f"user_noti:{user}", message(user))
        assert client.next_json()["payload"] == user


def test_a_redis_that_hangs_is_an_outage(node, broker, connect, backend):
    """A stopped Redis still holds its connections; only a timeout detects it."""
    client = connect(node, "ann")
    broker.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: node.get("/health").status == 503, timeout=30, what="a degraded /health")
    finally:
        broker.process.send_signal(signal.SIGCONT)
    wait_until(lambda: node.get("/health").status == 200, timeout=30, what="a healthy /health")
    wait_until(lambda: backend.publish("user_noti:ann", message(1)) >= 1, what="a subscription")
    assert client.next_json()["payload"] == 1


def test_a_server_starts_before_its_redis(cleanup, connect):
    late = Redis()
    cleanup.callback(late.remove)
    node = cleanup.enter_context(running(broker={"kind": "redis", "url": late.url}))
    assert node.get("/health").status == 503
    client = connect(node, "ann")
    late.start()
    wait_until(lambda: redis_status(node) == "connected", timeout=15, what="a connection to Redis")
    with redis.Redis(port=late.port) as backend:
        wait_until(lambda: backend.publish("user_noti:ann", message(1)) == 1, what="the subscription")
    assert client.next_json()["payload"] == 1


def test_the_first_client_of_a_node_misses_nothing(cleanup, connect, broker, backend):
    """An event that arrives before the node has reached Redis waits."""
    backend.ping()
    node = Fanfare(broker={"kind": "redis", "url": broker.url})
    cleanup.callback(node.kill)
    broker.process.send_signal(signal.SIGSTOP)
    threading.Timer(0.5, broker.process.send_signal, [signal.SIGCONT]).start()
    node.start()
    client = connect(node, "ann")
    backend.publish("user_noti:ann", message("first"))
    assert client.next_json()["payload"] == "first"


def test_killed_connections_are_restored(node, connect, backend):
    """CLIENT KILL TYPE pubsub: the connection for subscriptions is cut while Redis itself works."""
    client = connect(node, "ann")
    backend.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    wait_until(lambda: held_users(backend) == {"user_noti:ann"}, what="a renewed subscription")
    backend.publish("user_noti:ann", message("again"))
    assert client.next_json()["payload"] == "again"


def test_a_server_that_never_reached_its_broker_stops_in_time():
    server = Fanfare(broker={"kind": "redis", "url": f"redis://127.0.0.1:{free_port()}/0"})
    try:
        server.start()
        server.stop()
    finally:
        server.kill()
