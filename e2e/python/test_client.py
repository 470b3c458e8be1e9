"""The `websockets` client and redis-py publishers."""

import json

import pytest

from conftest import message


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("password", [None, "open sesame"])
def test_redis_py_publishes_to_a_client(launch, connect, publisher, protocol, password):
    server = launch(resp={"password": password or ""})
    client = connect(server, "user123")
    backend = publisher(server.resp_port, protocol=protocol, password=password)

    assert backend.ping()
    assert backend.publish("user_noti:user123", message({"title": "Test"})) == 1

    got = client.next_json()
    assert list(got) == ["type", "payload", "timestamp"]
    assert (got["type"], got["payload"]) == ("notification", {"title": "Test"})


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_pipeline_answers_each_publish(server, connect, publisher, protocol):
    client = connect(server, "ann")
    pipeline = publisher(server.resp_port, protocol=protocol).pipeline(transaction=False)
    for n in range(100):
        pipeline.publish("user_noti:ann" if n % 2 else "user_noti:nobody", message(n))
    assert pipeline.execute() == [0, 1] * 50
    assert [client.next_json()["payload"] for _ in range(50)] == list(range(1, 100, 2))


def test_a_payload_keeps_its_bytes(server, connect, publisher):
    client = connect(server, "ann")
    payload = r'{"b": 12345678901234567890, "a" :"\u00e9\/", "n": 1.0}'
    publisher(server.resp_port).publish("user_noti:ann", '{"type":"t","payload":%s}' % payload)
    assert client.next().startswith('{"type":"t","payload":%s,"timestamp":"' % payload)


def test_a_binary_publisher_sends_text_frames(server, connect, publisher):
    client = connect(server, "ann")
    publisher(server.resp_port).publish(b"user_noti:ann", message("é", type="t").encode())
    assert isinstance(client.next(), str)


def test_compressed_messages_arrive_whole(launch, connect, publisher):
    server = launch(notify={"compression": True})
    client = connect(server, "ann", compression="deflate")
    assert "permessage-deflate" in client.socket.response.headers["Sec-WebSocket-Extensions"]
    for text in ("short", "again and again " * 5000):
        publisher(server.resp_port).publish("user_noti:ann", message(text))
        assert json.loads(client.next())["payload"] == text


def test_many_tabs_get_the_same_bytes(server, connect, publisher):
    tabs = [connect(server, "ann") for _ in range(50)]
    assert publisher(server.resp_port).publish("user_noti:ann", message({"n": 1})) == 50
    assert len({tab.next() for tab in tabs}) == 1


def test_an_expired_token_closes_the_connection(server, connect):
    assert connect(server, "ann", claims={"ttl": 2}).closed() == (1008, "token expired")
