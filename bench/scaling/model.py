"""Computes the capacity of a cluster from the measured constants: python3 bench/scaling/model.py [constants.json]

A model, not a measurement: it adds up CPU time and memory, and leaves out what adds up otherwise (networks, kernels, cache misses).
Half of each core is planned for, so that the other half is there for a reconnect storm.
"""

import json
import math
import pathlib
import sys

PLANNED = 0.5  # of each core
NODE_CORES = 16
NODE_MEMORY = 64e9 * PLANNED
CONNECTION_BYTES = 2_000 + 8_000  # of the process, and of the kernel for an idle socket
BROKER_MEMORY = 32e9 * PLANNED
REPORT_SECONDS, LEASE_SECONDS = 2, 1  # the periods of a node's report to all others, and of the renewal of its lease


def events_per_second(micros, cores=1):
    """Returns the events per second that the planned share of `cores` carries, if each event takes `micros` of CPU time."""
    return PLANNED * cores * 1e6 / micros if micros else math.inf


class Model:
    def __init__(self, constants):
        redis = constants["redis"]
        most = max(redis["unicast"], key=int)
        self.unicast, self.chat = redis["unicast"][most], redis["chat"][most]
        self.delivery = redis["fan_out"][most]["node_us_per_delivery"]
        self.join = redis["joins"]["2"]
        self.connection_bytes = CONNECTION_BYTES + redis["restart"]["2"]["node_bytes_per_member"]
        self.user_bytes = redis["remote"]["2"]["broker_bytes_per_user"]

    def nodes_for(self, users):
        return max(1, math.ceil(users * self.connection_bytes / NODE_MEMORY))

    def cluster(self, users, events_each, joins_each, nodes=None, groups=1):
        """Returns the load of groups of nodes, each with its Redis. Each user is in one room."""
        nodes = nodes or self.nodes_for(users)
        events, joins = users * events_each, users * joins_each
        broker = events * self.unicast["broker_us_per_event"] + joins * self.join["broker_us_per_join"]
        node = events * self.unicast["node_us_per_event"] + joins * self.join["node_us_per_join"]
        in_group = nodes / groups
        between = in_group * (in_group - 1) / REPORT_SECONDS
        broker_load = (broker / groups + (between + in_group / LEASE_SECONDS) * self.unicast["broker_us_per_event"]) / 1e6
        return {
            "users": users, "nodes": nodes, "groups": groups, "events/s": round(events), "joins/s": round(joins),
            "a node's cores, of 16": round(node / nodes / 1e6, 2),
            "a node's memory, GB": round(users * self.connection_bytes / nodes / 1e9, 1), "a Redis' core": round(broker_load, 2),
            "a Redis' memory, GB": round(users * (self.user_bytes + self.join["broker_bytes_per_member"]) / groups / 1e9, 2),
            "reports delivered/s": round(groups * between),
            "holds": node / nodes / 1e6 <= NODE_CORES * PLANNED and broker_load <= PLANNED
            and users * (self.user_bytes + self.join["broker_bytes_per_member"]) / groups <= BROKER_MEMORY,
        }

    def smallest(self, users, events_each, joins_each):
        """Returns the smallest cluster that carries the load."""
        groups = 1
        while True:
            found = self.cluster(users, events_each, joins_each, groups=groups)
            if found["holds"] or groups > 4096:
                return found
            nodes = found["nodes"]
            if found["a node's cores, of 16"] > NODE_CORES * PLANNED:
                nodes = math.ceil(nodes * found["a node's cores, of 16"] / (NODE_CORES * PLANNED))
                found = self.cluster(users, events_each, joins_each, nodes, groups)
                if found["holds"]:
                    return found
            groups *= 2

    def ends(self):
        """Returns the limits of one broker server."""
        return {
            "unicast events/s of one Redis": round(events_per_second(self.unicast["broker_us_per_event"])),
            "joins/s of one Redis": round(events_per_second(self.join["broker_us_per_join"])),
            "unicast events/s of one node's core": round(events_per_second(self.unicast["node_us_per_event"])),
            "deliveries/s of one node's core": round(events_per_second(self.delivery)),
            "nodes until their reports alone fill half a Redis core": math.floor(
                math.sqrt(events_per_second(self.unicast["broker_us_per_event"]) * REPORT_SECONDS)
            ),
        }


def constants_table(constants):
    """Returns the table of the measured constants, with a row for each broker and number of nodes."""
    yield (
        "| broker | nodes | one user: node | broker | events/s of a full broker | room of ten: node | broker "
        "| everyone: node, each delivery | broker, each event |"
    )
    yield "|" + "---|" * 9
    for broker in ("redis", "cluster", "nats"):
        found = constants.get(broker, {"unicast": {}})
        for nodes, unicast in found["unicast"].items():
            chat, fan_out, cores = found["chat"][nodes], found["fan_out"][nodes], 3 if broker == "cluster" else 1
            cells = [found["name"], nodes, unicast["node_us_per_event"], unicast["broker_us_per_event"],
                     f"{cores * 1e6 / unicast['broker_us_per_event']:,.0f}", chat["node_us_per_message"], chat["broker_us_per_message"],
                     fan_out["node_us_per_delivery"], fan_out["broker_us_per_event"]]
            yield f"| {' | '.join(map(str, cells))} |"


def joins_table(constants):
    yield "| broker | nodes | latency p50, ms | p99, ms | node, µs | broker, µs | broker, bytes a member |"
    yield "|---|---|---|---|---|---|---|"
    for broker in ("redis", "cluster", "nats"):
        for nodes, join in constants.get(broker, {}).get("joins", {}).items():
            yield f"| {constants[broker]['name']} | {nodes} | {' | '.join(map(str, join.values()))} |"


def clusters_table(model):
    found = [
        (title, model.smallest(users, events_each, joins_each))
        for title, users, events_each, joins_each in [
            ("one machine", 10**5, 0.1, 0.001), ("ten nodes", 25 * 10**6, 0.01, 0.0005), ("a hundred million users", 10**8, 0.01, 0.0005),
        ]
    ]
    yield f"| | {' | '.join(title for title, _ in found)} |"
    yield "|---|" + "---|" * len(found)
    for name in found[0][1]:
        if name != "holds":
            yield f"| {name} | {' | '.join(f'{cluster[name]:,}' for _, cluster in found)} |"


def main():
    file = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("constants.json")
    constants = json.loads(pathlib.Path(file).read_text())
    model = Model(constants)
    print(*constants_table(constants), "", *joins_table(constants), "", *clusters_table(model), "", sep="\n")
    print("| half of one core carries | |", "|---|---|", *(f"| {name} | {value:,} |" for name, value in model.ends().items()), sep="\n")


if __name__ == "__main__":
    main()
