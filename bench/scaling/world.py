"""Nodes, a broker and clients for the measurements: real processes on loopback, each on one core, and their figures from the kernel."""

import contextlib
import json
import os
import pathlib
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e" / "python"))
from fanfare import Fanfare, free_port, program, token, wait_until  # noqa: E402
from wire import Resp, frame, upgrade_request  # noqa: E402

NODES_CORE, OTHERS_CORE = {0}, {1}  # the nodes have a core of their own, the broker and the clients share the other
ROOMS_PATH = "/api/v1/ws/connect"


def cpu_seconds(pid):
    """Returns the user and system time of a process, to the nanosecond, without threads that have ended."""
    threads = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def pss(pid):
    """Returns the proportional memory of a process, in bytes."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


class RedisBroker:
    """One Redis server."""

    name = "one Redis"

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="scaling-")
        self.ports, self.processes = [free_port()], []

    def start(self):
        for port in self.ports:
            self.processes.append(self.launch(port))
        for port in self.ports:
            wait_until(lambda: self.answers(port), what="a broker that answers")
        return self

    def launch(self, port, *more):
        command = [program("redis-server", "redis-server", "valkey-server"), "--port", str(port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self.folder, "--loglevel", "warning", *more]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def answers(self, port):
        with contextlib.suppress(OSError), Resp(port) as door:
            return door.call("PING") == "PONG"

    def table(self):
        """Returns the nodes' `[broker]` section."""
        return {"kind": "redis", "url": f"redis://127.0.0.1:{self.ports[0]}"}

    def publisher(self):
        return RedisPublisher(self.ports)

    def pids(self):
        return [process.pid for process in self.processes]

    def memory(self):
        """Returns the size of the servers' data, in bytes."""
        total = 0
        for port in self.ports:
            with Resp(port) as door:
                lines = door.call("INFO", "memory").decode().splitlines()
            total += next(int(line.split(":")[1]) for line in lines if line.startswith("used_memory:"))
        return total

    def flush(self):
        for port in self.ports:
            with Resp(port) as door:
                door.call("FLUSHALL")

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisCluster(RedisBroker):
    """A Redis Cluster of three masters."""

    name = "Redis Cluster of three"

    def __init__(self):
        super().__init__()
        self.ports = [free_port() for _ in range(3)]

    def launch(self, port):
        # The default port of the bus is port + 10000, which may be in use.
        bus = ["--cluster-port", str(free_port())]
        return super().launch(port, "--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf", *bus)

    def start(self):
        super().start()
        hosts = [f"127.0.0.1:{port}" for port in self.ports]
        create = [program("redis-tools", "redis-cli", "valkey-cli"), "--cluster", "create", *hosts, "--cluster-yes"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL, timeout=60)
        for port in self.ports:
            wait_until(lambda: self.is_whole(port), what="a whole cluster")
        return self

    def is_whole(self, port):
        with Resp(port) as door:
            return b"cluster_state:ok" in door.call("CLUSTER", "INFO")

    def table(self):
        return {"kind": "redis", "cluster": [f"redis://127.0.0.1:{port}" for port in self.ports]}


class NatsBroker(RedisBroker):
    """One NATS server with JetStream."""

    name = "one NATS"

    def launch(self, port):
        command = [program("nats-server", "nats-server"), "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", self.folder]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers(self, port):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as peer:
            return peer.recv(4) == b"INFO"

    def table(self):
        return {"kind": "nats", "url": f"nats://127.0.0.1:{self.ports[0]}"}

    def publisher(self):
        return NatsPublisher(self.ports[0])

    def memory(self):
        """Returns the memory of the server's process, in bytes: the server does not count its data."""
        return sum(map(pss, self.pids()))


class RedisPublisher:
    """A backend that publishes on Redis, many events with one write."""

    def __init__(self, ports):
        self.doors = [Resp(port, 60) for port in ports]

    def publish(self, messages):
        """Publishes `(user or None for everyone, text)`, and waits until the server has all of them."""
        parts = [[] for _ in self.doors]
        for number, (user, text) in enumerate(messages):
            channel = f"user_noti:{user}" if user else "fanfare:everyone"
            parts[number % len(self.doors)].append(Resp.encode("PUBLISH", channel, text))
        for door, part in zip(self.doors, parts):
            door.raw(b"".join(part))
        for door, part in zip(self.doors, parts):
            for _ in part:
                door.read()


class NatsPublisher:
    """A backend that publishes on NATS."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\n')

    def publish(self, messages):
        lines = []
        for user, text in messages:
            subject = f"user_noti.{user}" if user else "fanfare.everyone"
            lines.append(f"PUB {subject} {len(text)}\r\n{text}\r\n".encode())
        self.socket.sendall(b"".join(lines) + b"PING\r\n")
        while self.file.readline() != b"PONG\r\n":
            pass


class Clients:
    """WebSocket connections that count the frames they receive. The server's frames are short, so the heads show where each ends."""

    def __init__(self):
        self.selector, self.received, self.rest, self.sockets = selectors.EpollSelector(), 0, {}, []

    def connect(self, node, user, path="/ws"):
        peer = socket.create_connection(("127.0.0.1", node.port), 30)
        peer.sendall(upgrade_request(f"{path}?token={token(user)}"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 "), head
        peer.setblocking(False)
        self.sockets.append(peer)
        self.rest[peer] = head.split(b"\r\n\r\n", 1)[1]
        self.count(peer)
        self.selector.register(peer, selectors.EVENT_READ)
        return peer

    def count(self, peer):
        """Removes whole frames from the bytes that were read. Returns their payloads."""
        data, at, payloads = self.rest[peer], 0, []
        while len(data) - at >= 2:
            size, start = data[at + 1] & 0x7F, at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if len(data) < start + size:
                break
            payloads.append(data[start : start + size])
            at = start + size
        self.rest[peer] = data[at:]
        self.received += len(payloads)
        return payloads

    def poll(self, timeout=0.0):
        """Reads the frames that have arrived. Returns the payloads by connection."""
        got = {}
        for key, _ in self.selector.select(timeout):
            peer = key.fileobj
            with contextlib.suppress(BlockingIOError):
                data = peer.recv(1 << 20)
                assert data, "a node closed a connection"
                self.rest[peer] += data
                got[peer] = self.count(peer)
        return got

    def settle(self, quiet=0.5):
        """Reads until no frame has arrived for a while, and resets the counts."""
        last = time.monotonic()
        while time.monotonic() - last < quiet:
            if self.poll(0.05):
                last = time.monotonic()
        self.received = 0

    def wait_for(self, count, timeout=60):
        deadline = time.monotonic() + timeout
        while self.received < count:
            self.poll(0.05)
            assert time.monotonic() < deadline, f"{self.received} of {count} arrived"

    def send(self, peer, message):
        peer.setblocking(True)
        peer.sendall(frame(1, json.dumps(message).encode()))
        peer.setblocking(False)

    def close(self):
        for peer in self.sockets:
            peer.close()
        self.selector.close()


@contextlib.contextmanager
def world(broker_class, nodes):
    """A broker and its nodes, for the length of a `with`."""
    os.sched_setaffinity(0, OTHERS_CORE)
    broker = broker_class().start()
    servers = []
    try:
        for _ in range(nodes):
            node = Fanfare(
                broker=broker.table(), log={"level": "warn"}, server={"shards": 1}, resp=None,
                notify={"max_connections": 100_000, "ping_interval": "12h", "ping_timeout": "24h"},
                rooms={"max_connections": 100_000, "ping_interval": "12h", "ping_timeout": "24h", "max_connections_per_user": 0,
                       "max_subscriptions": 100_000},
                wrapper=("taskset", "-c", ",".join(map(str, NODES_CORE))),
            )
            node.config["listener"][0]["dialects"] = ["notify", "rooms"]
            servers.append(node)
            node.spawn()
        for node in servers:
            wait_until(lambda: ready(node), what="a node that is ready")
        yield broker, servers
    finally:
        for node in servers:
            node.kill()
        broker.stop()


def ready(node):
    assert node.process.poll() is None, "a node ended at its start"
    with contextlib.suppress(OSError):
        return node.get("/readyz").status == 200


class Meter:
    """Measures the CPU time of the nodes and of the broker between two calls."""

    def __init__(self, broker, nodes):
        self.parts = {"nodes": [node.process.pid for node in nodes], "broker": broker.pids()}
        self.start = self.read()

    def read(self):
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self.parts.items()}

    def spent(self):
        return {name: now - self.start[name] for name, now in self.read().items()}
