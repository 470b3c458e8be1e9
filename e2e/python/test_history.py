"""A client that was disconnected receives the events that it missed: in every dialect, by real connections to the real binary."""

import contextlib
import json
import socket

import pytest

from dialects import all_dialects, port_of
from fanfare import run, token, wait_until

HISTORY = {"size": 100, "ttl": "5m"}
CONFIG = {
    "channel": [{"pattern": "chat.**", "history": HISTORY}, {"pattern": "project:*", "history": HISTORY}],
    "history": {"users": HISTORY, "everyone": HISTORY, "replay_limit": 50},
}


@pytest.fixture
def kept(launch):
    """A server with a listener for each dialect, with history for users, everyone, projects and the channels under `chat`."""
    return launch(**all_dialects(**CONFIG))


def resumed(frame):
    """The resume object in any dialect's answer."""
    places = [frame, frame.get("data"), frame.get("payload")]
    if frame.get("type") == "Status":
        places.append(frame["data"]["details"])
    for place in filter(lambda place: isinstance(place, dict), places):
        if "resume" in place:
            return place["resume"]
        if "recovered" in place:
            return place
    raise AssertionError(frame)


def asking(speak, server, dialect, **query):
    """A client of `ann` that requests missed events in its handshake."""
    return speak(server, dialect, "ann", query=query)


def publish(server, to, *data):
    for value in data:
        answer = server.get("/api/v1/events", "POST", json.dumps({"to": to, "type": "note", "data": value}))
        assert answer.status == 200, answer.text


def test_topics_authenticates_subscribes_and_resumes_in_one_frame(kept, speak):
    client = speak(kept, "topics", prove=False)
    client.say(type="auth", token=token("ann"), resume="", topics=["chat.*", "notifications.user.ann"])
    start = resumed(client.greeting or client.next_json())
    assert (start["recovered"], start["replayed"]) == (True, 0)
    assert [client.next_json()["type"] for _ in range(2)] == ["subscribed", "subscribed"]
    publish(kept, {"channel": "chat.a"}, 1)
    cursor = client.next_json()["cursor"]
    client.close()
    publish(kept, {"channel": "chat.a"}, 2)
    publish(kept, {"user": "ann"}, 3)
    publish(kept, {"channel": "chat.b"}, 4)
    publish(kept, {"channel": "other"}, 5)
    client = speak(kept, "topics", prove=False)
    client.say(type="auth", token=token("ann"), resume=cursor, topics=["chat.*", "notifications.user.ann"])
    assert resumed(client.greeting or client.next_json()) == {"cursor": cursor, "recovered": True, "replayed": 3}
    assert [client.next_json()["type"] for _ in range(2)] == ["subscribed", "subscribed"]
    assert [client.next_json()["data"] for _ in range(3)] == [2, 3, 4]
    publish(kept, {"channel": "chat.a"}, 6)
    assert client.next_json()["data"] == 6
    client.nothing()


@pytest.mark.parametrize("dialect", ["notify", "broadcast", "realtime", "rooms"])
def test_a_handshake_resumes_the_users_events(kept, speak, dialect):
    client = asking(speak, kept, dialect, resume="")
    start = resumed(client.greeting or client.next_json())
    assert start["recovered"] and start["replayed"] == 0
    publish(kept, {"user": "ann"}, {"n": 1})
    cursor = client.next_json()["cursor"]
    client.close()
    publish(kept, {"user": "ann"}, {"n": 2}, {"n": 3})
    publish(kept, {"user": "ben"}, {"n": 9})
    client = asking(speak, kept, dialect, resume=cursor)
    assert resumed(client.greeting or client.next_json()) == {"cursor": cursor, "recovered": True, "replayed": 2}
    frames = [client.next() for _ in range(2)]
    assert [json.dumps({"n": n}) in frame for n, frame in zip((2, 3), frames)] == [True, True]
    cursors = [json.loads(frame)["cursor"] for frame in frames]
    client.close()
    # The connection is cut during the replay: the cursor of the first replayed event continues with the second.
    client = asking(speak, kept, dialect, resume=cursors[0])
    assert resumed(client.greeting or client.next_json())["replayed"] == 1
    assert json.loads(client.next())["cursor"] == cursors[1]
    client.close()
    client = asking(speak, kept, dialect, rewind=2)
    assert resumed(client.greeting or client.next_json())["replayed"] == 2
    epoch, number = start["cursor"].split("-")
    for cursor in ("nonsense", "0" * 16 + "-1", "9" * 5000, "\0\0", f"{epoch}-{int(number, 16) + 1000:x}", f"{epoch}-"):
        client = asking(speak, kept, dialect, resume=cursor)
        answer = resumed(client.greeting or client.next_json())
        assert (answer["recovered"], answer["replayed"]) == (False, 0) and answer["reason"] in ("unknown", "epoch")
        client.close()


def test_a_cursor_of_ten_megabytes_is_harmless(kept, speak):
    cursor = "9" * 10_000_000
    client = speak(kept, "topics", prove=False)
    client.say(type="auth", token=token("ann"), resume=cursor, topics=["chat.*"])
    assert client.closed()[0] == 1009
    for dialect in ("notify", "topics"):
        for path in (f"/ws?token={token('ann')}&resume={cursor}", f"/api/v1/stream?channel=chat.a&since={cursor}"):
            with contextlib.closing(socket.create_connection(("127.0.0.1", port_of(kept, dialect)), 20)) as plain:
                with contextlib.suppress(ConnectionError):
                    plain.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                answer = b""
                with contextlib.suppress(ConnectionError):
                    while part := plain.recv(65_536):
                        answer += part
                # A caller that is still sending may be reset before it reads the answer.
                assert answer == b"" or answer.split()[1] in (b"414", b"431"), answer[:100]
    client = speak(kept, "topics", prove=False)
    client.say(type="auth", token=token("ann"), resume="", topics=["chat.*"])
    assert resumed(client.greeting or client.next_json())["recovered"]


def test_rooms_of_the_handshake_are_resumed_together(kept, speak):
    client = asking(speak, kept, "rooms", resume="", rooms="project:1,project:2")
    start = resumed(client.greeting or client.next_json())
    assert [client.next_json()["type"] for _ in range(2)] == ["joined_room", "joined_room"]
    client.close()
    publish(kept, {"channel": "project:2"}, {"n": 1})
    publish(kept, {"channel": "project:1"}, {"n": 2})
    client = asking(speak, kept, "rooms", resume=start["cursor"], rooms="project:1,project:2")
    assert resumed(client.greeting or client.next_json())["replayed"] == 2
    assert [client.next_json()["room"] for _ in range(2)] == ["project:1", "project:2"]
    assert [client.next_json()["room"] for _ in range(2)] == ["project:2", "project:1"]


def test_without_a_resume_no_byte_changes(kept, speak):
    client = speak(kept, "notify", "ann")
    publish(kept, {"user": "ann"}, {"n": 1})
    assert set(client.next_json()) == {"type", "payload", "timestamp"}


def test_reserved_types_are_refused_at_every_entry(kept, speak):
    for kind in ("resume", "stream.end"):
        answer = kept.get("/api/v1/events", "POST", json.dumps({"to": "everyone", "type": kind, "data": 1}))
        assert answer.status == 400 and "type" in answer.text, answer.text
        client = speak(kept, "topics")
        assert client.ask(type="message", topic="chat.a", eventType=kind, data=1)["code"] == 400


def test_history_is_read_over_http(kept):
    publish(kept, {"channel": "chat.a"}, *range(5))
    page = kept.json("/api/v1/history?channel=chat.a&limit=3")
    assert page["recovered"]
    assert [event["data"] for event in page["events"]] == [0, 1, 2]
    assert set(page["events"][0]) == {"id", "type", "channel", "data", "timestamp", "cursor"}
    rest = kept.json(f"/api/v1/history?channel=chat.a&since={page['events'][-1]['cursor']}")
    assert [event["data"] for event in rest["events"]] == [3, 4]
    newest = kept.json("/api/v1/history?channel=chat.a&limit=2&reverse=1")
    assert [event["data"] for event in newest["events"]] == [4, 3]
    more = kept.json(f"/api/v1/history?channel=chat.a&limit=9&reverse=1&since={newest['events'][-1]['cursor']}")
    assert [event["data"] for event in more["events"]] == [2, 1, 0]
    assert kept.json("/api/v1/history?user=nobody")["events"] == []
    for query in ("", "?channel=a&user=b", "?channel=a..b", "?channel=chat.a&limit=0", "?channel=chat.a&limit=x"):
        assert kept.get("/api/v1/history" + query).status == 400, query


def test_a_size_beyond_all_bounds_is_refused_with_its_line(tmp_path):
    file = tmp_path / "fanfare.toml"
    file.write_text('[[channel]]\npattern = "a"\nhistory = { size = 1000000000, ttl = "0s" }\n')
    done = run("config", "check", "--config", str(file))
    assert done.returncode == 2
    assert f"{file}:3: channel[0].history.size" in done.stderr and f"{file}:3: channel[0].history.ttl" in done.stderr


def test_plain_publish_on_a_real_redis_takes_part_in_history(real_redis, launch, publisher, speak):
    broker = real_redis()
    backend = publisher(broker.port)
    on_redis = {"broker": {"kind": "redis", "url": broker.url}}
    first, second = (launch(**all_dialects(**CONFIG, **on_redis)) for _ in range(2))

    def can_take_over():
        standby, since, settled = backend.hmget("fanfare:journal:recorder", "standby", "since", "settled")
        return standby not in (None, b"0") and int(settled) >= int(since)

    wait_until(can_take_over, what="there is a standby")

    def subscribed(server, cursor):
        client = speak(server, "topics", prove=False)
        client.say(type="auth", token=token("ann"), resume=cursor, topics=["chat.*", "notifications.user.ann"])
        return client, resumed(client.greeting or client.next_json()), [client.next_json()["type"] for _ in range(2)]

    def published(*numbers):
        for number in numbers:
            backend.publish("fanfare:channel:chat.a", json.dumps({"type": "note", "payload": number}))

    clients = [subscribed(server, "")[0] for server in (first, second)]
    published(1)
    backend.publish("user_noti:ann", json.dumps({"type": "note", "payload": 2}))
    frames = [[client.next_json() for _ in range(2)] for client in clients]
    assert [frame["data"] for frame in frames[0]] == [1, 2]
    assert [frame["cursor"] for frame in frames[0]] == [frame["cursor"] for frame in frames[1]]
    clients[0].close()
    published(3)
    first.kill()
    published(4, 5)
    # At the other node, after the first node, and so the recorder, died.
    assert [clients[1].next_json()["data"] for _ in range(3)] == [3, 4, 5]
    client, resume, _ = subscribed(second, frames[0][-1]["cursor"])
    assert (resume["recovered"], resume["replayed"]) == (True, 3)
    assert [client.next_json()["data"] for _ in range(3)] == [3, 4, 5]
    for client in (client, clients[1]):
        client.nothing()
    recorded = [second.prometheus(f"fanfare_history_{what}_total") for what in ("recorded", "unrecorded")]
    assert recorded[0] >= 2 and recorded[1] == 0, recorded


def test_explain_and_metrics_show_history(kept, speak, tmp_path):
    """Whether a channel is kept and by which rule, from the server and from a file; the kept events, and the outcomes of resumes."""
    found = {name: kept.json(f"/api/v1/explain?channel={name}")["history"] for name in ("chat.a.b", "project:7", "other")}
    assert found["chat.a.b"] == {"size": 100, "ttl": "300s", "rule": 1, "pattern": "chat.**"}
    assert (found["project:7"]["rule"], found["other"]) == (2, None)
    own = kept.json("/api/v1/explain?channel=notifications.user.ann")["history"]
    assert (own["size"], own["rule"]) == (100, None)
    file = tmp_path / "fanfare.toml"
    file.write_text('[[channel]]\npattern = "chat.**"\nhistory = { size = 100, ttl = "5m" }\n')
    shown = [run("explain", "--config", str(file), "--anonymous", "--channel", name).stdout for name in ("chat.a", "other")]
    assert 'the newest 100 events, for 300s (rule 1, "chat.**")' in shown[0] and "newest" not in shown[1], shown
    publish(kept, {"channel": "chat.a"}, 1, 2)
    publish(kept, {"user": "ann"}, 3)
    for cursor in ("", "nonsense"):
        asking(speak, kept, "notify", resume=cursor).close()
    figures = {name: kept.prometheus(f"fanfare_history_{name}") for name in ("journals", "entries", "bytes", "gaps_lost_total")}
    assert (figures["journals"], figures["entries"], figures["gaps_lost_total"]) == (2, 3, 0) and figures["bytes"] > 1000
    outcomes = [kept.prometheus(rf'fanfare_resumes_total\{{outcome="{outcome}"\}}') for outcome in ("recovered", "unknown")]
    assert outcomes == [1, 1]
