"""A database that is locked, full, read-only, silent or gone for a while: requests that need it fail clearly, all others work, and the
server recovers without intervention."""

import concurrent.futures
import time

import pytest
import redis
import redis.backoff
import redis.retry

import outages
from dialects import all_dialects
from fanfare import token, wait_until
from outages import ASKED, BOUND, WRITING, Author, Scene, remount, small_disk

SQLITE = [outages.Locked, outages.Full, outages.Gone]
POSTGRES = [outages.Stopped, outages.Hanging, outages.NoConnectionLeft, outages.ReadOnly]
named = lambda kind: kind.__name__


@pytest.fixture
def disk(tmp_path, cleanup):
    """A folder with room for 24 MiB: SQLite's log alone may take 4 before it is written back."""
    return cleanup.enter_context(small_disk(tmp_path, "24m"))


def away_and_back(scene, outage):
    """The whole course of an outage."""
    author = Author(scene)
    wait_until(lambda: author.acknowledged, what="a message")
    assert scene.storage_reports() == (0, 0)
    outage.begin()
    wait_until(lambda: 503 in author.statuses, BOUND, "a refusal")
    for _ in range(2):
        scene.is_refused(outage.stops)
        scene.is_answered(ASKED.keys() - outage.stops)
        scene.goes_on()
    time.sleep(2.5)  # the server also probes the database itself, and does not log each probe
    assert scene.storage_reports() == (1, 0)
    outage.end()
    scene.recovers()
    author.stop()
    assert scene.storage_reports() == (1, 1)


@pytest.mark.parametrize("kind", SQLITE, ids=named)
def test_the_server_survives_an_outage_of_sqlite(launch, speak, cleanup, kind, request):
    folder = request.getfixturevalue("disk") if kind is outages.Full else None
    server = launch(**all_dialects(**({"data_dir": str(folder)} if folder else {})))
    folder = folder or server.folder / "data"
    away_and_back(Scene(server, speak), kind(folder, cleanup))


@pytest.mark.parametrize("kind", POSTGRES, ids=named)
def test_the_server_survives_an_outage_of_postgresql(launch, speak, real_postgres, kind):
    database = real_postgres()
    away_and_back(Scene(launch(**all_dialects(storage={"url": database.url})), speak), kind(database))


def test_a_server_starts_on_a_read_only_disk_and_recovers(launch, speak, disk):
    """An open file keeps its file system writable, so the server is killed and started anew."""
    server = launch(**all_dialects(data_dir=str(disk)))
    scene = Scene(server, speak)
    server.process.kill()
    server.process.wait()
    remount(disk, "ro")
    server.start()
    scene.enter_anew()
    scene.is_refused(WRITING)
    scene.is_answered(ASKED.keys() - WRITING)
    scene.goes_on()
    assert scene.storage_reports() == (1, 0)
    remount(disk, "rw")
    scene.recovers()
    assert scene.storage_reports() == (1, 1)


@pytest.mark.parametrize("kind", [outages.Stopped, outages.Hanging, outages.NoConnectionLeft], ids=named)
def test_a_server_starts_before_its_database(launch, speak, real_postgres, kind):
    database = real_postgres()
    outage = kind(database)
    server = launch(**all_dialects(storage={"url": database.url}))
    scene = Scene(server, speak)
    outage.begin()
    server.stop()
    server.start()
    scene.enter_anew()
    scene.is_refused(ASKED)
    scene.goes_on()
    assert scene.storage_reports() == (1, 0)
    outage.end()
    scene.recovers()
    assert scene.storage_reports() == (1, 1)


def test_no_caller_is_trusted_until_the_keys_are_known(launch, real_postgres, publisher):
    database = real_postgres()
    server = launch(**all_dialects(storage={"url": database.url}))
    notify = next(int(l["bind"].rsplit(":", 1)[1]) for l in server.config["listener"] if l["dialects"] == ["broadcast"])
    asked = [(server.port, "/api/v1/events", '{"to": "everyone", "data": 1}'), (notify, "/notify", '{"message": "x"}')]
    port, redis_port = server.port, server.resp_port

    def answers(**headers):
        found = []
        for server.port, path, body in asked:
            answer = server.get(path, "POST", body, **headers)
            found.append((answer.status, answer.getheader("Retry-After")))
        server.port = port
        return found

    assert answers() == [(200, None)] * 2  # no key was ever created
    outage = outages.Stopped(database)
    outage.begin()
    assert answers() == [(200, None)] * 2  # a stored key
    server.stop()
    server.start()
    assert answers() == [(503, "5")] * 2
    assert answers(Authorization=f"Bearer {token('root', roles=['admin'])}") == [(200, None)] * 2
    assert answers(X_Forwarded_For="192.0.2.1") == [(401, None)] * 2
    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    with pytest.raises(redis.AuthenticationError):
        publisher(redis_port, retry=once).publish("user_noti:ann", "{}")
    outage.end()
    wait_until(lambda: answers() == [(200, None)] * 2, BOUND, "the keys to be known")
    assert publisher(redis_port, retry=once).publish("user_noti:ann", '{"type":"t","payload":1}') == 0


def test_connections_that_were_ended_are_not_used_again(launch, speak, real_postgres):
    """No request is refused after a restart of the database at a quiet time."""
    database = real_postgres()
    scene = Scene(launch(**all_dialects(storage={"url": database.url})), speak)
    for _ in range(3):
        scene.is_answered(ASKED)
        database.terminate()
        scene.is_answered(ASKED)
    scene.goes_on()


def test_requests_are_bounded_while_the_database_is_silent(launch, speak, real_postgres):
    """Each request is refused in time, and connected clients notice nothing."""
    database = real_postgres()
    unlimited = {"login_attempts_per_minute": 0, "login_attempts_per_minute_per_ip": 0, "registrations_per_minute_per_ip": 0}
    scene = Scene(launch(**all_dialects(storage={"url": database.url}, auth=unlimited)), speak)
    database.hang()
    names = ["write", "login", "read", "open", "refresh"] * 10
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        crowd = [pool.submit(scene.ask, name) for name in names]
        rounds = 0
        while not all(each.done() for each in crowd):
            scene.goes_on()
            rounds += 1
        for name, each in zip(names, crowd):
            assert each.result() == (503, ASKED[name][1], "5"), name
    assert rounds > 3, "no event arrived while they waited"
    database.resume()
    scene.recovers()
    assert scene.storage_reports() == (1, 1)
