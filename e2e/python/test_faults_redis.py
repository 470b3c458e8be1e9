"""Three nodes whose Redis fails in each of its ways: no duplicates, no changed order, and each loss is reported."""

import signal

import pytest
import redis

from cluster import at_least, cluster, rounds  # noqa: F401, a fixture for each test here
from fanfare import wait_until
from traffic import Burst, outcomes


def test_redis_is_killed_and_restarted_empty():
    """All members stay in the room although Redis has lost it: no announcement is sent."""
    with cluster() as nodes:
        known = {one: len(one.presence) for one in nodes.members(*nodes.all)}
        with nodes.fault():
            nodes.broker.kill()
            nodes.unready(*nodes.all)
            nodes.spend(at_least(3))
            nodes.broker.start()
        nodes.agree()
        assert {one: one.news(count) for one, count in known.items()} == {one: [] for one in known}


def test_redis_hangs_and_goes_on():
    with cluster() as nodes, nodes.fault():
        nodes.broker.process.send_signal(signal.SIGSTOP)
        try:
            nodes.unready(*nodes.all)
            nodes.spend(at_least(3))
        finally:
            nodes.broker.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("count", [1, 3], ids=["one", "all"])
def test_links_stop_forwarding(count):
    """No connection is reset: only the silence reveals it."""
    with cluster() as nodes, nodes.fault():
        cut = nodes.all[:count]
        for node in cut:
            node.cut()
        nodes.unready(*cut)
        nodes.spend(at_least(3))
        for node in cut:
            node.mend()


@pytest.mark.parametrize("only_subscriptions", [False, True], ids=["links", "subscriptions"])
def test_links_stutter(only_subscriptions):
    """Shorter than any timeout: events whose echo was given up are delivered without it, and the echo still arrives later."""
    with cluster() as nodes, nodes.fault():
        for _ in range(4):
            for node in nodes.all:
                node.link.freeze(only_subscriptions)
            nodes.spend(0.9)
            for node in nodes.all:
                node.link.thaw()
            nodes.spend(0.4)


def test_redis_drops_subscribers_that_a_burst_has_filled():
    """The limit is exceeded within one turn of Redis, so that Redis certainly closes every node's subscriptions."""
    with cluster() as nodes, nodes.fault():
        redis_admin = nodes.admin()
        redis_admin.config_set("client-output-buffer-limit", "pubsub 65536 65536 1")
        dropped = len(nodes.all[0].link.accepted)
        burst = nodes.publisher(Burst("burst", nodes.broker.port, 1024, 200))
        burst.one()
        wait_until(lambda: len(nodes.all[0].link.accepted) > dropped, what="a new subscription")


def test_redis_is_out_of_memory():
    """Publishing continues and only ids cannot be stored: that is no outage, no event is lost, and receipts are degraded."""
    with cluster() as nodes:
        redis_admin = nodes.admin()
        with_ids, without = (next(one for one in nodes.ledger.publishers if one.name == name) for name in ("http-0", "http-1"))
        redis_admin.config_set("maxmemory", 1)
        wait_until(lambda: outcomes(with_ids)[-1] == "degraded", what="a receipt that says it")
        healthy = len(outcomes(without))
        nodes.spend(at_least(3))
        assert set(outcomes(with_ids)[-10:]) == {"degraded"} and "sure" in outcomes(without)[healthy:]
        assert all(node.ready() for node in nodes.all)
        redis_admin.config_set("maxmemory", 0)
        wait_until(lambda: outcomes(with_ids)[-1] == "sure", what="a receipt that is not degraded")


@pytest.fixture
def broker_with_user(real_redis):
    broker = real_redis()
    with redis.Redis(port=broker.port) as client:
        client.execute_command("ACL", "SETUSER", "fanfare", "on", ">old-secret", "~*", "&*", "+@all")
    return broker


@pytest.mark.parametrize("user", [None, "fanfare"], ids=["requirepass", "acl"])
def test_the_password_changes_and_changes_back(broker_with_user, user):
    broker_tables = None
    if user:
        broker_tables = lambda link: {"kind": "redis", "url": f"redis://fanfare:old-secret@127.0.0.1:{link.port}"}  # noqa: E731
    with cluster(broker=broker_with_user, broker_tables=broker_tables) as nodes:
        redis_admin = nodes.admin()
        with nodes.fault():
            if user:
                redis_admin.execute_command("ACL", "SETUSER", user, "resetpass", ">new-secret")
                redis_admin.execute_command("CLIENT", "KILL", "USER", user)
            else:
                redis_admin.config_set("requirepass", "new-secret")
                redis_admin.execute_command("CLIENT", "KILL", "USER", "default", "SKIPME", "yes")
            nodes.unready(*nodes.all)
            nodes.spend(at_least(2))
            if user:
                redis_admin.execute_command("ACL", "SETUSER", user, "resetpass", ">old-secret")
            else:
                redis_admin.config_set("requirepass", "")
        for node in nodes.all:
            assert any(word in node.server.log() for word in ("authentication", "NOAUTH", "WRONGPASS")), "the reason"
            assert "secret" not in node.server.log()
