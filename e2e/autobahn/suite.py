"""Runs the fuzzing client against an echo endpoint and judges its reports.

A case passes only with OK for what happened and OK for how the connection was closed. Where the suite itself
defines an outcome as informational, whatever the server does, it must be exactly that.
"""

import argparse
import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
import fanfare  # noqa: E402

# 7.1.6: a large message, another and a close sent back to back. 7.13.x: close codes of 5000 and above.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}

# Each run is a fuzzing client of its own. The compression cases wait for an echo most of the time, so their
# two halves go side by side.
RUNS = {
    "protocol": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"],
    "compression-12": ["12.*"],
    "compression-13": ["13.*"],
}
ORDER = [["protocol"], ["compression-12", "compression-13"]]
CASES = 301 + 90 + 126
TIME_LIMIT = 45 * 60

SECTIONS = {
    "1": "framing", "2": "pings and pongs", "3": "reserved bits", "4": "opcodes", "5": "fragmentation",
    "6": "UTF-8", "7": "closing", "9": "limits and speed", "10": "auto-fragmentation",
    "12": "compression, payloads", "13": "compression, parameters",
}


def fuzz(options, name, url, cases):
    """Starts one fuzzing client; its reports go to a folder named like the run."""
    folder = options.work / "reports" / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    spec = folder / "spec"
    servers = [{"agent": "fanfare", "url": url}]
    spec.write_text(json.dumps({"outdir": str(folder), "servers": servers, "cases": cases, "exclude-cases": []}))
    command = [options.python, str(HERE / "wstest.py"), str(options.work / "site"), "-m", "fuzzingclient"]
    with open(folder / "log", "wb") as log:
        return subprocess.Popen([*command, "-s", str(spec)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def verdicts(options, name):
    """{case: (behavior, behaviorClose)} of one run."""
    index = options.work / "reports" / name / "index.json"
    if not index.exists():
        print(f"the fuzzing client left no report; see {index.parent}/log")
        return {}
    return {
        case: (result["behavior"], result["behaviorClose"])
        for case, result in json.loads(index.read_text()).get("fanfare", {}).items()
    }


def passed(case, verdict):
    return verdict == (("INFORMATIONAL",) * 2 if case in INFORMATIONAL else ("OK", "OK"))


def by_number(case):
    return [int(part) for part in case.split(".")]


def print_table(results):
    columns = ("cases", "ok", "info", "failed")
    print(f"\n{'section':<32}" + "".join(f"{column:>8}" for column in columns))
    rows = collections.defaultdict(collections.Counter)
    for case, verdict in results.items():
        good = "failed" if not passed(case, verdict) else "info" if case in INFORMATIONAL else "ok"
        for row in (case.split(".")[0], "all"):
            rows[row].update(["cases", good])
    for section in sorted(rows, key=lambda s: int(s) if s.isdigit() else 99):
        title = f"{section:<4}{SECTIONS.get(section, '')}"
        print(f"{title:<32}" + "".join(f"{rows[section][column]:>8}" for column in columns))
    if informational := sorted(INFORMATIONAL & results.keys(), key=by_number):
        print(f"informational by the suite's own definition: {', '.join(informational)}")


def selected_runs(patterns):
    """The runs in order; with patterns, only the cases that match them, in one run."""
    if not patterns:
        return [{name: RUNS[name] for name in group} for group in ORDER]
    return [{"selected": patterns}]


def run_all(options, url):
    results, deadline = {}, time.monotonic() + TIME_LIMIT
    for group in selected_runs(options.cases):
        start = time.monotonic()
        clients = {name: fuzz(options, name, url, cases) for name, cases in group.items()}
        try:
            for name, client in clients.items():
                client.wait(max(1, deadline - time.monotonic()))
                results |= verdicts(options, name)
                print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{', '.join(clients)}: not done within {TIME_LIMIT} s")
        finally:
            for client in clients.values():
                client.kill()
    return results


def with_server(options):
    if url := os.environ.get("AUTOBAHN_URL"):
        return run_all(options, url)
    port = fanfare.free_port()
    # Sections 9 and 10 echo messages of 16 MiB; silence is part of some cases.
    server = fanfare.Fanfare(
        listener=[{"bind": f"127.0.0.1:{port}", "dialects": ["echo"]}],
        resp={"bind": ""},
        echo={"max_message_size": 32 << 20, "max_fragments": 100_000, "compression": True},
    )
    server.port = port
    try:
        server.start()
        results = run_all(options, f"ws://127.0.0.1:{port}/echo")
        server.stop()
        return results
    finally:
        server.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    results = with_server(options)
    print_table(results)
    bad = sorted((case for case in results if not passed(case, results[case])), key=by_number)
    for case in bad:
        print(f"FAILED {case}: behavior {results[case][0]}, close {results[case][1]}")
    if not options.cases and len(results) != CASES:
        print(f"FAILED: {len(results)} cases were run, of {CASES}")
        return 1
    if not results:
        print("FAILED: no case was run")
    print(f"\n{len(results) - len(bad)} passed, {len(bad)} failed")
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(main())
