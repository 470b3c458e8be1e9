"""API keys: the scopes of each, and the access of a stored key."""

import json
import uuid

import pytest
import redis
import redis.backoff
import redis.retry

import fanfare
from dialects import all_dialects
from fanfare import token, wait_until


def test_each_route_of_messages_requires_its_scope(launch):
    # The scopes of keys with a request for each: a route, and its answers with and without the scope.
    server = launch(**all_dialects())
    port = next(int(l["bind"].rsplit(":", 1)[1]) for l in server.config["listener"] if l["dialects"] == ["broadcast"])
    event = json.dumps({"to": "everyone", "data": 1})
    assert server.get("/api/v1/events", "POST", event).status == 200  # from this machine, while there is no key
    keys = {scope: new_key(server, scope) for scope in ("publish", "read", "admin")}
    wait_until(lambda: server.get("/api/v1/connections").status == 401, what="a door that a stored key closes")

    routes = [
        (server.port, "POST", "/api/v1/events", event, "publish", 200),
        (server.port, "GET", "/api/v1/connections", None, "read", 200),
        (server.port, "GET", "/api/v1/users/ann/presence", None, "read", 200),
        (server.port, "DELETE", f"/api/v1/connections/{uuid.uuid4()}", None, "admin", 404),
        (port, "POST", "/notify", '{"message":"x"}', "publish", 200),
        (port, "GET", "/status", None, "read", 200),
    ]
    server_port = server.port
    for server.port, method, path, body, needed, good in routes:
        for scope, (_, key) in keys.items():
            answer = server.get(path, method, body, Authorization=f"Bearer {key}")
            assert answer.status == (good if scope in (needed, "admin") else 403), (method, path, scope, answer.text)
            if answer.status == 403 and path.startswith("/api/v1"):
                assert json.loads(answer.text)["error"]["code"] == "FORBIDDEN"
        assert server.get(path, method, body).status == 401
        assert server.get(path, method, body, Authorization="Bearer ff_" + "a" * 43).status == 401
        assert server.get(path, method, body, Authorization=f"Bearer {token('root', roles=['admin'])}").status == good
    server.port = server_port

    key_id, key = keys["read"]
    assert fanfare.run("key", "revoke", key_id, "--config", str(server.config_file)).returncode == 0
    gone = lambda: server.get("/api/v1/connections", Authorization=f"Bearer {key}").status == 401
    wait_until(gone, what="a key that was revoked")

    # Without a valid key, access stays closed, now and after the next start.
    for scope in ("publish", "admin"):
        assert fanfare.run("key", "revoke", keys[scope][0], "--config", str(server.config_file)).returncode == 0
    gone = lambda: server.get("/api/v1/connections", Authorization=f"Bearer {keys['admin'][1]}").status == 401
    wait_until(gone, what="the last key that was revoked")
    for _ in range(2):
        assert server.get("/api/v1/connections").status == 401
        assert server.get("/api/v1/events", "POST", event).status == 401
        server.stop()
        server.start()


def test_a_stored_key_opens_the_redis_door(launch, publisher):
    server = launch()
    once = {"retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0)}
    early = publisher(server.resp_port, **once)
    assert early.publish("user_noti:ann", '{"type":"t","payload":1}') == 0
    keys = {scope: new_key(server, scope)[1] for scope in ("publish", "read")}
    wait_until(lambda: server.get("/api/v1/connections").status == 401, what="a door that a stored key closes")
    with pytest.raises(redis.AuthenticationError):  # on the connection from before
        early.publish("user_noti:ann", '{"type":"t","payload":1}')
    let_in = publisher(server.resp_port, password=keys["publish"], **once)
    assert let_in.publish("user_noti:ann", '{"type":"t","payload":1}') == 0
    for password in (keys["read"], "x", None):
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            publisher(server.resp_port, password=password, **once).publish("user_noti:ann", "{}")


def new_key(server, scope):
    done = fanfare.run("key", "create", scope, "--scope", scope, "--config", str(server.config_file))
    assert done.returncode == 0, done.stderr
    fields = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    return fields["id"], fields["key"]
