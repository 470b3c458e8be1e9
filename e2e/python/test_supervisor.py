"""The service manager's interface: systemd's notifications, and the sockets that the server receives."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

import fanfare
from conftest import Client
from fanfare import free_port, token, toml, wait_until


@pytest.fixture
def manager(tmp_path):
    """A socket that receives notifications; `messages` has them, each as a list of its lines."""

    class Manager:
        def __init__(self):
            self.path = str(tmp_path / "notify")
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(self.path)
            self.socket.setblocking(False)
            self.messages = []

        def has(self, line):
            try:
                while True:
                    self.messages.append(self.socket.recv(4096).decode().splitlines())
            except BlockingIOError:
                return any(line in message for message in self.messages)

        def await_(self, line):
            wait_until(lambda: self.has(line), what=line)

    made = Manager()
    yield made
    made.socket.close()


def test_notifications(launch, manager):
    server = launch(env={"NOTIFY_SOCKET": manager.path})
    manager.await_("READY=1")
    assert manager.messages == [["READY=1"]], "no message is sent before the server serves, and no watchdog was asked for"
    server.signal(signal.SIGHUP)
    manager.await_("RELOADING=1")
    wait_until(lambda: manager.has("READY=1") and len(manager.messages) == 3, what="the end of the reload")
    assert manager.messages[1][0] == "RELOADING=1" and manager.messages[1][1].startswith("MONOTONIC_USEC=")
    assert manager.messages[2] == ["READY=1"]
    client = Client(server.ws("ann"))
    server.signal(signal.SIGTERM)
    assert client.closed()[0] == 1001
    manager.await_("STOPPING=1")
    assert server.wait() == 0


def test_a_reload_of_a_broken_file_ends_too(launch, manager):
    server = launch(env={"NOTIFY_SOCKET": manager.path})
    manager.await_("READY=1")
    server.config_file.write_text("nonsense = 1\n")
    server.signal(signal.SIGHUP)
    wait_until(lambda: manager.has("RELOADING=1") and manager.messages[-1] == ["READY=1"], what="the end of the reload")
    assert "nothing is changed" in server.log()


def test_the_watchdog_is_fed(launch, manager):
    server = launch(env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000"})
    wait_until(lambda: manager.has("WATCHDOG=1") and manager.messages.count(["WATCHDOG=1"]) >= 3, what="three signs of life")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        state = lambda: pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        wait_until(lambda: state() == "T", what="a process that is stopped")
        manager.has("")
        before = manager.messages.count(["WATCHDOG=1"])
        with pytest.raises(AssertionError):
            wait_until(lambda: manager.has("") or manager.messages.count(["WATCHDOG=1"]) > before, timeout=1.5)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    wait_until(lambda: manager.has("") or manager.messages.count(["WATCHDOG=1"]) > before, what="another sign of life")


# Passes descriptor 3 on, as a service manager does; LISTEN_PID must be the server's.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def activated(folder, listener, bind):
    """A server that receives this socket from its service manager, and whose only listener has this address; and its log."""
    config = {
        "data_dir": str(folder / "data"), "auth": {"jwt_secret": fanfare.SECRET}, "resp": {"bind": ""},
        "listener": [{"bind": bind, "dialects": ["notify"]}], "server": {"shards": 2},
    }
    file, log = folder / "fanfare.toml", folder / "log"
    file.write_text(toml(config))
    command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), fanfare.binary(), "serve", "--config", str(file)]
    with open(log, "ab") as out:
        streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
        return subprocess.Popen(command, pass_fds=[listener.fileno()], env=fanfare.environment(), **streams), log


def test_a_passed_socket_is_taken_and_keeps_its_queue(tmp_path):
    port = free_port()
    listener = socket.create_server(("127.0.0.1", port), backlog=16)
    waiting = socket.create_connection(("127.0.0.1", port))  # before any server runs
    waiting.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    for _ in range(2):  # a restarted server gets the same socket
        process, log = activated(tmp_path, listener, f"127.0.0.1:{port}")
        try:
            waiting.settimeout(30)
            assert waiting.recv(1000).startswith(b"HTTP/1.1 200"), log.read_text()
            clients = [Client(f"ws://127.0.0.1:{port}/ws?token={token('ann')}") for _ in range(4)]
            for client in clients:
                client.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
        waiting.close()
        waiting = socket.create_connection(("127.0.0.1", port))  # the port is open while no server runs
        waiting.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    waiting.close()
    listener.close()
    assert "no listener of the configuration" not in log.read_text()


def every_address():
    """The address of `ListenStream=PORT` in a socket unit."""
    return socket.create_server(("", free_port()), family=socket.AF_INET6, dualstack_ipv6=True)


def test_a_passed_socket_of_every_address(tmp_path):
    with every_address() as listener:
        port = listener.getsockname()[1]
        process, log = activated(tmp_path, listener, f"[::]:{port}")
        try:
            wait_until(lambda: f"[::]:{port}" in log.read_text(), what="a server that listens")
            for host in ("127.0.0.1", "[::1]"):
                Client(f"ws://{host}:{port}/ws?token={token('ann')}").close()
        finally:
            process.kill()
            process.wait()


def test_a_passed_socket_of_another_address_is_named(tmp_path):
    with every_address() as listener:
        port = listener.getsockname()[1]
        process, log = activated(tmp_path, listener, f"0.0.0.0:{port}")
        assert process.wait(30) == 1
        assert f"the service manager passed [::]:{port}: set both to the same address" in log.read_text()
