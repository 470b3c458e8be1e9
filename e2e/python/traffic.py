"""Numbered traffic, its receivers, and the judgement about both.

Each publisher numbers its publications from 1, and publishes every number to one user (that of the notify clients) and in one
room (that of the topics and rooms clients). A subscriber records the numbers in the order of arrival. `Ledger.judge` then
checks the contract's laws about outages:

- no subscriber received a number twice, or a publisher's numbers in another order;
- a number whose receipt is not `degraded` reached every subscriber that was connected at the time, unless its node had been
  silent for so long that the others may consider it dead;
- a number that was published while there was no fault reached them, whatever the publisher was;
- a number that a node accepted reached that node's own subscribers, degraded or not.
"""

import contextlib
import http.client
import itertools
import json
import re
import socket
import threading
import time
from dataclasses import dataclass

import redis
import websockets
from redis.backoff import NoBackoff
from redis.retry import Retry

from fanfare import token, wait_until

USER, ROOM = "ann", "project:7"
NUMBER = re.compile(r'"p": ?"([^"]+)", ?"n": ?(\d+)')
MARGIN = 1.0  # seconds before a fault in which events under way may already be affected
CLOSING = 0.3  # seconds before a client has read the end of its connection
UNREAD = 5.0  # the most seconds, on a machine whose CPU is busy
FOREVER = float("inf")
RECONNECTED = "reconnected"  # in a subscriber's `presence`: from here on it receives the room's members again


def data(publisher, number):
    return json.dumps({"p": publisher, "n": number})


@dataclass
class Published:
    """A number: when it was published, how long that took, and its outcome as far as its publisher knows."""

    number: int
    began: float
    took: float
    outcome: str  # sure, degraded, failed, or unsaid: this publisher gets no receipt


class Publisher(threading.Thread):
    """Publishes numbers until `stop`; a subclass implements how. `node` is None for one that publishes on the broker."""

    period = 0.1
    audiences = ("user", "room")

    def __init__(self, name, node=None):
        super().__init__(daemon=True, name=name)
        self.node, self.published, self.ended = node, [], threading.Event()
        self.numbers = itertools.count(1)
        self.turn = threading.Lock()
        self.error = None

    def run(self):
        while not self.ended.wait(self.period):
            try:
                self.one()
            except Exception as error:  # noqa: BLE001, `stop` reports it
                self.error = error
                raise

    def one(self):
        """Publishes the next number and returns its outcome."""
        with self.turn:
            number, began = next(self.numbers), time.monotonic()
            outcome = self.publish(number)
            self.published.append(Published(number, began, time.monotonic() - began, outcome))
            return self.published[-1]

    def stop(self):
        self.ended.set()
        if self.ident is not None:
            self.join(60)
        assert not self.is_alive(), f"{self.name} hangs"
        assert self.error is None, f"{self.name}: {self.error!r}"

    def close(self):
        self.ended.set()

    def publish(self, number):
        raise NotImplementedError


class HttpPublisher(Publisher):
    """A backend at one node's service API, which connects when the node is ready. With `ids`, each event has its own id."""

    def __init__(self, name, node, ids=False):
        super().__init__(name, node)
        self.ids, self.connection = ids, None
        self.headers = {"Authorization": f"Bearer {token('root', roles=['admin'])}", "Content-Type": "application/json"}

    def publish(self, number):
        events = [
            {"to": to, "type": "tick", "data": {"p": self.name, "n": number}}
            | ({"id": f"{self.name}-{number}-{index}"} if self.ids else {})
            for index, to in enumerate(({"user": USER}, {"channel": ROOM}))
        ]
        try:
            if self.connection is None:
                if not self.node.ready():
                    return "failed"
                self.connection = http.client.HTTPConnection("127.0.0.1", self.node.ports["rooms"], timeout=30)
            self.connection.request("POST", "/api/v1/events", json.dumps(events), self.headers)
            answer = self.connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            with contextlib.suppress(Exception):
                self.connection.close()
            self.connection = None
            return "failed"
        if answer.status == 503:  # it drains
            return "failed"
        assert answer.status == 200, (answer.status, body)
        return "degraded" if json.loads(body).get("degraded") else "sure"


class RedisPublisher(Publisher):
    """A backend that publishes on Redis, and does not retry."""

    def __init__(self, name, port, **options):
        super().__init__(name)
        self.options = {"port": port, "socket_timeout": 1, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)} | options
        self.client = redis.Redis(**self.options)

    def publish(self, number):
        event = json.dumps({"type": "tick", "payload": {"p": self.name, "n": number}})
        try:
            self.client.publish(f"user_noti:{USER}", event)
            self.client.publish(f"fanfare:channel:{ROOM}", event)
        except redis.RedisError:
            return "failed"
        return "unsaid"


class Burst(RedisPublisher):
    """Many events for the user at once, in one transaction."""

    audiences = ("user",)

    def __init__(self, name, port, size, count):
        super().__init__(name, port)
        self.padding, self.count = "x" * size, count

    def publish(self, number):
        pipeline = self.client.pipeline(transaction=True)
        event = '{"type":"tick","payload":{"p":"%s","n":%d,"x":"%s"}}'
        for part in range(self.count):
            pipeline.publish(f"user_noti:{USER}", event % (self.name, number * 1000 + part, self.padding))
        pipeline.execute()
        return "unsaid"


class NatsPublisher(Publisher):
    """A backend that publishes on NATS with raw protocol commands, and waits until the server has read them."""

    SUBJECTS = (f"user_noti.{USER}", f"fanfare.channel.{ROOM.replace(':', '%3A')}")

    def __init__(self, name, port):
        super().__init__(name)
        self.port, self.socket = port, None

    def publish(self, number):
        event = json.dumps({"type": "tick", "payload": {"p": self.name, "n": number}}).encode()
        try:
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.port), 1)
                self.socket.sendall(b'CONNECT {"verbose":false}\r\n')
            for subject in self.SUBJECTS:
                self.socket.sendall(f"PUB {subject} {len(event)}\r\n".encode() + event + b"\r\n")
            self.socket.sendall(b"PING\r\n")
            answer = b""
            while b"PONG\r\n" not in answer:
                answer += (received := self.socket.recv(4096))
                if not received:
                    raise ConnectionError
        except OSError:
            self.socket = None
            return "failed"
        return "unsaid"


class FramePublisher(Publisher):
    """A client of `rooms`, which also receives its own messages."""

    audiences = ("room",)

    def __init__(self, name, subscriber):
        super().__init__(name, subscriber.node)
        self.subscriber = subscriber

    def publish(self, number):
        try:
            self.subscriber.client.publish(ROOM, data(self.name, number))
        except (OSError, websockets.WebSocketException):
            return "failed"
        return "unsaid"


class Subscriber(threading.Thread):
    """Records what one client receives: `received` (publisher, number), and `presence` (type, user) of its room, each with its time.

    `connect()` returns a client of `interop.clients`. With `returns` it reconnects as the documents' samples do, with pauses that
    double from a second on; without, its end is an error, unless its node was `doomed`. `away` has the times in which it was
    disconnected, and `refused` the reasons of failed attempts to reconnect.
    """

    def __init__(self, name, node, audience, connect, returns=False):
        super().__init__(daemon=True, name=name)
        self.node, self.audience, self.connect, self.returns = node, audience, connect, returns
        self.received, self.presence, self.away, self.refused, self.other = [], [], [], [], []
        self.ended, self.lost, self.doomed = threading.Event(), None, False
        self.client = connect()
        self.members = self.client.members
        self.since = time.monotonic()
        self.start()

    def run(self):
        while not self.ended.is_set():
            try:
                self.take(self.client.socket.recv(1))
            except TimeoutError:
                continue
            except websockets.ConnectionClosed as closed:
                if self.ended.is_set():
                    return
                self.lost = f"{self.name} was closed: {closed}"
                self.away.append((time.monotonic(), FOREVER))
                if not self.returns:
                    return
                self.reconnect()

    def reconnect(self):
        delay = 1
        while not self.ended.wait(delay):
            try:
                self.client = self.connect()
                break
            except (OSError, websockets.WebSocketException, TimeoutError, AssertionError) as refused:
                self.refused.append(repr(refused))
                delay = min(2 * delay, 30)
        else:
            return
        self.away[-1] = (self.away[-1][0], time.monotonic())
        self.presence.append((RECONNECTED, None, time.monotonic()))
        self.members, self.lost = self.client.members, None

    @property
    def is_there(self):
        return self.lost is None

    def take(self, frame):
        now = time.monotonic()
        found = NUMBER.search(frame)
        if found:
            self.received.append((found[1], int(found[2]), now))
            return
        message = json.loads(frame)
        if message.get("type") in ("user_joined", "user_left"):
            self.presence.append((message["type"], message["sender"], now))
        else:
            self.other.append(frame)

    def news(self, since):
        """The announcements of its room after the first `since` of its `presence`."""
        return [(kind, user) for kind, user, _ in list(self.presence)[since:]]

    def present(self):
        """The members of the room, as far as this client received them."""
        users = set(self.members)
        for kind, user, _ in list(self.presence):
            if kind == RECONNECTED:
                users = set(self.members)
            elif kind == "user_joined":
                users.add(user)
            else:
                users.discard(user)
        return users

    def numbers(self, publisher):
        return [number for name, number, _ in list(self.received) if name == publisher.name]

    def close(self):
        self.ended.set()
        self.client.close()
        self.join(10)


@dataclass
class Fault:
    """The time of a fault, from its beginning to its end."""

    began: float
    over: float = FOREVER


class Ledger:
    """All publishers and subscribers of a test, and the times of faults."""

    closing = CLOSING

    def __init__(self):
        self.publishers, self.subscribers, self.faults = [], [], []

    def healthy(self, published):
        """Whether there was no fault while this was published."""
        began, ended = published.began, published.began + published.took
        return not any(fault.began - MARGIN < ended and began < fault.over for fault in self.faults)

    def must_reach(self, publisher, published, subscriber):
        if subscriber.audience not in publisher.audiences or published.outcome == "failed":
            return False
        ended = published.began + published.took
        if any(self.ended(subscriber, gone) < ended and published.began < back for gone, back in subscriber.away):
            return False
        if published.began < subscriber.since:
            return False
        own = publisher.node is not None and publisher.node is subscriber.node
        if own or self.healthy(published):
            return True
        was_dead = subscriber.node is not None and subscriber.node.was_dead(published.began, ended)
        return published.outcome == "sure" and not was_dead

    def ended(self, subscriber, read):
        """The time from which the connection of a client may have been closed, if it read the end then: after its last event."""
        publishers = {one.name: one.published for one in self.publishers}
        before = (one[:2] for one in reversed(subscriber.received) if one[2] <= read)
        last = [(publishers.get(name, ()), number) for name, number in itertools.islice(before, 20)]
        began = [published[number - 1].began for published, number in last if number <= len(published)]
        return min(read - self.closing, max(read - UNREAD, *began)) if began else read - self.closing

    def lost(self, for_good=False):
        """The connections that ended and should not have; `for_good` without those that will return."""
        return [one.lost for one in self.subscribers if one.lost and not one.doomed and not (for_good and one.returns)]

    def missing(self):
        """The numbers that were not received and should have been."""
        lacking = []
        for publisher in self.publishers:
            for subscriber in self.subscribers:
                got = set(subscriber.numbers(publisher))
                lacking += [
                    (publisher.name, published.number, published.outcome, subscriber.name)
                    for published in list(publisher.published)
                    if published.number not in got and self.must_reach(publisher, published, subscriber)
                ]
        return lacking

    def summary(self):
        """For each publisher, how many of its numbers had which outcome, and how many of those did not reach all subscribers."""
        for publisher in self.publishers:
            ends = [one for one in self.subscribers if one.audience in publisher.audiences]
            got = [set(one.numbers(publisher)) for one in ends]
            counts = {}
            for published in publisher.published:
                reached = all(published.number in one for one in got)
                key = published.outcome if reached else f"{published.outcome}, not everywhere"
                counts[key] = counts.get(key, 0) + 1
            yield f"{publisher.name}: " + ", ".join(f"{count} {key}" for key, count in sorted(counts.items()))

    def judge(self):
        """Stops the publishers, waits for events under way, and checks everything."""
        for publisher in self.publishers:
            publisher.stop()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.missing(), 30)
        print(*self.summary(), sep="\n")
        assert not self.lost(), self.lost()
        # First the promises of a receipt, and the laws that hold in every outage.
        missing = sorted(self.missing(), key=lambda one: one[2] != "sure")
        assert not missing, f"{len(missing)} lost silently: {missing[:10]}"
        for subscriber in self.subscribers:
            alternates(subscriber.presence)
            for publisher in self.publishers:
                came = subscriber.numbers(publisher)
                assert len(set(came)) == len(came), f"{subscriber.name} received from {publisher.name} twice: {came}"
                assert sorted(came) == came, f"{subscriber.name} received from {publisher.name} out of order: {came}"


def alternates(presence):
    """Each user joins and leaves in turn."""
    last = {}
    for kind, user, _ in list(presence):
        if kind == RECONNECTED:
            last.clear()
            continue
        assert last.get(user) != kind, f"{kind} of {user} twice: {[(kind, user) for kind, user, _ in presence]}"
        last[user] = kind


def outcomes(publisher, since=0.0):
    """The outcomes of numbers that were published after `since`."""
    return [published.outcome for published in list(publisher.published) if published.began >= since]


