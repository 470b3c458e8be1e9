"""The scenarios of the comparison, and the figures of a round."""

import dataclasses


MOST_AT_ONCE = 200  # above the handshakes in progress: no two of them have the same number


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    clients: int
    publishers: str = ""  # "backend" or "clients"; without one, no messages
    publisher_count: int = 1
    addressed: bool = False
    in_flight: int = 0
    per_second: float = 0.0
    work: str = "traffic"

    def plan(self, peer, scale, seconds):
        """Returns the plan for `fanfare bench peer`."""
        count = max(MOST_AT_ONCE if self.work == "handshakes" else 2, round(self.clients * scale))
        plan = {"address": f"127.0.0.1:{peer.port}", "pid": peer.process.pid, "seconds": seconds, "work": self.work}
        plan["clients"] = peer.handshakes(count) if self.work == "handshakes" else peer.clients(count)
        if self.work == "traffic":
            in_flight = min(self.in_flight, count) if self.addressed else self.in_flight
            pace = {"per_second": self.per_second} if self.per_second else {"in_flight": in_flight}
            plan["work"] = {"traffic": {"addressed": self.addressed, "pace": pace}}
            if self.publishers == "clients":
                plan["publishers"] = peer.client_publishers(max(1, round(self.publisher_count * min(1, scale))), self.addressed)
            else:
                plan["publishers"] = peer.backend(self.addressed)
        return plan


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("fanout-1", "Fan-out to 1,000, one in flight", 1_000, "backend", in_flight=1),
        Scenario("fanout-8", "Fan-out to 1,000, 8 in flight", 1_000, "backend", in_flight=8),
        Scenario("fanout-10k", "Fan-out to 10,000, 4 in flight", 10_000, "backend", in_flight=4),
        Scenario("paced", "Fan-out to 1,000, 50 messages a second whatever arrives", 1_000, "backend", per_second=50),
        Scenario("unicast", "Unicast to 1,000, 1,000 in flight", 1_000, "backend", addressed=True, in_flight=1_000),
        Scenario("publish-one", "One client publishes to 1,000, 8 in flight", 1_000, "clients", in_flight=8),
        Scenario("publish-many", "100 clients publish to 1,000 in turn, 8 in flight", 1_000, "clients", publisher_count=100, in_flight=8),
        Scenario("handshakes", "Handshakes, connect to close, 64 at once", 1_000, work="handshakes"),
        Scenario("idle", "Memory of 10,000 idle connections", 10_000, work="idle"),
    )
}

# The figures of each kind of work: name, heading, digits. A plot shows the first.
FIGURES = {
    "traffic": [
        ("cpu", "CPU s per million deliveries", 2), ("user", "user", 2), ("system", "system", 2), ("rate", "deliveries/s", 0),
        ("p50", "p50, ms", 3), ("p99", "p99, ms", 3), ("lost", "lost", 0), ("duplicated", "duplicated", 0), ("reordered", "reordered", 0),
        ("bytes", "bytes received per delivery", 0), ("generator", "generator busy", 2),
    ],
    "handshakes": [
        ("cpu", "CPU µs each", 1), ("user", "user", 1), ("system", "system", 1), ("rate", "handshakes/s", 0),
        ("generator", "generator busy", 2),
    ],
    "idle": [("bytes", "KiB (Pss) each", 2), ("before", "MiB (Pss) without any", 1)],
}


def figures(outcome, work):
    """Returns the figures of one round."""
    if work == "idle":
        grown = outcome["bytes_with"] - outcome["bytes_before"]
        return {"bytes": grown / outcome["connections"] / 1024, "before": outcome["bytes_before"] / 2**20}
    count = outcome["handshakes" if work == "handshakes" else "deliveries"]
    if not count:
        raise ValueError(outcome.get("stopped") or "nothing was delivered")
    micros = lambda seconds: seconds / count * 1e6  # seconds per million are microseconds each
    user, system = micros(outcome["user_seconds"]), micros(outcome["system_seconds"])
    result = {"cpu": user + system, "user": user, "system": system}
    result |= {"rate": count / outcome["seconds"], "generator": outcome["generator_cores"]}
    if work == "traffic":
        result |= {name: outcome[name] for name in ("lost", "duplicated", "reordered")}
        result |= {name: outcome["latency_us"][name] / 1000 for name in ("p50", "p99")}
        result["bytes"] = outcome["bytes"] / count
    return result
