"""Two nodes behind the proxies of `deploy/proxies`: a rolling restart under load, refused clients, and the log."""

import contextlib
import json
import re
import socket
import urllib.error
import urllib.request

import pytest
import websockets
import websockets.sync.client

import cluster
from cluster import LATE, NOTICE, rounds  # noqa: F401, a fixture for each test here
from deployed import CONFIGURATIONS, PROXIES, text_of
from fanfare import ROOT, free_port, run, token, wait_until
from http_service import HttpService
from test_examples import Example
from test_tls import FILES
from tls_client import trusting
from traffic import HttpPublisher

PAUSE = 3  # seconds between two nodes of a rolling restart: each proxy must have noticed that the first one is back
CLOSING = 3  # seconds until a client behind a proxy has read, on a busy machine, that its node has closed it
ORIGIN = "https://app.example.com"


class Node(cluster.Node):
    """A node with the listeners of `deploy/fanfare.toml`."""

    LISTENERS = {"shared": ["notify", "realtime", "rooms"], "topics": ["topics"]}
    PREFIXES = {"topics": "/topics"}

    def __init__(self, *arguments, **tables):
        super().__init__(*arguments, **tables)
        self.ports["rooms"] = self.ports["shared"]

    def placed(self):
        return {8081: self.ports["shared"], 3000: self.ports["topics"]}


class Cluster(cluster.Cluster):
    NODE = Node


@pytest.fixture(params=PROXIES)
def software(request, monkeypatch):
    """Clients trust only the tests' certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(FILES / "cert.txt"))
    return request.param


def test_a_rolling_restart_loses_no_acknowledged_event(software):
    """A draining node refuses no client, every client reconnects, and each acknowledged event reaches every connected client."""
    with contextlib.ExitStack() as stack:
        tables = {"shutdown": {"timeout": "20s", "drain_window": "4s"}}  # clients reconnect while others are still being closed
        nodes = Cluster(stack, nodes=2, tables=tables)
        proxy = PROXIES[software]([node.placed() for node in nodes.all])
        stack.callback(proxy.kill)

        def url(listener, path="/ws", **query):
            prefix = Node.PREFIXES.get(listener, "")
            parameters = "&".join(f"{name}={value}" for name, value in query.items())
            return f"wss://localhost:{proxy.port}{prefix}{path}" + (f"?{parameters}" if parameters else "")

        for _ in range(4):
            for dialect in ("notify", "topics", "rooms"):
                nodes.subscriber(dialect, None, url=url, returns=True)
        for node in nodes.all:
            nodes.publisher(HttpPublisher(f"http-{node.number}", node, ids=True))
        nodes.publish_on_broker()
        nodes.flow()
        nodes.ledger.closing = CLOSING
        with nodes.fault():  # a receipt that is not degraded promises delivery nevertheless
            for node in nodes.all:
                node.server.stop()
                nodes.spend(1)
                node.start_again()
                wait_until(node.ready, NOTICE + LATE, f"{node} that is back")
                nodes.spend(PAUSE)
            try:
                wait_until(lambda: not nodes.ledger.lost(), 30, "clients that have reconnected")
            except AssertionError as late:
                raise AssertionError(nodes.ledger.lost() + refused_by(nodes)) from late
        assert all(one.away for one in nodes.ledger.subscribers), "a client that was never sent away"
        assert not refused_by(nodes)
        nodes.judge()
        written = proxy.written()
        assert "/ws" in written and "eyJ" not in written, "the proxy logs the requests, and no token"


def refused_by(nodes):
    """Each failed attempt of a client to reconnect."""
    return [(one.name, attempt) for one in nodes.ledger.subscribers for attempt in one.refused]


# --- requests that a proxy repeats ---


class Draining(HttpService):
    """A node whose health check has not failed yet, and that refuses everything else with 503, as a draining node does."""

    def __init__(self):
        self.requests = []
        super().__init__(self.refuse, free_port(), "HTTP/1.1")

    def refuse(self, request, _):
        if request.path.endswith("/readyz"):
            return 200, b""
        self.requests.append(request.command)
        return 503, b""


def test_a_refused_get_is_repeated_and_a_post_is_not(software, cleanup):
    """A proxy that repeats a POST may publish its event twice."""
    nodes = [Draining(), Draining()]
    for node in nodes:
        cleanup.callback(node.stop)
    proxy = PROXIES[software]([{8081: node.server_port, 3000: node.server_port} for node in nodes])
    cleanup.callback(proxy.kill)
    for node in nodes:
        node.requests.clear()

    def status(method, body=""):
        """A request that arrives in one piece: HAProxy repeats no other."""
        reached = socket.create_connection(("127.0.0.1", proxy.port), 20)
        with trusting(FILES / "cert.txt").wrap_socket(reached, server_hostname="localhost") as connection:
            connection.sendall(f"{method} /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            return int(connection.recv(4096).split()[1])

    posts = lambda: sum(node.requests.count("POST") for node in nodes)  # noqa: E731
    assert status("GET") == 503
    assert all(node.requests for node in nodes), "each node is asked"
    wait_until(lambda: status("POST", "{}") == 503 and posts(), what="a node that is asked again")
    assert posts() == 1


# --- the production profile behind each proxy ---


class Production:
    """One node with `deploy/fanfare.toml`, behind a proxy that is configured for two nodes."""

    def __init__(self, software, folder, cleanup, change=lambda text: text):
        node = Example(ROOT / "deploy", folder)
        node.config.write_text(change(node.config.read_text()))
        node.start(cleanup)
        self.node, self.ports = node, {8081: node.ports[8081], 3000: node.ports[3000]}
        self.proxy = PROXIES[software]([self.ports, self.ports])
        cleanup.callback(self.proxy.kill)
        self.trusting = trusting(FILES / "cert.txt")

    def status(self, path, **options):
        request = urllib.request.Request(f"https://localhost:{self.proxy.port}{path}", **options)
        try:
            return urllib.request.urlopen(request, timeout=20, context=self.trusting).status
        except urllib.error.HTTPError as error:
            return error.code

    def client(self, path, source="127.0.0.1", **options):
        """A client at its own address, closed at once; returns the HTTP status of its handshake."""
        reached = socket.create_connection(("127.0.0.1", self.proxy.port), 20, source_address=(source, 0))
        options = {"sock": reached, "ssl": self.trusting, "server_hostname": "localhost", "origin": ORIGIN} | options
        try:
            with websockets.sync.client.connect(f"wss://localhost:{self.proxy.port}{path}", **options):
                return 101
        except websockets.InvalidStatus as refused:
            return refused.response.status_code


@pytest.fixture
def production(software, tmp_path, cleanup):
    return lambda **options: Production(software, tmp_path, cleanup, **options)


def handshakes(behind):
    """Ten connections from each of five addresses, which is more than one address may open at once."""
    return {behind.client(f"/ws?token={token('ann')}", f"127.0.0.{2 + number % 5}") for number in range(50)}


def test_limits_count_the_clients(production):
    assert handshakes(production()) == {101}


def test_without_trusted_proxies_all_clients_share_one_limit(production):
    change = lambda text: text.replace('trusted_proxies = ["127.0.0.1/32"]', "upgrades_per_second_per_ip = 1")  # noqa: E731
    assert handshakes(production(change=change)) == {101, 429}


def test_internal_routes_are_not_public(production):
    behind = production()
    for path in ("/metrics", "/metrics/prometheus", "/docs", "/openapi.json", "/health", "/readyz", "/livez", "/notify", "/topics/metrics", "/"):
        assert behind.status(path) == 404, path
    assert behind.status("/api/v1/events", data=b'{"to":"everyone","data":1}', headers={"Content-Type": "application/json"}) == 401
    assert behind.status("/api/auth/me") == 401
    assert behind.client("/ws?token=wrong") == 401
    assert behind.client(f"/ws?token={token('ann')}", origin="https://evil.example.com") == 403


def test_no_token_is_logged(production):
    """The log contains neither a valid nor an invalid token, wherever a client puts it, nor if no node is available."""
    behind = production()
    offered = {"subprotocols": [f"access_token.{token('ann')}"]}
    header = {"additional_headers": {"Authorization": f"Bearer {token('ann')}"}}

    def each():
        return [behind.client(f"/ws?token={token('ann')}"), behind.client("/ws", **offered), behind.client("/ws", **header),
                behind.client("/topics/ws?access_token=" + token("ann")), behind.client(f"/api/v1/ws/connect?token={token('ann')}")]

    assert each() == [101] * 5
    behind.client("/ws?token=eyJwrong")
    behind.client("/nowhere?token=eyJwrong")
    behind.node.stop()
    assert set(each()) <= {502, 503}
    wait_until(lambda: "/nowhere" in behind.proxy.written(), what="a request that is logged")
    assert "eyJ" not in behind.proxy.written()


def test_a_stream_over_http_is_not_buffered(production):
    key = "key-of-the-backend"
    behind = production(change=lambda text: f'{text}\n[api]\nkeys = ["{key}"]\n')
    stream = f"https://localhost:{behind.proxy.port}/api/v1/stream?channel=board.a&token={token('ann')}"
    with urllib.request.urlopen(stream, timeout=20, context=behind.trusting) as received:
        assert b"resume" in received.readline() + received.readline() + received.readline()
        event = json.dumps({"to": {"channel": "board.a"}, "data": 4711}).encode()
        assert behind.status("/api/v1/events", data=event, headers={"Authorization": f"Bearer {key}"}) == 200
        while b"4711" not in (line := received.readline()):
            assert line, "the stream has ended"


@pytest.mark.parametrize(("name", "setting"), [("Caddyfile", r"keepalive (\d+)s"), ("traefik.yaml", r"idleConnTimeout: (\d+)s")])
def test_the_proxy_closes_an_idle_connection_first(name, setting):
    """A minute in nginx, and five seconds in HAProxy, are longer than the server's own limit."""
    [kept] = re.findall(setting, (CONFIGURATIONS / name).read_text())
    [server] = re.findall(r'^#keep_alive_timeout = "(\d+)s"', run("config", "default").stdout, re.M)
    assert int(kept) < int(server)


@pytest.mark.parametrize("path", sorted(CONFIGURATIONS.iterdir()), ids=lambda path: path.name)
def test_each_configuration_names_the_nodes_alike(path):
    addresses = {f"10.0.0.{host}:{port}" for host in (11, 12) for port in (8081, 3000)}
    text = path.read_text()
    if path.name != "traefik.yaml":
        assert all(address in text for address in addresses)
        assert all(route in text for route in ("/ws", "/api/", "/topics/ws"))
    assert text_of(path.name, [{8081: 1, 3000: 2}] * 2).count("10.0.0.") == 0
