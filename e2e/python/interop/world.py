"""One node, or two nodes on one Redis, that serve all five protocols, and the clients and services that a test opens there."""

import contextlib
import itertools
import json

import redis

import fanfare
from fanfare import free_port, running, token, wait_until

from .clients import MARKER, Broadcast, Notify, Realtime, Rooms, Topics

_numbers = itertools.count(1)


class Node:
    """A server with the five protocols on the listeners that their clients expect."""

    LISTENERS = {
        "shared": ["notify", "realtime"], "realtime": ["realtime"], "rooms": ["broadcast", "rooms"], "topics": ["topics"],
    }
    PREFIXES = {}  # for listeners that are not mounted at the root

    def __init__(self, stack, **tables):
        self.ports = {name: free_port() for name in self.LISTENERS}
        defaults = {
            "listener": [
                {"bind": f"127.0.0.1:{self.ports[name]}", "dialects": dialects, "prefix": self.PREFIXES.get(name, "")}
                for name, dialects in self.LISTENERS.items()
            ],
            "broadcast": {"notification_interval": "0s"},
            "topics": {"max_connections_per_ip": 0},
        }
        for name, table in tables.items():
            both = isinstance(table, dict) and name in defaults
            defaults[name] = defaults[name] | table if both else table
        self.server = stack.enter_context(running(port=self.ports["shared"], **defaults))

    def url(self, listener, path="/ws", **query):
        parameters = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        return f"ws://127.0.0.1:{self.ports[listener]}{path}{'?' if parameters else ''}{parameters}"

    def post(self, path, body, **headers):
        """A request to the service API, or to `/notify`."""
        port = self.ports["rooms"]
        asker = fanfare.Fanfare.get
        body = body.encode() if isinstance(body, str) else body
        answer = asker(_At(port), path, method="POST", body=body, Content_Type="application/json", **headers)
        return answer.status, json.loads(answer.text)


class _At:
    """Another listener of the same server, in the form that the request helper needs."""

    prefix = ""

    def __init__(self, port):
        self.port = port


class Deployment:
    """The nodes, and the Redis or the Redis-protocol door on which backends publish."""

    def __init__(self, stack, nodes=1, **tables):
        self.stack, self.tables = stack, tables
        self.broker = None
        if nodes > 1:
            self.broker = fanfare.Redis()
            stack.callback(self.broker.remove)
            self.broker.start()
            self.tables = {"broker": {"kind": "redis", "url": self.broker.url}} | tables
        self.nodes = [Node(stack, **self.tables) for _ in range(nodes)]
        for node in self.nodes if self.broker else ():  # a busy machine may need longer than a node waits for it
            wait_until(lambda: node.server.get("/readyz").status == 200, what="a ready node")  # noqa: B023

    @property
    def embedded(self):
        """Whether Fanfare serves the Redis protocol itself, and so counts the connections that PUBLISH reached."""
        return self.broker is None

    def publisher_port(self):
        return self.broker.port if self.broker else self.nodes[0].server.resp_port


class World:
    """A deployment for one test: clients that end with the test, and names that no other test uses.

    Publishers are connected to the first node, receivers to the last one, so that with two nodes every event crosses from one
    to the other.
    """

    def __init__(self, deployment, stack):
        self.deployment, self.stack = deployment, stack
        self.first, self.last = deployment.nodes[0], deployment.nodes[-1]
        self.redis = redis.Redis(port=deployment.publisher_port())
        stack.callback(self.redis.close)

    def name(self, text):
        """A new name that begins with `text`."""
        return f"{text}{next(_numbers)}"

    def keep(self, client):
        """Closes it with the test."""
        self.stack.callback(client.close)
        return client

    # --- clients ---

    def notify(self, user, at=None, **claims):
        return self.keep(Notify((at or self.last).url("shared", token=token(user, **claims))))

    def broadcast(self, user=None, client_id=None, at=None, **claims):
        proof = token(user, **claims) if user else None
        return self.keep(Broadcast((at or self.last).url("rooms", token=proof, client_id=client_id)))

    def topics(self, user, *names, at=None, **claims):
        proof = token(user, **claims) if user else None
        client = self.keep(Topics((at or self.last).url("topics"), proof))
        client.subscribe(*names)
        return client

    def realtime(self, user, *names, at=None, listens=True, **claims):
        proof = token(user, **claims) if user else None
        client = self.keep(Realtime((at or self.last).url("realtime", token=proof), listens))
        if names:
            client.subscribe(*names)
        return client

    def rooms(self, user, *rooms, at=None, first=True, **claims):
        url = (at or self.last).url("rooms", "/api/v1/ws/connect", token=token(user, **claims))
        client = self.keep(Rooms(url))
        client.join(*rooms, first=first)
        return client

    # --- services ---

    def events(self, body, at=None):
        """POST /api/v1/events."""
        status, answer = (at or self.first).post("/api/v1/events", body if isinstance(body, str) else json.dumps(body))
        assert status == 200, answer
        return answer

    # --- checks ---

    def mark(self):
        """Publishes a mark, which every client receives in its own form and no test expects as an event."""
        mark = str(next(_numbers))
        data = {"marker": mark}
        self.events([{"to": "everyone", "data": data}, {"to": {"channel": MARKER}, "data": data}])
        return mark

    def get(self, expected):
        """Asserts that each client receives exactly these frames; `expected` has a list of frames for each client.

        The expected frames arrive first, then a mark; no other frame may arrive before the mark.
        """
        got = {client: [client.next() for _ in frames] for client, frames in expected.items()}
        mark = self.mark()
        for client, frames in expected.items():
            came = got[client] + client.until(mark)
            assert len(came) == len(frames), f"{client.dialect}: expected {len(frames)} frames, came {came}"
            for frame, wanted in zip(came, frames):
                assert wanted.fullmatch(frame), f"{client.dialect}:\n  came      {frame}\n  expected  {wanted.pattern}"

    def receive(self, event, *clients, excluded=()):
        """Asserts that `clients` receive `event` in their own form, exactly once, and that `excluded` receive nothing."""
        hearing = {client: [client.shows(event)] for client in clients}
        assert None not in (frame for frames in hearing.values() for frame in frames), "no such rendering"
        self.get(hearing | {client: [] for client in excluded})

    def drain(self, *clients):
        """Discards what the clients have received so far, and returns when no more is under way."""
        mark = self.mark()
        for client in clients:
            client.until(mark)

    def quiet(self):
        """Waits until all connections of earlier tests have ended."""
        for node in self.deployment.nodes:
            count = lambda: node.server.prometheus("fanfare_connections") == 0  # noqa: E731
            wait_until(count, what="no connection left")


@contextlib.contextmanager
def opened(deployment):
    with contextlib.ExitStack() as stack:
        yield World(deployment, stack)
