"""Each change by an operator leaves a line in the log: the caller, the change, the address, and never a secret."""

import contextlib
import json

import pytest
import websockets.sync.client

from fanfare import wait_until
from test_tail import Tail

KEY = "a-key-for-operators-0123456789"
PASSWORD = "correct horse battery"


def call(server, method, path, body=None, key=KEY):
    answer = server.get(path, method, None if body is None else json.dumps(body), Authorization=f"Bearer {key}")
    assert answer.status < 300, answer.text
    return json.loads(answer.text or "null")


def changes(server, message="changed by an operator"):
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["message"] == message]


@pytest.fixture
def server(launch):
    return launch(api={"keys": [KEY]})


def test_each_change_is_a_line(server):
    account = call(server, "POST", "/api/v1/accounts", {"email": "root@example.com", "password": PASSWORD, "roles": ["admin"]})
    call(server, "PATCH", f"/api/v1/accounts/{account['id']}", {"roles": ["admin", "user"]})
    made = call(server, "POST", "/api/v1/keys", {"name": "bill\u202ding\"}", "scopes": ["admin"]})
    reset = call(server, "POST", f"/api/v1/users/{account['id']}/reset-token")
    with websockets.sync.client.connect(server.ws("ann")):
        [row] = call(server, "GET", "/api/v1/connections")["connections"]
        call(server, "DELETE", f"/api/v1/connections/{row['id']}", key=made["key"])
    login = server.get("/sessions", "POST", json.dumps({"username": "root@example.com", "password": PASSWORD}))
    token = json.loads(login.text)["access_token"]
    event = call(server, "POST", "/api/v1/events", {"to": {"user": "ann"}, "data": "what is published"}, token)
    call(server, "POST", "/api/v1/events", {"to": {"user": "ann"}, "data": "what is published"})
    for query in ["everyone=true", "everyone=true&data=true"]:
        with contextlib.closing(Tail(server.port, query, KEY)):
            pass
    call(server, "DELETE", f"/api/v1/keys/{made['id']}")
    call(server, "POST", "/api/v1/reload?dry_run=true")
    call(server, "POST", "/api/v1/reload")
    wait_until(lambda: len(changes(server)) >= 9, what="nine lines")
    configured, admin = "an API key of the configuration", f"admin {account['id']}"
    assert [(line["who"], line["what"], line["address"]) for line in changes(server)] == [
        (configured, f'made the account {account["id"]} with the roles ["admin"]', "127.0.0.1"),
        (configured, f'changed the account {account["id"]}: roles ["admin", "user"], switched on', "127.0.0.1"),
        (configured, f'made the API key {made["id"]} ({made["name"]}) with ["admin"]', "127.0.0.1"),
        (configured, f'made a token that resets the password of the account {account["id"]}', "127.0.0.1"),
        (f'API key {made["id"]} ({made["name"]})', f'closed the connection {row["id"]}', "127.0.0.1"),
        # Events of a backend are not in the log, those of a person are.
        (admin, f'published the event {event["ids"][0]}', "127.0.0.1"),
        # One line, and none for a tail without data.
        (configured, "opened a tail with data", "127.0.0.1"),
        (configured, f'revoked the API key {made["id"]}', "127.0.0.1"),
        (configured, "reloaded the configuration", "127.0.0.1"),
    ]
    for secret in [KEY, PASSWORD, made["key"], reset["token"], token, "what is published"]:
        assert secret not in server.log()


def test_a_refused_change_is_not_logged(server):
    for method, path, body in [
        ("DELETE", "/api/v1/connections/0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", None),
        ("DELETE", "/api/v1/keys/none", None),
        ("PATCH", "/api/v1/accounts/none", {"disabled": True}),
        ("POST", "/api/v1/keys", {"name": "", "scopes": ["read"]}),
    ]:
        body = None if body is None else json.dumps(body)
        assert server.get(path, method, body, Authorization=f"Bearer {KEY}").status >= 400
        assert server.get(path, method, body).status == 401
    call(server, "POST", "/api/v1/reload")
    wait_until(lambda: changes(server), what="the line of the reload")
    assert [line["what"] for line in changes(server)] == ["reloaded the configuration"]
