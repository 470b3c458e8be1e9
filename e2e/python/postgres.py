"""A real PostgreSQL server for one test, which a test may stop, hang and start again. Standard library only."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from fanfare import free_port, wait_until

PASSWORD = "a-password-that-no-log-may-hold"
USER, DATABASE = "fanfare", "accounts"
TERMINATE = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{USER}'"


def programs():
    """The folder of the programs of Debian's package `postgresql`; the newest version if there are several."""
    found = pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    if newest is None:
        raise RuntimeError("PostgreSQL is missing: install it with `apt-get install postgresql`")
    return newest.parent


def as_unprivileged_user():
    """A command prefix that changes the user, because PostgreSQL refuses to run as root. The process ends if the tests are killed."""
    command = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        command += [f"--reuid={unprivileged_user().pw_uid}", f"--regid={unprivileged_user().pw_gid}", "--clear-groups"]
    return command


def unprivileged_user():
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("there is no user to run PostgreSQL as")


class Postgres:
    """A server with one database and one user without superuser rights, which keeps its port over restarts."""

    def __init__(self):
        self.port, self.programs, self.process = free_port(), programs(), None
        # Not below TMPDIR: another user must be able to reach it.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-pg.", dir="/tmp"))
        if os.geteuid() == 0:
            os.chown(self.folder, unprivileged_user().pw_uid, unprivileged_user().pw_gid)
        self.url = f"postgres://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def create(self):
        """Creates the files, starts the server, and creates the user and the database."""
        options = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        self._run("initdb", *options, "--no-locale", "--no-sync", "-D", str(self.folder / "data"))
        self.start()
        self.sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'", database="postgres")
        self.sql(f"CREATE DATABASE {DATABASE} OWNER {USER}", database="postgres")
        return self

    def start(self):
        settings = [f"listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.folder}"]
        settings += ["fsync=off", "max_connections=60", "shared_buffers=8MB"]
        command = [*as_unprivileged_user(), str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += [part for setting in settings for part in ("-c", setting)]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        wait_until(self._answers, 30, "a PostgreSQL that answers")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("PostgreSQL ended:\n" + (self.folder / "log").read_text(errors="replace"))
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.sql("SELECT 1", database="postgres") == ["1"]

    def stop(self):
        """Stops at once, as a machine that loses power: clients get no message, and the next start recovers."""
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None

    def hang(self):
        """Suspends the server and its connections' processes; their sockets stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in [pid, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def remove(self):
        if self.process:
            self.resume()
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, *statements, database=DATABASE):
        """Runs an administrator's statements; returns the lines of the results, with columns separated by `|`."""
        commands = [part for statement in statements for part in ("-c", statement)]
        return self._run("psql", *self._as_administrator(database), *commands).splitlines()

    def terminate(self):
        """Ends all connections of the user."""
        self.sql(TERMINATE)

    def _as_administrator(self, database):
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", database]
        return ["-qAtX", "-v", "ON_ERROR_STOP=1", *where]

    def _run(self, program, *arguments):
        command = [*as_unprivileged_user(), str(self.programs / program), *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", timeout=60)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, program, done.stdout, done.stderr)
        return done.stdout


class Session:
    """An administrator's connection, for many statements in quick succession."""

    END = "-- that is all --"

    def __init__(self, server):
        command = [*as_unprivileged_user(), str(server.programs / "psql"), *server._as_administrator(DATABASE)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd="/")

    def sql(self, statement):
        """As `Postgres.sql`."""
        self.process.stdin.write(f"{statement};\n\\echo '{self.END}'\n")
        self.process.stdin.flush()
        lines = []
        while (line := self.process.stdout.readline().rstrip("\n")) != self.END:
            assert line or self.process.poll() is None, "psql ended"
            lines.append(line)
        return lines

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
