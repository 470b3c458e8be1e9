"""Several real nodes on one real broker, traffic through all of them, and the faults of both.

A test of a fault looks like this:

    with cluster() as nodes:                # started, connected, and with traffic
        with nodes.fault():                 # from here on, events may be lost if their receipts say so
            break_something()
            nodes.unready(*nodes.all)       # /readyz and the metrics report it within 10 s
            mend_it()
        # everything works again within 10 s, without intervention (`settle`)
    # at the end: `Ledger.judge`, the nodes' memory, the number of their connections, and that none panicked

Each node reaches the broker through its own link (`links`), which can freeze and which counts connections. `traffic` has the
publishers, the subscribers and the judgement. Two environment variables:

- `FANFARE_FAULT_ROUNDS`: how often each test runs; 1 if it is not set;
- `FANFARE_FAULT_SECONDS`: the least length of outages, instead of each test's own short time.
"""

import collections
import contextlib
import functools
import json
import os
import signal
import threading
import time

import pytest
import redis

import interop.world
from brokers import Nats
from fanfare import Redis, token, wait_until
from interop.clients import Notify, Rooms, Topics
from links import Links
from traffic import FOREVER, ROOM, USER, Fault, FramePublisher, HttpPublisher, Ledger, NatsPublisher, RedisPublisher, Subscriber

NOTICE = 10  # seconds in which a node detects a fault, and in which it recovers
DEAD = 7  # seconds of silence after which a node may be considered dead: ten, less the time between two of its reports
LATE = 5  # further seconds for a busy machine and for the probes themselves
MEMORY = 150 << 20  # the most bytes by which a node may grow
ATTEMPTS = 25  # the most connections that a node may open within a second
ROUNDS = int(os.environ.get("FANFARE_FAULT_ROUNDS", "1"))


@pytest.fixture(params=range(ROUNDS), autouse=True, ids=lambda number: f"round{number + 1}")
def rounds(request):
    """Repeats each test of a module that imports it."""
    return request.param


def at_least(seconds):
    """The length of an outage."""
    return max(seconds, float(os.environ.get("FANFARE_FAULT_SECONDS", "0")))


class Node(interop.world.Node):
    """A node, its clients' address, and its link to the broker."""

    def __init__(self, stack, number, link, **tables):
        self.number, self.link, self.frozen, self.silences = number, link, False, []
        super().__init__(stack, **tables)

    def __repr__(self):
        return f"node {self.number}"

    @property
    def is_running(self):
        return self.server.process.poll() is None

    def ready(self):
        """Returns whether /readyz answers 200."""
        return self.server.get("/readyz").status == 200

    def broker_is_up(self):
        """The broker's state in /health."""
        return self.server.json("/health")["redis"]["status"] == "connected"

    def post_event(self, to, data, **fields):
        return self.post("/api/v1/events", json.dumps({"to": to, "data": data, **fields}))

    # --- ends and pauses ---

    def freeze(self):
        """Stops the process; its connections stay open."""
        self.server.signal(signal.SIGSTOP)
        self.frozen = True
        self.silences.append((time.monotonic(), FOREVER))

    def thaw(self):
        self.server.signal(signal.SIGCONT)
        self.frozen = False
        self.silences[-1] = (self.silences[-1][0], time.monotonic())

    def cut(self):
        """Blocks all traffic between the node and the broker, without a reset."""
        self.link.freeze()
        self.silences.append((time.monotonic(), FOREVER))

    def mend(self):
        self.link.thaw()
        self.silences[-1] = (self.silences[-1][0], time.monotonic())

    def kill(self):
        """Kills it as a loss of power does."""
        self.server.process.kill()
        self.server.process.wait()

    def start_again(self):
        """Reports the end of the process. The log is shown if the test fails."""
        print(self, *(line for line in self.server.log().splitlines() if '"open: ' not in line), sep="\n")
        self.server.start()

    def was_dead(self, began, ended):
        """Returns whether the other nodes may have considered it dead, or it has just returned."""
        return any(start + DEAD < ended and began < end + NOTICE for start, end in self.silences if end - start > DEAD)

    def connections_of(self, user):
        """The number of this user's connections on all nodes, as this node counts them."""
        answer = self.server.get(f"/api/v1/users/{user}/presence")
        assert answer.status == 200, answer.text
        return json.loads(answer.text)["connections"]

    def presence(self):
        """{user: connections} in the room on all nodes, as this node counts them; None if its answer is incomplete."""
        answer = self.server.get(f"/api/v1/channels/{ROOM}/presence")
        assert answer.status == 200, answer.text
        listed = json.loads(answer.text)
        return {member["user"]: member["connections"] for member in listed["members"]} if listed["complete"] else None


class Cluster:
    """See the module's documentation. `all` holds the nodes."""

    NODE = Node

    def __init__(self, stack, nodes=3, broker=None, tables=None, broker_tables=None):
        self.stack, self.ledger, self.links = stack, Ledger(), Links()
        stack.callback(self.links.close)
        self.broker = broker or started(stack, Redis())
        self.tables = {"shutdown": {"timeout": "10s", "drain_window": "500ms"}} | (tables or {})
        of_redis = lambda link: {"kind": "redis", "url": f"redis://127.0.0.1:{link.port}"}  # noqa: E731
        self.broker_tables = broker_tables or getattr(self.broker, "tables", of_redis)
        self.started = time.monotonic()
        self.all = [self._node(number) for number in range(nodes)]
        stack.callback(self._thaw_all)
        self.memory = MemoryWatch(self.all)
        stack.callback(self.memory.stop)

    def _node(self, number):
        link = self.links.open(self.broker.port)
        return self.NODE(self.stack, number, link, broker=self.broker_tables(link), **self.tables)

    def _thaw_all(self):
        """A stopped process cannot end, and a frozen link delays the end of a node."""
        for node in self.all:
            node.link.thaw()
            if node.frozen and node.is_running:
                node.thaw()

    # --- clients and traffic ---

    def subscriber(self, dialect, node, user=None, url=None, **options):
        """A client of `dialect`, subscribed to the traffic; `url(listener, path, **query)` may lead through a proxy."""
        name = f"{dialect}-{node.number if node else 'proxied'}-{len(self.ledger.subscribers)}"
        user = user or (USER if dialect == "notify" else name)
        connect, audience = {
            "notify": (functools.partial(notify, user), "user"),
            "topics": (functools.partial(topics, user, ROOM), "room"),
            "pattern": (functools.partial(topics, user, "project:*"), "room"),
            "rooms": (functools.partial(rooms, user), "room"),
        }[dialect]
        address = url or node.url
        one = Subscriber(name, node, audience, functools.partial(connect, address), **options)
        one.user = user
        self.stack.callback(one.close)
        self.ledger.subscribers.append(one)
        return one

    def publisher(self, one):
        self.stack.callback(one.close)
        self.ledger.publishers.append(one)
        return one

    def occupy(self):
        """Three clients at each node, in three dialects; publishers at each node and on the broker, and one that is itself a client."""
        for node in self.all:
            self.subscriber("notify", node)
            self.subscriber("pattern" if node.number % 2 else "topics", node)
            speaker = self.subscriber("rooms", node)
            self.publisher(FramePublisher(f"frames-{node.number}", speaker))
            self.publisher(HttpPublisher(f"http-{node.number}", node, ids=node.number == 0))
        self.publish_on_broker()

    def publish_on_broker(self):
        if isinstance(self.broker, Redis):
            self.publisher(RedisPublisher("redis", self.broker.port))
        elif isinstance(self.broker, Nats):
            self.publisher(NatsPublisher("nats", self.broker.port))

    def flow(self):
        """Starts the traffic, once each node reaches the clients of every other node."""
        wait_until(self.whole, NOTICE + LATE, "a cluster that works")
        for publisher in self.ledger.publishers:
            publisher.start()
        self.spend(1)

    def spend(self, seconds):
        """Keeps the traffic running for a while; a lost client ends the test at once."""
        time.sleep(seconds)
        lost = self.ledger.lost(for_good=True)
        assert not lost, lost

    def admin(self):
        """An administrator's connection to the broker."""
        client = redis.Redis(port=self.broker.port)
        self.stack.callback(client.close)
        return client

    # --- faults ---

    @contextlib.contextmanager
    def fault(self):
        """Marks a fault from the start of this block until everything works again."""
        self.ledger.faults.append(Fault(time.monotonic()))
        yield
        self.settle()

    def unready(self, *nodes, within=NOTICE + LATE):
        """Waits until these nodes, and no others, report that they are not ready."""
        deadline = time.monotonic() + within
        for node in nodes:
            wait_until(lambda: not node.ready() and not node.broker_is_up(), deadline - time.monotonic(), f"{node} to be unready")
        for node in self.running():
            assert node in nodes or node.ready(), f"{node} has no fault"

    def running(self):
        return [node for node in self.all if node.is_running and not node.frozen]

    def whole(self):
        """Returns whether each node is ready and its events reach all others, with a receipt that is not degraded."""
        return all(node.ready() and node.broker_is_up() and self._reaches(node) for node in self.running())

    def _reaches(self, node):
        expected = sum(one.audience == "user" and one.is_there for one in self.ledger.subscribers)
        status, answer = node.post_event({"user": USER}, "probe")
        return status == 200 and not answer.get("degraded") and answer["recipients"] == expected

    def doom(self, node):
        """Declares that the connections of this node may end."""
        for one in self.ledger.subscribers:
            if one.node is node:
                one.doomed = True

    def leaves(self, subscriber):
        """Closes this client; it need not receive later events."""
        subscriber.doomed = True
        subscriber.client.close()
        wait_until(lambda: not subscriber.is_there, what="a client that has gone")

    def members(self, *at):
        """The clients in the room at these nodes."""
        return [one for one in self.ledger.subscribers if one.name.startswith("rooms") and one.node in at]

    def agree(self):
        """All clients in the room have the same list of users, and all nodes count the same connections of each."""
        there = [one for one in self.ledger.subscribers if one.name.startswith("rooms") and one.is_there]
        counts = collections.Counter(one.user for one in there)

        def differences():
            for one in there:
                if one.present() != set(counts):
                    yield one.name, sorted(one.present() ^ set(counts))
            for node in self.running():
                known = node.presence()
                if known != counts:
                    yield node, known

        try:
            wait_until(lambda: not list(differences()), NOTICE + LATE)
        except AssertionError:
            raise AssertionError(f"expected {dict(counts)}, and differently know it {list(differences())}") from None

    def settle(self, within=2 * NOTICE + LATE):
        """Everything is as before, by itself. From here on every publication must arrive again.

        A node has recovered after 10 s; another node that has gone for good is waited for as long again.
        """
        began = time.monotonic()
        ready = lambda: all(node.ready() and node.broker_is_up() for node in self.running())  # noqa: E731
        wait_until(ready, NOTICE + LATE, "ready nodes")
        wait_until(self.whole, within, "a cluster that works")
        over = time.monotonic()
        for fault in self.ledger.faults:
            fault.over = min(fault.over, over)
        self.spend(2)
        return over - began

    def judge(self):
        """Checks everything at the end of a test."""
        self.agree()
        self.ledger.judge()
        self.memory.judge()
        for one in self.members(*self.all):
            print(one.name, "was sent", one.news(0))
        for node in self.all:
            busiest = node.link.busiest_second(self.started)
            print(node, "opened at most", busiest, "connections within a second")
            assert busiest <= ATTEMPTS, f"{node} opened {busiest} connections within a second"
            assert "panicked" not in node.server.log(), node.server.log()


class MemoryWatch(threading.Thread):
    """Samples the nodes' resident memory."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes, self.first, self.most, self.ended = nodes, {}, {}, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.5):
            for node in self.nodes:
                with contextlib.suppress(OSError, TypeError):  # the process has just ended
                    size = node.server.memory()
                    self.first.setdefault(node, size)
                    self.most[node] = max(self.most.get(node, 0), size)

    def stop(self):
        self.ended.set()
        self.join(10)

    def judge(self):
        for node, most in self.most.items():
            assert most - self.first[node] < MEMORY, f"{node} grew from {self.first[node]} to {most} bytes"


@contextlib.contextmanager
def cluster(**options):
    """A cluster with clients and traffic, judged at the end of the block."""
    with contextlib.ExitStack() as stack:
        made = Cluster(stack, **options)
        made.occupy()
        made.flow()
        yield made
        made.judge()


def started(stack, server):
    """A server that ends with the stack."""
    stack.callback(server.remove)
    return server.start()


# --- clients that are subscribed to the traffic ---


def notify(user, url):
    client = Notify(url("shared", token=token(user)))
    client.members = []
    return client


def topics(user, name, url):
    client = Topics(url("topics"), token(user))
    client.members = []
    client.subscribe(name)
    return client


def rooms(user, url):
    client = Rooms(url("rooms", "/api/v1/ws/connect", token=token(user)))
    answer = client.call({"type": "join_room", "room": ROOM, "members": True})
    assert answer["type"] == "joined_room", answer
    client.members = [member["user_id"] for member in answer["data"]["members"]]
    return client
