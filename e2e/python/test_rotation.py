"""Secrets are rotated on two nodes while clients connect and leave, and no client is refused."""

import contextlib
import json
import threading

import pytest
import redis

import fanfare
from conftest import Client, message
from fanfare import run, toml, token, wait_until

OLD = "the-old-secret-that-is-long-enough-for-hs256"
NEW = "the-new-secret-that-is-long-enough-for-hs256"


class Node:
    """A node with its secrets in files."""

    def __init__(self, launch, folder, **tables):
        folder.mkdir()
        self.signing, self.accepted, self.keys = folder / "signing", folder / "accepted", folder / "keys"
        self.signing.write_text(OLD + "\n")
        self.accepted.write_text(NEW + "\n")
        self.keys.write_text("key-of-the-operator-1\nkey-of-the-operator-2\n")
        auth = {"jwt_secret": None, "jwt_secret_file": str(self.signing), "login_attempts_per_minute": 0}
        tables["api"] = {"keys_file": str(self.keys)}
        self.server = launch(auth={name: value for name, value in auth.items() if value} | {"jwt_secret": ""}, **tables)

    def accept(self):
        """Adds the file of secrets that only verify."""
        self.server.config["auth"]["accepted_jwt_secrets_file"] = str(self.accepted)
        self.server.config_file.write_text(toml(self.server.config))

    def reload(self):
        done = run("reload", "--config", str(self.server.config_file))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def issue(self):
        """A token that this node has signed."""
        answer = self.server.get("/api/auth/login", "POST", json.dumps(ACCOUNT))
        return json.loads(answer.text)["data"]["accessToken"]

    def admits(self, credential):
        try:
            Client(f"ws://127.0.0.1:{self.server.port}/ws?token={credential}").close()
            return True
        except Exception:  # whatever the reason, a client was not served
            return False


ACCOUNT = {"email": "mia@example.com", "password": "correct horse battery"}


class Load:
    """Clients that connect to both nodes in turn, each with a token of the issuer's."""

    def __init__(self, nodes):
        self.nodes, self.secret = nodes, OLD
        self.served, self.refused, self.over = 0, [], False
        self.threads = [threading.Thread(target=self.run, args=(node,)) for node in nodes]

    def run(self, node):
        while not self.over:
            secret = self.secret
            if node.admits(token("ann", secret=secret)):
                self.served += 1
            else:
                self.refused.append((node.server.port, secret))

    def go_on(self):
        """A few more clients before and after the next step."""
        before = self.served
        wait_until(lambda: self.served >= before + 20 or self.refused, what="more clients")
        assert not self.refused

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join(30)


@pytest.fixture
def nodes(launch, real_redis, tmp_path):
    broker = {"kind": "redis", "url": real_redis().url}
    return [Node(launch, tmp_path / name, broker=broker) for name in ("one", "two")]


def test_a_secret_is_rotated_on_two_nodes_and_no_client_is_refused(nodes, connect):
    one, two = nodes
    for node in nodes:
        answer = node.server.get("/api/auth/register", "POST", json.dumps(ACCOUNT))
        assert answer.status == 201, answer.text
    live = Client(f"ws://127.0.0.1:{one.server.port}/ws?token={token('live', secret=OLD)}")
    with Load(nodes) as load:
        load.go_on()
        for node in nodes:  # the new secret is accepted everywhere before any node signs with it
            node.accept()
            assert "auth.accepted_jwt_secrets_file" in node.reload()
            load.go_on()
        load.secret = NEW
        for node in nodes:
            node.signing.write_text(NEW + "\n")
            node.accepted.write_text(OLD + "\n")
            logged = node.reload()
            assert "auth.accepted_jwt_secrets_file, auth.jwt_secret_file" in logged and NEW not in logged
            load.go_on()
            for other in nodes:  # in between, one node signs with the new secret and one with the old
                assert other.admits(one.issue()) and other.admits(two.issue())
        issued = one.issue()
        for node in nodes:
            node.server.config["auth"].pop("accepted_jwt_secrets_file")
            node.server.config_file.write_text(toml(node.server.config))
            node.reload()
            load.go_on()
    assert not load.refused
    for node in nodes:
        assert node.admits(issued) and not node.admits(token("ann", secret=OLD))
    with contextlib.closing(live):
        event = json.dumps({"to": {"user": "live"}, "type": "t", "data": 1})
        answer = two.server.get("/api/v1/events", "POST", event, Authorization="Bearer key-of-the-operator-2")
        assert json.loads(answer.text)["recipients"] == 1 and live.next_json()["payload"] == 1, "who was in stayed in"


def test_a_file_that_vanishes_changes_nothing(launch, tmp_path):
    node = Node(launch, tmp_path / "one")
    node.signing.rename(node.signing.with_suffix(".away"))
    node.keys.write_text("another-key-of-the-operator\n")
    line = node.server.config_file.read_text().splitlines().index(f'jwt_secret_file = "{node.signing}"') + 1
    done = run("reload", "--url", f"http://127.0.0.1:{node.server.port}", "--key", "key-of-the-operator-1")
    assert done.returncode == 2
    assert f'{node.server.config_file}:{line}: auth.jwt_secret_file: found "{node.signing}", which cannot be read' in done.stderr
    assert node.admits(token("ann", secret=OLD))
    status = lambda key: node.server.get("/api/v1/channels", Authorization=f"Bearer {key}").status
    assert (status("key-of-the-operator-1"), status("another-key-of-the-operator")) == (200, 401)
    node.signing.with_suffix(".away").rename(node.signing)
    assert run("reload", "--url", f"http://127.0.0.1:{node.server.port}", "--key", "key-of-the-operator-1").returncode == 0
    assert (status("key-of-the-operator-1"), status("another-key-of-the-operator")) == (401, 200)


def test_a_file_that_is_too_long_changes_nothing(launch, tmp_path):
    node = Node(launch, tmp_path / "one")
    node.signing.write_text("x" * (1 << 20) + "x")
    done = run("reload", "--url", f"http://127.0.0.1:{node.server.port}", "--key", "key-of-the-operator-1")
    assert done.returncode == 2 and "cannot be read: it has more than 1 MiB" in done.stderr
    assert node.admits(token("ann", secret=OLD))
    keys = run("config", "check", "--set", "auth.public_key_file=/dev/zero")
    assert keys.returncode == 2 and "more than 1 MiB" in keys.stderr


def test_the_other_secrets_are_read_from_files(launch, real_redis, tmp_path, publisher):
    """The broker's URL with its password, the database's, and the password of the door."""
    broker, storage, password = tmp_path / "broker", tmp_path / "storage", tmp_path / "password"
    server = real_redis(password="hunter2")
    broker.write_text(server.url + "\n")
    storage.write_text(f"sqlite://{tmp_path}/elsewhere.db\n")
    first = launch(broker={"url_file": str(broker)}, storage={"url_file": str(storage)}, resp=None)
    wait_until(lambda: json.loads(first.get("/health").text)["redis"]["status"] == "connected", what="the broker")
    wait_until((tmp_path / "elsewhere.db").exists, what="the database")
    password.write_text("hunter3\n")
    second = launch(resp={"bind": f"127.0.0.1:{fanfare.free_port()}", "password_file": str(password)})
    port = int(second.config["resp"]["bind"].split(":")[1])
    with pytest.raises(redis.AuthenticationError):
        publisher(port).publish("user_noti:ann", message(1))
    assert publisher(port, password="hunter3").publish("user_noti:ann", message(1)) == 0
    assert "hunter" not in first.log() + second.log()
