#!/usr/bin/env python3
"""Compares Fanfare with other servers on this machine, and writes tables and plots.

    cargo build --release
    bench/compare/compare.py                                 # everything, about an hour
    bench/compare/compare.py --peers topics,axum --scenarios fanout-8,unicast
    bench/compare/compare.py --uwebsockets ~/uWebSockets     # a checkout with its submodule uSockets

It installs the peers into a folder of its own, starts them one after the other on the loopback interface, and drives each with
the same load generator (`fanfare bench peer`). It needs Linux, two cores, taskset (util-linux), Node.js, Cargo and, for the Debian packages
that the system lacks, apt-get. Run it on a machine that does nothing else.

The program under test is FANFARE_BIN, else what cargo built last. COMPARE_NODE_MODULES names a folder of npm packages to use.
"""

import argparse
import contextlib
import json
import pathlib
import resource
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import report  # noqa: E402
from install import Folder, Unavailable  # noqa: E402
from peers import PEERS, UWebSockets, binary  # noqa: E402
from scenarios import SCENARIOS, figures  # noqa: E402

ROUND_TIMEOUT = 300  # for one peer, besides the measured seconds


class GeneratorFailed(Exception):
    """The load generator could not measure."""


def names(known):
    """Parses a list of names that are keys of `known`."""

    def parse(text):
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(known)}")
        return chosen

    return parse


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), metavar="A,B", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--scenarios", type=names(SCENARIOS), default=list(SCENARIOS), metavar="A,B", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each scenario is repeated with each peer [3]")
    parser.add_argument("--seconds", type=float, default=3, help="the measured period of each [3]")
    parser.add_argument("--scale", type=float, default=1, help="scales the numbers of clients, to try it out [1]")
    parser.add_argument("--cores", default="0,1", help="the server's and the load generator's [0,1]")
    installed = HERE / "installed"
    parser.add_argument("--folder", type=pathlib.Path, default=installed, help="where peers are installed [bench/compare/installed]")
    parser.add_argument("--no-install", action="store_true", help="compare with what is installed already")
    parser.add_argument("--uwebsockets", type=pathlib.Path, metavar="DIR", help="a checkout of uWebSockets, which no registry offers")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("comparison"), help="where the results are written [comparison]")
    options = parser.parse_args()
    options.cores = options.cores.split(",")
    if len(options.cores) != 2 or options.rounds < 1 or options.seconds <= 0 or options.scale <= 0:
        parser.error("two cores, and positive numbers of rounds, seconds and scale")
    return options


def generate(plan, core):
    """Runs the load generator on its core. Returns what it printed."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        words = ["taskset", "-c", core, binary(), "bench", "peer", "--plan", file.name, "--json"]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=plan["seconds"] + ROUND_TIMEOUT,
            )
        except subprocess.TimeoutExpired as error:
            raise GeneratorFailed("the load generator did not end") from error
    if done.returncode:
        raise GeneratorFailed(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    return json.loads(done.stdout)


def measure(peer_class, scenario, options, folder):
    """Plays one round of a scenario with one peer."""
    peer = peer_class(folder, options.cores[0])
    with contextlib.ExitStack() as stack:
        stack.callback(peer.stop)
        return generate(scenario.plan(peer.start(), options.scale, options.seconds), options.cores[1])


def describe(folder, chosen):
    """Returns the facts about each peer. A peer that cannot be installed has a problem instead of a version."""
    found = {}
    for name in chosen:
        peer = PEERS[name]
        found[name] = {"title": peer.title, "lacks": peer.lacks, "version": None, "problem": None}
        try:
            found[name]["version"] = peer(folder, "0").version()
        except Unavailable as error:
            found[name]["problem"] = str(error)
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
    return found


def compare(scenario, options, folder, about):
    """Plays all rounds of a scenario; each round has one turn of every peer."""
    result = {name: {"rounds": [], "outcomes": [], "problems": [], "absent": None} for name in options.peers}
    for name, one in result.items():
        one["absent"] = about[name]["problem"] or PEERS[name].leaves_out(scenario)
    for number in range(options.rounds):
        for name, one in result.items():
            if one["absent"]:
                continue
            print(f"{scenario.name}, round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            try:
                outcome = measure(PEERS[name], scenario, options, folder)
                one["outcomes"].append(outcome)
                one["rounds"].append(figures(outcome, scenario.work))
                if outcome.get("stopped"):
                    one["problems"].append(f"round {number + 1} ended early: {outcome['stopped']}")
            except (GeneratorFailed, ValueError, AssertionError) as error:
                one["problems"].append(f"round {number + 1} failed: {error}")
                print(f"{name}: {error}", file=sys.stderr, flush=True)
    return result


def main():
    options = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the servers; the generator raises its own
    UWebSockets.source = options.uwebsockets
    folder = Folder(options.folder, not options.no_install)
    shown = {name: getattr(options, name) for name in ("rounds", "seconds", "scale", "cores")}
    results = {"machine": report.machine(), "options": shown, "optimised": "debug" not in pathlib.Path(binary()).parts}
    results |= {"peers": describe(folder, options.peers), "scenarios": {}}
    for name in options.scenarios:
        results["scenarios"][name] = compare(SCENARIOS[name], options, folder, results["peers"])
        report.write(options.out, results)  # after each scenario, so that an interrupted run keeps its results
    print(f"{options.out}/README.md")
    failed = [one for result in results["scenarios"].values() for one in result.values() if one["problems"]]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
