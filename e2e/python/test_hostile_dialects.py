"""Messages that no client should send, in the dialects whose clients send messages. Each gets the documented error and the connection stays
open, another client of the dialect notices nothing, and no part of the message is in the log unescaped."""

import contextlib
import json
import re
import threading

import pytest
import websockets

from dialects import DIALECTS, TALKING, Speaker, all_dialects, closing, port_of, raw
from fanfare import running, token
from wire import connect as dial, frame, frames, status, upgrade_request

CONTENT = "what-is-said-is-nobody's-business"  # in client publications; it must never be in a log
CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
TEXT, BINARY = 1, 2


@pytest.fixture(scope="module")
def server():
    """One server for the whole file, which logs as much as it can."""
    seldom = {"ping_interval": "20m", "ping_timeout": "40m"}  # a bystander does not wait for a JSON ping
    with running(**all_dialects(broadcast=seldom, log={"format": "human"}, env={"FANFARE_LOG": "trace"})) as server:
        yield server


@pytest.fixture(scope="module")
def bystanders(server):
    """Clients that are connected from the beginning and receive all events of the tests."""
    channels = {"rooms": "channel:1", "topics": "odd.**", "realtime": "odd.**"}
    clients = {name: Speaker(server, name, "bystander") for name in TALKING}
    for name, channel in channels.items():
        clients[name].subscribe(channel)
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(autouse=True)
def unharmed(server, bystanders):
    """After each test, the bystanders work, and the log contains no secret and no control character."""
    begin = len(server.log_file.read_bytes())
    yield
    for client in bystanders.values():
        client.alive()
    log = server.log_file.read_bytes()[begin:]
    assert not CONTROL.search(log), CONTROL.search(log)
    assert CONTENT.encode() not in log and b"panicked" not in log
    assert not re.search(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+", log), "a token in the log"


@pytest.fixture
def client(server, speak, dialect):
    return speak(server, dialect)


# --- texts that are not messages in any dialect ---

DEEP = '{"type":"x","data":{"payload":' + "[" * 10_000 + "]" * 10_000 + "}}"
NOT_JSON = {
    "nothing": "",
    "spaces": "  \n ",
    "words": "hello",
    "cut short": '{"type":"ping"',
    "two messages": '{"type":"ping"} {"type":"ping"}',
    "single quotes": "{'type':'ping'}",
    "a trailing comma": '{"type":"ping",}',
    "a leading zero": '{"type":"ping","n":01}',
    "NaN": '{"type":"ping","n":NaN}',
    "two byte order marks": '\ufeff\ufeff{"type":"ping"}',
    "a raw line break in a string": '{"type":"a\nb"}',
    "a name that is half a character": '{"\\ud83d":1,"type":"ping"}',
    "10,000 deep": DEEP,
    "10,000 deep, without an end": '{"type":' + "[" * 10_000,
    "10,000 objects deep": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "129 deep": '{"type":"ping","x":' + "[" * 128 + "]" * 128 + "}",
    "escape sequences of a terminal": "\x1b[2J\x1b]0;owned\x07\u009b31m\u2028\r\n{",
    "not JSON at length": "x" * 60_000,
}
NOT_JSON_SAYS = {
    "broadcast": "Invalid JSON format",
    "topics": (400, "frame", "not JSON, or nested deeper than 128"),
    "realtime": (400, "the message is not JSON, or is nested deeper than 128"),
    "rooms": "Invalid JSON format",
}
NO_OBJECT = ["null", "true", "7", "9007199254740993", "-1e400", '"ping"', "[]", '[{"type":"ping"}]']
NO_OBJECT_SAYS = {
    "broadcast": "Invalid message format",
    "topics": (400, "frame", "must be an object"),
    "realtime": (400, "the message is not a JSON object"),
    "rooms": "Message must be a JSON object",
}
WRONG = ["null", "true", "7", "9007199254740993", "-1e400", '["a"]', '{"a":1}', r'"\ud83d"']  # where a text is expected
TYPE_MISSING_SAYS = NO_OBJECT_SAYS | {
    "topics": (400, "type", "required"), "realtime": (400, "type is missing"), "rooms": "Message type required",
}
TYPE_WRONG_SAYS = TYPE_MISSING_SAYS | {"topics": (400, "type", "must be a string"), "realtime": (400, "type is not a string")}


@pytest.mark.parametrize("dialect", TALKING)
def test_a_byte_order_mark_is_skipped(client, dialect):
    client.say("\ufeff" + DIALECTS[dialect].ping)
    assert client.next_json()["type"] == DIALECTS[dialect].pong


@pytest.mark.parametrize("dialect", TALKING)
def test_texts_that_are_not_messages_are_refused(client, dialect):
    for name, text in NOT_JSON.items():
        assert client.complaint(text) == NOT_JSON_SAYS[dialect], name
    for text in NO_OBJECT:
        assert client.complaint(text) == NO_OBJECT_SAYS[dialect], text
    for text in ("{}", '{"Type":"ping"}', '{"data":{}}'):
        assert client.complaint(text) == TYPE_MISSING_SAYS[dialect], text
    for value in WRONG:
        expected = TYPE_WRONG_SAYS[dialect]
        if dialect == "topics" and "ud83d" in value:
            expected = (400, "type", "must be Unicode text")
        assert client.complaint(f'{{"type":{value}}}') == expected, value
    client.alive()


UNKNOWN_SAYS = {
    "broadcast": lambda type: f"Unknown message type: {type}",
    "topics": lambda type: (400, "type", f"unknown type: {type}"),
    "realtime": lambda type: (400, f"unknown message type: {type}"),
    "rooms": lambda type: f"Unknown message type: {type}",
}


UNKNOWN = ["dance", "", "PING", " ping", 'a"\\\n\0\x1b[2J', "</script>é🎺", "connected", "welcome", "error", "auth_success"]


@pytest.mark.parametrize("dialect", TALKING)
def test_unknown_types_are_refused_and_shown_in_part(client, dialect):
    for type in UNKNOWN:
        assert client.complaint(type=type) == UNKNOWN_SAYS[dialect](type)
    # An error quotes a long one only in part, and cuts no character in half.
    for type in ("x" * 50_000, "é" * 10_000, "🎺" * 5_000):
        words = client.complaint(type=type)
        words = words if isinstance(words, str) else words[-1]
        assert type[0] * 20 in words and len(words) < 140
    client.alive()


@pytest.mark.parametrize("dialect", TALKING)
def test_unusual_but_valid_messages_are_accepted(client, dialect):
    """Unknown fields, duplicates of which the last counts, escapes and white space, and any value."""
    ping = json.loads(DIALECTS[dialect].ping)["type"]
    for text in (
        f'{{"type":"{ping}","more":1,"constructor":null,"__proto__":{{"type":"x"}}}}',
        f'{{"type":"dance","type":7,"type":"{ping}"}}',
        f' \t\r\n{{ "t\\u0079pe" : "\\u{ord(ping[0]):04x}{ping[1:]}" }} ',
        f'{{"x":[9007199254740993,1E400,-0,1e-999,"\\ud83d"],"type":"{ping}"}}',
        f'{{"type":"{ping}","x":' + "[" * 127 + "]" * 127 + "}",
    ):
        client.alive() if client.ask(text)["type"] == DIALECTS[dialect].pong else pytest.fail(text)


# --- the fields of each dialect ---


def cases(form, values, says):
    """Sends `form` with each of `values` in place of its `?`; all should get the same answer."""
    return [(form.replace("?", value), says) for value in values]


NO_TEXT, NO_LIST, NO_OBJECT_IN = WRONG[:-1], ["null", "7", '"a"', '{"0":"a"}', "true"], ["true", "7", '"a"', "[]", "-1e400"]
# An optional field that is null counts as absent.
FILLED_NO_TEXT = [text for text in NO_TEXT if text != "null"]
TOO_LONG, TOO_DEEP = "a" * 256, ".".join("a" * 33)
PARTIAL = "`*` must be a whole segment of a pattern, as in `chat.*`"
BAD_NAMES = {
    "": "the name is empty", "a..b": "the name has an empty segment", ".": "the name has an empty segment",
    "a:": "the name has an empty segment", "a*": PARTIAL, "a.***": PARTIAL,
    "a\nb": "the name has a control character in it", "\x1b[2J": "the name has a control character in it",
    TOO_LONG: None, TOO_DEEP: None,
}


def shown(name):
    return name if len(name) <= 100 else name[:100] + "…"


PERSONAL = ["notifications.user.bob", "user:bob", "user_noti:bob"]
FIELDS = {
    "broadcast": [],
    "topics": [
        ('{"type":"auth"}', (400, "token", "required")),
        *cases('{"type":"auth","token":?}', NO_TEXT, (400, "token", "must be a string")),
        ('{"type":"auth","token":""}', (401, "Invalid token")),
        (f'{{"type":"auth","token":"{"x" * 60_000}"}}', (401, "Invalid token")),
        ('{"type":"auth","token":"a.b.c\\n\\u001b[2J"}', (401, "Invalid token")),
        *cases('{"type":"?"}', ["subscribe", "unsubscribe", "message"], (400, "topic", "required")),
        *cases('{"type":"?","topic":null}', ["subscribe", "unsubscribe"], (400, "topic", "required")),
        *cases('{"type":"subscribe","topic":?}', FILLED_NO_TEXT, (400, "topic", "must be a string")),
        *cases('{"type":"unsubscribe","topic":?}', FILLED_NO_TEXT, (400, "topic", "must be a string")),
        *cases('{"type":"message","data":1,"topic":?}', NO_TEXT, (400, "topic", "must be a string")),
        *cases('{"type":"subscribe","topics":?}', NO_LIST[1:], (400, "topics", "must be a list of strings")),
        ('{"type":"subscribe","topics":[]}', (400, "topics", "must not be empty")),
        *cases('{"type":"subscribe","topics":[?]}', NO_TEXT, (400, "topics[0]", "must be a string")),
        ('{"type":"subscribe","topic":"a","topics":["b"]}', (400, "topics", "not together with topic")),
        ('{"type":"message","topic":"odd.a"}', (400, "data", "required")),
        *cases('{"type":"message","topic":"odd.a","data":1,"metadata":?}', NO_OBJECT_IN, (400, "metadata", "must be an object")),
        *cases('{"type":"message","topic":"odd.a","data":1,"eventType":?}', FILLED_NO_TEXT, (400, "eventType", "must be a string")),
        *cases('{"type":"message","topic":"?","data":1}', ["odd.*", "odd.**", "**"],
               (400, "topic", "a message goes to one topic, not to a pattern")),
        *cases('{"type":"subscribe","topic":"?"}', PERSONAL, (403, "topic", "not allowed")),
        *cases('{"type":"message","topic":"?","data":1}', [*PERSONAL, "user:ann"],
               (403, "topic", "clients do not publish on personal topics")),
    ],
    "realtime": [
        *cases('{"type":"?"}', ["Subscribe", "Unsubscribe", "Broadcast", "DirectMessage"], (400, "data is missing")),
        *cases('{"type":"Subscribe","data":?}', [*NO_OBJECT_IN, "null"], (400, "data is not a JSON object")),
        *cases('{"type":"?","data":{}}', ["Subscribe", "Unsubscribe"], (400, "data.topics is missing")),
        *cases('{"type":"Subscribe","data":{"topics":?}}', NO_LIST, (400, "data.topics is not a list of strings")),
        *cases('{"type":"Subscribe","data":{"topics":["a",?]}}', WRONG, (400, "data.topics is not a list of strings")),
        ('{"type":"Broadcast","data":{"payload":1}}', (400, "data.topic is missing")),
        *cases('{"type":"Broadcast","data":{"payload":1,"topic":?}}', WRONG, (400, "data.topic is not a string")),
        ('{"type":"Broadcast","data":{"topic":"odd.a"}}', (400, "data.payload is missing")),
        ('{"type":"Broadcast","data":{"topic":"odd.*","payload":1}}', (400, "a broadcast goes to one topic, not to a pattern")),
        *cases('{"type":"Broadcast","data":{"topic":"?","payload":1}}', [*PERSONAL, "user:ann"],
               (403, "a user is reached by a direct message only")),
        *cases('{"type":"Subscribe","data":{"topics":["a","?"]}}', PERSONAL, (403, "not allowed")),
        ('{"type":"DirectMessage","data":{"payload":1}}', (400, "data.target_user is missing")),
        *cases('{"type":"DirectMessage","data":{"payload":1,"target_user":?}}',
               ["null", "true", "1.5", "-1e400", '["a"]', r'"\ud83d"'], (400, "data.target_user is not a string or an integer")),
        ('{"type":"DirectMessage","data":{"target_user":"bob"}}', (400, "data.payload is missing")),
        *cases('{"type":"DirectMessage","data":{"payload":1,"target_user":?}}', ['"nobody"', "9007199254740993"],
               (404, "that user is not connected")),
    ],
    "rooms": [
        *cases('{"type":"?"}', ["join_room", "leave_room", "send_message"], "Room ID required"),
        *cases('{"type":"join_room","room":?}', ["null", '""'], "Room ID required"),
        *cases('{"type":"join_room","room":?}', FILLED_NO_TEXT, "Invalid room identifier"),
        *cases('{"type":"join_room","room":"?"}',
               ["lobby", "channel", "channel:", ":1", "channel.1", "Channel:1", "chat:1", "channel:*", "channel:**",
                "channel:a..b", r"channel:\n", r"channel:\ud83d", r"channel:\u001b[2J",
                "channel:" + TOO_LONG, "channel:" + TOO_DEEP, "user:"],
               "Invalid room identifier"),
        ('{"type":"leave_room","room":"channel:9"}', "Not in room channel:9"),
        ('{"type":"send_message","room":"channel:9","data":{"content":"hi"}}', "Not in room channel:9"),
        *cases('{"type":"send_message","room":"channel:1","data":?}', [*NO_OBJECT_IN, "null", "{}"], "Content required"),
        *cases('{"type":"send_message","room":"channel:1","data":{"content":?}}', ["null", '""'], "Content required"),
    ],
}
for name, issue in BAD_NAMES.items():
    quoted = json.dumps(name)
    FIELDS["topics"].append((f'{{"type":"subscribe","topic":{quoted}}}', (400, "topic", issue and f"invalid pattern: {issue}")))
    FIELDS["realtime"].append(
        (f'{{"type":"Subscribe","data":{{"topics":["a",{quoted}]}}}}', (400, issue and f'invalid topic "{shown(name)}": {issue}'))
    )


@pytest.mark.parametrize("dialect", TALKING)
def test_missing_or_wrong_fields_are_refused(client, dialect):
    for text, says in FIELDS[dialect]:
        answer = client.complaint(text)
        if isinstance(says, tuple) and says[-1] is None:  # a name beyond the limits: the text is not fixed
            assert answer[:-1] == says[:-1] and len(answer[-1]) < 200, text[:200]
        else:
            assert answer == says, text[:200]
    client.alive()


# --- values are delivered as they were written ---

ODD_VALUES = [
    "null", "false", "1.10", "1E400", "9007199254740993", "-0", '""', r'"\ud83d"', r'"\u0000\u001b[2J\/"', '[1, 2]',
    r'{"b" : 1.10, "a":"\u00e9","a":2, "\ud83d":[] }', '"\u2028\u2029"', "[" * 120 + "]" * 120,
]


@pytest.mark.parametrize("value", [*ODD_VALUES, f'"{CONTENT}"', f'{{"password":"{CONTENT}"}}'], ids=lambda v: v[:20])
def test_values_are_delivered_unchanged(server, bystanders, speak, value):
    """From publishers in topics and realtime to subscribers in both."""
    ears = [(bystanders["topics"], "data"), (bystanders["realtime"], "payload")]
    speak(server, "topics").say(f'{{"type":"message","topic":"odd.values","data":{value}}}')
    for ear, field in ears:
        assert f'"{field}":{value}' in ear.next()
    mouth = speak(server, "realtime")
    assert mouth.ask(f'{{"type":"Broadcast","data":{{"topic":"odd.values","payload":{value}}}}}')["type"] == "Ack"
    for ear, field in ears:
        assert f'"{field}":{value}' in ear.next()


# --- sizes and kinds of frames ---


def of_size(dialect, size):
    """A ping of exactly that many bytes."""
    empty = DIALECTS[dialect].ping[:-1] + ',"x":"?"}'
    return empty.replace("?", "x" * (size - len(empty) + 1))


@pytest.mark.parametrize("dialect", TALKING)
def test_a_message_over_the_limit_closes_with_1009(server, client, dialect, speak):
    limit = DIALECTS[dialect].max_size
    assert len(of_size(dialect, limit)) == limit
    assert client.ask(of_size(dialect, limit))["type"] == DIALECTS[dialect].pong
    client.say(of_size(dialect, limit + 1))
    assert client.closed()[0] == 1009

    # The same in fragments, none of which is too long.
    client, text = speak(server, dialect), of_size(dialect, limit + 1)
    with contextlib.suppress(websockets.ConnectionClosed):  # the server need not wait for the end
        client.socket.send(text[i : i + limit // 2] for i in range(0, len(text), limit // 2))
    assert client.closed()[0] == 1009


@pytest.mark.parametrize("dialect", TALKING)
@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff\x00\x1b", b"x" * 60_000], ids=["empty", "JSON", "bytes", "many"])
def test_binary_frames_are_not_accepted(client, dialect, payload):
    client.socket.send(payload)
    assert client.closed() == (1003, "binary frames are not accepted")


# --- many subscriptions ---

MANY = 10_000
SUBSCRIBE = {
    "topics": lambda n: {"type": "subscribe", "topic": f"t.{n}"},
    "realtime": lambda n: {"type": "Subscribe", "data": {"topics": [f"t.{n}"]}},
    "rooms": lambda n: {"type": "join_room", "room": f"task:{n}"},
}


@pytest.mark.parametrize("dialect, frame, says", [
    ("topics", {"type": "subscribe", "topics": [f"t.{n}" for n in range(MANY)]}, (400, "topics")),
    ("topics", {"type": "unsubscribe", "topics": ["t"] * MANY}, (400, "topics")),
    ("realtime", {"type": "Subscribe", "data": {"topics": ["t"] * MANY}}, (400,)),
    ("realtime", {"type": "Unsubscribe", "data": {"topics": ["t"] * MANY}}, (400,)),
], ids=lambda value: value if isinstance(value, str) else "")
def test_ten_thousand_names_in_one_frame_are_refused(client, dialect, frame, says):
    assert client.complaint(**frame)[: len(says)] == says
    client.alive()


@pytest.mark.parametrize("dialect", SUBSCRIBE)
def test_ten_thousand_subscriptions_in_one_write_end_at_the_limit(server, dialect):
    """A thousand are accepted, each further one is refused, and the connection stays open."""
    peer = raw(server, dialect, token("greedy"))
    says = [SUBSCRIBE[dialect](n) for n in range(MANY)]
    if dialect == "topics":
        says.insert(0, {"type": "auth", "token": token("greedy")})
    sent = b"".join(frame(TEXT, json.dumps(each).encode()) for each in says)
    writer = threading.Thread(target=peer.sendall, args=(sent + frame(TEXT, DIALECTS[dialect].ping.encode()),))
    writer.start()
    kinds = {"good": 0, "bad": 0}
    for opcode, payload in frames(peer):
        assert opcode == TEXT, payload
        answer = json.loads(payload)
        if answer["type"] == DIALECTS[dialect].pong:
            break
        good = answer["type"] in ("subscribed", "joined_room") or answer.get("data", {}).get("status") == "subscribed"
        kinds["good"] += good
        kinds["bad"] += answer["type"] in ("error", "Error")
    writer.join()
    peer.close()
    assert kinds == {"good": 1000, "bad": MANY - 1000}


@pytest.mark.parametrize("dialect", SUBSCRIBE)
def test_a_client_that_subscribes_and_never_reads_is_bounded(server, dialect):
    """The sender is slowed down or closed; no other client is slowed, and nothing accumulates."""
    before, peer = server.memory(), raw(server, dialect, token("deaf"))
    peer.settimeout(1)
    if dialect == "topics":
        peer.sendall(frame(TEXT, json.dumps({"type": "auth", "token": token("deaf")}).encode()))
    burst = b"".join(frame(TEXT, json.dumps(SUBSCRIBE[dialect](n % 10)).encode()) for n in range(1000))
    try:
        for _ in range(100):
            peer.sendall(burst)
    except OSError:
        pass
    assert server.memory() - before < 16 << 20
    peer.close()


# --- names of clients ---

BAD_CLIENT_IDS = {
    "a line break": "a%0Ab", "a null": "%00", "an escape sequence": "%1B[2J", "a C1 control": "a%C2%9Bb",
    "129 bytes": "x" * 129, "10 KB": "x" * 10_000, "10 KB of quotes": "%22" * 3_000,
}
GOOD_CLIENT_IDS = {
    "quotes": '"\'\\`', "braces": '{"type":"ping"}', "128 bytes": "é" * 64, "markup": "</script>&<b>", "a percent": "%41",
}


@pytest.mark.parametrize("client_id", BAD_CLIENT_IDS.values(), ids=BAD_CLIENT_IDS)
def test_bad_client_names_are_refused(server, client_id):
    peer = dial(port_of(server, "broadcast"))
    peer.sendall(upgrade_request(f"/ws?client_id={client_id}", "Connection: close"))
    assert status(peer) == 400


@pytest.mark.parametrize("client_id", GOOD_CLIENT_IDS.values(), ids=GOOD_CLIENT_IDS)
def test_unusual_client_names_are_accepted(server, speak, client_id):
    client = speak(server, "broadcast", query={"client_id": client_id})
    assert client.greeting["client_id"] == client_id
    second = raw(server, "broadcast", None, client_id=client_id)
    code, reason = closing(frames(second))
    assert code == 1008 and reason.startswith("Client ") and reason.endswith(" is already connected")
    assert len(reason.encode()) <= 123
    client.alive()
    client.close()


# --- user names that no user should have ---

BAD_SUBS = ["", "x" * 256, "x" * 5_000, "a\nb", "\x1b[2J", "\0", "\ud83d", 1.5, 1e30, True, ["ann"], {"id": "ann"}]
ODD_SUBS = ["*", "**", "a.b", "a:b", "a..b", ":", " ", '"\'\\', "é🎺", "x" * 255, 0]


@pytest.mark.parametrize("sub", BAD_SUBS, ids=lambda sub: repr(sub)[:12])
def test_tokens_without_a_valid_user_are_refused(server, speak, sub):
    bad = {"name": None}
    for name in ("notify", "broadcast", "realtime"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            speak(server, name, sub, bad)
        assert refused.value.response.status_code == 401
    with raw(server, "rooms", token(sub)) as peer:
        assert closing(frames(peer)) == (4401, "Authentication Failed")
    assert speak(server, "topics", None).complaint(type="auth", token=token(sub)) == (401, "Invalid token")


@pytest.mark.parametrize("sub", ODD_SUBS, ids=lambda sub: repr(sub)[:12])
def test_users_with_unusual_ids_receive_only_their_own_events(server, bystanders, speak, sub):
    """They are users like all others: each receives only its own events, whatever its name looks like."""
    clients = [speak(server, name, sub, {"name": None}) for name in ("notify", *TALKING)]
    for client in clients:
        if client.name in ("topics", "realtime"):
            client.subscribe(f"notifications.user.{sub}")
    for user, recipients in ((str(sub), 5), ("bystander", 3)):  # the bystanders that need no subscription
        event = json.dumps({"to": {"user": user}, "type": "private", "data": user})
        assert json.loads(server.get("/api/v1/events", "POST", event).text)["recipients"] == recipients
    for client in clients:
        assert json.dumps(str(sub)) in client.next()
        if client.name != "notify":
            client.alive()
    for name in ("broadcast", "realtime", "rooms"):
        assert "bystander" in bystanders[name].next()


# --- compressed ---


@pytest.mark.parametrize("dialect", TALKING)
def test_compressed_messages_are_limited_by_their_decompressed_size(launch, speak, dialect):
    server = launch(**all_dialects(**{dialect: {"compression": True}}))
    limit = DIALECTS[dialect].max_size
    client = speak(server, dialect, compression="deflate")
    assert client.ask(of_size(dialect, limit))["type"] == DIALECTS[dialect].pong
    assert client.complaint(DEEP) == NOT_JSON_SAYS[dialect]
    client.say(of_size(dialect, limit + 1))
    assert client.closed()[0] == 1009
