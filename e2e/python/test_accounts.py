"""Users, API keys and backups from the command line, on SQLite."""

import os
import sqlite3
import stat
import subprocess

import pytest

from fanfare import binary, environment, run


@pytest.fixture
def here(tmp_path):
    """Runs commands in an empty folder."""

    def command(*arguments, **options):
        return run(*arguments, cwd=tmp_path, **options)

    return command


def pairs(done):
    """The values that a creating command printed."""
    assert done.returncode == 0, done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def table(done):
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_user_commands_add_list_and_change_users(here, tmp_path):
    alice = pairs(here("user", "add", " Alice@Example.com", "--role", "admin", "--role", "staff", "--name", "Alice"))
    assert len(alice["password"]) == 20
    bob = pairs(here("user", "add", "bob@example.com", "--password-stdin", input="correct horse\n"))
    assert list(bob) == ["id"]
    assert stat.S_IMODE(os.stat(tmp_path / "data" / "fanfare.db").st_mode) == 0o600

    assert table(here("user", "list")) == [
        [alice["id"], "alice@example.com", "admin,staff", "enabled", "-", "Alice"],
        [bob["id"], "bob@example.com", "user", "enabled", "-", "-"],
    ]
    for command in (
        ("disable", "bob@example.com"), ("set-role", alice["id"], "user"),
    ):
        done = here("user", *command)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [row[2:4] for row in table(here("user", "list"))] == [["user", "enabled"], ["user", "disabled"]]
    assert here("user", "enable", bob["id"]).returncode == 0
    assert here("user", "set-password", bob["id"], "--password-stdin", input="another horse").stdout == ""
    assert len(pairs(here("user", "set-password", "bob@example.com"))["password"]) == 20


REFUSED = [
    (("user", "add", "alice@example.com"), "", 1, "the address is taken"),
    (("user", "add", "nobody"), "", 2, "email: not an e-mail address"),
    (("user", "add", "b@example.com", "--password-stdin"), "short\n", 2, "password: shorter than 8 bytes"),
    (("user", "add", "b@example.com", "--role", "a b"), "", 2, "role: expected 1 to 64 bytes without spaces"),
    (("user", "disable", "b@example.com"), "", 1, "there is no such user"),
    (("user", "disable"), "", 2, "USER"),
    (("user", "set-role", "alice@example.com"), "", 2, "ROLE"),
    (("key", "create", "x", "--scope", "all"), "", 2, "expected publish, read or admin"),
    (("key", "create", ""), "", 2, "name: expected 1 to 200 bytes"),
    (("key", "revoke", "x"), "", 1, "there is no such API key"),
    (("--set", "storage.url=mysql://u:hunter2@h/d", "user", "list"), "", 2, "storage.url"),
    (("--set", "storage.url=postgres://u:hunter2@127.0.0.1:1/d", "user", "list"), "", 1, "not available: no connection"),
]


@pytest.mark.parametrize("arguments, given, code, words", REFUSED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_a_refused_command_names_the_problem_and_no_password(here, arguments, given, code, words):
    pairs(here("user", "add", "alice@example.com"))
    done = here(*arguments, input=given)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_key_commands_create_list_and_revoke_keys(here):
    first = pairs(here("key", "create", "back end"))
    second = pairs(here("key", "create", "all", "--scope", "admin", "--scope", "read"))
    assert first["key"].startswith("ff_") and len(first["key"]) == 46 and first["key"] != second["key"]
    assert here("key", "revoke", first["id"]).returncode == 0
    rows = table(here("key", "list"))
    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [
        (first["id"], "publish", "revoked", "back end"), (second["id"], "admin,read", "good", "all"),
    ]
    assert [row[5] for row in rows] == ["-", "-"], "neither was used"
    assert first["key"] not in here("key", "list").stdout


def test_a_backup_is_a_private_copy_of_the_database(here, tmp_path):
    pairs(here("user", "add", "alice@example.com"))
    done = here("backup", "copy.db")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(os.stat(tmp_path / "copy.db").st_mode) == 0o600
    with sqlite3.connect(tmp_path / "copy.db") as database:
        assert database.execute("SELECT email FROM users").fetchall() == [("alice@example.com",)]
    restored = here("--set", "storage.url=sqlite://copy.db", "user", "list")
    assert table(restored)[0][1] == "alice@example.com"
    assert "copy.db: File exists" in here("backup", "copy.db").stderr


def test_a_backup_without_a_sqlite_database_is_refused(here, tmp_path):
    done = here("backup", "copy.db")
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "no such database" in done.stderr
    done = here("--set", "storage.url=postgres://u:hunter2@h/d", "backup", "copy.db")
    assert done.returncode == 1
    assert "pg_dump" in done.stderr and "hunter2" not in done.stderr


@pytest.mark.parametrize("command", ["user list", "config default", "key list", "help"])
def test_a_closed_reader_of_the_output_is_not_an_error(here, tmp_path, command):
    pairs(here("user", "add", "alice@example.com"))
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [binary(), *command.split()], stdout=gone, stderr=subprocess.PIPE, text=True, timeout=20, cwd=tmp_path, env=environment())
    assert (done.returncode, "panicked" in done.stderr) == (0, False), done.stderr
