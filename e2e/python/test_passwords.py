"""Logging out, changing a password and resetting one, as a page does it: over HTTP and with a one-time token."""

import sqlite3

import pytest

from conftest import Client
from dialects import all_dialects, port_of
from fanfare import run, token, wait_until
from test_sessions import PASSWORD, Door, claims, coded, door, door_with, refused  # noqa: F401, two are fixtures

NEW = "staple of another horse"
DONE = {"success": True, "data": {}}
KEY = "an-api-key-of-a-test-long-enough"


def log_in(door, password=PASSWORD, email="ann@example.com"):
    return door.call("POST", "/api/auth/login", {"email": email, "password": password})


def test_register_and_login_return_the_session(door):
    for data in (door.register(), door.good("login", email="ann@example.com", password=PASSWORD)):
        assert data["sessionId"] == claims(data["token"])["sid"]


@pytest.mark.parametrize("request_", [("POST", "/api/auth/logout", 200, DONE), ("DELETE", "/sessions/current", 204, None)])
def test_logout_ends_the_session(door, cleanup, request_):
    method, path, status, body = request_
    mine, other = door.register(), door.good("login", email="ann@example.com", password=PASSWORD)
    client = Client(f"ws://127.0.0.1:{door.server.port}/ws?token={mine['token']}")
    cleanup.callback(client.close)
    assert door.call(method, path, bearer=mine["token"]) == (status, body)
    assert client.closed() == (1008, "session terminated")
    assert door.call("GET", "/api/auth/me", bearer=mine["token"])[0] == 401
    assert door.post("/api/auth/refresh", {"refreshToken": mine["refreshToken"]})[0] == 401
    assert door.call("GET", "/api/auth/me", bearer=other["token"])[0] == 200, "another session goes on"
    assert door.call(method, path, bearer=mine["token"])[0] == 401, "once"
    assert door.call(method, path)[0] == 401
    own = token("42", sid=None)
    refusal = refused("there is no such session") if method == "POST" else coded("NOT_FOUND", "there is no such session")
    assert door.call(method, path, bearer=own) == (404, refusal), "a token without a session"


def test_changing_a_password_ends_the_other_sessions(launch, speak):
    server = launch(**all_dialects())
    door = Door(server)
    mine, other = door.register(), door.good("login", email="ann@example.com", password=PASSWORD)
    stays, goes = (speak(server, "notify", user=None, query={"token": each["token"]}) for each in (mine, other))
    body = {"currentPassword": PASSWORD, "newPassword": NEW}
    assert door.post("/api/auth/password", body) == (401, refused("an access token is required"))
    assert door.post("/api/auth/password", body | {"currentPassword": "wrong horse"}, bearer=mine["token"]) == (
        403, refused("the current password is wrong"))
    assert door.post("/api/auth/password", body | {"newPassword": "short"}, bearer=mine["token"]) == (
        400, refused("newPassword: shorter than 8 bytes", "newPassword", "shorter than 8 bytes"))
    assert log_in(door)[0] == 200, "nothing has changed"
    assert door.post("/api/auth/password", body, bearer=mine["token"]) == (200, DONE)
    assert goes.closed() == (1008, "session terminated")
    assert door.call("GET", "/api/auth/me", bearer=other["token"])[0] == 401
    assert door.call("GET", "/api/auth/me", bearer=mine["token"])[0] == 200, "the session that asked goes on"
    assert door.post("/api/auth/refresh", {"refreshToken": mine["refreshToken"]})[0] == 200
    assert (log_in(door)[0], log_in(door, NEW)[0]) == (401, 200)
    stays.socket.ping().wait(10)
    assert door.post("/api/auth/password", body, bearer=token("42")) == (404, refused("there is no such user"))


def test_a_password_change_ends_sessions_on_every_node(launch, speak, real_postgres):
    """The other node reads it from the database, within seconds."""
    url = {"storage": {"url": real_postgres().url}}
    here, there = launch(**all_dialects(**url)), launch(**all_dialects(**url))
    door = Door(here)
    mine, other = door.register(), door.good("login", email="ann@example.com", password=PASSWORD)
    client = speak(there, "notify", user=None, query={"token": other["token"]})
    body = {"currentPassword": PASSWORD, "newPassword": NEW}
    assert door.post("/api/auth/password", body, bearer=mine["token"]) == (200, DONE)
    assert client.closed() == (1008, "session terminated")
    assert log_in(Door(there), NEW)[0] == 200


def test_wrong_passwords_are_counted_like_failed_logins(door_with):
    door = door_with(auth={"login_attempts_per_minute": 2})
    mine = door.register()
    for _ in range(2):
        body = {"currentPassword": "wrong horse", "newPassword": NEW}
        assert door.post("/api/auth/password", body, bearer=mine["token"])[0] == 403
    body = {"currentPassword": PASSWORD, "newPassword": NEW}
    assert door.post("/api/auth/password", body, bearer=mine["token"]) == (429, refused("too many attempts"))
    assert log_in(door)[0] == 429


def reset_token(door, user, **headers):
    return door.call("POST", f"/api/v1/users/{user}/reset-token", **headers)


def test_a_reset_sets_a_new_password_and_ends_all_sessions(launch, speak):
    server = launch(**all_dialects(api={"keys": [KEY]}))
    door = Door(server)
    mine = door.register()
    user = mine["user"]["id"]
    client = speak(server, "notify", user=None, query={"token": mine["token"]})
    assert reset_token(door, user)[0] == 401
    assert reset_token(door, user, bearer=mine["token"])[0] == 401, "a user's own token will not do"
    assert reset_token(door, "nobody", bearer=KEY) == (404, coded("NOT_FOUND", "there is no such user"))
    status, first = reset_token(door, user, bearer=KEY)
    assert status == 201 and first.keys() == {"token", "expires_at"}
    status, made = reset_token(door, user, bearer=token("root", roles=["admin"]))
    assert status == 201

    reset = lambda token, new=NEW: door.post("/api/auth/password/reset", {"token": token, "newPassword": new})
    bad = 400, refused("the reset token is not valid, or not any more", "token", "is not valid, or not any more")
    assert reset(first["token"]) == bad, "the later one takes its place"
    assert reset("x") == bad
    assert reset(made["token"], "short")[0] == 400
    assert reset(made["token"]) == (200, DONE), "a mistake does not spend it"
    assert reset(made["token"]) == bad, "once"
    assert client.closed() == (1008, "session terminated")
    assert (log_in(door)[0], log_in(door, NEW)[0]) == (401, 200)
    assert made["token"] not in server.log() and NEW not in server.log()


def test_a_password_reset_requires_its_scope(door, tmp_path):
    user = door.register()["user"]["id"]

    def key(scope):
        made = run("key", "create", scope, "--scope", scope, cwd=door.server.folder)
        assert made.returncode == 0, made.stderr
        return made.stdout.split()[-1]

    keys = {scope: key(scope) for scope in ("publish", "read", "admin")}
    wait_until(lambda: reset_token(door, user, bearer=keys["admin"])[0] == 201, what="a key that is known")
    for scope in ("publish", "read"):
        assert reset_token(door, user, bearer=keys[scope])[0] == 403


def test_a_reset_token_lives_for_an_hour_and_is_stored_as_a_hash(door):
    user = door.register()["user"]["id"]
    made = run("user", "reset-token", "Ann@Example.com", cwd=door.server.folder)
    assert made.returncode == 0, made.stderr
    one_time = made.stdout.strip()
    database = sqlite3.connect(door.server.folder / "data" / "fanfare.db", timeout=10)
    [[hash_, left]] = database.execute(
        "SELECT hash, expires_at - CAST(strftime('%s', 'now') AS INTEGER) * 1000 FROM reset_tokens WHERE user_id = ?", [user])
    assert one_time not in hash_ and 3500_000 < left <= 3602_000
    database.execute("UPDATE reset_tokens SET expires_at = 1000")
    database.commit()
    database.close()
    body = {"token": one_time, "newPassword": NEW}
    assert door.post("/api/auth/password/reset", body)[0] == 400
    one_time = run("user", "reset-token", "ann@example.com", cwd=door.server.folder).stdout.strip()
    assert door.post("/api/auth/password/reset", body | {"token": one_time}) == (200, DONE)
    assert run("user", "reset-token", "nobody@example.com", cwd=door.server.folder).returncode == 1
