"""`fanfare top` against a running server: once as text, and live on a terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

import pytest

import fanfare


def test_once_prints_all_nodes(server, connect):
    connect(server, "ann")
    done = fanfare.run("top", "--once", "--url", f"http://127.0.0.1:{server.port}")
    assert done.returncode == 0, done.stderr
    assert "1 nodes" in done.stdout and "ann" in done.stdout and "embedded" in done.stdout
    assert "events in 0   messages out" in done.stdout and "..." not in done.stdout and "quits" not in done.stdout
    lines = done.stdout.split("\n")
    assert lines.pop() == "" and lines[-1], "no empty lines at the end"
    assert lines.count("") == 1, "one below the totals"


def test_without_a_server():
    done = fanfare.run("top", "--once", "--url", f"http://127.0.0.1:{fanfare.free_port()}")
    assert done.returncode == 1 and "cannot reach the server" in done.stderr


def test_without_a_key(launch):
    server = launch(api={"keys": ["a-key-for-operators-0123456789"]})
    done = fanfare.run("top", "--once", "--url", f"http://127.0.0.1:{server.port}", "--key", "wrong")
    assert done.returncode == 1 and "401" in done.stderr and "scope read" in done.stderr


@pytest.mark.parametrize("key", [b"q", b"\x1b", b"\x03"])
def test_live_on_a_terminal(server, key):
    """It draws, and a key ends it and restores the terminal."""
    process, terminal = pty.fork()
    if process == 0:
        arguments = ["fanfare", "top", "--url", f"http://127.0.0.1:{server.port}", "--every", "1"]
        os.execve(fanfare.binary(), arguments, fanfare.environment(TERM="xterm"))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    drawn, deadline = b"", time.monotonic() + 30
    try:
        while b"Dialects" not in drawn or b"notify" not in drawn:
            assert time.monotonic() < deadline, drawn
            if select.select([terminal], [], [], 0.2)[0]:
                drawn += os.read(terminal, 65536)
        os.write(terminal, key)
        code = None
        while code is None:
            assert time.monotonic() < deadline, drawn
            ended, status = os.waitpid(process, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if ended else None
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    drawn += os.read(terminal, 65536)
                except OSError:
                    pass  # the other end is closed
        process = None
    finally:
        if process:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        os.close(terminal)
    assert code == 0 and b"\x1b[?1049l" in drawn
