"""The doors by which events enter. A door is opened for an audience and then publishes to it: `door(world, to)(data)` returns the event
that should arrive, as far as that door can express it."""

import collections
import functools
import json
import subprocess

import fanfare

from .frames import EVERYONE, MILLISECONDS, TIME, UUID, UUID_V7, Event, exactly, quoted

DATA = '{"title":"Hi","price":1.10}'
TYPE = "order.created"

# `event` is the event that should arrive; `recipients` is the count that the publisher got (None: it got none).
Published = collections.namedtuple("Published", "event recipients")


def addressed(to):
    """An audience, as the service API writes it."""
    return '"everyone"' if to == EVERYONE else f'{{"{to[0]}":{quoted(to[1])}}}'


def body(to, data=DATA, type=TYPE, **fields):
    """An event of the service API. `fields` are JSON texts."""
    kind = f',"type":{quoted(type)}' if type is not None else ""
    more = "".join(f',"{name}":{value}' for name, value in fields.items())
    return f'{{"to":{addressed(to)}{kind},"data":{data}{more}}}'


# --- backends ---


def _backend(publish):
    """Publishes as a backend, which needs no connection before."""
    return functools.wraps(publish)(lambda world, to: functools.partial(publish, world, to))


def _publish(world, name, message):
    count = world.redis.publish(name, message)
    return count if world.deployment.embedded else None


@_backend
def redis_user(world, to, data=DATA):
    count = _publish(world, f"user_noti:{to[1]}", f'{{"type":"{TYPE}","payload":{data}}}')
    return Published(Event(to, data, TYPE), count)


@_backend
def redis_everyone(world, to, data=DATA):
    count = _publish(world, "fanfare:everyone", f'{{"type":"{TYPE}","payload":{data}}}')
    return Published(Event(to, data, TYPE), count)


@_backend
def redis_channel(world, to, data=DATA):
    count = _publish(world, f"fanfare:channel:{to[1]}", f'{{"type":"{TYPE}","payload":{data}}}')
    return Published(Event(to, data, TYPE), count)


@_backend
def redis_events(world, to, data=DATA):
    count = _publish(world, "fanfare:events", body(to, data))
    return Published(Event(to, data, TYPE), count)


@_backend
def http_events(world, to, data=DATA):
    answer = world.events(body(to, data))
    assert list(answer) == ["ids", "recipients", "receipts"] and len(answer["ids"]) == 1, answer
    return Published(Event(to, data, TYPE, id=answer["ids"][0]), answer["recipients"])


@_backend
def command_line(world, to, data=DATA):
    whom = ["--everyone"] if to == EVERYONE else [f"--{to[0]}", to[1]]
    url = f"http://127.0.0.1:{world.first.ports['topics']}"
    done = fanfare.run("publish", *whom, "--type", TYPE, "--url", url, data, cwd=world.first.server.folder)
    assert done.returncode == 0, done.stderr
    return Published(Event(to, data, TYPE), json.loads(done.stdout)["recipients"])


@_backend
def http_notify(world, to, data=DATA):
    status, answer = world.first.post("/notify", f'{{"message":"News","type":"{TYPE}","data":{data}}}')
    assert status == 200, answer
    merged = f'{{"message":"News",{data[1:]}'
    return Published(Event(to, merged, TYPE), answer["recipients"])


# --- clients, which publish on the first node under their own user name ---


def _speaker(world):
    user = world.name("speaker")
    return user, {"username": f"{user} the speaker", "at": world.first}


def topics_message(world, to):
    user, who = _speaker(world)
    client = world.topics(user, **who)

    def publish(data=DATA):
        client.publish(to[1], data, eventType=f'"{TYPE}"', metadata='{"priority":"high"}')
        assert client.settle() == []
        metadata = '{"priority":"high"}'
        return Published(Event(to, data, TYPE, None, user, who["username"], UUID, metadata), None)

    return publish


def realtime_broadcast(world, to):
    return _realtime(world, to, lambda client, data: client.publish(to[1], data))


def realtime_direct(world, to):
    return _realtime(world, to, lambda client, data: client.direct(to[1], data))


def _realtime(world, to, say):
    user, who = _speaker(world)
    client = world.realtime(user, **who)

    def publish(data=DATA):
        say(client, data)
        frame = client.next()
        ack = exactly('{"type":"Ack","data":{"message_id":', UUID_V7, '},"timestamp":', MILLISECONDS, "}")
        assert ack.fullmatch(frame), frame
        number = json.loads(frame)["data"]["message_id"]
        return Published(Event(to, data, None, number, user, who["username"], client.connection_id), None)

    return publish


def rooms_message(world, to):
    """The data becomes the message's metadata: a message in a room is a text with optional metadata."""
    user, who = _speaker(world)
    client = world.rooms(user, to[1], **who)

    def publish(data=DATA):
        world.drain(client)  # announcements of other members that joined meanwhile
        client.publish(to[1], '"Hello"', data)
        said = f'{{"content":"Hello","username":"{who["username"]}","user_id":"{user}","metadata":{data}}}'
        event = Event(to, said, "message", None, user, who["username"], UUID)
        assert client.shows(event).fullmatch(arrived := client.next()), arrived
        return Published(event, None)

    return publish


def rooms_join(world, to):
    """Joining is also an event. Its publisher does not choose its content."""
    user, who = _speaker(world)
    client = world.rooms(user, **who)

    def publish(data=None):
        client.send({"type": "join_room", "room": to[1]})
        came = f'{{"username":"{who["username"]}","user_id":"{user}"}}'
        event = Event(to, came, "user_joined", None, user, who["username"])
        joined, arrived = client.next(), client.next()
        note = f'{{"type":"joined_room","room":{quoted(to[1])},"data":{{"message":"Joined room {to[1]}"}},"timestamp":'
        assert exactly(note, TIME, "}").fullmatch(joined), joined
        assert client.shows(event).fullmatch(arrived), arrived
        return Published(event, None)

    return publish


# --- the doors for each audience ---

DOORS = {
    "user": {
        "PUBLISH user_noti:{id}": redis_user,
        "PUBLISH fanfare:events": redis_events,
        "POST /api/v1/events": http_events,
        "fanfare publish": command_line,
        "realtime DirectMessage": realtime_direct,
    },
    "everyone": {
        "PUBLISH fanfare:everyone": redis_everyone,
        "PUBLISH fanfare:events": redis_events,
        "POST /api/v1/events": http_events,
        "POST /notify": http_notify,
        "fanfare publish": command_line,
    },
    "channel": {
        "PUBLISH fanfare:channel:{name}": redis_channel,
        "PUBLISH fanfare:events": redis_events,
        "POST /api/v1/events": http_events,
        "fanfare publish": command_line,
        "topics message": topics_message,
        "realtime Broadcast": realtime_broadcast,
    },
}
DOORS["room"] = DOORS["channel"] | {"rooms send_message": rooms_message, "rooms join_room": rooms_join}
