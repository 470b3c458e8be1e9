"""The command line: its output and its exit codes (0 done, 1 a runtime error, 2 bad arguments or configuration)."""

import base64
import json
import signal
import subprocess
import time
import uuid

import pytest

import fanfare
from conftest import Client, message
from fanfare import SECRET, binary, free_port, run, wait_until


@pytest.fixture
def here(tmp_path):
    """Runs commands in an empty folder, with a configuration file of the given text."""

    def command(*arguments, config=None, **options):
        if config is not None:
            (tmp_path / "fanfare.toml").write_text(config)
        return run(*arguments, cwd=tmp_path, **options)

    return command


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


WITH_SECRET = f'[auth]\njwt_secret = "{SECRET}"\n'


# --- help ---


def test_version_is_printed(here):
    done = here("--version")
    assert done.returncode == 0
    assert done.stdout.split()[0] == "fanfare"


@pytest.mark.parametrize("command", [(), ("serve",), ("token",), ("publish",), ("listen",), ("config",)])
def test_every_command_has_help(here, command):
    done = here(*command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


WRONG = [
    ("nothing",), ("--nothing",), ("serve", "--nothing"), ("serve", "--profile", "nothing"), ("token",),
    ("token", "--user", "ann", "--ttl", "soon"), ("token", "--user", "ann", "--claim", "x"),
    ("publish", "{}"), ("publish", "--user", "ann", "--everyone", "{}"), ("publish", "--user", "ann"),
    ("publish", "--user", "ann", "not json"), ("config", "nothing"), ("serve", "--config", "/nowhere/fanfare.toml"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_arguments_exit_with_2(here, arguments):
    done = here(*arguments, config=WITH_SECRET)
    assert done.returncode == 2, done
    assert done.stderr and done.stdout == "" and "panicked" not in done.stderr


# --- token ---


def test_token_prints_a_token_and_nothing_else(here, server, connect):
    done = run("token", "--user", "ann", "--config", str(server.config_file), cwd=server.folder)
    assert done.returncode == 0
    assert len(done.stdout.split()) == 1
    Client(f"ws://127.0.0.1:{server.port}/ws?token={done.stdout.strip()}").close()


def test_token_sets_claims_and_lifetime(here):
    done = here(
        "token", "--user", "ann", "--ttl", "2h", "--claim", 'roles=["admin"]', "--claim", "level=7",
        "--claim", 'name="Ann"', config=WITH_SECRET,
    )
    got = claims(done.stdout.strip())
    assert got["sub"] == "ann"
    assert abs(got["exp"] - time.time() - 7200) < 60
    assert (got["roles"], got["level"], got["name"]) == (["admin"], 7, "Ann")


def test_a_claim_of_broken_json_exits_with_2(here):
    done = here("token", "--user", "ann", "--claim", "x={nope", config=WITH_SECRET)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--claim x: {nope is not JSON: key must be a string at line 1 column 2" in done.stderr
    words = here("token", "--user", "ann", "--claim", "x=plain words", config=WITH_SECRET)
    assert claims(words.stdout.strip())["x"] == "plain words"


def test_the_default_lifetime_is_an_hour(here):
    got = claims(here("token", "--user", "ann", config=WITH_SECRET).stdout.strip())
    assert abs(got["exp"] - time.time() - 3600) < 60


# --- config ---


def test_config_check_accepts_a_valid_file(here):
    assert here("config", "check", config=WITH_SECRET).returncode == 0


def test_config_check_accepts_the_defaults_without_a_file(here):
    assert here("config", "check").returncode == 0


# An error, and its line.
BAD_FILES = {
    "no TOML": ("[auth\n", 1),
    "an unknown table": ("[nothing]\n", 1),
    "an unknown key": ("\n[notify]\nmax_conections = 3\n", 3),
    "a wrong type": ('[notify]\nmax_connections = "many"\n', 2),
    "a bad duration": ('[notify]\nping_interval = "soon"\n', 2),
    "a bad address": ('[[listener]]\nbind = "here"\n', 2),
    "an unknown dialect": ('[[listener]]\nbind = "127.0.0.1:8081"\ndialects = ["morse"]\n', 3),
    "an unknown broker": ('[broker]\nkind = "pigeon"\n', 2),
    "a negative limit": ("[notify]\nmax_connections = -1\n", 2),
}


@pytest.mark.parametrize("text, line", BAD_FILES.values(), ids=BAD_FILES)
def test_config_check_names_the_line(here, text, line):
    done = here("config", "check", config=text)
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert f"fanfare.toml:{line}" in said or f"line {line}" in said, said


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://:hunter2@ss#x@h", "found a fragment"),
        ("redis://h?password=hunter2", "found a query (what follows a `?`), expected none but `protocol`"),
        ("redis://h?hunter2", "found a query (what follows a `?`), expected none but `protocol`"),
        ("redis:///hunter2", "found no host"),
        ("redis://h/hunter2", "found a path that is no number"),
    ],
)
def test_config_check_reads_the_broker_s_url(here, url, problem):
    for command in [("config", "check"), ("serve",)]:
        done = here(*command, config=f'{WITH_SECRET}[broker]\nurl = "{url}"\n')
        assert done.returncode == 2
        assert f":4: broker.url: the broker's URL is not usable: {problem}" in done.stderr
        assert "hunter2" not in done.stdout + done.stderr


def test_config_check_finds_every_error(here):
    done = here("config", "check", config='[notify]\nmax_conections = 3\n[broker]\nkind = "pigeon"\n')
    said = done.stdout + done.stderr
    assert "max_conections" in said and "max_connections" in said  # the suggested name
    assert "pigeon" in said


def test_serve_refuses_what_check_refuses(here):
    assert here("serve", config="[nothing]\n").returncode == 2


def test_the_default_file_is_valid(here):
    default = here("config", "default")
    assert default.returncode == 0
    assert here("config", "check", config=default.stdout).returncode == 0


def test_config_show_prints_no_secrets(here):
    text = WITH_SECRET + '[resp]\npassword = "door-password"\n[api]\nkeys = ["the-api-key-of-a-backend"]\n'
    text += '[broker]\nkind = "memory"\nurl = "redis://:broker-password@127.0.0.1:6379/0"\n'
    done = here("config", "show", config=text)
    assert done.returncode == 0
    assert "max_message_size" in done.stdout
    for secret in (SECRET, "door-password", "the-api-key-of-a-backend", "broker-password"):
        assert secret not in done.stdout + done.stderr


def test_a_variable_overrides_the_file(here):
    with_file = here("token", "--user", "ann", config=WITH_SECRET)
    other = "another-secret-of-a-fitting-length-for-hs256"
    with_variable = here("token", "--user", "ann", JWT_SECRET_KEY=other)
    assert with_file.returncode == with_variable.returncode == 0

    server = fanfare.Fanfare(env={"JWT_SECRET_KEY": other})
    try:
        server.start()
        Client(f"ws://127.0.0.1:{server.port}/ws?token={with_variable.stdout.strip()}").close()
        with pytest.raises(Exception, match="401"):
            Client(f"ws://127.0.0.1:{server.port}/ws?token={with_file.stdout.strip()}")
        server.stop()
    finally:
        server.kill()


# --- publish and listen ---


def url(server):
    return f"http://127.0.0.1:{server.port}"


def test_publish_reaches_a_user(server, connect):
    client = connect(server, "ann")
    payload = '{"b":1,"a":12345678901234567890}'
    arguments = ("publish", "--url", url(server), "--user", "ann", "--type", "alert", payload)
    done = run(*arguments, cwd=server.folder)
    assert done.returncode == 0, done.stderr
    frame = client.next()
    assert f'"payload":{payload}' in frame
    assert json.loads(frame)["type"] == "alert"


def test_publish_reaches_everyone(server, connect):
    clients = [connect(server, user) for user in ("ann", "bob")]
    done = run("publish", "--url", url(server), "--everyone", '{"n":1}', cwd=server.folder)
    assert done.returncode == 0, done.stderr
    assert [client.next_json()["type"] for client in clients] == ["notification"] * 2


def test_publish_delivers_an_id_once(server, connect):
    """A repeat is answered, and not delivered."""
    client = connect(server, "ann")
    arguments = ("publish", "--url", url(server), "--user", "ann", "--id", 'order "42"', "{}")
    answers = [json.loads(run(*arguments, cwd=server.folder).stdout) for _ in range(2)]
    assert answers[0]["ids"] == answers[1]["ids"] == [str(uuid.uuid5(uuid.UUID(int=0), 'order "42"'))]
    assert [answer.get("duplicate") for answer in answers] == [None, True]
    assert client.next_json()["payload"] == {}
    client.nothing()
    done = run("publish", "--url", url(server), "--user", "ann", "--id", "", "{}", cwd=server.folder)
    assert (done.returncode, "1 to 128 bytes" in done.stderr) == (1, True)


def test_publish_accepts_a_key(launch, connect):
    server = launch(api={"keys": ["key-for-the-backend-1234567890"]}, resp={"password": "open sesame"})
    client = connect(server, "ann")
    arguments = ("publish", "--url", url(server), "--user", "ann", "{}")
    with_key = run(*arguments, "--key", "key-for-the-backend-1234567890", cwd=server.folder.parent)
    wrong = run(*arguments, "--key", "guess", cwd=server.folder.parent)
    assert (with_key.returncode, wrong.returncode) == (0, 1)
    assert client.next_json()["type"] == "notification"
    client.nothing()


def test_publish_without_a_server_exits_with_1(here):
    done = here("publish", "--url", f"http://127.0.0.1:{free_port()}", "--user", "ann", "{}")
    assert done.returncode == 1
    assert done.stderr and "panicked" not in done.stderr


class Listener:
    """A running `fanfare listen`. Each line of its standard output is an event."""

    def __init__(self, folder, *arguments, **env):
        self.process = subprocess.Popen(
            [binary(), "listen", *arguments], cwd=folder, text=True, env=fanfare.environment(**env),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def ready(self):
        """Waits until all subscriptions are confirmed."""
        line = self.process.stderr.readline()
        assert line.startswith("listening"), line + self.process.stderr.read()
        return self

    def next(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def listen(cleanup):
    """listen(server, "--user", "ann") starts a listener with the server's own configuration, and waits until it is ready."""

    def started(server, *arguments, **env):
        listener = Listener(server.folder, *arguments, **env)
        cleanup.callback(listener.end)
        return listener.ready()

    return started


def serving(launch, *dialects, **tables):
    """A server with one listener for these dialects."""
    port = free_port()
    return launch(port=port, listener=[{"bind": f"127.0.0.1:{port}", "dialects": list(dialects)}], **tables)


def said(event):
    """The published data, whatever the dialect of the event."""
    data = event.get("payload", event.get("data"))
    return data["payload"] if event["type"] in ("Broadcast", "DirectMessage") else data


def publish(server, *arguments):
    done = run("publish", *arguments, cwd=server.folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["recipients"]


def test_listen_prints_a_line_for_each_event(server, publisher, listen):
    listening = listen(server, "--url", url(server), "--user", "ann")
    backend = publisher(server.resp_port)
    for n in range(3):
        assert backend.publish("user_noti:ann", message(n)) == 1
    assert [listening.next()["payload"] for _ in range(3)] == [0, 1, 2]
    listening.process.send_signal(signal.SIGINT)
    assert listening.process.wait(10) == 0


def test_listen_prints_each_event_in_one_line(server, publisher, listen):
    listening = listen(server, "--user", "ann", "--count", "2")
    backend = publisher(server.resp_port)
    backend.publish("user_noti:ann", '{"type": "t", "payload": {\n  "a": [\r\n 1,\n 2 ]\n}}')
    backend.publish("user_noti:ann", message("a\nb"))
    assert [listening.next()["payload"] for _ in range(2)] == [{"a": [1, 2]}, "a\nb"]
    assert listening.process.wait(10) == 0


ALL = ["notify", "broadcast", "topics", "realtime", "rooms"]


@pytest.mark.parametrize("dialect", ALL)
def test_listen_receives_a_users_events_in_every_dialect(launch, listen, dialect):
    server = serving(launch, dialect)
    listening = listen(server, "--user", "ann")
    assert publish(server, "--user", "bob", "0") == 0
    assert publish(server, "--user", "ann", "1") == 1
    assert publish(server, "--everyone", "2") == 1
    assert [said(listening.next()) for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
@pytest.mark.parametrize("wanted", ["chat.general", "chat.*", "**"])
def test_publish_to_a_channel_reaches_its_subscribers(launch, listen, dialect, wanted):
    server = serving(launch, dialect)
    listening = listen(server, "--channel", wanted)
    assert publish(server, "--channel", "chat.general", '{"n":1}') == 1
    assert said(listening.next()) == {"n": 1}


def test_publish_to_a_room_reaches_its_members(launch, listen):
    server = serving(launch, "rooms")
    listening = listen(server, "--user", "ann", "--channel", "project:1")
    assert publish(server, "--channel", "project:1", "1") == 1
    events = [listening.next() for _ in range(2)]  # the first event announces the user itself
    assert [event["type"] for event in events] == ["user_joined", "message"]
    assert (events[1]["room"], events[1]["data"]) == ("project:1", 1)


@pytest.mark.parametrize("dialect", ["topics", "realtime"])
def test_listen_receives_several_channels_and_a_users_events(launch, listen, dialect):
    server = serving(launch, dialect)
    listening = listen(server, "--user", "ann", "--channel", "a.b", "c.d", "--channel", "e.*")
    for n, to in enumerate([("--user", "ann"), ("--channel", "a.b"), ("--channel", "c.d"), ("--channel", "e.f")]):
        assert publish(server, *to, str(n)) == 1
    assert publish(server, "--channel", "a.c", "4") == 0
    assert [said(listening.next()) for _ in range(4)] == [0, 1, 2, 3]


def test_listen_finds_a_listener_that_serves_the_request(launch, listen):
    first, second = free_port(), free_port()
    listeners = [
        {"bind": f"127.0.0.1:{first}", "dialects": ["notify"]},
        {"bind": f"127.0.0.1:{second}", "dialects": ["topics"], "prefix": "/p"},
    ]
    server = launch(port=first, listener=listeners)
    listening = listen(server, "--channel", "a.b")
    assert publish(server, "--channel", "a.b", "1") == 1
    assert listening.next()["topic"] == "a.b"


@pytest.mark.parametrize("at", ["http://127.0.0.1:{}", "ws://127.0.0.1:{}/", "ws://127.0.0.1:{}/ws"])
def test_listen_reaches_a_server_by_url_without_its_configuration(launch, listen, tmp_path, cleanup, at):
    server = serving(launch, "topics")
    arguments = ("--url", at.format(server.port), "--dialect", "topics", "--channel", "a.b")
    listening = Listener(tmp_path, *arguments, FANFARE_TOKEN=fanfare.token("ann"))
    cleanup.callback(listening.end)
    listening.ready()
    assert publish(server, "--channel", "a.b", "1") == 1
    assert said(listening.next()) == 1
    assert list(tmp_path.iterdir()) == []


def test_public_channels_need_no_token(launch, tmp_path, cleanup):
    server = serving(launch, "realtime")
    listening = Listener(tmp_path, "--url", url(server), "--dialect", "realtime", "--channel", "a.b")
    cleanup.callback(listening.end)
    listening.ready()
    assert publish(server, "--channel", "a.b", "1") == 1
    assert said(listening.next()) == 1
    assert list(tmp_path.iterdir()) == []


# The requested events and dialect, and the expected text besides "403".
FORBIDDEN = {
    "another user's own, in topics": ("topics", "notifications.user.bob", "notifications.user.bob"),
    "another user's own, in realtime": ("realtime", "notifications.user.bob", "not allowed"),
    "a channel with a rule, in topics": ("topics", "secret.plans", "secret.plans"),
    "a channel with a rule, in realtime": ("realtime", "secret.plans", "not allowed"),
    "a room with a rule, in rooms": ("rooms", "project:secret", "project:secret"),
}


@pytest.mark.parametrize("dialect, channel, words", FORBIDDEN.values(), ids=FORBIDDEN)
def test_listen_to_a_forbidden_channel_exits_with_1(launch, dialect, channel, words):
    rules = [{"pattern": "secret.**", "subscribe": "nobody"}, {"pattern": "project:secret", "join": "role:staff"}]
    server = serving(launch, dialect, channel=rules)
    done = run("listen", "--user", "ann", "--channel", channel, cwd=server.folder)
    assert done.returncode == 1
    assert "the server refused: " in done.stderr and words in done.stderr, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("dialect", ALL)
def test_a_bad_token_exits_with_1_and_is_not_shown(launch, dialect):
    server = serving(launch, dialect)
    bad = fanfare.token("ann", secret="another-secret-that-is-long-enough-for-hs256")
    done = run("listen", "--token", bad, cwd=server.folder)
    assert done.returncode == 1
    assert "401" in done.stderr and bad not in done.stderr and bad.split(".")[2] not in done.stderr
    assert done.stdout == "" and "listening" not in done.stderr


LISTENING_WRONGLY = {
    "to nothing": [],
    "to no channel": ["--channel", "a..b"],
    "to a channel where there are none": ["--user", "ann", "--channel", "a.b"],
    "in no dialect": ["--user", "ann", "--dialect", "morse"],
    "in a dialect that is not served": ["--user", "ann", "--dialect", "topics"],
    "nowhere": ["--user", "ann", "--url", "nonsense"],
    "anonymous": ["--url", "http://127.0.0.1:3000", "--dialect", "topics", "--channel", "a.b"],
}


@pytest.mark.parametrize("arguments", LISTENING_WRONGLY.values(), ids=LISTENING_WRONGLY)
def test_wrong_arguments_of_listen_exit_with_2(here, arguments):
    config = '[[listener]]\nbind = "127.0.0.1:8081"\ndialects = ["notify"]\n'
    done = here("listen", *arguments, config=config)
    assert done.returncode == 2, done
    assert done.stderr and done.stdout == "" and "panicked" not in done.stderr


def test_listen_without_a_server_exits_with_1(here):
    done = here("listen", "--url", f"http://127.0.0.1:{free_port()}", "--user", "ann", config=WITH_SECRET)
    assert done.returncode == 1
    assert done.stderr and "panicked" not in done.stderr
