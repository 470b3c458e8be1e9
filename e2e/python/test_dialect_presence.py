"""The members of rooms, who may join, and what others do not see: in rooms, and on the same channels in the other dialects."""

import contextlib
import json
import socket
import time

import pytest

from dialects import MICROSECONDS, TIME, all_dialects, closing, complaint, raw
from fanfare import running, token, wait_until
from http_service import HttpService
from wire import frame, frames

TEXT = 1
RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
ROOM = "channel:456"


@pytest.fixture
def server(launch):
    return launch(**all_dialects())


def event(client, type, user):
    """Asserts that the next frame is `type` about `user` in the room."""
    got = client.next_json()
    assert TIME.fullmatch(got.pop("timestamp"))
    assert got == {"type": type, "room": ROOM, "data": {"username": user, "user_id": user}, "sender": user}


def own_join(client, first=True):
    """Joins the room; the first of a user's connections receives its own announcement."""
    answer = client.ask(type="join_room", room=ROOM)
    assert TIME.fullmatch(answer.pop("timestamp"))
    assert answer == {"type": "joined_room", "room": ROOM, "data": {"message": f"Joined room {ROOM}"}}
    if first:
        event(client, "user_joined", client.greeting["data"]["user_id"])
    return client


def leave(client):
    answer = client.ask(type="leave_room", room=ROOM)
    assert TIME.fullmatch(answer.pop("timestamp"))
    assert answer == {"type": "left_room", "room": ROOM, "data": {"message": f"Left room {ROOM}"}}


# --- presence ---


def test_joins_and_leaves_are_announced_once_per_user(server, speak):
    watcher = own_join(speak(server, "rooms", "watcher"))
    tabs = [speak(server, "rooms", "ann") for _ in range(3)]
    own_join(tabs[0])
    event(watcher, "user_joined", "ann")
    own_join(tabs[1], first=False)
    own_join(tabs[1], first=False)  # only the caller learns of a second join
    own_join(tabs[2], first=False)
    leave(tabs[0])
    assert tabs[0].complaint(type="leave_room", room=ROOM) == f"Not in room {ROOM}"
    assert tabs[0].complaint(type="send_message", room=ROOM, data={"content": "hi"}) == f"Not in room {ROOM}"
    tabs[1].close()
    for client in (watcher, tabs[0], tabs[2]):
        client.alive()  # no frame arrived meanwhile
    leave(tabs[2])
    event(watcher, "user_left", "ann")
    own_join(tabs[2])
    event(watcher, "user_joined", "ann")
    watcher.alive()


def kill(peer):
    peer.setsockopt(*RESET_ON_CLOSE)
    peer.close()


def hang_up(peer):
    """Reads to the close, as a client would, and closes."""
    with contextlib.suppress(OSError, ValueError):
        closing(frames(peer))
    peer.close()


ENDS = {
    "a reset": kill,
    "an end without a close": lambda peer: peer.close(),
    "half an end": lambda peer: peer.shutdown(socket.SHUT_WR),
    "a close frame": lambda peer: peer.sendall(frame(8, b"\x03\xe8")),
    "a protocol error": lambda peer: peer.sendall(frame(3, b"")),
    "a binary frame": lambda peer: peer.sendall(frame(2, b"")),
    "a message that is too long": lambda peer: peer.sendall(frame(TEXT, b"x" * 65_537)),
    "a forbidden room": lambda peer: peer.sendall(frame(TEXT, b'{"type":"join_room","room":"user:1"}')),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_lost_connection_leaves_its_rooms(server, speak, end):
    watcher = own_join(speak(server, "rooms", "watcher"))
    peer = raw(server, "rooms", token("ann"))
    peer.sendall(frame(TEXT, json.dumps({"type": "join_room", "room": ROOM}).encode()))
    event(watcher, "user_joined", "ann")
    end(peer)
    hang_up(peer)
    event(watcher, "user_left", "ann")
    watcher.alive()


def test_an_expired_token_and_silence_also_leave_the_room(launch, speak):
    server = launch(**all_dialects(rooms={"ping_interval": "200ms", "ping_timeout": "1s"}))
    watcher = own_join(speak(server, "rooms", "watcher"))
    own_join(speak(server, "rooms", "ann", {"exp": int(time.time()) + 2}))
    event(watcher, "user_joined", "ann")
    event(watcher, "user_left", "ann")
    peer = raw(server, "rooms", token("mute"))
    peer.sendall(frame(TEXT, json.dumps({"type": "join_room", "room": ROOM}).encode()))
    event(watcher, "user_joined", "mute")
    hang_up(peer)
    event(watcher, "user_left", "mute")


def test_many_users_join_and_leave_at_once(server, speak):
    """Each join and leave is announced once, in any order."""
    watcher = own_join(speak(server, "rooms", "watcher"))
    count = 50
    peers = [raw(server, "rooms", token(f"user{n // 2}")) for n in range(2 * count)]  # two connections each
    for peer in peers:
        peer.sendall(frame(TEXT, json.dumps({"type": "join_room", "room": ROOM}).encode()))
    came = [watcher.next_json() for _ in range(count)]
    for peer in peers:
        peer.close()
    gone = [watcher.next_json() for _ in range(count)]
    everyone = sorted(f"user{n}" for n in range(count))
    assert sorted(each["sender"] for each in came if each["type"] == "user_joined") == everyone
    assert sorted(each["sender"] for each in gone if each["type"] == "user_left") == everyone
    watcher.alive()


def test_tabs_that_join_and_leave_at_once(launch, speak):
    """Joined and left alternate in any order of joins and leaves, and the last announcement is correct."""
    server = launch(**all_dialects(server={"shards": 4}))
    watcher, tabs = own_join(speak(server, "rooms", "watcher")), [speak(server, "rooms", "ann") for _ in range(5)]
    for _ in range(100):
        for type in ("join_room", "leave_room", "ping"):
            for tab in tabs:
                tab.say(type=type, room=ROOM)
        for tab in tabs:
            while tab.next_json()["type"] != "pong":
                pass
    arrived = []
    with contextlib.suppress(TimeoutError):
        while True:
            arrived.append(watcher.next_json(timeout=0.5)["type"])
    assert arrived == ["user_joined", "user_left"] * (len(arrived) // 2) and arrived


# --- identities ---


@pytest.mark.parametrize("sub, user_id", [
    (12345, 12345), ("12345", 12345), ("007", "007"), ("0", 0), ("-1", -1), ("1.5", "1.5"), ("12345a", "12345a"), ("", None),
    ("9007199254740993", 9007199254740993), ('a"b\\c', 'a"b\\c'), ("é🎺", "é🎺"),
])
def test_the_welcome_shows_the_users_id_in_the_tokens_form(server, speak, sub, user_id):
    if user_id is None:
        with raw(server, "rooms", token(sub)) as peer:
            assert closing(frames(peer)) == (4401, "Authentication Failed")
        return
    client = speak(server, "rooms", sub, {"name": None})
    assert client.greeting["data"] == {"message": "Connected successfully", "user_id": user_id, "username": str(sub)}
    assert MICROSECONDS.fullmatch(client.greeting["timestamp"])


@pytest.mark.parametrize("claims, username", [
    ({"username": "alice", "name": "Alice", "email": "a@x"}, "alice"), ({"name": "Alice", "email": "a@x"}, "Alice"),
    ({"name": None, "email": "a@x"}, "a@x"), ({"name": None}, "5"),
    ({"username": 7, "name": ["x"], "email": "a@x"}, "a@x"), ({"username": "", "name": "Alice"}, "Alice"),
])
def test_the_welcome_shows_the_users_name(server, speak, claims, username):
    client = speak(server, "rooms", "5", claims)
    assert client.greeting["data"]["username"] == username
    assert client.ask(type="join_room", room=ROOM)["type"] == "joined_room"
    joined = client.next_json()
    assert joined["data"] == {"username": username, "user_id": 5} and joined["sender"] == username
    data = {"content": "hi", "username": "forged", "metadata": {"reply_to": 789}}
    said = client.ask(type="send_message", room=ROOM, data=data)
    assert TIME.fullmatch(said.pop("timestamp"))
    assert said == {
        "type": "message", "room": ROOM, "sender": username,
        "data": {"content": "hi", "username": username, "user_id": 5, "metadata": {"reply_to": 789}},
    }


# --- access ---


def no_access(client, room, why=None):
    """An error first, then the close."""
    assert client.complaint(type="join_room", room=room) == (why or f"No access to room {room}")
    assert client.closed() == (4403, "Forbidden")


@pytest.mark.parametrize("type", ["join_room", "leave_room", "send_message"])
@pytest.mark.parametrize("room", ["user:ann", "user:bob", "user:12345"])
def test_no_client_uses_the_room_of_a_user(server, speak, type, room):
    client = speak(server, "rooms")
    assert client.complaint(type=type, room=room, data={"content": "x"}) == "No access to the rooms of users"
    assert client.closed() == (4403, "Forbidden")


CLAIM = {"rooms": ["project:1", "channel:*", "task:a.**"]}
BY_CLAIM = {
    "project:1": True, "project:2": False, "channel:5": True, "channel:5.6": False, "task:a.b.c": True, "task:a": False,
}


@pytest.mark.parametrize("room, open", BY_CLAIM.items())
@pytest.mark.parametrize("default", ["authenticated", "nobody"])
def test_the_rooms_claim_overrides_the_default(launch, speak, default, room, open):
    """A list of patterns decides alone, whatever the default is."""
    client = speak(launch(**all_dialects(rooms={"default_access": default})), "rooms", "ann", CLAIM)
    client.subscribe(room) if open else no_access(client, room)


def test_default_access_nobody_closes_rooms(launch, speak):
    server = launch(**all_dialects(rooms={"default_access": "nobody"}))
    no_access(speak(server, "rooms"), ROOM)
    no_access(speak(server, "rooms", "ann", {"rooms": []}), ROOM)


RULES = {"channel": [
    {"pattern": "project:secret", "join": "role:staff"},
    {"pattern": "project:{user}.**", "join": "owner"},
    {"pattern": "channel:closed", "join": "nobody"},
    {"pattern": "channel:team", "join": "claim:team=blue"},
    {"pattern": "task:*", "join": "authenticated", "publish": "role:staff"},
    {"pattern": "news.**", "subscribe": "anyone", "publish": "service"},
    {"pattern": "reports.{user}.**", "subscribe": "owner"},
]}
MAY_JOIN = [
    ("project:secret", {}, False), ("project:secret", {"roles": ["staff"]}, True), ("project:secret", {"rooms": ["**"]}, False),
    ("project:ann.plans", {}, True), ("project:bob.plans", {}, False), ("channel:closed", {"roles": ["staff"]}, False),
    ("channel:team", {}, False), ("channel:team", {"team": "blue"}, True), ("channel:team", {"team": "red"}, False),
    ("task:7", {"rooms": []}, True), ("channel:open", {}, True),
]


@pytest.fixture(scope="module")
def ruled():
    with running(**all_dialects(**RULES)) as server:
        yield server


@pytest.mark.parametrize("room, claims, open", MAY_JOIN)
def test_access_rules_decide_about_joins(ruled, speak, room, claims, open):
    client = speak(ruled, "rooms", "ann", claims)
    client.subscribe(room) if open else no_access(client, room)


@pytest.mark.parametrize("room, claims, open", MAY_JOIN)
def test_access_rules_for_rooms_hold_in_the_other_dialects(ruled, speak, room, claims, open):
    """A room that a user may not join is also refused as a topic, and patterns do not show it."""
    exact = speak(ruled, "topics", "ann", claims)
    answer = exact.ask(type="subscribe", topic=room)
    assert answer["type"] == ("subscribed" if open else "error"), answer
    assert open or complaint("topics", answer) == (403, "topic", "not allowed")
    client = speak(ruled, "realtime", "ann", claims)
    answer = client.ask(type="Subscribe", data={"topics": ["chat.a", room]})
    assert answer["type"] == ("Status" if open else "Error"), answer
    assert open or complaint("realtime", answer) == (403, "not allowed")

    patterns = [speak(ruled, dialect, "ann", claims).subscribe("**") for dialect in ("topics", "realtime")]
    event = {"to": {"channel": room}, "type": "news", "data": {"n": 1}}
    ruled.get("/api/v1/events", "POST", json.dumps(event))
    for each in patterns:
        if open:
            got = each.next_json()
            assert room in (got.get("topic"), got["data"].get("topic"))
        each.alive()


def test_a_member_that_may_not_publish_is_refused(ruled, speak):
    client = speak(ruled, "rooms").subscribe("task:7")
    assert client.complaint(type="send_message", room="task:7", data={"content": "hi"}) == "No access to room task:7"
    client.alive()
    staff = speak(ruled, "rooms", "bob", {"roles": ["staff"]}).subscribe("task:7")
    assert client.next_json()["type"] == "user_joined"
    assert staff.ask(type="send_message", room="task:7", data={"content": "hi"})["type"] == "message"
    assert client.next_json()["data"]["content"] == "hi"


def test_channels_are_restricted_to_their_owner_or_to_services(ruled, speak):
    """`owner` in a rule, and channels on which only services publish."""
    for dialect in ("topics", "realtime"):
        client = speak(ruled, dialect)
        client.subscribe("reports.ann.today"), client.subscribe("news.today")
        words = {"topics": {"type": "subscribe", "topic": "reports.bob.today"},
                 "realtime": {"type": "Subscribe", "data": {"topics": ["reports.bob.today"]}}}
        assert client.complaint(**words[dialect])[0] == 403
        words = {"topics": {"type": "message", "topic": "news.today", "data": 1},
                 "realtime": {"type": "Broadcast", "data": {"topic": "news.today", "payload": 1}}}
        assert client.complaint(**words[dialect])[0] == 403
        client.alive()


def test_anonymous_clients_receive_only_public_channels(ruled, speak):
    """Anonymous clients see public channels, no rooms, no messages of `messages`, and no personal channel."""
    client = speak(ruled, "realtime", None)
    for channel in ("chat.general", "news.today", "**"):
        client.subscribe(channel)
    closed = (ROOM, "project:1", "task:7", "messages", "messages.user.1", "user:ann", "notifications.user.ann", "reports.ann.x")
    for channel in closed:
        assert client.complaint(type="Subscribe", data={"topics": [channel]}) == (403, "not allowed"), channel
    for channel in (ROOM, "messages", "messages.x"):
        assert client.complaint(type="Broadcast", data={"topic": channel, "payload": 1}) == (403, "not allowed"), channel
    for channel in (ROOM, "messages", "messages.x", "reports.ann.x"):
        ruled.get("/api/v1/events", "POST", json.dumps({"to": {"channel": channel}, "type": "x", "data": 1}))
    assert client.complaint(type="DirectMessage", data={"target_user": "ann", "payload": 1})[0] == 401
    ruled.get("/api/v1/events", "POST", json.dumps({"to": {"user": "ann"}, "type": "x", "data": 1}))
    client.alive()
    ruled.get("/api/v1/events", "POST", json.dumps({"to": {"channel": "chat.general"}, "type": "x", "data": 1}))
    assert client.next_json()["data"] == {"topic": "chat.general", "payload": 1}


RESERVED = [
    "connected", "user_joined", "user_left", "message.sent", "error", "system", "shutdown", "welcome", "Ack", "Status",
    "test_notification", "auth_success", "pong",
]


def test_reserved_types_and_senders_cannot_be_forged(server, speak):
    ear = speak(server, "topics", "bob").subscribe("**")
    client = speak(server, "topics")
    for type in RESERVED:
        answer = client.complaint(type="message", topic=ROOM, data={}, eventType=type)
        assert answer == (400, "eventType", "reserved for the server"), type
    forged = {"senderId": "eve", "senderConnectionId": "x", "more": 2}
    client.say(type="message", topic="a", data=1, eventType="typing", metadata=forged)
    got = ear.next_json()
    assert got["eventType"] == "typing" and got["metadata"]["senderId"] == "ann" and got["metadata"]["more"] == 2
    assert got["metadata"]["senderConnectionId"] != "x"


@pytest.fixture
def authorizer(cleanup):
    """A service that allows `ann` everything but `channel:no`, and counts the requests."""
    asked = []

    def answer(_, body):
        question = json.loads(body)
        asked.append(question)
        allow = question["user"] == "ann" and question["channel"] != "channel:no"
        return 200, json.dumps({"allow": allow}).encode()

    service = HttpService(answer)
    cleanup.callback(service.stop)
    return service.url, asked


def test_the_authorizer_comes_after_rules_and_before_claims(launch, speak, authorizer):
    url, asked = authorizer
    server = launch(**all_dialects(authorizer={"url": url}, channel=[{"pattern": "channel:rule", "join": "role:staff"}]))
    speak(server, "rooms", "ann", {"rooms": []}).subscribe("channel:yes")
    no_access(speak(server, "rooms", "ann", {"rooms": ["**"]}), "channel:no")
    no_access(speak(server, "rooms", "bob"), "channel:yes")
    before = len(asked)
    no_access(speak(server, "rooms", "ann"), "channel:rule")
    speak(server, "rooms", "carl", {"roles": ["staff"]}).subscribe("channel:rule")
    assert len(asked) == before, "the authorizer is not asked if a rule decides"


def test_an_unavailable_authorizer_denies(launch, speak):
    server = launch(**all_dialects(authorizer={"url": "http://127.0.0.1:9/", "timeout": "300ms"}))
    no_access(speak(server, "rooms", "ann", {"rooms": ["**"]}), ROOM)
