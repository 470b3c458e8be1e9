"""The other brokers: Redis with Sentinels, a Redis Cluster, and NATS; each on free ports and in its own folder."""

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile

import redis

from fanfare import free_port, program, wait_until


class Servers:
    """Processes that end together, each with its own folder."""

    def __init__(self):
        self.folder, self.processes = pathlib.Path(tempfile.mkdtemp(prefix="brokers-")), {}

    def run(self, name, *command):
        folder = self.folder / str(name)
        folder.mkdir(exist_ok=True)
        with open(folder / "log", "ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def remove(self):
        for name in list(self.processes):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)


def redis_at(port):
    return redis.Redis(port=port, socket_timeout=2, decode_responses=True)


def asked(port, *command):
    """The reply of a Redis; None while it does not reply."""
    with redis_at(port) as client, contextlib.suppress(redis.RedisError):
        return client.execute_command(*command)


class Sentinels(Servers):
    """A master, a replica, and three Sentinels that consider the master dead after a second."""

    MASTER = "fanfare"

    def __init__(self):
        super().__init__()
        self.servers, self.sentinels = [free_port(), free_port()], [free_port() for _ in range(3)]

    def tables(self, _):
        """Nodes discover the servers themselves, so there is no link between them."""
        urls = [f"redis://127.0.0.1:{port}" for port in self.sentinels]
        return {"kind": "redis", "sentinel": {"master": self.MASTER, "urls": urls}}

    @property
    def port(self):
        """The address of the master according to the Sentinels."""
        for sentinel in self.sentinels:
            if answer := asked(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.MASTER):
                return int(answer[1])

    def start(self):
        first, second = self.servers
        self.serve(first)
        self.serve(second, "--replicaof", "127.0.0.1", str(first))
        wait_until(lambda: asked(second, "INFO", "replication")["master_link_status"] == "up", what="a replica")
        for sentinel in self.sentinels:
            config = self.folder / f"{sentinel}.conf"
            config.write_text(
                f"port {sentinel}\nbind 127.0.0.1\nsentinel monitor {self.MASTER} 127.0.0.1 {first} 2\n"
                f"sentinel down-after-milliseconds {self.MASTER} 1000\nsentinel failover-timeout {self.MASTER} 5000\n"
            )
            self.run(sentinel, program("redis-server", "redis-server"), str(config), "--sentinel")
        wait_until(lambda: all(self.knows_all(sentinel) for sentinel in self.sentinels), what="Sentinels that know each other")
        return self

    def serve(self, port, *more):
        command = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        self.run(port, *command, "--repl-diskless-sync-delay", "0", *more)
        wait_until(lambda: asked(port, "PING"), what="a Redis that answers")

    def knows_all(self, sentinel):
        answer = asked(sentinel, "SENTINEL", "MASTER", self.MASTER)
        state = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2]))
        return (int(state["num-slaves"]), int(state["num-other-sentinels"])) == (1, 2)

    def kill_master(self):
        """Waits until another server is the master, and returns its port."""
        dead = self.port
        self.kill(dead)
        wait_until(lambda: self.port not in (None, dead), what="another master")
        return dead


class RedisCluster(Servers):
    """Three masters with a replica each. A replica is promoted after its master was silent for a second."""

    def __init__(self):
        super().__init__()
        self.servers = [free_port() for _ in range(6)]

    def tables(self, _):
        """Nodes discover the servers themselves, so there is no link between them."""
        return {"kind": "redis", "cluster": [f"redis://127.0.0.1:{port}" for port in self.servers]}

    @property
    def port(self):
        return self.servers[0]

    def start(self):
        for port in self.servers:
            self.serve(port)
        addresses = [f"127.0.0.1:{port}" for port in self.servers]
        self.cli("--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
        wait_until(self.is_whole, 60, "a cluster with replicas")
        return self

    def serve(self, port):
        # The cluster bus needs a second free port.
        command = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"]
        self.run(port, *command, *options, "--cluster-port", str(free_port()))
        wait_until(lambda: asked(port, "PING"), what="a Redis that answers")

    def cli(self, *arguments):
        done = subprocess.run([program("redis-tools", "redis-cli"), *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def alive(self):
        return [port for port in self.servers if port in self.processes]

    def is_whole(self):
        """Returns whether every server serves all slots and every master has a connected replica."""
        ok = lambda port: "cluster_state:ok" in self.info(port)  # noqa: E731
        return all(map(ok, self.alive())) and len(self.masters()) == 3 and all(
            (asked(port, "INFO", "replication") or {}).get("connected_slaves") == 1 for port in self.masters()
        )

    def info(self, port):
        answer = asked(port, "CLUSTER", "INFO")
        return "".join(f"{name}:{value}\n" for name, value in answer.items()) if isinstance(answer, dict) else answer or ""

    def masters(self):
        return [port for port in self.alive() if (asked(port, "INFO", "replication") or {}).get("role") == "master"]

    def slot(self, name):
        return asked(self.alive()[0], "CLUSTER", "KEYSLOT", name)

    def owner(self, slot):
        """The (port, id) of the master that serves `slot`."""
        for row in asked(self.alive()[0], "CLUSTER", "SLOTS"):
            if row[0] <= slot <= row[1]:
                return int(row[2][1]), row[2][2]

    def kill_master(self, slot):
        """Kills the master of `slot`, waits until its replica serves the slot, and returns the replica's port."""
        dead, _ = self.owner(slot)
        self.kill(dead)
        wait_until(lambda: self.owner(slot)[0] != dead, what="a new master")
        wait_until(lambda: all("cluster_state:ok" in self.info(port) for port in self.alive()), what="a cluster that serves all slots")
        return dead

    def move(self, slot):
        """Moves `slot` and all its keys to another master."""
        port, source = self.owner(slot)
        other = next(each for each in self.masters() if each != port)
        target = asked(other, "CLUSTER", "MYID")
        asked(other, "CLUSTER", "SETSLOT", slot, "IMPORTING", source)
        asked(port, "CLUSTER", "SETSLOT", slot, "MIGRATING", target)
        while keys := asked(port, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            asked(port, "MIGRATE", "127.0.0.1", other, "", 0, 5000, "KEYS", *keys)
        for each in (other, port, *self.masters()):
            asked(each, "CLUSTER", "SETSLOT", slot, "NODE", target)
        wait_until(lambda: all(self.owner_at(each, slot) == other for each in self.alive()), what="a slot that has moved")

    def owner_at(self, port, slot):
        return next(int(row[2][1]) for row in asked(port, "CLUSTER", "SLOTS") if row[0] <= slot <= row[1])


class Nats(Servers):
    """A NATS server that keeps its port over restarts."""

    def __init__(self):
        super().__init__()
        self.port = free_port()

    def tables(self, link):
        return {"kind": "nats", "url": f"nats://127.0.0.1:{link.port}"}

    def start(self, jetstream=True, more=""):
        """`more` is added to its configuration."""
        config = self.folder / "nats.conf"
        config.write_text(more)
        store = ["--jetstream", "--store_dir", str(self.folder / "store")] if jetstream else []
        address = ["--addr", "127.0.0.1", "--port", str(self.port)]
        self.run("nats", program("nats-server", "nats-server"), "--config", str(config), *address, *store)
        wait_until(self._answers, what="a NATS that accepts")
        return self

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as peer:
            return peer.recv(4) == b"INFO"

    def kill(self, name="nats"):
        super().kill(name)

    def signal(self, number):
        self.processes["nats"].send_signal(number)

    def lose_everything(self):
        """The data that JetStream stores."""
        shutil.rmtree(self.folder / "store")


class NatsCluster(Nats):
    """Three NATS servers; each stores all of JetStream's data. `port` is the port of the server that is never killed."""

    NAMES = ("one", "two", "three")

    def __init__(self):
        super().__init__()
        self.ports, self.routes = [[free_port() for _ in self.NAMES] for _ in range(2)]
        self.port = self.ports[0]

    def tables(self, _):
        """Nodes change from one server to another themselves, so there is no link between."""
        return {"kind": "nats", "url": ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)}

    def start(self):
        for name in self.NAMES:
            self.serve(name)
        wait_until(self.has_leader, what="a leader")
        return self

    def serve(self, name):
        number = self.NAMES.index(name)
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in self.routes)
        own = ["--name", name, "--port", str(self.ports[number]), "--cluster", f"nats://127.0.0.1:{self.routes[number]}"]
        store = ["--jetstream", "--store_dir", str(self.folder / name)]
        self.run(name, program("nats-server", "nats-server"), "--addr", "127.0.0.1", *own, "--cluster_name", "C", "--routes", routes, *store)

    def replicate(self, stream):
        """Replicates this stream to every server, so that it needs a majority of them."""
        config = self.ask(f"STREAM.INFO.{stream}")["config"] | {"num_replicas": 3}
        assert "error" not in self.ask(f"STREAM.UPDATE.{stream}", config)
        wait_until(lambda: len(self.ask(f"STREAM.INFO.{stream}")["cluster"].get("replicas", ())) == 2, what="copies")

    def has_leader(self):
        return "error" not in (self.ask("STREAM.NAMES") or {"error": ""})

    def ask(self, question, body=None):
        """JetStream's reply; None if there is none."""
        body = json.dumps(body).encode() if body else b""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as peer, peer.makefile("rb") as lines:
            peer.settimeout(2)
            peer.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.a 1\r\n')
            peer.sendall(f"PUB $JS.API.{question} _INBOX.a {len(body)}\r\n".encode() + body + b"\r\n")
            while line := lines.readline():
                if line.startswith(b"MSG"):
                    return json.loads(lines.read(int(line.split()[-1])))
