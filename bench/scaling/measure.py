"""Measures the cost of several nodes, and writes the constants that `model.py` reads.

    cargo build --release
    FANFARE_BIN=target/release/fanfare .venv/bin/python bench/scaling/measure.py [--quick] [--brokers redis,cluster,nats]

All nodes share one core, the broker and the clients the other: what is measured is CPU time, which adds up however many nodes
take turns. Each figure is the median of its rounds.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import time

from world import ROOMS_PATH, Clients, Meter, NatsBroker, RedisBroker, RedisCluster, pss, world

BROKERS = {"redis": RedisBroker, "cluster": RedisCluster, "nats": NatsBroker}
CLIENTS = 1000
TEXT = json.dumps({"type": "score", "payload": "x" * 60})


def micros(seconds, count):
    return round(seconds / count * 1e6, 2)


def fan_out(broker, nodes, events):
    """Publishes events for everyone, sixteen in flight."""
    clients = connect(nodes, CLIENTS)
    publisher, meter = broker.publisher(), Meter(broker, nodes)
    for _ in range(events // 16):
        publisher.publish([(None, TEXT)] * 16)
        clients.received -= 16 * CLIENTS
        clients.wait_for(0)
    spent = meter.spent()
    clients.close()
    events -= events % 16
    return {"node_us_per_delivery": micros(spent["nodes"], events * CLIENTS), "broker_us_per_event": micros(spent["broker"], events)}


def unicast(broker, nodes, events):
    """Publishes events for one user each, 500 in flight."""
    clients = connect(nodes, CLIENTS)
    publisher, meter, burst = broker.publisher(), Meter(broker, nodes), 500
    for start in range(0, events, burst):
        publisher.publish([(f"u{(start + i) * 7919 % CLIENTS}", TEXT) for i in range(burst)])
        clients.received -= burst
        clients.wait_for(0)
    spent = meter.spent()
    clients.close()
    return {"node_us_per_event": micros(spent["nodes"], events), "broker_us_per_event": micros(spent["broker"], events)}


def chat(broker, nodes, messages):
    """Sends messages of clients in a hundred rooms of ten, whose members are spread over the nodes."""
    clients, peers = Clients(), []
    for i in range(CLIENTS):
        peers.append(clients.connect(nodes[i % len(nodes)], f"u{i}", ROOMS_PATH))
        clients.send(peers[-1], {"type": "join_room", "room": f"project:{i // 10}"})
    clients.settle()
    meter, burst = Meter(broker, nodes), 100
    for start in range(0, messages, burst):
        for i in range(burst):
            number = (start + i) * 7919 % CLIENTS
            clients.send(peers[number], {"type": "send_message", "room": f"project:{number // 10}", "data": {"content": "x" * 60}})
        clients.received -= burst * 10
        clients.wait_for(0)
    spent = meter.spent()
    clients.close()
    return {"node_us_per_message": micros(spent["nodes"], messages), "broker_us_per_message": micros(spent["broker"], messages)}


def joins(broker, nodes, count):
    """Joins one after the other, each of another room by another user's only connection."""
    clients = Clients()
    peer = clients.connect(nodes[0], "joiner", ROOMS_PATH)
    other = clients.connect(nodes[-1], "other", ROOMS_PATH)
    clients.settle()
    memory, meter, latencies = broker.memory(), Meter(broker, nodes), []
    for i in range(count):
        began = time.perf_counter()
        clients.send(peer, {"type": "join_room", "room": f"project:{i}"})
        while not any(b"joined_room" in payload for payload in clients.poll(1).get(peer, [])):
            assert time.perf_counter() - began < 10, "a join is not answered"
        latencies.append(time.perf_counter() - began)
    clients.settle()
    spent = meter.spent()
    grown = max(0, broker.memory() - memory)
    other.close()
    clients.sockets.remove(other)
    clients.close()
    latencies.sort()
    return {
        "latency_ms_p50": round(latencies[count // 2] * 1000, 3), "latency_ms_p99": round(latencies[count * 99 // 100] * 1000, 3),
        "node_us_per_join": micros(spent["nodes"], count), "broker_us_per_join": micros(spent["broker"], count),
        "broker_bytes_per_member": round(grown / count),
    }


def restart(broker, nodes, members):
    """Empties the broker. Measures how long the nodes take to enter all members again, and the latency of events meanwhile."""
    rooms_each, clients = 500, Clients()
    base = [pss(node.process.pid) for node in nodes]
    peers = [clients.connect(nodes[i % len(nodes)], f"u{i}", ROOMS_PATH) for i in range(members // rooms_each)]
    for i, peer in enumerate(peers):
        for room in range(rooms_each):
            clients.send(peer, {"type": "join_room", "room": f"project:{i}-{room}"})
        clients.poll()
    clients.settle(2)
    full, keys = broker.memory(), count_members(broker)
    grown = [pss(node.process.pid) - before for node, before in zip(nodes, base)]
    publisher, meter, latencies = broker.publisher(), Meter(broker, nodes), []
    began = time.perf_counter()
    broker.flush()
    while count_members(broker) < keys:
        at = time.perf_counter()
        clients.received = -1
        publisher.publish([("u0", TEXT)])
        clients.wait_for(0)
        latencies.append(time.perf_counter() - at)
        assert time.perf_counter() - began < 120, "members are missing"
        time.sleep(0.02)
    took, spent = time.perf_counter() - began, meter.spent()
    clients.close()
    latencies.sort()
    return {
        "members": members, "seconds": round(took, 1), "event_latency_ms_p50": round(latencies[len(latencies) // 2] * 1000, 2),
        "event_latency_ms_max": round(latencies[-1] * 1000, 2), "node_us_per_member": micros(spent["nodes"], members),
        "broker_us_per_member": micros(spent["broker"], members), "broker_bytes": full,
        "node_bytes_per_member": round(sum(grown) / members),
    }


def count_members(broker):
    from world import Resp

    with Resp(broker.ports[0], 60) as door:
        return door.call("DBSIZE")


def remote(broker, nodes, users):
    """Measures the memory that a node needs for the connections of another node."""
    first, last = nodes[0], nodes[-1]
    before = pss(last.process.pid)
    clients, broker_before = Clients(), broker.memory()
    for i in range(users):
        clients.connect(first, f"u{i}")
    clients.settle()
    result = {
        "other_node_bytes_per_user": round((pss(last.process.pid) - before) / users),
        "broker_bytes_per_user": round((broker.memory() - broker_before) / users),
    }
    clients.close()
    return result


def connect(nodes, count):
    clients = Clients()
    for i in range(count):
        clients.connect(nodes[i % len(nodes)], f"u{i}")
    clients.settle()
    return clients


def median(rounds):
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a tenth of the events, one round")
    options.add_argument("--brokers", default="redis,cluster,nats")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--out", default=str(pathlib.Path(__file__).with_name("constants.json")))
    options = options.parse_args()
    scale, rounds = (10, 1) if options.quick else (1, options.rounds)
    result = {"machine": platform.machine(), "cores": os.cpu_count(), "rounds": rounds}
    for name in options.brokers.split(","):
        broker_class = BROKERS[name]
        result[name] = {"name": broker_class.name}
        work = [(unicast, 50_000 // scale), (chat, 5_000 // scale), (fan_out, 1_600 // scale)]
        cases = [(nodes, measure, count) for measure, count in work for nodes in (1, 2, 4)]
        cases += [(nodes, joins, 2_000 // scale) for nodes in (1, 2)]
        if name == "redis":
            cases += [(2, remote, 2_000 // scale), (2, restart, 100_000 // scale)]
        for nodes, measure, count in cases:
            once = measure in (restart, remote)
            figures = []
            for _ in range(1 if once else rounds):
                with world(broker_class, nodes) as (broker, servers):
                    figures.append(measure(broker, servers, count))
            result[name].setdefault(measure.__name__, {})[str(nodes)] = median(figures)
            print(name, measure.__name__, nodes, result[name][measure.__name__][str(nodes)], flush=True)
            pathlib.Path(options.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
