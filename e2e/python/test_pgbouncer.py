"""Accounts behind PgBouncer, where each transaction may use another connection of the server, and over a Unix socket."""

import concurrent.futures
import os
import subprocess

import pytest

import fanfare
from fanfare import free_port, program, wait_until
from postgres import DATABASE, PASSWORD as DATABASE_PASSWORD, USER, as_unprivileged_user, unprivileged_user
from test_sessions import PASSWORD, Door


class PgBouncer:
    """Two connections of the server for all clients, in transaction mode."""

    def __init__(self, database, **settings):
        self.port, self.folder = free_port(), database.folder / "pgbouncer"
        self.folder.mkdir()
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
            "auth_file": self.folder / "users", "pool_mode": "transaction", "default_pool_size": 2,
            "ignore_startup_parameters": "extra_float_digits", "logfile": self.folder / "log",
        } | settings
        (self.folder / "users").write_text(f'"{USER}" "{DATABASE_PASSWORD}"\n')
        lines = [f"{name} = {value}" for name, value in settings.items() if value is not None]
        server = f"{DATABASE} = host=127.0.0.1 port={database.port}"
        (self.folder / "ini").write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, unprivileged_user().pw_uid, unprivileged_user().pw_gid)
        command = [*as_unprivileged_user(), program("pgbouncer", "pgbouncer"), str(self.folder / "ini")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        self.url = f"postgres://{USER}:{DATABASE_PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def log(self):
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def bouncer(real_postgres, cleanup):
    def started(**settings):
        database = real_postgres()
        instance = PgBouncer(database, **settings)
        cleanup.callback(instance.stop)
        wait_until(lambda: "process up" in instance.log(), 20, "a PgBouncer")
        return instance, database

    return started


def test_transaction_mode_is_supported(bouncer, launch):
    instance, database = bouncer()
    servers = [launch(storage={"url": instance.url}) for _ in range(2)]
    doors = [Door(server) for server in servers]
    doors[0].register()

    def log_in_and_refresh(number):
        door = Door(servers[number % 2])
        login = door.good("login", email="ann@example.com", password=PASSWORD)
        fresh = door.good("refresh", refreshToken=login["refreshToken"])
        status, _ = door.call("POST", "/api/messages", {"content": f"m{number}"}, bearer=fresh["token"])
        assert status == 201
        status, page = door.call("GET", "/api/messages", bearer=fresh["token"])
        assert status == 200 and page["data"]["messages"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(log_in_and_refresh, range(60)))
    for server in servers:
        log = server.log()
        assert "the storage failed" not in log and "went wrong" not in log, log
    log = (database.folder / "log").read_text(errors="replace")
    assert "prepared statement" not in log and "transaction in progress" not in log, log
    # Fanfare's settings end with its transaction: the next client of the same connection must not find them.
    shown = database.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'fanfare' AND state LIKE 'idle in%'")
    assert shown == ["0"]


def test_a_parameter_that_is_refused(bouncer, launch):
    instance, _ = bouncer(ignore_startup_parameters=None)
    server = launch(storage={"url": instance.url})
    status, answer = Door(server).post("/api/auth/login", {"email": "ann@example.com", "password": PASSWORD})
    assert (status, answer["error"]) == (503, "the database is not available at the moment")
    assert "ignore_startup_parameters = extra_float_digits" in server.log()


@pytest.mark.parametrize("form", [
    "postgres://{user}@:{port}/{database}?host={folder}", "postgres://{user}@{encoded}:{port}/{database}",
    "postgres:///{database}?host={folder}&user={user}&port={port}",
])
def test_a_unix_socket_is_supported(real_postgres, launch, form, tmp_path):
    database = real_postgres()
    folder = str(database.folder)
    url = form.format(
        user=USER, port=database.port, database=DATABASE, folder=folder, encoded=folder.replace("/", "%2F"))
    (tmp_path / "fanfare.toml").write_text(f'[storage]\nurl = "{url}"\n')
    checked = fanfare.run("config", "check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    door = Door(launch(storage={"url": url}))
    assert door.register()["user"]["email"] == "ann@example.com"
    assert database.sql("SELECT email FROM users") == ["ann@example.com"]
