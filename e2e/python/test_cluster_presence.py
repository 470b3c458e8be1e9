"""Counts over several nodes on one Redis: the members of rooms, names, and the connections of a user."""

import json
import time

import pytest

from conftest import Client
from dialects import TIME, all_dialects, port_of
from fanfare import wait_until

ROOM = "project:1"
FORGOTTEN = 10  # seconds after its death within which a node is forgotten


@pytest.fixture
def nodes(launch, real_redis):
    """nodes(2, rooms={...}) starts that many nodes on one Redis."""
    redis = real_redis()
    broker = {"kind": "redis", "url": redis.url}
    return lambda count, **tables: [launch(broker=broker, **all_dialects(**tables)) for _ in range(count)]


def member(speak, node, user, **more):
    """A client of `user` in the room; frames after the answer to its join are not read yet."""
    client = speak(node, "rooms", user)
    client.answer = client.ask(type="join_room", room=ROOM, **more)
    assert client.answer["type"] == "joined_room", client.answer
    return client


def sees(client, type, user):
    event = client.next_json()
    assert (event["type"], event["data"]["user_id"]) == (type, user), event


def present(node, query="", room=ROOM):
    answer = node.get(f"/api/v1/channels/{room}/presence{query}")
    return answer.status, json.loads(answer.text)


def users(page):
    return {one["user"]: (one["connections"], one["nodes"]) for one in page["members"]}


def lose(client):
    """Ends the connection without a close frame."""
    client.socket.socket.shutdown(2)


def test_the_members_at_all_nodes_are_listed(nodes, speak):
    one, two = nodes(2)
    first = member(speak, one, "ann", members=True)
    assert first.answer["data"]["members"] == [{"user_id": "ann", "username": "ann"}]
    sees(first, "user_joined", "ann")
    second = member(speak, two, "bob", members=True)
    both = [{"user_id": "ann", "username": "ann"}, {"user_id": "bob", "username": "bob"}]
    assert second.answer["data"]["members"] == both
    for client in (first, second):
        sees(client, "user_joined", "bob")
    again = member(speak, two, "ann", members=True)
    assert again.answer["data"]["members"] == both
    assert first.ask(type="join_room", room=ROOM, members=True)["data"]["members"] == both
    for client in (first, second, again):
        client.alive()


def test_a_list_of_too_many_members_is_left_out(nodes, speak):
    one, two = nodes(2, limits={"max_listed_members": 2})
    ann = member(speak, one, "ann", members=True)
    bob = member(speak, two, "bob", members=True)
    assert len(bob.answer["data"]["members"]) == 2
    carol = member(speak, two, "carol", members=True)
    assert carol.answer["data"] == {"message": f"Joined room {ROOM}"}
    assert two.prometheus("fanfare_member_lists_left_out_total") == 1
    for user in ("ann", "bob", "carol"):
        sees(ann, "user_joined", user)
    carol.close()
    sees(ann, "user_left", "carol")
    answer = ann.ask(type="join_room", room=ROOM, members=True)
    assert [each["user_id"] for each in answer["data"]["members"]] == ["ann", "bob"]


def test_the_presence_route_replies_alike_at_each_node(nodes, speak):
    one, two, three = all_three = nodes(3)
    for node in all_three:
        empty = {"channel": ROOM, "members": [], "next_cursor": None, "complete": True}
        assert present(node) == (200, empty)
    clients = [member(speak, node, user) for node, user in ((one, "ann"), (one, "ann"), (two, "ann"), (two, "bob"))]
    for node in all_three:
        status, page = present(node)
        assert (status, page["complete"], page["next_cursor"]) == (200, True, None)
        assert users(page) == {"ann": (3, 2), "bob": (1, 1)}
        assert [each["user"] for each in page["members"]] == ["ann", "bob"]
        for each in page["members"]:
            assert TIME.fullmatch(each["since"]) and each["username"] == each["user"]
    first = present(three, "?limit=1")[1]
    assert (list(users(first)), first["next_cursor"]) == (["ann"], "ann")
    assert list(users(present(three, "?limit=1&cursor=ann")[1])) == ["bob"]
    assert present(one, "?limit=0")[0] == 400
    for client in clients[:3]:
        client.close()
    wait_until(lambda: users(present(three)[1]) == {"bob": (1, 1)}, what="ann gone from the list")


def test_the_members_of_a_killed_node_leave(nodes, speak):
    one, two, three = nodes(3)
    watcher = member(speak, three, "watcher")
    sees(watcher, "user_joined", "watcher")
    for node, user in ((one, "ann"), (one, "bob"), (two, "bob")):
        member(speak, node, user)
    for user in ("ann", "bob"):
        sees(watcher, "user_joined", user)
    one.process.kill()
    died = time.monotonic()
    sees(watcher, "user_left", "ann")
    assert time.monotonic() - died < FORGOTTEN
    wait_until(lambda: users(present(two)[1]) == {"bob": (1, 1), "watcher": (1, 1)}, what="the dead node's connections gone")
    watcher.alive()


def test_a_drain_is_announced_once(nodes, speak):
    one, two = nodes(2)
    watcher = member(speak, two, "watcher")
    sees(watcher, "user_joined", "watcher")
    members = [member(speak, one, user) for user in ("ann", "ann", "bob")]
    for user in ("ann", "bob"):
        sees(watcher, "user_joined", user)
    one.stop()
    left = [watcher.next_json() for _ in range(2)]
    assert sorted((event["type"], event["data"]["user_id"]) for event in left) == [("user_left", "ann"), ("user_left", "bob")]
    assert users(present(two)[1]) == {"watcher": (1, 1)}
    watcher.alive()
    for client in members:
        client.close()


def test_connections_of_a_user_are_limited_over_all_nodes(nodes, speak):
    one, two = nodes(2, rooms={"max_connections_per_user": 2})
    first, second = speak(one, "rooms", "ann"), speak(two, "rooms", "ann")
    for node in (one, two):
        refused = Client(f"ws://127.0.0.1:{port_of(node, 'rooms')}/api/v1/ws/connect?token={first.token}")
        assert refused.closed() == (4429, "Too Many Connections")
    speak(one, "rooms", "bob")
    second.close()
    third = wait_until(lambda: welcomed(one, first.token), what="a place for a third connection")
    third.close()


def welcomed(node, token):
    """A connection; None if it is refused."""
    client = Client(f"ws://127.0.0.1:{port_of(node, 'rooms')}/api/v1/ws/connect?token={token}")
    try:
        return client if client.next_json()["type"] == "connected" else None
    except Exception:  # noqa: BLE001, it was closed
        return None


def test_a_name_belongs_to_one_connection_on_all_nodes(nodes, cleanup):
    one, two = nodes(2)

    def named(node):
        client = Client(f"ws://127.0.0.1:{port_of(node, 'broadcast')}/ws?client_id=tab")
        cleanup.callback(client.close)
        return client

    first = named(one)
    assert first.next_json()["type"] == "welcome"
    code, reason = named(two).closed()
    assert code == 1008 and reason, (code, reason)
    for old, new in ((one, two), (two, one)) * 3:
        # The name is free as soon as its connection is closed.
        first.close()
        first = named(new)
        assert first.next_json()["type"] == "welcome", (old.port, new.port)


def test_a_user_who_returns_at_another_node_in_time_has_not_left(nodes, speak):
    one, two = nodes(2, rooms={"leave_grace": "8s"})
    watcher = member(speak, two, "watcher")
    sees(watcher, "user_joined", "watcher")
    lost = member(speak, one, "ann")
    sees(watcher, "user_joined", "ann")
    lose(lost)
    wait_until(lambda: one.json("/health")["websocket"]["active_connections"] == 0, what="the connection lost")
    assert "ann" in users(present(two)[1])
    back = member(speak, two, "ann")
    wait_until(lambda: users(present(two)[1]).get("ann") == (1, 1), what="the lost connection's time over")
    back.alive()
    watcher.alive()
    # No client returns: the user leaves when the time is over. A close frame is not a loss.
    lose(back)
    sees(watcher, "user_left", "ann")
    closed = member(speak, one, "bob")
    sees(watcher, "user_joined", "bob")
    began = time.monotonic()
    closed.close()
    sees(watcher, "user_left", "bob")
    assert time.monotonic() - began < 8, "a close frame waits for the grace"
