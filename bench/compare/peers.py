"""The servers that are compared: how each is started, what its clients send, and which of Fanfare's work it does not do.

All are driven by the same load generator, `fanfare bench peer`. A script says what one kind of connection sends; in its texts a character
is a byte, and the generator fills in {number}, {token}, {to} and {mark} (see crates/fanfare-bench/src/peer/plan.rs).
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

from install import Unavailable, command

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "e2e" / "python"))
from fanfare import Fanfare, binary, free_port, token, wait_until  # noqa: E402

SERVERS = pathlib.Path(__file__).with_name("servers")
SOCKUDO = "5.2.0"
PAYLOAD = 128  # bytes of a message
FILLED = {"{mark}": 25, "{to}": 5, "{number}": 5}  # the sizes in bytes of the values that replace them
MARKED = "{mark}" + "x" * (PAYLOAD - FILLED["{mark}"])
START_TIMEOUT = 60
RAW = "It passes bytes on: no JSON is read or written, and there is no token, no access policy, no limit and no receipt."


def length(text):
    """Returns the size of `text` in bytes, with the generator's values in it."""
    return len(text) + sum(text.count(name) * (size - len(name)) for name, size in FILLED.items())


class Peer:
    """Another program's server, started on a free port of the loopback interface."""

    name = title = lacks = ""

    def __init__(self, folder, core):
        self.folder, self.pinned, self.port, self.process, self.files = folder, ("taskset", "-c", core), free_port(), None, None

    def command(self):
        """Returns the server's command, and its environment or None."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def start(self):
        self.files = tempfile.mkdtemp(prefix="compare-")
        words, env = self.command()
        self.process = subprocess.Popen(
            [*self.pinned, *map(str, words)], env=env, cwd=self.files, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self.answers, START_TIMEOUT, f"{self.name}: a server that accepts connections")
        return self

    def answers(self):
        assert self.process.poll() is None, f"{self.name} ended at its start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.files:
            shutil.rmtree(self.files, ignore_errors=True)

    def clients(self, count):
        """Returns the script of the connections that receive."""
        raise NotImplementedError

    def handshakes(self, count):
        """Returns the script of connections that are opened and closed."""
        return self.clients(count)

    def client_publishers(self, count, addressed):
        """Returns the script of clients that publish."""
        raise NotImplementedError

    def backend(self, addressed):
        """Returns the script of a backend that publishes. If the peer has no interface for backends, a client publishes."""
        return self.client_publishers(1, addressed)

    @classmethod
    def leaves_out(cls, scenario):
        """Returns the reason why this peer has no row in a scenario, or None."""
        return None


class RawPeer(Peer):
    """One of the small servers in servers/ and axum/, which share a protocol."""

    lacks = RAW + " At most once."

    def clients(self, count):
        # A client's message to itself shows that the server has registered the client.
        return {"count": count, "target": "/?id={number}", "opening": ["@{number}ready"], "confirmation": "ready"}

    def handshakes(self, count):
        return {"count": count, "target": "/?id={number}"}

    def client_publishers(self, count, addressed):
        return {"count": count, "target": "/", "message": ("@{to}" if addressed else "*") + MARKED}


class Ws(RawPeer):
    name, title = "ws", "ws (Node.js)"

    def command(self):
        return ("node", SERVERS / "ws.mjs", self.port, self.folder.node_modules("ws")), None

    def version(self):
        return node_version(self.folder, "ws")


class SocketIo(Peer):
    name, title = "socketio", "Socket.IO (Node.js)"
    lacks = "JSON and event names, but no token, no access policy and no limit. At most once."

    def command(self):
        return ("node", SERVERS / "socketio.mjs", self.port, self.folder.node_modules("socket.io")), None

    def version(self):
        return node_version(self.folder, "socket.io")

    def connection(self, count, query=""):
        target = "/socket.io/?EIO=4&transport=websocket" + query
        return {"count": count, "target": target, "opening": ["40"], "confirmation": "40{"}

    def clients(self, count):
        return self.connection(count, "&id={number}")

    def client_publishers(self, count, addressed):
        message = f'42["one","{{to}}","{MARKED}"]' if addressed else f'42["all","{MARKED}"]'
        return self.connection(count) | {"message": message}


class Picows(RawPeer):
    name, title = "picows", "picows (Python)"

    def command(self):
        return (self.folder.python("picows"), SERVERS / "picows_server.py", self.port), None

    def version(self):
        program = "import importlib.metadata as m, platform; print(m.version('picows') + ', Python ' + platform.python_version())"
        return command(self.folder.python("picows"), "-c", program)


class Axum(RawPeer):
    name, title = "axum", "axum"

    def command(self):
        return (self.folder.axum(), self.port), None

    def version(self):
        self.folder.axum()
        lock = (pathlib.Path(__file__).parent / "axum" / "Cargo.lock").read_text()
        return re.search(r'name = "axum"\nversion = "(.*)"', lock)[1] + ", " + command("rustc", "--version")


class UWebSockets(RawPeer):
    name, title, source = "uwebsockets", "uWebSockets (C++)", None

    def command(self):
        return (self.program(), self.port), None

    def program(self):
        if not self.source:
            raise Unavailable("--uwebsockets names no checkout of it")
        return self.folder.uwebsockets(self.source)

    def version(self):
        self.program()
        with contextlib.suppress(Unavailable):
            return command("git", "-C", self.source, "describe", "--tags", "--always")
        return "unknown"


class Nats(Peer):
    name, title = "nats", "NATS"
    lacks = "Its own text protocol in WebSocket frames, often many messages in one frame. No JSON, no token, no policy. At most once."

    def command(self):
        self.tcp = free_port()
        config = pathlib.Path(self.files) / "nats.conf"
        config.write_text(f"host: 127.0.0.1\nport: {self.tcp}\nwebsocket {{ host: 127.0.0.1, port: {self.port}, no_tls: true }}\n")
        program, env = self.folder.debian("nats-server", "nats-server")
        return (program, "-c", config), env

    def version(self):
        return command(self.folder.debian("nats-server", "nats-server")[0], "--version").split("v")[-1]

    HELLO = 'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\n'

    def clients(self, count):
        opening = [self.HELLO + "SUB all 1\r\nSUB to.{number} 2\r\nPING\r\n"]
        return {"count": count, "transport": "binary", "target": "/", "opening": opening, "confirmation": "PONG"}

    def client_publishers(self, count, addressed):
        message = f"PUB {'to.{to}' if addressed else 'all'} {length(MARKED)}\r\n{MARKED}\r\n"
        return {
            "count": count, "transport": "binary", "target": "/", "opening": [self.HELLO + "PING\r\n"], "confirmation": "PONG",
            "message": message,
        }

    def backend(self, addressed):
        return self.client_publishers(1, addressed) | {"transport": "tcp", "address": f"127.0.0.1:{self.tcp}"}


class Mosquitto(Peer):
    name, title = "mosquitto", "Mosquitto (MQTT)"
    lacks = "MQTT 3.1.1 in WebSocket frames, quality of service 0 (at most once). No JSON, no token, no policy."

    def command(self):
        config = pathlib.Path(self.files) / "mosquitto.conf"
        # The server needs another listener beside its WebSocket listener. It keeps a backlog of messages instead of dropping them.
        config.write_text(
            f"listener {free_port()} 127.0.0.1\nlistener {self.port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n"
            "max_queued_messages 0\nset_tcp_nodelay true\n"
        )
        program, env = self.folder.debian("mosquitto", "mosquitto")
        return (program, "-c", config), env

    def version(self):
        program, env = self.folder.debian("mosquitto", "mosquitto")
        usage = subprocess.run([program, "-h"], env=env, capture_output=True, text=True).stdout
        return re.search(r"version (\S+)", usage)[1]

    @staticmethod
    def packet(kind, *parts):
        """Returns a packet of MQTT, in which each text follows its length."""
        body = "".join(parts)
        size, digits = length(body), ""
        while True:
            size, digit = divmod(size, 128)
            digits += chr(digit | 0x80 if size else digit)
            if not size:
                return chr(kind) + digits + body

    @staticmethod
    def text(text):
        size = length(text)
        return chr(size >> 8) + chr(size & 0xFF) + text

    def connection(self, count, letter):
        hello = self.packet(0x10, self.text("MQTT"), "\x04\x02\x00\x00", self.text(letter + "{number}"))
        return {
            "count": count, "transport": "binary", "target": "/mqtt", "headers": ["Sec-WebSocket-Protocol: mqtt"], "opening": [hello],
            "confirmation": "\x20\x02\x00\x00",
        }

    def clients(self, count):
        script = self.connection(count, "c")
        script["opening"].append(self.packet(0x82, "\x00\x01", self.text("all"), "\x00", self.text("to/{number}"), "\x00"))
        return script | {"confirmation": "\x90\x04\x00\x01\x00\x00"}

    def client_publishers(self, count, addressed):
        return self.connection(count, "p") | {"message": self.packet(0x30, self.text("to/{to}" if addressed else "all"), MARKED)}


class Sockudo(Peer):
    """Speaks the Pusher protocol."""

    name, title = "sockudo", "Sockudo (Pusher protocol)"
    lacks = "No token: a public channel. Its backend signs every request, which the load generator cannot, so only connections are measured."

    def command(self):
        app = {"ID": "bench", "KEY": "bench", "SECRET": "bench", "MAX_CONNECTIONS": "200000"}
        env = os.environ | {f"SOCKUDO_DEFAULT_APP_{name}": value for name, value in app.items()}
        env |= {"HOST": "127.0.0.1", "PORT": str(self.port), "METRICS_ENABLED": "false", "RATE_LIMITER_ENABLED": "false"}
        return (self.folder.cargo("sockudo", SOCKUDO),), env

    def version(self):
        self.folder.cargo("sockudo", SOCKUDO)
        return SOCKUDO

    def clients(self, count):
        subscribe = '{"event":"pusher:subscribe","data":{"channel":"all"}}'
        return {
            "count": count, "target": "/app/bench?protocol=7", "opening": [subscribe], "confirmation": "subscription_succeeded",
        }

    @classmethod
    def leaves_out(cls, scenario):
        return "the load generator cannot sign what a backend publishes" if scenario.publishers else None


class FanfarePeer(Peer):
    """Fanfare, with tokens, the access policy and its limits."""

    dialect = everyone = event = ""
    envelope = 0  # the bytes of a message to a client around the publisher's text

    def start(self):
        most = {"max_connections": 200_000, "max_connections_per_ip": 0, "ping_interval": "12h", "ping_timeout": "24h"}
        server = Fanfare(log={"level": "warn"}, server={"shards": 1}, broker={"kind": "memory"}, wrapper=self.pinned)
        server.config["listener"][0]["dialects"] = [self.dialect]
        server.config[self.dialect] = most | self.settings()
        server.spawn()
        self.server, self.process, self.port = server, server.process, server.port
        wait_until(self.is_up, START_TIMEOUT, "a server that is ready")
        return self

    def settings(self):
        return {}

    def is_up(self):
        assert self.process.poll() is None, f"fanfare ended at its start: {self.server.log()}"
        with contextlib.suppress(OSError):
            return self.server.get("/readyz").status == 200

    def stop(self):
        if self.process:
            self.server.kill()

    def version(self):
        return command(binary(), "--version").split()[-1]

    def backend(self, addressed):
        """Returns the script of a publisher at the Redis-protocol door."""
        channel = "user_noti:u{to}" if addressed else self.everyone
        padding = "x" * max(0, PAYLOAD - FILLED["{mark}"] - self.envelope)
        words = ("PUBLISH", channel, self.event.replace("{text}", "{mark}" + padding))
        resp = f"*{len(words)}\r\n" + "".join(f"${length(word)}\r\n{word}\r\n" for word in words)
        return {"count": 1, "transport": "tcp", "address": f"127.0.0.1:{self.server.resp_port}", "message": resp}

    @classmethod
    def leaves_out(cls, scenario):
        return None if scenario.publishers != "clients" else "its clients do not publish"


@functools.cache
def tokens(count):
    return [token(f"u{number:05}", ttl=86_400) for number in range(count)]


class Notify(FanfarePeer):
    name, title, dialect = "notify", "Fanfare, notify", "notify"
    everyone, event, envelope = "fanfare:everyone", '{"type":"score","payload":"{text}"}', 68

    def clients(self, count):
        return {"count": count, "target": "/ws?token={token}", "tokens": tokens(count)}


class Topics(FanfarePeer):
    name, title, dialect = "topics", "Fanfare, topics", "topics"
    everyone, event, envelope = "bench.all", '{"type":"score","payload":"{text}"}', 103

    def clients(self, count):
        own = "notifications.user.u{number}"
        subscribe = json.dumps({"type": "subscribe", "topics": [self.everyone, own]})
        return self.connection(count, [subscribe]) | {"confirmation": '"topic":"notifications.user.u'}

    def connection(self, count, more=()):
        return {
            "count": count, "target": "/ws", "opening": ['{"type":"auth","token":"{token}"}', *more], "confirmation": "auth_success",
            "tokens": tokens(count),
        }

    def client_publishers(self, count, addressed):
        message = f'{{"type":"message","topic":"{self.everyone}","data":"{{mark}}"}}'
        return self.connection(count) | {"message": message}

    @classmethod
    def leaves_out(cls, scenario):
        return None


class Realtime(FanfarePeer):
    name, title, dialect = "realtime", "Fanfare, realtime, no token", "realtime"
    everyone, event, envelope = "bench.all", '{"type":"score","payload":"{text}"}', 88

    def clients(self, count):
        subscribe = json.dumps({"type": "Subscribe", "data": {"topics": [self.everyone]}})
        return {"count": count, "target": "/ws", "opening": [subscribe], "confirmation": "subscribed"}

    def client_publishers(self, count, addressed):
        padding = "x" * 15
        message = f'{{"type":"Broadcast","data":{{"topic":"{self.everyone}","payload":"{{mark}}{padding}"}}}}'
        return {"count": count, "target": "/ws", "confirmation": "connected", "message": message}

    @classmethod
    def leaves_out(cls, scenario):
        return "without a token there is no user to address" if scenario.addressed else None


class Rooms(FanfarePeer):
    name, title, dialect = "rooms", "Fanfare, rooms", "rooms"
    path, room = "/api/v1/ws/connect", "project:1"

    def settings(self):
        return {"max_connections_per_user": 0}

    def clients(self, count):
        join = json.dumps({"type": "join_room", "room": self.room})
        return {
            "count": count, "target": self.path + "?token={token}", "opening": [join], "confirmation": "joined_room",
            "tokens": tokens(count),
        }

    def client_publishers(self, count, addressed):
        message = f'{{"type":"send_message","room":"{self.room}","data":{{"content":"{{mark}}"}}}}'
        return self.clients(count) | {"message": message}

    @classmethod
    def leaves_out(cls, scenario):
        return None if scenario.publishers == "clients" else "a room is for clients who publish, and joining one costs more than the rest"


def node_version(folder, package):
    found = json.loads((folder.node_modules(package) / package / "package.json").read_text())["version"]
    return f"{found}, Node.js {command('node', '--version').lstrip('v')}"


PEERS = {peer.name: peer for peer in (Notify, Topics, Realtime, Rooms, UWebSockets, Axum, Ws, SocketIo, Picows, Nats, Mosquitto, Sockudo)}
