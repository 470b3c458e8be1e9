"""Strangers who try to lock all other users out, by aborted requests, bad tokens and registrations."""

import concurrent.futures
import itertools
import json
import secrets
import socket
import struct
import threading
import time

import pytest

from test_sessions import PASSWORD, Door, coded, refused

RESETS, AT_ONCE = 2000, 32
UNLIMITED = {"login_attempts_per_minute": 0, "login_attempts_per_minute_per_ip": 0}


def bogus():
    """A text that looks like a refresh token."""
    return secrets.token_urlsafe(32)


def drop(server, path, body, after):
    """Sends a request, and resets the connection a moment later."""
    body = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stranger:
        stranger.sendall(head + body)
        time.sleep(after)
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_dropped_refreshes_do_not_block_logins(launch, request, database):
    postgres = request.getfixturevalue("real_postgres")() if database == "postgres" else None
    storage = {"storage": {"url": postgres.url}} if postgres else {}
    server = launch(auth=UNLIMITED, **storage)
    door = Door(server)
    door.register()
    session = door.open()
    dropped = [
        ("/api/auth/refresh", lambda: {"refreshToken": "a"}),
        ("/api/auth/refresh", lambda: {"refreshToken": bogus()}),
        ("/sessions/refresh", lambda: {"refresh_token": session["refresh_token"]}),
    ]
    numbers, over = itertools.count(), threading.Event()

    def strangers():
        while (number := next(numbers)) < RESETS:
            path, body = dropped[number % len(dropped)]
            drop(server, path, body(), after=number % 7 / 10_000)

    def member():
        logins = 0
        while not over.is_set():
            status, answer = door.call("POST", "/api/auth/login", {"email": "ann@example.com", "password": PASSWORD})
            assert status == 200, (logins, answer)
            logins += 1
        return logins

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE + 1) as pool:
        logging_in = pool.submit(member)
        attack = [pool.submit(strangers) for _ in range(AT_ONCE)]
        try:
            for each in attack:
                each.result()
        finally:
            over.set()
        assert logging_in.result() > 0
    assert door.post("/sessions/refresh", {"refresh_token": session["refresh_token"]})[0] == 200
    assert "the storage failed" not in server.log()
    if postgres:
        log = (postgres.folder / "log").read_text(errors="replace")
        assert "transaction in progress" not in log, log


def test_refused_tokens_are_counted_for_each_address(launch):
    auth = {"login_attempts_per_minute_per_ip": 3}
    door = Door(launch(auth=auth, limits={"trusted_proxies": ["127.0.0.1/32"]}))
    first = door.register()
    ask = lambda path, name, token, address="192.0.2.1": door.post(
        path, {name: token}, **{"X-Forwarded-For": address})
    for token in ("a", bogus()):
        assert ask("/api/auth/refresh", "refreshToken", token) == (401, refused("the refresh token is not valid"))
    assert ask("/sessions/refresh", "refresh_token", bogus())[0] == 401
    good = first["refreshToken"]
    assert ask("/api/auth/refresh", "refreshToken", good) == (429, refused("too many attempts"))
    assert 1 <= int(door.headers["Retry-After"]) <= 60
    assert ask("/sessions/refresh", "refresh_token", good) == (429, coded("RATE_LIMITED", "too many attempts"))
    assert ask("/sessions/refresh", "refresh_token", good, "192.0.2.2")[0] == 200
    body = {"email": "ann@example.com", "password": PASSWORD}
    assert door.post("/api/auth/login", body, **{"X-Forwarded-For": "192.0.2.1"})[0] == 200, "logins are counted apart"


def test_registrations_do_not_block_logins(launch):
    server = launch(auth=UNLIMITED)
    door = Door(server)
    door.register()

    def register(number):
        return Door(server).post("/api/auth/register", {"email": f"u{number}@example.com", "password": PASSWORD})[0]

    def log_in(_):
        return Door(server).post("/api/auth/login", {"email": "ann@example.com", "password": PASSWORD})[0]

    with concurrent.futures.ThreadPoolExecutor(110) as pool:
        registrations = [pool.submit(register, number) for number in range(100)]
        logins = [pool.submit(log_in, number) for number in range(39)]
        assert [each.result() for each in logins] == [200] * 39
        ended = [each.result() for each in registrations]
    assert set(ended) <= {201, 429, 503} and ended.count(201) == 59 and ended.count(429) >= 1, ended


def test_registrations_are_counted_for_each_address(launch):
    auth = {"registrations_per_minute_per_ip": 2}
    door = Door(launch(auth=auth, limits={"trusted_proxies": ["127.0.0.1/32"]}))

    def register(email, address="192.0.2.1", password=PASSWORD):
        return door.post("/api/auth/register", {"email": email, "password": password}, **{"X-Forwarded-For": address})

    assert register("ann@example.com")[0] == 201
    assert register("ben@example.com", password="short")[0] == 400, "a mistake does not count"
    assert register("ann@example.com")[0] == 409, "a question about others does"
    assert register("ben@example.com") == (429, refused("too many attempts"))
    assert 1 <= int(door.headers["Retry-After"]) <= 60
    assert register("ben@example.com", "192.0.2.2")[0] == 201
    metrics = door.server.get("/metrics/prometheus").text
    assert 'fanfare_registrations_total{result="limited"} 1' in metrics
    assert 'fanfare_registrations_total{result="succeeded"} 2' in metrics
