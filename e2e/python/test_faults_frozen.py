"""A node whose process stops for a moment: the others do not wait for it, and their receipts report that it may miss events."""

import statistics
import time

from cluster import at_least, cluster, rounds  # noqa: F401, a fixture for each test here
from fanfare import wait_until
from traffic import Burst, outcomes


def others(nodes):
    """The publishers at the other nodes."""
    return [one for one in nodes.ledger.publishers if one.name in ("http-1", "http-2")]


def test_publishing_does_not_wait_for_a_frozen_node():
    """Receipts are degraded and immediate, except for the first ones."""
    with cluster() as nodes, nodes.fault():
        nodes.all[0].freeze()
        nodes.spend(2)
        since = time.monotonic()
        nodes.spend(at_least(2))
        until = time.monotonic()
        nodes.all[0].thaw()
        for publisher in others(nodes):
            later = [one for one in publisher.published if since < one.began < until]
            assert {one.outcome for one in later} == {"degraded"}, publisher.name
            # A publication that waited for the node would take the whole second that answers are waited for.
            assert statistics.median(one.took for one in later) < 0.9, [one.took for one in later]


def test_a_frozen_node_recovers_after_redis_dropped_its_subscriber():
    # Its clients receive at once what the system's buffers hold.
    tables = {"notify": {"send_queue": 4096, "send_queue_size": 64 << 20}}
    with cluster(tables=tables) as nodes, nodes.fault():
        admin, frozen = nodes.admin(), nodes.all[0]
        admin.config_set("client-output-buffer-limit", "pubsub 8388608 8388608 1")
        burst = nodes.publisher(Burst("burst", nodes.broker.port, 1 << 20, 1))
        frozen.freeze()
        wait_until(lambda: all(outcomes(one)[-1] == "degraded" for one in others(nodes)), what="receipts that say it")
        readers = [one for one in nodes.ledger.subscribers if one.audience == "user" and one.node is not frozen]

        def is_dropped():
            """Publishing continues as fast as the others read: the buffers of the system take a part of it."""
            expected = 1000 * burst.one().number
            wait_until(lambda: all(expected in one.numbers(burst) for one in readers), what="a message of the burst")
            return admin.pubsub_numsub("fanfare:nodes")[0][1] == 2

        wait_until(is_dropped, what="a subscriber that is dropped")
        nodes.spend(1)
        frozen.thaw()


def test_a_frozen_node_loses_its_subscriptions_at_once():
    """It cannot report this itself: the others see that Redis no longer has its connection."""
    with cluster() as nodes, nodes.fault():
        frozen = nodes.all[0]
        frozen.freeze()
        nodes.admin().execute_command("CLIENT", "KILL", "ADDR", f"127.0.0.1:{frozen.link.subscription}")
        nodes.spend(1.5)
        frozen.thaw()
