"""Writes the results: JSON, a page of Markdown, and a plot for each scenario."""

import json
import os
import pathlib
import platform
import statistics

import plot
from scenarios import FIGURES, SCENARIOS


def machine():
    """Returns the facts about the machine that the system reports."""
    found = {"system": platform.platform(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            found["processor"] = line.split(":", 1)[1].strip()
            break
    meminfo = pathlib.Path("/proc/meminfo").read_text().split()
    return found | {"memory_gib": round(int(meminfo[1]) / 2**20, 1)}


def summary(rounds):
    """Returns each figure's median, lowest and highest value over the rounds."""
    values = {name: [one[name] for one in rounds] for name in rounds[0]}
    return {name: {"median": statistics.median(all), "lowest": min(all), "highest": max(all)} for name, all in values.items()}


def number(value, digits):
    return f"{value:,.{digits}f}"


def cell(figure, digits):
    """Formats a median, with its spread if the rounds differ."""
    shown = [number(figure[name], digits) for name in ("median", "lowest", "highest")]
    return shown[0] if len(set(shown)) == 1 else f"{shown[0]} ({shown[1]} – {shown[2]})"


def table(scenario, result, peers):
    """Returns the table of one scenario, the best row first. Each peer that is missing or not comparable has a footnote."""
    columns = FIGURES[scenario.work]
    rows = [(name, summary(one["rounds"])) for name, one in result.items() if one["rounds"]]
    rows.sort(key=lambda row: row[1][columns[0][0]]["median"])
    notes = list(dict.fromkeys(peers[name]["lacks"] for name, _ in rows if peers[name]["lacks"]))
    lines = ["| | " + " | ".join(heading for _, heading, _ in columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, found in rows:
        lacks = peers[name]["lacks"]
        note = f" [{notes.index(lacks) + 1}]" if lacks else ""
        lines.append(f"| {peers[name]['title']}{note} | " + " | ".join(cell(found[key], digits) for key, _, digits in columns) + " |")
    lines += ["", *(f"{index}. Not comparable: {note}" for index, note in enumerate(notes, 1))]
    for name, one in result.items():
        if one.get("absent"):
            lines.append(f"- {peers[name]['title']} has no row: {one['absent']}.")
        for problem in one["problems"]:
            lines.append(f"- {peers[name]['title']}: {problem}")
    return lines


def markdown(results):
    about, options = results["machine"], results["options"]
    lines = [
        "# Comparison", "",
        f"{about.get('processor', 'unknown processor')}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}. "
        f"Server on core {options['cores'][0]}, load generator on core {options['cores'][1]}. Medians of {options['rounds']} rounds of "
        f"{options['seconds']} s, the peers in turn within each round (lowest – highest in parentheses).",
    ]
    if options["scale"] != 1:
        lines += ["", f"**Scaled by {options['scale']}: the numbers of clients in the titles are not those that were there.**"]
    if not results["optimised"]:
        lines += ["", "**This fanfare is a debug build: its figures mean nothing.**"]
    if about["load"] > 0.5:
        lines += ["", f"**The machine had a load of {about['load']} before the run: the figures are not good.**"]
    lines += ["", "| | version |", "|---|---|"]
    lines += [f"| {peer['title']} | {peer['version']} |" for peer in results["peers"].values() if peer["version"]]
    for name, result in results["scenarios"].items():
        scenario = SCENARIOS[name]
        lines += ["", f"## {scenario.title}", ""]
        if any(one["rounds"] for one in result.values()):
            lines += [f"![{scenario.title}]({name}.svg)", ""]
        lines += table(scenario, result, results["peers"])
    return "\n".join(lines) + "\n"


def write(folder, results):
    """Writes results.json, README.md and the plots into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "README.md").write_text(markdown(results))
    for name, result in results["scenarios"].items():
        scenario = SCENARIOS[name]
        key, heading, digits = FIGURES[scenario.work][0]
        bars = []
        for peer, one in result.items():
            if one["rounds"]:
                found = summary(one["rounds"])
                parts = [found[part]["median"] for part in ("user", "system") if part in found]
                title = results["peers"][peer]["title"]
                bars.append(plot.Bar(title, parts or [found[key]["median"]], found[key], title.startswith("Fanfare")))
        if bars:
            bars.sort(key=lambda bar: bar.spread["median"])
            (folder / f"{name}.svg").write_text(plot.chart(scenario.title, heading, bars, digits))
