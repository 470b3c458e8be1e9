"""The documents' environment variables and their effects; and the ways to authenticate in realtime."""

import json

import pytest
import websockets

from conftest import message
from dialects import NAMES, Speaker, all_dialects, ask, closing, raw
from fanfare import Fanfare, free_port, run, token, wait_until
from wire import frames

OTHER_SECRET = "another-secret-that-is-long-enough-for-hs256"


@pytest.fixture
def launched_with(launch):
    """launched_with(NAME="value", ...) is a server with all dialects in that environment."""
    return lambda tables=None, **env: launch(**all_dialects(**(tables or {})), env=env)


def test_the_variable_for_connections_per_user_sets_the_limit(launched_with, speak):
    server = launched_with(MAX_CONNECTIONS_PER_USER="1")
    speak(server, "rooms")
    for _ in range(2):
        with raw(server, "rooms", token("ann")) as peer:
            assert closing(frames(peer)) == (4429, "Too Many Connections")
    speak(server, "rooms", "bob")
    for name in ("notify", "broadcast", "topics", "realtime"):
        speak(server, name), speak(server, name)


@pytest.mark.parametrize("dialect, env", [
    ("rooms", {"WS_HEARTBEAT_INTERVAL": "1"}),
    ("topics", {"WEBSOCKET_PING_INTERVAL": "300"}),
])
def test_the_variables_for_pings_set_the_interval_of_one_dialect(launched_with, dialect, env):
    server = launched_with(**env)
    with raw(server, dialect, token("ann")) as peer, raw(server, "realtime") as other:
        assert 9 in [opcode for opcode, _ in first(frames(peer), 2 if dialect == "rooms" else 1)]
        other.settimeout(0.1)
        with pytest.raises(TimeoutError):
            while True:
                assert other.recv(1) != b"\x89", "another dialect is pinged too"
    info = json.loads(ask(server, "realtime", "/info").text)["server"]["config"]
    assert info["heartbeat_interval_secs"] == 30


def first(iterator, count):
    return [next(iterator) for _ in range(count)]


def test_the_variable_for_the_ping_timeout_closes_silent_connections(launched_with):
    server = launched_with(WEBSOCKET_PING_INTERVAL="200", WEBSOCKET_PING_TIMEOUT="500")
    with raw(server, "topics") as peer:
        assert closing(frames(peer)) == (1008, "ping timeout")


def test_the_variable_for_connections_per_address_sets_the_limit_of_topics(launched_with, speak):
    server = launched_with(WEBSOCKET_MAX_CONNECTIONS_PER_IP="1")
    speak(server, "topics")
    with raw(server, "topics") as peer:
        assert closing(frames(peer)) == (1008, "too many connections from this address")
    speak(server, "rooms"), speak(server, "rooms")


def test_the_variable_for_the_message_size_sets_the_limit(launched_with, speak):
    client = speak(launched_with(WEBSOCKET_MAX_MESSAGE_SIZE="1000"), "topics")
    client.alive()
    client.say("x" * 1000)
    assert client.next_json()["code"] == 400
    client.say("x" * 1001)
    assert client.closed()[0] == 1009


def test_websockets_can_be_disabled(tmp_path):
    """Topics is off; all other dialects stay. The test reads the configuration, because the default ports may be in use."""
    for value, served in (("true", True), ("false", False)):
        shown = run("config", "show", cwd=tmp_path, WEBSOCKET_ENABLED=value).stdout
        assert ('"topics"' in shown) == served
        assert all(f'"{name}"' in shown for name in NAMES if name != "topics")
    alone = run("serve", "--profile", "topics", cwd=tmp_path, WEBSOCKET_ENABLED="false")
    assert alone.returncode == 2 and "WEBSOCKET_ENABLED" in alone.stderr


@pytest.mark.parametrize("arguments", [("--profile", "topics"), ("--dialect", "topics")])
def test_the_variables_for_host_and_port_set_the_listener(launch, speak, arguments):
    port = free_port()
    env = {"WEBSOCKET_PORT": str(port), "WEBSOCKET_HOST": "127.0.0.1"}
    server = launch(port=port, listener=None, env=env, arguments=arguments)
    assert f"127.0.0.1:{port}" in server.log()
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/ws") as socket:
        socket.send('{"type":"ping"}')
        assert json.loads(socket.recv(10))["type"] == "pong"


def test_the_variable_for_the_secret_verifies_tokens(cleanup, speak):
    server = Fanfare(**all_dialects(auth=None), env={"JWT_SECRET_KEY": OTHER_SECRET})
    cleanup.callback(server.kill)
    server.start()
    with pytest.raises(websockets.InvalidStatus):
        speak(server, "notify")
    speak(server, "notify", query={"token": token("ann", secret=OTHER_SECRET)})
    assert OTHER_SECRET not in server.log()


@pytest.mark.parametrize("names", [["REDIS_URL"], ["PUBSUB_REDIS_URL"], ["PUBSUB_REDIS_URL", "REDIS_URL"]])
def test_each_variable_for_redis_selects_the_broker(launch, speak, real_redis, publisher, names):
    """Each variable selects a broker; of the two URLs, PUBSUB_REDIS_URL takes precedence."""
    broker = real_redis()
    env = {names[0]: broker.url} | dict.fromkeys(names[1:], "redis://127.0.0.1:1/0")
    if names[0] == "PUBSUB_REDIS_URL":
        env["PUBSUB_ADAPTER"] = "redis"
    server = launch(**all_dialects(resp=None), env=env)
    status = lambda: json.loads(ask(server, "notify", "/health").text)["redis"]["status"]
    wait_until(lambda: status() == "connected", what="a connection to Redis")
    client = speak(server, "notify")
    wait_until(lambda: publisher(broker.port).publish("user_noti:ann", message(1)) >= 1)
    assert client.next_json()["payload"] == 1


def test_the_memory_adapter_needs_no_redis(launched_with):
    server = launched_with(PUBSUB_ADAPTER="memory", PUBSUB_REDIS_URL="redis://127.0.0.1:1/0")
    assert json.loads(ask(server, "notify", "/health").text)["redis"] == {"status": "disabled"}


def test_variables_override_the_file_and_fanfares_names_override_the_documents(launched_with, speak):
    """The environment takes precedence over the file, and Fanfare's own names over the documents'."""
    env = {"MAX_CONNECTIONS_PER_USER": "1", "FANFARE_ROOMS_MAX_CONNECTIONS_PER_USER": "2"}
    server = launched_with({"rooms": {"max_connections_per_user": 3}}, **env)
    speak(server, "rooms"), speak(server, "rooms")
    with raw(server, "rooms", token("ann")) as peer:
        assert closing(frames(peer)) == (4429, "Too Many Connections")


@pytest.mark.parametrize("name, value", [
    ("MAX_CONNECTIONS_PER_USER", "many"), ("MAX_CONNECTIONS_PER_USER", "-1"),
    ("WS_HEARTBEAT_INTERVAL", "0"), ("WS_HEARTBEAT_INTERVAL", "soon"),
    ("WEBSOCKET_PING_INTERVAL", "x"), ("WEBSOCKET_PING_TIMEOUT", "1"), ("WEBSOCKET_PORT", "70000"),
    ("WEBSOCKET_ENABLED", "perhaps"), ("WEBSOCKET_MAX_MESSAGE_SIZE", "1MB?"),
    ("PUBSUB_ADAPTER", "kafka"), ("PUBSUB_REDIS_URL", "http://example"),
])
def test_invalid_values_are_named(cleanup, name, value):
    server = Fanfare(**all_dialects(), env={name: value})
    cleanup.callback(server.kill)
    assert server.spawn().wait() == 2
    assert name in server.log() and "panicked" not in server.log()


# --- authentication in realtime ---


def refused(server, **options):
    with pytest.raises(websockets.InvalidStatus) as refusal:
        Speaker(server, "realtime", **options)
    body = json.loads(refusal.value.response.body)
    assert refusal.value.response.headers["Content-Type"].split(";")[0] == "application/json"
    return refusal.value.response.status_code, body["error"]["code"]


def ways(token):
    """A token may be in the query, in a header, or in the subprotocol."""
    yield {"query": {"token": token}}
    yield {"additional_headers": {"Authorization": f"Bearer {token}"}}
    yield {"subprotocols": [f"access_token.{token}"]}


def test_realtime_accepts_a_token_in_three_places(launch, speak):
    server, ann = launch(**all_dialects()), token("ann")
    for way in ways(ann):
        client = speak(server, "realtime", None, **way)
        client.subscribe("user:ann")  # which authenticates it
        assert client.socket.subprotocol == (f"access_token.{ann}" if "subprotocols" in way else None)
        assert client.greeting["data"].keys() == {"status", "details"} and client.greeting["data"]["status"] == "connected"
        details = client.greeting["data"]["details"]
        assert details.keys() == {"connection_id", "server_time", "protocol_version"} and details["protocol_version"] == "1.0"
        assert type(details["server_time"]) is int and details["server_time"] < 1e11  # seconds
    for bad, code in (("x", "INVALID_TOKEN"), (token("ann", ttl=-5), "TOKEN_EXPIRED")):
        for way in ways(bad):
            assert refused(server, user=None, **way) == (401, code)


def test_realtime_may_require_tokens_and_roles(launch, speak):
    server = launch(**all_dialects(realtime={"require_auth": True}))
    assert refused(server, user=None) == (401, "INVALID_TOKEN")
    speak(server, "realtime")
    server = launch(**all_dialects(realtime={"required_roles": ["staff", "x"]}))
    assert refused(server, user=None) == (401, "INVALID_TOKEN")
    for roles in ([], ["staff"], ["admin"], "staff"):
        assert refused(server, claims={"roles": roles}) == (403, "FORBIDDEN")
    speak(server, "realtime", claims={"roles": ["x", "staff"]})


def test_public_channels_are_a_setting(launch, speak):
    server = launch(**all_dialects(realtime={"public": ["news.**", "messages"]}))
    client = speak(server, "realtime", None)
    client.subscribe("news.a"), client.subscribe("messages")
    for channel in ("chat.general", "news", "channel:1", "user:ann", "messages.x"):
        assert client.complaint(type="Subscribe", data={"topics": [channel]}) == (403, "not allowed"), channel
    speak(server, "realtime").subscribe("chat.general")


def test_a_direct_message_reaches_every_connection_of_its_user(launch, speak):
    server = launch(**all_dialects())
    ann, notify = speak(server, "realtime"), speak(server, "notify", "bob")
    bobs = [speak(server, "realtime", "bob") for _ in range(2)]
    answer = ann.ask(type="DirectMessage", data={"target_user": "bob", "payload": {"hi": 1}})
    assert answer["type"] == "Ack" and answer["data"].keys() == {"message_id"}
    for bob in bobs:
        got = bob.next_json()
        assert (got["type"], got["data"]) == ("DirectMessage", {"from_user": "ann", "payload": {"hi": 1}})
    assert notify.next_json()["payload"] == {"hi": 1}
    ann.alive()
    lost = {"target_user": "carl", "payload": 1}
    assert ann.complaint(type="DirectMessage", data=lost) == (404, "that user is not connected")


def test_notify_and_realtime_share_one_listener(launch, speak):
    """Notify and realtime on one port: the handshake or the first frame selects the dialect."""
    arguments = all_dialects()
    arguments["listener"] = [{"bind": f"127.0.0.1:{arguments['port']}", "dialects": ["notify", "realtime"]}]
    server, ann = launch(**arguments), token("ann")
    assert server.get("/ws").status == 401
    speak(server, "realtime", None, query={"dialect": "realtime"}).alive()
    speak(server, "realtime", None, additional_headers={"Authorization": f"Bearer {ann}"}).alive()
    speak(server, "realtime", None, subprotocols=[f"access_token.{ann}"]).alive()

    client = speak(server, "notify", query={})
    for ignored in ("", "hello", "{", '{"type":"ping"}', '{"type":"Subscribe"}', '{"type":"Status","data":{}}', "[]" * 1000):
        client.say(ignored)
    client.say(type="Subscribe", data={"topics": ["a"]}, pad="x" * 10_000)  # longer than notify permits
    answers = [client.next_json(), client.next_json()]
    assert [answer["data"]["status"] for answer in answers] == ["connected", "subscribed"]
    client.say("nonsense")
    assert client.next_json()["type"] == "Error"
