"""An event id of the publisher counts once in the whole cluster, through any door and node; and events on Redis stay in order, with ids and
without."""

import uuid

import pytest

from fanfare import wait_until
from interop.doors import TYPE, body
from interop.frames import EVERYONE, Event, quoted, user

COUNT = 1000


def at_every_node(world, to):
    """A connection of each protocol that shows events of this kind, at each node."""
    owner = to[1] if to[0] == "user" else world.name("listener")
    topic = f"notifications.user.{owner}" if to[0] == "user" else "notifications"
    clients = []
    for node in world.deployment.nodes:
        clients += [
            world.notify(owner, at=node), world.broadcast(owner, at=node), world.rooms(owner, at=node),
            world.topics(owner, topic, at=node), world.realtime(owner, topic, at=node),
        ]
    return clients


def audience(world, kind):
    return user(world.name("user")) if kind == "user" else EVERYONE


def new_id():
    return str(uuid.uuid4())


def on_redis(world, sent):
    world.redis.publish("fanfare:events", sent)


def by_http(world, sent):
    world.events(sent)


def by_http_at_the_other_node(world, sent):
    world.events(sent, at=world.last)


DOORS = [on_redis, by_http, by_http_at_the_other_node]


def received(world, to, clients, *events):
    """Asserts that `clients` receive these events and no others: a last one without an id follows through a door that waits."""
    end = Event(to, '"end"', TYPE)
    on_redis(world, body(to, '"end"'))
    world.get({client: [client.shows(event) for event in (*events, end)] for client in clients})


@pytest.mark.parametrize("kind", ["user", "everyone"])
@pytest.mark.parametrize("first", DOORS)
@pytest.mark.parametrize("again", DOORS)
def test_an_id_counts_once_over_all_entries(world, kind, first, again):
    """No client receives the second event."""
    to, number = audience(world, kind), new_id()
    clients = at_every_node(world, to)
    world.drain(*clients)
    event = Event(to, "1", TYPE, id=number)
    first(world, body(to, "1", id=quoted(number)))
    came = [client.next() for client in clients]
    assert all(client.shows(event).fullmatch(frame) for client, frame in zip(clients, came)), came
    again(world, body(to, "1", id=quoted(number)))
    again(world, f"[{body(to, '2', id=quoted(number))}]")
    received(world, to, clients)


@pytest.mark.parametrize("first", DOORS)
@pytest.mark.parametrize("again", DOORS)
def test_any_text_as_id_counts_once_over_all_entries(world, first, again):
    to, text = audience(world, "user"), world.name("order é ")
    clients = at_every_node(world, to)
    world.drain(*clients)
    event = Event(to, "1", TYPE, id=str(uuid.uuid5(uuid.UUID(int=0), text)))
    first(world, body(to, "1", id=quoted(text)))
    came = [client.next() for client in clients]
    assert all(client.shows(event).fullmatch(frame) for client, frame in zip(clients, came)), came
    again(world, body(to, "1", id=quoted(text)))
    received(world, to, clients)


@pytest.mark.parametrize("kind", ["user", "everyone"])
def test_the_first_of_duplicates_in_one_list_on_redis_counts(world, kind):
    """The first of them counts."""
    to, number, other = audience(world, kind), new_id(), new_id()
    clients = at_every_node(world, to)
    world.drain(*clients)
    events = [
        body(to, data, id=quoted(id)) for data, id in [("1", number), ('"no"', number), ("2", other), ('"no"', number)]
    ]
    on_redis(world, f"[{','.join(events)}]")
    arrived = [Event(to, data, TYPE, id=id) for data, id in [("1", number), ("2", other)]]
    received(world, to, clients, *arrived)


def test_a_repeat_of_an_event_on_redis_gets_the_first_receipt(world):
    """Redis counts no connections, so the publisher gets no count; Fanfare's own door counts them."""
    to, number = audience(world, "user"), new_id()
    clients = at_every_node(world, to)
    sent = body(to, "1", id=quoted(number))
    count = world.redis.publish("fanfare:events", sent)
    world.receive(Event(to, "1", TYPE, id=number), *clients)
    reached = len(clients) if world.deployment.embedded else 0
    assert count == (reached or len(world.deployment.nodes))
    for node in world.deployment.nodes:
        answer = world.events(sent, at=node)
        assert (answer["ids"], answer["recipients"], "degraded" in answer) == ([number], reached, False)
        assert answer["duplicate"] is True
        receipt = answer["receipts"][0]
        assert (receipt["matched"], receipt["queued"], receipt["dropped"]) == (reached, reached, 0)


def test_a_thousand_ids_arrive_in_order(world):
    """With repeats between them, and events without an id, on two Redis channels."""
    to = audience(world, "user")
    clients = [world.notify(to[1], at=node) for node in world.deployment.nodes]
    world.drain(*clients)
    ids = [new_id() for _ in range(COUNT)]
    pipeline = world.redis.pipeline(transaction=False)
    expected = []
    for n, number in enumerate(ids):
        pipeline.publish("fanfare:events", body(to, str(n), id=quoted(number)))
        expected.append(n)
        if n % 3 == 1:
            pipeline.publish("fanfare:events", body(to, '"no"', id=quoted(ids[n // 2])))
        if n % 5 == 1:
            pipeline.publish("fanfare:events", body(to, f'"{n} without"'))
            expected.append(f"{n} without")
        if n % 5 == 2:
            pipeline.publish(f"user_noti:{to[1]}", f'{{"type":"t","payload":"{n} alone"}}')
            expected.append(f"{n} alone")
    pipeline.execute()
    for client in clients:
        arrived = [client.json()["payload"] for _ in expected]
        assert arrived == expected, next((a, b) for a, b in zip(arrived, expected) if a != b)
    received(world, to, clients)


def test_ids_are_stored_when_redis_returns(deploy):
    """The restarted Redis has lost all ids; the nodes have not."""
    world = deploy(nodes=2)
    to, number = audience(world, "user"), new_id()
    clients = [world.notify(to[1], at=node) for node in world.deployment.nodes]
    on_redis(world, body(to, "1", id=quoted(number)))
    world.receive(Event(to, "1", TYPE, id=number), *clients)
    world.deployment.broker.kill()

    def connected(yes):
        nodes = world.deployment.nodes
        return all((node.server.json("/health")["redis"]["status"] == "connected") == yes for node in nodes)

    wait_until(lambda: connected(False), what="the outage")
    world.deployment.broker.start()
    wait_until(lambda: connected(True), timeout=20, what="both nodes back")
    on_redis(world, body(to, "1", id=quoted(number)))
    for node in world.deployment.nodes:
        assert world.events(body(to, "1", id=quoted(number)), at=node)["recipients"] == 0
    received(world, to, clients)


def key_of(number):
    """The key in which Redis stores the cluster's knowledge of an id."""
    return f"fanfare:id:{uuid.UUID(number).hex}"


def test_events_do_not_wait_for_a_publisher_that_died(deploy):
    """It had published a whole list without an answer, or had only claimed one id, and all other events wait."""
    world = deploy(nodes=2)
    to, ids, taken = audience(world, "user"), [new_id() for _ in range(1000)], new_id()
    clients = [world.notify(to[1], at=node) for node in world.deployment.nodes]
    for number in ids:
        world.redis.set(key_of(number), "+", ex=600)
    world.redis.set(key_of(taken), "", ex=600)
    listed = lambda numbers: "[" + ",".join(body(to, str(n), id=quoted(number)) for n, number in enumerate(numbers)) + "]"
    # They are waited for together: one after the other would take longer than a client waits for an answer.
    answer = world.events(listed(ids))
    assert (answer["ids"], answer["recipients"]) == (ids, 0)

    new = [new_id(), taken, new_id()]
    status, refused = world.first.post("/api/v1/events", listed(new))
    assert (status, refused["error"]["code"]) == (409, "IN_PROGRESS")
    received(world, to, clients)
    world.redis.delete(key_of(taken))
    assert world.events(listed(new), at=world.last)["recipients"] == len(new) * len(clients)
    received(world, to, clients, *(Event(to, str(n), TYPE, id=number) for n, number in enumerate(new)))
