"""The content of an event arrives in every protocol as it was published: its data byte for byte, its type or the protocol's word for none,
its sender, its id, its time."""

import datetime
import json
import uuid

import pytest

from interop.doors import DOORS, TYPE, body, http_notify, rooms_message
from interop.frames import EVERYONE, UUID, Event, channel, quoted, user

# Values that a parser and a serialiser between publisher and reader would change.
OBJECTS = {
    "numbers": '{"price":1.10,"huge":1E400,"long":12345678901234567890123,"minus":-0,"exponent":1e+05,"zero":0.0}',
    "order": '{"b":1,"a":2,"10":3,"9":4,"":5}',
    "escapes": r'{"smile":"\ud83d\ude00","half":"\ud800","other half":"\uDFFF","slash":"\/","nul":"\u0000","e":"\u00E9é😀"}',
    "nested": '{"a":' * 60 + "[[]]" + "}" * 60,
    "empty": "{}",
}
# Values that survive only if the bytes of the whole value are forwarded.
WHOLE = {
    "spaces": '{ "b" : [ 1 ,\t2 ] ,  "a":{ } }',
    "doubles": '{"b":1,"a":2,"b":1.0}',
    "escaped names": r'{"\u0061":1,"a\/b":2}',
}
# Values that are not objects.
SCALARS = {"null": "null", "true": "true", "number": "1.10", "text": r'"\ud800 é"', "list": "[1.10, {}]", "no text": '""'}


def audience(world, kind):
    return {
        "user": lambda: user(world.name("user")),
        "everyone": lambda: EVERYONE,
        "channel": lambda: channel(world.name("chat") + ".general"),
        "room": lambda: channel(world.name("project:")),
    }[kind]()


def listeners(world, to):
    """One connection of each protocol that shows events of this kind."""
    kind, name = to
    owner = name if kind == "user" else world.name("listener")
    topic = f"notifications.user.{name}" if kind == "user" else name
    opened = [world.topics(owner, topic), world.realtime(owner, topic)]
    if kind == "channel":
        return opened + ([world.rooms(owner, name)] if ":" in name else [])
    return [*opened, world.notify(owner), world.broadcast(owner), world.rooms(owner)]


def cases():
    for kind, doors in DOORS.items():
        for name, door in doors.items():
            if name == "rooms join_room":  # it has no payload of its publisher
                continue
            payloads = OBJECTS
            if name != "POST /notify":
                payloads = payloads | WHOLE
            if name not in ("POST /notify", "rooms send_message"):
                payloads = payloads | SCALARS
            yield pytest.param(kind, door, list(payloads.values()), id=f"{name} to a {kind}")


@pytest.mark.parametrize("kind, door, payloads", list(cases()))
def test_payloads_arrive_byte_for_byte_in_every_protocol(world, kind, door, payloads):
    """Through every door to every protocol."""
    to = audience(world, kind)
    publish = door(world, to)
    clients = listeners(world, to)
    world.drain(*clients)
    for data in payloads:
        if door is http_notify and data == "{}":
            continue
        event, _ = publish(data)
        for client in clients:
            frame, expected = client.next(), client.shows(event)
            assert expected.fullmatch(frame), f"{client.dialect}:\n  came      {frame}\n  expected  {expected.pattern}"
    world.get({client: [] for client in clients})


def test_notify_merges_the_message_and_the_data(world):
    """`message` first, then the fields of `data` with their values as written; a `message` among them is overwritten."""
    clients = listeners(world, EVERYONE)
    cases = [
        ('{"message":"A"}', '{"message":"A"}', "custom"),
        ('{"message":"A","data":{}}', '{"message":"A"}', "custom"),
        (r'{"message":"A \ud800 \/","type":"alert"}', r'{"message":"A \ud800 \/"}', "alert"),
        ('{"data":{"n":1.10,"message":"B","a": [ 1 ]},"message":"A"}', '{"message":"A","n":1.10,"a":[ 1 ]}', "custom"),
    ]
    for sent, data, kind in cases:
        status, _ = world.first.post("/notify", sent)
        assert status == 200
        event = Event(EVERYONE, data, kind)
        world.receive(event, *clients)


def test_content_and_metadata_of_a_rooms_message_keep_their_bytes(world):
    """Content and metadata are both byte for byte; without metadata there is an empty object."""
    room, name = world.name("task:"), world.name("speaker")
    speaker = world.rooms(name, room, at=world.first)
    clients = listeners(world, channel(room))
    world.drain(speaker, *clients)
    for content, metadata in [
        (r'"\ud83d\ude00 \ud800 \/ é"', None), ('"A"', "{}"), ('"A"', '{"reply_to":1E400,"b":1,"a": [ ]}'),
    ]:
        speaker.publish(room, content, metadata)
        data = f'{{"content":{content},"username":"{name}","user_id":"{name}","metadata":{metadata or "{}"}}}'
        world.receive(Event(channel(room), data, "message", sender=name, connection=UUID), speaker, *clients)


# --- types ---

@pytest.mark.parametrize("kind", DOORS)
@pytest.mark.parametrize("way", ["http", "redis"])
def test_an_event_without_a_type_has_the_protocols_default(world, kind, way):
    """`notification` in notify, `custom` in broadcast, `message` in topics; in rooms `message` or `notification.new`."""
    to = audience(world, kind)
    clients = listeners(world, to)
    world.drain(*clients)
    sent = body(to, '{"n":1}', type=None)
    world.events(sent) if way == "http" else world.redis.publish("fanfare:events", sent)
    world.receive(Event(to, '{"n":1}'), *clients)


@pytest.mark.parametrize("kind", ["channel", "room"])
@pytest.mark.parametrize("data", ['{"n":1}', '{"type":7,"payload":1}', "[1.10]", '"text"', "null"])
def test_any_json_on_a_redis_channel_is_delivered(world, kind, data):
    """Data that is no notification is the data of an event without a type."""
    to = audience(world, kind)
    clients = listeners(world, to)
    world.drain(*clients)
    world.redis.publish(f"fanfare:channel:{to[1]}", data)
    world.receive(Event(to, data), *clients)


@pytest.mark.parametrize("kind", DOORS)
@pytest.mark.parametrize("type", ["user_joined", "error", "Ack", "x", "é \"quoted\" \\ \u007f", "t" * 255])
def test_a_backend_may_use_any_type(world, kind, type):
    """A backend may use types of the server's own messages, and types that need escapes."""
    to = audience(world, kind)
    clients = listeners(world, to)
    world.drain(*clients)
    sent = body(to, "{}", type=type)
    world.events(sent)
    world.redis.publish("fanfare:events", sent)
    frames = {client: [client.shows(Event(to, "{}", type))] * 2 for client in clients}
    world.get(frames)


@pytest.mark.parametrize(
    "message",
    ['{"payload":1}', '{"type":1,"payload":1}', '{"type":"t"}', "[]", "1", "", "{", '{"type":"t","payload":1}x', b"\xff"],
)
def test_a_message_that_is_not_a_notification_is_dropped(world, message):
    """On a user's Redis channel: no client receives it, and the next event arrives."""
    to = user(world.name("user"))
    clients = listeners(world, to)
    failed = sum(node.server.metrics()["failed"] for node in world.deployment.nodes)
    world.redis.publish(f"user_noti:{to[1]}", message)
    world.redis.publish(f"user_noti:{to[1]}", '{"type":"t","payload":2,"more":3}')
    world.receive(Event(to, "2", "t"), *clients)
    assert sum(node.server.metrics()["failed"] for node in world.deployment.nodes) == failed + 1


# --- senders ---


@pytest.mark.parametrize("kind", DOORS)
@pytest.mark.parametrize("way", ["http", "redis"])
def test_a_service_that_names_itself(world, kind, way):
    to = audience(world, kind)
    clients = listeners(world, to)
    world.drain(*clients)
    sent = body(to, sender='"billing"', metadata=r'{ "n":1E400,"a":"\ud800" }')
    world.events(sent) if way == "http" else world.redis.publish("fanfare:events", sent)
    event = Event(to, '{"title":"Hi","price":1.10}', TYPE, sender="billing", metadata=r'{ "n":1E400,"a":"\ud800" }')
    world.receive(event, *clients)


@pytest.mark.parametrize(
    "claims, name",
    [
        ({"username": "u", "name": "n", "email": "e@x"}, "u"), ({"name": "n", "email": "e@x"}, "n"),
        ({"email": "e@x"}, "e@x"), ({}, None), ({"username": "Zoë \"Z\" \\ 😀"}, "Zoë \"Z\" \\ 😀"),
    ],
)
@pytest.mark.parametrize("dialect", ["topics", "realtime", "rooms"])
def test_clients_are_named_by_their_tokens(world, dialect, claims, name):
    """Readers in rooms see a name; all others an id."""
    room, who = world.name("channel:"), world.name("speaker")
    speaker = getattr(world, dialect)(who, at=world.first, **claims)
    if dialect == "rooms":
        speaker.join(room)
    clients = listeners(world, channel(room))
    world.drain(speaker, *clients)
    event = Event(channel(room), '"A"', None, sender=who, username=name, connection=UUID)
    if dialect == "rooms":
        said = f'{{"content":"A","username":{quoted(name or who)},"user_id":"{who}","metadata":{{}}}}'
        event = Event(channel(room), said, "message", sender=who, username=name, connection=UUID)
    speaker.publish(room, '"A"')
    world.receive(event, *clients)


@pytest.mark.parametrize("forged", [
    '{"senderId":"admin"}', '{"senderConnectionId":"x","a":1.10}', r'{"b":[ 1 ],"\u0073enderId":"admin","a":1.10}',
    '{"senderId":null,"senderId":"x","senderConnectionId":{}}',
])
def test_a_client_does_not_forge_its_sender(world, forged):
    name, who = world.name("chat."), world.name("speaker")
    speaker, reader = world.topics(who, name, at=world.first), world.topics(world.name("reader"), name)
    speaker.publish(name, "1", metadata=forged)
    for frame in (speaker.json(), reader.json()):
        kept = json.loads(forged)
        kept = {key: value for key, value in kept.items() if not key.startswith("sender")}
        connection = frame["metadata"].pop("senderConnectionId")
        assert UUID.fullmatch(f'"{connection}"') and frame["metadata"] == kept | {"senderId": who}


def test_connections_of_one_user_are_distinguished(world):
    """`senderConnectionId` is the id that realtime sends to its clients."""
    name, who = world.name("chat."), world.name("speaker")
    reader = world.topics(world.name("reader"), name)
    speakers = [world.realtime(who, at=world.first), world.topics(who), world.topics(who)]
    seen = []
    for speaker in speakers:
        speaker.publish(name, "1")
        seen.append(reader.json()["metadata"])
    assert [metadata["senderId"] for metadata in seen] == [who] * 3
    connections = [metadata["senderConnectionId"] for metadata in seen]
    assert connections[0] == speakers[0].connection_id and len(set(connections)) == 3


@pytest.mark.parametrize("sub, shown", [(12345, "12345"), ("12345", "12345"), ("007", '"007"'), ("12345.0", '"12345.0"')])
def test_numeric_user_ids_are_numbers_only_in_rooms(world, sub, shown):
    """A number in rooms; elsewhere, and in every name, its digits."""
    room, text = world.name("project:"), str(sub)
    member = world.rooms(sub, at=world.first)
    assert json.dumps(member.welcome["data"]["user_id"]) == shown
    reader = world.topics(world.name("reader"), room)
    member.join(room)
    joined = Event(channel(room), f'{{"username":"{text}","user_id":{shown}}}', "user_joined", sender=text)
    world.receive(joined, reader)

    clients = [world.notify(sub), world.broadcast(sub), world.topics(sub, f"user:{text}"), world.realtime(sub)]
    world.redis.publish(f"user_noti:{text}", '{"type":"t","payload":1}')
    world.receive(Event(user(text), "1", "t"), member, *clients)
    world.realtime(sub).direct(text, "2")
    world.receive(Event(user(text), "2", sender=text, connection=UUID), member, *clients)


# --- ids and times ---


@pytest.mark.parametrize("kind", ["user", "everyone"])
def test_an_id_of_the_publisher_counts_once(world, kind):
    """The id is unique in the whole cluster, whichever node it entered."""
    to, number = audience(world, kind), str(uuid.uuid4())
    clients = listeners(world, to)
    sent = body(to, "1", id=f'"{number}"')
    assert world.events(sent)["ids"] == [number]
    assert world.events(sent, at=world.last)["ids"] == [number]
    assert world.events(f"[{sent}]")["ids"] == [number]
    world.receive(Event(to, "1", TYPE, id=number), *clients)


def test_every_protocol_shows_the_events_time(world):
    """The time is the event's: the same in every protocol and on every node."""
    name = world.name("user")
    at_last = listeners(world, user(name))
    at_first = [world.notify(name, at=world.first), world.realtime(name, at=world.first)]
    before = datetime.datetime.now(datetime.UTC)
    world.events(body(user(name)))
    times = set()
    for client in (*at_last, *at_first):
        time = client.json()["timestamp"]
        if isinstance(time, str):
            time = round(datetime.datetime.fromisoformat(time).timestamp() * 1000)
        times.add(time)
    assert len(times) == 1
    assert 0 <= times.pop() - int(before.timestamp() * 1000) < 5_000


def test_rooms_messages_need_no_room_of_their_own(world):
    """A door of a protocol reaches the others: a room's message arrives where there are no rooms."""
    to = channel(world.name("task:"))
    publish = rooms_message(world, to)
    reader = world.realtime(world.name("reader"), "task:*")
    world.receive(publish('{"n":1}').event, reader)
