"""The access to channels: one policy for all protocols, by exact name and by pattern."""

import contextlib

import pytest

from interop.clients import MARKER
from interop.doors import DATA, TYPE, body
from interop.frames import EVERYONE, UUID, Event, channel
from interop.world import Deployment, opened

RULES = [
    {"pattern": MARKER, "subscribe": "anyone"},
    {"pattern": "reports.{user}.**", "subscribe": "owner", "publish": "service"},
    {"pattern": "news.**", "subscribe": "anyone", "publish": "role:editor"},
    {"pattern": "tenants.**", "subscribe": "claim:tenant=acme"},
    {"pattern": "members.*", "subscribe": "authenticated", "publish": "authenticated"},
    {"pattern": "closed.**", "subscribe": "nobody", "publish": "nobody"},
    {"pattern": "project:vip", "join": "role:staff"},
    {"pattern": "task:open", "subscribe": "anyone"},
    {"pattern": "channel:stage", "join": "authenticated", "publish": "role:editor"},
    {"pattern": "members.staff", "subscribe": "nobody"},  # never reached
]
PEOPLE = {
    "anonymous": None, "ann": {}, "staff": {"roles": ["x", "staff"]}, "editor": {"roles": ["editor"]},
    "tenant": {"tenant": "acme"}, "tenants": {"tenant": ["other", "acme"]}, "admin": {"roles": ["admin"]},
}
ALL, IDENTIFIED = set(PEOPLE), set(PEOPLE) - {"anonymous"}
# Channel, the users that may receive its events, the clients that may publish on it.
ACCESS = {
    "reports.ann.daily": ({"ann"}, set()),
    "reports.ann": (ALL, ALL),  # `**` is at least one segment, so no rule matches
    "news.today": (ALL, {"editor"}),
    "tenants.x": ({"tenant", "tenants"}, ALL),  # the defaults decide the actions that a rule does not name
    "members.staff": (IDENTIFIED, IDENTIFIED),
    "closed.x": (set(), set()),
    "messages": (IDENTIFIED, IDENTIFIED),
    "messages.user.7": (IDENTIFIED, IDENTIFIED),
    "messages:7": (IDENTIFIED, IDENTIFIED),
    "messagesx": (ALL, ALL),
    "free": (ALL, ALL),
    "project:vip": ({"staff"}, {"staff"}),  # members of a room may publish in it
    "task:open": (IDENTIFIED, IDENTIFIED),  # no anonymous connection sees a room, whatever the rules are
    "channel:stage": (IDENTIFIED, {"editor"}),
    "project:1": (IDENTIFIED, IDENTIFIED),
}


@pytest.fixture(scope="module", params=[1, 2], ids=["one-node", "two-nodes"])
def ruled_deployment(request):
    with contextlib.ExitStack() as stack:
        yield Deployment(stack, nodes=request.param, channel=RULES)


@pytest.fixture
def ruled(ruled_deployment):
    with opened(ruled_deployment) as world:
        yield world


def person(world, dialect, who, **more):
    claims = PEOPLE[who]
    if claims is None:
        return world.realtime(None, **more)
    return getattr(world, dialect)(who, **claims, **more)


def dialects_of(who, name):
    """The protocols in which this user can subscribe to a channel."""
    if who == "anonymous":
        return ["realtime"]
    return ["topics", "realtime"] + (["rooms"] if ":" in name and not name.startswith("messages") else [])


def cells():
    return [(name, who, dialect) for name in ACCESS for who in PEOPLE for dialect in dialects_of(who, name)]


def is_subscribed(client, name):
    """Requests a channel by its exact name."""
    if client.dialect == "rooms":
        answer = client.call({"type": "join_room", "room": name})
        assert answer["type"] in ("joined_room", "error")
        if answer["type"] == "error":
            assert client.closed() == (4403, "Forbidden")
        return answer["type"] == "joined_room"
    answer = client.ask(name)
    if client.dialect == "topics":
        assert answer["type"] == "subscribed" or (answer["type"], answer["code"]) == ("error", 403), answer
        return answer["type"] == "subscribed"
    assert answer["type"] == "Status" or (answer["type"], answer["data"]["code"]) == ("Error", 403), answer
    return answer["type"] == "Status"


@pytest.mark.parametrize("name, who, dialect", cells())
def test_a_rule_decides_a_subscription_by_exact_name(ruled, name, who, dialect):
    client = person(ruled, dialect, who)
    may_read = who in ACCESS[name][0]
    assert is_subscribed(client, name) == may_read
    if not may_read and dialect == "rooms":
        return  # the subscription was refused
    if dialect == "rooms":
        assert client.json()["type"] == "user_joined"
    ruled.events(body(channel(name)))
    event = Event(channel(name), DATA, TYPE)
    ruled.receive(event, *[client] * may_read, excluded=[client] * (not may_read))


@pytest.mark.parametrize("name, who, dialect", [cell for cell in cells() if cell[2] != "rooms"])
def test_a_pattern_shows_only_channels_that_the_user_may_read(ruled, name, who, dialect):
    """A pattern is accepted, and does not show channels that the user may not read."""
    separator = ":" if ":" in name else "."
    wide = name.split(separator)[0] + separator + "**" if separator in name else "*"
    may_read = who in ACCESS[name][0]
    client = person(ruled, dialect, who)
    client.subscribe("**", wide)
    ruled.events(body(channel(name)))
    event = Event(channel(name), DATA, TYPE)
    ruled.receive(event, *[client] * may_read, excluded=[client] * (not may_read))


@pytest.mark.parametrize("name, who, dialect", cells())
def test_a_rule_decides_about_publishing(ruled, name, who, dialect):
    may_read, may_publish = (who in allowed for allowed in ACCESS[name])
    if dialect == "rooms" and not may_read:
        return  # a client that may not join has no room to publish in
    client = person(ruled, dialect, who, at=ruled.first)
    if dialect == "rooms":
        client.join(name)
    readers = (other for other in ("ann", "staff", "tenant") if other in ACCESS[name][0])
    reader = next((person(ruled, "topics", other) for other in readers), None)
    if reader:
        reader.subscribe(name)
    client.publish(name, '"x"')
    if dialect == "topics":
        said = client.settle()
        assert len(said) == (not may_publish) and all(frame.startswith('{"type":"error","code":403,') for frame in said)
    elif dialect == "realtime":
        answer = client.json()
        assert answer["type"] == "Ack" if may_publish else (answer["type"], answer["data"]["code"]) == ("Error", 403), answer
    else:
        assert client.json()["type"] == ("message" if may_publish else "error")
        assert client.call({"type": "ping"})["type"] == "pong"  # the connection stays open
    if reader:
        frames = [reader.next()] if may_publish else []
        assert all('"x"' in frame for frame in frames)
        ruled.get({reader: []})


@pytest.mark.parametrize("name", ACCESS)
def test_rules_do_not_restrict_services(ruled, name):
    """Backends may publish on every channel."""
    readers = [who for who in ("ann", "staff", "tenant") if who in ACCESS[name][0]]
    clients = [person(ruled, "topics", who) for who in readers]
    for client in clients:
        client.subscribe(name)
    sent = body(channel(name))
    ruled.events(sent)
    ruled.redis.publish("fanfare:events", sent)
    event = Event(channel(name), DATA, TYPE)
    ruled.get({client: [client.shows(event)] * 2 for client in clients})


@pytest.mark.parametrize("id", ["a.b", "**", "{user}"])
def test_odd_ids_own_channels_of_one_segment(ruled, id):
    """An id of several segments owns no channel, and no id is a pattern."""
    client = ruled.topics(id)
    assert not is_subscribed(client, "reports.ann.daily")
    if "*" not in id:
        assert is_subscribed(client, f"reports.{id}.daily") == (id == "{user}")


# --- rooms: the claim, and the default ---

ROOMS_CLAIM = [
    ({"rooms": ["project:7", "task:*"]}, {"project:7": True, "project:8": False, "task:9": True, "channel:7": False}),
    ({"rooms": []}, {"project:7": False, "task:9": False}),
    ({"rooms": ["**"]}, {"project:7": True, "channel:8": True}),
    ({"rooms": ["project:*"]}, {"project:7": True, "project:7.x": False}),
    ({}, {"project:7": True, "task:9": True, "channel:1": True}),
]
CLAIM_CELLS = [(claims, room, open) for claims, rooms in ROOMS_CLAIM for room, open in rooms.items()]


@pytest.mark.parametrize("claims, room, allowed", CLAIM_CELLS)
@pytest.mark.parametrize("dialect", ["topics", "realtime", "rooms"])
def test_the_rooms_claim_decides_in_every_protocol(world, dialect, claims, room, allowed):
    """The claim opens the rooms that it names and closes all others, and affects no other channel; in every protocol."""
    exact = getattr(world, dialect)(world.name("user"), **claims)
    assert is_subscribed(exact, room) == allowed
    if dialect == "rooms":
        return
    pattern, chat = getattr(world, dialect)(world.name("user"), "**", **claims), world.name("chat.")
    event, other = Event(channel(room), DATA, TYPE), Event(channel(chat), DATA, TYPE)
    world.events(f"[{body(channel(room))},{body(channel(chat))}]")
    shown = [event, other] if allowed else [other]
    world.get({pattern: [pattern.shows(one) for one in shown], exact: [exact.shows(event)] * allowed})


@pytest.mark.parametrize("name", ["project:{}", "channel:{}", "task:{}"])
def test_anonymous_connections_never_see_a_room(world, name):
    """Anonymous clients see rooms by no name and no pattern, and cannot publish there."""
    room = name.format(world.name(""))
    patterns = ["**", "*:*", room.split(":")[0] + ":*"]
    client = world.realtime(None, *patterns, at=world.first)
    member = world.rooms(world.name("user"), room)
    assert not is_subscribed(client, room)
    client.publish(room, "1")
    assert client.json()["data"]["code"] == 403
    world.events(body(channel(room)))
    world.receive(Event(channel(room), DATA, TYPE), member, excluded=[client])


@pytest.fixture(scope="module")
def closed_rooms():
    with contextlib.ExitStack() as stack:
        rules = [{"pattern": "project:open", "join": "authenticated"}]
        yield Deployment(stack, rooms={"default_access": "nobody"}, channel=rules)


@pytest.mark.parametrize("dialect", ["topics", "realtime", "rooms"])
@pytest.mark.parametrize(
    "room, claims, allowed",
    [
        ("project:1", {}, False), ("project:1", {"rooms": ["project:1"]}, True),
        ("project:open", {}, True), ("project:open", {"rooms": []}, True),
    ],
)
def test_rooms_that_are_closed_by_default(closed_rooms, dialect, room, claims, allowed):
    """A room is open only by a rule or by the claim; a rule takes precedence over the claim."""
    with opened(closed_rooms) as world:
        client = getattr(world, dialect)(world.name("user"), **claims)
        assert is_subscribed(client, room) == allowed
        if dialect != "rooms":
            pattern = getattr(world, dialect)(world.name("user"), "**", **claims)
            world.events(body(channel(room)))
            event = Event(channel(room), DATA, TYPE)
            world.get({pattern: [pattern.shows(event)] * allowed, client: [client.shows(event)] * allowed})
            assert is_subscribed(client, "chat.general")  # not a room, so it is open


def test_public_channels_of_anonymous_clients_are_a_setting(deploy):
    """`[realtime] public` lists the channels for anonymous connections; rooms are never among them."""
    world = deploy(realtime={"public": ["open.**", MARKER, "project:*"]})
    client = world.realtime(None)
    names = {"open.a": True, "open.a.b": True, "open": False, "chat": False, "notifications": False, "project:1": False}
    for name, allowed in names.items():
        assert is_subscribed(client, name) == allowed, name
        assert is_subscribed(world.topics(world.name("user")), name)
    pattern = world.realtime(None, "**", "*")
    world.events("[" + ",".join(body(channel(name)) for name in names) + "]")
    world.get({pattern: [pattern.shows(Event(channel(name), DATA, TYPE)) for name in ("open.a", "open.a.b")]})


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_a_rule_on_notifications_guards_patterns_too(deploy, dialect):
    """Clients that may read `notifications` see the events for everyone there."""
    world = deploy(channel=[{"pattern": "notifications", "subscribe": "role:staff"}])
    opened = getattr(world, dialect)
    refused, staff = opened(world.name("user")), opened(world.name("user"), "*", roles=["staff"])
    assert not is_subscribed(refused, "notifications")
    pattern = opened(world.name("user"), "*", "**")
    listener = world.notify(world.name("user"))
    for to in (channel("notifications"), EVERYONE):
        world.events(body(to))
        event = Event(to, DATA, TYPE)
        hearing = [staff] + ([listener] if to == EVERYONE else [])
        world.receive(event, *hearing, excluded=[pattern, refused])


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_a_user_may_publish_in_a_room_by_another_protocol(world, dialect):
    """A user that may join a room may publish there without joining it; members receive the message under that user's name."""
    room, who = world.name("channel:"), world.name("speaker")
    member = world.rooms(world.name("user"), room)
    speaker = getattr(world, dialect)(who, at=world.first, username="Zoë")
    speaker.publish(room, DATA)
    world.receive(Event(channel(room), DATA, sender=who, username="Zoë", connection=UUID), member)
    stranger = getattr(world, dialect)(who, at=world.first, rooms=[])
    stranger.publish(room, DATA)
    answer = stranger.json()
    assert answer.get("code", answer.get("data", {}).get("code")) == 403
    world.get({member: []})


def test_publishing_in_a_room_requires_membership_in_rooms(world):
    room = world.name("channel:")
    member, outsider = world.rooms(world.name("user"), room), world.rooms(world.name("user"), at=world.first)
    outsider.publish(room, '"Hi"')
    answer = outsider.json()
    assert (answer["type"], list(answer["data"])) == ("error", ["error"])
    world.get({member: [], outsider: []})
