"""The server behind a real nginx and a real HAProxy."""

import csv
import http.client
import time
import urllib.request

import pytest

from conftest import Client
from dialects import all_dialects, port_of, target
from fanfare import SECRET, free_port, token, wait_until
from proxies import haproxy, nginx
from test_http_connections import BODY, EVENT
from test_tls import FILES

BARE = "location / {{ proxy_pass http://127.0.0.1:{port}; }}"
KEPT = 'location / {{ proxy_pass http://fanfare; proxy_http_version 1.1; proxy_set_header Connection ""; }}'
UPGRADING = (
    "location / {{ proxy_pass http://fanfare; proxy_http_version 1.1; "
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}"
)


@pytest.fixture
def behind_nginx(cleanup):
    def started(port, location):
        proxy = nginx(port, location.format(port=port))
        cleanup.callback(proxy.kill)
        return proxy

    return started


@pytest.fixture
def behind_haproxy(cleanup):
    def started(*lines):
        proxy = haproxy(*lines)
        cleanup.callback(proxy.kill)
        return proxy

    return started


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


GUARDED = [("POST", "/notify", b'{"message":"hi"}'), ("GET", "/api/v1/connections", None), ("GET", "/status", None), ("POST", "/api/v1/events", EVENT)]


@pytest.mark.parametrize("host", ["app.example", "localhost"])
def test_a_stranger_behind_nginx_is_no_caller_on_this_machine(launch, behind_nginx, host):
    """A bare proxy_pass uses HTTP/1.0, adds no header of its own, and sends its upstream's name as the host."""
    server = launch(**all_dialects())
    port = port_of(server, "broadcast")
    proxy = behind_nginx(port, BARE)
    for method, path, body in GUARDED:
        assert ask(port, method, path, body) == 200, path
        assert ask(proxy.port, method, path, body, Host=host) == 401, path


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.0/8"])
def test_a_proxy_on_this_machine_that_is_named_is_no_caller(launch, behind_haproxy, address):
    """HAProxy forwards requests unchanged; only the configuration distinguishes it from a program on this machine."""
    server = launch(**all_dialects(limits={"trusted_proxies": [address if "/" in address else address + "/32"]}))
    port = port_of(server, "broadcast")
    proxy = behind_haproxy(f"server one 127.0.0.1:{port}")
    for method, path, body in GUARDED:
        assert ask(proxy.port, method, path, body, Host="localhost") == 401, path


def test_the_production_profile_trusts_no_caller_behind_a_proxy(launch, behind_nginx, behind_haproxy):
    server = launch(
        arguments=("--profile", "production"), auth={"jwt_secret": SECRET, "allowed_origins": ["https://a.example"]},
        **all_dialects(limits={"requests_per_second_per_ip": 0}),
    )
    port = port_of(server, "broadcast")
    proxies = [behind_nginx(port, BARE), behind_haproxy(f"server one 127.0.0.1:{port}")]
    for method, path, body in GUARDED:
        assert ask(port, method, path, body) == 401, path
        for proxy in proxies:
            assert ask(proxy.port, method, path, body, Host="localhost") == 401, path


@pytest.mark.parametrize("location", [BARE, KEPT], ids=["1.0", "kept"])
def test_a_body_that_is_too_long_is_413_behind_nginx(launch, behind_nginx, location):
    server = launch(**all_dialects())
    port = port_of(server, "broadcast")
    proxy = behind_nginx(port, location)
    admin = token("root", roles=["admin"])
    expected = {"good": (f"Bearer {admin}", 413), "stale": ("Bearer stale", 401)}
    for path in ("/notify", "/api/v1/events"):
        for credential, status in expected.values():
            assert ask(proxy.port, "POST", path, b"x" * BODY, Authorization=credential) == status, path


@pytest.mark.parametrize("software", ["nginx", "haproxy"])
def test_no_request_of_a_busy_proxy_is_lost(launch, behind_nginx, behind_haproxy, software):
    """The proxy keeps its connections to the server; if one were cut without notice, a POST would be lost."""
    server = launch(**all_dialects(limits={"handshake_timeout": "1s"}))
    port = port_of(server, "broadcast")
    proxy = behind_nginx(port, KEPT) if software == "nginx" else behind_haproxy("http-reuse always", f"server one 127.0.0.1:{port}")
    admin = token("root", roles=["admin"])
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    until, pause = time.monotonic() + 12, 0.1
    while time.monotonic() < until:
        connection.request("POST", "/api/v1/events", EVENT, {"Authorization": f"Bearer {admin}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        time.sleep(pause)
        pause = 3 if pause < 1 and until - time.monotonic() < 7 else 0.1  # once for so long that it counts as idle
    connection.close()


def test_a_websocket_works_through_nginx(launch, behind_nginx):
    server = launch(**all_dialects())
    proxy = behind_nginx(port_of(server, "broadcast"), UPGRADING)
    client = Client(f"ws://127.0.0.1:{proxy.port}" + target("broadcast", client_id="one"))
    assert client.next_json()["type"] == "welcome"
    client.close()


# --- HAProxy's health check ---


def haproxy_status(proxy, name):
    """The state of the server in HAProxy, such as UP, DOWN or "no check"."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{proxy.stats_port}/stats;csv", timeout=10).read().decode()
    rows = csv.DictReader(text.lstrip("# ").splitlines())
    return next(row["status"] for row in rows if row["svname"] == name)


@pytest.mark.parametrize("check", ["option httpchk", "option httpchk OPTIONS /", "option httpchk\n    http-check send ver HTTP/1.1 hdr Host a"])
def test_the_health_check_of_haproxy_succeeds(launch, behind_haproxy, check):
    server = launch(**all_dialects())
    port = port_of(server, "broadcast")
    proxy = behind_haproxy(check, f"server one 127.0.0.1:{port} check inter 200ms fall 2 rise 2")
    wait_until(lambda: haproxy_status(proxy, "one").startswith("UP") and check_passed(proxy), 20, "a server that is up")
    with pytest.raises(AssertionError):  # and it stays in that state
        wait_until(lambda: not haproxy_status(proxy, "one").startswith("UP"), 2)


def check_passed(proxy):
    """Whether the last check succeeded (HAProxy considers a server up before the first one)."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{proxy.stats_port}/stats;csv", timeout=10).read().decode()
    rows = csv.DictReader(text.lstrip("# ").splitlines())
    return next(row["check_status"] for row in rows if row["svname"] == "one") == "L7OK"


def test_haproxy_reaches_the_server_by_tls_and_alpn(launch, behind_haproxy):
    port, plain = free_port(), free_port()
    tls = {"cert": str(FILES / "cert.txt"), "key": str(FILES / "key.txt")}
    listeners = [{"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]}, {"bind": f"127.0.0.1:{port}", "dialects": ["notify"], "tls": tls}]
    launch(port=plain, listener=listeners)
    proxy = behind_haproxy("option httpchk", f"server one 127.0.0.1:{port} check inter 200ms ssl verify none alpn h2,http/1.1")
    wait_until(lambda: check_passed(proxy), 20, "a server that is up")
    wait_until(lambda: ask(proxy.port, "GET", "/livez") == 200, 20, "an answer over TLS")
