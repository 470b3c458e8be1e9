"""Three nodes whose NATS breaks in each of its ways, and links to it that fall silent: as with Redis."""

import signal

import pytest

from brokers import Nats
from cluster import at_least, cluster, rounds, started  # noqa: F401, a fixture for each test here
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


def test_nats_comes_back_without_jetstream(nats):
    """What must be remembered cannot be: receipts of events with an id say so, until it is there again."""
    with cluster(broker=nats) as nodes, nodes.fault():
        with_ids = next(one for one in nodes.ledger.publishers if one.name == "http-0")
        nats.kill()
        nats.start(jetstream=False)
        nodes.spend(at_least(3))
        assert outcomes(with_ids)[-1] == "degraded"
        nats.kill()
        nats.start()
        wait_until(lambda: outcomes(with_ids)[-1] == "sure", what="a receipt that is not degraded")
