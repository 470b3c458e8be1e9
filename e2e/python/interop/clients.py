"""Clients of the five protocols, each subscribed so that events reach it."""

import contextlib
import json
import re

import websockets.sync.client

from tls_client import trusting

from .frames import TIME, exactly, quoted, rendering

MARKER = "interop.marker"  # topics and realtime clients are subscribed to this channel, on which a mark ends what a test checks
_MARKS = re.compile(r'"marker": ?"([^"]+)"')


class Client:
    """A connection. It returns frames as text."""

    dialect = None

    def __init__(self, url, **options):
        # With a bounded queue, closing an unread client would wait for its own reader.
        options = {"compression": None, "max_size": None, "max_queue": None, "open_timeout": 20} | options
        if url.startswith("wss:"):
            options.setdefault("ssl", trusting())
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(websockets.sync.client.connect(url, **options))

    def close(self):
        self.stack.close()

    def send(self, frame):
        self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    def next(self, timeout=30):
        """The next frame, without the marks of earlier checks."""
        while True:
            frame = self.socket.recv(timeout)
            if not _MARKS.search(frame):
                return frame

    def json(self):
        return json.loads(self.next())

    def call(self, frame):
        """Sends a frame, and returns the server's next one."""
        self.send(frame)
        return self.json()

    def until(self, mark, timeout=30):
        """All frames before the one that contains `mark`."""
        frames = []
        while True:
            frame = self.socket.recv(timeout)
            marked = _MARKS.search(frame)
            if not marked:
                frames.append(frame)
            elif marked[1] == mark:
                return frames

    def shows(self, event):
        return rendering(self.dialect, event)

    def closed(self, timeout=15):
        """The (code, reason) of the server's close."""
        try:
            while True:
                self.socket.recv(timeout)
        except websockets.ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


class Notify(Client):
    dialect = "notify"


class Broadcast(Client):
    dialect = "broadcast"

    def __init__(self, url, **options):
        super().__init__(url, **options)
        welcome = self.json()
        assert welcome["type"] == "welcome", welcome
        self.client_id = welcome["client_id"]


class Topics(Client):
    """Authenticated if a token is given. Without one, the server only answers it."""

    dialect = "topics"

    def __init__(self, url, token=None, **options):
        super().__init__(url, **options)
        self.authenticated = token is not None
        if token:
            answer = self.call({"type": "auth", "token": token})
            assert answer["type"] == "auth_success", answer
            self.subscribe(MARKER)

    def subscribe(self, *names):
        for name in names:
            answer = self.ask(name)
            assert answer["type"] == "subscribed", answer

    def ask(self, name):
        return self.call({"type": "subscribe", "topic": name})

    def unsubscribe(self, name):
        assert self.call({"type": "unsubscribe", "topic": name})["type"] == "unsubscribed"

    def publish(self, name, data, **fields):
        """Publishes `data`, a JSON text. Returns when the server has accepted it, which the protocol does not report."""
        more = "".join(f",{quoted(key)}:{value}" for key, value in fields.items())
        self.send(f'{{"type":"message","topic":{quoted(name)},"data":{data}{more}}}')

    def settle(self):
        """Waits until the server has processed all that was sent; returns the frames before that."""
        self.send({"type": "ping"})
        return _until(self, exactly('{"type":"pong","timestamp":', TIME, "}"))

    def until(self, mark, timeout=30):
        # An unauthenticated client cannot receive a mark.
        return super().until(mark, timeout) if self.authenticated else self.settle()


class Realtime(Client):
    """Anonymous without a token. `listens` is off for clients without any subscription."""

    dialect = "realtime"

    def __init__(self, url, listens=True, **options):
        super().__init__(url, **options)
        welcome = self.json()
        assert (welcome["type"], welcome["data"]["status"]) == ("Status", "connected"), welcome
        self.connection_id, self.listens = welcome["data"]["details"]["connection_id"], listens
        if listens:
            self.subscribe(MARKER)

    def subscribe(self, *names):
        answer = self.ask(*names)
        assert answer["data"].get("status") == "subscribed", answer

    def ask(self, *names):
        return self.call({"type": "Subscribe", "data": {"topics": names}})

    def unsubscribe(self, *names):
        answer = self.call({"type": "Unsubscribe", "data": {"topics": names}})
        assert answer["data"].get("status") == "unsubscribed", answer

    def publish(self, name, payload):
        self.send(f'{{"type":"Broadcast","data":{{"topic":{quoted(name)},"payload":{payload}}}}}')

    def direct(self, user, payload):
        self.send(f'{{"type":"DirectMessage","data":{{"target_user":{quoted(user)},"payload":{payload}}}}}')

    def settle(self):
        self.send('{"type":"Ping","data":{"timestamp":77}}')
        return _until(self, re.compile(r'\{"type":"Pong","data":\{"timestamp":77\},"timestamp":\d{13}\}'))

    def until(self, mark, timeout=30):
        return super().until(mark, timeout) if self.listens else self.settle()


class Rooms(Client):
    dialect = "rooms"

    def __init__(self, url, **options):
        super().__init__(url, **options)
        self.welcome = self.json()
        assert self.welcome["type"] == "connected", self.welcome

    def join(self, *rooms, first=True):
        """Joins rooms, as the user's first connection there on any node or as a further one."""
        for room in rooms:
            answers = [self.call({"type": "join_room", "room": room})] + ([self.json()] if first else [])
            assert [answer["type"] for answer in answers] == ["joined_room", "user_joined"][: 1 + first], answers

    def leave(self, room):
        answer = self.call({"type": "leave_room", "room": room})
        assert answer["type"] == "left_room", answer

    def publish(self, room, content, metadata=None):
        more = f',"metadata":{metadata}' if metadata is not None else ""
        self.send(f'{{"type":"send_message","room":{quoted(room)},"data":{{"content":{content}{more}}}}}')

    def settle(self):
        self.send({"type": "ping"})
        return _until(self, re.compile(r'\{"type":"pong",.*'))


def _until(client, answer):
    frames = []
    while not answer.fullmatch(frame := client.next()):
        frames.append(frame)
    return frames
