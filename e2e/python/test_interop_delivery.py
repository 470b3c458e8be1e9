"""Deliveries: a client's own messages, overlapping subscriptions, order, and receipts."""

import json
import threading

import pytest

from interop.doors import DATA, TYPE, body
from interop.frames import EVERYONE, UUID, Event, channel, user

COUNT = 100


# --- one's own messages, and overlapping subscriptions ---


@pytest.mark.parametrize("name", ["chat{}.general", "project:{}", "notifications"])
@pytest.mark.parametrize("patterns", [[], ["{}"], ["*"], ["**"], ["{}", "*", "**", "*.*", "*:*"]])
@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_a_subscribed_publisher_receives_its_message_once(world, dialect, name, patterns):
    """A client that is not subscribed does not receive its own message."""
    name, who = name.format(world.name("")), world.name("speaker")
    client = getattr(world, dialect)(who, *(pattern.format(name) for pattern in patterns), at=world.first)
    silent, witness = getattr(world, dialect)(who, at=world.first), world.topics(world.name("user"), name)
    segments = 1 + sum(name.count(separator) for separator in ".:")
    received = "**" in patterns or "{}" in patterns or ("*" in patterns and segments == 1)
    client.publish(name, DATA)
    event = Event(channel(name), DATA, sender=who, connection=UUID)
    frames = [client.next() for _ in range(received + (dialect == "realtime"))]
    acks = [frame for frame in frames if json.loads(frame)["type"] == "Ack"]
    assert len(acks) == (dialect == "realtime")
    assert [bool(client.shows(event).fullmatch(frame)) for frame in frames if frame not in acks] == [True] * received
    world.receive(event, witness, excluded=[client, silent])


def test_a_member_receives_its_own_message_once(world):
    """On each of the user's connections that are in the room."""
    room, who = world.name("channel:"), world.name("speaker")
    speaker, second = world.rooms(who, room, at=world.first), world.rooms(who)
    assert second.call({"type": "join_room", "room": room})["type"] == "joined_room"  # the user is already in the room
    elsewhere = world.rooms(who, world.name("channel:"))
    subscriber = world.topics(who, room, "**", at=world.first)
    world.drain(speaker, second, elsewhere, subscriber)
    speaker.publish(room, '"Hi"')
    data = f'{{"content":"Hi","username":"{who}","user_id":"{who}","metadata":{{}}}}'
    event = Event(channel(room), data, "message", sender=who, connection=UUID)
    world.receive(event, speaker, second, subscriber, excluded=[elsewhere])


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_subscriptions_are_a_set(world, dialect):
    """Subscriptions are a set: a second one has no effect, and each of several is removed separately."""
    name = world.name("chat") + ".general"
    client = getattr(world, dialect)(world.name("user"), name, name, "**", name)
    witness = world.topics(world.name("user"), name)
    event = Event(channel(name), DATA, TYPE)
    for step, received in ((None, True), (name, True), ("**", False), ("**", False), (name, False)):
        if step:
            client.unsubscribe(step)
        world.events(body(channel(name)))
        world.receive(event, witness, *[client] * received, excluded=[client] * (not received))
    client.subscribe(name)
    world.events(body(channel(name)))
    world.receive(event, witness, client)


def test_joining_twice_receives_once(world):
    room = world.name("task:")
    client = world.rooms(world.name("user"), room)
    assert client.call({"type": "join_room", "room": room})["type"] == "joined_room"
    world.events(body(channel(room)))
    world.receive(Event(channel(room), DATA, TYPE), client)


def test_a_user_with_a_connection_of_each_protocol_gets_one_event_on_each(world):
    name = world.name("user")
    ways = [f"notifications.user.{name}", f"user:{name}", f"user_noti:{name}", "notifications.**", "user:*", "**"]
    clients = [
        world.notify(name), world.broadcast(name), world.topics(name, *ways), world.realtime(name, *ways),
        world.rooms(name), world.notify(name, at=world.first), world.topics(name, *ways, at=world.first),
    ]
    assert world.events(body(user(name)))["recipients"] == len(clients)
    world.receive(Event(user(name), DATA, TYPE), *clients)


# --- order ---


def readers(world, to):
    kind, name = to
    owner = name if kind == "user" else world.name("reader")
    topic = f"notifications.user.{name}" if kind == "user" else name
    opened = [world.topics(owner, topic, "**"), world.topics(owner, topic, at=world.first)]
    opened.append(world.realtime(owner, topic, "**"))
    if kind != "channel":
        return [*opened, world.notify(owner), world.broadcast(owner), world.rooms(owner)]
    return opened + ([world.rooms(owner, name)] if ":" in name else [])


def pipelined(world, to):
    names = {"user": f"user_noti:{to[1]}", "everyone": "fanfare:everyone", "channel": f"fanfare:channel:{to[1]}"}
    pipeline = world.redis.pipeline(transaction=False)
    for n in range(COUNT):
        pipeline.publish(names[to[0]], f'{{"type":"t","payload":{n}}}')
    pipeline.execute()


def in_one_array(world, to):
    world.events("[" + ",".join(body(to, str(n), "t") for n in range(COUNT)) + "]")


def one_request_each(world, to):
    for n in range(COUNT):
        world.events(body(to, str(n), "t"))


def array_on_redis(world, to):
    world.redis.publish("fanfare:events", "[" + ",".join(body(to, str(n), "t") for n in range(COUNT)) + "]")


def by_topics(world, to):
    client = world.topics(world.name("speaker"), at=world.first)
    for n in range(COUNT):
        client.publish(to[1], str(n))


def by_realtime(world, to):
    client = world.realtime(world.name("speaker"), at=world.first)
    for n in range(COUNT):
        client.direct(to[1], str(n)) if to[0] == "user" else client.publish(to[1], str(n))


BY_SERVICES = [pipelined, in_one_array, one_request_each, array_on_redis]
ORDERED = {
    "user": [*BY_SERVICES, by_realtime], "everyone": BY_SERVICES, "channel": [*BY_SERVICES, by_topics, by_realtime],
    "room": [*BY_SERVICES, by_topics, by_realtime],
}


@pytest.mark.parametrize("kind, publish", [(kind, way) for kind, ways in ORDERED.items() for way in ways])
def test_messages_of_one_publisher_arrive_in_order(world, kind, publish):
    """The messages of one publisher on one channel, in every protocol; none is lost or duplicated."""
    to = {
        "user": user(world.name("user")), "everyone": EVERYONE, "channel": channel(world.name("chat.")),
        "room": channel(world.name("project:")),
    }[kind]
    clients = readers(world, to)
    world.drain(*clients)
    publish(world, to)
    for client in clients:
        assert [number_in(client.json()) for _ in range(COUNT)] == list(range(COUNT)), client.dialect
    world.get({client: [] for client in clients})


def number_in(frame):
    """The data of an event, in any protocol."""
    data = frame.get("data", frame.get("payload"))
    return data["payload"] if frame["type"] in ("Broadcast", "DirectMessage") else data


def test_messages_joins_and_leaves_of_a_user_arrive_in_order(world):
    """A user's messages, joins and leaves arrive in the order in which the user sent them."""
    room, who = world.name("project:"), world.name("speaker")
    member, other = world.rooms(world.name("user"), room), world.topics(world.name("user"), room)
    world.drain(member, other)
    speaker = world.rooms(who, room, at=world.first)
    for n in range(COUNT):
        speaker.publish(room, f'"{n}"')
    said = [str(n) for n in range(COUNT)]
    assert [speaker.json()["data"].get("content") for _ in range(COUNT)] == said
    speaker.send({"type": "leave_room", "room": room})
    frames = [member.json() for _ in range(COUNT + 2)]
    assert [frame["data"].get("content", frame["type"]) for frame in frames] == ["user_joined", *said, "user_left"]
    frames = [other.json() for _ in range(COUNT + 2)]
    assert [frame["data"].get("content", frame["eventType"]) for frame in frames] == ["user_joined", *said, "user_left"]
    assert speaker.json()["type"] == "left_room"


def test_the_order_of_each_publisher_is_preserved(world):
    """The order of each client's actions is preserved, whatever the others do at the same time."""
    name, room = world.name("chat."), world.name("project:")
    clients = [world.topics(world.name("user"), name, room), world.realtime(world.name("user"), "**")]
    speakers = [world.topics(world.name("t")), world.topics(world.name("t"), at=world.first)]
    speakers.append(world.realtime(world.name("r")))

    def speak(which, speaker):
        for n in range(COUNT):
            speaker.publish((name, room)[n % 2], f'{{"by":{which},"n":{n}}}')

    threads = [threading.Thread(target=speak, args=pair) for pair in enumerate(speakers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        received = {}
        for _ in range(COUNT * len(speakers)):
            frame = client.json()
            data, topic = number_in(frame), frame.get("topic") or frame["data"]["topic"]
            received.setdefault((data["by"], topic), []).append(data["n"])
        expected = {(by, topic): list(range(at, COUNT, 2)) for by in range(3) for at, topic in enumerate((name, room))}
        assert received == expected
    world.get({client: [] for client in clients})


# --- receipts ---


@pytest.mark.parametrize("kind", ["user", "channel", "room"])
def test_recipients_are_counted_on_all_nodes(world, kind):
    """The connections to which a frame was queued: of every protocol, each once, and no others."""
    to = {
        "user": user(world.name("user")), "channel": channel(world.name("chat.")), "room": channel(world.name("project:")),
    }[kind]
    assert world.events(body(to))["recipients"] == 0
    clients = [client for node in (world.first, world.last) for client in reached(world, to, node)]
    world.broadcast(client_id=to[1])
    world.topics(world.name("user"))
    world.drain(*clients)
    for at in (world.first, world.last):
        assert world.events(body(to), at=at)["recipients"] == len(clients)
    both = world.events(f"[{body(to)},{body(user(world.name('nobody')))},{body(to)}]")
    assert (len(both["ids"]), both["recipients"]) == (3, 2 * len(clients))
    if world.deployment.embedded:
        names = {"user": f"user_noti:{to[1]}"}
        message = f'{{"type":"{TYPE}","payload":{DATA}}}'
        assert world.redis.publish(names.get(kind, f"fanfare:channel:{to[1]}"), message) == len(clients)
        assert world.redis.publish("fanfare:events", f"[{body(to)},{body(to)}]") == 2 * len(clients)


def reached(world, to, at):
    kind, name = to
    if kind == "user":
        return [
            world.notify(name, at=at), world.broadcast(name, at=at), world.topics(name, "**", at=at),
            world.realtime(name, at=at), world.rooms(name, at=at),
        ]
    opened = [
        world.topics(world.name("user"), name, "**", at=at), world.realtime(world.name("user"), name, at=at),
        world.realtime(world.name("user"), "**", at=at),
    ]
    return opened + ([world.rooms(world.name("user"), name, at=at)] if ":" in name else [world.realtime(None, name, at=at)])


def test_everyone_is_counted_on_all_nodes(world):
    world.quiet()
    clients = []
    for at in (world.first, world.last):
        name = world.name("user")
        clients += [
            world.notify(name, at=at), world.broadcast(at=at), world.broadcast(name, at=at), world.rooms(name, at=at),
            world.topics(name, "notifications", "**", at=at), world.realtime(None, "*", at=at),
        ]
        world.topics(name, at=at), world.realtime(name, at=at), world.topics(None, at=at)
    for at in (world.first, world.last):
        assert world.events(body(EVERYONE), at=at)["recipients"] == len(clients)
        status, answer = at.post("/notify", '{"message":"News","data":{"n":1.10}}')
        assert (status, answer["recipients"]) == (200, len(clients))
        assert set(answer) == {"status", "message", "recipients", "notification", "timestamp"}
        assert answer["notification"] == {"message": "News", "type": "custom", "data": {"n": 1.1}}
    if world.deployment.embedded:
        assert world.redis.publish("fanfare:everyone", '{"type":"t","payload":1}') == len(clients)


def test_an_array_is_all_or_nothing(world):
    to = user(world.name("user"))
    clients = readers(world, to)
    for bad in ('{"to":{"user":""},"data":1}', '{"to":"all","data":1}', '{"to":"everyone"}', "7", body(channel("a.*"))):
        status, answer = world.first.post("/api/v1/events", f"[{body(to)},{bad}]")
        assert (status, answer["error"]["code"]) == (400, "INVALID_REQUEST"), answer
    world.get({client: [] for client in clients})


def test_an_array_goes_to_many(world):
    """Events for different audiences in one body keep their order for each audience."""
    name = world.name("user")
    room, chat = world.name("project:"), world.name("chat.")
    targets = [user(name), channel(room), channel(chat), EVERYONE] * 3
    client = world.topics(name, "**")
    answer = world.events("[" + ",".join(body(to, str(n), "t") for n, to in enumerate(targets)) + "]")
    assert len(set(answer["ids"])) == len(targets)
    world.get({client: [client.shows(Event(to, str(n), "t")) for n, to in enumerate(targets)]})
