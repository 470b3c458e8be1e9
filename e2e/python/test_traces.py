"""Traces by OTLP: from the publisher's `traceparent` to the delivery on each node, and a faulty collector."""

import json
import re
import secrets

import pytest

from collector import Collector
from dialects import all_dialects
from fanfare import free_port, run, wait_until

RULE = [{"pattern": "reports.*.done", "subscribe": "authenticated", "publish": "authenticated"}]
CHANNEL = "reports.secretname.done"


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


def otlp(collector, **settings):
    return {"otlp": {"endpoint": collector.url, "traces_per_thousand": 0, "timeout": "1s"} | settings}


def traceparent(sampled=True):
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-0{int(sampled)}"


def publish(server, parent=None, to=None, count=1):
    body = [{"to": to or {"channel": CHANNEL}, "type": "t", "data": "xyz"}] * count
    headers = {"traceparent": parent} if parent else {}
    answer = server.get("/api/v1/events", "POST", json.dumps(body if count > 1 else body[0]), **headers)
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def counted(server, result):
    return server.prometheus(f'fanfare_spans_total.result="{result}".')


def test_a_trace_goes_from_the_publisher_to_the_delivery(launch, collector, speak):
    server = launch(**all_dialects(channel=RULE, telemetry=otlp(collector, headers=["X-Key: of the collector"])))
    ann = speak(server, "topics")
    ann.ask(type="subscribe", topics=[CHANNEL])
    trace, parent, header = traceparent()
    answer = publish(server, header)
    wait_until(lambda: len(collector.spans) >= 2, what="two spans")
    [sent] = [span for span in collector.spans if span["kind"] == "producer"]
    [delivered] = [span for span in collector.spans if span["kind"] == "consumer"]
    assert (sent["trace"], sent["parent"], sent["name"]) == (trace, parent, "publish reports.*.done")
    assert (delivered["trace"], delivered["parent"], delivered["name"]) == (trace, sent["id"], "deliver reports.*.done")
    assert 0 <= delivered["took"] <= sent["took"]
    common = {
        "messaging.system": "fanfare", "messaging.message.id": answer["ids"][0], "messaging.message.body.size": 5,
        "messaging.destination.template": "reports.*.done", "fanfare.audience": "channel",
        "fanfare.matched": 1, "fanfare.queued": 1, "fanfare.dropped": 0,
    }
    assert sent["attributes"] == common | {
        "messaging.operation.name": "publish", "messaging.operation.type": "send",
        "fanfare.nodes": 1, "fanfare.degraded": False, "fanfare.duplicate": False,
    }
    assert delivered["attributes"] == common | {"messaging.operation.name": "deliver", "messaging.operation.type": "process"}
    assert sent["node"]["service.name"] == "fanfare" and sent["node"]["service.version"]
    [(path, headers), *_] = collector.headers
    assert path == "/v1/traces" and headers["x-key"] == "of the collector"
    # The collector has the spans a moment before the server has its answer.
    wait_until(lambda: counted(server, "exported") == 2, what="two spans that are counted")
    assert counted(server, "dropped") == counted(server, "failed") == 0


def test_names_are_in_no_span(launch, collector):
    server = launch(channel=RULE, telemetry=otlp(collector))
    _, _, header = traceparent()
    for to in [{"channel": CHANNEL}, {"channel": "norule.secretname"}, {"user": "secretname"}, "everyone"]:
        publish(server, header, to)
    wait_until(lambda: len(collector.spans) == 8, what="two spans for each")
    assert {span["name"] for span in collector.spans if span["kind"] == "producer"} == {
        "publish reports.*.done", "publish channel", "publish notifications.user.{user}", "publish everyone",
    }
    assert not any(b"secretname" in body or b"xyz" in body for body in collector.bodies)


def test_a_client_passes_its_trace_on_in_metadata(launch, collector, speak):
    server = launch(**all_dialects(channel=RULE, telemetry=otlp(collector)))
    ann, bob = speak(server, "topics"), speak(server, "topics", "bob")
    ann.ask(type="subscribe", topics=[CHANNEL])
    trace, parent, header = traceparent()
    bob.say(type="message", topic=CHANNEL, data=1, eventType="t", metadata={"traceparent": header, "a": 1})
    received = ann.next_json()
    assert received["metadata"]["traceparent"] == header and received["metadata"]["a"] == 1  # as it was sent
    wait_until(lambda: len(collector.spans) == 2, what="two spans")
    assert {(span["trace"], span["kind"]) for span in collector.spans} == {(trace, "producer"), (trace, "consumer")}
    assert parent in {span["parent"] for span in collector.spans}


def test_each_node_delivers_in_the_same_trace(launch, collector, real_redis, speak):
    broker = {"kind": "redis", "url": real_redis().url}
    first, last = (
        launch(**all_dialects(channel=RULE, telemetry=otlp(collector), broker=broker)) for _ in range(2)
    )
    listeners = [speak(node, "topics", user) for node, user in [(first, "ann"), (last, "bob")]]
    for each in listeners:
        each.ask(type="subscribe", topics=[CHANNEL])
    trace, _, header = traceparent()
    publish(first, header)
    wait_until(lambda: len(collector.spans) == 3, what="three spans")
    [sent] = [span for span in collector.spans if span["kind"] == "producer"]
    delivered = [span for span in collector.spans if span["kind"] == "consumer"]
    assert {span["trace"] for span in collector.spans} == {trace}
    assert {span["parent"] for span in delivered} == {sent["id"]}
    assert len({span["node"]["service.instance.id"] for span in delivered}) == 2
    assert sent["attributes"]["fanfare.nodes"] == sent["attributes"]["fanfare.queued"] == 2


def test_what_is_not_sampled_has_no_spans(launch, collector):
    server = launch(channel=RULE, telemetry=otlp(collector))
    for parent in [None, traceparent(sampled=False)[2], "nonsense", "0" * 10_000]:
        publish(server, parent)
    _, _, header = traceparent()
    publish(server, header)
    wait_until(lambda: len(collector.spans) == 2, what="the spans of the last")
    server.stop()
    assert len(collector.spans) == 2


def test_a_node_begins_traces_of_its_own(launch, collector):
    server = launch(channel=RULE, telemetry=otlp(collector, traces_per_thousand=1000))
    publish(server)
    wait_until(lambda: len(collector.spans) == 2, what="two spans")
    [sent] = [span for span in collector.spans if span["kind"] == "producer"]
    assert sent["parent"] == ""


def test_a_trace_passes_a_node_without_a_collector(launch, real_redis, collector, speak):
    broker = {"kind": "redis", "url": real_redis().url}
    first = launch(**all_dialects(channel=RULE, broker=broker))
    last = launch(**all_dialects(channel=RULE, telemetry=otlp(collector), broker=broker))
    speak(last, "topics").ask(type="subscribe", topics=[CHANNEL])
    trace, parent, header = traceparent()
    publish(first, header)
    [span] = wait_until(lambda: collector.spans, what="a span")
    assert (span["trace"], span["parent"], span["kind"]) == (trace, parent, "consumer")
    assert "fanfare_spans_total" not in first.get("/metrics/prometheus").text


def test_the_last_spans_are_sent_at_the_end(launch, collector):
    server = launch(channel=RULE, telemetry=otlp(collector))
    publish(server, traceparent()[2])
    server.stop()
    assert len(collector.spans) == 2


@pytest.mark.parametrize("fault", ["away", "silent", "says 500"])
def test_nothing_waits_for_a_collector(launch, collector, fault, speak):
    if fault == "away":
        settings = otlp(collector) | {}
        settings["otlp"]["endpoint"] = f"http://127.0.0.1:{free_port()}"
    else:
        settings = otlp(collector, timeout="3s")
        collector.status = 500 if fault == "says 500" else 200
        if fault == "silent":
            collector.silent.set()
    settings["otlp"]["max_queued_spans"] = 100
    server = launch(**all_dialects(channel=RULE, telemetry=settings))
    ann = speak(server, "topics")
    ann.ask(type="subscribe", topics=[CHANNEL])
    _, _, header = traceparent()
    # More than the queue holds, and each event is delivered.
    for _ in range(3):
        assert publish(server, header, count=500)["recipients"] == 500
    for _ in range(1500):
        assert ann.next_json()["data"] == "xyz"
    assert counted(server, "dropped") > 0
    wait_until(lambda: counted(server, "failed") > 0, what="spans that the collector did not take")
    assert len(re.findall("does not accept spans", server.log())) == 1
    if fault != "away":
        collector.status = 200
        collector.silent.clear()

        def recovers():
            publish(server, header)
            return counted(server, "exported") > 0

        wait_until(recovers, what="spans again")
        wait_until(lambda: "accepts spans again" in server.log(), what="a line about it")
    server.stop()


@pytest.mark.parametrize("settings, said", [
    ({"endpoint": "ftp://collector"}, "expected an http or https URL"),
    ({"endpoint": "http://user:word@collector"}, "telemetry.otlp.headers"),
    ({"endpoint": "http://collector", "headers": ["no colon"]}, "Authorization: Bearer"),
    ({"endpoint": "http://collector", "traces_per_thousand": 1001}, "from 0 to 1000"),
])
def test_a_bad_setting_is_named(tmp_path, settings, said):
    file = tmp_path / "fanfare.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    file.write_text("\n".join(["[telemetry.otlp]", *lines]))
    done = run("config", "check", "--config", str(file), cwd=tmp_path)
    assert done.returncode != 0 and said in done.stderr + done.stdout, done.stderr
    assert "word@" not in done.stderr
