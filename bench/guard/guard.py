#!/usr/bin/env python3
"""Counts the instructions that the server needs for its commonest work, and fails if one of the counts has risen by 3 %.

    cargo build --release && bench/guard/guard.py            # compares with baseline.json, and takes two to three minutes
    bench/guard/guard.py --write                             # makes the counts of this build the baseline

Valgrind's callgrind counts the instructions (`apt-get install valgrind`), so other programs on the machine do not change the counts. They include
user space only, not the kernel. A baseline holds for one version of rustc and of the C library, and for one model of processor: others have other
code. If this machine has no baseline, the guard prints the counts and does not fail. It tests FANFARE_BIN, or else the binary that cargo built last.
"""

import argparse
import contextlib
import http.client
import json
import pathlib
import platform
import re
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINE = pathlib.Path(__file__).with_name("baseline.json")
sys.path.insert(0, str(ROOT / "e2e" / "python"))
from fanfare import Fanfare, binary, program, token, wait_until  # noqa: E402
from wire import Resp, frame, upgrade_request  # noqa: E402

ALLOWED_RISE = 0.03
ROUNDS = 3  # the lowest count has the fewest interruptions in it
IDLE = 1.5  # seconds in which the work of timers is counted
RECEIVERS = 400
AT_ONCE = 50  # messages in one write, so that waking up is a small part of the count
START_TIMEOUT = 120  # under valgrind everything is some fifty times slower
TIMEOUT = 120


class Counted:
    """A server under callgrind with one dialect."""

    def __init__(self, dialect):
        self.server = Fanfare(
            log={"level": "warn"}, server={"shards": 1}, broker={"kind": "memory"},
            wrapper=(program("valgrind", "valgrind"), "--tool=callgrind", "--separate-threads=yes", "--callgrind-out-file=counts", "-q"),
            **{dialect: {"max_connections_per_ip": 0, "ping_interval": "12h", "ping_timeout": "24h"}},
        )
        self.server.config["listener"][0]["dialects"] = [dialect]
        self.dumps = 0

    def __enter__(self):
        self.server.spawn()
        wait_until(self.is_up, START_TIMEOUT, "a server that is ready")
        return self

    def __exit__(self, *_):
        self.server.kill()

    def door(self):
        """Connects a publisher. Retries, because the server closes a connection without a command for ten seconds, and may still be starting."""

        def answering():
            with contextlib.suppress(OSError, EOFError):
                door = Resp(self.server.resp_port, TIMEOUT)
                return door if door.call("PING") == "PONG" else None

        return wait_until(answering, START_TIMEOUT, "a publisher's connection")

    def is_up(self):
        assert self.server.process.poll() is None, f"the server ended at its start:\n{self.server.log()}"
        with contextlib.suppress(OSError):
            return self.server.get("/readyz").status == 200

    def control(self, action):
        words = [program("valgrind", "callgrind_control"), action, str(self.server.process.pid)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)

    def dump(self, action):
        """Returns the instructions and the seconds that `action` takes, in the busiest thread."""
        self.dumps += 1
        self.control("--zero")
        begun = time.monotonic()
        action()
        seconds = time.monotonic() - begun
        self.control("--dump")
        dumps = [path.read_text() for path in self.server.folder.glob(f"counts.{self.dumps}-*")]
        return max(int(re.search(r"^totals: (\d+)", dump, re.M)[1]) for dump in dumps), seconds

    def count(self, work, times):
        """Returns the instructions of one `work`, from a run of many, in the thread that does it. Subtracts the thread's periodic instructions,
        which it executes with and without work."""

        def repeat():
            for _ in range(times):
                work()

        rounds = [self.dump(repeat) for _ in range(ROUNDS + 1)][1:]  # the first round warms up
        by_the_clock, seconds = self.dump(lambda: time.sleep(IDLE))
        return min(count - by_the_clock / seconds * taken for count, taken in rounds) / times

    def connect(self, target):
        peer = socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(upgrade_request(target))
        stream = peer.makefile("rb")
        status = stream.readline()
        assert b" 101 " in status, status
        while stream.readline() != b"\r\n":
            pass
        return peer, stream


def read_frame(stream):
    """Returns the payload of a short frame of the server."""
    size = stream.read(2)[1]
    return stream.read(int.from_bytes(stream.read(2), "big") if size == 126 else size)


def fanned_out(times, look=contextlib.nullcontext):
    """Counts an event for everyone with many receivers, one in flight, while `look` is open."""
    with Counted("notify") as counted:
        streams = [counted.connect(f"/ws?token={token(f'u{number}')}")[1] for number in range(RECEIVERS)]
        message, door = json.dumps({"type": "score", "payload": "x" * 60}), counted.door()

        def publish():
            assert door.call("PUBLISH", "fanfare:everyone", message) == RECEIVERS
            for stream in streams:
                read_frame(stream)

        with look(counted):
            return counted.count(publish, times)


def deliveries():
    """Each delivery of an event for everyone, its share of the event included."""
    return fanned_out(60) / RECEIVERS


def unicasts():
    """Counts events for one user each, in turn, as many as arrive with one read: publication and delivery."""
    with Counted("notify") as counted:
        streams = [counted.connect(f"/ws?token={token(f'u{number}')}")[1] for number in range(AT_ONCE)]
        message, door = json.dumps({"type": "score", "payload": "x" * 60}), counted.door()
        many = b"".join(door.encode("PUBLISH", f"user_noti:u{number}", message) for number in range(AT_ONCE))

        def publish():
            door.raw(many)
            assert [door.read() for _ in range(AT_ONCE)] == [1] * AT_ONCE
            for stream in streams:
                read_frame(stream)

        return counted.count(publish, 20) / AT_ONCE


def events_by_http():
    """Counts an event on a channel without subscribers, published by the service API: one in each request on a persistent connection."""
    with Counted("notify") as counted:
        caller = http.client.HTTPConnection("127.0.0.1", counted.server.port, timeout=TIMEOUT)
        body = json.dumps({"to": {"channel": "bench.nobody"}, "type": "score", "data": "x" * 60})

        def publish():
            caller.request("POST", "/api/v1/events", body, {"Content-Type": "application/json"})
            reply = caller.getresponse()
            assert reply.status == 200, reply.status
            reply.read()

        return counted.count(publish, 200)


def published_events():
    """Counts an event on a channel without subscribers, published at the Redis-protocol door."""
    with Counted("notify") as counted:
        message, door = json.dumps({"type": "score", "payload": "x" * 60}), counted.door()
        many = door.encode("PUBLISH", "bench.nobody", message) * AT_ONCE

        def publish():
            door.raw(many)
            assert [door.read() for _ in range(AT_ONCE)] == [0] * AT_ONCE

        return counted.count(publish, 20) / AT_ONCE


def frames_received():
    """Counts a client's message that its dialect answers, as many as arrive with one read."""
    return client_messages({"type": "ping"}, b"pong")


def clients_events():
    """Counts a client's message to a topic whose only subscriber is that client, and its delivery, as many as arrive with one read."""
    return client_messages({"type": "message", "topic": "bench.all", "data": "x" * 60}, b"xxxx")


def client_messages(message, answer):
    with Counted("topics") as counted:
        peer, stream = counted.connect("/ws")

        def send(message, answer, times=1):
            peer.sendall(frame(1, json.dumps(message).encode()) * times)
            for _ in range(times):
                reply = read_frame(stream)
                assert answer in reply, reply

        send({"type": "auth", "token": token("mia")}, b"auth_success")
        send({"type": "subscribe", "topic": "bench.all"}, b"subscribed")
        return counted.count(lambda: send(message, answer, AT_ONCE), 20) / AT_ONCE


def handshakes():
    """A connection with a token: the upgrade, and the closing handshake."""
    with Counted("notify") as counted:
        target = f"/ws?token={token('mia')}"

        def come_and_go():
            peer, stream = counted.connect(target)
            peer.sendall(frame(8, (1000).to_bytes(2, "big")))
            stream.read()  # to the end
            stream.close()
            peer.close()

        return counted.count(come_and_go, 100)


SCENARIOS = {
    "delivery": deliveries, "unicast": unicasts, "published event": published_events, "event by HTTP": events_by_http,
    "frame received": frames_received, "client's event": clients_events, "handshake": handshakes,
}


def processor():
    """Returns the model of the processor: libraries choose their code by its features."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    found = (re.search(rf"^{name}\s*: (.+)$", text, re.M) for name in ("vendor_id", "cpu family", "model"))
    return "/".join(match[1] for match in found if match)


def build():
    """Returns the compiler, the profile, the C library and the processor for which a baseline holds."""
    path = pathlib.Path(binary())
    compiler = re.search(rb"rustc version (\d+\.\d+\.\d+)", path.read_bytes())
    profile = next((part for part in path.parts if part in ("debug", "release")), "release")
    libc = " ".join(platform.libc_ver())
    return f"rustc {compiler[1].decode() if compiler else 'unknown'}, {profile}, {platform.machine()}, {libc}, {processor()}"


def risen(name, scenario, before):
    """Counts a scenario. Returns the count, and whether it is above the baseline, for which two runs must agree."""
    for attempt in (1, 2):
        count = round(scenario())
        rise = count / before - 1 if before else 0
        print(f"{name:<16} {count:>9,} instructions" + (f"  {rise:+.1%}" if before else ""), flush=True)
        if rise <= ALLOWED_RISE:
            return count, False
        if attempt == 1:
            print("counted again:", flush=True)
    return count, True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="make the counts the baseline of this compiler and profile")
    options = parser.parse_args()
    baselines, key = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}, build()
    before = {} if options.write else baselines.get(key, {})
    if not before and not options.write:
        print(f"there is no baseline for {key}: the counts are compared with nothing")
    counts, failed = {}, []
    for name, scenario in SCENARIOS.items():
        counts[name], above = risen(name, scenario, before.get(name))
        if above:
            failed.append(name)
    if options.write:
        BASELINE.write_text(json.dumps(dict(sorted((baselines | {key: counts}).items())), indent=1) + "\n")
    for name in failed:
        print(f"{name} needs more instructions than {ALLOWED_RISE:.0%} above the baseline", file=sys.stderr)
    print(f"{len(counts) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
