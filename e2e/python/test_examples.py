"""The configurations in examples/ pass `fanfare config check`, start, and do what they say."""

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

import fanfare
from conftest import Client
from fanfare import ROOT, SECRET, binary, environment, free_port, program, token, wait_until
from identity_provider import Key, Provider
from test_tls import FILES

EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/fanfare.toml"))
KEY = "replace-this-key-of-your-backend"
# Tests of their own start these, with the servers that they need.
WITH_SERVERS = {"three-nodes-redis", "identity-provider"}


class Example:
    """A copy of an example with its files in one folder and free ports."""

    def __init__(self, source, folder):
        self.folder, self.ports = folder / source.name, {}
        shutil.copytree(source, self.folder)
        shutil.copy(FILES / "cert.txt", self.folder / "cert.pem")
        shutil.copy(FILES / "key.txt", self.folder / "key.pem")
        (self.folder / "jwt_secret").write_text(SECRET)
        for file in self.folder.iterdir():
            if file.suffix in (".toml", ".conf", ".cfg"):
                text = re.sub("/etc/fanfare|/var/lib/fanfare", str(self.folder), file.read_text())
                file.write_text(re.sub(r"(127\.0\.0\.1|0\.0\.0\.0):(\d+)", self.bound, text))
        self.config = self.folder / "fanfare.toml"
        profile = re.search(r"^# +fanfare serve --profile (\w+)", self.config.read_text(), re.M)
        self.arguments = ["--config", str(self.config), *(["--profile", profile[1]] if profile else [])]

    def bound(self, address):
        port = self.ports.setdefault(int(address[2]), free_port())
        return f"127.0.0.1:{port}"

    def run(self, *command):
        return fanfare.run(*command, cwd=self.folder)

    def start(self, cleanup):
        log = self.folder / "log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [binary(), "serve", *self.arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.folder, env=environment(),
            )
        self.stop = lambda: (process.terminate(), process.wait(fanfare.STOP_TIMEOUT))
        cleanup.callback(self.stop)
        binds = len(re.findall(r"^\[\[listener\]\]", self.config.read_text(), re.M))

        def listens():
            assert process.poll() is None, log.read_text()
            return log.read_text().count("listening") >= binds

        wait_until(listens, what="a server that listens")


@pytest.fixture
def example(tmp_path):
    return lambda name: Example(ROOT / "examples" / name, tmp_path)


def post(url, body, key=KEY):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_each_folder_is_an_example_and_is_listed():
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    listed = set(re.findall(r"^\| \[([\w-]+)\]\(\1/fanfare\.toml\)", (ROOT / "examples/README.md").read_text(), re.M))
    assert {path.name for path in EXAMPLES} == folders == listed


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda path: path.name)
def test_an_example_passes_the_check_without_a_warning(source, tmp_path):
    example = Example(source, tmp_path)
    checked = example.run("config", "check", *example.arguments)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr
    assert checked.stdout.startswith("ok\n")


@pytest.mark.parametrize("name", [path.name for path in EXAMPLES if path.name not in WITH_SERVERS])
def test_an_example_starts(example, cleanup, name):
    example(name).start(cleanup)


def test_one_node_delivers_the_event_of_its_comment(example, cleanup):
    node = example("one-node")
    node.start(cleanup)
    alice = Client(f"ws://127.0.0.1:{node.ports[8081]}/ws?token={token('alice')}")
    cleanup.callback(alice.close)
    event = {"to": {"user": "alice"}, "type": "greeting", "data": {"text": "Hello"}}
    assert post(f"http://127.0.0.1:{node.ports[8081]}/api/v1/events", event)["recipients"] == 1
    assert alice.next_json()["payload"] == {"text": "Hello"}


def test_an_event_reaches_the_clients_of_three_nodes(tmp_path, cleanup, real_redis, real_postgres, publisher):
    server, database = real_redis(), real_postgres()
    backend = publisher(server.port)
    backend.execute_command("ACL", "SETUSER", "fanfare", "on", ">change-this-password", "~*", "&*", "+@all")
    clients = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        node = Example(ROOT / "examples/three-nodes-redis", folder)
        text = node.config.read_text().replace("redis.internal:6379", f"127.0.0.1:{server.port}")
        node.config.write_text(re.sub('"postgres://[^"]*"', f'"{database.url}"', text))
        node.start(cleanup)
        clients.append(Client(f"ws://127.0.0.1:{node.ports[8081]}/ws?token={token('alice')}"))
        cleanup.callback(clients[-1].close)

    event = {"to": {"user": "alice"}, "type": "greeting", "data": "by the last node"}
    assert post(f"http://127.0.0.1:{node.ports[8081]}/api/v1/events", event)["recipients"] == 3
    backend.publish("user_noti:alice", json.dumps({"type": "greeting", "payload": "on Redis"}))
    for client in clients:
        assert [client.next_json()["payload"] for _ in range(2)] == ["by the last node", "on Redis"]


def test_tokens_of_the_identity_provider_are_accepted(example, cleanup):
    provider = Provider(Key("first"))
    cleanup.callback(provider.stop)
    provider.start()
    node = example("identity-provider")
    node.config.write_text(re.sub('^jwks_url = .*', f'jwks_url = "{provider.url}"', node.config.read_text(), flags=re.M))
    node.start(cleanup)
    port = node.ports[8081]
    claims = {"iss": "https://id.example.com/realms/main", "aud": "fanfare", "tenant": "a"}
    alice = Client(f"ws://127.0.0.1:{port}/ws?token={provider.keys[0].token('alice', **claims)}")
    cleanup.callback(alice.close)
    assert post(f"http://127.0.0.1:{port}/api/v1/events", {"to": {"user": "alice"}, "data": 1})["recipients"] == 1

    def read(channel, **changed):
        """The status of a stream's answer."""
        headers = {"Authorization": f"Bearer {provider.keys[0].token('alice', **claims | changed)}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/stream?channel={channel}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code

    assert read("tenant.a.news") == 200
    assert read("tenant.a.news", tenant="b") == 403
    assert read("reports.may") == 403
    assert read("tenant.a.news", aud="another") == 401


def test_haproxy_accepts_its_configuration(example):
    checked = subprocess.run(
        [program("haproxy", "haproxy"), "-c", "-f", str(example("three-nodes-redis").folder / "haproxy.cfg")],
        capture_output=True, text=True, timeout=20,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_authorizer_decides_joins(example, cleanup):
    rooms = example("rooms-with-authorizer")
    service = subprocess.Popen(
        [sys.executable, str(rooms.folder / "authorizer.py"), str(rooms.ports[9000])],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    cleanup.callback(lambda: (service.kill(), service.wait()))

    def verdict(user, room):
        explained = rooms.run("explain", *rooms.arguments, "--user", user, "--channel", room, "--ask", "--json")
        decisions = json.loads(explained.stdout)["decisions"]
        return next(each["verdict"] for each in decisions if each["action"] == "join")

    wait_until(lambda: verdict("alice", "project:7") == "allowed", what="an authorizer that answers")
    assert verdict("mallory", "project:7") == "refused"
    assert verdict("mallory", "channel:lobby") == "allowed"
