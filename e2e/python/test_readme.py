"""The commands of the README's first run do what the README says."""

import json
import re
import subprocess

import pytest
import websockets.sync.client

from fanfare import ROOT, binary, environment

README = (ROOT / "README.md").read_text()
FIRST = re.search(r"^## The first.*?(?=^## )", README, re.M | re.S)[0]
# The indented blocks, and the lines of the browser's.
LINES = re.findall(r"^    (\S.*)$", FIRST, re.M)
PROGRAM = "./target/release/fanfare "


def only(start):
    [line] = [line for line in LINES if line.startswith(start)]
    return line


@pytest.fixture
def server(launch):
    """What `cargo run --release` starts, on free ports: it makes its own secret."""
    assert only("cargo run --release")
    return launch(auth=None)


@pytest.fixture
def run(server):
    def command(line):
        """The process of a line of the README, in the server's folder instead of the checkout."""
        line = line.replace(PROGRAM, binary() + " ").replace("localhost:8081", f"127.0.0.1:{server.port}")
        line = line.replace("redis-cli ", f"redis-cli -p {server.resp_port} ")
        return subprocess.Popen(
            line, shell=True, text=True, cwd=server.folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    return command


def without_time(text):
    return re.sub(r'"timestamp":"[^"]*"', '"timestamp":""', text.strip())


def test_what_is_published_is_printed(run):
    with run("exec " + only(f"{PROGRAM}listen") + " --count 1") as listening:
        assert listening.stderr.readline().startswith("listening")
        assert run(only(f"{PROGRAM}publish")).wait(20) == 0
        printed, _ = listening.communicate(timeout=20)
    assert without_time(printed) == without_time(only('{"type"'))


def test_the_commands_of_the_readme_deliver_an_event_to_a_browser(server, run):
    token, _ = run(re.search(r"`(\./target/release/fanfare token [^`]*)`", FIRST)[1]).communicate(timeout=20)
    address = re.search(r'new WebSocket\("(.*)"\)', FIRST)[1]
    address = address.replace("localhost:8081", f"127.0.0.1:{server.port}").replace("TOKEN", token.strip())
    with websockets.sync.client.connect(address) as client:
        for backend in ("redis-cli PUBLISH", "curl "):
            assert run(only(backend)).wait(20) == 0
            event = json.loads(client.recv(timeout=10))
            assert (event["type"], event["payload"]) == ("greeting", {"title": "Hello"}), backend
