"""Operations: addresses, limits of the machine, and the start's report of what is open."""

import contextlib
import json
import socket

import pytest
import redis
import websockets

from conftest import Client, message
from dialects import all_dialects, ask, port_of
from fanfare import free_port, run, token
from wire import connect, upgrade_request


def reaches(host, port):
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), 5).close()
        return True
    return False


def has_ipv6():
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


HAS_IPV6 = has_ipv6()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")


def listeners(*binds):
    return [{"bind": bind, "dialects": ["notify"]} for bind in binds]


# --- addresses ---


@needs_ipv6
@pytest.mark.parametrize("order", [("0.0.0.0", "[::]"), ("[::]", "0.0.0.0"), ("127.0.0.1", "[::]")])
def test_one_port_serves_ipv4_and_ipv6(launch, order):
    port = free_port()
    server = launch(port=port, listener=listeners(*(f"{host}:{port}" for host in order)), server={"shards": 2})
    assert reaches("127.0.0.1", port) and reaches("::1", port)
    for host in ("127.0.0.1", "[::1]"):
        client = Client(f"ws://{host}:{port}/ws?token={token('ann')}")
        client.close()
    assert server.get("/livez").status == 200


@needs_ipv6
def test_every_ipv6_address_accepts_ipv4_where_nothing_else_does(launch):
    port = free_port()
    launch(port=port, listener=listeners(f"[::]:{port}"))
    assert reaches("127.0.0.1", port) and reaches("::1", port)


@pytest.mark.parametrize("host", ["localhost", ""])
def test_an_address_may_be_a_host_name(launch, host):
    port, door = free_port(), free_port()
    server = launch(port=port, listener=listeners(f"{host}:{port}"), resp={"bind": f"localhost:{door}"})
    families = ["127.0.0.1", "::1"] if HAS_IPV6 else ["127.0.0.1"]
    for address in families:
        assert reaches(address, port)
        with contextlib.closing(redis.Redis(host=address, port=door)) as publisher:
            assert publisher.publish("user_noti:ann", message(1)) == 0
    published = run("publish", "--config", str(server.config_file), "--user", "ann", "1")
    assert published.returncode == 0, published.stderr
    assert server.log().count('"listening"') == 2 * len(families), server.log()


def test_a_conflict_in_one_file_is_an_error_with_its_line(tmp_path):
    file = tmp_path / "fanfare.toml"
    file.write_text(
        '[[listener]]\nbind = "localhost:8080"\ndialects = []\n[[listener]]\nbind = "127.0.0.1:8080"\ndialects = []\n'
    )
    for command in (["config", "check"], ["serve"]):
        ended = run(*command, "--config", str(file))
        assert ended.returncode == 2
        assert f"{file}:5: listener[1].bind" in ended.stderr and f"{file}:2" in ended.stderr


def test_the_error_about_a_taken_port_names_its_holder(attempt):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        for bind in (f"127.0.0.1:{port}", f"localhost:{port}", f":{port}"):
            code, log = attempt(listener=listeners(bind))
            assert code == 1
            assert f":{port}, set by listener[0].bind" in log and "another program has this port" in log, log


# --- descriptors ---


def test_a_hard_limit_below_the_connections_is_reported(launch):
    server = launch(descriptors=2000, notify={"max_connections": 5000})
    warned = [line for line in server.log().splitlines() if "the limit of file descriptors is 2000" in line]
    assert len(warned) == 1 and "5000 for max_connections" in warned[0] and "LimitNOFILE=" in warned[0], server.log()


def test_a_limit_that_is_enough_is_not(launch):
    server = launch(descriptors=2000, notify={"max_connections": 500})
    assert "the limit of file descriptors" not in server.log()


# --- the report of what is open ---

OPEN = [
    "open: anyone may register",
    "open: a web page of any origin",
    "open: anyone may subscribe to and publish on every public channel",
    "open: any program on this machine",
]
PAGES = {"allowed_origins": ["https://app.example.com"]}


def reported(server):
    return [line for line in OPEN if line in server.log()]


def test_a_start_reports_what_is_open(launch):
    assert reported(launch(**all_dialects())) == OPEN


def test_a_start_does_not_report_what_is_closed(launch):
    server = launch(
        **all_dialects(
            auth=PAGES | {"registration": "closed"}, realtime={"require_auth": True}, stream={"require_auth": True}, api={"keys": ["k" * 32]}
        )
    )
    assert "open: " not in server.log()
    assert reported(launch(**all_dialects(auth=PAGES))) == [OPEN[0], OPEN[2], OPEN[3]]


PRODUCTION = ("--profile", "production")


def statuses(server):
    """The access of a stranger: registering, broadcasting, the service API, a room, the Redis-protocol door."""
    account = json.dumps({"email": "mia@example.com", "password": "correct horse battery"})
    register = server.get("/api/auth/register", "POST", account).status
    with contextlib.closing(connect(port_of(server, "realtime"))) as peer:
        peer.sendall(upgrade_request("/ws", "Origin: https://app.example.com"))
        anonymous = int(peer.recv(4096).split(b" ")[1])
    notify = ask(server, "broadcast", "/notify", "POST", '{"message":"x"}').status
    events = server.get("/api/v1/events", "POST", '{"to":"everyone","data":1}').status
    with contextlib.closing(redis.Redis(port=server.resp_port)) as publisher:
        try:
            resp = publisher.publish("user_noti:ann", message(1))
        except redis.AuthenticationError:
            resp = "NOAUTH"
    return register, anonymous, notify, events, resp


def test_the_production_profile_is_closed(launch, speak):
    server = launch(**all_dialects(auth=PAGES), arguments=PRODUCTION)
    assert statuses(server) == (403, 401, 401, 401, "NOAUTH")
    rooms = speak(server, "rooms", "ann")
    rooms.say(type="join_room", room="project:1")
    assert rooms.next_json()["type"] == "error"
    assert rooms.closed() == (4403, "Forbidden")
    assert "open: " not in server.log()


def test_each_key_relaxes_the_production_profile(launch, speak):
    opened = {
        "auth": {"allowed_origins": ["*"], "registration": "open"},
        "realtime": {"require_auth": False},
        "rooms": {"default_access": "authenticated"},
        "api": {"trust_loopback": True},
    }
    server = launch(**all_dialects(**opened), arguments=PRODUCTION)
    assert statuses(server) == (201, 101, 200, 200, 0)
    rooms = speak(server, "rooms", "ann")
    rooms.say(type="join_room", room="project:1")
    assert rooms.next_json()["type"] == "joined_room"
    assert reported(server) == OPEN


def test_the_production_profile_requires_origins(attempt):
    code, log = attempt(arguments=PRODUCTION)
    assert code == 2 and "auth.allowed_origins: not set" in log


# --- limits per address ---


def test_addresses_of_one_ipv6_network_count_as_one(launch):
    server = launch(notify={"max_connections_per_ip": 2}, limits={"trusted_proxies": ["127.0.0.1"]})
    clients = []

    def connects(address):
        try:
            clients.append(Client(server.ws("ann"), additional_headers={"X-Forwarded-For": address}))
            return True
        except websockets.InvalidStatus as refused:
            assert refused.response.status_code == 503
            return False

    allowed = [connects(address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")]
    for client in clients:
        client.close()
    assert allowed == [True, True, False, True]
