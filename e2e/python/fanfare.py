"""Starts the real binary with a test's own configuration, and sends requests to it. Standard library only."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECRET = "a-secret-for-tests-that-is-long-enough-for-hs256"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 20.0


def binary():
    """The program under test: FANFARE_BIN, or else the binary that cargo built last."""
    given = os.environ.get("FANFARE_BIN")
    built = [ROOT / "target" / profile / "fanfare" for profile in ("debug", "release")]
    candidates = [pathlib.Path(given)] if given else sorted((b for b in built if b.exists()), key=os.path.getmtime)
    if not candidates or not candidates[-1].exists():
        raise RuntimeError("no fanfare binary: build one, or set FANFARE_BIN")
    return str(candidates[-1])


def program(package, *names):
    """The path of a program from the Debian package `package`. A test that needs a missing program fails."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if not found:
        raise RuntimeError(f"{names[0]} is missing: install it with `apt-get install {package}`")
    return found


# Below the ports that the system gives to outgoing connections: one of those may be taken before a server binds it. Each of the suite's
# processes has ports of its own, so that none takes one that another keeps for a server that is down for a moment.
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = itertools.cycle(random.sample(range(10_000 + _process % 4 * 5_000, 15_000 + _process % 4 * 5_000), 5_000))


def free_port():
    """A port that no program uses; each call returns another one."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition, timeout=30.0, what="the condition"):
    """Calls `condition` until it returns a true value, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.02)


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(user, ttl=3600, secret=SECRET, **claims):
    """A signed HS256 token. A claim given as None is left out."""
    now = int(time.time())
    body = {"sub": user, "iat": now, "exp": now + ttl, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    signed = _b64(b'{"alg":"HS256","typ":"JWT"}') + "." + _b64(json.dumps(body).encode())
    return signed + "." + _b64(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def toml_value(value):
    """A value as TOML. Scalars and arrays are as in JSON; objects become inline tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def toml(config):
    """A dict of tables as TOML; a list of dicts becomes an array of tables."""
    top, tables = [], []
    for name, value in config.items():
        if isinstance(value, dict):
            tables += [f"\n[{name}]", *(f"{key} = {toml_value(item)}" for key, item in value.items())]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for table in value:
                tables += [f"\n[[{name}]]", *(f"{key} = {toml_value(item)}" for key, item in table.items())]
        else:
            top.append(f"{name} = {json.dumps(value)}")
    return "\n".join(top + tables) + "\n"


def environment(**more):
    """The few variables that a program needs to run: the server would use a JWT_SECRET_KEY or REDIS_URL of the developer's."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "RUST_BACKTRACE", "LLVM_PROFILE_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | more


def run(*arguments, input=None, timeout=20, cwd=None, **env):
    """Runs one `fanfare` command to its end."""
    return subprocess.run(
        [binary(), *arguments], input=input, stdin=None if input is not None else subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout, cwd=cwd, env=environment(**env),
    )


class Fanfare:
    """One running server: notify on a free port, the RESP door on another, both on loopback.

    Further tables of the configuration are given by name, and laid over the default ones; None removes one.
    """

    def __init__(self, port=None, descriptors=None, env=None, prefix="", arguments=(), wrapper=(), **tables):
        self.port, self.resp_port, self.prefix = port or free_port(), free_port(), prefix
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fanfare-"))
        self.config = {
            "data_dir": str(self.folder / "data"),
            "listener": [{"bind": f"127.0.0.1:{self.port}", "dialects": ["notify"]}],
            "auth": {"jwt_secret": SECRET},
            "shutdown": {"timeout": "10s", "drain_window": "200ms"},
        }
        if tables.get("broker", {}).get("kind", "memory") == "memory":
            self.config["resp"] = {"bind": f"127.0.0.1:{self.resp_port}"}
        for name, value in tables.items():
            merge = isinstance(value, dict) and isinstance(self.config.get(name), dict)
            self.config[name] = self.config[name] | value if merge else value
        self.config = {name: value for name, value in self.config.items() if value is not None}
        if prefix:
            self.config["listener"][0]["prefix"] = prefix
        self.config_file = self.folder / "fanfare.toml"
        self.log_file = self.folder / "log"
        self.descriptors = descriptors
        self.env = env or {}
        self.arguments = arguments
        self.wrapper = wrapper  # a command that runs the server's command
        self.process = None

    # --- lifetime ---

    def spawn(self):
        """Starts the process without waiting for it."""
        self.config_file.write_text(toml(self.config))
        command = [*self.wrapper, binary(), "serve", "--config", str(self.config_file), *self.arguments]
        if self.descriptors:
            command = ["sh", "-c", f'ulimit -n {self.descriptors}; exec "$@"', "sh", *command]
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=environment(**self.env),
            )
        return self

    def start(self):
        self.spawn()
        wait_until(self._is_up, START_TIMEOUT, "a server that answers /livez")
        return self

    def _is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"fanfare ended at once with {self.process.returncode}:\n{self.log()}")
        try:
            return "listening" in self.log() and self.get("/livez").status == 200
        except OSError:
            return False

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=STOP_TIMEOUT):
        return self.process.wait(timeout)

    def stop(self):
        """Ends it with SIGTERM; the exit code must be 0."""
        self.signal()
        code = self.wait()
        assert code == 0, f"fanfare ended with {code}:\n{self.log()}"

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # --- requests ---

    def ws(self, user=None, **claims):
        """The address of the WebSocket endpoint, with a token for `user`."""
        query = f"?token={token(user, **claims)}" if user is not None else ""
        return f"ws://127.0.0.1:{self.port}{self.prefix}/ws{query}"

    def get(self, path, method="GET", body=None, timeout=30, **headers):
        """Sends one HTTP request. Header names are written with underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, self.prefix + path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            answer.text = answer.read().decode()
            return answer

    def json(self, path):
        return json.loads(self.get(path).text)

    def metrics(self):
        """The message counters of /metrics."""
        return self.json("/metrics")["messages"]

    def prometheus(self, name):
        """The sum of a metric over its labels, read from /metrics/prometheus."""
        lines = self.get("/metrics/prometheus").text.splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if re.match(rf"{name}(\{{| )", line)]
        assert values, f"no metric {name}"
        return sum(map(float, values))

    def memory(self):
        """Its resident bytes."""
        return int(re.search(r"VmRSS:\s+(\d+) kB", self._proc("status"))[1]) * 1024

    def cpu_seconds(self):
        fields = self._proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name):
        return pathlib.Path(f"/proc/{self.process.pid}/{name}").read_text()

    def connections(self):
        return self.json("/health")["websocket"]["active_connections"]


@contextlib.contextmanager
def running(**arguments):
    """A server for a `with` block; if the block succeeds, the server must end cleanly."""
    server = Fanfare(**arguments)
    try:
        yield server.start()
        if server.process.poll() is None:
            server.stop()
    except BaseException:
        print(server.log())  # pytest shows it with the failure
        raise
    finally:
        server.kill()


class Redis:
    """A real Redis (or Valkey) that keeps its port over restarts."""

    def __init__(self, password=None, env=None):
        self.port, self.password, self.process = free_port(), password, None
        self.env = os.environ | (env or {})
        self.folder = tempfile.mkdtemp(prefix="redis-")
        self.program = program("redis-server", "redis-server", "valkey-server")
        self.url = f"redis://{':' + password + '@' if password else ''}127.0.0.1:{self.port}/0"

    def start(self):
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        options += ["--dir", self.folder, "--loglevel", "warning"]
        options += ["--requirepass", self.password] if self.password else []
        self.process = subprocess.Popen(
            [self.program, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=self.env
        )
        wait_until(self._answers, what="a Redis that accepts")
        return self

    def _answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
