"""`fanfare bench` runs and prints its figures. No test checks their values."""

import json
import subprocess

from fanfare import binary


def test_events_for_single_users_arrive_beside_each_kind_of_work():
    command = [binary(), "bench", "fairness", "--connections", "40", "--seconds", "1", "--rounds", "1", "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    titles = [workload["title"].removeprefix("Events for single users beside ") for workload in report["workloads"]]
    assert titles == [
        "a fan-out to 40 connections",
        "40 connections that come back at once",
        "events of 1048576 bytes by HTTP, 4 at once",
        "4 programs that read the figures without a pause",
    ]
    for workload in report["workloads"]:
        figures = {figure["name"]: figure["rounds"] for figure in workload["figures"]}
        assert figures["events lost"] == [0]
        assert all(latency > 0 for latency in figures["latency, p99"])
