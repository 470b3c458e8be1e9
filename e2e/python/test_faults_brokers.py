"""Three nodes on Redis with Sentinels, and on a Redis Cluster: the leading server dies, and a slot moves."""

import pytest

from brokers import RedisCluster, Sentinels
from cluster import at_least, cluster, rounds, started  # noqa: F401, a fixture for each test here
from traffic import ROOM, USER


@pytest.fixture
def sentinels(cleanup):
    return started(cleanup, Sentinels())


@pytest.fixture
def redis_cluster(cleanup):
    return started(cleanup, RedisCluster())


def test_no_event_is_lost_when_sentinels_choose_another_master(sentinels):
    with cluster(broker=sentinels) as nodes:
        with nodes.fault():
            dead = nodes.broker.kill_master()
        with nodes.fault():  # it returns as a replica of the other
            nodes.broker.serve(dead)
            nodes.spend(at_least(2))


@pytest.mark.parametrize("name", [f"user_noti:{USER}", f"fanfare:channel:{ROOM}", "fanfare:nodes"], ids=["user", "room", "nodes"])
def test_a_shard_of_a_redis_cluster_loses_its_master(redis_cluster, name):
    with cluster(broker=redis_cluster) as nodes, nodes.fault():
        nodes.broker.kill_master(nodes.broker.slot(name))


def test_slots_of_a_redis_cluster_move(redis_cluster):
    with cluster(broker=redis_cluster) as nodes:
        for name in (f"user_noti:{USER}", f"fanfare:channel:{ROOM}", "fanfare:nodes"):
            with nodes.fault():
                nodes.broker.move(nodes.broker.slot(name))
