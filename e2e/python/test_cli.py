"""The command line: what it prints, and its exit codes (0 done, 1 failed, 2 asked wrongly)."""

import base64
import json
import signal
import subprocess
import time

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


def test_version(here):
    done = here("--version")
    assert done.returncode == 0
    assert done.stdout.split()[0] == "fanfare"


@pytest.mark.parametrize("command", [(), ("serve",), ("token",), ("publish",), ("listen",), ("config",)])
def test_help(here, command):
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
def test_wrong_arguments_are_2(here, arguments):
    done = here(*arguments, config=WITH_SECRET)
    assert done.returncode == 2, done
    assert done.stderr and done.stdout == "" and "panicked" not in done.stderr


# --- token ---


def test_token_prints_a_token_and_nothing_else(here, server, connect):
    done = run("token", "--user", "ann", "--config", str(server.config_file), cwd=server.folder)
    assert done.returncode == 0
    assert len(done.stdout.split()) == 1
    Client(f"ws://127.0.0.1:{server.port}/ws?token={done.stdout.strip()}").close()


def test_token_claims(here):
    done = here(
        "token", "--user", "ann", "--ttl", "2h", "--claim", 'roles=["admin"]', "--claim", "level=7",
        "--claim", 'name="Ann"', config=WITH_SECRET,
    )
    got = claims(done.stdout.strip())
    assert got["sub"] == "ann"
    assert abs(got["exp"] - time.time() - 7200) < 60
    assert (got["roles"], got["level"], got["name"]) == (["admin"], 7, "Ann")


def test_the_default_lifetime_is_an_hour(here):
    got = claims(here("token", "--user", "ann", config=WITH_SECRET).stdout.strip())
    assert abs(got["exp"] - time.time() - 3600) < 60


# --- config ---


def test_config_check_of_a_good_file(here):
    assert here("config", "check", config=WITH_SECRET).returncode == 0


def test_config_check_of_no_file(here):
    assert here("config", "check").returncode == 0


# What is wrong, and the line of it.
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


def test_config_check_finds_every_error(here):
    done = here("config", "check", config='[notify]\nmax_conections = 3\n[broker]\nkind = "pigeon"\n')
    said = done.stdout + done.stderr
    assert "max_conections" in said and "max_connections" in said  # with the name that was meant
    assert "pigeon" in said


def test_serve_refuses_what_check_refuses(here):
    assert here("serve", config="[nothing]\n").returncode == 2


def test_the_default_file_is_a_good_one(here):
    default = here("config", "default")
    assert default.returncode == 0
    assert here("config", "check", config=default.stdout).returncode == 0


def test_config_show_keeps_secrets_to_itself(here):
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


def test_publish_to_a_user(server, connect):
    client = connect(server, "ann")
    payload = '{"b":1,"a":12345678901234567890}'
    arguments = ("publish", "--url", url(server), "--user", "ann", "--type", "alert", payload)
    done = run(*arguments, cwd=server.folder)
    assert done.returncode == 0, done.stderr
    frame = client.next()
    assert f'"payload":{payload}' in frame
    assert json.loads(frame)["type"] == "alert"


def test_publish_to_everyone(server, connect):
    clients = [connect(server, user) for user in ("ann", "bob")]
    done = run("publish", "--url", url(server), "--everyone", '{"n":1}', cwd=server.folder)
    assert done.returncode == 0, done.stderr
    assert [client.next_json()["type"] for client in clients] == ["notification"] * 2


def test_publish_with_a_key(launch, connect):
    server = launch(api={"keys": ["key-for-the-backend-1234567890"]}, resp={"password": "open sesame"})
    client = connect(server, "ann")
    arguments = ("publish", "--url", url(server), "--user", "ann", "{}")
    with_key = run(*arguments, "--key", "key-for-the-backend-1234567890", cwd=server.folder.parent)
    wrong = run(*arguments, "--key", "guess", cwd=server.folder.parent)
    assert (with_key.returncode, wrong.returncode) == (0, 1)
    assert client.next_json()["type"] == "notification"
    client.nothing()


def test_publish_to_no_server_is_1(here):
    done = here("publish", "--url", f"http://127.0.0.1:{free_port()}", "--user", "ann", "{}")
    assert done.returncode == 1
    assert done.stderr and "panicked" not in done.stderr


def test_listen_prints_a_line_for_each_event(server, publisher):
    listening = subprocess.Popen(
        [binary(), "listen", "--url", url(server), "--user", "ann"], cwd=server.folder, text=True,
        env=fanfare.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        backend = publisher(server.resp_port)
        wait_until(lambda: backend.publish("user_noti:ann", message(0)) == 1, what="a listener")
        for n in (1, 2):
            backend.publish("user_noti:ann", message(n))
        payloads = []
        while 2 not in payloads:
            event = json.loads(listening.stdout.readline())
            payloads.append(event.get("payload", event.get("data")))
        assert payloads[-3:] == [0, 1, 2]
        listening.send_signal(signal.SIGINT)
        assert listening.wait(10) in (0, -signal.SIGINT, 130)
    finally:
        listening.kill()
        listening.wait()
        listening.stdout.close()
        listening.stderr.close()


def test_listen_to_no_server_is_1(here):
    done = here("listen", "--url", f"http://127.0.0.1:{free_port()}", "--user", "ann", config=WITH_SECRET)
    assert done.returncode == 1
    assert done.stderr and "panicked" not in done.stderr
