"""Clients that lost their connection reconnect: nothing of the old one is left, and the new one works as before."""

import json

import pytest

from dialects import all_dialects
from fanfare import wait_until

EVENTS = "/api/v1/events"
HEARD = {"topics": "scores.final", "realtime": "scores.final", "rooms": "channel:final"}


@pytest.mark.parametrize("end", ["close", "cut"])
@pytest.mark.parametrize("dialect", HEARD)
def test_no_event_arrives_twice_after_a_reconnect(launch, speak, dialect, end):
    """Each client connects, receives, loses its connection and starts again; no client receives an event twice."""
    server, channel = launch(**all_dialects()), HEARD[dialect]
    for turn in range(3):
        client = speak(server, dialect).subscribe(channel)
        event = {"to": {"channel": channel}, "type": "score", "data": {"turn": turn}}
        answer = json.loads(server.get(EVENTS, "POST", json.dumps(event)).text)
        assert answer["recipients"] == 1
        frame = client.next_json()
        assert {"turn": turn} in (frame.get("data"), frame["data"].get("payload") if dialect == "realtime" else None)
        client.alive()
        if end == "cut":
            client.socket.socket.close()
        client.close()
        wait_until(lambda: server.prometheus("fanfare_connections") == 0, what="a connection that is forgotten")
