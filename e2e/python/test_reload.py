"""The counters of reloads, the secrets that a reload generates, and the keys that `fanfare reload` uses."""

import json
import signal
import pathlib
import time

from fanfare import SECRET, run, toml
from test_stream import CONFIG, begun, stream  # noqa: F401, a fixture among them
from test_signals import READ_AGAIN, hang_up, secure, tries  # noqa: F401, a fixture among them


def test_reloads_are_counted(server):
    outcomes = lambda: [server.prometheus(f'fanfare_reloads_total.outcome="{outcome}".') for outcome in ("applied", "refused")]
    succeeded = lambda: server.prometheus("fanfare_last_reload_successful") == 1
    assert outcomes() == [0, 0] and server.prometheus("fanfare_last_reload_timestamp_seconds") == 0 and succeeded()
    before = time.time()
    assert READ_AGAIN in hang_up(server, limits={"burst": 7})
    assert outcomes() == [1, 0] and server.prometheus("fanfare_last_reload_timestamp_seconds") >= int(before)
    assert "nothing is changed" in hang_up(server, limits={"burst": 0})
    server.get("/api/v1/reload?dry_run=true", "POST", "")
    assert outcomes() == [1, 1] and not succeeded()
    problem = lambda: [own["current"] for own in server.json("/api/v1/problems")["problems"] if own["name"] == "reload_refused"]
    assert problem() == [True]
    assert READ_AGAIN in hang_up(server, limits={"burst": 7})
    assert succeeded() and problem() == []


def test_the_end_of_a_certificate_is_measured(secure):
    ends = lambda: secure.prometheus(f'fanfare_certificate_end_timestamp_seconds.listener="localhost:{secure.tls_port}".')
    assert ends() == 4_948_844_785


def test_a_reload_creates_no_secret(server):
    made = pathlib.Path(server.config["data_dir"]) / "jwt-secret"
    logged = hang_up(server, auth={"jwt_secret": ""})
    assert "auth.jwt_secret" in logged and "never at a reload" in logged and "nothing is changed" in logged
    assert not made.exists() and tries(server, "ann", SECRET)


def test_a_file_of_a_key_that_needs_a_restart_is_shown_as_it_is_in_force(launch, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("sqlite://one.db")
    second.write_text("sqlite://two.db")
    server = launch(storage={"url_file": str(first)})
    shown = lambda: {own["key"]: own["value"] for own in server.json("/api/v1/configuration")["nodes"][0]["settings"]}
    before = shown()
    assert str(first) in json.dumps(before)
    logged = hang_up(server, storage={"url_file": str(second)})
    assert "storage.url_file needs a restart" in logged
    assert shown() == before


def test_fanfare_reload_finds_a_key_that_the_server_knows(launch):
    old, new = "an-old-api-key-of-32-characters!", "a-new-api-key-of-32-characters!!"
    server = launch(api={"keys": [old]})
    server.config["api"]["keys"] = [new, old]
    server.config_file.write_text(toml(server.config))
    done = run("reload", "--config", str(server.config_file))
    assert done.returncode == 0 and "api.keys" in done.stdout, done.stderr
    server.config["api"]["keys"] = ["a-third-key-that-no-server-knows"]
    server.config_file.write_text(toml(server.config))
    refused = run("reload", "--config", str(server.config_file))
    assert refused.returncode == 1 and "401" in refused.stderr
    for word in ("--key", "FANFARE_API_KEY", "scope admin"):
        assert word in refused.stderr, refused.stderr


def test_a_reload_without_a_key_ends_its_streams(launch, stream):
    keys = ["the-first-key-of-the-file", "the-second-key-of-the-file"]
    server = launch(**CONFIG | {"api": {"keys": keys}})
    first, second = (stream(server, "closed.x", headers={"Authorization": f"Bearer {key}"}) for key in keys)
    begun(first), begun(second)
    server.config["api"] = {"keys": keys[1:]}
    server.config_file.write_text(toml(server.config))
    server.signal(signal.SIGHUP)
    assert first.rest() == [("stream.end", {"reason": "session_terminated"}, None)]
    answer = server.get("/api/v1/events", "POST", json.dumps({"to": {"channel": "closed.x"}, "data": 1}), Authorization=f"Bearer {keys[1]}")
    assert answer.status == 200, answer.text
    assert second.data() == 1
    assert stream(server, "closed.x", headers={"Authorization": f"Bearer {keys[0]}"}).status == 401
