"""Channel names: personal channels and their readers, `notifications` and everyone, separators, and names on which clients may not publish.
The rules are the same in every protocol."""

import json

import pytest

from fanfare import wait_until
from interop.doors import DATA, TYPE, body, realtime_direct
from interop.frames import EVERYONE, UUID, Event, channel, user

PERSONAL = ["notifications.user.{}", "user:{}", "user_noti:{}"]


def topics_says(client, name):
    """The answer to a topics client's subscription: an error code, or None for success."""
    answer = client.ask(name)
    assert answer["type"] in ("subscribed", "error"), answer
    assert answer.get("topic", answer.get("details", {}).get("topic")) == name
    return answer.get("code")


def realtime_says(client, *names):
    answer = client.ask(*names)
    assert answer["type"] in ("Status", "Error"), answer
    return answer["data"].get("code")


SAYS = {"topics": topics_says, "realtime": realtime_says}
CLIENTS = ["topics", "realtime"]


# --- personal channels ---


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("dialect", CLIENTS)
def test_anothers_exact_name_is_refused(world, dialect, name):
    ann, bob = world.name("ann"), world.name("bob")
    client, own = getattr(world, dialect)(ann), world.notify(bob)
    assert SAYS[dialect](client, name.format(bob)) == 403
    assert SAYS[dialect](client, name.format(ann)) is None
    world.redis.publish(f"user_noti:{bob}", '{"type":"t","payload":1}')
    world.receive(Event(user(bob), "1", "t"), own, excluded=[client])


@pytest.mark.parametrize("name", PERSONAL)
def test_an_anonymous_client_has_no_personal_channel(world, name):
    assert realtime_says(world.realtime(None), name.format("ann")) == 403


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("whose", ["own", "another's"])
def test_no_user_joins_a_personal_channel(world, name, whose):
    """In rooms, only the server uses `user:{id}`, and the other two names are no rooms."""
    ann = world.name("ann")
    client = world.rooms(ann)
    answer = client.call({"type": "join_room", "room": name.format(ann if whose == "own" else world.name("bob"))})
    assert answer["type"] == "error"
    if name.startswith("user:"):
        assert client.closed() == (4403, "Forbidden")
    else:
        assert answer["data"] == {"error": "Invalid room identifier"}
        world.events(body(user(ann)))
        world.receive(Event(user(ann), DATA, TYPE), client)


@pytest.mark.parametrize("name", PERSONAL)
def test_one_forbidden_topic_refuses_all_in_realtime(world, name):
    """In topics, each name is subscribed separately."""
    ann, bob, chat = world.name("ann"), world.name("bob"), world.name("chat.")
    whole, single = world.realtime(ann), world.topics(ann)
    assert realtime_says(whole, chat, name.format(bob)) == 403
    single.send({"type": "subscribe", "topics": [chat, name.format(bob), name.format(ann)]})
    assert [single.json()["type"] for _ in range(3)] == ["subscribed", "error", "subscribed"]
    world.events(body(channel(chat)))
    world.receive(Event(channel(chat), DATA, TYPE), single, excluded=[whole])


@pytest.mark.parametrize(
    "pattern",
    ["notifications.user.*", "notifications.*.*", "notifications.**", "*.user.*", "user:*", "*:*", "user_noti:*", "**"],
)
@pytest.mark.parametrize("id", ["{}", "{}:b:c", "{}.b", "é {}"])
def test_a_pattern_shows_only_the_users_own_personal_channel(world, pattern, id):
    ann, bob = id.format(world.name("ann")), id.format(world.name("bob"))
    clients = {who: [world.topics(who, pattern), world.realtime(who, pattern)] for who in (ann, bob)}
    nobody = world.realtime(None, pattern)
    for who, other in ((ann, bob), (bob, ann)):
        world.events(body(user(who)))
        world.receive(Event(user(who), DATA, TYPE), *clients[who], excluded=[*clients[other], nobody])


# Redis carries only the channels that nodes request; the embedded door accepts any.
embedded = pytest.mark.parametrize("deployment", [1], indirect=True, ids=["one-node"])


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("door", ["http", "fanfare:events"])
def test_every_name_of_a_personal_channel_is_the_user(world, name, door):
    """An event on it is an event for the user, in every protocol."""
    is_the_user(world, name, door)


@embedded
@pytest.mark.parametrize("name", PERSONAL)
def test_every_name_of_a_personal_channel_is_the_user_on_the_embedded_door(world, name):
    is_the_user(world, name, "plain")


def is_the_user(world, name, door):
    ann = world.name("ann")
    clients = [
        world.notify(ann), world.broadcast(ann), world.realtime(ann), world.rooms(ann),
        *(world.topics(ann, own.format(ann)) for own in PERSONAL),
    ]
    excluded = [world.topics(ann), world.topics(ann + "x", "**"), world.notify(name.format(ann)), world.realtime(None, "**")]
    to = channel(name.format(ann))
    if door == "http":
        world.events(body(to))
    elif door == "fanfare:events":
        world.redis.publish("fanfare:events", body(to))
    else:
        world.redis.publish(to[1], f'{{"type":"{TYPE}","payload":{DATA}}}')
    world.receive(Event(user(ann), DATA, TYPE), *clients, excluded=excluded)


@pytest.mark.parametrize("name", PERSONAL)
def test_a_name_below_fanfare_channel_is_not_a_personal_channel(world, name):
    """Whether it is published to Fanfare itself or to a real Redis: no client receives it, and each node that sees it counts it."""
    ann = world.name("ann")
    clients = [
        world.notify(ann), world.broadcast(ann), world.rooms(ann), world.topics(ann, name.format(ann), "**"),
        world.realtime(ann, "**", at=world.first), world.realtime(ann, "**", at=world.last),
    ]
    world.drain(*clients)
    nodes = world.deployment.nodes
    before = [node.server.metrics()["failed"] for node in nodes]
    reached = world.redis.publish("fanfare:channel:" + name.format(ann), f'{{"type":"{TYPE}","payload":"secret {ann}"}}')
    assert reached == (0 if world.deployment.embedded else len(nodes))
    for node, failed in zip(nodes, before):
        wait_until(lambda: node.server.metrics()["failed"] == failed + 1, what="the refusal")
        assert f"secret {ann}" not in node.server.log()
    world.get({client: [] for client in clients})


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("whose", ["own", "another's"])
@pytest.mark.parametrize("dialect", ["topics", "realtime", "rooms"])
def test_clients_do_not_publish_on_personal_channels(world, dialect, name, whose):
    ann, bob = world.name("ann"), world.name("bob")
    client = getattr(world, dialect)(ann, at=world.first)
    reader = world.notify(ann if whose == "own" else bob)
    client.publish(name.format(ann if whose == "own" else bob), '"x"')
    answer = client.json()
    if dialect == "topics":
        assert (answer["type"], answer["code"]) == ("error", 403)
    elif dialect == "realtime":
        assert (answer["type"], answer["data"]["code"]) == ("Error", 403)
    else:
        assert answer["type"] == "error"
        if name.startswith("user:"):
            assert client.closed() == (4403, "Forbidden")
        else:
            assert answer["data"] == {"error": "Invalid room identifier"}
    world.get({reader: []})


def test_a_direct_message_reaches_every_protocol_of_the_user(world):
    """A user may publish to itself; and a user that is connected only in another protocol counts as connected."""
    ann, bob = world.name("ann"), world.name("bob")
    for to in (bob, ann):
        sender = world.realtime(ann, at=world.first, username="Ann A.")
        clients = [world.notify(to), world.broadcast(to), world.topics(to, "**"), world.realtime(to), world.rooms(to)]
        sender.direct(to, DATA)
        said = [sender.next() for _ in range(2 if to == ann else 1)]  # the receipt and the message, in any order
        number = next(filter(None, (json.loads(frame)["data"].get("message_id") for frame in said)))
        event = Event(user(to), DATA, None, number, ann, "Ann A.", sender.connection_id)
        assert sum(bool(sender.shows(event).fullmatch(frame)) for frame in said) == len(said) - 1
        world.receive(event, *clients, excluded=[world.realtime(None, "**"), world.topics(world.name("eve"), "**"), sender])
        sender.close()


@pytest.mark.parametrize("dialect", ["notify", "broadcast", "topics", "realtime", "rooms"])
def test_direct_messages_need_a_connected_user(world, dialect):
    """A direct message is acknowledged if the user is connected anywhere in the cluster, or else answered with 404."""
    ann, bob = world.realtime(world.name("ann"), at=world.first), world.name("bob")
    ann.direct(bob, "1")
    assert ann.json()["data"]["code"] == 404
    if dialect == "topics":
        reader = world.topics(bob, f"user:{bob}")
    else:
        reader = getattr(world, dialect)(bob)
    ann.direct(bob, "2")
    assert ann.json()["type"] == "Ack"
    assert reader.json()
    world.get({ann: [], reader: []})


def test_anonymous_clients_send_no_direct_messages(world):
    ann, reader = world.realtime(None, at=world.first), world.notify(name := world.name("ann"))
    ann.direct(name, "1")
    assert ann.json()["data"]["code"] in (401, 403)
    world.get({reader: [], ann: []})


def test_messages_of_anonymous_clients_have_no_sender(world):
    """On a public channel, messages of anonymous clients have no sender."""
    name = world.name("chat.")
    client = world.realtime(None, name, at=world.first)
    readers = [world.topics(world.name("user"), name), world.realtime(world.name("user"), name)]
    client.publish(name, DATA)
    assert {client.json()["type"], client.json()["type"]} == {"Ack", "Broadcast"}
    world.receive(Event(channel(name), DATA), *readers, excluded=[client])


# --- `notifications` and everyone ---


def audiences(world):
    """The subscribers of the channel `notifications`, and the clients that receive only events for everyone."""
    name = world.name("user")
    subscribed = [
        world.topics(name, "notifications"), world.topics(name, "*"), world.realtime(name, "notifications"),
        world.realtime(None, "**"),
    ]
    others = [world.notify(name), world.broadcast(), world.broadcast(name), world.rooms(name)]
    return subscribed, others, [world.topics(name), world.realtime(name)]


@pytest.mark.parametrize("door", ["http", "fanfare:events", "fanfare:channel", "topics", "realtime"])
def test_the_channel_notifications_is_its_subscribers(world, door):
    """A service's event on it is like a client's; it is not an event for everyone."""
    subscribed, others, silent = audiences(world)
    event = Event(channel("notifications"), DATA, TYPE)
    if door == "http":
        world.events(body(event.to))
    elif door == "fanfare:events":
        world.redis.publish(door, body(event.to))
    elif door == "fanfare:channel":
        world.redis.publish("fanfare:channel:notifications", f'{{"type":"{TYPE}","payload":{DATA}}}')
    else:
        name = world.name("speaker")
        client = getattr(world, door)(name, at=world.first)
        client.publish("notifications", DATA)
        event = Event(channel("notifications"), DATA, sender=name, connection=UUID)
    world.receive(event, *subscribed, excluded=[*others, *silent])


def test_an_event_for_everyone_reaches_every_protocol(world):
    subscribed, others, silent = audiences(world)
    world.events(body(EVERYONE))
    world.receive(Event(EVERYONE, DATA, TYPE), *subscribed, *others, excluded=silent)


# --- separators ---


@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_dot_and_a_colon_are_different_separators(world, dialect):
    """Both names have two segments and nothing else in common."""
    a = world.name("a")
    names = [f"{a}.b", f"{a}:b"]
    exact = [getattr(world, dialect)(world.name("user"), name) for name in names]
    patterns = [getattr(world, dialect)(world.name("user"), f"{a}{separator}*") for separator in ".:"]
    deep = [getattr(world, dialect)(world.name("user"), f"{a}{separator}**") for separator in ".:"]
    both = getattr(world, dialect)(world.name("user"), *names)
    speaker = world.topics(world.name("user"), at=world.first)
    for this, other in ((0, 1), (1, 0)):
        world.events(body(channel(names[this])))
        hearing = [exact[this], patterns[this], deep[this], both]
        excluded = [exact[other], patterns[other], deep[other]]
        world.receive(Event(channel(names[this]), DATA, TYPE), *hearing, excluded=excluded)
    speaker.publish(names[1], "1")
    frames = [client.json() for client in (exact[1], patterns[1], deep[1], both)]
    assert len(frames) == 4
    world.get({exact[0]: [], patterns[0]: [], deep[0]: []})


def test_a_room_is_not_the_channel_with_a_dot(world):
    number = world.name("")
    room, dotted = f"project:{number}", f"project.{number}"
    member, reader = world.rooms(world.name("user"), room), world.topics(world.name("user"), dotted)
    world.events(body(channel(dotted)))
    world.receive(Event(channel(dotted), DATA, TYPE), reader, excluded=[member])
    world.events(body(channel(room)))
    world.receive(Event(channel(room), DATA, TYPE), member, excluded=[reader])


@pytest.mark.parametrize(
    "pattern, hits, misses",
    [
        ("{}.**", ["{}.b", "{}.b.c", "{}.b:c.d"], ["{}", "{}:b", "x{}.b"]),
        ("{}.*", ["{}.b"], ["{}", "{}.b.c", "{}:b"]),
        ("{}.*.c", ["{}.b.c"], ["{}.b.d", "{}.c", "{}.b.b.c"]),
        ("{}.**.c", ["{}.b.c", "{}.b.b.c"], ["{}.c", "{}.b.d"]),
        ("*.{}", ["b.{}"], ["{}", "b.b.{}", "b:{}"]),
        ("**.{}", ["b.{}", "b.b.{}", "b:b.{}"], ["{}", "b:{}"]),
    ],
)
def test_patterns_match_the_same_names_in_both_protocols(world, pattern, hits, misses):
    """The same names in both protocols that have patterns, whatever the publisher."""
    a = world.name("a")
    pattern = pattern.format(a)
    clients = [world.topics(world.name("user"), pattern), world.realtime(world.name("user"), pattern)]
    world.events("[" + ",".join(body(channel(name.format(a))) for name in misses + hits) + "]")
    expected = [Event(channel(name.format(a)), DATA, TYPE) for name in hits]
    world.get({client: [client.shows(event) for event in expected] for client in clients})


# --- names on which clients may not publish ---

RESERVED = [
    "connected", "joined_room", "left_room", "user_joined", "user_left", "notification.new", "error", "pong", "message.sent",
    "welcome", "test_notification", "system", "ping", "status_response", "shutdown", "auth_success", "auth_error",
    "subscribed", "unsubscribed", "Status", "Ack", "Error", "Pong",
]


@pytest.mark.parametrize("type", RESERVED)
def test_types_that_only_servers_use(world, type):
    """In every protocol; only topics clients may name a type."""
    name = world.name("channel:")
    speaker, reader = world.topics(world.name("user"), at=world.first), world.topics(world.name("user"), name)
    speaker.publish(name, "1", eventType=f'"{type}"')
    answer = speaker.json()
    assert (answer["type"], answer["code"], answer["details"]["field"]) == ("error", 400, "eventType")
    world.get({reader: [], speaker: []})


@pytest.mark.parametrize(
    "type", ["message", "order.created", "Broadcast", "DirectMessage", "custom", "notification", "User_Joined"]
)
def test_types_that_clients_may_use(world, type):
    name, who = world.name("channel:"), world.name("user")
    speaker, reader = world.topics(who, at=world.first), world.topics(world.name("user"), name)
    member = world.rooms(world.name("user"), name)
    world.drain(reader, member)
    speaker.publish(name, "1", eventType=f'"{type}"')
    world.receive(Event(channel(name), "1", type, sender=who, connection=UUID), reader, member)


@pytest.mark.parametrize("name", ["a.*", "**", "{}.**"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_no_client_publishes_to_a_pattern(world, dialect, name):
    name = name.format(world.name("a"))
    reader = world.topics(world.name("user"), "a.*", "**")
    client = getattr(world, dialect)(world.name("user"))
    client.publish(name, "1")
    answer = client.json()
    assert answer.get("code", answer.get("data", {}).get("code")) == 400
    world.get({reader: [], client: []})


# --- the door of Fanfare itself ---


@embedded
@pytest.mark.parametrize("name", ["chat{}.general", "project:{}", "a{}"])
def test_a_plain_name_on_the_redis_protocol_door_is_a_channel(world, name):
    """A plain name, without `fanfare:channel:`, is that channel; the integer is the number of connections."""
    name = name.format(world.name("x"))
    clients = [world.topics(world.name("user"), name, "**"), world.realtime(world.name("user"), name)]
    if ":" in name:
        clients.append(world.rooms(world.name("user"), name))
    world.drain(*clients)
    assert world.redis.publish(name, f'{{"type":"{TYPE}","payload":{DATA}}}') == len(clients)
    world.receive(Event(channel(name), DATA, TYPE), *clients)


@pytest.mark.parametrize("id", ["{}", "{}:b:c", "{}.b", "user:{}", "é {} 😀", "**{}", "{}*"])
def test_the_text_after_the_first_colon_is_the_user(world, id):
    """The event reaches every protocol, whatever its data."""
    name = id.format(world.name("u"))
    clients = [world.notify(name), world.broadcast(name), world.topics(name, "**"), world.realtime(name), world.rooms(name)]
    if "*" not in name:
        clients.append(world.topics(name, f"notifications.user.{name}", f"user:{name}", f"user_noti:{name}"))
    world.redis.publish(f"user_noti:{name}", f'{{"type":"{TYPE}","payload":{DATA}}}')
    world.receive(Event(user(name), DATA, TYPE), *clients)
    publish = realtime_direct(world, user(name))
    world.receive(publish().event, *clients)
