"""Limits of logins and registrations, and routes that do not exist."""

from fanfare import run
from test_sessions import PASSWORD, coded, door, door_with, refused  # noqa: F401, two are fixtures


def test_failed_logins_are_limited(door_with):
    door = door_with(auth={"login_attempts_per_minute": 2})
    door.register()
    wrong = {"email": "ann@example.com", "password": "wrong horse"}
    assert [door.post("/api/auth/login", wrong)[0] for _ in range(2)] == [401, 401]
    for path, name, said in [
        ("/api/auth/login", "email", refused("too many attempts")),
        ("/sessions", "username", coded("RATE_LIMITED", "too many attempts")),
    ]:
        answer = door.post(path, {name: "ann@example.com", "password": PASSWORD}, Origin="https://a.example")
        assert answer == (429, said)
        assert 1 <= int(door.headers["Retry-After"]) <= 60
        assert "Retry-After" in door.headers["Access-Control-Expose-Headers"]


def test_the_client_behind_a_proxy_is_who_is_limited(door_with):
    door = door_with(
        auth={"login_attempts_per_minute_per_ip": 1}, limits={"trusted_proxies": ["127.0.0.1/32"]})
    tries = [("192.0.2.1", "a"), ("192.0.2.1", "b"), ("192.0.2.2", "c")]
    statuses = [
        door.post("/sessions", {"username": f"{name}@example.com", "password": PASSWORD}, X_Forwarded_For=client)[0]
        for client, name in tries
    ]
    assert statuses == [401, 429, 401]


def test_requests_are_limited_as_elsewhere(door_with):
    door = door_with(limits={"requests_per_second_per_ip": 1, "burst": 1})
    for path, said in [
        ("/api/auth/login", refused("too many requests")), ("/sessions", coded("RATE_LIMITED", "too many requests")),
    ]:
        answers = [door.post(path, "{") for _ in range(2)]
        assert (429, said) in answers and int(door.headers["Retry-After"]) >= 1


def test_bodies_have_a_limit(door_with):
    door = door_with(limits={"max_body_size": 1024})
    body = {"username": "ann@example.com", "password": "x" * 2000}
    text = "the body is over the size limit"
    assert door.post("/sessions", body) == (413, coded("INVALID_REQUEST", text))
    assert door.post("/api/auth/login", body) == (413, refused(text))


def test_a_login_with_a_long_body_is_refused(door):
    """A lower limit than elsewhere; a client that announces a longer body need not send it."""
    much = {"Content_Length": str((2 << 20) + 1)}
    assert door.post("/api/auth/login", "{}", **much) == (413, refused("the body is over the size limit"))


def test_registration_can_be_closed(door_with):
    door = door_with(auth={"registration": "closed"})
    body = {"email": "ann@example.com", "password": PASSWORD}
    assert door.post("/api/auth/register", body) == (403, refused("registration is closed"))
    added = run("user", "add", "ann@example.com", "--password-stdin", "--role", "admin", "--config",
                str(door.server.config_file), input=PASSWORD, cwd=door.server.folder)
    assert added.returncode == 0, added.stderr
    assert door.open()["user"]["roles"] == ["admin"]


def test_logins_are_refused_while_the_database_is_unavailable(door_with):
    door = door_with(storage={"url": "sqlite:///dev/null/none.db"})
    text = "the database is not available at the moment"
    for path, body, said in [
        ("/api/auth/login", {"email": "a@example.com", "password": PASSWORD}, refused(text)),
        ("/sessions", {"username": "a@example.com", "password": PASSWORD}, coded("SERVER_FULL", text)),
    ]:
        assert door.post(path, body, Origin="https://a.example") == (503, said)
        assert int(door.headers["Retry-After"]) >= 1


def test_secrets_stay_out_of_the_log(door):
    made = door.register()
    door.post("/api/auth/login", {"email": "ann@example.com", "password": "a secret guess"})
    door.post("/api/auth/refresh", {"refreshToken": made["refreshToken"]})
    log = door.server.log()
    for secret in (PASSWORD, "a secret guess", made["refreshToken"], made["token"]):
        assert secret not in log
