"""The operators' API on one node and on two: figures, problems, the configuration, connections in detail, users, accounts, keys."""

import json
import signal
import urllib.parse

import pytest
import websockets.exceptions
import websockets.sync.client

import fanfare
from dialects import all_dialects, port_of, raw
from fanfare import token, wait_until
from test_service_api import call, complaint, good

HOSTILE = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "😀é", "a/../b", "' OR 1=1 --"]


def nodes_of(world):
    """The number of entries."""
    return len({id(world.first), id(world.last)})


# --- the overview ---


def test_the_overview_shows_all_nodes(world):
    name, topic = world.name("ann"), world.name("chat.")
    before = {node["id"]: node for node in good(world.first, "/api/v1/overview")["nodes"]}
    assert len(before) == nodes_of(world)
    world.realtime(name, topic)
    world.realtime(name, topic, at=world.last)
    world.events({"to": {"channel": topic}, "data": 1})
    answer = good(world.last, "/api/v1/overview")
    assert answer.keys() == {"nodes", "answered_by"} and answer["answered_by"] in before
    nodes = answer["nodes"]
    assert [node["id"] for node in nodes] == sorted(before)
    grown = lambda field: sum(node[field] - before[node["id"]][field] for node in nodes)  # noqa: E731
    assert grown("connections") == 2
    assert grown("events") >= 1
    for node in nodes:
        assert node["connections"] == sum(dialect["connections"] for dialect in node["dialects"])
        assert [dialect["name"] for dialect in node["dialects"]] == ["notify", "broadcast", "topics", "realtime", "rooms", "stream"]
        assert node["database"] == {"status": "up", "error": None} and node["draining"] is False
        assert node["broker"]["status"] in ("embedded", "connected") and node["broker"]["error"] is None
        delivery = node["delivery"]
        assert delivery["count"] >= delivery["buckets"][-1]["count"] and delivery["sum_seconds"] >= 0
        counts = [bucket["count"] for bucket in delivery["buckets"]]
        assert counts == sorted(counts)
    assert sum(node["delivery"]["count"] for node in nodes) > 0


# --- connections ---


def test_a_connection_is_shown_in_detail(world):
    name, topic = world.name("ann"), world.name("chat.")
    own = world.realtime(name, topic, at=world.last).connection_id
    [row] = good(world.first, "/api/v1/connections", user=name, details="true")["connections"]
    alone = good(world.first, f"/api/v1/connections/{own}")
    details = row["details"]
    assert alone.pop("details").keys() == details.keys()
    assert alone == {name: value for name, value in row.items() if name != "details"}
    ids = [node["id"] for node in good(world.first, "/api/v1/overview")["nodes"]]
    assert row["id"] == own and details["node"] in ids
    assert (details["queued"], details["queued_bytes"], details["paused"]) == (0, 0, False)
    assert details["subscription_count"] == len(row["subscriptions"]) > 0
    assert details["expires_at"].endswith("Z")
    [row] = good(world.first, "/api/v1/connections", user=name, details="true", subscriptions=0)["connections"]
    assert row["subscriptions"] == [] and row["details"]["subscription_count"] > 0
    missing = call(world.first, "/api/v1/connections/00000000-0000-0000-0000-000000000007")
    assert (missing[0], complaint(missing)) == (404, "NOT_FOUND")


def test_connections_are_filtered_by_a_channel_that_they_cover(world):
    topic = world.name("orders.")
    ann, bob, eve = world.name("ann"), world.name("bob"), world.name("eve")
    exact = world.realtime(ann, topic).connection_id
    world.topics(bob, "orders.*", at=world.last)
    world.realtime(eve, world.name("other."))
    covering = good(world.first, "/api/v1/connections", covers=topic)["connections"]
    assert exact in {row["id"] for row in covering}
    assert {ann, bob} <= {row["user"] for row in covering}
    assert eve not in {row["user"] for row in covering}


@pytest.mark.parametrize("address, found", [("127.0.0.1", True), ("192.0.2.1", False), ("::1", False)])
def test_connections_are_filtered_by_address(world, address, found):
    name = world.name("ann")
    world.notify(name)
    rows = good(world.first, "/api/v1/connections", user=name, address=address)["connections"]
    assert bool(rows) is found


@pytest.mark.parametrize("query", [
    "sort=size", "address=x", "details=yes", "subscriptions=-1", "sort=queued&cursor=00000000-0000-0000-0000-000000000007",
])
def test_bad_queries_are_refused(world, query):
    answer = call(world.first, f"/api/v1/connections?{query}")
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")


def test_the_longest_queue_comes_first(launch, speak):
    server = launch(**all_dialects(notify={"send_queue": 1000}))
    reader = speak(server, "notify", "slow")
    peer = raw(server, "notify", reader.token)
    rows = []

    def waits():
        server.get("/api/v1/events", "POST", json.dumps({"to": {"user": "slow"}, "data": "x" * 100_000}))
        reader.next()
        rows[:] = server.json("/api/v1/connections?sort=queued&details=true")["connections"]
        return rows[0]["details"]["queued"] > 0

    wait_until(waits, what="a queue")
    assert rows[0]["details"]["queued_bytes"] > 0 and rows[1]["details"]["queued"] == 0
    assert server.json("/api/v1/connections?sort=queued&limit=1")["next_cursor"] is None
    peer.close()


# --- users ---


@pytest.mark.parametrize("odd", HOSTILE)
def test_users_with_any_name_are_found(world, odd):
    name = world.name(odd)
    world.realtime(name)
    world.realtime(name, at=world.last)
    found = good(world.first, "/api/v1/users", prefix=name)
    assert found == {"users": [{"id": name, "connections": 2}], "next_cursor": None}


def test_pages_contain_each_user_once(world):
    prefix = world.name("u")
    names = sorted(f"{prefix}.{number}" for number in range(7))
    for number, name in enumerate(names):
        world.realtime(name, at=(world.first, world.last)[number % 2])
    seen, cursor = [], None
    while True:
        page = good(world.last, "/api/v1/users", prefix=prefix, limit=3, cursor=cursor)
        seen += [user["id"] for user in page["users"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == names


def test_channels_are_filtered_by_prefix(world):
    prefix = world.name("pre")
    world.realtime(world.name("ann"), f"{prefix}.one", f"{prefix}.two")
    found = good(world.first, "/api/v1/channels", prefix=prefix)["channels"]
    assert [channel["name"] for channel in found] == [f"{prefix}.one", f"{prefix}.two"]


# --- explain ---


def test_explain_names_the_rule_and_the_receivers(deploy):
    world = deploy(nodes=2, channel=[{"pattern": "reports.{user}.**", "subscribe": "owner", "publish": "service"}])
    ann = world.realtime("ann", "reports.ann.sales").connection_id
    other = world.realtime("ann", at=world.last).connection_id
    found = good(world.last, "/api/v1/explain", user="ann", channel="reports.ann.sales")
    assert [(one["action"], one["verdict"], one["rule"]) for one in found["decisions"]] == [
        ("subscribe", "allowed", 1), ("publish", "refused", 1),
    ]
    assert found["decisions"][0]["pattern"] == "reports.{user}.**"
    assert [row["id"] for row in found["receiving"]] == [ann]
    assert other in [row["id"] for row in found["not_receiving"]]
    found = good(world.last, "/api/v1/explain", user="bob", channel="reports.ann.sales")
    assert [one["verdict"] for one in found["decisions"]] == ["refused", "refused"] and found["receiving"] == []
    pattern = world.realtime("bob", "reports.**", at=world.last).connection_id
    other = world.realtime("bob").connection_id
    found = good(world.first, "/api/v1/explain", user="bob", channel="reports.ann.sales")
    assert found["receiving"] == []
    assert {row["id"]: row["reason"] for row in found["not_receiving"]} == {pattern: "refused", other: "not_subscribed"}
    claims = json.dumps({"roles": ["staff"]})
    assert good(world.first, "/api/v1/explain", user="bob", channel="a", claims=claims)["decisions"]
    found = good(world.first, "/api/v1/explain", channel="project:1")
    assert found["room"] is True and found["user"] is None


def test_explain_shows_a_users_own_events(world):
    name = world.name("ann")
    notify = world.notify(name)
    found = good(world.first, "/api/v1/explain", user=name, channel=f"notifications.user.{name}")
    assert len(found["receiving"]) == 1 and found["receiving"][0]["dialect"] == "notify" and notify


@pytest.mark.parametrize("query", ["", "channel=", "channel=a&claims=x", "channel=a&claims=[]", "user=&channel=a", "channel=a&x=1"])
def test_bad_queries_of_explain_are_refused(world, query):
    answer = call(world.first, f"/api/v1/explain?{query}")
    assert (answer[0], complaint(answer)) == (400, "INVALID_REQUEST")


# --- problems ---


def problems(server):
    return {problem["name"]: problem for problem in server.json("/api/v1/problems")["problems"]}


def test_a_refusal_is_a_problem_with_advice(launch):
    server = launch(**all_dialects())
    assert "refused.bad_credential" not in problems(server)
    for count in (1, 2):
        with pytest.raises(websockets.exceptions.InvalidStatus):
            websockets.sync.client.connect(f"ws://127.0.0.1:{port_of(server, 'notify')}/ws?token=no.token.here")
        found = problems(server)["refused.bad_credential"]
        assert (found["total"], found["current"], found["severity"]) == (count, True, "warning")
        assert found["advice"] and list(found["nodes"].values()) == [count]


def test_an_unavailable_broker_is_the_first_problem(launch):
    redis = fanfare.Redis()
    redis.start()
    try:
        server = launch(**all_dialects(broker={"kind": "redis", "url": f"redis://127.0.0.1:{redis.port}"}))
        wait_until(lambda: server.get("/readyz").status == 200, what="a ready server")
        assert "broker_away" not in problems(server)
        assert "\nfanfare_broker_up 1\n" in server.get("/metrics/prometheus").text
        redis.kill()
        wait_until(lambda: "broker_away" in problems(server), what="the problem")
        first = server.json("/api/v1/problems")["problems"][0]
        assert (first["name"], first["severity"], first["current"]) == ("broker_away", "error", True)
        assert first["detail"] and first["advice"]
        assert "\nfanfare_broker_up 0\n" in server.get("/metrics/prometheus").text
    finally:
        redis.remove()


# --- the configuration ---


def settings(server, **headers):
    answer = server.get("/api/v1/configuration", **headers)
    assert answer.status == 200, answer.text
    [node] = json.loads(answer.text)["nodes"]
    return {setting["key"]: setting for setting in node["settings"]}, answer.text


def test_the_configuration_is_shown_without_secrets(launch):
    secret, key, password = "s3cret-" * 6, "a-key-of-thirty-two-characters-00", "another-secret"
    server = launch(**all_dialects(auth={"jwt_secret": secret}, api={"keys": [key]}, resp={"password": password}))
    found, text = settings(server, Authorization=f"Bearer {key}")
    for hidden in (secret, key, password):
        assert hidden not in text
    changed = found["api.keys"]
    assert changed["changed"] is True and changed["value"] == '["***"]' and ".toml:" in changed["origin"]
    default = found["limits.burst"]
    assert (default["changed"], default["value"], default["default"]) == (False, default["default"], default["value"])
    assert default["origin"] == "default" and default["doc"]


def test_a_reload_changes_what_is_shown(launch):
    server = launch(**all_dialects(log={"level": "info"}))
    assert settings(server)[0]["log.level"]["value"] == '"info"'
    text = server.config_file.read_text()
    server.config_file.write_text(text.replace('level = "info"', 'level = "debug"'))
    server.signal(signal.SIGHUP)
    wait_until(lambda: settings(server)[0]["log.level"]["value"] == '"debug"', what="the new level")


# --- access ---


ADMIN_ONLY = ["/api/v1/configuration", "/api/v1/accounts", "/api/v1/keys"]
READERS = ["/api/v1/overview", "/api/v1/problems", "/api/v1/users", "/api/v1/explain?channel=a", "/api/v1/connections"]


def test_each_route_requires_its_scope(launch):
    server = launch(**all_dialects())
    made = json.loads(server.get("/api/v1/keys", "POST", json.dumps({"name": "reader", "scopes": ["read"]})).text)
    admin = None
    # A key exists now, so callers need one.
    for path in READERS + ADMIN_ONLY:
        assert server.get(path).status == 401, path
        status = server.get(path, Authorization=f"Bearer {made['key']}").status
        assert status == (403 if path in ADMIN_ONLY else 200), path
    admin = {"Authorization": f"Bearer {token('root', roles=['admin'])}"}
    for path in READERS + ADMIN_ONLY:
        assert server.get(path, **admin).status == 200, path
        assert server.get(path, Authorization=f"Bearer {token('ann', roles=['user'])}").status == 401, path
    gone = server.get(f"/api/v1/keys/{made['id']}", "DELETE", **admin)
    assert gone.status == 204
    assert server.get("/api/v1/overview", Authorization=f"Bearer {made['key']}").status == 401
    again = server.get(f"/api/v1/keys/{made['id']}", "DELETE", **admin)
    assert again.status == 404
    [shown] = json.loads(server.get("/api/v1/keys", **admin).text)["keys"]
    assert shown["revoked_at"] and made["key"] not in json.dumps(shown)


def test_an_admin_who_loses_the_role_is_refused(launch):
    """The admin's token is refused at once, on the page and everywhere else."""
    server = launch(**all_dialects())
    body = {"email": "root@example.com", "password": "correct horse battery", "roles": ["admin"]}
    made = json.loads(server.get("/api/v1/accounts", "POST", json.dumps(body)).text)
    assert made["roles"] == ["admin"] and "password" not in made
    login = server.get("/api/auth/login", "POST", json.dumps({"email": body["email"], "password": body["password"]}))
    admin = {"Authorization": f"Bearer {json.loads(login.text)['data']['accessToken']}"}
    assert server.get("/api/v1/configuration", **admin).status == 200
    changed = server.get(f"/api/v1/accounts/{made['id']}", "PATCH", json.dumps({"roles": ["user"]}), **admin)
    assert changed.status == 200 and json.loads(changed.text)["roles"] == ["user"]
    assert server.get("/api/v1/configuration", **admin).status == 401


def test_accounts_are_created_and_changed(launch):
    server = launch(**all_dialects())
    odd = "<b>ann</b> 😀"
    body = {"email": "ann@example.com", "password": "correct horse battery", "name": odd}
    made = server.get("/api/v1/accounts", "POST", json.dumps(body))
    assert made.status == 201 and json.loads(made.text)["name"] == odd
    assert server.get("/api/v1/accounts", "POST", json.dumps(body)).status == 409
    account = server.json("/api/v1/accounts")["accounts"][0]
    path = f"/api/v1/accounts/{account['id']}"
    off = json.loads(server.get(path, "PATCH", json.dumps({"disabled": True})).text)
    assert off["disabled_at"]
    assert json.loads(server.get(path, "PATCH", json.dumps({"disabled": False})).text)["disabled_at"] is None
    assert server.json("/api/v1/accounts?email=ann@example.com")["accounts"][0]["id"] == account["id"]
    assert server.json("/api/v1/accounts?email=nobody@example.com")["accounts"] == []
    for method, where, bad, status in [
        ("POST", "/api/v1/accounts", {"email": "x", "password": "correct horse battery"}, 400),
        ("POST", "/api/v1/accounts", {"email": "b@example.com", "password": "short"}, 400),
        ("POST", "/api/v1/accounts", {"email": "b@example.com"}, 400),
        ("PATCH", path, {"roles": "admin"}, 400), ("PATCH", path, {"other": 1}, 400),
        ("PATCH", "/api/v1/accounts/nobody", {"disabled": True}, 404),
        ("POST", "/api/v1/keys", {"name": "", "scopes": ["read"]}, 400),
        ("POST", "/api/v1/keys", {"name": "x", "scopes": ["root"]}, 400),
        ("POST", "/api/v1/keys", {"name": "x", "scopes": []}, 400),
        ("POST", "/api/v1/accounts", {"email": "a@example.com", "password": "p" * 12, "name": "n" * (10 << 20)}, 413),
    ]:
        assert server.get(where, method, json.dumps(bad)).status == status, (where, bad if len(str(bad)) < 200 else "large")


@pytest.mark.parametrize("path", ["users?prefix=", "channels?prefix=", "connections?user=", "explain?channel=a&user="])
def test_queries_that_are_too_long_are_refused(server, path):
    answer = server.get(f"/api/v1/{path}{'a' * (1 << 20)}")
    assert answer.status in (400, 414, 431), answer.status
    assert server.get("/livez").status == 200


def test_hostile_names_are_returned_unchanged(server):
    for odd in HOSTILE:
        answer = server.get(f"/api/v1/explain?user={urllib.parse.quote(odd, safe='')}&channel=news")
        body = json.loads(answer.text)
        assert answer.status == 200 and body["user"] == odd
        assert answer.getheader("content-type") == "application/json"
