"""Every protocol asks the authorizer alike; if it fails or is late, the answer is no."""

import contextlib
import json

import pytest

from fanfare import wait_until
from interop.authorizer import Authorizer
from interop.clients import MARKER
from interop.doors import DATA, TYPE, body
from interop.frames import EVERYONE, UUID, Event, channel, user
from interop.world import Deployment, opened
from test_interop_access import is_subscribed

RULES = [{"pattern": MARKER, "subscribe": "anyone"}, {"pattern": "ruled.**", "subscribe": "anyone", "publish": "nobody"}]
NOES = ["no", "error", "created", "redirect", "garbage", "text", "silent", "huge", "unknown", "list"]
DIALECTS = ["topics", "realtime", "rooms"]


@pytest.fixture(scope="module")
def authorizer():
    with contextlib.closing(Authorizer()) as authorizer:
        yield authorizer


@pytest.fixture(scope="module", params=[1, 2], ids=["one-node", "two-nodes"])
def guarded_deployment(request, authorizer):
    with contextlib.ExitStack() as stack:
        settings = {"url": authorizer.url, "timeout": "10s"}
        yield Deployment(stack, nodes=request.param, authorizer=settings, channel=RULES)


@pytest.fixture
def guarded(guarded_deployment):
    with opened(guarded_deployment) as world:
        yield world


@pytest.fixture(scope="module")
def hasty_deployment(authorizer):
    with contextlib.ExitStack() as stack:
        settings = {"url": authorizer.url, "timeout": "150ms"}
        yield Deployment(stack, authorizer=settings, channel=RULES)


def named(world, dialect, answer):
    """A channel's name (a room's for a client of rooms) that contains the authorizer's answer."""
    return world.name("project:" if dialect == "rooms" else "chat.") + answer


def check_received(world, name, client, is_received, event=None):
    world.events(body(channel(name)))
    event = event or Event(channel(name), DATA, TYPE)
    world.receive(event, *[client] * is_received, excluded=[client] * (not is_received))


# --- yes and no ---


@pytest.mark.parametrize("answer", ["yes", *NOES])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_authorizer_decides_about_subscriptions(guarded, authorizer, dialect, answer):
    name, who = named(guarded, dialect, answer), guarded.name("user")
    client = getattr(guarded, dialect)(who)
    assert is_subscribed(client, name) == (answer == "yes")
    assert authorizer.asked_about(name) == [{"user": who, "action": "subscribe", "channel": name}]
    if dialect == "rooms":
        return
    check_received(guarded, name, client, answer == "yes")


@pytest.mark.parametrize("answer", ["yes", *NOES])
@pytest.mark.parametrize("dialect", ["topics", "realtime"])
@pytest.mark.parametrize("kind", ["chat.", "project:"])
def test_the_authorizer_decides_about_each_event_of_a_pattern(guarded, authorizer, dialect, kind, answer):
    """A pattern's subscriber is judged when there is an event."""
    name, who = guarded.name(kind) + answer, guarded.name("user")
    client = getattr(guarded, dialect)(who, "**", kind + "*")
    assert authorizer.asked_about(name) == []
    guarded.events(body(channel(name)))
    wait_until(lambda: authorizer.asked_about(name), what="the question")
    event = Event(channel(name), DATA, TYPE)
    if answer == "yes":
        guarded.receive(event, client)
    else:
        assert not is_subscribed(client, name)  # the same request, so that both are answered now
        check_received(guarded, name, client, False)
    assert authorizer.asked_about(name) == [{"user": who, "action": "subscribe", "channel": name}]


@pytest.mark.parametrize("answer", ["yes", *NOES, "hear only yes"])
@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_the_authorizer_decides_about_publishing(guarded, authorizer, dialect, answer):
    name, who = named(guarded, dialect, answer), guarded.name("user")
    client = getattr(guarded, dialect)(who, at=guarded.first)
    client.publish(name, DATA)
    if answer == "yes":
        reader = getattr(guarded, dialect)(guarded.name("user"), name)
        client.publish(name, DATA)
        event = Event(channel(name), DATA, sender=who, connection=UUID)
        assert reader.shows(event).fullmatch(reader.next())
    else:
        (refused,) = map(json.loads, client.settle())
        assert refused.get("code", refused.get("data", {}).get("code")) == 403
    # The reader may have been judged first.
    assert {"user": who, "action": "publish", "channel": name} in authorizer.asked_about(name)


def test_a_user_who_may_only_read_joins_and_cannot_publish(guarded):
    """A user who may only read can join, and a refusal answers its messages."""
    room = guarded.name("project:") + "hear only yes"
    client, other = guarded.rooms(guarded.name("user"), room), guarded.topics(guarded.name("user"), room)
    guarded.drain(client, other)
    client.publish(room, '"Hi"')
    assert client.json()["type"] == "error"
    guarded.get({client: [], other: []})


def test_each_user_is_asked_about(guarded):
    """An answer is for one user, and cached for that user in every protocol."""
    name = guarded.name("task:") + "ann only yes"
    for dialect in DIALECTS:
        assert is_subscribed(getattr(guarded, dialect)("ann", at=guarded.first), name)
        assert not is_subscribed(getattr(guarded, dialect)("bob", at=guarded.first), name)


def test_answers_are_cached(guarded, authorizer):
    name, who = guarded.name("task:") + "yes", guarded.name("user")
    clients = [guarded.topics(who, name), guarded.realtime(who, name), guarded.rooms(who, name), guarded.topics(who, "**")]
    guarded.drain(*clients)
    for _ in range(3):
        guarded.events(body(channel(name)))
    event = Event(channel(name), DATA, TYPE)
    guarded.get({client: [client.shows(event)] * 3 for client in clients})
    assert len(authorizer.asked_about(name)) == 1


def test_anonymous_connections_are_asked_about(guarded, authorizer):
    """Anonymous connections cause requests except about rooms, which they never see, and personal channels."""
    client, name, room = guarded.realtime(None), guarded.name("chat.") + "yes", guarded.name("project:") + "yes"
    assert is_subscribed(client, name) and not is_subscribed(client, room)
    assert not is_subscribed(client, "user:ann")
    assert authorizer.asked_about(name) == [{"user": None, "action": "subscribe", "channel": name}]
    pattern = guarded.realtime(None, "**", at=guarded.last)
    member = guarded.rooms(guarded.name("user"), room)
    guarded.events(f"[{body(channel(room))},{body(channel(name))}]")
    guarded.receive(Event(channel(name), DATA, TYPE), client, pattern)
    assert member.json() and all(question["user"] for question in authorizer.asked_about(room))


def test_rules_come_first_and_users_are_not_asked_about(guarded, authorizer):
    """Events for a user or for everyone cause no request if no client is subscribed to a channel of that name."""
    name, before = guarded.name("user"), len(authorizer.questions)
    clients = [guarded.notify(name), guarded.broadcast(name), guarded.realtime(name), guarded.rooms(name)]
    reader = guarded.topics(name, f"user:{name}", "ruled.*", "ruled.x")
    guarded.events(body(user(name)))
    guarded.receive(Event(user(name), DATA, TYPE), *clients, reader)
    guarded.events(body(EVERYONE))
    guarded.receive(Event(EVERYONE, DATA, TYPE), clients[0], clients[1], clients[3], excluded=[clients[2], reader])
    check_received(guarded, "ruled.x", reader, True)
    reader.publish("ruled.x", "1")
    assert reader.json()["code"] == 403
    assert len(authorizer.questions) == before


def test_the_answer_comes_before_the_rooms_claim(guarded):
    for answer in ("yes", "no"):
        room = guarded.name("project:") + answer
        for claims in ({"rooms": []}, {"rooms": ["**"]}, {}):
            for dialect in DIALECTS:
                client = getattr(guarded, dialect)(guarded.name("user"), **claims)
                assert is_subscribed(client, room) == (answer == "yes")


# --- late ---


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_late_answer_denies(hasty_deployment, dialect):
    with opened(hasty_deployment) as world:
        name = named(world, dialect, "late")
        assert not is_subscribed(getattr(world, dialect)(world.name("user")), name)


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_a_late_answer_shows_nothing_to_a_pattern(hasty_deployment, authorizer, dialect):
    with opened(hasty_deployment) as world:
        name = named(world, dialect, "late")
        client = getattr(world, dialect)(world.name("user"), "**")
        world.events(body(channel(name)))
        wait_until(lambda: authorizer.asked_about(name), what="the question")
        # A second request for the exact name gets the same answer: by then, the time of the first is over.
        assert not is_subscribed(client, name)
        world.get({client: []})


def test_an_unavailable_authorizer_denies(deploy):
    world = deploy(authorizer={"url": "http://127.0.0.1:9/may", "timeout": "2s"}, channel=RULES)
    for dialect in DIALECTS:
        assert not is_subscribed(getattr(world, dialect)(world.name("user")), "project:1")
    client = world.topics(world.name("user"), "**")
    check_received(world, "chat.general", client, False)
    check_received(world, "ruled.x", client, True)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_clients_next_messages_wait_for_the_answer(guarded, authorizer, dialect):
    """Answers keep the order of the requests; other clients are served meanwhile."""
    name = named(guarded, dialect, "gated")
    client, other = getattr(guarded, dialect)(guarded.name("user")), guarded.topics(guarded.name("user"), "ruled.x")
    ask = {"topics": {"type": "subscribe", "topic": name}, "realtime": {"type": "Subscribe", "data": {"topics": [name]}}}
    client.send(ask.get(dialect, {"type": "join_room", "room": name}))
    client.send({"type": "Ping"} if dialect == "realtime" else {"type": "ping"})
    wait_until(lambda: authorizer.asked_about(name), what="the question")
    check_received(guarded, "ruled.x", other, True)
    authorizer.open(name, True)
    kinds = [client.json()["type"] for _ in range(3 if dialect == "rooms" else 2)]
    expected = {
        "topics": ["subscribed", "pong"], "realtime": ["Status", "Pong"], "rooms": ["joined_room", "pong", "user_joined"],
    }
    assert kinds[0] == expected[dialect][0] and sorted(kinds) == sorted(expected[dialect])


# --- events for a pattern while the answer is awaited ---


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("together", [False, pytest.param(True, id="in one body")])
@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_events_wait_for_the_answer(guarded, authorizer, dialect, allow, together):
    """They arrive in order and complete; events on other channels do not wait for them."""
    name = guarded.name("chat.") + "gated"
    client = getattr(guarded, dialect)(guarded.name("user"), "**")
    events = [body(channel(name), str(n), "t") for n in range(20)]
    guarded.events("[" + ",".join(events) + "]") if together else [guarded.events(event) for event in events]
    wait_until(lambda: authorizer.asked_about(name), what="the question")
    check_received(guarded, "ruled.x", client, True)
    authorizer.open(name, allow)
    # The same request for the exact name is answered when the first one is.
    assert is_subscribed(client if not allow else getattr(guarded, dialect)(guarded.name("user")), name) == allow
    guarded.events(body(channel(name), "20", "t"))
    shown = [client.shows(Event(channel(name), str(n), "t")) for n in range(21)]
    frames = []
    while allow and not (frames and shown[-1].fullmatch(frames[-1])):
        frames.append(client.next())
    pairs = zip(shown if allow else [], frames, strict=True)
    assert all(wanted.fullmatch(frame) for wanted, frame in pairs), frames
    guarded.get({client: []})
    assert len(authorizer.asked_about(name)) == (2 if allow else 1)


def test_two_patterns_are_one_question_and_one_event(guarded, authorizer):
    name = guarded.name("chat.") + "gated"
    client = guarded.topics(guarded.name("user"), "**", "chat.*", "chat.**")
    guarded.events(body(channel(name)))
    wait_until(lambda: authorizer.asked_about(name), what="the question")
    authorizer.open(name, True)
    guarded.receive(Event(channel(name), DATA, TYPE), client)
    assert len(authorizer.asked_about(name)) == 1


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_no_event_arrives_after_the_pattern_is_left(guarded, authorizer, dialect):
    """Events that wait for its answer are dropped."""
    name, who = guarded.name("chat.") + "gated", guarded.name("user")
    client, other = getattr(guarded, dialect)(who, "**"), getattr(guarded, dialect)(who)
    guarded.events(body(channel(name)))
    wait_until(lambda: authorizer.asked_about(name), what="the question")
    client.unsubscribe("**")
    authorizer.open(name, True)
    assert is_subscribed(other, name)  # the same request, so that both are answered now
    check_received(guarded, name, other, True)
    guarded.get({client: []})


def test_a_request_contains_no_more_than_it_needs(guarded, authorizer):
    """The request has three fields and no secret: the service does not get the token's claims."""
    name = guarded.name("chat.") + "yes"
    guarded.topics(guarded.name("user"), name, email="ann@example.org", roles=["staff"])
    (question,) = authorizer.asked_about(name)
    assert list(json.loads(json.dumps(question))) == ["user", "action", "channel"]
