"""The comparison with other servers, with so few clients that it takes seconds: all its parts work. Its figures are not checked."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import fanfare

COMPARE = fanfare.ROOT / "bench" / "compare"


def compare(folder, *arguments):
    """Runs the comparison on any free core. Returns its results."""
    core = str(min(os.sched_getaffinity(0)))
    command = [
        sys.executable, COMPARE / "compare.py", "--no-install", "--folder", folder / "peers", "--out", folder / "out",
        "--cores", f"{core},{core}", "--rounds", "1", "--seconds", "0.2", *arguments,
    ]
    env = fanfare.environment(FANFARE_BIN=fanfare.binary(), COMPARE_NODE_MODULES=str(fanfare.ROOT / "e2e" / "node_modules"))
    done = subprocess.run(list(map(str, command)), env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out" / "results.json").read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return compare(
        tmp_path_factory.mktemp("compare"), "--scale", "0.01", "--peers", "topics,notify,realtime,rooms,ws,nats,axum",
        "--scenarios", "fanout-8,paced,unicast,publish-many,handshakes",
    )


MEASURED = {
    "fanout-8": {"topics", "notify", "realtime", "ws", "nats"},
    "paced": {"topics", "notify", "realtime", "ws", "nats"},
    "unicast": {"topics", "notify", "ws", "nats"},
    "publish-many": {"topics", "realtime", "rooms", "ws", "nats"},
    "handshakes": {"topics", "notify", "realtime", "ws", "nats"},
}


@pytest.mark.parametrize("scenario", MEASURED)
def test_every_peer_that_can_is_measured(results, scenario):
    peers = results["scenarios"][scenario]
    assert {name for name, one in peers.items() if one["rounds"]} == MEASURED[scenario]
    assert all(one["rounds"] or one["absent"] for one in peers.values())
    for name in MEASURED[scenario]:
        (outcome,) = peers[name]["outcomes"]
        if scenario == "handshakes":
            assert outcome["handshakes"] > 0
        else:
            assert outcome["deliveries"] > 0
            assert {key: outcome[key] for key in ("lost", "duplicated", "reordered", "stopped")} == {
                "lost": 0, "duplicated": 0, "reordered": 0, "stopped": None
            }, name


def test_a_peer_that_is_not_installed_says_so(results):
    assert results["peers"]["axum"]["version"] is None
    assert "not installed" in results["scenarios"]["fanout-8"]["axum"]["absent"]


def test_memory_is_measured_and_written_down(tmp_path):
    found = compare(tmp_path, "--scale", "0.005", "--peers", "notify", "--scenarios", "idle")
    (outcome,) = found["scenarios"]["idle"]["notify"]["outcomes"]
    assert outcome["connections"] == 50
    page = (tmp_path / "out" / "README.md").read_text()
    assert "| Fanfare, notify |" in page and "idle.svg" in page
    assert "clients in the titles are not those" in page
    xml.etree.ElementTree.parse(tmp_path / "out" / "idle.svg")


def test_a_peer_needs_a_plan():
    done = fanfare.run("bench", "peer")
    assert done.returncode == 2 and "--plan" in done.stderr
    done = fanfare.run("bench", "peer", "--plan", "/nowhere.json")
    assert done.returncode == 1 and "/nowhere.json" in done.stderr
