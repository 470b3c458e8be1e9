"""A refresh token that is used from two places at the same time, on both databases."""

import concurrent.futures
import contextlib
import sqlite3
import threading

import pytest

from dialects import NAMES, all_dialects
from test_sessions import Door, enter, refused

PLACES = 8
PASSES = "UPDATE refresh_tokens SET rotated_at = rotated_at - 61000 WHERE rotated_at IS NOT NULL"


@pytest.fixture(params=["sqlite", "postgresql"])
def door(request, launch):
    """A server, and `a_minute_passes()` for replaced tokens."""
    if request.param == "sqlite":
        door = Door(launch(**all_dialects()))

        def a_minute_passes():
            file = door.server.folder / "data" / "fanfare.db"
            with contextlib.closing(sqlite3.connect(file, timeout=10)) as database, database:
                database.execute(PASSES)

        door.a_minute_passes = a_minute_passes
    else:
        database = request.getfixturevalue("real_postgres")()
        door = Door(launch(**all_dialects(storage={"url": database.url})))
        door.a_minute_passes = lambda: database.sql(PASSES)
    return door


def from_all_places(door, refresh_tokens):
    """The (status, body) of each place, all at the same moment."""
    moment = threading.Barrier(len(refresh_tokens))

    def use(refresh_token):
        moment.wait(10)
        return Door(door.server).post("/api/auth/refresh", {"refreshToken": refresh_token})

    with concurrent.futures.ThreadPoolExecutor(len(refresh_tokens)) as pool:
        return list(pool.map(use, refresh_tokens))


def test_a_refresh_token_used_twice_at_once_is_accepted(door, speak):
    mine, another = door.register(), door.open()
    clients = [enter(speak, door.server, name, mine["token"]) for name in NAMES]
    kept = enter(speak, door.server, "topics", another["access_token"])

    # Two tabs, or a client that lost the answer: each gets its own token, and all of these work.
    answers = from_all_places(door, [mine["refreshToken"]] * PLACES)
    assert [status for status, _ in answers] == [200] * PLACES, answers
    successors = [said["data"]["refreshToken"] for _, said in answers]
    assert len({mine["refreshToken"], *successors}) == PLACES + 1
    answers = from_all_places(door, successors)
    assert [status for status, _ in answers] == [200] * PLACES, answers
    newest = [said["data"] for _, said in answers]
    for client in clients:
        if client.name != "notify":
            client.alive()

    # Later it may be a stolen copy: the session ends with all its tokens, whichever of the two is the thief.
    door.a_minute_passes()
    spent = (401, refused("the refresh token is not valid"))
    assert from_all_places(door, [mine["refreshToken"], newest[0]["refreshToken"]] * (PLACES // 2))[::2] == [spent] * (PLACES // 2)
    for client in clients:
        assert client.closed() == (1008, "session terminated"), client.name
    assert from_all_places(door, [tokens["refreshToken"] for tokens in newest]) == [spent] * PLACES
    for tokens in (mine, *newest):
        assert door.call("GET", "/api/auth/me", bearer=tokens["token"])[0] == 401
    kept.alive()
    assert door.call("GET", "/api/auth/me", bearer=another["access_token"])[0] == 200
    assert door.server.log().count("its session has been ended") == 1
