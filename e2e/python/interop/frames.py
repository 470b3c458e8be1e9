"""The frame of one event in each of the five protocols: the table of renderings, written once more, independent of the server.

Frames are compared as text, in the documented order of their fields: types and values must be exact, no field may be missing
or added, and a payload's bytes must be those that its publisher wrote.
"""

import dataclasses
import json
import re

DIALECTS = ("notify", "broadcast", "topics", "realtime", "rooms")

TIME = re.compile(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"')
MILLISECONDS = re.compile(r"\d{13}")
UUID = re.compile(r'"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"')
UUID_V7 = re.compile(r'"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"')


def user(name):
    return ("user", name)


def channel(name):
    return ("channel", name)


EVERYONE = ("everyone", "notifications")


@dataclasses.dataclass(frozen=True)
class Event:
    """A published event. `data` and `metadata` are JSON texts; a field that was not given is None."""

    to: tuple
    data: str
    type: str | None = None
    id: str | None = None
    sender: str | None = None
    username: str | None = None
    connection: str | re.Pattern | None = None
    metadata: str | None = None


def exactly(*parts):
    """A frame of these texts, with a regular expression for each value that a test cannot know."""
    texts = (part.pattern if isinstance(part, re.Pattern) else re.escape(part) for part in parts)
    return re.compile("".join(texts), re.DOTALL)


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def notify(event):
    if event.to[0] == "channel":
        return None
    kind = quoted(event.type or "notification")
    return exactly('{"type":', kind, ',"payload":', event.data, ',"timestamp":', TIME, "}")


def broadcast(event):
    if event.to[0] == "channel":
        return None
    number = quoted(event.id) if event.id else UUID_V7
    kind, sender = quoted(event.type or "custom"), quoted(event.sender or "notification_service")
    return exactly(
        '{"id":', number, ',"type":', kind, ',"timestamp":', TIME, ',"data":', event.data, ',"sender":', sender, "}"
    )


def topics(event):
    whom, name = event.to
    topic = quoted(f"notifications.user.{name}" if whom == "user" else name)
    kind = quoted(event.type or "message")
    return exactly(
        '{"type":"message","topic":', topic, ',"eventType":', kind, ',"data":', event.data,
        ',"metadata":{', *_metadata(event), '},"timestamp":', TIME, "}",
    )


def _metadata(event):
    given = event.metadata.strip()[1:-1] if event.metadata else ""
    parts = [given] if given else []
    for name, value in (("senderId", event.sender), ("senderConnectionId", event.connection)):
        if value is not None:
            comma = "," if parts else ""
            parts += [f'{comma}"{name}":', value if isinstance(value, re.Pattern) else quoted(value)]
    return parts


def realtime(event):
    whom, name = event.to
    if whom == "user":
        sender = quoted(event.sender) if event.sender else "null"
        return exactly(
            '{"type":"DirectMessage","data":{"from_user":', sender, ',"payload":', event.data,
            '},"timestamp":', MILLISECONDS, "}",
        )
    return exactly(
        '{"type":"Broadcast","data":{"topic":', quoted(name), ',"payload":', event.data,
        '},"timestamp":', MILLISECONDS, "}",
    )


def rooms(event):
    whom, name = event.to
    if whom != "channel":
        kind = quoted(event.type or "notification.new")
        return exactly('{"type":', kind, ',"data":', event.data, ',"timestamp":', TIME, "}")
    kind = quoted(event.type or "message")
    sender = quoted(event.username or event.sender or "system")
    return exactly(
        '{"type":', kind, ',"room":', quoted(name), ',"data":', event.data, ',"sender":', sender,
        ',"timestamp":', TIME, "}",
    )


RENDERINGS = {"notify": notify, "broadcast": broadcast, "topics": topics, "realtime": realtime, "rooms": rooms}


def rendering(dialect, event):
    """The frame that a connection of `dialect` must receive for `event`; None if that dialect does not show such events."""
    return RENDERINGS[dialect](event)
