"""After the loss of a machine or a database, docs/operate/backup.md restores users, sessions, API keys and messages."""

import contextlib
import json
import shutil
import sqlite3
import subprocess

import pytest

import fanfare
from fanfare import ROOT, run
from postgres import DATABASE, PASSWORD as DATABASE_PASSWORD, USER, as_unprivileged_user
from test_sessions import PASSWORD, Door

ANN = "ann@example.com"


def command(server, *arguments):
    return run("--config", str(server.config_file), *arguments, cwd=server.folder)


class World:
    """Users, a session, an API key, and public and private messages, as a client of the HTTP API sees them."""

    def __init__(self, server):
        door = Door(server)
        self.ann, self.ben = door.register(ANN), door.register("ben@example.com")
        self.key = command(server, "key", "create", "backend").stdout.strip().split()[-1]
        for body in ({"content": "to all", "channelId": "lobby"}, {"content": "to ben", "recipientId": self.ben["user"]["id"]}):
            status, answer = door.post("/api/messages", body, bearer=self.ann["accessToken"])
            assert status == 201, answer
        self.messages = self.read(door, self.ben)
        assert {message["content"] for message in self.messages} == {"to all", "to ben"}

    def read(self, door, user):
        status, answer = door.call("GET", "/api/messages", bearer=user["accessToken"])
        assert status == 200, answer
        return answer["data"]["messages"]

    def is_back(self, server):
        door = Door(server)
        assert door.good("login", email=ANN, password=PASSWORD)["user"]["id"] == self.ann["user"]["id"]
        assert door.good("refresh", refreshToken=self.ben["refreshToken"]), "who was logged in stays so"
        assert self.read(door, self.ben) == self.messages
        event = json.dumps({"to": "everyone", "data": 1})
        assert server.get("/api/v1/events", "POST", event, Authorization=f"Bearer {self.key}").status == 200
        assert door.register("cat@example.com"), "and it is written to"
        status, answer = door.post("/api/auth/login", {"email": "late@example.com", "password": PASSWORD})
        assert status == 401, "what came after the backup is gone"


# --- SQLite ---


def test_a_machine_with_sqlite_is_lost(launch, tmp_path):
    first = launch()
    world = World(first)
    made = command(first, "backup", str(tmp_path / "accounts.db"))
    assert made.returncode == 0, made.stderr
    Door(first).register("late@example.com")
    first.process.kill()
    first.process.wait(10)
    shutil.rmtree(first.folder / "data")
    second = fanfare.Fanfare()
    try:
        second.config_file.write_text(fanfare.toml(second.config))
        restored = command(second, "restore", str(tmp_path / "accounts.db"))
        assert restored.returncode == 0, restored.stderr
        second.start()
        world.is_back(second)
    finally:
        second.kill()


# --- PostgreSQL ---


class Database:
    """A PostgreSQL, and the commands of the page: pg_dump and pg_restore, run as the server's own user."""

    def __init__(self, instance):
        self.instance, self.dump = instance, instance.folder / "fanfare.dump"

    def __call__(self, name, *arguments):
        tool = str(self.instance.programs / name)
        return subprocess.run(
            [*as_unprivileged_user(), tool, *arguments], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            env={"PGHOST": "127.0.0.1", "PGPORT": str(self.instance.port), "PGUSER": USER, "PGPASSWORD": DATABASE_PASSWORD, "PATH": "/usr/bin:/bin"},
        )

    def back_up(self):
        done = self("pg_dump", "--format=custom", f"--file={self.dump}", DATABASE)
        assert done.returncode == 0, done.stderr

    def lose(self):
        self.instance.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)", database="postgres")

    def create(self):
        self.instance.sql(f"CREATE DATABASE {DATABASE} OWNER {USER}", database="postgres")

    def restore(self):
        return self("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", f"--dbname={DATABASE}", str(self.dump))


@pytest.fixture
def database(real_postgres):
    return Database(real_postgres())


def storage(database):
    return {"storage": {"url": database.instance.url}}


def test_a_postgresql_is_lost(launch, database):
    server = launch(**storage(database))
    world = World(server)
    database.back_up()
    Door(server).register("late@example.com")
    server.stop()
    database.lose()
    database.create()
    done = database.restore()
    assert done.returncode == 0, done.stderr
    server.start()
    world.is_back(server)


def test_half_a_dump_restores_nothing(launch, database):
    server = launch(**storage(database))
    World(server)
    database.back_up()
    server.stop()
    database.lose()
    database.create()
    whole = database.dump.read_bytes()
    database.dump.write_bytes(whole[: len(whole) // 2])
    done = database.restore()
    assert done.returncode != 0 and "end of file" in done.stderr, done.stderr
    assert database.instance.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'") == ["0"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_older_program_does_not_start_with_a_newer_database(launch, real_postgres, kind):
    """An older program does not start with it, and reports why. One that already runs continues."""
    instance = real_postgres() if kind == "postgres" else None
    server = launch(**({"storage": {"url": instance.url}} if instance else {}))
    Door(server).register(ANN)
    upgrade = "INSERT INTO fanfare_schema (version) VALUES (99)"
    if instance:
        instance.sql(upgrade)
    else:
        with contextlib.closing(sqlite3.connect(server.folder / "data" / "fanfare.db")) as database:
            database.execute(upgrade)
            database.commit()
    assert Door(server).good("login", email=ANN, password=PASSWORD), "it knew the tables when it started"
    server.stop()
    server.spawn()
    assert server.wait() == 1
    assert "the database has schema version 99" in server.log() and "use a newer Fanfare" in server.log()
    listed = command(server, "user", "list")
    assert listed.returncode == 1 and "schema version 99" in listed.stderr


def test_the_page_has_these_commands():
    page = (ROOT / "docs/operate/backup.md").read_text()
    assert "pg_dump --format=custom" in page
    assert "pg_restore --exit-on-error --single-transaction --no-owner" in page
    assert "$F backup " in page and "$F restore " in page
