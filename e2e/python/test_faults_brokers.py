"""Three nodes on Redis behind Sentinels, on a Redis Cluster and on NATS: a server that leads dies, a slot moves."""

import signal

import pytest

from brokers import Nats, RedisCluster, Sentinels
from cluster import at_least, cluster, rounds, started  # noqa: F401, a fixture for each test here
from traffic import ROOM, USER


def on(broker, cleanup):
    """A cluster on this broker; nodes find its servers by themselves, so that there are no links between."""
    broker = started(cleanup, broker)
    return cluster(broker=broker, broker_tables=lambda link: broker.tables)


def test_a_master_dies_and_sentinels_choose_another(cleanup):
    with on(Sentinels(), cleanup) as nodes:
        with nodes.fault():
            dead = nodes.broker.kill_master()
        with nodes.fault():  # it comes back as a replica of the other
            nodes.broker.serve(dead)
            nodes.spend(at_least(2))


@pytest.mark.parametrize("name", [f"user_noti:{USER}", f"fanfare:channel:{ROOM}", "fanfare:nodes"], ids=["user", "room", "nodes"])
def test_a_shard_of_a_redis_cluster_loses_its_master(cleanup, name):
    with on(RedisCluster(), cleanup) as nodes, nodes.fault():
        nodes.broker.kill_master(nodes.broker.slot(name))


def test_slots_of_a_redis_cluster_move(cleanup):
    with on(RedisCluster(), cleanup) as nodes:
        for name in (f"user_noti:{USER}", f"fanfare:channel:{ROOM}", "fanfare:nodes"):
            with nodes.fault():
                nodes.broker.move(nodes.broker.slot(name))
