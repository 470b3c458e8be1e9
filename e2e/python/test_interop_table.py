"""The table of renderings: each event reaches, through each door, exactly the connections of its audience, in their form, once.

All other connections receive nothing. With two nodes, the publisher is on one node and the receivers on the other, with a real
Redis between them.
"""

import pytest

from interop.doors import DOORS
from interop.frames import DIALECTS, EVERYONE, channel, user


def cells(audience):
    doors = [pytest.param(door, id=name) for name, door in DOORS[audience].items()]
    return lambda test: pytest.mark.parametrize("dialect", DIALECTS)(pytest.mark.parametrize("door", doors)(test))


def check(world, door, to, cast, dialect):
    """Publishes to `to` through `door`; `cast` opens the connections that must receive the event, and those that must not."""
    publish = door(world, to)
    hearing, excluded = cast[dialect](world, to[1])
    if not hearing:
        hearing = [world.topics(world.name("witness"), to[1])]  # shows that there was an event
    world.drain(*hearing, *excluded)
    event, recipients = publish()
    world.receive(event, *hearing, excluded=excluded)
    if recipients is not None and to != EVERYONE:
        assert recipients == len(hearing)


# --- an event for one user ---


def notify_users(world, name):
    return [world.notify(name), world.notify(name)], [world.notify(name + "x"), world.notify(f"notifications.user.{name}")]


def broadcast_users(world, name):
    proved = [world.broadcast(name), world.broadcast(name, client_id=world.name("tab"))]
    return proved, [world.broadcast(), world.broadcast(client_id=name), world.broadcast(name + "x", client_id=name + "y")]


def topics_users(world, name):
    names = [f"notifications.user.{name}", f"user:{name}", f"user_noti:{name}"]
    patterns = ["notifications.user.*", "notifications.**", "user:*", "user_noti:*", "**"]
    hearing = [world.topics(name, one) for one in names + patterns] + [world.topics(name, *names, *patterns)]
    excluded = [
        world.topics(name), world.topics(name, "notifications", "*", "user.*", "chat.**"), world.topics(None),
        world.topics(name + "x", "**", "notifications.user.*"),
    ]
    return hearing, excluded


def realtime_users(world, name):
    names = [f"notifications.user.{name}", f"user:{name}", f"user_noti:{name}", "notifications.user.*", "**"]
    hearing = [world.realtime(name), world.realtime(name, "chat.general"), world.realtime(name, *names)]
    excluded = [
        world.realtime(None), world.realtime(None, "**", "notifications.user.*", "user:*"),
        world.realtime(name + "x"), world.realtime(name + "y", "**", "notifications.**"),
    ]
    return hearing, excluded


def rooms_users(world, name):
    return [world.rooms(name), world.rooms(name, world.name("project:"))], [world.rooms(name + "x")]


USERS = {
    "notify": notify_users, "broadcast": broadcast_users, "topics": topics_users, "realtime": realtime_users,
    "rooms": rooms_users,
}


@cells("user")
def test_an_event_for_a_user_reaches_every_protocol(world, door, dialect):
    check(world, door, user(world.name("user")), USERS, dialect)


# --- an event for everyone ---


def notify_everyone(world, _):
    return [world.notify(world.name("user")), world.notify(world.name("user"))], []


def broadcast_everyone(world, _):
    return [world.broadcast(), world.broadcast(client_id=world.name("me")), world.broadcast(world.name("user"))], []


def topics_everyone(world, _):
    opened = lambda *names: world.topics(world.name("user"), *names)  # noqa: E731
    hearing = [opened("notifications"), opened("*"), opened("**"), opened("notifications", "*", "**")]
    return hearing, [opened(), opened("notifications.**", "notifications.*", "notification"), world.topics(None)]


def realtime_everyone(world, _):
    opened = lambda *names: world.realtime(world.name("user"), *names)  # noqa: E731
    hearing = [opened("notifications"), opened("*"), opened("notifications", "**"), world.realtime(None, "notifications")]
    return hearing, [opened(), opened("notifications.**"), world.realtime(None), world.realtime(None, "chat.**")]


def rooms_everyone(world, _):
    return [world.rooms(world.name("user")), world.rooms(world.name("user"), world.name("task:"))], []


ALL = {
    "notify": notify_everyone, "broadcast": broadcast_everyone, "topics": topics_everyone, "realtime": realtime_everyone,
    "rooms": rooms_everyone,
}


@cells("everyone")
def test_an_event_for_everyone_reaches_every_protocol(world, door, dialect):
    check(world, door, EVERYONE, ALL, dialect)


# --- an event on a channel ---


def notify_channel(world, name):
    return [], [world.notify(world.name("user")), world.notify(name)]


def broadcast_channel(world, name):
    return [], [world.broadcast(), world.broadcast(client_id=name), world.broadcast(name)]


def topics_channel(world, name):
    separator = ":" if ":" in name else "."
    first, last = name.split(separator)
    opened = lambda *names: world.topics(world.name("user"), *names)  # noqa: E731
    patterns = [f"{first}{separator}*", f"{first}{separator}**", f"*{separator}{last}", "**"]
    hearing = [opened(name), *map(opened, patterns), opened(name, *patterns)]
    other = f"{first}{'.' if separator == ':' else ':'}"
    left = opened(name, "**")
    left.unsubscribe(name)
    left.unsubscribe("**")
    excluded = [opened(), left, opened(name + "x", first, "*", f"{name}.*", f"{name}.**"), world.topics(None)]
    return hearing, [*excluded, opened(other + last, other + "*", other + "**")]


def realtime_channel(world, name):
    separator = ":" if ":" in name else "."
    first, last = name.split(separator)
    opened = lambda *names: world.realtime(world.name("user"), *names)  # noqa: E731
    patterns = [f"{first}{separator}*", f"{first}{separator}**", "**"]
    hearing = [opened(name), *map(opened, patterns), opened(name, *patterns)]
    left = opened(name, "**")
    left.unsubscribe(name, "**")
    other = f"{first}{'.' if separator == ':' else ':'}"
    excluded = [opened(), left, opened(name + "x", first, "*", f"{name}.**", other + last, other + "*"), world.realtime(None)]
    anonymous = world.realtime(None, *patterns)
    if separator == ":":
        return hearing, [*excluded, anonymous]  # clients of rooms do not see them
    return [*hearing, anonymous, world.realtime(None, name)], excluded


def rooms_channel(world, name):
    return [], [world.rooms(world.name("user")), world.rooms(world.name("user"), world.name("channel:"))]


def rooms_room(world, name):
    two = world.rooms(world.name("user"), name, world.name("task:"))
    left = world.rooms(world.name("user"), name)
    left.settle()
    left.leave(name)
    # From another node it may arrive after the answer; a client that joins later must not see it.
    while two.json()["type"] != "user_left":
        pass
    hearing = [world.rooms(world.name("user"), name), two]
    return hearing, [world.rooms(world.name("user")), world.rooms(world.name("user"), name + "x"), left]


CHANNELS = {
    "notify": notify_channel, "broadcast": broadcast_channel, "topics": topics_channel, "realtime": realtime_channel,
    "rooms": rooms_channel,
}


@cells("channel")
def test_an_event_on_a_channel_reaches_every_protocol(world, door, dialect):
    check(world, door, channel(world.name("chat") + ".general"), CHANNELS, dialect)


@cells("room")
def test_an_event_in_a_room_reaches_every_protocol(world, door, dialect):
    check(world, door, channel(world.name("project:")), CHANNELS | {"rooms": rooms_room}, dialect)
