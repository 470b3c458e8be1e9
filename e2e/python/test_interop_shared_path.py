"""notify and realtime on one address: which of the two a connection uses, and how a notify client becomes a realtime client."""

import contextlib
import json
import re

import pytest
import websockets

import wire
from fanfare import free_port, running, token, wait_until
from interop.clients import MARKER, Client, Realtime
from interop.doors import DATA, TYPE, body
from interop.frames import EVERYONE, MILLISECONDS, UUID_V7, Event, channel, exactly, user

WELCOME = exactly(
    '{"type":"Status","data":{"status":"connected","details":{"connection_id":', UUID_V7, ',"server_time":',
    re.compile(r"\d{10}"), ',"protocol_version":"1.0"}},"timestamp":', MILLISECONDS, "}",
)


def connect(world, query=None, headers=None, protocols=None, at=None):
    """A connection to the shared address, before the first frame is read."""
    options = {"additional_headers": headers, "subprotocols": protocols}
    return world.keep(Client((at or world.last).url("shared", **(query or {})), **options))


def refused(world, **how):
    """The (status, JSON) of a refused handshake."""
    with pytest.raises(websockets.InvalidStatus) as failure:
        connect(world, **how)
    response = failure.value.response
    return response.status_code, json.loads(response.body)


def speaks(world, client, name):
    """Returns the protocol: `notify` receives an event for its user at once; `realtime` sends its welcome first."""
    world.redis.publish(f"user_noti:{name}", '{"type":"t","payload":1}')
    first = client.json()
    if first["type"] == "t":
        return "notify"
    assert first["data"]["status"] == "connected"
    assert client.json()["type"] == "DirectMessage"
    return "realtime"


def notify(world, name=None, **claims):
    """A connection that uses notify so far."""
    name = name or world.name("user")
    client = connect(world, {"token": token(name, **claims)})
    client.dialect = "notify"
    return client


def become(client, frame='{"type":"Ping"}'):
    """Sends a realtime frame; returns the answer."""
    client.send(frame)
    assert (welcome := json.loads(client.next()))["data"]["status"] == "connected", welcome
    client.dialect, client.connection_id = "realtime", welcome["data"]["details"]["connection_id"]
    return client.json()


# --- the handshake ---

WAYS = {
    "a token in the query": (lambda proof: {"query": {"token": proof}}, "notify"),
    "another dialect in the query": (lambda proof: {"query": {"token": proof, "dialect": "notify"}}, "notify"),
    "a header": (lambda proof: {"headers": {"Authorization": f"Bearer {proof}"}}, "realtime"),
    "a header and the query": (
        lambda proof: {"headers": {"Authorization": f"Bearer {proof}"}, "query": {"token": proof}}, "realtime",
    ),
    "a subprotocol": (lambda proof: {"protocols": [f"access_token.{proof}"]}, "realtime"),
    "a subprotocol among others": (lambda proof: {"protocols": ["chat", f"access_token.{proof}"]}, "realtime"),
    "by name": (lambda proof: {"query": {"token": proof, "dialect": "realtime"}}, "realtime"),
    "other subprotocols": (lambda proof: {"query": {"token": proof}, "protocols": ["chat", "json"]}, "notify"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_handshake_selects_the_dialect(world, way):
    arguments, expected = WAYS[way]
    name = world.name("user")
    proof = token(name)
    client = connect(world, **arguments(proof))
    if "subprotocol" in way and expected == "realtime":
        assert client.socket.subprotocol == f"access_token.{proof}"  # a browser requires it
    assert speaks(world, client, name) == expected


BAD = {
    "nothing": ({}, 401, {"error": "missing token parameter"}),
    "an empty token": ({"query": {"token": ""}}, 401, {"error": "missing token parameter"}),
    "a bad token": ({"query": {"token": "x.y.z"}}, 401, {"error": "invalid or expired token"}),
    "a bad token in a header": ({"headers": {"Authorization": "Bearer x.y.z"}}, 401, "INVALID_TOKEN"),
    "another kind of header": ({"headers": {"Authorization": "Basic eDp5"}}, 401, "INVALID_TOKEN"),
    "a bad token in a subprotocol": ({"protocols": ["access_token.x.y.z"]}, 401, "INVALID_TOKEN"),
    "a bad token, by name": ({"query": {"token": "x.y.z", "dialect": "realtime"}}, 401, "INVALID_TOKEN"),
}


@pytest.mark.parametrize("way", BAD)
def test_a_refusal_has_the_form_of_the_requested_dialect(world, way):
    """In the form of the dialect that the handshake requested."""
    how, status, error = BAD[way]
    got, answer = refused(world, **how)
    assert got == status
    if isinstance(error, dict):
        assert answer == error
    else:
        assert (list(answer), answer["error"]["code"]) == (["error"], error)
        assert set(answer["error"]) == {"code", "message", "details"}


def test_an_expired_token_is_refused_in_the_form_of_the_requested_dialect(world):
    old = token("ann", ttl=-5)
    assert refused(world, query={"token": old}) == (401, {"error": "invalid or expired token"})
    status, answer = refused(world, headers={"Authorization": f"Bearer {old}"})
    assert (status, answer["error"]["code"]) == (401, "TOKEN_EXPIRED")


def test_an_anonymous_client_may_request_realtime_by_name(world):
    """If realtime is requested by name, no token is needed."""
    client = connect(world, {"dialect": "realtime"})
    client.dialect = "realtime"
    assert client.json()["data"]["status"] == "connected"
    client.send({"type": "Subscribe", "data": {"topics": ["chat.general", MARKER]}})
    assert client.json()["data"]["status"] == "subscribed"
    world.events(body(channel("chat.general")))
    world.receive(Event(channel("chat.general"), DATA, TYPE), client)


# --- frames that do not make a notify client a realtime client ---

IGNORED = [
    "", "hello", "{}", "[]", '["Ping"]', "null", '{"type":"ping"}', '{"type":"subscribe","data":{"topics":["a"]}}',
    '{"type":"Subscribe"}', '{"type":"Subscribe","data":{}}', '{"type":"Subscribe","data":{"topics":"a"}}',
    '{"type":"Subscribe","data":{"topics":[1]}}', '{"type":"Unsubscribe","data":[]}', '{"type":"Broadcast","data":{"topic":"a"}}',
    '{"type":"Broadcast","data":{"payload":1}}', '{"type":"DirectMessage","data":{"target_user":"a"}}',
    '{"type":"Status","data":{}}', '{"type":"Ack","data":{}}',
    '{"type":"Ping"', '{"type":["Ping"]}',
]


@pytest.mark.parametrize("text", IGNORED)
def test_other_frames_are_ignored(world, text):
    """Messages of a notify client have no effect; it remains a notify client."""
    name = world.name("user")
    client = notify(world, name)
    client.send(text)
    world.redis.publish(f"user_noti:{name}", f'{{"type":"{TYPE}","payload":{DATA}}}')
    world.receive(Event(user(name), DATA, TYPE), client)


def test_a_client_that_sends_no_frame_receives_as_in_notify(world):
    """Events for the user and for everyone arrive as in notify; events on channels do not."""
    name = world.name("user")
    client, reader = notify(world, name), world.topics(name, "**")
    for to in (user(name), EVERYONE):
        world.events(body(to))
        world.receive(Event(to, DATA, TYPE), client, reader)
    world.events(body(channel("chat.general")))
    world.receive(Event(channel("chat.general"), DATA, TYPE), reader, excluded=[client])


# --- becoming realtime ---


def status(word, *topics):
    return {"status": word, "details": {"topics": list(topics)}}


FIRST = {
    '{"type":"Subscribe","data":{"topics":["chat.general"]}}': ("Status", status("subscribed", "chat.general")),
    ' { "timestamp" : 1, "data":{"topics":[]},"type":"Subscribe","more":[]}': ("Status", status("subscribed")),
    '{"type":"Unsubscribe","data":{"topics":["a"]}}': ("Status", status("unsubscribed", "a")),
    '{"type":"DirectMessage","data":{"target_user":"nobody at all","payload":1}}': ("Error", {"code": 404}),
    '{"type":"Ping","data":{"timestamp":1700000000123}}': ("Pong", {"timestamp": 1700000000123}),
    '{"type":"Ping","data":{"timestamp":"x"}}': ("Pong", {"timestamp": "x"}),
    '{"type":"Ping"}': ("Pong", {"timestamp": "the server's time"}),
    '{"type":"Subscribe","data":{"topics":["a..b"]}}': ("Error", {"code": 400}),
    '{"type":"Subscribe","data":{"topics":["user:somebody-else"]}}': ("Error", {"code": 403}),
    '{"type":"Broadcast","data":{"topic":"a.*","payload":1}}': ("Error", {"code": 400}),
}


@pytest.mark.parametrize("text", FIRST)
def test_the_first_realtime_frame_gets_a_welcome_and_its_answer(world, text):
    """The welcome, then the answer to that frame, and no other frame; the next frame gets only its answer."""
    kind, data = FIRST[text]
    client = notify(world)
    client.send(text)
    assert WELCOME.fullmatch(client.next())
    answer = client.json()
    assert list(answer) == ["type", "data", "timestamp"] and answer["type"] == kind and type(answer["timestamp"]) is int
    answer["data"].pop("message", None)
    if text == '{"type":"Ping"}':
        assert type(answer["data"]["timestamp"]) is int
    else:
        assert answer["data"] == data
    client.send('{"type":"Ping","data":{"timestamp":2}}')
    assert client.json()["data"] == {"timestamp": 2}


def test_the_first_frame_is_a_broadcast(world):
    """It is published under the client's name."""
    name, topic = world.name("user"), world.name("chat.")
    client, reader = notify(world, name), world.topics(world.name("reader"), topic)
    client.send(f'{{"type":"Broadcast","data":{{"topic":"{topic}","payload":{DATA}}}}}')
    connection = json.loads(client.next())["data"]["details"]["connection_id"]
    ack = exactly('{"type":"Ack","data":{"message_id":', UUID_V7, '},"timestamp":', MILLISECONDS, "}")
    assert ack.fullmatch(client.next())
    world.receive(Event(channel(topic), DATA, sender=name, connection=connection), reader)


def test_the_first_frame_is_a_direct_message(world):
    name, other = world.name("user"), world.name("user")
    client, reader = notify(world, name), world.realtime(other)
    answer = become(client, f'{{"type":"DirectMessage","data":{{"target_user":"{other}","payload":{DATA}}}}}')
    assert answer["type"] == "Ack"
    world.receive(Event(user(other), DATA, sender=name), reader)


def test_the_first_frame_is_a_pong(world):
    """A frame without an answer is also followed by the welcome."""
    name = world.name("user")
    client = notify(world, name)
    client.send('{"type":"Pong"}')
    assert WELCOME.fullmatch(client.next())
    client.dialect = "realtime"
    world.events(body(user(name)))
    assert client.shows(Event(user(name), DATA, TYPE)).fullmatch(client.next())


def test_each_event_arrives_once_before_and_after_the_switch(world):
    """Each event arrives once: in notify's form before, in realtime's after."""
    name, topic = world.name("user"), world.name("chat.")
    client, reader = notify(world, name), world.topics(name, "**")
    for to in (user(name), EVERYONE):
        world.events(body(to))
        world.receive(Event(to, DATA, TYPE), client, reader)
    assert become(client, f'{{"type":"Subscribe","data":{{"topics":["{topic}","{MARKER}"]}}}}')["type"] == "Status"
    for to in (user(name), channel(topic)):
        world.events(body(to))
        world.receive(Event(to, DATA, TYPE), client, reader)
    world.events(body(EVERYONE))
    world.receive(Event(EVERYONE, DATA, TYPE), reader, excluded=[client])
    assert client.send({"type": "Subscribe", "data": {"topics": ["notifications", "**"]}}) is None
    assert client.json()["data"]["status"] == "subscribed"
    for to in (user(name), channel(topic), EVERYONE):
        assert world.events(body(to))["recipients"] >= 2
        world.receive(Event(to, DATA, TYPE), client, reader)


def test_no_event_is_lost_during_the_switch(world):
    """During a stream of events, each arrives once, in order, in one form or the other."""
    name, count = world.name("user"), 200
    client = notify(world, name)
    pipeline = world.redis.pipeline(transaction=False)
    for n in range(count):
        pipeline.publish(f"user_noti:{name}", f'{{"type":"t","payload":{n}}}')
    client.send('{"type":"Ping"}')
    pipeline.execute()
    frames = [client.json() for _ in range(count + 2)]
    events = [frame for frame in frames if frame["type"] in ("t", "DirectMessage")]
    numbers = [event.get("payload", event.get("data", {}).get("payload")) for event in events]
    assert numbers == list(range(count))
    kinds = [frame["type"] for frame in frames]
    assert kinds.count("Status") == kinds.count("Pong") == 1
    assert "t" not in kinds[kinds.index("Status"):] and "DirectMessage" not in kinds[: kinds.index("Status")]


def test_frames_sent_with_the_handshake_are_answered_in_order(world):
    """Sent together with the handshake; each is answered, in order."""
    peer = wire.connect(world.last.ports["shared"])
    with contextlib.closing(peer):
        subscribe = '{"type":"Subscribe","data":{"topics":["a"]}}'
        texts = ["hello", '{"type":"Ping","data":{"timestamp":1}}', subscribe, '{"type":"Ping"}']
        request = wire.upgrade_request(f"/ws?token={token(world.name('user'))}")
        peer.sendall(request + b"".join(wire.frame(1, text.encode()) for text in texts))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        frames = wire.frames(peer)
        answers = [json.loads(next(frames)[1]) for _ in range(4)]
    assert [answer["type"] for answer in answers] == ["Status", "Pong", "Status", "Pong"]
    assert [answer["data"].get("status") for answer in answers] == ["connected", None, "subscribed", None]


@pytest.mark.parametrize("becomes", [False, True])
def test_an_expired_token_closes_before_and_after_the_switch(world, becomes):
    client = notify(world, ttl=4)
    if becomes:
        become(client)
    assert client.closed() == (1008, "token expired")


@pytest.mark.parametrize("becomes", [False, True])
def test_a_binary_frame_closes_before_and_after_the_switch(world, becomes):
    client = notify(world)
    if becomes:
        become(client)
    client.socket.send(b"x")
    assert client.closed()[0] == 1003


# --- sizes ---

LIMIT = 65_536


def ping_of(size):
    text = '{"type":"Ping","data":{"timestamp":1},"more":"'
    return text + "x" * (size - len(text) - 2) + '"}'


@pytest.mark.parametrize("size", [512, 513, 4096, LIMIT])
@pytest.mark.parametrize("becomes", [False, True])
def test_the_message_limit_of_realtime_holds(world, size, becomes):
    """The limit holds for the frame that makes a client a realtime client, and for ignored frames."""
    name = world.name("user")
    client = notify(world, name)
    client.send(ping_of(size) if becomes else "x" * size)
    if becomes:
        assert WELCOME.fullmatch(client.next()) and client.json()["type"] == "Pong"
        client.send(ping_of(size))
        assert client.json()["type"] == "Pong"
    else:
        world.events(body(user(name)))
        world.receive(Event(user(name), DATA, TYPE), client)


@pytest.mark.parametrize("becomes", [False, True])
def test_a_message_over_the_limit_closes_before_and_after_the_switch(world, becomes):
    client = notify(world)
    if becomes:
        become(client)
    client.send(ping_of(LIMIT + 1))
    assert client.closed()[0] == 1009


# --- other listeners ---


@contextlib.contextmanager
def listener(*dialects, **tables):
    port = free_port()
    given = [{"bind": f"127.0.0.1:{port}", "dialects": list(dialects)}]
    with running(port=port, listener=given, **tables) as server:
        yield server


def opened(cleanup, server, name="ann", **claims):
    client = Client(server.ws(name, **claims))
    cleanup.callback(client.close)
    return client


def test_a_listener_of_notify_does_not_recognise_realtime_frames(cleanup, publisher):
    """Realtime frames are plain text there, and the listener's own limit holds."""
    server = cleanup.enter_context(listener("notify"))
    client, large = opened(cleanup, server), opened(cleanup, server)
    for text in ('{"type":"Ping"}', '{"type":"Subscribe","data":{"topics":["a"]}}', "x" * 512):
        client.send(text)
    publisher(server.resp_port).publish("user_noti:ann", '{"type":"t","payload":1}')
    assert client.json()["type"] == "t"
    large.send("x" * 513)
    assert large.closed()[0] == 1009


def test_a_listener_of_realtime_serves_realtime_to_every_client(cleanup):
    server = cleanup.enter_context(listener("realtime"))
    assert opened(cleanup, server).json()["data"]["status"] == "connected"
    assert opened(cleanup, server, None).json()["data"]["status"] == "connected"


def test_the_order_of_the_dialects_does_not_matter(cleanup, publisher):
    server = cleanup.enter_context(listener("realtime", "notify"))
    client = opened(cleanup, server)
    publisher(server.resp_port).publish("user_noti:ann", '{"type":"t","payload":1}')
    assert client.json()["type"] == "t"
    client.send('{"type":"Ping"}')
    assert [client.json()["type"] for _ in range(2)] == ["Status", "Pong"]


def figures(server):
    """The connections of notify and of realtime, as each dialect's endpoint counts them."""
    health = server.json("/health")
    return health["websocket"]["active_connections"], health["active_connections"]


def test_a_client_that_becomes_realtime_counts_there(cleanup):
    server = cleanup.enter_context(listener("notify", "realtime"))
    client = opened(cleanup, server)
    wait_until(lambda: figures(server) == (1, 0), what="a notify client")
    become(client)
    assert figures(server) == (0, 1)
    client.close()
    wait_until(lambda: figures(server) == (0, 0), what="no connection left")


@pytest.mark.parametrize("limits", [{"max_connections": 1}, {"max_connections_per_user": 1}, {"max_connections_per_ip": 1}])
def test_a_switch_requires_a_free_connection_of_realtime(cleanup, limits):
    """A client over realtime's limits does not become a realtime client; existing clients are not affected."""
    server = cleanup.enter_context(listener("notify", "realtime", realtime=limits))
    first, second = opened(cleanup, server), opened(cleanup, server)
    become(first)
    second.send('{"type":"Ping"}')
    code, _ = second.closed()
    assert code in (1008, 1013)
    assert figures(server)[1] == 1
    first.send('{"type":"Ping"}')
    assert first.json()["type"] == "Pong"


def test_a_switch_requires_the_roles_of_realtime(cleanup, publisher):
    """A user that may not be a realtime client does not become one through notify."""
    server = cleanup.enter_context(listener("notify", "realtime", realtime={"required_roles": ["staff"]}))
    staff, other = opened(cleanup, server, "sue", roles=["staff"]), opened(cleanup, server)
    become(staff)
    other.send('{"type":"Ping"}')
    publisher(server.resp_port).publish("user_noti:ann", '{"type":"t","payload":1}')
    with contextlib.suppress(websockets.ConnectionClosed):  # both a close and staying in notify are correct
        assert other.json()["type"] == "t"


def test_require_auth_of_realtime_does_not_change_notify(cleanup):
    server = cleanup.enter_context(listener("notify", "realtime", realtime={"require_auth": True}))
    client = opened(cleanup, server)
    assert become(client)["type"] == "Pong"
    with pytest.raises(websockets.InvalidStatus) as failure:
        Client(server.ws() + "?dialect=realtime")
    assert failure.value.response.status_code == 401


def test_notify_has_its_own_limit(cleanup):
    """A full notify refuses with 503 and an empty body; realtime's handshakes are still accepted."""
    server = cleanup.enter_context(listener("notify", "realtime", notify={"max_connections": 1}))
    opened(cleanup, server)
    with pytest.raises(websockets.InvalidStatus) as failure:
        Client(server.ws("bob"))
    assert (failure.value.response.status_code, failure.value.response.body) == (503, b"")
    assert Realtime(server.ws("bob") + "&dialect=realtime", listens=False).close() is None
