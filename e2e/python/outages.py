"""Helpers of the tests of database outages: the ways to make a database unavailable, and what the tests check meanwhile."""

import concurrent.futures
import contextlib
import json
import os
import sqlite3
import subprocess
import threading
import time

import pytest

import postgres
from fanfare import token, wait_until
from test_sessions import PASSWORD, Door, coded, refused

BOUND = 20  # the most seconds for an answer; it should take ten
ADMIN = {"roles": ["admin"]}
ACCOUNTS = "the database is not available at the moment"
MESSAGES = refused(ACCOUNTS)
# The requests: whether they write, and their answer while the database is unavailable.
ASKED = {
    "register": (True, refused(ACCOUNTS)), "login": (True, refused(ACCOUNTS)), "refresh": (True, refused(ACCOUNTS)),
    "me": (False, refused(ACCOUNTS)), "open": (True, coded("SERVER_FULL", ACCOUNTS)),
    "refresh a session": (True, coded("SERVER_FULL", ACCOUNTS)), "end a session": (False, coded("SERVER_FULL", ACCOUNTS)),
    "write": (True, MESSAGES), "read": (False, MESSAGES),
}
WRITING = {name for name, (writes, _) in ASKED.items() if writes}


class Scene:
    """A server with a logged-in user, clients that are already connected, and a writer that runs all the time."""

    def __init__(self, server, speak):
        self.server, self.speak, self.made = server, speak, 0
        self.door = Door(server)
        self.ann = wait_until(self.try_to_register, BOUND, "a user")
        self.session = self.door.open()
        self.token, self.user = self.ann["token"], self.ann["user"]["id"]
        self.enter_anew()

    def enter_anew(self):
        """Opens the clients that stay connected."""
        self.topics = self.enter("topics").subscribe("scores.final")
        self.rooms, self.notify = self.enter("rooms"), self.enter("notify")
        self.messages = self.speak(self.server, "topics", "root", claims=ADMIN).subscribe("messages")

    def try_to_register(self):
        """The database's error; None if it is available."""
        status, answer = self.door.post("/api/auth/register", {"email": "ann@example.com", "password": PASSWORD})
        return answer.get("data") if status != 503 else None

    def enter(self, dialect):
        """Opens a connection with the token of a login."""
        client = self.speak(self.server, dialect, user=None, query={"token": self.token})
        if dialect == "topics":
            client.prove(self.token)
        return client

    def goes_on(self):
        """Connected clients still receive events, and a client with a token can connect."""
        self.made += 1
        with contextlib.closing(self.enter("notify")) as new:
            for to in ({"channel": "scores.final"}, {"user": self.user}):
                event = json.dumps({"to": to, "type": "score", "data": {"n": self.made}})
                answer = self.server.get("/api/v1/events", "POST", event, Authorization=f"Bearer {token('root', **ADMIN)}")
                assert answer.status == 200, answer.text
            assert self.topics.next_json()["data"] == {"n": self.made}
            for client in (self.notify, new):
                assert client.next_json()["payload"] == {"n": self.made}
            assert self.rooms.next_json()["data"] == {"n": self.made}
        for client in (self.topics, self.rooms):
            client.alive()

    # --- requests ---

    def ask(self, name):
        """Returns (status, body, Retry-After)."""
        number, ann, path = time.monotonic_ns(), {"password": PASSWORD}, None
        match name:
            case "register":
                asked = "POST", "/api/auth/register", ann | {"email": f"u{number}@example.com"}
            case "login":
                asked = "POST", "/api/auth/login", ann | {"email": "ann@example.com"}
            case "refresh":
                asked = "POST", "/api/auth/refresh", {"refreshToken": self.ann["refreshToken"]}
            case "me":
                asked = "GET", "/api/auth/me", None
            case "open":
                asked = "POST", "/sessions", ann | {"username": "ann@example.com"}
            case "refresh a session":
                asked = "POST", "/sessions/refresh", {"refresh_token": self.session["refresh_token"]}
            case "end a session":
                # A session that does not exist: 404 once the database answers.
                asked = "DELETE", "/sessions/019e0c62-0000-7000-8000-000000000000", None
            case "write":
                asked = "POST", "/api/messages", {"content": f"m{number}"}
            case "read":
                asked = "GET", "/api/messages", None
        method, path, body = asked
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self.server.get(path, method, body and json.dumps(body), timeout=BOUND, **headers)
        return answer.status, json.loads(answer.text), answer.getheader("Retry-After")

    def ask_all(self, names):
        names = sorted(names)
        with concurrent.futures.ThreadPoolExecutor(len(ASKED)) as pool:
            return dict(zip(names, pool.map(self.ask, names)))

    def is_refused(self, names):
        """Each answer is 503 in the form of its document, with Retry-After and no details."""
        for name, answer in self.ask_all(names).items():
            assert answer == (503, ASKED[name][1], "5"), (name, answer)

    def is_answered(self, names):
        for name, (status, said, _) in self.ask_all(names).items():
            assert status in (200, 201, 404) and (status == 404) == (name == "end a session"), (name, status, said)

    def recovers(self):
        """Everything works again without any intervention."""
        wait_until(lambda: all(status != 503 for status, *_ in self.ask_all(ASKED).values()), BOUND, "the end of it")
        self.is_answered(ASKED)
        self.goes_on()
        # Waits until no request has failed for a while.
        wait_until(lambda: self.ask("write")[0] == 201 and len(set(self.storage_reports())) == 1, BOUND, "the log to report the end")

    # --- the log ---

    def storage_reports(self):
        """How often the log reports that storage was lost, and that it is back."""
        log = self.server.log()
        assert PASSWORD not in log and postgres.PASSWORD not in log and self.token not in log
        assert "panicked" not in log
        return log.count("the storage failed"), log.count("the storage is back")


class Author(threading.Thread):
    """Writes messages until it is stopped, whatever the answers; stores which were acknowledged."""

    def __init__(self, scene):
        super().__init__(daemon=True)
        self.scene, self.acknowledged, self.statuses, self.ended = scene, [], set(), threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.01):
            status, said, _ = self.scene.ask("write")
            self.statuses.add(status)
            if status == 201:
                self.acknowledged.append(said["data"]["id"])

    def stop(self):
        """Each acknowledged message is stored once and was delivered once. (Others may also be.)"""
        self.ended.set()
        self.join()
        assert self.statuses <= {201, 503}
        scene, stored, query = self.scene, [], "?limit=100"
        while query:
            answer = scene.server.get("/api/messages" + query, Authorization=f"Bearer {scene.token}")
            data = json.loads(answer.text)["data"]
            stored += [message["id"] for message in data["messages"]]
            query = data["nextCursor"] and f"?limit=100&cursor={data['nextCursor']}"
        assert len(set(stored)) == len(stored) and set(self.acknowledged) <= set(stored)
        arrived = []
        while not set(self.acknowledged) <= set(arrived):
            arrived.append(scene.messages.next_json()["data"]["id"])
        assert len(set(arrived)) == len(arrived) and set(arrived) <= set(stored)


# --- the ways to make a database unavailable ---


class SqliteOutage:
    """`folder` is the data folder. Unless the file is gone, reads still work."""

    stops = WRITING

    def __init__(self, folder, cleanup):
        self.folder, self.file, self.cleanup = folder, folder / "fanfare.db", cleanup


class Locked(SqliteOutage):
    """Another process holds a transaction open."""

    def begin(self):
        self.other = sqlite3.connect(self.file, isolation_level=None, timeout=20)
        self.cleanup.callback(self.other.close)
        self.other.execute("BEGIN EXCLUSIVE")

    def end(self):
        self.other.execute("ROLLBACK")


class Full(SqliteOutage):
    """The disk of the file is full."""

    def begin(self):
        with contextlib.suppress(OSError), open(self.folder / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))

    def end(self):
        (self.folder / "filler").unlink()


class Gone(SqliteOutage):
    """The files are moved away for a while."""

    stops = set(ASKED)

    def begin(self):
        self.move(self.folder, self.folder / "elsewhere")

    def end(self):
        assert not self.file.exists(), "an empty file would look like a loss of all data"
        self.move(self.folder / "elsewhere", self.folder)

    @staticmethod
    def move(here, there):
        there.mkdir(exist_ok=True)
        for file in list(here.glob("fanfare.db*")):
            file.rename(there / file.name)


class PostgresOutage:
    stops = set(ASKED)

    def __init__(self, server):
        self.server = server


class Stopped(PostgresOutage):
    """The server is killed as by a loss of power, and started again."""

    def begin(self):
        self.server.stop()

    def end(self):
        self.server.start()


class Hanging(PostgresOutage):
    """The server accepts connections and does not answer."""

    def begin(self):
        self.server.hang()

    def end(self):
        self.server.resume()


class NoConnectionLeft(PostgresOutage):
    """All connections are ended and no new one is accepted."""

    def begin(self):
        # In one session: between two, some remaining connections would be served while others are refused.
        self.server.sql(f"ALTER ROLE {postgres.USER} CONNECTION LIMIT 0", postgres.TERMINATE)

    def end(self):
        self.server.sql(f"ALTER ROLE {postgres.USER} CONNECTION LIMIT -1")


class ReadOnly(PostgresOutage):
    """The database accepts no changes for a while, as a standby."""

    stops = WRITING

    def begin(self):
        self._set("on")

    def end(self):
        self._set("off")

    def _set(self, value):
        self.server.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}", database="postgres")
        self.server.sql("SELECT pg_reload_conf()", database="postgres")
        shown = lambda: self.server.sql("SHOW default_transaction_read_only") == [value]
        wait_until(shown, what="a setting that is in force")


@contextlib.contextmanager
def small_disk(folder, size):
    """A separate file system at `folder`; only root can make one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        yield folder
    finally:
        # The server may have its database there; it is ended after this.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)
