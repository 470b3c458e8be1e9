"""`GET /api/v1/stream` by TLS, with a NATS between the nodes, and with clocks that jump."""

import pathlib
import time

import pytest

import tls_client
from brokers import Nats
from fanfare import free_port
from test_stream import CONFIG, LINES, begun, publish, stream  # noqa: F401


@pytest.mark.parametrize("accept", ["text/event-stream", LINES])
def test_a_stream_over_tls_arrives_whole(launch, stream, accept):
    """Complete to its last byte: for a reader that is slow at first, and with an end that TLS announces."""
    files = pathlib.Path(__file__).parent / "tls"
    plain, secure = free_port(), free_port()
    tls = {"cert": str(files / "cert.txt"), "key": str(files / "key.txt")}
    server = launch(**CONFIG | {
        "channel": [{"pattern": "chat.**", "subscribe": "anyone", "history": {"size": 900, "ttl": "5m"}}],
        "history": {"replay_limit": 1000}, "stream": {"send_queue": 64},
        "listener": [
            {"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]},
            {"bind": f"127.0.0.1:{secure}", "dialects": ["notify"], "tls": tls},
        ],
        "port": plain,
    })
    publish(server, {"channel": "chat.a"}, *[f"{n} " + "x" * 5_000 for n in range(300)])
    trusting = tls_client.trusting(files / "cert.txt")
    client = stream(server, "chat.a", port=secure, tls=trusting, accept=accept, rewind=1000, poll=1)
    time.sleep(0.5)
    messages = client.rest()
    assert [data["data"] for _, data, _ in messages[1:-1]] == [f"{n} " + "x" * 5_000 for n in range(300)]
    kind, end, _ = messages[-1]
    assert (kind, end["reason"]) == ("stream.end", "complete")
    cursor = messages[-2][2]
    live = stream(server, "chat.a", port=secure, tls=trusting, accept=accept, since=cursor)
    assert begun(live) == {"cursor": cursor, "recovered": True, "replayed": 0}
    publish(server, {"channel": "chat.a"}, "live")
    assert live.data() == "live"
    server.stop()
    assert live.rest()[-1][1] == {"reason": "shutting_down"}


def test_a_stream_resumes_at_another_node_on_nats(launch, cleanup, stream):
    nats = Nats()
    cleanup.callback(nats.remove)
    nats.start()
    broker = {"kind": "nats", "url": f"nats://127.0.0.1:{nats.port}"}
    first, second = (launch(**CONFIG, broker=broker) for _ in range(2))
    clients = [stream(server, "chat.*", accept=LINES) for server in (first, second)]
    start = [begun(client) for client in clients]
    assert all(resume["recovered"] for resume in start)
    publish(first, {"channel": "chat.a"}, 1)
    publish(second, {"channel": "chat.b"}, 2)
    seen = [[(data["data"], cursor) for _, data, cursor in (client.next(), client.next())] for client in clients]
    assert seen[0] == seen[1] and [value for value, _ in seen[0]] == [1, 2]
    last = seen[0][-1][1]
    clients[0].close()
    publish(first, {"channel": "chat.a"}, 3, 4)
    first.kill()
    back = stream(second, "chat.*", accept=LINES, since=last)
    assert begun(back) == {"cursor": last, "recovered": True, "replayed": 2}
    assert [back.data(), back.data()] == [3, 4]
    assert [clients[1].data(), clients[1].data()] == [3, 4]
    publish(second, {"channel": "chat.b"}, 5)
    assert back.data() == clients[1].data() == 5


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_clocks_that_jump_by_an_hour_recover_nothing_by_mistake(launch, stream, clock, real_redis, kind):
    """First only the node's clock jumps, then also that of the Redis with the events, whose `ttl` is five minutes."""
    broker = {"broker": {"kind": "redis", "url": real_redis(env=clock.env).url}} if kind == "redis" else {}
    server = launch(**CONFIG, **broker, env=clock.env)
    start, published, expired = begun(stream(server, "chat.a", poll=1))["cursor"], [], 0
    for hours in (0, 1, 0, -1, 0):
        clock.move(3600 * hours)
        published.append(hours)
        publish(server, {"channel": "chat.a"}, hours)
        client = stream(server, "chat.a", since=start, poll=1)
        resume, data = begun(client), [message[1]["data"] for message in client.rest()[:-1]]
        if resume["recovered"]:
            assert data == published
        else:
            assert (resume["reason"], data) == ("expired", [])
            expired += 1
        newest = [message[1]["data"] for message in stream(server, "chat.a", rewind="5m", poll=1).rest()[1:-1]]
        assert newest and newest == published[-len(newest):]
        assert len(newest) == len(published) or kind == "redis"
    # An embedded journal uses a clock that does not jump.
    assert (expired > 0) == (kind == "redis")
    now = stream(server, "chat.a", poll=1)
    cursor = begun(now)["cursor"]
    publish(server, {"channel": "chat.a"}, "last")
    client = stream(server, "chat.a", since=cursor, poll=1)
    assert begun(client)["recovered"] and client.data() == "last"
