"""Three nodes behind HAProxy, restarted in turn under load: every client reconnects, and misses only the events during its absence."""

from cluster import LATE, NOTICE, Cluster, rounds  # noqa: F401, a fixture for each test here
from contextlib import ExitStack

from fanfare import wait_until
from proxies import haproxy
from test_proxies import haproxy_status
from traffic import HttpPublisher

LISTENERS = ("shared", "topics", "rooms")


class Proxied:
    """A HAProxy for each listener, which asks /readyz which nodes may get clients."""

    def __init__(self, nodes):
        self.nodes, self.proxies = nodes, {}
        for name in LISTENERS:
            lines = [f"server node{node.number} 127.0.0.1:{node.ports[name]} check inter 300ms fall 2 rise 1" for node in nodes.all]
            self.proxies[name] = haproxy("balance roundrobin", "timeout check 3s", "option httpchk GET /readyz", *lines)
            nodes.stack.callback(self.proxies[name].kill)
        self.ports = {name: proxy.port for name, proxy in self.proxies.items()}

    def url(self, listener, path="/ws", **query):
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        return f"ws://127.0.0.1:{self.ports[listener]}{path}?{parameters}"

    def ready(self):
        """HAProxy moves the clients."""
        return True

    def is_up(self, node):
        return all(haproxy_status(proxy, f"node{node.number}").startswith("UP") for proxy in self.proxies.values())


class Repeating(HttpPublisher):
    """A backend that publishes through the proxy, and repeats each unanswered request with the same id."""

    def publish(self, number):
        return wait_until(lambda: super(Repeating, self).publish(number) != "failed" and "sure", 20, "an answer")


def test_a_rolling_restart_behind_haproxy_loses_no_event():
    with ExitStack() as stack:
        nodes = Cluster(stack)
        proxied = Proxied(nodes)
        wait_until(lambda: all(map(proxied.is_up, nodes.all)), what="nodes that HAProxy takes for up")
        for _ in range(4):
            for dialect in ("notify", "topics", "rooms"):
                nodes.subscriber(dialect, None, url=proxied.url, returns=True)
        for node in nodes.all:
            nodes.publisher(HttpPublisher(f"http-{node.number}", node))
        nodes.publisher(Repeating("repeating", proxied, ids=True))
        nodes.publish_on_broker()
        nodes.flow()
        for node in nodes.all:
            node.server.stop()
            nodes.spend(1)
            node.start_again()
            wait_until(lambda: node.ready() and proxied.is_up(node), NOTICE + LATE, f"{node} that is back")
        wait_until(lambda: not nodes.ledger.lost(), 30, "clients that have reconnected")
        assert all(one.away for one in nodes.ledger.subscribers), "a client that was never sent away"
        wait_until(nodes.whole, NOTICE + LATE, "a cluster that works")
        nodes.spend(2)
        nodes.judge()
