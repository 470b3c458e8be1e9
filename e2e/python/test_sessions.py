"""Registering, logging in, refreshing and ending sessions over HTTP, in both families of routes."""

import base64
import json
import re
import sqlite3

import pytest

from conftest import Client
from dialects import NAMES, TIME, all_dialects, ask
from fanfare import run, token, wait_until

PASSWORD = "correct horse"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNKNOWN = "019e0c62-0000-7000-8000-000000000000"
HOSTILE = [
    "' OR '1'='1", "a@example.com' --", "'; DROP TABLE users; --", "\0", "a\0@example.com", "\r\nSet-Cookie: a=b",
    "<script>alert(1)</script>", "${jndi:ldap://a}", "../../etc/passwd", "%00", "\u202e@example.com", "😀" * 100,
]


class Door:
    """Calls the routes of one server."""

    def __init__(self, server):
        self.server = server

    def call(self, method, path, body=None, bearer=None, **headers):
        """Returns (status, body), and stores the headers in `self.headers`."""
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        given = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        answer = self.server.get(path, method, given, **headers)
        self.headers = answer.headers
        return answer.status, json.loads(answer.text) if answer.text else None

    def post(self, path, body, **options):
        return self.call("POST", path, body, **options)

    def good(self, path, **body):
        """Checks the form of /api/auth/…, and returns the data."""
        status, answer = self.post(f"/api/auth/{path}", body)
        assert status in (200, 201) and answer.keys() == {"success", "data"} and answer["success"] is True, answer
        return answer["data"]

    def register(self, email="ann@example.com", **more):
        return self.good("register", email=email, password=PASSWORD, **more)

    def open(self, email="ann@example.com"):
        """A session."""
        status, answer = self.post("/sessions", {"username": email, "password": PASSWORD})
        assert status == 200, answer
        return answer

    def end(self, session, bearer):
        return self.call("DELETE", f"/sessions/{session}", bearer=bearer)


@pytest.fixture
def door(server):
    return Door(server)


@pytest.fixture
def door_with(launch):
    return lambda **tables: Door(launch(**tables))


def claims(jwt):
    part = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def refused(error, field=None, issue=None):
    """An error of /api/auth/…"""
    details = {"details": {"field": field, "issue": issue}} if field else {}
    return {"success": False, "error": error} | details


def coded(code, message, **details):
    """An error of /sessions."""
    return {"error": {"code": code, "message": message, "details": details}}


# --- what works ---


def test_a_user_registers_logs_in_refreshes_and_reads_the_account(door):
    made = door.register(" Ann@Example.com", name="Ann")
    assert door.post("/api/auth/register", {"email": "b@example.com", "password": PASSWORD})[0] == 201
    came = door.good("login", email="ANN@example.com", password=PASSWORD)
    for data in (made, came):
        assert set(data) == {"user", "accessToken", "token", "refreshToken", "sessionId"}
        user = data["user"]
        assert (user["email"], user["name"], user["roles"]) == ("ann@example.com", "Ann", ["user"])
        assert user.keys() == {"id", "email", "name", "roles", "createdAt", "lastLoginAt"} and UUID.fullmatch(user["id"])
        assert TIME.fullmatch(user["createdAt"]) and TIME.fullmatch(user["lastLoginAt"])
        assert data["token"] == data["accessToken"] and claims(data["token"])["sub"] == user["id"]
        status, me = door.call("GET", "/api/auth/me", bearer=data["token"])
        assert (status, me["success"], me["data"]["user"]["id"]) == (200, True, user["id"])
        assert door.headers["Cache-Control"] == "no-store"
    fresh = door.good("refresh", refreshToken=came["refreshToken"])
    assert fresh.keys() == {"accessToken", "token", "refreshToken"} and fresh["refreshToken"] != came["refreshToken"]
    assert door.good("refresh", refreshToken=came["refreshToken"]), "the answer may have been lost"
    assert claims(fresh["token"])["sid"] == claims(came["token"])["sid"] != claims(made["token"])["sid"]


def test_the_session_routes_return_the_documented_fields(door):
    user = door.register()["user"]
    session = door.open()
    assert session.keys() == {"session_id", "access_token", "refresh_token", "expires_in", "token_type", "user"}
    assert session["user"] == {"id": user["id"], "username": "ann@example.com", "roles": ["user"]}
    assert (session["expires_in"], session["token_type"]) == (3600, "Bearer")
    assert claims(session["access_token"])["sid"] == session["session_id"]
    for _ in range(2):  # it stays the same
        status, fresh = door.post("/sessions/refresh", {"refresh_token": session["refresh_token"]})
        assert (status, fresh.keys()) == (200, {"access_token", "expires_in", "token_type"})
        assert claims(fresh["access_token"])["sid"] == session["session_id"]
    assert door.end(session["session_id"], fresh["access_token"]) == (204, None)


def test_json_is_accepted_with_another_content_type_and_from_a_page(door):
    body = json.dumps({"email": "ann@example.com", "password": PASSWORD, "more": [1]})
    assert door.post("/api/auth/register", body, Content_Type="text/plain")[0] == 201
    status, _ = door.post("/api/auth/login", body, Content_Type="application/json", Origin="https://a.example")
    assert (status, door.headers["Access-Control-Allow-Origin"] is not None) == (200, True)
    status, _ = door.call(
        "OPTIONS", "/sessions/a", Origin="https://a.example", Access_Control_Request_Method="DELETE")
    assert status == 204 and "DELETE" in door.headers["Access-Control-Allow-Methods"]


# --- the end of a session ---


def enter(speak, server, name, jwt):
    """A connection with that token."""
    client = speak(server, name, user=None, query={"token": jwt})
    if name == "topics":
        client.prove(jwt)
    return client


def test_a_session_ends_everywhere(launch, speak):
    server = launch(**all_dialects())
    doors = {name: Door(server) for name in NAMES}
    door = doors["notify"]
    door.register()
    ended, other = door.open(), door.open()
    clients = [enter(speak, server, name, ended["access_token"]) for name in NAMES]
    kept = [enter(speak, server, name, other["access_token"]) for name in NAMES]

    # Each listener has the routes.
    answer = ask(server, "rooms", f"/sessions/{ended['session_id']}", "DELETE",
                 Authorization=f"Bearer {ended['access_token']}")
    assert (answer.status, answer.text) == (204, "")

    for client in clients:
        assert client.closed() == (1008, "session terminated"), client.name
    for client in kept:
        if client.name != "notify":
            client.alive()
    for name in NAMES:
        assert ask(server, name, "/api/auth/me", Authorization=f"Bearer {ended['access_token']}").status == 401
    assert ask(server, "notify", f"/ws?token={ended['access_token']}", **UPGRADE).status == 401
    invalid = coded("INVALID_TOKEN", "the access token is not valid")
    assert door.end(ended["session_id"], ended["access_token"]) == (401, invalid)
    gone = (401, coded("INVALID_TOKEN", "the refresh token is not valid"))
    assert door.post("/sessions/refresh", {"refresh_token": ended["refresh_token"]}) == gone
    assert door.post("/api/auth/refresh", {"refreshToken": ended["refresh_token"]})[0] == 401
    assert door.post("/sessions/refresh", {"refresh_token": other["refresh_token"]})[0] == 200


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_a_session_ends_on_all_nodes(launch, real_redis):
    """Each node has its own database here: it can know of the end only from the other node."""
    broker = {"kind": "redis", "url": real_redis().url}
    here, there = (launch(broker=broker) for _ in range(2))
    door = Door(here)
    door.register()
    session = door.open()
    address = f"ws://127.0.0.1:{there.port}/ws?token={session['access_token']}"
    client = Client(address)
    assert door.end(session["session_id"], session["access_token"]) == (204, None)
    assert client.closed() == (1008, "session terminated")
    client.close()
    assert Door(there).call("GET", "/api/auth/me", bearer=session["access_token"])[0] == 401


def test_whose_session_it_is(door):
    door.register(), door.register("ben@example.com")
    ann, ben = door.open(), door.open("ben@example.com")
    another = door.open()
    admin, old = token("root", roles=["admin"]), token("ann", ttl=-10, sid=ann["session_id"])
    foreign = (403, coded("FORBIDDEN", "a session is ended with a token of its own, or an admin's"))
    none = (404, coded("NOT_FOUND", "there is no such session"))
    assert door.end(ann["session_id"], ben["access_token"]) == foreign
    assert door.end(ann["session_id"], another["access_token"]) == foreign, "a session's own token, or an admin's"
    assert door.end(ann["session_id"], token("root", roles=["user"])) == foreign
    assert door.end(UNKNOWN, ben["access_token"]) == none
    assert door.end("x'%20OR%201=1--", ben["access_token"]) == none
    assert door.end(ann["session_id"], None) == (401, coded("INVALID_TOKEN", "an access token is required"))
    assert door.headers["WWW-Authenticate"] == "Bearer"
    for bad in ("x", token("ann", secret="y" * 40, sid=ann["session_id"]), ann["refresh_token"]):
        assert door.end(ann["session_id"], bad) == (401, coded("INVALID_TOKEN", "the access token is not valid"))
    assert door.end(ann["session_id"], old) == (401, coded("TOKEN_EXPIRED", "the access token has expired"))
    assert door.end(ann["session_id"], admin) == (204, None)
    assert door.end(ann["session_id"], admin) == none
    assert door.end(ben["session_id"], ben["access_token"]) == (204, None)


def test_whose_sessions_are_listed(door):
    """Users list their own sessions, and admins those of any user, without ended ones."""
    def listed(bearer, query=""):
        status, answer = door.call("GET", "/sessions" + query, bearer=bearer)
        assert status == 200, answer
        return answer["sessions"]

    door.register(), door.register("ben@example.com")
    phone = door.post("/sessions", {"username": "ann@example.com", "password": PASSWORD}, User_Agent="phone\t1")[1]
    laptop, ben = door.open(), door.open("ben@example.com")
    sessions = listed(laptop["access_token"])
    ids = [session["session_id"] for session in sessions]
    assert ids[:2] == [laptop["session_id"], phone["session_id"]] and len(ids) == 3, "the registration's, too"
    assert [session["current"] for session in sessions] == [True, False, False]
    assert sessions[1]["user_agent"] == "phone1" and {each["user_id"] for each in sessions} == {laptop["user"]["id"]}
    for session in sessions:
        assert all(TIME.fullmatch(session[name]) for name in ("created_at", "last_used_at", "expires_at"))
        assert session["created_at"] == session["last_used_at"] < session["expires_at"]
    door.post("/sessions/refresh", {"refresh_token": phone["refresh_token"]})
    assert listed(laptop["access_token"])[0]["session_id"] == phone["session_id"], "used last"

    ann, admin = laptop["user"]["id"], token("root", roles=["admin"])
    assert listed(laptop["access_token"], f"?user={ann}") == listed(laptop["access_token"])
    assert [each["session_id"] for each in listed(admin, f"?user={ann}")] == [each["session_id"] for each in listed(laptop["access_token"])]
    assert listed(admin) == listed(admin, "?user=x'%20OR%201=1--") == []
    hidden = coded("FORBIDDEN", "other users' sessions are shown to admins only")
    for user in (ann, "nobody"):
        assert door.call("GET", f"/sessions?user={user}", bearer=ben["access_token"]) == (403, hidden)
    for user in ("", "%00", "a" * 300):
        bad = coded("INVALID_REQUEST", "user: not a user's id", user="not a user's id")
        assert door.call("GET", f"/sessions?user={user}", bearer=admin) == (400, bad)
    for query in ("?other=1", "?user=a&user=b"):
        issue = "expected user, at most once"
        assert door.call("GET", "/sessions" + query, bearer=admin) == (400, coded("INVALID_REQUEST", f"query: {issue}", query=issue))
    assert door.call("GET", "/sessions") == (401, coded("INVALID_TOKEN", "an access token is required"))

    assert door.end(phone["session_id"], admin) == (204, None)
    assert phone["session_id"] not in [each["session_id"] for each in listed(laptop["access_token"])]


def test_an_operator_ends_sessions_from_the_command_line(door, speak):
    door.register()
    ended, kept, admin = door.open(), door.open(), token("root", roles=["admin"])
    client = enter(speak, door.server, "notify", ended["access_token"])
    rows = [line.split("\t") for line in command(door, "user", "sessions", "ann@example.com")]
    assert [row[0] for row in rows][:2] == [kept["session_id"], ended["session_id"]] and len(rows) == 3
    assert all(len(row) == 5 and TIME.fullmatch(row[1]) for row in rows)
    logout = ("user", "logout", "ann@example.com")
    assert command(door, *logout, "--session", ended["session_id"]) == ["ended  1"]
    assert client.closed() == (1008, "session terminated")
    assert run(*logout, "--session", ended["session_id"], cwd=door.server.folder).returncode == 1
    assert command(door, *logout) == ["ended  2"]
    wait_until(lambda: door.call("GET", "/api/auth/me", bearer=kept["access_token"])[0] == 401)
    assert door.call("GET", f"/sessions?user={kept['user']['id']}", bearer=admin) == (200, {"sessions": []})


def test_an_enabled_user_may_log_in_at_once(door):
    """The node has received one of the two changes when the user logs in."""
    session = door.register()
    me = lambda bearer: door.call("GET", "/api/auth/me", bearer=bearer)[0]  # noqa: E731
    command(door, "user", "disable", "ann@example.com")
    wait_until(lambda: me(session["token"]) == 401)
    assert door.post("/api/auth/login", {"email": "ann@example.com", "password": PASSWORD})[0] == 401
    command(door, "user", "enable", "ann@example.com")
    assert me(door.open()["access_token"]) == 200
    assert me(session["token"]) == 401, "its session has ended"


def command(door, *arguments):
    done = run(*arguments, cwd=door.server.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_spent_refresh_token_ends_its_session(door):
    first = door.register()
    second = door.good("refresh", refreshToken=first["refreshToken"])
    database = door.server.folder / "data" / "fanfare.db"
    with sqlite3.connect(database, timeout=10) as open_database:  # a minute passes
        changed = open_database.execute(
            "UPDATE refresh_tokens SET rotated_at = rotated_at - 61000 WHERE rotated_at IS NOT NULL").rowcount
    assert changed == 1
    spent = (401, refused("the refresh token is not valid"))
    assert door.post("/api/auth/refresh", {"refreshToken": first["refreshToken"]}) == spent
    assert door.post("/api/auth/refresh", {"refreshToken": second["refreshToken"]}) == spent
    assert door.call("GET", "/api/auth/me", bearer=second["token"]) == (401, refused("the access token is not valid"))


# --- what is refused ---

REFUSED = [
    ("register", {"email": "ann@example.com", "password": PASSWORD}, 409, refused("the address is taken")),
    ("register", {"email": "nobody", "password": PASSWORD}, 400, "email"),
    ("register", {"email": "a@" + "e" * 10_240 + ".com", "password": PASSWORD}, 400, "email"),
    ("register", {"email": "", "password": PASSWORD}, 400, "email"),
    ("register", {"password": PASSWORD}, 400, "email"),
    ("register", {"email": ["ben@example.com"], "password": PASSWORD}, 400, "email"),
    ("register", {"email": "ben@example.com"}, 400, "password"),
    ("register", {"email": "ben@example.com", "password": 12345678}, 400, "password"),
    ("register", {"email": "ben@example.com", "password": ""}, 400, "password"),
    ("register", {"email": "ben@example.com", "password": "1234567"}, 400, "password"),
    ("register", {"email": "ben@example.com", "password": "x" * 1025}, 400, "password"),
    ("register", {"email": "ben@example.com", "password": "x" * 1_000_000}, 400, "password"),
    ("register", {"email": "ben@example.com", "password": PASSWORD, "name": {}}, 400, "name"),
    ("register", {"email": "ben@example.com", "password": PASSWORD, "name": "x" * 201}, 400, "name"),
    ("login", {"email": "ann@example.com"}, 400, "password"),
    ("login", {"password": PASSWORD}, 400, "email"),
    ("login", '{"email":"a@example.com","password":"wrong horse","x":' + "[0]," * 9 + "1}", 400, refused("the body is not JSON: key must be a string at line 1 column 59")),
    ("login", {"email": {"$ne": ""}, "password": {"$ne": ""}}, 400, "email"),
    ("refresh", {}, 400, "refreshToken"),
    ("refresh", {"refreshToken": None}, 400, "refreshToken"),
    ("refresh", {"refreshToken": ""}, 401, refused("the refresh token is not valid")),
    ("refresh", {"refreshToken": "x" * 1_000_000}, 401, refused("the refresh token is not valid")),
    *[(route, body, status, refused(said)) for route in ("register", "login", "refresh") for body, status, said in (
        ("", 400, "the body is empty, expected JSON"),
        ("null", 400, "the body is not a JSON object"),
        ("[]", 400, "the body is not a JSON object"),
        ("{", 400, "the body is not JSON: EOF while parsing an object at line 1 column 1"),
        ("email=a&password=b", 400, "the body is not JSON: expected value at line 1 column 1"),
        ('{"email":"\\ud800"}', 400, "the body is not a JSON object"),
        (b"\xff", 400, "the body is not UTF-8, expected JSON in UTF-8"),
        ("[" * 200_000, 400, "the body is not JSON: EOF while parsing a list at line 1 column 200000"),
    )],
]


def test_invalid_requests_are_refused_with_their_reason(door):
    door.register()
    for route, body, expected, said in REFUSED:
        status, answer = door.post(f"/api/auth/{route}", body)
        case = f"{route} {str(body)[:80]}: {status} {str(answer)[:200]}"
        assert status == expected, case
        if isinstance(said, str):
            issue = answer["details"]["issue"]
            said = refused(f"{said}: {issue}", said, issue)
        assert answer == said, case


def test_wrong_logins_are_all_alike(door):
    door.register()
    wrong = "the address or the password is wrong"
    for email, password in [
        ("ann@example.com", "wrong horse"), ("ben@example.com", PASSWORD), ("nobody", PASSWORD), ("", ""),
        ("ann@example.com", ""), ("ann@example.com", "x" * 1_000_000), ("x" * 10_240 + "@example.com", PASSWORD),
    ]:
        assert door.post("/api/auth/login", {"email": email, "password": password}) == (401, refused(wrong))
        answer = door.post("/sessions", {"username": email, "password": password})
        assert answer == (401, coded("INVALID_CREDENTIALS", wrong))


def test_the_session_routes_refuse_in_their_form(door):
    for path, body, details in [
        ("/sessions", {"password": PASSWORD}, {"username": "is missing"}),
        ("/sessions", {"username": "a@example.com"}, {"password": "is missing"}),
        ("/sessions", {"username": 1, "password": PASSWORD}, {"username": "expected a string"}),
        ("/sessions/refresh", {"refreshToken": "x"}, {"refresh_token": "is missing"}),
    ]:
        [(field, issue)] = details.items()
        assert door.post(path, body) == (400, coded("INVALID_REQUEST", f"{field}: {issue}", **details))
    for path in ("/sessions", "/sessions/refresh"):
        assert door.post(path, "{") == (400, coded("INVALID_REQUEST", "the body is not JSON: EOF while parsing an object at line 1 column 1"))


def test_each_route_names_its_methods(door):
    for path, allowed in [
        ("/api/auth/register", "POST"), ("/api/auth/login", "POST"), ("/api/auth/refresh", "POST"),
        ("/api/auth/me", "GET, HEAD"), ("/sessions", "GET, HEAD, POST"), ("/sessions/refresh", "POST"), ("/sessions/x", "DELETE"),
    ]:
        text = "method not allowed"
        said = coded("METHOD_NOT_ALLOWED", text) if path.startswith("/sessions") else refused(text)
        assert door.call("PUT", path, "{}") == (405, said)
        assert door.headers["Allow"] == allowed
    for path in ("/sessions/", "/sessions/a/b", "/sessions//"):
        assert door.call("DELETE", path) == (404, coded("NOT_FOUND", "not found"))
    assert door.post("/api/auth/", {}) == (404, refused("not found"))
    assert door.call("GET", "/api/auth/me") == (401, refused("an access token is required"))
    assert door.headers["WWW-Authenticate"] == "Bearer"
    assert door.call("GET", "/api/auth/me", bearer=token("x", ttl=-1)) == (401, refused("the access token has expired"))
    # A token of another issuer is valid, and its user has no account here.
    assert door.call("GET", "/api/auth/me", bearer=token("x'--")) == (404, refused("there is no such user"))


def test_hostile_texts_are_refused_or_stored_unchanged(door_with):
    door = door_with(auth={"login_attempts_per_minute": 0, "login_attempts_per_minute_per_ip": 0})
    ann = door.register()
    for text in HOSTILE:
        for path, fields in [
            ("/api/auth/register", ("email", "password", "name")), ("/api/auth/login", ("email", "password")),
            ("/api/auth/refresh", ("refreshToken",)), ("/sessions", ("username", "password")),
            ("/sessions/refresh", ("refresh_token",)),
        ]:
            good = {"email": "ann@example.com", "username": "ann@example.com", "password": "another horse", "name": "N"}
            for field in fields:
                status, answer = door.post(path, {name: good.get(name) for name in fields} | {field: text})
                assert status in (400, 401, 409), f"{path} {field} {text!r}: {status} {answer}"
                assert text not in json.dumps(answer, ensure_ascii=False), answer
    assert door.call("GET", "/api/auth/me", bearer=ann["token"])[0] == 200
    with sqlite3.connect(door.server.folder / "data" / "fanfare.db", timeout=10) as database:
        assert database.execute("SELECT email FROM users").fetchall() == [("ann@example.com",)]


def test_names_are_kept_as_they_are(door):
    for number, name in enumerate(["Robert'); DROP TABLE users;--", "<b>", '"', "${x}", "Zoë 😀"]):
        made = door.register(f"u{number}@example.com", name=name)
        assert door.call("GET", "/api/auth/me", bearer=made["token"])[1]["data"]["user"]["name"] == name
