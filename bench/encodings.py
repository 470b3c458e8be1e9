#!/usr/bin/env python3
"""Measures the cost of compression and TLS: the server's CPU time for each delivery of one event to many clients, as text, with permessage-deflate,
over TLS, and with both. Standard library only.

    FANFARE_BIN=target/release/fanfare python3 bench/encodings.py [CLIENTS]     # 100 by default

Each kind of client has a server of its own, with one shard. Within each round they take turns.
"""

import json
import multiprocessing
import pathlib
import selectors
import socket
import ssl
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "e2e" / "python"))
from fanfare import Fanfare, free_port, token, wait_until  # noqa: E402
from wire import Resp, upgrade_request  # noqa: E402

ROUNDS, EVENTS = 5, 300
TLS_FILES = ROOT / "e2e" / "python" / "tls"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
ITEM = {"id": 48151623, "name": "Deep sea diving watch", "price": "129.90", "currency": "EUR", "tags": ["new", "sale"], "in_stock": True}


def event(size):
    """Returns an event whose data is a list of items, about `size` bytes long."""
    items = [ITEM | {"id": ITEM["id"] + 7919 * number, "price": f"{number * 37 % 900}.90"} for number in range(size // 130)]
    return json.dumps({"type": "prices", "payload": items})


class Clients:
    """A server, and clients of one kind in a process that reads what they receive."""

    def __init__(self, count, tls, deflate):
        port = free_port()
        listener = {"bind": f"127.0.0.1:{port}", "dialects": ["notify"]}
        if tls:
            listener["tls"] = {"cert": str(TLS_FILES / "cert.txt"), "key": str(TLS_FILES / "key.txt")}
        main = {"bind": f"127.0.0.1:{free_port()}", "dialects": ["notify"]}
        limits = {"compression": True, "max_connections_per_ip": 0, "send_queue": 100_000, "send_queue_size": 1 << 30}
        self.node = Fanfare(
            port=int(main["bind"].split(":")[1]), listener=[main, listener], notify=limits, server={"shards": 1}, log={"level": "error"}
        ).start()
        self.bytes = multiprocessing.Value("q", 0)
        ready = multiprocessing.Event()
        headers = [DEFLATE] if deflate else []
        self.readers = multiprocessing.Process(target=read, args=(port, count, tls, headers, self.bytes, ready), daemon=True)
        self.readers.start()
        assert ready.wait(60), "the clients are not connected"
        self.door = Resp(self.node.resp_port, 60)

    def round(self, text):
        """Returns the CPU time of a delivery in µs, and its bytes."""
        cpu, received, delivered = self.node.cpu_seconds(), self.bytes.value, 0
        for _ in range(EVENTS):
            delivered += self.door.call("PUBLISH", "fanfare:everyone", text)
        cpu = self.node.cpu_seconds() - cpu
        seen = [-1]

        def quiet():
            seen.append(self.bytes.value)
            return seen[-1] == seen[-2] > received

        wait_until(quiet, 60, "clients that have read everything")
        return cpu / delivered * 1e6, (self.bytes.value - received) / delivered

    def stop(self):
        self.readers.kill()
        self.node.kill()


def read(port, count, tls, headers, received, ready):
    """Connects the clients, then reads and counts until the process is ended."""
    context = ssl.create_default_context(cafile=TLS_FILES / "cert.txt")
    selector = selectors.DefaultSelector()
    for number in range(count):
        peer = socket.create_connection(("127.0.0.1", port), 30)
        if tls:
            peer = context.wrap_socket(peer, server_hostname="localhost")
        peer.sendall(upgrade_request(f"/ws?token={token(f'u{number}')}", *headers))
        answer = peer.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101") and (b"permessage-deflate" in answer) == bool(headers), answer
        peer.setblocking(False)
        selector.register(peer, selectors.EVENT_READ)
    ready.set()
    while True:
        for key, _ in selector.select():
            try:
                received.value += len(key.fileobj.recv(1 << 20))
            except (BlockingIOError, ssl.SSLWantReadError):
                pass


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    kinds = {"text": (False, False), "deflate": (False, True), "TLS": (True, False), "TLS, deflate": (True, True)}
    clients = {name: Clients(count, *kind) for name, kind in kinds.items()}
    try:
        for size in (130, 1_300, 13_000):
            text = event(size)
            rounds = {name: [] for name in clients}
            for number in range(ROUNDS + 1):
                for name, one in clients.items():
                    figures = one.round(text)
                    if number:  # the first one warms up
                        rounds[name].append(figures)
            for name, figures in rounds.items():
                cpu, sizes = zip(*figures)
                spread = f"{statistics.median(cpu):6.2f} ({min(cpu):.2f} to {max(cpu):.2f}) µs"
                print(f"{len(text):6} bytes published, {name:13} {spread}, {statistics.median(sizes):8.0f} bytes a delivery", flush=True)
    finally:
        for one in clients.values():
            one.stop()


if __name__ == "__main__":
    main()
