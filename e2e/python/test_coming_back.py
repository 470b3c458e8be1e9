"""Clients that lost their connection come back: nothing is left of the old one, and the new one is as good."""

import json

import pytest

from dialects import all_dialects
from fanfare import wait_until

EVENTS = "/api/v1/events"
HEARD = {"topics": "scores.final", "realtime": "scores.final", "rooms": "channel:final"}


@pytest.mark.parametrize("end", ["close", "cut"])
@pytest.mark.parametrize("dialect", HEARD)
def test_what_is_heard_again(launch, speak, dialect, end):
    """Connect, hear, lose it, and all of that anew; nobody hears anything twice."""
    server, channel = launch(**all_dialects()), HEARD[dialect]
    for turn in range(3):
        client = speak(server, dialect).hear(channel)
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
