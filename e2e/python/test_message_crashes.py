"""`kill -9` while messages are written: each acknowledged message is stored once and delivered once on each channel.

`FANFARE_CRASHES` is the number of kills; `FANFARE_SEED` selects the moments of a run.
"""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import sqlite3
import threading
import time

import postgres
from dialects import all_dialects
from fanfare import wait_until
from test_messages import PATH, request, send

CRASHES = int(os.environ.get("FANFARE_CRASHES", "100"))
SEED = int(os.environ.get("FANFARE_SEED", "0")) or random.randrange(1, 10**6)
WRITERS = 4
ADMIN = {"roles": ["admin"]}
UNPUBLISHED = "SELECT id FROM messages WHERE published_at IS NULL"


class Sqlite:
    """Opens the server's database file, as another program."""

    def __init__(self, server):
        file = server.folder / "data" / "fanfare.db"
        self.connection = sqlite3.connect(file, timeout=10, isolation_level=None)

    def column(self, query):
        return [str(row[0]) for row in self.connection.execute(query)]

    def close(self):
        assert self.column("PRAGMA integrity_check") == ["ok"]
        self.connection.close()


class Writer(threading.Thread):
    """Writes until the server has ended, and stores the acknowledged ids."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.server, self.user, self.acknowledged = server, name, set()
        self.start()

    def run(self):
        for number in range(100_000):
            to = {"channelId": f"c{number % 3}", "recipientId": f"{self.user}-friend"}
            try:
                self.acknowledged.add(send(self.server, self.user, f"{self.user} {number}", **to)["id"])
            except (OSError, ValueError, http.client.HTTPException):
                return


class Listener(threading.Thread):
    """An admin that receives all messages on all channels until the connection is lost: counts (id, channel)."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.arrived = client.subscribe("messages").subscribe("messages.**"), collections.Counter()
        self.start()

    def run(self):
        with contextlib.suppress(Exception):
            while True:
                frame = self.client.next_json(120)
                self.arrived[frame["data"]["id"], frame["topic"]] += 1

    def end(self):
        self.client.close()
        self.join()
        return self.arrived


def kill_while_writing(server, name, database, chance):
    """One crash, after every writer has had an answer: at any moment, or as soon as a message is stored and not yet marked as published.
    Returns the acknowledged ids."""
    writers = [Writer(server, f"{name}-{number}") for number in range(WRITERS)]
    wait_until(lambda: all(writer.acknowledged for writer in writers), what="messages that are acknowledged")
    if chance.random() < 0.5:
        time.sleep(chance.random() / 25)
    else:
        deadline = time.monotonic() + 5
        while not database.column(UNPUBLISHED + " LIMIT 1") and time.monotonic() < deadline:
            pass
    server.process.kill()
    server.process.wait()
    for writer in writers:
        writer.join()
    return set().union(*(writer.acknowledged for writer in writers))


def every_page(server):
    """The ids of all messages in `GET /api/messages`."""
    found, query = [], "?limit=100"
    while query:
        answer = request(server, "root", path=PATH + query, **ADMIN)
        assert answer.status == 200, answer.text
        data = json.loads(answer.text)["data"]
        found += [message["id"] for message in data["messages"]]
        query = data["nextCursor"] and f"?limit=100&cursor={data['nextCursor']}"
    return found


def stored_once(server, database, acknowledged):
    """Every acknowledged message exists once, in the database and for readers. Returns the channels of each stored message."""
    assert not database.column("SELECT content FROM messages GROUP BY content HAVING count(*) > 1"), "stored twice"
    rows = database.column("SELECT id || ' ' || user_id || ' ' || recipient_id || ' ' || channel_id FROM messages")
    stored = {}
    for id, user, recipient, channel in map(str.split, rows):
        stored[id] = ["messages", *(f"messages.{name}" for name in (f"user.{user}", f"user.{recipient}", f"channel.{channel}"))]
    assert not acknowledged - stored.keys(), "acknowledged and lost"
    assert every_page(server) == sorted(stored, reverse=True)
    return stored


def on_all_channels(stored, messages):
    """The counts if each of these messages is delivered once on each of its channels."""
    return {(id, topic): 1 for id in messages for topic in stored[id]}


def of_messages(arrived, messages):
    return {key: times for key, times in arrived.items() if key[0] in messages}


def by_message(arrived):
    return {id for id, _ in arrived}


def test_a_crash_of_the_only_node_loses_no_stored_message(launch, speak, cleanup):
    """One node with the embedded broker. It publishes messages that were not marked as published again after its restart."""
    server, chance = launch(**all_dialects()), random.Random(SEED)
    wait_until(lambda: request(server, "root").status == 200, what="the file")
    database = cleanup.enter_context(contextlib.closing(Sqlite(server)))
    acknowledged, delivered = set(), collections.Counter()
    for crash in range(CRASHES):
        listener = Listener(speak(server, "topics", "root", claims=ADMIN))
        acknowledged |= kill_while_writing(server, f"w{crash}", database, chance)
        delivered += listener.end()
        server.start()
    listener = Listener(speak(server, "topics", "root", claims=ADMIN))
    stored, left = stored_once(server, database, acknowledged), set(database.column(UNPUBLISHED))
    wait_until(lambda: not database.column(UNPUBLISHED), 60, "messages that are published after the last start")
    wait_until(lambda: left <= by_message(listener.arrived), what="messages that arrive after the last start")
    late = listener.end()

    print(f"seed {SEED}: {len(acknowledged)} acknowledged, {len(stored)} stored, {len(left)} of these published late")
    assert not left & acknowledged, "acknowledged and not noted as published"
    assert late == on_all_channels(stored, left), "not once on each channel"
    assert by_message(delivered) <= stored.keys(), "delivered and not stored"
    assert of_messages(delivered, acknowledged) == on_all_channels(stored, acknowledged)
    assert set(delivered.values()) == {1}, "delivered twice by one process"
    assert by_message(delivered) | left == stored.keys(), "never delivered"


class Postgres:
    """Opens the database, as another program."""

    def __init__(self, server):
        self.session = postgres.Session(server)
        self.column, self.close = self.session.sql, self.session.close


def test_a_crash_of_one_of_two_nodes_loses_no_stored_message(launch, speak, real_redis, real_postgres, cleanup):
    """PostgreSQL and Redis; a client of the surviving node receives each stored message once on each channel, acknowledged or not."""
    server, broker, chance = real_postgres(), real_redis(), random.Random(SEED)
    shared = {"broker": {"kind": "redis", "url": broker.url}, "storage": {"url": server.url}}
    crashing, staying = (launch(**all_dialects(**shared)) for _ in range(2))
    database = cleanup.enter_context(contextlib.closing(Postgres(server)))
    listener = Listener(speak(staying, "topics", "root", claims=ADMIN))
    acknowledged = set()
    for crash in range(max(1, CRASHES // 5)):
        # A message that is published without Redis reaches only that node's clients.
        wait_until(lambda: crashing.json("/health")["redis"]["status"] == "connected", what="Redis")
        acknowledged |= kill_while_writing(crashing, f"w{crash}", database, chance)
        crashing.start()
    stored, left = stored_once(staying, database, acknowledged), set(database.column(UNPUBLISHED))
    wait_until(lambda: not database.column(UNPUBLISHED), 90, "messages that are published by either node")
    wait_until(lambda: by_message(listener.arrived) == stored.keys(), what="messages that arrive")
    arrived = listener.end()

    print(f"seed {SEED}: {len(acknowledged)} acknowledged, {len(stored)} stored, {len(left)} of these published late")
    assert not left & acknowledged, "acknowledged and not noted as published"
    assert arrived == on_all_channels(stored, stored), "not once on each channel"
