#!/usr/bin/env python3
"""Measures the cost of history: publishing with and without it, a resume, and 10,000 clients that resume at once. Standard library only.

    FANFARE_BIN=target/release/fanfare python3 bench/history.py [CLIENTS]     # 10,000 at once by default

CPU times are the server's own, user and system, of `/proc/PID/stat`. What is compared runs in turn, in one run. Raise the limit of open
files above the number of clients.
"""

import json
import multiprocessing
import pathlib
import resource
import selectors
import socket
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e" / "python"))
from fanfare import Fanfare, Redis, token  # noqa: E402
from wire import Resp, upgrade_request  # noqa: E402

ROUNDS = 5
PUBLISHED, AT_ONCE = 200_000, 500  # events of a round, and of one write
RESUMES, MISSED = 400, 100  # of a round, and the events that each of them replays
STAYERS, RATE, SECONDS = 100, 50, 20  # clients that stay, events a second for them, and for how long
KEPT = {"size": MISSED, "ttl": "1h"}


def server(history, **tables):
    """Starts a node with notify. Its broker is in memory unless `tables` name another."""
    rule = {"pattern": "bench.**", "publish": "anyone"} | ({"history": KEPT} if history else {})
    tables = {"channel": [rule], "log": {"level": "warn"}, "notify": {"max_connections_per_ip": 0, "max_connections": 30_000}} | tables
    return Fanfare(**tables, **({"history": {"users": KEPT, "everyone": KEPT}} if history else {}))


def medians(name, rounds, unit):
    """Prints the median of each column of the rounds, with the lowest and the highest, and the ratio of the first two."""
    columns = list(zip(*rounds))
    text = "   ".join(f"{statistics.median(column):.2f} ({min(column):.2f} to {max(column):.2f})" for column in columns)
    ratio = statistics.median(after / before for before, after in rounds)
    print(f"{name:44} {text} {unit}   ratio {ratio:.2f}", flush=True)


def publish(node, channel, door):
    """Returns the CPU time of one event, in µs."""
    many = door.encode("PUBLISH", channel, json.dumps({"type": "score", "payload": "x" * 60})) * AT_ONCE
    begun = node.cpu_seconds()
    for _ in range(PUBLISHED // AT_ONCE):
        door.raw(many)
        for _ in range(AT_ONCE):
            door.read()
    return (node.cpu_seconds() - begun) / PUBLISHED * 1e6


def publishing():
    nodes = [server(history=False).start(), server(history=True).start()]
    try:
        doors = [Resp(node.resp_port) for node in nodes]
        readers = [connect(node, f"/ws?token={token('reader')}") for node in nodes]  # they receive none of the events
        for name, channel in (("to a channel", "bench.hot"), ("to a user who is away", "user_noti:away")):
            rounds = [[publish(node, channel, door) for node, door in zip(nodes, doors)] for _ in range(ROUNDS + 1)][1:]
            medians(f"an event {name}: without, with history", rounds, "µs")
        for each in readers:
            each.close()
    finally:
        for node in nodes:
            node.kill()


def connect(node, target):
    peer = socket.create_connection(("127.0.0.1", node.port), 30)
    peer.sendall(upgrade_request(target))
    return peer


def read_until(peer, marker, times):
    """Reads until `marker` has arrived `times` times."""
    found, rest = 0, b""
    while found < times:
        chunk = peer.recv(1 << 16)
        assert chunk, "closed"
        text = rest + chunk
        found += text.count(marker)
        rest = text[-len(marker) + 1:]


def missed(node, to):
    """Publishes the events that clients will miss. Returns the cursor before the first."""
    cursor = node.json("/api/v1/history?user=nobody&limit=1")["cursor"]
    for number in range(MISSED):
        body = json.dumps({"to": to, "type": "score", "data": f"{number:060}"})
        answer = node.get("/api/v1/events", "POST", body, Content_Type="application/json")
        assert answer.status == 200, answer.text
    return cursor


def resuming(node):
    """A handshake, and one that replays: CPU time in µs of each."""
    target, cursor = f"/ws?token={token('mia')}", missed(node, {"user": "mia"})

    def visits(target, marker, times):
        begun = node.cpu_seconds()
        for _ in range(RESUMES):
            peer = connect(node, target)
            read_until(peer, marker, times)
            peer.close()
        return (node.cpu_seconds() - begun) / RESUMES * 1e6

    rounds = []
    for _ in range(ROUNDS):
        plain = visits(f"{target}&resume=", b'"type":"resume"', 1)
        rounds.append([plain, visits(f"{target}&resume={cursor}", b'"type":"score"', MISSED)])
    medians(f"a handshake: resuming nothing, {MISSED} events", rounds, "µs")
    print(f"{'a resume of ' + str(MISSED) + ' events alone':44} {statistics.median(b - a for a, b in rounds):.0f} µs")


def stay(node_port, seconds, result):
    """Clients that stay, and the latencies of what they receive, in ms."""
    chosen, latencies = selectors.DefaultSelector(), []
    for number in range(STAYERS):
        peer = socket.create_connection(("127.0.0.1", node_port), 30)
        peer.sendall(upgrade_request(f"/ws?token={token(f'stayer{number}')}"))
        peer.setblocking(False)
        chosen.register(peer, selectors.EVENT_READ)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for key, _ in chosen.select(0.2):
            text = key.fileobj.recv(1 << 16)
            now = time.monotonic()
            latencies += [1000 * (now - float(part[:18])) for part in text.split(b"sent-at:")[1:] if len(part) > 18]
    latencies.sort()
    result.send((len(latencies), *(latencies[int(len(latencies) * share)] for share in (0.5, 0.99)), latencies[-1]))


def keep_publishing(resp_port, seconds):
    door, due = Resp(resp_port), time.monotonic()
    for number in range(RATE * seconds):
        due += 1 / RATE
        time.sleep(max(0, due - time.monotonic()))
        user = f"stayer{number % STAYERS}"
        door.call("PUBLISH", f"user_noti:{user}", json.dumps({"type": "tick", "payload": f"sent-at:{time.monotonic():018.6f}"}))


def at_once(node, resp_port, clients, name):
    """Measures the latencies of clients that stay: first without other clients, then while `clients` resume at once."""
    cursor = missed(node, "everyone")
    requests = [upgrade_request(f"/ws?token={token(f'u{number}')}&resume={cursor}") for number in range(clients)]
    for resuming_now in (0, clients):
        receiving, sending = multiprocessing.Pipe(False)
        helpers = [
            multiprocessing.Process(target=stay, args=(node.port, SECONDS + 2, sending), daemon=True),
            multiprocessing.Process(target=keep_publishing, args=(resp_port, SECONDS), daemon=True),
        ]
        for each in helpers:
            each.start()
        time.sleep(2)
        taken = storm(node, requests) if resuming_now else 0
        count, median, high, longest = receiving.recv()
        after = f", all {clients * MISSED:,} events after {taken:.1f} s" if taken else ""
        print(f"{name}, {resuming_now:,} resume: {count} deliveries to others, median {median:.2f} ms, p99 {high:.2f} ms, longest {longest:.1f} ms{after}", flush=True)


def storm(node, requests):
    """Connects all clients at once, and reads the events that they missed. Returns the seconds until the last client has all."""
    chosen, begun, counts, opened = selectors.DefaultSelector(), time.monotonic(), {}, []
    waiting = iter(enumerate(requests))
    done = 0
    while done < len(requests):
        for number, request in waiting:
            peer = socket.socket()
            peer.bind((f"127.0.0.{2 + number // 20_000}", 0))
            peer.connect(("127.0.0.1", node.port))
            peer.sendall(request)
            peer.setblocking(False)
            opened.append(peer)
            chosen.register(peer, selectors.EVENT_READ)
            counts[peer] = 0
            if number % 200 == 199:
                break
        for key, _ in chosen.select(5):
            peer = key.fileobj
            text = peer.recv(1 << 18)
            assert text, f"closed after {counts[peer]} events:\n{node.log()[-2000:]}"
            counts[peer] += text.count(b'"cursor":') - text.count(b'"recovered":')
            if counts[peer] >= MISSED:
                done += 1
                chosen.unregister(peer)
    taken = time.monotonic() - begun
    for peer in opened:
        peer.close()
    return taken


def main():
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    publishing()
    redis = Redis().start()
    memory = server(history=True).start()
    with_redis = server(history=True, broker={"kind": "redis", "url": redis.url}).start()
    try:
        resuming(memory)
        at_once(memory, memory.resp_port, clients, "memory")
        at_once(with_redis, int(redis.url.rsplit(":", 1)[1].split("/")[0]), clients, "Redis")
    finally:
        memory.kill()
        with_redis.kill()
        redis.remove()


if __name__ == "__main__":
    main()
