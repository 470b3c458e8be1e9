"""`fanfare restore`: the next start finds the backup's contents, whatever files are beside the database."""

import os
import shutil
import sqlite3
import stat
import subprocess

import pytest

import fanfare
from fanfare import run
from test_sessions import PASSWORD, Door


@pytest.fixture
def server(launch):
    return launch(log={"level": "info"})


def command(server, *arguments):
    return run("--config", str(server.config_file), *arguments, cwd=server.folder)


def emails(server):
    return sorted(line.split("\t")[1] for line in command(server, "user", "list").stdout.splitlines())


def backed_up(server):
    """A backup that contains ann; ben is added after it, in the write-ahead log that a crash leaves."""
    door = Door(server)
    door.register()
    made = command(server, "backup", "copy.db")
    assert made.returncode == 0, made.stderr
    door.register("ben@example.com")
    server.process.kill()
    server.process.wait(10)
    database = server.folder / "data" / "fanfare.db"
    log = database.with_name("fanfare.db-wal")
    assert log.stat().st_size > 0
    return server.folder / "copy.db", database, log


def test_a_backup_is_restored_over_a_write_ahead_log(server):
    copy, database, _ = backed_up(server)
    done = command(server, "restore", "copy.db")
    assert done.returncode == 0, done.stderr
    kept = done.stdout.splitlines()[1].split()[1]
    assert emails(server) == ["ann@example.com"]
    assert stat.S_IMODE(os.stat(database).st_mode) == 0o600 and copy.exists()
    assert emails_in(kept) == ["ann@example.com", "ben@example.com"], "nothing of the database before is lost"
    server.start()
    door = Door(server)
    assert door.good("login", email="ann@example.com", password=PASSWORD)
    assert door.register("cat@example.com"), "and it is written to"
    server.stop()
    assert emails(server) == ["ann@example.com", "cat@example.com"]
    left = {path.name for path in database.parent.iterdir()}
    assert not any(name.startswith("fanfare.db.restoring") for name in left), left


def emails_in(path):
    with sqlite3.connect(path) as database:
        return sorted(email for (email,) in database.execute("SELECT email FROM users"))


def test_a_backup_copied_over_the_file_is_reported_and_not_mixed_with_the_log(server):
    """Without the command: the old log is not replayed into it, and the server reports why."""
    copy, database, _ = backed_up(server)
    shutil.copyfile(copy, database)
    server.start()
    door = Door(server)
    assert door.post("/api/auth/login", {"email": "ben@example.com", "password": PASSWORD})[0] == 401
    assert door.good("login", email="ann@example.com", password=PASSWORD)
    assert "a backup was copied over the database" in server.log()
    assert door.register("cat@example.com")
    server.stop()
    assert emails(server) == ["ann@example.com", "cat@example.com"]


def test_a_restore_is_refused_while_the_server_runs(server):
    door = Door(server)
    door.register()
    assert command(server, "backup", "copy.db").returncode == 0
    door.register("ben@example.com")
    done = command(server, "restore", "copy.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the database is in use: stop the server" in done.stderr
    assert emails(server) == ["ann@example.com", "ben@example.com"]
    assert not list((server.folder / "data").glob("*restor*"))


def test_a_backup_is_restored_without_an_existing_database(server):
    copy, database, log = backed_up(server)
    for path in database.parent.glob("fanfare.db*"):
        if path != log:
            path.unlink()
    done = command(server, "restore", "copy.db")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stderr
    assert emails(server) == ["ann@example.com"], "a log that is left alone is not replayed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("left", ["fanfare.db", "the folder alone"])
def test_the_owner_stays(server, left):
    """Root restores, and the server runs as another user."""
    _, database, _ = backed_up(server)
    for path in database.parent.glob("fanfare.db*"):
        if path.name == left:
            os.chown(path, 65534, 65533)
        elif left != "fanfare.db":
            path.unlink()
    if left != "fanfare.db":
        os.chown(database.parent, 65534, 65533)
    done = command(server, "restore", "copy.db")
    assert done.returncode == 0, done.stderr
    found = database.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65533, 0o600)


def test_files_that_are_not_backups_are_refused(server):
    copy, database, _ = backed_up(server)
    before = emails(server)
    whole = copy.read_bytes()
    other = sqlite3.connect(server.folder / "other.db")
    other.execute("CREATE TABLE users (id TEXT)")
    other.close()
    newer = server.folder / "newer.db"
    newer.write_bytes(whole)
    with sqlite3.connect(newer) as changed:
        changed.execute("INSERT INTO fanfare_schema (version) VALUES (99)")
    changed.close()
    (server.folder / "half.db").write_bytes(whole[: len(whole) // 2])
    (server.folder / "text.db").write_text("this is a text, and long enough to be looked at as a header of some file")
    (server.folder / "empty.db").write_bytes(b"")
    for name, reason in [
        ("half.db", "no backup of Fanfare: damaged"), ("text.db", "no SQLite database"), ("empty.db", "no SQLite database"),
        ("other.db", "no tables of Fanfare"), ("newer.db", "schema version 99"), ("missing.db", "No such file"),
        (str(database), "the database itself"),
    ]:
        done = command(server, "restore", name)
        assert (done.returncode, done.stdout) == (1, ""), (name, done.stdout)
        assert reason in done.stderr, (name, done.stderr)
        assert emails(server) == before, name
    done = command(server, "--set", "storage.url=postgres://u:hunter2@h/d", "restore", "copy.db")
    assert done.returncode == 1 and "pg_restore" in done.stderr and "hunter2" not in done.stderr


def test_a_backup_warns_about_the_secret(tmp_path):
    """The warning is about the generated secret; a configured one is the operator's responsibility."""
    assert run("user", "add", "ann@example.com", cwd=tmp_path).returncode == 0
    assert "secret" not in run("backup", "one.db", cwd=tmp_path).stderr, "there is none yet"
    assert run("token", "--user", "ann", cwd=tmp_path).returncode == 0
    done = run("backup", "two.db", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    [secret] = [path for path in (tmp_path / "data").iterdir() if not path.name.startswith("fanfare.db")]
    assert f"data/{secret.name}" in done.stderr and secret.read_text().strip() not in done.stderr
    configured = "auth.jwt_secret=0123456789abcdef0123456789abcdef"
    assert "secret" not in run("--set", configured, "backup", "three.db", cwd=tmp_path).stderr


def test_a_condition_that_stays_is_logged_once(launch):
    """Every request and every periodic task of the server finds the damage again."""
    server = fanfare.Fanfare()
    data = server.folder / "data"
    data.mkdir(mode=0o700)
    (data / "fanfare.db").write_text("this is a text, and long enough to be looked at as a header of some file")
    (data / "fanfare.db").chmod(0o444)
    try:
        server.start()
        for _ in range(5):
            assert Door(server).post("/api/auth/login", {"email": "a@example.com", "password": PASSWORD})[0] == 503
        log = server.log()
        assert log.count("other users may access the database") == 1, log
        assert log.count("the storage failed") == 1, log
    finally:
        server.kill()
