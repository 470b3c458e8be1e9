"""Joins and leaves in a room, as the other protocols and the other node receive them: `user_joined` and `user_left`, once per user."""

import pytest

from interop.doors import rooms_join
from interop.frames import Event, channel


def announcement(kind, room, who, username=None):
    data = f'{{"username":"{username or who}","user_id":"{who}"}}'
    return Event(channel(room), data, kind, sender=who, username=username)


def audience(world, room):
    """Clients of each protocol that shows announcements of rooms, and clients that do not receive them."""
    member = world.rooms(world.name("member"), room)
    hearing = [member, world.topics(world.name("user"), room, "**"), world.realtime(world.name("user"), "project:*")]
    excluded = [
        world.notify(world.name("user")), world.broadcast(), world.rooms(world.name("user")), world.realtime(None, "**"),
        world.topics(world.name("user")),
    ]
    return hearing, excluded


def join(client, room):
    """Joins the room; the announcement is checked elsewhere."""
    assert client.call({"type": "join_room", "room": room})["type"] == "joined_room"


def ends(how, client, room):
    if how == "leave":
        client.leave(room)
    elif how == "close":
        client.close()
    else:
        client.socket.socket.shutdown(2)  # no close frame: the connection is lost


@pytest.mark.parametrize("how", ["leave", "close", "lost"])
def test_joins_and_leaves_are_announced(world, how):
    """In every protocol, in its own form."""
    room, who = world.name("project:"), world.name("ann")
    hearing, excluded = audience(world, room)
    world.drain(*hearing, *excluded)
    speaker = world.rooms(who, room, at=world.first, username="Ann A.")
    world.receive(announcement("user_joined", room, who, "Ann A."), *hearing, excluded=excluded)
    ends(how, speaker, room)
    world.receive(announcement("user_left", room, who, "Ann A."), *hearing, excluded=excluded)


def test_a_user_that_left_receives_nothing_more(world):
    room, who = world.name("project:"), world.name("ann")
    watcher = world.rooms(world.name("bob"), room, at=world.first)
    member = world.rooms(who, room)
    world.receive(announcement("user_joined", room, who), watcher)
    other = rooms_join(world, channel(room))
    member.leave(room)
    # It is announced on the other node, too, before the next user joins.
    world.receive(announcement("user_left", room, who), watcher)
    other()
    world.get({member: []})


@pytest.mark.parametrize("place, how", [(place, how) for place in ("first", "last") for how in ("leave", "close")] + [("first", "lost")])
def test_two_connections_of_a_user_join_and_leave_once(world, place, how):
    """One join and one leave, however many connections the user has, on one node or on two."""
    room, who = world.name("project:"), world.name("ann")
    hearing, excluded = audience(world, room)
    world.drain(*hearing, *excluded)
    first, second = world.rooms(who, at=world.first), world.rooms(who, at=getattr(world, place))
    join(first, room)
    world.receive(announcement("user_joined", room, who), *hearing, first, excluded=excluded)
    join(second, room)
    join(second, room)
    world.get({client: [] for client in (*hearing, *excluded, first, second)})
    ends(how, first, room)
    world.get({client: [] for client in (*hearing, *excluded, second)})
    ends(how, second, room)
    world.receive(announcement("user_left", room, who), *hearing, excluded=excluded)
