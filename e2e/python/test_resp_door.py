"""The embedded door for Redis clients, byte for byte and with redis-cli."""

import os
import pty
import socket
import subprocess

import pytest
import redis

from conftest import message
from dialects import all_dialects
from fanfare import program, run, wait_until
from wire import Resp, RespError

PASSWORD = "open sesame"
DOCUMENTED = """PUBLISH user_noti:user123 '{"type":"notification","payload":{"title":"Test","message":"Hello"}}'"""
REDIS_CLI = program("redis-tools", "redis-cli", "valkey-cli")


@pytest.fixture
def guarded(launch):
    return launch(resp={"password": PASSWORD})


def refused(reply, code):
    return isinstance(reply, RespError) and str(reply).split(" ")[0] == code


# --- go-redis ---


def test_go_redis_publishes_with_resp3(guarded, connect):
    client = connect(guarded, "user123")
    with Resp(guarded.resp_port) as go:
        hello = go.call("HELLO", "3", "AUTH", "default", PASSWORD)
        assert hello[b"proto"] == 3
        assert {b"server", b"version", b"id", b"mode", b"role", b"modules"} <= hello.keys()
        identify_like_go_redis(go)
        assert go.call("PUBLISH", "user_noti:user123", message({"n": 1})) == 1
    assert client.next_json()["payload"] == {"n": 1}


def test_go_redis_publishes_after_it_falls_back_to_auth(guarded):
    with Resp(guarded.resp_port) as go:
        assert isinstance(go.call("HELLO", "9"), RespError) # the reply by which it detects an old server
        assert go.call("AUTH", PASSWORD) == "OK"
        identify_like_go_redis(go)
        assert go.call("PING") == "PONG"
        assert go.call("PUBLISH", "user_noti:nobody", message({})) == 0


def identify_like_go_redis(go):
    """Two commands in one write, as it sends after every connect; it tolerates an error, but not silence."""
    go.raw(
        Resp.encode("CLIENT", "SETINFO", "LIB-NAME", "go-redis(,go1.23.4)")
        + Resp.encode("CLIENT", "SETINFO", "LIB-VER", "9.7.0")
    )
    assert [go.read(), go.read()] == ["OK", "OK"]


# --- before and after AUTH ---


def test_without_the_password_nothing_works(guarded):
    closed_commands = [
        ("PING",), ("PUBLISH", "user_noti:ann", "{}"), ("INFO",), ("COMMAND",), ("SELECT", "0"),
        ("CLIENT", "SETNAME", "x"), ("PUBSUB", "CHANNELS"), ("GET", "x"),
    ]
    with Resp(guarded.resp_port) as peer:
        for words in closed_commands:
            assert refused(peer.call(*words), "NOAUTH"), words
        assert refused(peer.call("AUTH", "guess"), "WRONGPASS")
        assert refused(peer.call("HELLO", "3", "AUTH", "default", "guess"), "WRONGPASS")
        assert refused(peer.call("PING"), "NOAUTH")
        assert peer.call("AUTH", "default", PASSWORD) == "OK"
        assert peer.call("PING") == "PONG"


@pytest.mark.parametrize("user, secret, opens", [
    (None, PASSWORD, True), ("default", PASSWORD, True), ("anyone", PASSWORD, False), ("Default", PASSWORD, False),
    ("", PASSWORD, False), ("anyone", "a-key", True), ("default", "a-key", True), (None, "a-key", True), ("anyone", "guess", False),
])
@pytest.mark.parametrize("command", ["AUTH", "HELLO"])
def test_the_password_goes_with_the_default_user(launch, command, user, secret, opens):
    """An API key works with any user name."""
    server = launch(resp={"password": PASSWORD}, api={"keys": ["a-key"]})
    if command == "HELLO":
        words = ["HELLO", "3", "AUTH", "default" if user is None else user, secret]
    else:
        words = ["AUTH"] + ([] if user is None else [user]) + [secret]
    with Resp(server.resp_port) as peer:
        answer = peer.call(*words)
        assert refused(answer, "WRONGPASS") == (not opens), answer
        assert (peer.call("PING") == "PONG") == opens
    if secret == PASSWORD and not opens:
        wait_until(lambda: "wrong user name on the Redis-protocol door" in server.log(), what="the reason in the log")


def test_redis_py_reads_the_numbers_of_receivers(launch, speak):
    """Users, channels, everyone and patterns: the counts for a backend that checks for receivers before it publishes."""
    server = launch(**all_dialects())
    door = redis.Redis(port=server.resp_port, protocol=3)
    names = ["user_noti:ann", "notifications.user.ann", "user:ann", "chat.general", "fanfare:channel:chat.general",
             "notifications", "fanfare:everyone", "fanfare:events", "chat.*", "nobody", "a..b", "fanfare:x"]
    counts = lambda: [count for _, count in door.pubsub_numsub(*names)]  # noqa: E731
    assert counts() == [0] * len(names)
    assert (door.pubsub_channels(), door.pubsub_numpat()) == ([], 0)
    clients = [
        speak(server, "topics", "ann").subscribe("chat.general").subscribe("chat.*"),
        speak(server, "topics", "bob").subscribe("notifications").subscribe("chat.*").subscribe("**"),
        speak(server, "notify", "ann"),
    ]
    # Events for everyone: notify shows them, and topics to the subscribers of `notifications`.
    assert counts() == [2, 2, 2, 1, 1, 1, 2, 3, 0, 0, 0, 0]
    assert door.pubsub_numpat() == 2
    assert sorted(door.pubsub_channels()) == [
        b"chat.general", b"fanfare:events", b"fanfare:everyone", b"notifications", b"user_noti:ann", b"user_noti:bob"]
    assert door.pubsub_channels("chat.*") == [b"chat.general"]
    assert door.pubsub_channels("chat.?eneral") == [b"chat.general"]
    assert door.pubsub_channels("fanfare:channel:*[a-n]eral") == [b"fanfare:channel:chat.general"]
    assert sorted(door.pubsub_channels("user:*")) == [b"user:ann", b"user:bob"]
    assert sorted(door.pubsub_channels("[^cfu]*")) == [
        b"notifications", b"notifications.user.ann", b"notifications.user.bob"]
    for client in clients:
        client.close()
    wait_until(lambda: counts() == [0] * len(names) and door.pubsub_numpat() == 0, what="no connection")
    assert door.pubsub_channels() == []


def test_reset_forgets_the_login(guarded):
    with Resp(guarded.resp_port) as peer:
        assert peer.call("AUTH", PASSWORD) == "OK"
        assert peer.call("RESET") == "RESET"
        assert refused(peer.call("PING"), "NOAUTH")


def test_an_api_key_opens_the_door(launch):
    server = launch(api={"keys": ["key-for-the-backend-1234567890"]})
    with Resp(server.resp_port) as peer:
        assert refused(peer.call("PING"), "NOAUTH")
        assert peer.call("AUTH", "key-for-the-backend-1234567890") == "OK"
        assert peer.call("PING") == "PONG"


def test_without_a_password_only_loopback_may_be_bound(cleanup, tmp_path):
    config = tmp_path / "fanfare.toml"
    config.write_text('[resp]\nbind = "0.0.0.0:6399"\n[auth]\njwt_secret = "%s"\n' % ("x" * 48))
    assert run("config", "check", "--config", str(config), cwd=tmp_path).returncode == 2


# --- the supported commands ---


def test_the_supported_commands_reply_like_redis(server):
    with Resp(server.resp_port) as peer:
        assert peer.call("ping") == "PONG"
        assert peer.call("PING", "text") == b"text"
        assert peer.call("SELECT", "0") == "OK"
        assert peer.call("AUTH", "anything") == "OK"
        assert peer.call("CLIENT", "SETNAME", "backend") == "OK"
        assert peer.call("CLIENT", "GETNAME") == b"backend"
        assert isinstance(peer.call("CLIENT", "ID"), int)
        assert isinstance(peer.call("COMMAND"), list)
        assert isinstance(peer.call("COMMAND", "COUNT"), int)
        assert b"redis_version:" in peer.call("INFO")
        assert peer.call("PUBSUB", "CHANNELS") == []
        assert peer.call("PUBSUB", "NUMPAT") == 0
        assert peer.call("QUIT") == "OK"
        assert peer.closed()


@pytest.mark.parametrize("words", [("GET", "x"), ("SUBSCRIBE", "x"), ("EVAL", "x", "0"), ("FLUSHALL",), ("",)])
def test_other_commands_are_errors(server, words):
    with Resp(server.resp_port) as peer:
        assert refused(peer.call(*words), "ERR")
        assert peer.call("PING") == "PONG"


@pytest.mark.parametrize("words", [("PUBLISH",), ("PUBLISH", "a"), ("PUBLISH", "a", "b", "c"), ("SELECT",), ("AUTH",)])
def test_a_wrong_number_of_arguments_is_an_error(server, words):
    with Resp(server.resp_port) as peer:
        assert refused(peer.call(*words), "ERR")
        assert peer.call("PING") == "PONG"


def test_hello_switches_the_protocol(server):
    with Resp(server.resp_port) as peer:
        assert isinstance(peer.call("HELLO"), list)  # RESP2 has no map
        assert isinstance(peer.call("HELLO", "3"), dict)
        assert isinstance(peer.call("HELLO", "2"), list)


def test_inline_commands_are_accepted(server, connect):
    client = connect(server, "ann")
    with Resp(server.resp_port) as peer:
        peer.raw(b"PING\r\n")
        assert peer.read() == "PONG"
        peer.raw(b"\r\n  \r\nping\n")  # blank lines are skipped, and a bare newline ends a line
        assert peer.read() == "PONG"
        peer.raw(b"""PUBLISH user_noti:ann '{"type":"t","payload":"in quotes"}'\r\n""")
        assert peer.read() == 1
        peer.raw(rb"""PUBLISH user_noti:ann "{\"type\":\"t\",\"payload\":\"\x41\"}" """ + b"\r\n")
        assert peer.read() == 1
    assert [client.next_json()["payload"] for _ in range(2)] == ["in quotes", "A"]


def test_a_command_in_single_bytes_is_read(server):
    with Resp(server.resp_port) as peer:
        for byte in Resp.encode("PING", "slowly"):
            peer.raw(bytes([byte]))
        assert peer.read() == b"slowly"


def test_a_thousand_commands_in_one_write_get_a_thousand_replies(server):
    with Resp(server.resp_port) as peer:
        peer.raw(Resp.encode("PUBLISH", "user_noti:nobody", message({})) * 1000)
        assert [peer.read() for _ in range(1000)] == [0] * 1000


# --- redis-cli ---


def redis_cli(server, *arguments, input=None):
    done = subprocess.run(
        [REDIS_CLI, "-p", str(server.resp_port), *arguments], input=input, capture_output=True, text=True, timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_redis_cli_publishes_by_a_command(guarded, connect):
    client = connect(guarded, "user123")
    command = ("PUBLISH", "user_noti:user123", message({"n": 1}))
    assert redis_cli(guarded, "-a", PASSWORD, "--no-auth-warning", *command) == "1"
    assert redis_cli(guarded, "-a", PASSWORD, "--no-auth-warning", "-3", *command) in ("1", "(integer) 1")
    assert [client.next_json()["payload"] for _ in range(2)] == [{"n": 1}] * 2


def test_redis_cli_publishes_by_lines_of_its_input(guarded, connect):
    client = connect(guarded, "user123")
    printed = redis_cli(guarded, "-a", PASSWORD, "--no-auth-warning", input=DOCUMENTED + "\nPING\n")
    assert printed.split() == ["1", "PONG"]
    assert client.next_json()["payload"] == {"title": "Test", "message": "Hello"}


def test_redis_cli_publishes_at_a_terminal(guarded, connect):
    """In its interactive mode, it requests the commands' documentation before it shows a prompt."""
    client = connect(guarded, "user123")
    ours, its = pty.openpty()
    cli = subprocess.Popen(
        [REDIS_CLI, "-p", str(guarded.resp_port), "-a", PASSWORD], stdin=its, stdout=its, stderr=its,
        env=os.environ | {"TERM": "dumb", "HOME": str(guarded.folder)},
    )
    try:
        os.write(ours, (DOCUMENTED + "\n").encode())
        assert client.next_json(timeout=20)["payload"] == {"title": "Test", "message": "Hello"}
        os.write(ours, b"QUIT\n")
        assert cli.wait(10) == 0
    finally:
        cli.kill()
        cli.wait()
        os.close(ours)
        os.close(its)


def test_publishers_over_the_limit_leave_one_line(launch):
    server = launch(resp={"max_connections": 1})
    inside = socket.create_connection(("127.0.0.1", server.resp_port))
    inside.sendall(b"PING\r\n")
    assert inside.recv(100) == b"+PONG\r\n"
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", server.resp_port)) as outside:
            assert outside.recv(100).startswith(b"-ERR max number of clients")
    inside.close()
    assert 0 < server.log().count("too many publishers") < 10
