"""`/api/messages`: stored messages, their receivers, and their readers."""

import contextlib
import json
import sqlite3
import uuid

import pytest

from dialects import TIME, all_dialects
from fanfare import token, wait_until
from interop.authorizer import Authorizer

PATH = "/api/messages"
FIELDS = ["id", "userId", "recipientId", "channelId", "content", "attachments", "createdAt", "updatedAt"]


@pytest.fixture
def server(launch):
    return launch(**all_dialects())


def request(server, who, method="GET", path=PATH, body=None, **claims):
    headers = {"Authorization": f"Bearer {token(who, **claims)}"} if who else {}
    return server.get(path, method, body, **headers)


def send(server, who, content="hello", claims=None, **fields):
    """Sends a valid message, and returns it."""
    answer = request(server, who, "POST", body=json.dumps({"content": content} | fields), **(claims or {}))
    assert answer.status == 201, answer.text
    body = json.loads(answer.text)
    assert body["success"] is True and list(body["data"]) == FIELDS
    return body["data"]


def read(server, who, query="", **claims):
    answer = request(server, who, path=PATH + query, **claims)
    assert answer.status == 200, answer.text
    data = json.loads(answer.text)["data"]
    return [message["content"] for message in data["messages"]], data["nextCursor"]


def announced(client, *topics):
    """The next frames announce one message on these topics, and no other frame follows; returns the message."""
    frames = [client.next_json() for _ in topics]
    assert [frame["topic"] for frame in frames] == list(topics)
    assert {frame["eventType"] for frame in frames} <= {"message.sent"}
    client.alive()
    [data] = {json.dumps(frame["data"]) for frame in frames} or {"null"}
    return json.loads(data)


# --- answers ---


def test_a_message_is_stored_and_returned(server):
    attachments = [{"url": "https://example.com/a.png", "n": 1.5}, None]
    message = send(server, "ann", "hello \N{WAVING HAND SIGN}", recipientId="bob", channelId="general", attachments=attachments)
    assert uuid.UUID(message.pop("id")).version == 7
    assert TIME.fullmatch(message["createdAt"]) and message.pop("createdAt") == message.pop("updatedAt")
    assert message == {
        "userId": "ann", "recipientId": "bob", "channelId": "general", "content": "hello \N{WAVING HAND SIGN}",
        "attachments": attachments,
    }
    plain = send(server, "ann", recipientId=None, attachments=None)
    assert (plain["recipientId"], plain["channelId"], plain["attachments"]) == (None, None, [])


BAD = [
    ("", "body"), ("[]", "body"), ('"x"', "body"), ('{"content":', "body"), (b'{"content":"\xff"}', "body"),
    ('{"content":"x","attachments":' + "[" * 128 + "]" * 128 + "}", "body"),
    ("{}", "content"), ('{"content":null}', "content"), ('{"content":5}', "content"), ('{"content":""}', "content"),
    ('{"content":"a\\u0000b"}', "content"), ('{"content":"\\ud800"}', "content"),
    (json.dumps({"content": "x" * 65_537}), "content"),
    ('{"content":"x","recipientId":5}', "recipientId"), ('{"content":"x","recipientId":""}', "recipientId"),
    ('{"content":"x","channelId":"a*"}', "channelId"), ('{"content":"x","channelId":"a..b"}', "channelId"),
    (json.dumps({"content": "x", "channelId": "a" * 201}), "channelId"),
    (json.dumps({"content": "x", "channelId": ".".join("a" * 31)}), "channelId"),
    ('{"content":"x","attachments":{}}', "attachments"),
    (json.dumps({"content": "x", "attachments": ["x" * 262_144]}), "attachments"),
]


def test_invalid_messages_are_refused(server, speak):
    watcher = speak(server, "topics", "root", claims={"roles": ["admin"]}).subscribe("messages")
    for body, field in BAD:
        answer = request(server, "ann", "POST", body=body)
        said = json.loads(answer.text)
        assert (answer.status, said["success"], said["details"]["field"]) == (400, False, field), (body[:60], said)
        issue = said["details"]["issue"]
        assert said["error"] == (issue if issue.startswith("the body is ") else f"{field}: {issue}"), said
        assert len(answer.text) < 300
    for query in ("?limit=0", "?limit=101", "?limit=x", "?cursor=x", "?other=1", "?limit=1&limit=2"):
        answer = request(server, "ann", path=PATH + query)
        assert (answer.status, json.loads(answer.text)["success"]) == (400, False), query
    watcher.alive()
    assert read(server, "root", roles=["admin"]) == ([], None)


def test_requests_are_refused_in_the_form_of_the_route(launch):
    server = launch(**all_dialects(limits={"max_body_size": 4096}))
    good = json.dumps({"content": "x"})
    cases = [
        (None, "POST", good, 401), (None, "GET", None, 401), ("ann", "DELETE", None, 405), ("ann", "PUT", good, 405),
        ("ann", "POST", json.dumps({"content": "x" * 5000}), 413),
    ]
    for who, method, body, status in cases:
        answer = request(server, who, method, body=body)
        said = json.loads(answer.text)
        assert (answer.status, said["success"], set(said)) == (status, False, {"success", "error"})
        assert (answer.getheader("WWW-Authenticate") == "Bearer") == (status == 401)
        assert (answer.getheader("Allow") == "GET, HEAD, POST") == (status == 405)
    for bad in (token("ann", ttl=-5), token("ann", secret="another secret that is long enough"), "x"):
        assert server.get(PATH, Authorization=f"Bearer {bad}").status == 401
    head = request(server, "ann", "HEAD")
    assert (head.status, head.text) == (200, "")


def test_requests_over_the_rate_are_refused(launch):
    server = launch(limits={"requests_per_second_per_ip": 1, "burst": 2})
    answers = [request(server, "ann") for _ in range(4)]
    refused = answers[-1]
    assert (refused.status, json.loads(refused.text)["success"]) == (429, False)
    assert refused.getheader("Retry-After")


def test_requests_are_refused_while_the_database_is_unavailable(server):
    database = server.folder / "data" / "fanfare.db"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = request(server, "ann", "POST", body=json.dumps({"content": "x"}))
        assert (answer.status, json.loads(answer.text)["success"]) == (503, False)
        assert answer.getheader("Retry-After") == "5"
        other.execute("ROLLBACK")
    send(server, "ann", "again")
    assert read(server, "ann")[0] == ["again"]


# --- receivers ---


def test_a_message_reaches_the_subscribers_of_its_channels(server, speak):
    client = lambda user, *topics, **claims: [c := speak(server, "topics", user, claims=claims)] + [c.subscribe(t) for t in topics]
    exact, = client("x", "messages.channel.general")[:1]
    everything, = client("y", "messages.**", "messages")[:1]
    own, = client("ann", "messages.user.ann")[:1]
    single, = client("z", "messages.channel.*")[:1]
    stranger, = client("w", "messages.channel.other", "messages.user.bob")[:1]
    message = send(server, "ann", channelId="general")
    assert announced(exact, "messages.channel.general") == message
    assert announced(single, "messages.channel.general") == message
    assert announced(own, "messages.user.ann") == message
    assert announced(everything, "messages", "messages.user.ann", "messages.channel.general") == message
    stranger.alive()


def test_the_sender_is_the_user(server, speak):
    client = speak(server, "topics", "bob").subscribe("messages.user.ann")
    send(server, "ann")
    frame = client.next_json()
    assert frame["metadata"] == {"senderId": "ann"} and TIME.fullmatch(frame["timestamp"])


PATTERNS = ["messages", "messages.user.ann", "messages.user.bob", "messages.channel.general", "messages.*.*", "messages.**", "**"]


@pytest.mark.parametrize("topic", PATTERNS)
def test_a_private_message_reaches_only_its_sender_its_recipient_and_admins(server, speak, topic):
    """Whatever the subscriptions are: only its sender, its recipient and admins receive it."""
    of = {"messages.*.*": PATTERNS[1:4], "messages.**": PATTERNS[1:4], "**": PATTERNS[:4]}.get(topic, [topic])
    may = [speak(server, "topics", user, claims=claims) for user, claims in (("ann", {}), ("bob", {}), ("root", {"roles": ["admin"]}))]
    others = [speak(server, "topics", "eve"), speak(server, "topics", "mod", claims={"roles": ["moderator"]})]
    for client in may + others:
        client.subscribe(topic)
    message = send(server, "ann", recipientId="bob", channelId="general")
    for client in may:
        assert announced(client, *of) == message
    for client in others:
        client.alive()


def test_a_message_to_oneself_arrives_once(server, speak):
    client = speak(server, "topics", "ann").subscribe("messages.user.ann")
    send(server, "ann", recipientId="ann")
    announced(client, "messages.user.ann")


# --- rules ---

RULES = [
    {"pattern": "messages.channel.staff", "subscribe": "role:staff", "publish": "role:staff"},
    {"pattern": "messages.channel.news", "publish": "service"},
    {"pattern": "project:1", "join": "role:staff", "publish": "role:staff"},
]


def test_rules_guard_writing_and_reading(launch, speak):
    server = launch(**all_dialects(channel=RULES))
    staff = {"roles": ["staff"]}
    for channel, user, claims, status in [
        ("staff", "ann", {}, 403), ("staff", "sam", staff, 201), ("news", "sam", staff, 403), ("project:1", "ann", {}, 403),
        ("project:1", "sam", staff, 201), ("project:2", "ann", {}, 201), ("user:ann", "ann", {}, 403),
        ("notifications.user.bob", "ann", {}, 403), ("general", "ann", {}, 201),
    ]:
        answer = request(server, user, "POST", body=json.dumps({"content": channel, "channelId": channel}), **claims)
        assert answer.status == status, (channel, user, answer.text)
    assert read(server, "eve")[0] == ["general", "project:2"]
    assert read(server, "sam", **staff)[0] == ["general", "project:2", "project:1", "staff"]
    assert read(server, "root", roles=["admin"])[0] == ["general", "project:2", "project:1", "staff"]


def test_the_authorizer_is_asked(launch):
    """Without a deciding rule: the users that may write and read."""
    rules = [{"pattern": "messages.channel.open.*", "publish": "authenticated"}, {"pattern": "messages", "subscribe": "nobody", "publish": "authenticated"}]
    with contextlib.closing(Authorizer()) as authorizer:
        server = launch(**all_dialects(channel=rules, authorizer={"url": authorizer.url, "timeout": "10s"}))
        for channel, status in [("no", 403), ("yes", 201), ("open.no", 201), ("open.yes", 201), ("project:no", 403), ("project:yes", 201)]:
            answer = request(server, "ann", "POST", body=json.dumps({"content": channel, "channelId": channel}))
            assert answer.status == status, (channel, answer.text)
        send(server, "ann", "to all")
        assert read(server, "eve") == (["project:yes", "open.yes", "yes"], None)
        assert read(server, "eve", "?limit=2")[0] == ["project:yes", "open.yes"]
        assert read(server, "ann")[0] == ["to all", "project:yes", "open.yes", "open.no", "yes"]


def post(server, who, claims=None, **fields):
    return request(server, who, "POST", body=json.dumps({"content": "x"} | fields), **(claims or {})).status


def test_a_rule_on_messages_decides_about_writing_without_a_channel(launch, speak):
    """A message is published on `messages`, and users that may not publish there may not write it; the rule does not concern private messages."""
    server = launch(**all_dialects(channel=[{"pattern": "messages", "publish": "role:staff"}]))
    watcher = speak(server, "topics", "root", claims={"roles": ["admin"]}).subscribe("messages")
    assert post(server, "ann") == 403 and read(server, "root", roles=["admin"]) == ([], None)
    watcher.alive()
    assert post(server, "ann", recipientId="bob") == 201 and post(server, "ann", channelId="general") == 201
    assert post(server, "sam", {"roles": ["staff"]}) == 201
    assert [watcher.next_json()["data"]["userId"] for _ in range(3)] == ["ann", "ann", "sam"]


def test_the_authorizer_is_asked_about_writing_without_a_channel(launch):
    with contextlib.closing(Authorizer()) as authorizer:
        server = launch(**all_dialects(authorizer={"url": authorizer.url, "timeout": "10s"}))
        assert post(server, "ann") == 403  # it has no `messages`
        assert authorizer.asked_about("messages") == [{"user": "ann", "action": "publish", "channel": "messages"}]
        assert post(server, "ann", recipientId="bob") == 201


STAFF = {"roles": ["staff"]}
ROOM = {"pattern": "project:9", "subscribe": "role:staff", "publish": "role:staff", "join": "role:staff"}
TELLS = ["messages", "messages.user.sam", "messages.channel.project:9"]


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_a_message_in_a_guarded_room_reaches_only_its_readers(launch, speak, dialect):
    """On any channel: users that may read the room, its author, and admins."""
    server = launch(**all_dialects(channel=[ROOM, {"pattern": "messages.**", "subscribe": "anyone"}]))
    everything = ["messages", "messages.user.sam", "messages.*.*", "messages.**", "*.*.*", "**"]
    may = [("sue", STAFF, [*everything, TELLS[2]]), ("root", {"roles": ["admin"]}, everything), ("sam", {}, everything)]
    others = [("cat", {}, everything)] + [(None, {}, everything[1:])] * (dialect == "realtime")
    receivers, others = ([
        speak(server, dialect, user, claims=claims).subscribe(topic) for user, claims, topics in people for topic in topics
    ] for people in (may, others))
    many = speak(server, dialect, "cat")
    for topic in everything:
        many.subscribe(topic)
    message = send(server, "sam", "secret", STAFF, channelId="project:9")
    for client in receivers:
        frame = client.next_json()
        assert (frame["data"] if dialect == "topics" else frame["data"]["payload"]) == message
    for client in [*others, many]:
        client.alive()
    assert read(server, "cat")[0] == [] and read(server, "sue", **STAFF)[0] == ["secret"]
    # All subscribers receive other events on that channel.
    for channel in ("general", "project:8"):
        public = send(server, "sam", "open", STAFF, channelId=channel)
        frame = many.next_json()
        assert (frame["data"] if dialect == "topics" else frame["data"]["payload"]) == public
        for _ in range(2):
            many.next_json()
        many.alive()


def test_the_channel_of_a_room_is_refused_with_the_room(launch, speak):
    server = launch(**all_dialects(channel=[ROOM]))
    for place in ("project:9", "user:bob", "notifications.user.bob", "user_noti:bob"):
        topic = f"messages.channel.{place}"
        assert speak(server, "topics", "cat").complaint(type="subscribe", topic=topic)[0] == 403, topic
        assert speak(server, "topics", "cat").complaint(type="message", topic=topic, data=1)[0] == 403, topic
        assert speak(server, "realtime", "cat").complaint(type="Subscribe", data={"topics": [topic]})[0] == 403, topic
    for dialect in ("topics", "realtime"):
        speak(server, dialect, "sue", claims=STAFF).subscribe("messages.channel.project:9")
        speak(server, dialect, "bob").subscribe("messages.channel.user:bob")
        speak(server, dialect, "cat").subscribe("messages.channel.project:8")


def test_a_message_in_a_guarded_room_reaches_its_readers_on_two_nodes(launch, speak, real_redis):
    """The event between nodes names its readers."""
    broker = {"kind": "redis", "url": real_redis().url}
    one, two = (launch(**all_dialects(channel=[ROOM], broker=broker)) for _ in range(2))
    sue, root = speak(two, "topics", "sue", claims=STAFF), speak(two, "topics", "root", claims={"roles": ["admin"]})
    cat = speak(two, "topics", "cat")
    for client in (sue, root, cat):
        client.subscribe("messages").subscribe("messages.**")
    message = send(one, "sam", "secret", STAFF, channelId="project:9")
    assert announced(sue, *TELLS) == message
    assert announced(root, *TELLS[:2]) == message  # the rule of the room does not admit admins
    cat.alive()
    public = send(one, "sam", "open", STAFF)
    assert announced(cat, *TELLS[:2]) == public


def test_the_authorizer_decides_the_receivers_of_a_room(launch, speak):
    """A message of a room waits for the answer about the room, and later events on that channel wait behind it."""
    rules = [{"pattern": "messages", "subscribe": "anyone", "publish": "anyone"}, {"pattern": "messages.**", "subscribe": "anyone", "publish": "anyone"}]
    with contextlib.closing(Authorizer()) as authorizer:
        rules += [{"pattern": "project:gated", "publish": "anyone"}, {"pattern": "project:no", "publish": "anyone"}]
        server = launch(**all_dialects(channel=rules, authorizer={"url": authorizer.url, "timeout": "20s"}))
        cat = speak(server, "topics", "cat").subscribe("messages")
        messages = [send(server, "ann", **fields) for fields in ({"channelId": "project:gated"}, {"channelId": "project:no"}, {})]
        wait_until(lambda: authorizer.asked_about("project:gated") and authorizer.asked_about("project:no"), what="both questions")
        cat.alive()
        authorizer.open("project:gated", True)
        assert [cat.next_json()["data"] for _ in range(2)] == [messages[0], messages[2]]
        cat.alive()


# --- reading ---


def test_messages_that_a_user_may_read(server):
    send(server, "ann", "to all")
    send(server, "ann", "to bob", recipientId="bob")
    send(server, "bob", "to ann, in a channel", recipientId="ann", channelId="general")
    send(server, "eve", "in a channel", channelId="general")
    secret = ["to ann, in a channel", "to bob"]
    assert read(server, "eve")[0] == ["in a channel", "to all"]
    for who, claims in (("ann", {}), ("bob", {}), ("root", {"roles": ["admin"]})):
        assert read(server, who, **claims)[0] == ["in a channel", *secret, "to all"], who


def test_pages_contain_each_readable_message_once(server):
    contents = [str(number) for number in range(7)]
    for content in contents:
        send(server, "ann", content)
        send(server, "ann", "secret", recipientId="bob")
    found, query = [], "?limit=3"
    while query:
        page, cursor = read(server, "eve", query)
        assert len(page) <= 3
        found += page
        send(server, "ann", "newer")  # which no later page shows
        query = f"?limit=3&cursor={cursor}" if cursor else None
    assert found == contents[::-1]
    assert read(server, "eve", "?limit=100")[1] is None


# The answers of an authorizer, and the number of them that one page may need.


def pages_of(server, who, limit):
    """All pages, as lists."""
    pages, query = [], f"?limit={limit}"
    while query:
        page, cursor = read(server, who, query)
        pages.append(page)
        query = f"?limit={limit}&cursor={cursor}" if cursor else None
    return pages


def flooded(launch, authorizer, names, **settings):
    """A server with a message in each of these channels, the last one the newest."""
    rules = [{"pattern": "messages.**", "publish": "authenticated"}]
    server = launch(**all_dialects(channel=rules, authorizer={"url": authorizer.url} | settings))
    for name in names:
        send(server, "ann", name, channelId=name)
    return server


def test_a_page_asks_no_more_than_it_needs(launch):
    names = [f"c{number}.yes" for number in range(60)]
    with contextlib.closing(Authorizer()) as authorizer:
        server = flooded(launch, authorizer, names)
        assert read(server, "eve", "?limit=1")[0] == names[-1:]
        assert len(authorizer.questions) == 1
        assert read(server, "eve", "?limit=20")[0] == names[:-21:-1]
        assert len(authorizer.questions) == 20
        assert sum(pages_of(server, "eve", 7), []) == names[::-1]
        assert len(authorizer.questions) == len(names)


def test_a_page_asks_the_authorizer_a_limited_number_of_questions(launch):
    names = ["first.yes", *(f"c{number}.no" for number in range(150)), "last.yes"]
    with contextlib.closing(Authorizer()) as authorizer:
        server = flooded(launch, authorizer, names, cache="0s")
        asked, cursor, found = 0, "", []
        while cursor is not None:
            page, cursor = read(server, "eve", f"?limit=5{cursor and '&cursor='}{cursor}")
            found += page
            assert len(authorizer.questions) - asked <= 64
            asked = len(authorizer.questions)
        assert found == ["last.yes", "first.yes"]


def test_a_missing_answer_is_not_the_end_of_the_list(launch):
    """One channel whose answer is missing: earlier channels are shown, and the cursor for the rest stays valid."""
    names = ["old.yes", "odd.gated", "new.yes"]
    with contextlib.closing(Authorizer()) as authorizer:
        server = flooded(launch, authorizer, names, timeout="300ms")
        page, cursor = read(server, "eve")
        assert page == ["new.yes"] and cursor
        answer = request(server, "eve", path=f"{PATH}?cursor={cursor}")
        assert (answer.status, json.loads(answer.text)["success"]) == (503, False)
        assert answer.getheader("Retry-After")
        authorizer.open("messages.channel.odd.gated", True)
        again = lambda: request(server, "eve", path=f"{PATH}?cursor={cursor}").status == 200
        wait_until(again, what="an answer")
        assert read(server, "eve", f"?cursor={cursor}") == (["odd.gated", "old.yes"], None)


def test_an_unavailable_authorizer_is_reported(launch):
    with contextlib.closing(Authorizer()) as authorizer:
        server = flooded(launch, authorizer, ["a.yes", "b.yes"])
    answer = request(server, "eve")
    assert (answer.status, json.loads(answer.text)["success"]) == (503, False)
    assert read(server, "ann")[0] == ["b.yes", "a.yes"]  # the user's own message
