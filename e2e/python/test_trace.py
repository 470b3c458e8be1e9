"""Traces: the outcome of an event at each connection on all nodes, by the service API and by `fanfare trace`."""

import json
import signal
import subprocess
import uuid

import pytest

import fanfare
from fanfare import token, wait_until
from test_service_api import call, complaint, good

RULES = [{"pattern": "secret.*", "subscribe": "role:staff", "publish": "authenticated"}]
HOSTILE = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "😀é", "a/../b", "' OR 1=1 --"]


def arm(world, at=None, **wanted):
    status, body, _ = call(at or world.first, "/api/v1/trace", "POST", wanted)
    assert status == 200 and body.keys() == {"trace", "until"}, body
    return body["trace"]


def published(world, to, at=None, **fields):
    """The id of a new event."""
    return world.events({"to": to, "data": {"n": 1}, **fields}, at)["ids"][0]


def trace(world, event, user=None, outcomes=None, at=None):
    """The trace of an event, once each user's connections have these outcomes."""
    found = {}

    def is_there():
        found.update(good(at or world.first, f"/api/v1/trace/{event}", user=user))
        return outcomes is None or by_user(found) == outcomes

    try:
        wait_until(is_there, what="the outcomes")
    except AssertionError:
        raise AssertionError(found) from None
    return found


def by_user(found):
    """The outcomes of each user's connections, on all nodes."""
    outcomes = {}
    for delivery in found["deliveries"]:
        for connection in delivery["connections"]:
            outcomes.setdefault(connection["user"], []).append(connection["outcome"])
    return {user: sorted(each) for user, each in outcomes.items()}


def verdict(world, event, user):
    about = trace(world, event, user)["about"]
    assert about["user"] == user and about["reason"].startswith(user), about
    return about["verdict"]


# --- what is recorded ---


def test_a_rule_filters_on_another_node(deploy):
    world = deploy(nodes=2, channel=RULES)
    staff = world.topics("ann", "secret.*", at=world.first, roles=["staff"])
    world.topics("bob", "secret.*", at=world.last)
    world.topics("carol", "other.*", at=world.last)
    armed = arm(world, channel="secret.*", user="carol")
    event = published(world, {"channel": "secret.a"}, type="memo")
    assert json.loads(staff.next())["data"] == {"n": 1}
    found = trace(world, event, "bob", {"ann": ["acknowledged"], "bob": ["refused"], "carol": ["unsubscribed"]}, at=world.last)
    assert found["nodes"] == 2 and len(found["deliveries"]) == 2
    assert (found["event"]["channel"], found["event"]["type"]) == ("secret.a", "memo") and found["event"]["data_bytes"] > 0
    assert found["entry"]["door"] == "service_api"
    on = {connection["user"]: (delivery["node"], connection) for delivery in found["deliveries"] for connection in delivery["connections"]}
    assert on["ann"][0] == found["entry"]["node"] != on["bob"][0] == on["carol"][0]
    refused = on["bob"][1]
    assert refused["rule"] == {"number": 1, "pattern": "secret.*"}
    assert refused["reason"] == 'refused by rule 1, "secret.*": subscribe = "role:staff"'
    assert found["about"] == {
        "user": "bob", "verdict": "refused", "reason": f"bob: {refused['reason']}", "connections_now": 1,
    }
    assert verdict(world, event, "carol") == "unsubscribed" and verdict(world, event, "nobody") == "no_connection"
    written = on["ann"][1]
    assert 0 <= written["queued_ms"] <= written["written_ms"] <= written["acknowledged_ms"]
    assert [one["id"] for one in good(world.last, "/api/v1/trace", trace=armed)["events"]] == [event]
    assert good(world.last, "/api/v1/trace", trace=str(uuid.uuid4()))["events"] == []


def test_a_user_on_no_node(world):
    user = world.name("nobody")
    arm(world, user=user)
    event = published(world, {"user": user})
    assert verdict(world, event, user) == "no_connection"
    world.notify(user)
    assert verdict(world, event, user) == "connected_later"
    users = [own["id"] for own in good(world.first, "/api/v1/users", prefix=user)["users"]]
    assert users == [user], "it counts once it is connected"


def test_an_event_of_another_program_on_the_broker(world):
    """No node accepts it; with two nodes it comes from Redis itself. The requested node sees it although the user has no connection."""
    user = world.name("nobody")
    armed = arm(world, user=user, at=world.last)
    world.redis.publish(f"user_noti:{user}", json.dumps({"type": "t", "payload": 1}))
    events = []
    wait_until(lambda: events.extend(good(world.last, "/api/v1/trace", trace=armed)["events"]) or events, what="the event")
    entry = trace(world, events[0]["id"])["entry"]
    assert entry["door"] == "redis_door" if world.deployment.embedded else entry is None


def test_the_doors(world):
    channel = world.name("chat.")
    client = world.topics(world.name("ann"), channel)
    armed = arm(world, channel=channel, events=10)
    client.publish(channel, "1")
    events = []
    wait_until(lambda: events.extend(good(world.first, "/api/v1/trace", trace=armed)["events"]) or events, what="the event")
    found = trace(world, events[0]["id"])
    assert (found["entry"]["door"], found["entry"]["dialect"]) == ("client", "topics")
    assert found["entry"]["allowed_by"] and found["event"]["sending_connection"]
    room, user = f"project:{world.name('p')}", world.name("bob")
    armed = arm(world, channel=room)
    world.rooms(user, room)
    events = []
    wait_until(lambda: events.extend(good(world.first, "/api/v1/trace", trace=armed)["events"]) or events, what="the announcement")
    assert trace(world, events[0]["id"])["entry"]["door"] == "presence"


def test_a_full_queue(launch, speak):
    from dialects import all_dialects, raw

    server = launch(**all_dialects(notify={"send_queue": 4}))
    reader = speak(server, "notify", "slow")
    peer = raw(server, "notify", reader.token)
    assert server.get("/api/v1/trace", "POST", json.dumps({"user": "slow", "events": 100})).status == 200
    ids = []

    def is_full():
        body = json.dumps({"to": {"user": "slow"}, "data": "x" * 200_000})
        ids.extend(json.loads(server.get("/api/v1/events", "POST", body).text)["ids"])
        reader.next()
        found = server.json(f"/api/v1/trace/{ids[-1]}")
        return any(own["outcome"] == "queue_full" for own in found["deliveries"][0]["connections"])

    wait_until(is_full, what="a full queue")
    found = server.json(f"/api/v1/trace/{ids[-1]}")
    [full] = [own for own in found["deliveries"][0]["connections"] if own["outcome"] == "queue_full"]
    assert full["frames_ahead"] == 4 and found["deliveries"][0]["dropped"] == 1
    lost = lambda: [own["outcome"] for own in server.json(f"/api/v1/trace/{ids[-2]}")["deliveries"][0]["connections"]]  # noqa: E731
    wait_until(lambda: "lost" in lost(), what="the one before it, which waited")
    peer.close()


# --- limits and bad input ---


def test_nothing_is_recorded_unless_it_was_asked_for(world):
    channel = world.name("chat.")
    event = published(world, {"channel": channel})
    missing = call(world.first, f"/api/v1/trace/{event}")
    assert (missing[0], complaint(missing)) == (404, "NOT_FOUND")


@pytest.mark.parametrize("event", ["x", "%3Cscript%3E", "%00", "e" * 5000, "%F0%9F%98%80", "00000000-0000-0000-0000-00000000000"])
def test_ids_that_are_none(world, event):
    answer = call(world.first, f"/api/v1/trace/{event}")
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")


def test_ids_of_ten_megabytes(world):
    """Too long for a request line, and for a body."""
    answer = call(world.first, "/api/v1/trace", "POST", {"event": "e" * 10_000_000})
    assert (answer[0], complaint(answer)) == (413, "INVALID_REQUEST")
    done = subprocess.run(
        [fanfare.binary(), "trace", "e" * 100_000], capture_output=True, text=True, timeout=60, env=fanfare.environment()
    )
    assert done.returncode == 2 and "invalid value" in done.stderr


@pytest.mark.parametrize("wanted", [
    {}, [], "x", {"user": ""}, {"user": 7}, {"channel": "a..b"}, {"channel": "a*"}, {"events": 1}, {"user": "a", "events": 101},
    {"user": "a", "seconds": 0}, {"user": "a", "seconds": 3601}, {"user": "a", "more": 1}, {"event": "<b>"}, {"everyone": False},
])
def test_bad_orders(world, wanted):
    answer = call(world.first, "/api/v1/trace", "POST", wanted)
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(world, name):
    user = world.name(name)
    world.notify(user)
    arm(world, user=user)
    event = published(world, {"user": user}, type=name)
    found = trace(world, event, user, {user: ["acknowledged"]})
    assert (found["event"]["type"], found["about"]["verdict"]) == (name, "acknowledged")


def test_limits(launch):
    server = launch(observe={"max_armed": 2, "max_traces": 3, "max_traced_connections": 1})
    order = json.dumps({"everyone": True, "events": 100})
    statuses = [server.get("/api/v1/trace", "POST", order).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    for _ in range(5):
        assert server.get("/api/v1/events", "POST", json.dumps({"to": "everyone", "data": 1})).status == 200
    assert len(server.json("/api/v1/trace")["events"]) == 3
    for metric, value in [
        ("fanfare_traces_armed", 2), ("fanfare_traces_refused_total", 1), ("fanfare_traced_events", 3), ("fanfare_traced_events_evicted_total", 2),
    ]:
        assert server.prometheus(metric) == value, metric


def test_a_trace_is_disarmed(world):
    user = world.name("ann")
    armed = arm(world, user=user, events=100, seconds=3600)
    first = published(world, {"user": user})
    trace(world, first)
    assert call(world.last, f"/api/v1/trace/{armed}", "DELETE")[0] == 204
    event = published(world, {"user": user})
    missing = call(world.first, f"/api/v1/trace/{event}")
    assert (missing[0], complaint(missing)) == (404, "NOT_FOUND")
    assert [one["id"] for one in good(world.first, "/api/v1/trace", trace=armed)["events"]] == [first], "what it recorded stays"
    again = call(world.first, f"/api/v1/trace/{uuid.uuid4()}", "DELETE")
    assert (again[0], complaint(again)) == (404, "NOT_FOUND")
    for bad in ("x", "%3Cb%3E", "e" * 5000):
        assert call(world.first, f"/api/v1/trace/{bad}", "DELETE")[0] == 400


def test_a_crowd_receives_and_is_counted(launch, connect):
    """Connections beyond the limit receive the event as if it were not traced; they are counted, not traced."""
    server = launch(observe={"max_traced_connections": 3})
    crowd = [connect(server, f"u{number}") for number in range(20)]
    server.get("/api/v1/trace", "POST", json.dumps({"everyone": True}))
    event = json.loads(server.get("/api/v1/events", "POST", json.dumps({"to": "everyone", "type": "t", "data": 7})).text)["ids"][0]
    for client in crowd:
        assert client.next_json()["payload"] == 7
    delivery = server.json(f"/api/v1/trace/{event}")["deliveries"][0]
    assert (delivery["matched"], delivery["queued"], delivery["left_out"], len(delivery["connections"])) == (20, 20, 17, 3)
    assert server.prometheus("fanfare_traced_connections_left_out_total") == 17
    wait_until(lambda: server.prometheus("fanfare_traced_connections_followed") == 0, what="the end of following")


def test_who_may_trace(launch):
    read, publish = "a-key-for-readers-0123456789", "a-key-for-publishers-01234567"
    server = launch(api={"keys": ["a-key-for-operators-0123456789"]})
    config = ("--config", str(server.config_file))
    made = {
        scope: fanfare.run("key", "create", scope, "--scope", scope, *config).stdout.split()[-1] for scope in ("read", "publish")
    }
    order = json.dumps({"everyone": True})
    status = lambda method, path, body, key: server.get(path, method, body, Authorization=f"Bearer {key}").status  # noqa: E731
    wait_until(lambda: status("GET", "/api/v1/trace", None, made["read"]) == 200, what="the key")
    assert status("POST", "/api/v1/trace", order, made["read"]) == 200
    assert status("POST", "/api/v1/trace", order, made["publish"]) == 403
    assert status("GET", "/api/v1/trace", None, made["publish"]) == 403
    assert status("POST", "/api/v1/trace", order, read) == status("GET", "/api/v1/trace", None, publish) == 401


# --- the command ---


def command(server, *arguments, **options):
    url = f"http://127.0.0.1:{server.port}"
    return subprocess.Popen(
        [fanfare.binary(), "trace", *arguments, "--url", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=fanfare.environment(), **options,
    )


def test_the_next_event_of_a_user(launch, connect):
    server = launch()
    ann = connect(server, "ann")
    tracing = command(server, "--next", "--user", "ann")
    wait_until(lambda: server.prometheus("fanfare_traces_armed") == 1, what="an armed trace")
    server.get("/api/v1/events", "POST", json.dumps({"to": {"user": "ann"}, "type": "hello", "data": "secret words"}))
    assert ann.next_json()["payload"] == "secret words"
    text, said = tracing.communicate(timeout=60)
    assert tracing.returncode == 0 and "waiting for the next event" in said, said
    log = wait_until(lambda: "disarmed the trace" in server.log() and server.log(), what="a trace that is disarmed")
    assert "armed the trace" in log
    assert "event hello for the user ann" in text and "by service_api" in text and "ann: the peer's TCP" in text
    assert "secret words" not in text and "\x1b" not in text


def test_a_command_that_is_interrupted_disarms(launch):
    server = launch()
    tracing = command(server, "--next", "--user", "ann", "--seconds", "3600")
    wait_until(lambda: server.prometheus("fanfare_traces_armed") == 1, what="an armed trace")
    tracing.send_signal(signal.SIGINT)
    _, said = tracing.communicate(timeout=60)
    assert tracing.returncode == 1 and "interrupted" in said, said
    wait_until(lambda: server.prometheus("fanfare_traces_armed") == 0, what="no armed trace")


def test_json_and_an_event_by_its_id(launch):
    server = launch()
    tracing = command(server, "--next", "--channel", "chat.*", "--user", "bob", "--json")
    wait_until(lambda: server.prometheus("fanfare_traces_armed") == 1, what="an armed trace")
    server.get("/api/v1/events", "POST", json.dumps({"to": {"channel": "chat.a"}, "data": 1}))
    found = json.loads(tracing.communicate(timeout=60)[0])
    assert found["about"]["verdict"] == "no_connection" and found["event"]["channel"] == "chat.a"
    text, _ = command(server, found["event"]["id"], "--user", "bob").communicate(timeout=60)
    assert "bob: the user has no connection on any node" in text


def test_what_the_command_cannot_do(launch):
    server = launch()
    for arguments, code, words in [
        (("00000000-0000-0000-0000-000000000007",), 1, "no node has a trace"),
        (("--next",), 2, "--user"),
        ((), 2, "required"),
        (("--next", "--user", "ann", "--seconds", "1"), 1, "no such event in 1 seconds"),
        (("--channel", "a"), 2, "required"),
    ]:
        process = command(server, *arguments)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code and words in said, (arguments, said)


def test_a_node_that_has_gone(deploy):
    """The remaining node answers, and reports that the answer is incomplete."""
    world = deploy(nodes=2)
    arm(world, user="ann")
    event = published(world, {"user": "ann"})
    world.last.server.kill()
    found = {}

    def is_alone():
        status, body = call(world.first, f"/api/v1/trace/{event}")[:2]
        found.update(body)
        return status == 200

    wait_until(is_alone, what="an answer")
    assert found["nodes"] == 1 and (found.get("degraded") is True or found["deliveries"])


def test_tokens_are_not_shown(world):
    user = world.name("ann")
    proof = token(user)
    world.notify(user)
    arm(world, user=user)
    event = published(world, {"user": user})
    assert proof not in json.dumps(trace(world, event, user))
