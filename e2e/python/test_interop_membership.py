"""Joins and leaves in a room, as the other protocols and the other node receive them: `user_joined` and `user_left`, once per user."""

import pytest

from interop.doors import rooms_join
from interop.frames import Event, channel


def came_or_went(kind, room, who, username=None):
    data = f'{{"username":"{username or who}","user_id":"{who}"}}'
    return Event(channel(room), data, kind, sender=who, username=username)


def audience(world, room):
    """Clients of each protocol that shows announcements of rooms, and clients that do not receive them."""
    member = world.rooms(world.name("member"), room)
    hearing = [member, world.topics(world.name("user"), room, "**"), world.realtime(world.name("user"), "project:*")]
    unheard = [
        world.notify(world.name("user")), world.broadcast(), world.rooms(world.name("user")), world.realtime(None, "**"),
        world.topics(world.name("user")),
    ]
    return hearing, unheard


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
def test_coming_and_going(world, how):
    """In every protocol, in its own form."""
    room, who = world.name("project:"), world.name("ann")
    hearing, unheard = audience(world, room)
    world.drain(*hearing, *unheard)
    speaker = world.rooms(who, room, at=world.first, username="Ann A.")
    world.hear(came_or_went("user_joined", room, who, "Ann A."), *hearing, unheard=unheard)
    ends(how, speaker, room)
    world.hear(came_or_went("user_left", room, who, "Ann A."), *hearing, unheard=unheard)


def test_who_leaves_hears_nothing_more(world):
    room, who = world.name("project:"), world.name("ann")
    watcher = world.rooms(world.name("bob"), room, at=world.first)
    member = world.rooms(who, room)
    world.hear(came_or_went("user_joined", room, who), watcher)
    other = rooms_join(world, channel(room))
    member.leave(room)
    # It is announced on the other node, too, before the next user joins.
    world.hear(came_or_went("user_left", room, who), watcher)
    other()
    world.get({member: []})


@pytest.mark.parametrize("how", ["leave", "close", "lost"])
def test_tabs_on_one_node(world, how):
    """One join and one leave, however many connections the user has."""
    room, who = world.name("project:"), world.name("ann")
    hearing, unheard = audience(world, room)
    world.drain(*hearing, *unheard)
    first, second = world.rooms(who, at=world.first), world.rooms(who, at=world.first)
    join(first, room)
    world.hear(came_or_went("user_joined", room, who), *hearing, first, unheard=unheard)
    join(second, room)
    join(second, room)
    world.get({client: [] for client in (*hearing, *unheard, first, second)})
    ends(how, first, room)
    world.get({client: [] for client in (*hearing, *unheard, second)})
    ends(how, second, room)
    world.hear(came_or_went("user_left", room, who), *hearing, unheard=unheard)


@pytest.mark.parametrize("how", ["leave", "close"])
def test_tabs_on_two_nodes(world, how):
    """A user is one user in the whole cluster."""
    room, who = world.name("project:"), world.name("ann")
    hearing, unheard = audience(world, room)
    world.drain(*hearing, *unheard)
    first, second = world.rooms(who, at=world.first), world.rooms(who, at=world.last)
    join(first, room)
    world.hear(came_or_went("user_joined", room, who), *hearing, first, unheard=unheard)
    join(second, room)
    world.get({client: [] for client in (*hearing, *unheard, first, second)})
    ends(how, first, room)
    world.get({client: [] for client in (*hearing, *unheard, second)})
    ends(how, second, room)
    world.hear(came_or_went("user_left", room, who), *hearing, unheard=unheard)
