"""The test command on a machine that lacks a program, and its counts: it runs in a folder with stand-ins for the programs."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
E2E = ROOT / "e2e"
NODE_LINES = "ℹ tests 3\nℹ suites 0\nℹ pass {passed}\nℹ fail {failed}\nℹ cancelled 0\nℹ skipped {skipped}\nℹ todo 0\n"
TOOLS = ("bash", "sh", "env", "dirname", "sed", "awk", "grep", "sort", "head", "tail", "cut", "cat", "mktemp", "rm", "id", "sha256sum", "kill", "setpriv")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


class Machine:
    """A copy of the test command, with only the programs that it needs."""

    def __init__(self, folder):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        for name in ("test", "Cargo.toml", "e2e/package-lock.json", "e2e/requirements.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        for name in ("chromium", "redis-server", "redis-cli", "curl", "nats-server", "openssl", "pgbouncer", "nginx", "haproxy", "caddy", "prometheus", "pebble", "ip", "systemd-analyze", "systemd-nspawn"):
            self.program(name, "")
        self.program("cc", "cat >/dev/null")
        self.program("npm", "echo 9.2.0")
        self.program("python3", '[ "$1" = --version ] && echo Python 3.11.2; exit 0')
        self.suites(NODE_LINES.format(passed=3, failed=0, skipped=0), "5 passed, 1 skipped in 2.00s")
        for locked, installed in (("e2e/package-lock.json", "e2e/node_modules"), ("e2e/requirements.txt", ".venv")):
            digest = subprocess.run(["sha256sum", folder / locked], capture_output=True, text=True, check=True).stdout.split()[0]
            (folder / installed).mkdir(exist_ok=True)
            (folder / installed / ".stamp").write_text(digest)

    def program(self, name, script):
        path = self.bin / name if "/" not in name else self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def suites(self, javascript, python, code=0):
        """The output of the runners, and the result of the second."""
        self.program("node", f"[ \"$1\" = --version ] && echo v18.20.4 && exit\ncat <<'END'\n{javascript}\nEND")
        self.program(".venv/bin/python", f"[ \"$1\" = -c ] && exit\ncat <<'END'\n{python}\nEND\nexit {code}")

    def test(self, *arguments, **env):
        env = {"PATH": str(self.bin), "HOME": str(self.folder), "FANFARE_BIN": "/bin/true"} | env
        env = {name: value for name, value in env.items() if value is not None}
        return subprocess.run([self.folder / "test", *arguments], env=env, cwd=self.folder, capture_output=True, text=True, timeout=60)


def test_the_last_line_counts_all_tests(machine):
    done = machine.test("e2e")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "8 passed, 0 failed, 1 skipped"


@pytest.mark.parametrize("javascript, python, code, counted", [
    (NODE_LINES.format(passed=1, failed=1, skipped=1), "5 passed in 2.00s", 0, "6 passed, 1 failed, 1 skipped"),
    (NODE_LINES.format(passed=0, failed=0, skipped=3), "5 passed in 2.00s", 0, "5 passed, 1 failed, 3 skipped"),
    ("nothing at all", "5 passed in 2.00s", 0, "5 passed, 1 failed, 0 skipped"),
    (NODE_LINES.format(passed=3, failed=0, skipped=0), "no tests ran in 0.01s", 0, "3 passed, 1 failed, 0 skipped"),
    (NODE_LINES.format(passed=3, failed=0, skipped=0), "4 failed, 9 passed, 2 errors in 71.00s (0:01:11)", 1,
     "12 passed, 6 failed, 0 skipped"),
    (NODE_LINES.format(passed=3, failed=0, skipped=0), "9 passed in 71.00s (0:01:11)", 3, "12 passed, 1 failed, 0 skipped"),
])
def test_a_suite_that_failed_or_ran_nothing_fails(machine, javascript, python, code, counted):
    machine.suites(javascript, python, code)
    done = machine.test("e2e")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == counted
    assert "FAILED" in done.stdout


@pytest.mark.parametrize("name, script, expected", [
    ("node", "echo v16.20.2", "Node.js 16.20.2 is too old: 18.20 or newer is needed"),
    ("npm", "echo 6.14.4", "npm 6.14.4 is too old: 9 or newer is needed"),
    ("python3", "echo Python 3.9.2", "Python 3.9.2 is too old: 3.11 or newer is needed"),
    ("cargo", "echo cargo 1.60.0", "cargo 1.60.0 is too old: "),
    ("rustc", "echo rustc 1.60.0-nightly", "rustc 1.60.0 is too old: "),
    ("cargo", None, "cargo is missing: install Rust "),
])
def test_old_or_missing_programs_are_reported_before_the_build(machine, name, script, expected):
    for tool in ("cargo", "rustc"):
        machine.program(tool, f"[ \"$1\" = --version ] && echo {tool} 9.0.0 && exit; echo built >{machine.folder}/built")
    if script:
        machine.program(name, script)
    else:
        (machine.bin / name).unlink()
    done = machine.test(FANFARE_BIN=None)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"test: {expected}") and ("install" in line or "rustup" in line)
    assert not (machine.folder / "built").exists()


@pytest.mark.parametrize("missing, package", [("node", "nodejs"), ("redis-server", "redis-server"), ("chromium", "chromium")])
def test_a_missing_package_is_named_where_it_cannot_be_installed(machine, missing, package):
    (machine.bin / missing).unlink()
    done = machine.test("e2e")
    assert done.returncode == 2
    assert done.stderr == f"test: missing: {package} (Debian's names); install them with this system's package manager\n"


def test_every_npm_package_runs_on_the_oldest_node():
    """Debian's npm installs a package whose required Node is newer; the package fails when it is imported."""
    oldest = re.search(r"^node=([\d.]+)", (ROOT / "test").read_text(), re.M)[1]
    assert json.loads((E2E / "package.json").read_text())["engines"]["node"] == f">={oldest}"
    wanted = {}
    for name, package in json.loads((E2E / "package-lock.json").read_text())["packages"].items():
        if found := re.fullmatch(r">= ?([\d.]+)", package.get("engines", {}).get("node", ">=0")):
            wanted[name] = found[1]
        else:
            raise AssertionError(f"{name}: cannot read its engines: {package['engines']}")
    number = lambda version: [int(part) for part in version.split(".")]
    assert not {name: version for name, version in wanted.items() if number(version) > number(oldest)}


def test_the_versions_are_documented():
    line = re.search(r"^node=(\S+) npm=(\S+) python=(\S+)$", (ROOT / "test").read_text(), re.M)
    rust = re.search(r'^rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    for named in (f"Node.js {line[1]}", f"npm {line[2]}", f"Python {line[3]}", f"Rust {rust[1]}"):
        assert named in guide, named
