"""The server's descriptions of itself: both documents are valid, and the server behaves as they say.

Schemas are read strictly here: an undescribed field is an error, so that the documents cannot become outdated.
"""

import json
import re

import jsonschema
import openapi_spec_validator
import pytest
import websockets

import fanfare
from dialects import DIALECTS, NAMES, Speaker, all_dialects, ask
from fanfare import token

ASYNCAPI = fanfare.ROOT / "e2e/node_modules/@asyncapi/specs/schemas/3.0.0.json"
NAMESPACES = {"http://www.w3.org"}  # names of SVG and XHTML, which are not loaded
TEXT = {"/api/v1/stream", "/livez", "/metrics/prometheus", "/docs", "/admin"}


@pytest.fixture(scope="module")
def server():
    with fanfare.running(**all_dialects()) as server:
        yield server


@pytest.fixture(scope="module")
def openapi(server):
    return server.json("/openapi.json")


@pytest.fixture(scope="module")
def asyncapi(server):
    return server.json("/asyncapi.json")


def strict(schema):
    """The schema, without additional fields."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: value if key in ("const", "enum", "example", "examples") else strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def validate(document, schema, value):
    # The targets of the references are beside the schema.
    whole = strict({**schema, "components": document.get("components", {})})
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(whole, format_checker=checker).validate(value)


def operation_of(document, method, path):
    """The operation of a request, found by its path."""
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\\{[^}]*\\}", "[^/]*", re.escape(template))
        if re.fullmatch(pattern, path.split("?")[0]) and method.lower() in operations:
            return operations[method.lower()]
    raise AssertionError(f"{method} {path} is not described")


def conforms(document, method, path, answer):
    """Asserts that the answer is described."""
    responses = operation_of(document, method, path)["responses"]
    described = responses.get(str(answer.status), responses.get("default"))
    assert described, f"{method} {path}: {answer.status} is not described: {answer.text}"
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    if not described.get("content"):
        assert answer.text == ""
        return None
    media = answer.getheader("Content-Type").split(";")[0]
    assert media in described["content"], f"{method} {path}: {media} is not described"
    if media != "application/json":
        return answer.text
    body = json.loads(answer.text)
    validate(document, described["content"][media]["schema"], body)
    return body


# --- the documents themselves ---


def test_openapi_is_valid(openapi):
    openapi_spec_validator.validate(openapi)
    assert openapi["openapi"].startswith("3.1") and openapi["servers"][0]["url"] == "/"


def test_asyncapi_is_valid(asyncapi):
    schema = json.loads(ASYNCAPI.read_text())
    errors = jsonschema.validators.validator_for(schema)(schema).iter_errors(asyncapi)
    assert [(list(error.absolute_path), error.message[:200]) for error in errors] == []
    assert asyncapi["asyncapi"] == "3.0.0" and asyncapi["channels"].keys() == set(NAMES)


def examples(schemas):
    for message in schemas.values():
        for example in message.get("examples", []):
            yield message["payload"], example["payload"]


def test_examples_are_valid(openapi, asyncapi):
    count = 0
    for payload, example in examples(asyncapi["components"]["messages"]):
        validate(asyncapi, payload, example)
        count += 1
    for operations in openapi["paths"].values():
        for operation in operations.values():
            for part in [operation.get("requestBody", {}), *operation["responses"].values()]:
                for media in part.get("content", {}).values():
                    if "example" in media:
                        validate(openapi, media["schema"], media["example"])
                        count += 1
    assert count > 15


def test_every_listener_shows_both(server, openapi, asyncapi):
    """The documents are the same on every listener, except for the part about the listener's own routes."""
    for dialect in NAMES:
        document = json.loads(ask(server, dialect, "/openapi.json").text)
        [place] = document["servers"]
        assert place["url"] == "/" and dialect in place["x-dialects"]
        assert document | {"servers": openapi["servers"]} == openapi
        assert json.loads(ask(server, dialect, "/asyncapi.json").text) == asyncapi


def test_the_documents_are_served_below_a_prefix(launch):
    server = launch(prefix="/a")
    assert server.json("/openapi.json")["servers"][0]["url"] == "/a"
    assert server.get("/docs").status == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json", "/docs", "/docs/page.js", "/docs/page.css"])
def test_the_documents_allow_only_get_and_head(server, path):
    assert server.get(path, "HEAD").status == 200
    answer = server.get(path, "POST", "")
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")


def test_the_page_loads_nothing_from_other_sites(server):
    page = server.get("/docs")
    policy = page.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    for link in links:
        answer = server.get("/" + link.removeprefix("./"))
        assert answer.status == 200 and "://" not in link
        assert set(re.findall(r"https?://[\w.]*", answer.text)) <= NAMESPACES, link
    assert {"docs/page.js", "docs/page.css", "docs/page.svg", "openapi.json", "asyncapi.json"} == {
        link.removeprefix("./") for link in links
    }


# --- routes ---


@pytest.fixture(scope="module")
def crowd(server):
    """Connections of every dialect, so that lists are not empty."""
    speakers = [Speaker(server, name) for name in NAMES]
    for speaker, channel in zip(speakers[2:], ("chat.general", "chat.general", "project:7")):
        speaker.subscribe(channel)
    yield speakers
    for speaker in speakers:
        speaker.close()


ACCOUNTS = {"/api/auth/me", "/api/messages", "/sessions"}  # need a user, see below


def test_every_get_replies_as_described(server, openapi, crowd):
    """Each route answers as described on the listeners that serve it, and 404 on all others."""
    others = ACCOUNTS | {"/api/v1/tail", "/api/v1/trace/{id}"}  # one never ends, the other needs a traced event: see their own tests
    paths = [path for path, operations in openapi["paths"].items() if "get" in operations and path not in others]
    some = server.json("/api/v1/connections?limit=1")["connections"][0]["id"]
    odd = {
        "/api/v1/explain": "/api/v1/explain?channel=news", "/api/v1/history": "/api/v1/history?channel=news",
        "/api/v1/stream": f"/api/v1/stream?channel=news&poll=1&token={fanfare.token('ann')}",
        "/api/v1/connections/{id}": f"/api/v1/connections/{some}",
    }
    for path in paths:
        address, answers = odd.get(path, path.replace("{id}", "ann")), []
        for dialect in NAMES:
            answer = ask(server, dialect, address)
            if answer.status == 404:
                continue
            body = conforms(openapi, "GET", address, answer)
            answers.append(answer.status)
            assert isinstance(body, str) == (path in TEXT), path
        upgrade = path in {each.path for each in DIALECTS.values()}
        assert answers and (upgrade or set(answers) == {200}), (path, answers)


def test_lists_and_their_items_are_described(server, openapi, crowd):
    for path, field in [("/api/v1/connections", "connections"), ("/api/v1/channels", "channels")]:
        for query in ("", "?limit=1"):
            assert conforms(openapi, "GET", path, server.get(path + query))[field]
    status = conforms(openapi, "GET", "/status", ask(server, "broadcast", "/status"))
    assert status["connections"]["details"]


EVERYONE = {"to": "everyone", "data": 1}


@pytest.mark.parametrize("dialect, method, path, body, status", [
    ("notify", "POST", "/api/v1/events", EVERYONE, 200), ("notify", "POST", "/api/v1/events", [EVERYONE] * 2, 200),
    ("notify", "POST", "/api/v1/events", {"to": {"user": "ann"}, "data": None, "type": "t", "sender": "s", "metadata": {}}, 200),
    ("notify", "POST", "/api/v1/events", [], 400), ("notify", "POST", "/api/v1/events", {"data": 1}, 400),
    ("notify", "GET", "/api/v1/connections?limit=0", None, 400), ("notify", "GET", "/api/v1/channels?x=1", None, 400),
    ("notify", "GET", "/api/v1/users/%FF/presence", None, 400), ("notify", "DELETE", "/api/v1/connections/x", None, 400),
    ("notify", "GET", "/api/v1/channels/project:1/presence", None, 200),
    ("notify", "GET", "/api/v1/channels/project:1/presence?limit=0", None, 400), ("notify", "GET", "/api/v1/channels/a..b/presence", None, 400),
    ("notify", "DELETE", "/api/v1/connections/00000000-0000-0000-0000-000000000007", None, 404),
    ("broadcast", "POST", "/notify", {"message": "m"}, 200), ("broadcast", "POST", "/notify", {"message": "m", "data": {"a": 1}, "type": "t"}, 200),
    ("broadcast", "POST", "/notify", {"message": 7}, 400),
    ("notify", "GET", "/ws", None, 401), ("topics", "GET", "/ws", None, 426), ("rooms", "GET", "/api/v1/ws/connect", None, 426),
])
def test_answers_are_as_described(server, openapi, dialect, method, path, body, status):
    """The schema of the request refuses what the server refuses."""
    answer = ask(server, dialect, path, method, None if body is None else json.dumps(body))
    assert answer.status == status, answer.text
    conforms(openapi, method, path, answer)
    if body is not None:
        schema = operation_of(openapi, method, path)["requestBody"]["content"]["application/json"]["schema"]
        try:
            validate(openapi, schema, body)
            assert status == 200
        except jsonschema.ValidationError:
            assert status == 400


@pytest.mark.parametrize("method, path", [("POST", "/api/v1/events"), ("GET", "/api/v1/connections"), ("GET", "/status"), ("POST", "/notify")])
def test_callers_without_a_credential_are_refused_as_described(server, openapi, method, path):
    answer = ask(server, "broadcast", path, method, None, X_Forwarded_For="192.0.2.7")
    assert answer.status == 401
    conforms(openapi, method, path, answer)


def test_keys_without_the_scope_are_refused_as_described(launch, openapi):
    """Every route for services answers 403."""
    server = launch(**all_dialects())
    made = fanfare.run("--config", str(server.config_file), "key", "create", "narrow", "--scope", "publish")
    publisher = re.search(r"ff_\S+", made.stdout)[0]
    made = fanfare.run("--config", str(server.config_file), "key", "create", "reader", "--scope", "read")
    reader = re.search(r"ff_\S+", made.stdout)[0]
    fanfare.wait_until(lambda: ask(server, "notify", "/api/v1/channels", Authorization=f"Bearer {reader}").status == 200)
    seen = 0
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            if {"apiKey": []} not in operation.get("security", []):
                continue
            reads = method == "get" or path.startswith("/api/v1/trace")
            key, address = publisher if reads else reader, path.replace("{id}", "00000000-0000-0000-0000-000000000007")
            address += "?everyone=true" if path == "/api/v1/tail" else ""
            answer = ask(server, "broadcast", address, method.upper(), None, Authorization=f"Bearer {key}")
            assert answer.status == 403, (method, path, answer.text)
            assert "403" in operation["responses"]
            conforms(openapi, method.upper(), address, answer)
            seen += 1
    assert seen == 29


def upgrade_headers():
    return {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}


@pytest.mark.parametrize("dialect", ["notify", "broadcast", "realtime"])
def test_handshakes_are_refused_as_described(server, openapi, dialect):
    path = DIALECTS[dialect].path + "?token=x"
    answer = ask(server, dialect, path, **upgrade_headers())
    assert answer.status == 401
    conforms(openapi, "GET", path, answer)


def test_a_node_without_its_broker_replies_as_described(launch):
    """Degraded answers are also as described."""
    server = launch(broker={"kind": "redis", "url": f"redis://127.0.0.1:{fanfare.free_port()}/0"}, **all_dialects())
    openapi = server.json("/openapi.json")
    for path, status in [("/health", 503), ("/readyz", 503), ("/metrics", 200), ("/api/v1/channels", 200), ("/api/v1/users/a/presence", 200)]:
        answer = server.get(path)
        assert answer.status == status, path
        conforms(openapi, "GET", path, answer)
    answer = server.get("/api/v1/events", "POST", json.dumps(EVERYONE))
    assert conforms(openapi, "POST", "/api/v1/events", answer)["degraded"] is True


def test_accounts_are_as_described(server, openapi):
    def call(dialect, method, path, body=None, bearer=None):
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        answer = ask(server, dialect, path, method, None if body is None else json.dumps(body), Content_Type="application/json", **headers)
        return answer.status, conforms(openapi, method, path, answer)

    login = {"email": "ann@example.com", "password": "correct horse battery"}
    status, made = call("topics", "POST", "/api/auth/register", login | {"name": "Ann"})
    assert status == 201
    assert call("topics", "POST", "/api/auth/register", login)[0] == 409
    assert call("topics", "POST", "/api/auth/login", login)[0] == 200
    assert call("topics", "POST", "/api/auth/login", login | {"password": "wrong horse"})[0] == 401
    access, refresh = made["data"]["accessToken"], made["data"]["refreshToken"]
    assert call("topics", "POST", "/api/auth/refresh", {"refreshToken": refresh})[0] == 200
    assert call("topics", "GET", "/api/auth/me", bearer=access)[0] == 200
    assert call("topics", "GET", "/api/auth/me")[0] == 401
    status, session = call("realtime", "POST", "/sessions", {"username": login["email"], "password": login["password"]})
    assert status == 200
    assert call("realtime", "POST", "/sessions/refresh", {"refresh_token": session["refresh_token"]})[0] == 200
    assert call("realtime", "GET", "/sessions", bearer=session["access_token"])[0] == 200
    assert call("realtime", "GET", "/sessions?user=x", bearer=session["access_token"])[0] == 403
    assert call("realtime", "DELETE", f"/sessions/{session['session_id']}", bearer=session["access_token"])[0] == 204
    assert call("topics", "POST", "/api/messages", {"content": "Hi"}, access)[0] == 201
    assert call("topics", "GET", "/api/messages?limit=1", bearer=access)[0] == 200


# --- messages ---


class Witness:
    """Validates each frame by its description, and records the messages that occurred."""

    def __init__(self, asyncapi, dialect):
        self.asyncapi, self.dialect, self.seen = asyncapi, dialect, set()

    def messages(self, side):
        prefix = f"{self.dialect}.{side}."
        messages = self.asyncapi["components"]["messages"]
        return {name.removeprefix(prefix): message["payload"] for name, message in messages.items() if name.startswith(prefix)}

    def fits(self, side, frame):
        """The message of a frame; one without a fixed type is the remaining one."""
        fitting, errors = [], []
        for name, payload in self.messages(side).items():
            try:
                validate(self.asyncapi, payload, frame)
                fitting.append(("const" in payload["properties"]["type"], name))
            except jsonschema.ValidationError as error:
                errors.append(f"{name}: {error.message}")
        assert fitting, f"{self.dialect} {side} {frame}:\n" + "\n".join(errors)
        return max(fitting)[1]

    def record(self, frame):
        self.seen.add(self.fits("server", frame))
        return frame

    def exchange(self, speaker, *answers, **frame):
        """Sends a described frame, and reads answers of these types, in any order."""
        self.seen.add("> " + self.fits("client", frame))
        speaker.say(**frame)
        self.expect(speaker, *answers)

    def expect_error(self, speaker, text):
        speaker.say(text)
        self.expect(speaker, "error" if self.dialect != "realtime" else "Error")

    def expect(self, speaker, *types):
        came = [self.record(speaker.next_json()) for _ in types]
        assert sorted(frame["type"] for frame in came) == sorted(types)

    def complete(self):
        described = {*self.messages("server"), *("> " + name for name in self.messages("client"))}
        assert self.seen == described


@pytest.fixture
def meet(server, asyncapi, speak):
    def opened(dialect, **options):
        witness, speaker = Witness(asyncapi, dialect), speak(server, dialect, **options)
        if speaker.greeting:
            witness.record(speaker.greeting)
        return witness, speaker

    return opened


def publish(server, *events):
    assert server.get("/api/v1/events", "POST", json.dumps(events)).status == 200


def test_the_messages_of_notify_are_as_described(server, meet):
    witness, speaker = meet("notify", query={"resume": ""})
    witness.expect(speaker, "resume")
    publish(server, {"to": {"user": "ann"}, "data": {"a": 1}}, EVERYONE | {"type": "t"})
    witness.expect(speaker, "notification", "t")
    witness.complete()


def test_the_messages_of_broadcast_are_as_described(asyncapi, launch, speak):
    """With test notifications, pings, and the end of the server."""
    server = launch(**all_dialects(broadcast={"notification_interval": "100ms", "ping_interval": "100ms"}))
    witness, speaker = Witness(asyncapi, "broadcast"), speak(server, "broadcast")
    witness.record(speaker.greeting)
    for kind in ("ping", "pong", "status_request"):
        witness.seen.add("> " + witness.fits("client", {"type": kind}))
        speaker.say(type=kind)
    speaker.say("{")
    publish(server, EVERYONE)
    wanted = {"test_notification", "ping", "pong", "status_response", "error", "notification"}
    while not wanted <= witness.seen:
        witness.record(speaker.next_json())
    server.signal()
    with pytest.raises(websockets.ConnectionClosed):
        while True:
            witness.record(speaker.next_json())
    witness.complete()
    server.wait()


def test_the_messages_of_topics_are_as_described(server, meet):
    witness, speaker = meet("topics", prove=False)
    witness.exchange(speaker, "error", type="subscribe", topic="chat.a")
    witness.exchange(speaker, "auth_error", type="auth", token="x")
    witness.exchange(speaker, "auth_success", type="auth", token=token("ann"))
    witness.exchange(speaker, "subscribed", type="subscribe", topic="chat.*")
    witness.exchange(speaker, "subscribed", "error", type="subscribe", topics=["notifications.user.ann", "notifications.user.bob"])
    witness.exchange(speaker, "message", type="message", topic="chat.a", data=[1], eventType="t", metadata={})
    publish(server, {"to": {"user": "ann"}, "data": None, "sender": "billing"}, {"to": {"channel": "chat.b"}, "data": 1})
    witness.expect(speaker, "message", "message")
    witness.exchange(speaker, "unsubscribed", type="unsubscribe", topic="chat.*")
    witness.exchange(speaker, "pong", type="ping")
    for bad in ("{", '{"type":"x"}', '{"type":"message","topic":"**","data":1}'):
        witness.expect_error(speaker, bad)
    witness.complete()


def test_the_messages_of_realtime_are_as_described(server, meet):
    witness, speaker = meet("realtime")
    witness.exchange(speaker, "Status", type="Subscribe", data={"topics": ["chat.c"]})
    witness.exchange(speaker, "Ack", "Broadcast", type="Broadcast", data={"topic": "chat.c", "payload": 1})
    witness.exchange(speaker, "Ack", "DirectMessage", type="DirectMessage", data={"target_user": "ann", "payload": 1})
    witness.exchange(speaker, "Error", type="DirectMessage", data={"target_user": "nobody", "payload": 1})
    publish(server, {"to": {"user": "ann"}, "data": 1})
    witness.expect(speaker, "DirectMessage")
    witness.exchange(speaker, "Status", type="Unsubscribe", data={"topics": ["chat.c"]})
    witness.exchange(speaker, "Pong", type="Ping", data={"timestamp": 7})
    witness.exchange(speaker, "Pong", type="Ping")
    witness.exchange(speaker, type="Pong")
    witness.expect_error(speaker, "{")
    witness.complete()


def test_the_messages_of_rooms_are_as_described(server, meet):
    witness, speaker = meet("rooms", user=12345)
    witness.exchange(speaker, "joined_room", "user_joined", type="join_room", room="task:1")
    witness.exchange(speaker, "message", type="send_message", room="task:1", data={"content": "Hi", "metadata": {"a": 1}})
    publish(server, {"to": {"channel": "task:1"}, "data": 1, "type": "t"}, EVERYONE, {"to": {"user": "12345"}, "data": 1, "type": "u"})
    witness.expect(speaker, "t", "notification.new", "u")
    other = Speaker(server, "rooms", "bob").subscribe("task:1")
    other.close()
    witness.expect(speaker, "user_joined", "user_left")
    witness.exchange(speaker, "left_room", type="leave_room", room="task:1")
    witness.exchange(speaker, "pong", type="ping")
    witness.expect_error(speaker, "{")
    witness.complete()
