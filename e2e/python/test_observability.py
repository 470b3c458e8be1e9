"""The Grafana dashboard and the alert rules in deploy/observability, with a real Prometheus that scrapes two real nodes."""

import json
import pathlib
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest
import websockets.exceptions
import websockets.sync.client

import fanfare
from dialects import all_dialects, port_of
from fanfare import token, wait_until

FOLDER = pathlib.Path(__file__).parents[2] / "deploy" / "observability"
RULES = FOLDER / "fanfare-alerts.yml"
RULES_TEST = FOLDER / "fanfare-alerts-test.yml"
OUTAGES = FOLDER.parents[1] / "docs" / "operate" / "outages.md"
TLS_FILES = pathlib.Path(__file__).parent / "tls"
DASHBOARD = json.loads((FOLDER / "fanfare-dashboard.json").read_text())
PANELS = {f"{panel['title']} {target['refId']}": target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
ALERTS = re.findall(r"- alert: (\w+)\n\s+expr: (?:>-\n((?:\s+\S.*\n)+?)(?=\s+for:)|(.*)\n)", RULES.read_text())


class Prometheus:
    """A Prometheus that scrapes `servers` each second, with these flags."""

    def __init__(self, folder, servers, *flags):
        self.port = fanfare.free_port()
        targets = [f"127.0.0.1:{server.port}" for server in servers]
        scrape = {"job_name": "fanfare", "scrape_interval": "1s", "static_configs": [{"targets": targets}]}
        config = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(RULES)], "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{self.port}", *flags],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def is_up(self):
        try:
            return len(self.query('up{job="fanfare"} == 1')) == 2
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def traffic(servers, done):
    """Repeats requests and events of all kinds."""
    first, last = servers
    clients = [
        websockets.sync.client.connect(f"ws://127.0.0.1:{port_of(server, 'realtime')}/ws?dialect=realtime&token={token('ann')}")
        for server in servers
    ]
    for client in clients:
        client.send(json.dumps({"type": "Subscribe", "data": {"topics": ["news"]}}))
    while not done.wait(0.2):
        for server in servers:
            server.get("/api/v1/events", "POST", json.dumps({"to": {"channel": "news"}, "data": 1}))
            server.get("/api/auth/login", "POST", json.dumps({"email": "a@example.com", "password": "wrong password"}))
        with pytest.raises(websockets.exceptions.InvalidStatus):
            websockets.sync.client.connect(f"ws://127.0.0.1:{port_of(first, 'notify')}/ws?token=no.token.here")
        ended = websockets.sync.client.connect(last.ws("bob"))
        for row in last.json("/api/v1/connections?user=bob")["connections"]:
            last.get(f"/api/v1/connections/{row['id']}", "DELETE")
        ended.close()
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def nodes():
    """Two nodes with traffic."""
    redis = fanfare.Redis()
    redis.start()
    tables = all_dialects(broker={"kind": "redis", "url": f"redis://127.0.0.1:{redis.port}"})
    [secure] = [listener for listener in tables["listener"] if "rooms" in listener["dialects"]]
    secure["tls"] = {"cert": str(TLS_FILES / "cert.txt"), "key": str(TLS_FILES / "key.txt")}  # has an end that is measured
    done = threading.Event()
    try:
        with fanfare.running(**tables) as first, fanfare.running(**all_dialects(broker=tables["broker"])) as last:
            busy = threading.Thread(target=traffic, args=((first, last), done))
            busy.start()
            try:
                yield first, last
            finally:
                done.set()
                busy.join()
    finally:
        redis.remove()


@pytest.fixture(scope="module", params=["classic", "native"])
def prometheus(request, nodes, tmp_path_factory):
    """A Prometheus that stores this form of histograms."""
    flags = ["--enable-feature=native-histograms"] if request.param == "native" else []
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), nodes, *flags)
    prometheus.form = request.param
    try:
        wait_until(prometheus.is_up, timeout=60, what="two nodes that are scraped")
        yield prometheus
    finally:
        prometheus.stop()


def has_data(prometheus, expression):
    """Waits until `expression` has a numeric value."""
    def found():
        values = [float(each["value"][1]) for each in prometheus.query(expression)]
        return any(value == value for value in values)

    wait_until(found, timeout=60, what=f"data for {expression}")


@pytest.mark.parametrize("panel", PANELS)
def test_no_panel_is_empty(prometheus, panel):
    expression = PANELS[panel].replace("$instance", ".*").replace("$__rate_interval", "15s")
    assert "$" not in expression
    has_data(prometheus, expression)


@pytest.mark.parametrize("alert", [name for name, _, _ in ALERTS])
def test_each_alert_uses_existing_metrics(prometheus, alert):
    """The alert's expression without its limit has a value, whatever the reason."""
    [expression] = [many or one for name, many, one in ALERTS if name == alert]
    expression = re.sub(r'(reason|outcome)="\w+"', r'\1=~".+"', expression)
    without_limit = re.split(r" (?:>|<|==) ", expression)[0]
    assert without_limit != expression
    has_data(prometheus, re.sub(r"\[\d+m\]", "[15s]", without_limit))


HISTOGRAMS = ["delivery", "queue_wait", "broker_round_trip", "handshake", "database"]


@pytest.mark.parametrize("histogram", HISTOGRAMS)
def test_histograms_are_stored(prometheus, histogram):
    """In the form that this Prometheus stores, with all observations."""
    name = f"fanfare_{histogram}_seconds"
    quantiles = {
        "classic": f"histogram_quantile(0.5, sum by (le) (rate({name}_bucket[15s])))",
        "native": f"histogram_quantile(0.5, sum(rate({name}[15s])))",
    }
    wanted = quantiles.pop(prometheus.form)
    has_data(prometheus, wanted)
    assert 0 < float(prometheus.query(wanted)[0]["value"][1]) < 10
    assert [prometheus.query(other) for other in quantiles.values()] == [[]]
    if prometheus.form == "native":
        shares = prometheus.query(f"histogram_fraction(0, 1000, {name})")
        assert {float(share["value"][1]) for share in shares} == {1}


def test_prometheus_evaluates_the_rules(prometheus):
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert [rule["name"] for rule in rules] == [name for name, _, _ in ALERTS] and len(rules) > 5
    wait_until(lambda: all(
        rule["health"] == "ok" for group in prometheus.ask("rules")["groups"] for rule in group["rules"]
    ), what="rules that are evaluated without a fault")


def test_promtool_has_no_complaint():
    assert shutil.which("promtool")
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


def test_each_alert_fires_and_a_healthy_node_fires_none():
    done = subprocess.run(["promtool", "test", "rules", str(RULES_TEST)], capture_output=True, text=True)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr
    fired = re.findall(r'alertname="(\w+)"', RULES_TEST.read_text())
    assert sorted(set(fired)) == sorted(name for name, _, _ in ALERTS)


def test_the_page_about_outages_explains_each_alert():
    explained = re.findall(r"^\| (Fanfare\w+) \|", OUTAGES.read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(name for name, _, _ in ALERTS)


def test_metrics_are_of_the_documented_form(prometheus):
    """promtool's linter checks names and types."""
    [target, _] = prometheus.ask("targets", state="active")["activeTargets"]
    with urllib.request.urlopen(target["scrapeUrl"].replace("/metrics", "/metrics/prometheus"), timeout=30) as answer:
        text = answer.read()
    assert b"# TYPE fanfare_delivery_seconds histogram" in text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    complaints = [line for line in (done.stdout + done.stderr).decode().splitlines() if line.startswith("fanfare_")]
    assert complaints == []


SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="[^"]*",?)+)\})? (\S+)')


def scraped(server):
    """The samples of one scrape, by name and labels; each line parses, and each histogram adds up."""
    answer = server.get("/metrics/prometheus")
    assert answer.status == 200 and answer.text.endswith("\n")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    samples = {}
    for line in lines:
        name, labels, value = SAMPLE.fullmatch(line).groups()
        assert (name, labels) not in samples, line
        samples[name, labels] = float(value)
    buckets = {}
    for (name, labels), value in samples.items():
        if name.endswith("_bucket"):
            buckets.setdefault(name.removesuffix("_bucket"), []).append((float(labels.split('"')[1]), value))
    for name, counts in buckets.items():
        counts = [count for _, count in sorted(counts)]
        assert counts == sorted(counts) and counts[-1] == samples[name + "_count", None], name
    return samples


def test_scrapes_are_complete_while_events_flow(server):
    """Each scrape has all families, and no counter decreases, while publishers and clients keep the node busy."""
    quiet, done = scraped(server), threading.Event()
    clients = [websockets.sync.client.connect(server.ws(user)) for user in ("ann", "bob", "cat")]
    readers = [threading.Thread(target=lambda client=client: [None for _ in client]) for client in clients]

    def publish(user):
        while not done.is_set():
            assert server.get("/api/v1/events", "POST", json.dumps({"to": {"user": user}, "data": 1})).status == 200

    publishers = [threading.Thread(target=publish, args=(user,)) for user in ("ann", "bob", "cat")]
    for thread in readers + publishers:
        thread.start()
    try:
        last = quiet
        for _ in range(20):
            flowing = server.prometheus("fanfare_events_total")
            wait_until(lambda: server.prometheus("fanfare_events_total") > flowing, what="an event")
            now = scraped(server)
            assert {name for name, _ in now} == {name for name, _ in quiet}
            for key, value in last.items():
                if key[0].endswith(("_total", "_count", "_bucket")):
                    assert now[key] >= value, key
            last = now
    finally:
        done.set()
        for thread in publishers:
            thread.join()
        for client in clients:
            client.close()
        for thread in readers:
            thread.join()
    assert last["fanfare_delivery_seconds_count", None] > quiet["fanfare_delivery_seconds_count", None]
