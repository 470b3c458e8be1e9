"""Three nodes whose NATS fails in each of its ways, and silent links to it: the same laws as with Redis."""

import signal
import time

import pytest

from brokers import Nats, NatsCluster
from cluster import LATE, NOTICE, at_least, cluster, rounds, started  # noqa: F401, a fixture for each test here
from fanfare import wait_until
from traffic import outcomes


@pytest.fixture
def nats(cleanup):
    return started(cleanup, Nats())


@pytest.mark.parametrize("empty", [False, True], ids=["as-it-was", "empty"])
def test_nats_is_killed_and_restarted(nats, empty):
    with cluster(broker=nats) as nodes, nodes.fault():
        nats.kill()
        nodes.unready(*nodes.all)
        nodes.spend(at_least(2))
        if empty:
            nats.lose_everything()
        nats.start()


def test_nats_hangs_and_goes_on(nats):
    with cluster(broker=nats) as nodes, nodes.fault():
        nats.signal(signal.SIGSTOP)
        nodes.unready(*nodes.all)
        nodes.spend(at_least(2))
        nats.signal(signal.SIGCONT)


@pytest.mark.parametrize("count", [1, 3], ids=["one", "all"])
def test_links_to_nats_stop_forwarding(nats, count):
    with cluster(broker=nats) as nodes, nodes.fault():
        cut = nodes.all[:count]
        for node in cut:
            node.cut()
        nodes.unready(*cut)
        nodes.spend(at_least(2))
        for node in cut:
            node.mend()


def test_nats_returns_without_jetstream(nats):
    """Ids cannot be stored: receipts of events with an id are degraded until JetStream is back."""
    with cluster(broker=nats) as nodes, nodes.fault():
        with_ids = next(one for one in nodes.ledger.publishers if one.name == "http-0")
        nats.kill()
        nats.start(jetstream=False)
        wait_until(lambda: outcomes(with_ids)[-1] == "degraded", NOTICE + LATE, "a receipt that says it")
        nodes.spend(at_least(3))
        nats.kill()
        nats.start()
        wait_until(lambda: outcomes(with_ids)[-1] == "sure", what="a receipt that is not degraded")


@pytest.fixture
def nats_cluster(cleanup):
    return started(cleanup, NatsCluster())


def test_jetstream_has_no_leader(nats_cluster):
    """Two of three servers die. The third carries events, but its JetStream does not answer: that is no outage, and receipts are degraded."""
    with cluster(broker=nats_cluster) as nodes:
        for stream in ("KV_fanfare-ids", "KV_fanfare-presence"):
            nats_cluster.replicate(stream)
        known = {one: len(one.presence) for one in nodes.members(*nodes.all)}
        with_ids, without = (next(one for one in nodes.ledger.publishers if one.name == name) for name in ("http-0", "http-1"))
        unshared = lambda: nodes.all[0].server.prometheus("fanfare_publications_degraded_total")  # noqa: E731
        says_it = lambda: all(node.ready() for node in nodes.all) and (outcomes(with_ids)[-1], outcomes(without)[-1]) == ("degraded", "sure")  # noqa: E731
        with nodes.fault():
            for name in NatsCluster.NAMES[1:]:
                nats_cluster.kill(name)
            wait_until(says_it, NOTICE + LATE, "nodes that say which receipts are not sure")
            before, since = unshared(), time.monotonic()
            wait_until(lambda: not nats_cluster.has_leader(), what="the end of a leader that has lost the others")
            nodes.spend(at_least(3))
            assert not nats_cluster.has_leader() and all(node.ready() for node in nodes.all)
            assert set(outcomes(with_ids, since)) == {"degraded"} and unshared() > before
            assert "sure" in outcomes(without, since)
            for name in NatsCluster.NAMES[1:]:
                nats_cluster.serve(name)
            wait_until(lambda: outcomes(with_ids)[-1] == "sure", what="a receipt that is not degraded")
        nodes.agree()
        assert {one: one.news(count) for one, count in known.items()} == {one: [] for one in known}
