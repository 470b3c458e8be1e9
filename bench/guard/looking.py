#!/usr/bin/env python3
"""Counts the instructions of an event while an operator watches: with a tail, a trace, and the page at /admin.

    cargo build --release && bench/guard/looking.py

It counts as `guard.py` does, by callgrind and in the thread that does the work, but compares with no baseline: the first line of each
table, without an operator, is the one to compare with.
"""

import contextlib
import http.client
import json
import sys
import threading

from guard import AT_ONCE, RECEIVERS, TIMEOUT, Counted, fanned_out

POLL_SECONDS = 2  # the period of the page at /admin


def request(counted, method, path, body=None):
    caller = http.client.HTTPConnection("127.0.0.1", counted.server.port, timeout=TIMEOUT)
    caller.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"} if body else {})
    return caller, caller.getresponse()


@contextlib.contextmanager
def tail(counted, query):
    """Opens a tail, and reads its lines."""
    caller, reply = request(counted, "GET", f"/api/v1/tail?{query}")
    assert reply.status == 200, reply.read()
    reply.readline()
    raw = caller.sock

    def read():
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while reply.readline():
                pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield
    with contextlib.suppress(OSError, AttributeError):
        raw.close()


@contextlib.contextmanager
def armed(counted, **wanted):
    """Arms a trace for an hour."""
    _, reply = request(counted, "POST", "/api/v1/trace", {"seconds": 3600, "events": 100, **wanted})
    trace = json.loads(reply.read())["trace"]
    yield
    request(counted, "DELETE", f"/api/v1/trace/{trace}")[1].read()


@contextlib.contextmanager
def overview(counted):
    """Requests the figures of the page's overview periodically."""
    closed = threading.Event()

    def poll():
        while not closed.wait(POLL_SECONDS):
            assert request(counted, "GET", "/api/v1/overview")[1].read()

    page = threading.Thread(target=poll, daemon=True)
    page.start()
    yield
    closed.set()
    page.join()


LOOKS = {
    "no operator watches": contextlib.nullcontext,
    "the page at /admin is open": overview,
    "a tail of another channel": lambda counted: tail(counted, "channel=other.*"),
    "a trace armed for another user": lambda counted: armed(counted, user="nobody"),
    "a tail of these events": lambda counted: tail(counted, "everyone=true&channel=bench.*"),
}


def published(look):
    """Counts an event on a channel without subscribers, many in one write."""
    with Counted("notify") as counted:
        message, door = json.dumps({"type": "score", "payload": "x" * 60}), counted.door()
        many = door.encode("PUBLISH", "bench.nobody", message) * AT_ONCE

        def publish():
            door.raw(many)
            assert len([door.read() for _ in range(AT_ONCE)]) == AT_ONCE

        with look(counted):
            return counted.count(publish, 20) / AT_ONCE


def table(title, looks, measure):
    print(title, flush=True)
    unwatched = None
    for name, look in looks.items():
        count = measure(look)
        unwatched = unwatched or count
        print(f"  {name:<32} {round(count):>10,} instructions  {count / unwatched - 1:+.1%}", flush=True)


def main():
    table("an event without receivers", LOOKS, published)
    table(f"an event with {RECEIVERS} receivers", LOOKS, lambda look: fanned_out(20, look))
    # A trace records at most a hundred events: four rounds of twenty.
    traced = {"no operator watches": contextlib.nullcontext, "each event is traced": lambda counted: armed(counted, everyone=True)}
    table(f"a traced event with {RECEIVERS} receivers", traced, lambda look: fanned_out(20, look))
    return 0


if __name__ == "__main__":
    sys.exit(main())
