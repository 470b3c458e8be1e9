"""Nodes that are killed, freeze or are drained: their members leave once, returning members join once, and the other nodes do not wait."""

import time

import pytest

from cluster import LATE, NOTICE, at_least, cluster, rounds  # noqa: F401, a fixture for each test here
from fanfare import wait_until

FROZEN = 12  # seconds: longer than a lease, and than the other nodes wait
LEFT, JOINED = "user_left", "user_joined"


class Scene:
    """Users in the room: at the first node alone (once, and twice), and at the first and the second."""

    def __init__(self, nodes):
        self.nodes, (self.first, *self.others) = nodes, nodes.all
        [self.once] = nodes.members(self.first)
        self.twice = [nodes.subscriber("rooms", self.first, "twice") for _ in range(2)]
        self.both = [nodes.subscriber("rooms", node, "both") for node in nodes.all[:2]]
        nodes.agree()
        self.watchers = nodes.members(*self.others)
        self.marks = {one: len(one.presence) for one in nodes.members(*nodes.all)}

    def news(self, watcher):
        return watcher.news(self.marks[watcher])

    def sees(self, expected, within=NOTICE + LATE):
        """All members at the other nodes receive exactly these announcements, each in the same order."""
        try:
            wait_until(lambda: all(sorted(self.news(one)) == sorted(expected) for one in self.watchers), within)
        except AssertionError:
            raise AssertionError(f"expected {expected}: {[(one.name, self.news(one)) for one in self.watchers]}") from None
        assert len({tuple(self.news(one)) for one in self.watchers}) == 1

    def out_for(self, seconds):
        """Waits until the first node has been silent for that long."""
        [*_, (began, _)] = self.first.silences
        self.nodes.spend(max(0.0, began + at_least(seconds) - time.monotonic()))

    def left(self):
        """The users that leave with the first node."""
        return [(LEFT, self.once.user), (LEFT, "twice")]

    def comes_back(self):
        """The first node, with one of its users."""
        self.first.start_again()
        wait_until(self.first.ready, NOTICE + LATE, "a node that is ready")
        self.nodes.subscriber("notify", self.first)
        self.nodes.subscriber("rooms", self.first, self.once.user)


def gone_from_lists(scene):
    """The others no longer count the first node's connections."""
    expected = {"twice": 0, scene.once.user: 0, "both": 1}
    for node in scene.others:
        known = lambda: {user: node.connections_of(user) for user in expected}  # noqa: B023, E731
        wait_until(lambda: known() == expected, NOTICE + LATE, f"a list without the node that is gone, at {node}: {known()}")


def test_a_node_is_killed():
    with cluster() as nodes:
        scene = Scene(nodes)
        nodes.doom(scene.first)
        with nodes.fault():
            scene.first.kill()
            scene.sees(scene.left())
            gone_from_lists(scene)
        scene.comes_back()
        scene.sees([*scene.left(), (JOINED, scene.once.user)])
        nodes.agree()


def test_a_node_is_drained():
    with cluster() as nodes:
        scene = Scene(nodes)
        nodes.doom(scene.first)
        with nodes.fault():
            scene.first.server.stop()
            scene.sees(scene.left())
            gone_from_lists(scene)
        scene.comes_back()
        scene.sees([*scene.left(), (JOINED, scene.once.user)])
        nodes.agree()


def test_a_node_freezes_for_longer_than_its_lease():
    """Its members have left meanwhile and join again; a user who joined meanwhile is announced to them."""
    with cluster() as nodes:
        scene = Scene(nodes)
        with nodes.fault():
            scene.first.freeze()
            scene.sees(scene.left())
            newcomer = nodes.subscriber("rooms", scene.others[0], "newcomer")
            scene.sees([*scene.left(), (JOINED, "newcomer")])
            scene.out_for(FROZEN)
            scene.first.thaw()
            back = [(JOINED, user) for _, user in scene.left()]
            scene.sees([*scene.left(), (JOINED, "newcomer"), *back])
        nodes.agree()
        for one in nodes.members(scene.first):
            assert (JOINED, newcomer.user) in scene.news(one), (one.name, scene.news(one))


def test_a_node_is_cut_off_for_longer_than_its_lease():
    """It continues with its own members, who have left and join again for the others; each side receives the changes that it missed."""
    with cluster() as nodes:
        scene = Scene(nodes)
        with nodes.fault():
            scene.first.cut()
            nodes.unready(scene.first)
            scene.sees(scene.left())
            nodes.subscriber("rooms", scene.others[0], "far")
            nodes.subscriber("rooms", scene.first, "near")
            scene.sees([*scene.left(), (JOINED, "far")])
            scene.out_for(FROZEN)
            scene.first.mend()
            back = [(JOINED, user) for user in (scene.once.user, "twice", "near")]
            scene.sees([*scene.left(), (JOINED, "far"), *back])
        nodes.agree()
        for one in (scene.once, *scene.twice, scene.both[0]):
            assert sorted(scene.news(one)) == [(JOINED, "far"), (JOINED, "near")], (one.name, scene.news(one))


def test_a_node_freezes_for_less_than_its_lease():
    """That does not make them leave."""
    with cluster() as nodes:
        scene = Scene(nodes)
        with nodes.fault():
            scene.first.freeze()
            nodes.spend(2.5)
            scene.first.thaw()
        scene.sees([])
        nodes.agree()


def test_joins_and_leaves_while_redis_is_out_of_memory():
    """Joins are answered nevertheless; the other nodes receive them once Redis has stored them."""
    with cluster() as nodes:
        scene = Scene(nodes)
        admin = nodes.admin()
        admin.config_set("maxmemory", 1)
        nodes.subscriber("rooms", scene.first, "near")
        nodes.leaves(scene.both[0])
        nodes.leaves(scene.once)
        nodes.spend(at_least(7))
        admin.config_set("maxmemory", 0)
        scene.sees([(JOINED, "near"), (LEFT, scene.once.user)])
