"""While the nodes' Redis is unavailable, each node serves its own clients in every protocol; afterwards there are no duplicates."""

import json

import pytest

from fanfare import wait_until
from interop.doors import DATA, DOORS, TYPE, body
from interop.frames import DIALECTS, EVERYONE, Event, channel, user


def clients_of(world, name, room, at, first=True):
    """One client of each protocol, at one node; the user's first connection in the room or a further one."""
    return [
        world.notify(name, at=at), world.broadcast(name, at=at),
        world.topics(name, f"user:{name}", room, "notifications", at=at),
        world.realtime(name, room, "notifications", at=at), world.rooms(name, room, at=at, first=first),
    ]


def connected(world, yes):
    return all((node.server.json("/health")["redis"]["status"] == "connected") == yes for node in world.deployment.nodes)


@pytest.fixture
def torn(deploy):
    """Two nodes with a Redis of their own."""
    return deploy(nodes=2)


def test_each_node_continues_without_the_broker(torn):
    name, room = torn.name("user"), torn.name("project:")
    near, far = clients_of(torn, name, room, torn.first), clients_of(torn, name, room, torn.last, first=False)
    torn.drain(*near, *far)
    torn.deployment.broker.kill()
    wait_until(lambda: connected(torn, False), what="the outage")

    for to in (user(name), channel(room), EVERYONE):
        hearing = [client for client in near if client.shows(Event(to, DATA))]
        answer = torn.events(body(to))
        assert (answer["recipients"], answer["degraded"]) == (len(hearing), True)
        event = Event(to, DATA, TYPE, id=answer["ids"][0])
        for client in hearing:
            assert client.shows(event).fullmatch(client.next())
    status, answer = torn.first.post("/notify", '{"message":"News"}')
    assert (status, answer["recipients"], answer["degraded"]) == (200, len(near), True)
    for client in near:
        assert "News" in client.next()
    speakers = {client.dialect: client for client in near}
    speakers["topics"].publish(room, "1")
    for client in (speakers["topics"], speakers["realtime"], speakers["rooms"]):
        assert client.json()
    speakers["rooms"].publish(room, '"Hi"')
    for client in (speakers["topics"], speakers["realtime"], speakers["rooms"]):
        assert "Hi" in client.next()

    torn.deployment.broker.start()
    wait_until(lambda: connected(torn, True), timeout=20, what="both nodes back")
    wait_until(lambda: all_hear(torn, name, far), timeout=20, what="events from the other node")
    torn.get({client: [] for client in near + far})
    for to in (user(name), channel(room), EVERYONE):
        torn.events(body(to))
        event = Event(to, DATA, TYPE)
        torn.receive(event, *(client for client in near + far if client.shows(event)))


def all_hear(world, name, far):
    """Whether an event for the user reaches the other node again."""
    answer = world.events({"to": {"user": name}, "data": {"marker": "again"}})
    return "degraded" not in answer and answer["recipients"] == 2 * len(far)


@pytest.mark.parametrize("kind", DOORS)
def test_a_node_starts_without_the_broker(deploy, kind):
    """Before its Redis is available, a node serves its own clients and reports that it is degraded."""
    world = deploy(broker={"kind": "redis", "url": "redis://127.0.0.1:9/0"})
    name, room = world.name("user"), world.name("project:")
    clients = clients_of(world, name, room, world.first)
    for client in clients:
        if client.dialect in ("rooms", "topics", "realtime"):
            client.settle()
    to = {"user": user(name), "everyone": EVERYONE, "channel": channel("notifications"), "room": channel(room)}[kind]
    answer = world.events(body(to))
    event = Event(to, DATA, TYPE)
    dialects = ("topics", "realtime") if kind == "channel" else DIALECTS  # a channel that is no room has no members
    hearing = [client for client in clients if client.dialect in dialects and client.shows(event)]
    assert (answer["recipients"], answer["degraded"]) == (len(hearing), True)
    for client in hearing:
        frames = []
        while not (frames and client.shows(event).fullmatch(frames[-1])):
            frames.append(client.next())
        assert all(json.loads(frame).get("type") in ("message", "Broadcast", "user_joined") for frame in frames[:-1])
