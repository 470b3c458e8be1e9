"""The API for services, on one node and on two: ids that count once, presence, connections, channels, errors."""

import concurrent.futures
import json
import urllib.parse
import uuid

import pytest

import fanfare
from dialects import all_dialects, raw
from fanfare import token, wait_until
from interop.frames import Event, channel, user
from interop.world import _At

KEY = {"Authorization": "Bearer a-key"}
DIALECTS = ["notify", "broadcast", "topics", "realtime", "rooms"]


def call(node, path, method="GET", body=None, listener="rooms", **headers):
    """The (status, JSON or None, headers) of a request to one listener of `node`."""
    body = body if body is None or isinstance(body, str) else json.dumps(body)
    answer = fanfare.Fanfare.get(_At(node.ports[listener]), path, method, body, **headers)
    return answer.status, json.loads(answer.text) if answer.text else None, dict(answer.getheaders())


def get(node, path, **query):
    query = {name: value for name, value in query.items() if value is not None}
    status, body, _ = call(node, path + ("?" + urllib.parse.urlencode(query) if query else ""))
    return status, body


def good(node, path, **query):
    status, body = get(node, path, **query)
    assert status == 200, body
    return body


def complaint(answer):
    """Checks the form of an error, and returns its code."""
    _, body, _ = answer
    assert body.keys() == {"error"} and body["error"].keys() == {"code", "message", "details"}, body
    assert body["error"]["details"] == {} and body["error"]["message"]
    return body["error"]["code"]


def event(to, id=None, data=1):
    return {"to": to, "data": data} | ({"id": id} if id else {})


def several(world, name, at=None):
    """A connection of each dialect, of the user `name`."""
    return [getattr(world, dialect)(name, at=at) for dialect in DIALECTS]


# --- receipts ---


def receipts(world, body, at=None):
    """Checks the fixed part of an answer, and returns its receipts."""
    answer = world.events(body, at=at)
    answer.pop("duplicate", None)
    assert list(answer) == ["ids", "recipients", "receipts"] and len(answer["ids"]) == len(answer["receipts"])
    assert answer["recipients"] == sum(receipt["queued"] for receipt in answer["receipts"])
    return answer["receipts"]


def test_each_event_of_a_list_has_a_receipt(world):
    """In the order of the ids; connections and nodes of the whole cluster."""
    name, topic, nobody = world.name("ann"), world.name("chat."), world.name("nobody")
    nodes = [world.first, world.last]
    for node in nodes:
        several(world, name, node)
        world.realtime(world.name("bob"), topic, at=node)
    counted = [receipts(world, [event(to) for to in ({"user": name}, {"channel": topic}, {"user": nobody})], at) for at in nodes]
    each = len({id(node) for node in nodes})  # with one node, both are the same
    for to_user, to_channel, to_nobody in counted:
        # The topics connection has no subscription to its user's events.
        assert to_user == {"matched": 8, "queued": 8, "dropped": 0, "nodes": each}
        assert to_channel == {"matched": 2, "queued": 2, "dropped": 0, "nodes": each}
        assert (to_nobody["matched"], to_nobody["queued"], to_nobody["dropped"]) == (0, 0, 0)


def test_a_repeat_has_the_receipt_of_the_first_time(world):
    """Clients that have connected or left since."""
    name, number = world.name("ann"), str(uuid.uuid4())
    reader = world.notify(name)
    first = receipts(world, event({"user": name}, number))
    assert (first[0]["matched"], first[0]["queued"]) == (1, 1)
    world.notify(name)
    reader.close()
    for node in (world.first, world.last):
        assert receipts(world, event({"user": name}, number), node) == [first[0] | {"duplicate": True}]


def test_a_receipt_counts_dropped_events(launch, speak):
    """A connection that does not read accepts no more at some point: it matched, and got nothing."""
    server = launch(**all_dialects(notify={"send_queue": 8}))
    reader = speak(server, "notify", "slow")
    peer = raw(server, "notify", reader.token)

    def published():
        answer = server.get("/api/v1/events", "POST", json.dumps(event({"user": "slow"}, data="x" * 200_000)))
        reader.next()
        return json.loads(answer.text)["receipts"][0]

    wait_until(lambda: published() == {"matched": 2, "queued": 2, "dropped": 0, "nodes": 1}, what="both to receive it")
    wait_until(lambda: published() == {"matched": 2, "queued": 1, "dropped": 1, "nodes": 1}, what="one to be full")
    peer.close()


# --- ids that count once ---


def repeated(answer):
    """The answer to a repeat whose first request was answered like this."""
    marked = [receipt | {"duplicate": True} for receipt in answer["receipts"]]
    return answer | {"receipts": marked, "duplicate": True}


def test_the_same_id_is_delivered_once(world):
    """On this node and on another, alone and in an array, with other data too; the answer is the first one."""
    name, number = world.name("ann"), str(uuid.uuid4())
    reader = world.notify(name)
    first = world.events(event({"user": name}, number))
    assert (first["ids"], first["recipients"]) == ([number], 1)
    for again in (event({"user": name}, number), [event({"user": name}, number)], event({"user": name}, number, data=2)):
        for node in (world.first, world.last):
            assert world.events(again, at=node) == repeated(first)
    world.receive(Event(user(name), "1", id=number), reader)


def marks(answer):
    """Returns which of the receipts are those of repeats."""
    assert all(receipt.get("duplicate", True) is True for receipt in answer["receipts"])
    return ["duplicate" in receipt for receipt in answer["receipts"]]


def test_the_first_of_duplicates_in_one_array_is_published(world):
    """The first of them is published, and each is answered with its reach; the answer as a whole is not a repeat's."""
    name, number, other = world.name("ann"), str(uuid.uuid4()), str(uuid.uuid4())
    reader = world.notify(name)
    to = {"user": name}
    answer = world.events([event(to, number, 1), event(to, number, 2), event(to, other, 3), event(to, None, 4)])
    assert answer["ids"][:3] == [number, number, other] and uuid.UUID(answer["ids"][3]).version == 7
    assert (answer["recipients"], marks(answer)) == (4, [False, True, False, False]) and "duplicate" not in answer
    frames = [reader.json()["payload"] for _ in range(3)]
    assert frames == [1, 3, 4]
    world.get({reader: []})


def test_a_known_id_among_new_ones_is_not_delivered_again(world):
    name, known, new = world.name("ann"), str(uuid.uuid4()), str(uuid.uuid4())
    reader = world.notify(name)
    world.events(event({"user": name}, known, 1))
    answer = world.events([event({"user": name}, new, 2), event({"user": name}, known, 3)], at=world.last)
    assert (answer["ids"], answer["recipients"], marks(answer)) == ([new, known], 2, [False, True])
    assert "duplicate" not in answer
    again = world.events([event({"user": name}, new, 2), event({"user": name}, known, 3)], at=world.last)
    assert (again["recipients"], marks(again), again["duplicate"]) == (2, [True, True], True)
    assert [reader.json()["payload"] for _ in range(2)] == [1, 2]
    world.get({reader: []})


def test_ids_are_one_name_in_all_spellings(world):
    name, number = world.name("ann"), uuid.uuid4()
    reader = world.notify(name)
    spellings = [str(number), str(number).upper(), number.hex, f"{{{number}}}", number.urn]
    for place, spelling in enumerate(spellings):
        answer = world.events(event({"user": name}, spelling))
        assert (answer["ids"], answer.get("duplicate", False)) == ([str(number)], place > 0)
    world.receive(Event(user(name), "1", id=number), reader)


@pytest.mark.parametrize("text", ["order-{}", "{}é😀", " {} ", "{}\n\0", "{}" + 100 * "x"])
def test_any_text_is_an_id(world, text):
    """The event's id is its UUID v5; another text is another id."""
    name = world.name("ann")
    text = text.format(world.name("key"))[:128]
    number = str(uuid.uuid5(uuid.UUID(int=0), text))
    reader = world.notify(name)
    first = world.events(event({"user": name}, text))
    assert (first["ids"], first["recipients"], "duplicate" in first) == ([number], 1, False)
    for again in (text, number, number.upper()):
        for node in (world.first, world.last):
            assert world.events(event({"user": name}, again), at=node) == repeated(first)
    answer = world.events([event({"user": name}, text[:-1]), event({"user": name}, text)])
    assert (answer["ids"][1], marks(answer)) == (number, [False, True])
    assert [reader.json()["payload"] for _ in range(2)] == [1, 1]
    world.get({reader: []})


@pytest.mark.parametrize("id, says", [
    ("", "1 to 128 bytes, found 0"), ("x" * 129, "1 to 128 bytes, found 129"), ("é" * 65, "1 to 128 bytes, found 130"),
    (42, "quote the number"), (-1.5, "quote the number"), (None, "found null"), (True, "a string of 1 to 128 bytes"),
    (["a"], "a string of 1 to 128 bytes"), ({}, "a string of 1 to 128 bytes"),
])
def test_invalid_ids_are_refused(world, id, says):
    answer = call(world.first, "/api/v1/events", "POST", [event("everyone"), event("everyone") | {"id": id}])
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")
    message = answer[1]["error"]["message"]
    assert message.startswith("events[1].id: expected a string of 1 to 128 bytes") and says in message


def test_the_memory_of_ids_is_bounded(launch):
    """Above broker.max_remembered_ids the oldest ids are evicted; both numbers are in the metrics."""
    server = launch(broker={"max_remembered_ids": 1000})
    post = lambda first, count: json.loads(server.get(  # noqa: E731
        "/api/v1/events", "POST", json.dumps([event("everyone", f"{n}") for n in range(first, first + count)])).text)
    assert "duplicate" not in post(0, 500)
    held = lambda: (server.prometheus("fanfare_remembered_ids"), server.prometheus("fanfare_ids_evicted_total"))  # noqa: E731
    assert held() == (500, 0)
    post(500, 9500)
    remembered, evicted = held()
    assert remembered <= 1000 and remembered + evicted == 10_000
    assert "duplicate" not in post(10_000, 1) and post(10_000, 1)["duplicate"] is True
    assert "duplicate" not in post(0, 1)


def test_fifty_repeats_at_once_are_delivered_once(world):
    """One delivery, and the same answer for all of them."""
    name, number = world.name("ann"), str(uuid.uuid4())
    reader = world.notify(name)
    nodes = [world.first, world.last]
    with concurrent.futures.ThreadPoolExecutor(25) as pool:
        sent = [pool.submit(world.events, event({"user": name}, number), nodes[n % 2]) for n in range(50)]
        answers = [each.result() for each in sent]
    [first] = [answer for answer in answers if "duplicate" not in answer]
    assert (first["ids"], first["recipients"]) == ([number], 1)
    assert [answer for answer in answers if answer is not first] == [repeated(first)] * 49
    world.receive(Event(user(name), "1", id=number), reader)


def test_the_example_may_be_sent_again(world):
    """The example in /docs is published each time."""
    described = json.loads(fanfare.Fanfare.get(_At(world.first.ports["rooms"]), "/openapi.json").text)
    [content] = described["paths"]["/api/v1/events"]["post"]["requestBody"]["content"].values()
    answers = [world.events(content["example"]) for _ in range(2)]
    assert answers[0]["ids"] != answers[1]["ids"] and not any("duplicate" in answer for answer in answers)


@pytest.mark.parametrize("body, says", [
    ({"to": {"channel": "bad*"}, "data": 1}, "to.channel: `*` must be a whole segment of a pattern"),
    ({"to": {"channel": "a.*"}, "data": 1}, "to.channel: the name is a pattern: a channel's name has no `*`"),
    ({"to": {"channel": 7}, "data": 1}, "to.channel: expected a string; quote the number"),
    ({"to": {"room": "a"}, "data": 1}, "to: unknown field `room` (there are: user, channel)"),
    ({"to": "everyone", "payload": 1}, "unknown field `payload` (there are: to, type, data, metadata, sender, id)"),
    ([], "expected 1 to 10000 events, found 0"),
    ([{"to": "everyone", "data": 1}] * 10_001, "expected 1 to 10000 events, found 10001"),
])
def test_errors_say_what_is_expected(world, body, says):
    answer = call(world.first, "/api/v1/events", "POST", body)
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")
    assert says in answer[1]["error"]["message"]


def test_an_array_is_all_or_nothing(world):
    """A bad event in an array leaves the ids of the others unclaimed."""
    name, number = world.name("ann"), str(uuid.uuid4())
    reader = world.notify(name)
    answer = call(world.first, "/api/v1/events", "POST", [event({"user": name}, number), {"to": {"user": name}}])
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")
    assert "events[1]" in answer[1]["error"]["message"]
    taken = world.events(event({"user": name}, number))
    assert (taken["ids"], taken["recipients"]) == ([number], 1)
    world.receive(Event(user(name), "1", id=number), reader)


@pytest.mark.parametrize(
    "body",
    ["", "{", "7", "[]", "null", '{"to":"nobody","data":1}', '{"data":1}', '{"to":{"user":"a","channel":"b"},"data":1}',
     '{"to":{"user":""},"data":1}', '{"to":{"channel":"a.*"},"data":1}', '{"to":"everyone","data":1,"id":""}',
     '{"to":"everyone","data":1,"more":1}', '{"to":"everyone","data":1,"type":7}', '{"to":"everyone","data":1,"metadata":[]}'],
)
def test_invalid_events_are_refused(world, body):
    answer = call(world.first, "/api/v1/events", "POST", body)
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")




# --- errors ---

PATHS = {
    "/api/v1/events": "POST", "/api/v1/users/ann/presence": "GET", "/api/v1/connections": "GET", "/api/v1/channels": "GET",
    "/api/v1/channels/project:1/presence": "GET",
    f"/api/v1/connections/{uuid.UUID(int=7)}": "DELETE GET",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_wrong_methods_are_refused_with_the_allowed_ones(world, path, method):
    if method in PATHS[path].split():
        return
    answer = call(world.first, path, method)
    assert (answer[0], complaint(answer)) == (405, "METHOD_NOT_ALLOWED")
    allowed = {name.strip() for name in answer[2]["allow"].split(",")}
    right = set(PATHS[path].split())
    assert allowed == (right | {"HEAD"} if "GET" in right else right)


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/", "/api/v1/event", "/api/v1/events/", "/api/v2/events", "/api/v1/users/ann",
                                  "/api/v1/users/a/b/presence", "/api/v1/channels/a", "/api/"])
def test_unknown_paths_are_404(world, path):
    answer = call(world.first, path)
    assert (answer[0], complaint(answer)) == (404, "NOT_FOUND")


def test_every_listener_has_it(world):
    for listener in world.first.ports:
        assert call(world.first, "/api/v1/users/nobody/presence", listener=listener)[0] == 200


def test_head_is_a_get_without_a_body(world):
    for path, method in PATHS.items():
        if method == "GET":
            status, body, _ = call(world.first, path, "HEAD")
            assert (status, body) == (200, None)


@pytest.fixture(scope="module")
def guarded():
    """A server with an API key."""
    with fanfare.running(api={"keys": ["a-key"]}) as server:
        yield server


@pytest.mark.parametrize("path, method", PATHS.items())
def test_a_credential_and_its_scope_decide_about_a_call(guarded, path, method):
    body = json.dumps(event("everyone")) if method == "POST" else None
    method = method.split()[0]
    good = {"POST": 200, "GET": 200, "DELETE": 404}[method]
    for headers, status in [
        ({}, 401), ({"Authorization": "Bearer a-ke"}, 401), ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic a-key"}, 401), ({"Authorization": f"Bearer {token('ann')}"}, 401),
        (KEY, good), ({"Authorization": "bearer a-key"}, good),
        ({"Authorization": f"Bearer {token('ann', roles=['admin'])}"}, good),
        ({"Authorization": f"Bearer {token('ann', roles=['admin'], ttl=-1)}"}, 401),
    ]:
        answer = guarded.get(path, method, body, **headers)
        assert answer.status == status, headers
        if status == 401:
            assert answer.getheader("WWW-Authenticate") == "Bearer"
            assert json.loads(answer.text)["error"]["code"] == "INVALID_TOKEN"


@pytest.mark.parametrize("headers", [{"X_Forwarded_For": "127.0.0.1"}, {"Host": "fanfare.example"}, {"Origin": "https://elsewhere.example"}])
def test_callers_without_a_key_are_refused(world, headers):
    answer = call(world.first, "/api/v1/connections", **headers)
    assert (answer[0], complaint(answer)) == (401, "INVALID_TOKEN")


def test_an_event_on_a_channel_counts_once_for_all(world):
    """An event whose id is stored is not delivered to later clients either."""
    name, number = world.name("chat."), str(uuid.uuid4())
    early = world.realtime(world.name("ann"), name)
    assert world.events(event({"channel": name}, number))["recipients"] == 1
    late = world.realtime(world.name("bob"), name)
    assert world.events(event({"channel": name}, number), at=world.last)["recipients"] == 1
    world.receive(Event(channel(name), "1", id=number), early, excluded=[late])
