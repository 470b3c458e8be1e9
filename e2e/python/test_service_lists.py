"""The lists of the API for services, on one node and on two: presence, connections, channels."""

import urllib.parse
import uuid

import pytest

from fanfare import wait_until
from test_service_api import DIALECTS, call, complaint, good, several


def presence(node, name):
    return good(node, f"/api/v1/users/{urllib.parse.quote(name, safe='')}/presence")


def test_presence_counts_all_nodes_and_dialects(world):
    name = world.name("ann")
    nobody = {"user": name, "online": False, "connections": 0}
    assert presence(world.first, name) == presence(world.last, name) == nobody
    clients = several(world, name, world.first) + several(world, name, world.last)
    here = {"user": name, "online": True, "connections": 10}
    assert presence(world.first, name) == presence(world.last, name) == here
    for client in clients:
        client.close()
    wait_until(lambda: presence(world.first, name) == nobody, what="no connection")
    assert presence(world.last, name) == nobody


@pytest.mark.parametrize("odd", ["a/b", "100%", "%2F", "é😀", "a b", "a:b", "?x=1#y", "..", "presence"])
def test_presence_is_found_for_ids_of_every_kind(world, odd):
    name = world.name(odd)
    world.realtime(name)
    assert presence(world.first, name) == {"user": name, "online": True, "connections": 1}


@pytest.mark.parametrize("id, says", [
    ("", "the name is empty"), ("%FF", "not UTF-8"), (256 * "a", "longer than 255 bytes"), ("a%00", "control character"),
])
def test_invalid_user_ids_are_refused(world, id, says):
    answer = call(world.first, f"/api/v1/users/{id}/presence")
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")
    assert says in answer[1]["error"]["message"]


# --- connections ---


def connections(node, **query):
    return good(node, "/api/v1/connections", **query)["connections"]


def test_a_connection_is_shown_as_it_is(world):
    name = world.name("ann")
    topic, room = world.name("chat."), world.name("task:")
    world.notify(name)
    world.broadcast(name, client_id=f"tab-{name}")
    world.topics(name, topic, "chat.*")
    world.realtime(name, topic, listens=False)
    world.rooms(name, room)
    rows = connections(world.first, user=name)
    assert connections(world.last, user=name) == rows
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    shown = {row["dialect"]: row for row in rows}
    assert shown.keys() == set(DIALECTS) and len(rows) == 5
    for row in rows:
        assert row.keys() == {"id", "dialect", "user", "name", "address", "connected_at", "subscriptions"}
        assert (row["user"], row["address"]) == (name, "127.0.0.1")
        assert row["connected_at"].endswith("Z") and len(row["connected_at"]) == 24
    assert [shown[each]["name"] for each in DIALECTS] == [None, f"tab-{name}", None, None, None]
    assert set(shown["topics"]["subscriptions"]) == {topic, "chat.*", "interop.marker"}
    assert shown["realtime"]["subscriptions"] == [topic]
    assert room in shown["rooms"]["subscriptions"]


def test_an_anonymous_connection_is_listed_without_a_user(world):
    name = world.name("visitor")
    world.broadcast(client_id=name)
    [row] = [row for row in connections(world.first, dialect="broadcast", limit=1000) if row["name"] == name]
    assert row["user"] is None


def test_connections_are_filtered(world):
    name, other = world.name("ann"), world.name("bob")
    topic = world.name("chat.")
    mine = world.realtime(name, topic).connection_id
    theirs = world.realtime(other, topic, at=world.first).connection_id
    world.topics(name, "chat.*")
    for query, expected in [
        ({"user": name, "dialect": "realtime"}, {mine}), ({"channel": topic}, {mine, theirs}),
        ({"channel": topic, "user": other}, {theirs}), ({"channel": topic, "dialect": "rooms"}, set()),
        ({"user": name, "channel": "chat.*", "dialect": "realtime"}, set()), ({"user": world.name("nobody")}, set()),
        ({"dialect": "nothing"}, set()),
    ]:
        for node in (world.first, world.last):
            assert {row["id"] for row in connections(node, **query)} == expected, query
    assert len(connections(world.first, user=name, channel="chat.*")) == 1


def test_pages_contain_each_connection_once(world):
    """The pages have the connections of both nodes, each once, and an end."""
    name = world.name("ann")
    for node in (world.first, world.last):
        for _ in range(3):
            world.realtime(name, at=node)
    whole = [row["id"] for row in connections(world.first, user=name)]
    assert len(whole) == 6
    for limit in (1, 4, 5, 6, 7):
        seen, cursor = [], None
        while True:
            page = good(world.last, "/api/v1/connections", user=name, limit=limit, cursor=cursor)
            assert page.keys() == {"connections", "next_cursor"} and len(page["connections"]) <= limit
            seen += [row["id"] for row in page["connections"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == whole, limit


@pytest.mark.parametrize("path", ["connections", "channels"])
@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=", "more=1", "limit=1&limit=2", "LIMIT=1"])
def test_bad_queries_are_refused(world, path, query):
    answer = call(world.first, f"/api/v1/{path}?{query}")
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("query", ["cursor=x", "cursor=", "user=a&user=b"])
def test_bad_queries_for_connections_are_refused(world, query):
    answer = call(world.first, f"/api/v1/connections?{query}")
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_connection_is_ended(world, dialect):
    """Closes the connection on any node; the user's other connections stay."""
    name = world.name("ann")
    stays, ends = world.realtime(name), getattr(world, dialect)(name)
    own = [row["id"] for row in connections(world.first, user=name) if row["id"] != stays.connection_id]
    [number] = own
    status, body, _ = call(world.first, f"/api/v1/connections/{number}", "DELETE")
    assert (status, body) == (204, None)
    assert ends.closed() == (1008, "closed by an administrator")
    wait_until(lambda: presence(world.first, name)["connections"] == 1, what="one connection left")
    again = call(world.last, f"/api/v1/connections/{number}", "DELETE")
    assert (again[0], complaint(again)) == (404, "NOT_FOUND")
    world.get({stays: []})


@pytest.mark.parametrize("id, status, code", [
    (str(uuid.UUID(int=7)), 404, "NOT_FOUND"), ("x", 400, "INVALID_REQUEST"), ("", 400, "INVALID_REQUEST"),
    ("%20", 400, "INVALID_REQUEST"),
])
def test_ending_an_unknown_connection_is_refused(world, id, status, code):
    answer = call(world.first, f"/api/v1/connections/{id}", "DELETE")
    assert (answer[0], complaint(answer)) == (status, code)


# --- channels ---


def test_channels_are_counted_over_all_nodes(world):
    """By exact name, with the connections of all nodes; patterns are not channels."""
    name = world.name("count") + "."
    for node in (world.first, world.last):
        world.topics(world.name("ann"), name + "a", name + "b", name + "*", at=node)
    world.realtime(world.name("bob"), name + "b")
    everything = good(world.first, "/api/v1/channels", limit=1000)
    assert everything.keys() == {"channels", "next_cursor"}
    counts = {each["name"]: each["connections"] for each in everything["channels"] if each["name"].startswith(name)}
    assert counts == {name + "a": 2, name + "b": 3}
    assert good(world.last, "/api/v1/channels", limit=1000) == everything


def test_pages_contain_each_channel_once(world):
    name = world.name("page") + "."
    world.topics(world.name("ann"), name + "a", name + "c", name + "e", at=world.first)
    world.topics(world.name("bob"), name + "b", name + "c", name + "d")
    expected = {name + "a": 1, name + "b": 1, name + "c": 2, name + "d": 1, name + "e": 1}
    for limit in (1, 2, 3, 1000):
        seen, cursor = {}, name
        while cursor is not None:
            page = good(world.first, "/api/v1/channels", limit=limit, cursor=cursor)
            assert len(page["channels"]) <= limit
            seen |= {each["name"]: each["connections"] for each in page["channels"]}
            cursor = page["next_cursor"]
        assert {each: count for each, count in seen.items() if each.startswith(name)} == expected
        assert list(seen) == sorted(seen)


def test_a_channel_without_subscribers_is_not_listed(world):
    name = world.name("gone.")
    world.topics(world.name("ann"), name).unsubscribe(name)
    last = lambda: good(world.last, "/api/v1/channels", cursor=name[:-1], limit=1000)["channels"]  # noqa: E731
    wait_until(lambda: name not in [each["name"] for each in last()], what="the channel gone")
