#!/usr/bin/env python3
"""Measures operators' requests to a cluster with many connections: several nodes, one Redis, real WebSockets. Standard library only.

    FANFARE_BIN=target/release/fanfare python3 bench/operators.py [CONNECTIONS [NODES]]     # 100,000 on 3

Each node needs a limit of open files above its connections. It prints a line for each request: the bytes of the answer, and the times of
five requests.
"""

import multiprocessing
import pathlib
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e" / "python"))
import fanfare  # noqa: E402

CHANNELS = 1000
PER_CLIENT = 15_000  # connections of one client process
ASKED = [
    "/admin", "/api/v1/overview", "/api/v1/problems", "/api/v1/connections?limit=50", "/api/v1/connections?limit=50&details=true",
    "/api/v1/connections?limit=50&sort=queued&details=true", "/api/v1/connections?user=user-77777", "/api/v1/connections?address=127.0.0.3&limit=50",
    "/api/v1/connections?covers=board.77.news&limit=50", "/api/v1/channels?limit=100", "/api/v1/channels?prefix=board.77&limit=100",
    "/api/v1/users?limit=100", "/api/v1/users?prefix=user-7777&limit=100", "/api/v1/explain?user=user-77777&channel=board.77.news",
    "/metrics/prometheus",
]


def client(number, port):
    """Sends a handshake; returns the socket, and the frame that subscribes."""
    user, channel = f"user-{number}", f"board.{number % CHANNELS}.news"
    connection = socket.socket()
    # An address has 28,000 ports for one node.
    connection.bind((f"127.0.0.{2 + number // 20_000}", 0))
    connection.connect(("127.0.0.1", port))
    connection.sendall((
        f"GET /ws?dialect=realtime&token={fanfare.token(user)} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode())
    text = f'{{"type":"Subscribe","data":{{"topics":["{channel}"]}}}}'.encode()
    frame = bytes([0x81, 0x80 | len(text)]) + bytes(4) + text  # masked with zeros
    return connection, frame


def connect(numbers, ports):
    """Opens a connection for each number, some hundred at a time, subscribes each, and keeps it open."""
    poll, opened, waiting = select.epoll(), [], {}
    for number in numbers:
        connection, frame = client(number, ports[number % len(ports)])
        opened.append(connection)
        poll.register(connection, select.EPOLLIN | select.EPOLLONESHOT)
        waiting[connection.fileno()] = (connection, frame)
        while len(waiting) > 500 or (number == numbers[-1] and waiting):
            for descriptor, _ in poll.poll(30):
                connection, frame = waiting.pop(descriptor)
                answer = connection.recv(4096)
                assert b" 101 " in answer[:16], answer
                connection.sendall(frame)
    time.sleep(3600)


def ask(node, path):
    times, size = [], 0
    for _ in range(5):
        begun = time.perf_counter()
        answer = node.get(path)
        times.append(1000 * (time.perf_counter() - begun))
        assert answer.status == 200, answer.text
        assert '"degraded":true' not in answer.text, f"{path} lacks a node"
        size = len(answer.text)
    print(f"{path:62} {size:8} B   {statistics.median(times):7.1f} ms   ({min(times):.1f} to {max(times):.1f})", flush=True)


def main():
    count, many = (int(given) for given in (*sys.argv[1:], *("100000", "3")[len(sys.argv) - 1:]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the nodes and the clients
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    redis, nodes, clients = fanfare.Redis().start(), [], []
    try:
        for _ in range(many):
            port = fanfare.free_port()
            limit = {"max_connections": count, "ping_interval": "1h", "ping_timeout": "2h"}  # the clients answer no pings
            listener = [{"bind": f"127.0.0.1:{port}", "dialects": ["notify", "realtime"]}]
            broker = {"kind": "redis", "url": redis.url}
            nodes.append(fanfare.Fanfare(port=port, listener=listener, broker=broker, realtime=limit, notify=limit).start())
        begun = time.monotonic()
        ports = [node.port for node in nodes]
        for first in range(0, count, PER_CLIENT):
            numbers = range(first, min(first + PER_CLIENT, count))
            clients.append(multiprocessing.Process(target=connect, args=(numbers, ports), daemon=True))
            clients[-1].start()
        fanfare.wait_until(lambda: sum(node.prometheus("fanfare_subscriptions") for node in nodes) >= count, timeout=900)
        print(f"{count} connections on {many} nodes after {time.monotonic() - begun:.0f} s;",
              ", ".join(f"{node.memory() >> 20} MiB" for node in nodes))
        for path in ASKED:
            ask(nodes[0], path)
        top = [fanfare.binary(), "top", "--once", "--url", f"http://127.0.0.1:{nodes[0].port}"]
        begun = time.perf_counter()
        done = subprocess.run(top, capture_output=True, text=True, env=fanfare.environment())
        assert done.returncode == 0, done.stderr
        print(f"{'fanfare top --once':62} {len(done.stdout):8} B   {1000 * (time.perf_counter() - begun):7.1f} ms")
    finally:
        for each in clients:
            each.kill()
        for node in nodes:
            node.kill()
        redis.remove()


main()
