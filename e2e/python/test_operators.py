"""Signs for operators: readiness during an outage of the broker, warnings, closed figures, failed logins, errors with their cause."""

import contextlib
import json
import os
import re
import signal
import subprocess

import pytest

import fanfare
from fanfare import ROOT, free_port, running, run, wait_until

# --- readiness ---


def ready(server):
    answer = server.get("/readyz")
    return answer.status, json.loads(answer.text)


def redis_is(server, state):
    return json.loads(server.get("/health").text)["redis"]["status"] == state


def test_a_node_stays_ready_for_the_grace(launch, real_redis, connect, publisher):
    broker = real_redis()
    tables = {"broker": {"kind": "redis", "url": broker.url}}
    patient, strict = launch(server={"broker_grace": "10m"}, **tables), launch(**tables)
    short = launch(server={"broker_grace": "2s"}, **tables)
    for node in (patient, strict, short):
        wait_until(lambda: ready(node)[0] == 200, what="a node that is ready")
        assert "degraded" not in ready(node)[1]
    broker.kill()
    wait_until(lambda: redis_is(patient, "disconnected"), what="the outage")
    assert patient.get("/health").status == 503, "the health says so"
    status, answer = ready(patient)
    assert (status, answer["ready"], answer["degraded"]) == (200, True, True)
    assert patient.get("/", "OPTIONS").status == 204
    wait_until(lambda: ready(strict)[0] == 503, what="a node without a grace")
    wait_until(lambda: ready(short)[0] == 503, what="the end of a grace")
    assert ready(patient)[0] == 200
    ann = connect(patient, "ann")  # clients of the node itself are served
    event = json.dumps({"to": {"user": "ann"}, "type": "t", "data": 1})
    assert json.loads(patient.get("/api/v1/events", "POST", event).text)["degraded"] is True
    assert ann.next_json()["payload"] == 1
    broker.start()
    for node in (patient, strict, short):
        wait_until(lambda: ready(node)[0] == 200 and "degraded" not in ready(node)[1], what="a node that is ready again")


def test_a_node_that_never_reached_its_broker_is_not_ready(launch):
    url = f"redis://127.0.0.1:{free_port()}"
    node = launch(broker={"kind": "redis", "url": url}, server={"broker_grace": "10m"})
    assert ready(node)[0] == 503


# --- warnings ---

FORWARDED = "limits.trusted_proxies is not set"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_an_unknown_proxy_is_warned_of_once(launch, header):
    server = launch()
    server.get("/nothing")
    assert FORWARDED not in server.log()
    for _ in range(3):
        server.get("/nothing", **{header: "192.0.2.1"})
    wait_until(lambda: FORWARDED in server.log(), what="the warning")
    assert server.log().count(FORWARDED) == 1
    trusting = launch(limits={"trusted_proxies": ["10.0.0.0/8"]})
    trusting.get("/nothing", **{header: "192.0.2.1"})
    assert FORWARDED not in trusting.log()


def test_a_relative_folder_in_production_is_warned_of(tmp_path):
    arguments = ("config", "check", "--profile", "production", "--set", "auth.allowed_origins=*", "--set")
    secret = {"JWT_SECRET_KEY": fanfare.SECRET}
    result = run(*arguments, "data_dir=data", cwd=tmp_path, **secret)
    assert result.returncode == 0 and 'data_dir: found "data"' in result.stderr
    result = run(*arguments, f"data_dir={tmp_path}", cwd=tmp_path, **secret)
    assert (result.returncode, result.stderr) == (0, "")


# --- figures and descriptions ---

FIGURES = ("/metrics", "/metrics/prometheus")
DESCRIPTIONS = ("/docs", "/openapi.json", "/asyncapi.json", "/docs/page.js")


def test_figures_and_descriptions_can_be_closed(launch):
    key = "a-key-for-services-0123456789"
    server = launch(api={"keys": [key], "metrics": "key", "docs": "off"})
    status = lambda path, **headers: server.get(path, **headers).status
    for path in FIGURES:
        assert status(path) == 401, path
        assert status(path, Authorization=f"Bearer {key}") == 200, path
    for path in DESCRIPTIONS:
        assert status(path) == status(path, Authorization=f"Bearer {key}") == 404, path
    for path in ("/livez", "/readyz", "/health"):
        assert status(path) == 200, path
    server.config["api"] |= {"metrics": "open", "docs": "key"}
    server.config_file.write_text(fanfare.toml(server.config))
    done = run("reload", "--config", str(server.config_file))
    assert "api.docs, api.metrics" in done.stdout, done.stdout + done.stderr
    for path in FIGURES:
        assert status(path) == 200, path
    for path in DESCRIPTIONS:
        assert (status(path), status(path, Authorization=f"Bearer {key}")) == (401, 200), path


# --- failed logins ---


def fail2ban():
    """The regular expression of docs/operations.md, with the address in place of <HOST>."""
    text = (ROOT / "docs" / "operations.md").read_text()
    return re.search(r"failregex = (.*)", text)[1].replace("<HOST>", r"(?P<host>\S+?)")


@pytest.mark.parametrize("form", ["json", "human"])
def test_each_failed_login_leaves_a_line(launch, form):
    server = launch(log={"format": form}, limits={"trusted_proxies": ["127.0.0.1"]}, auth={"login_attempts_per_minute": 3})
    login = json.dumps({"email": "mia@example.com", "password": "wrong horse battery"})
    statuses = [server.get("/api/auth/login", "POST", login, **{"X-Forwarded-For": "192.0.2.7"}).status for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    lines = [found["host"] for found in map(re.compile(fail2ban()).search, server.log().splitlines()) if found]
    assert lines == ["192.0.2.7"] * 3, "a login that is only delayed is none of an attacker"
    session = json.dumps({"username": "mia@example.com", "password": "wrong horse battery"})
    server.get("/sessions", "POST", session, **{"X-Forwarded-For": "192.0.2.8"})
    assert server.log().count("login refused") == 6
    assert "mia@" not in server.log() and "horse" not in server.log()


# --- the last use of a key ---


def test_keys_show_the_time_of_their_last_use(launch):
    server = launch()
    keys = lambda: {key["name"]: key for key in server.json_with(made["key"], "/api/v1/keys")["keys"]}
    server.json_with = lambda key, path: json.loads(server.get(path, Authorization=f"Bearer {key}").text)
    made = json.loads(server.get("/api/v1/keys", "POST", json.dumps({"name": "used", "scopes": ["admin"]})).text)
    other = json.loads(
        server.get("/api/v1/keys", "POST", json.dumps({"name": "unused", "scopes": ["read"]}), Authorization=f"Bearer {made['key']}").text
    )
    used_at = wait_until(lambda: keys()["used"]["last_used_at"], what="the last use")
    assert keys()["unused"]["last_used_at"] is None
    lines = run("key", "list", "--config", str(server.config_file)).stdout.splitlines()
    shown = {line.split("\t")[0]: line.split("\t")[5] for line in lines}
    assert shown == {made["id"]: used_at, other["id"]: "-"}


# --- errors have the place and the cause ---


def test_an_unreachable_database_is_reported(tmp_path):
    port = free_port()
    config = tmp_path / "fanfare.toml"
    config.write_text(f'storage.url = "postgres://ann:hunter2@127.0.0.1:{port}/fanfare"\n')
    done = run("user", "list", "--config", str(config), timeout=60)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}/fanfare: the storage is not available: no connection (Connection refused" in done.stderr
    assert "hunter2" not in done.stderr


# --- unfavourable circumstances ---


def test_a_unit_that_is_started_twice_is_refused(launch):
    server = launch()
    again = lambda *more: run("serve", "--config", str(server.config_file), *more)
    refused = again()
    assert refused.returncode == 1
    assert f'another server has data_dir "{server.config["data_dir"]}"' in refused.stderr
    assert server.get("/livez").status == 200
    # They have different folders, so the port is all that they share.
    refused = again("--set", f"data_dir={server.folder}/other")
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{server.port}, set by listener[0].bind" in refused.stderr
    assert "another program has this port" in refused.stderr
    # The system releases the folder of a process that cannot do so itself.
    server.signal(signal.SIGKILL)
    server.wait()
    server.start()


def test_nodes_of_one_machine_run_with_separate_folders(launch):
    one, other = launch(), launch()
    assert one.get("/livez").status == other.get("/livez").status == 200


def test_a_hundred_hangups_at_once_apply_the_last_configuration(launch, connect):
    """Signals during a reload are combined into one more reload, which reads the last state of the file."""
    server = launch()
    client = connect(server, "ann")
    for burst in range(1, 101):
        server.config["limits"] = {"burst": burst}
        server.config_file.write_text(fanfare.toml(server.config))
        server.signal(signal.SIGHUP)
    done = lambda: json.loads(server.get("/api/v1/reload?dry_run=true", "POST", "").text)
    wait_until(lambda: done().get("changed") == [], what="the last state of the file")
    assert client.socket.ping().wait(10)
    assert server.prometheus('fanfare_reloads_total') >= 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_and_an_unwritable_folder_are_reported(tmp_path, cleanup):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr}")
    cleanup.callback(subprocess.run, ["umount", "-l", str(disk)], check=False)
    with contextlib.suppress(OSError), open(disk / "ballast", "wb") as ballast:
        while True:
            ballast.write(b"x" * 4096)
            ballast.flush()
    config = tmp_path / "fanfare.toml"
    listener = f'[[listener]]\nbind = "127.0.0.1:{free_port()}"\ndialects = ["notify"]\n'
    config.write_text(f'data_dir = "{disk}/data"\nresp.bind = ""\n{listener}')
    done = run("serve", "--config", str(config))
    assert done.returncode == 2 and "No space left on device" in done.stderr and str(disk) in done.stderr
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = run("serve", "--config", str(config))
    assert done.returncode == 2 and "Read-only file system" in done.stderr
    # With a secret of the operator's, such a server starts: accounts wait for the database.
    config.write_text(f'data_dir = "{disk}/data"\nresp.bind = ""\nauth.jwt_secret = "{fanfare.SECRET}"\n{listener}')
    with running(data_dir=f"{disk}/data", env={"TMPDIR": str(disk)}) as server:
        assert server.get("/livez").status == 200
        wait_until(lambda: "the database cannot be used yet" in server.log(), what="a word about the database")
        assert "read-only" in server.log()
