"""Exhausted resources: descriptors, ports, disk; and clients that vanish."""

import contextlib
import os
import resource
import socket
import stat
import subprocess
import time

import pytest

from conftest import health_check, message
from fanfare import SECRET, Fanfare, free_port, token, wait_until
from wire import upgraded

RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def descriptors():
    """Raises this process' limit to its maximum; servers that are started from now on inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def test_the_server_survives_five_thousand_vanishing_clients(launch, connect, publisher):
    count = min(5000, descriptors() - 500)
    server = launch()
    check = health_check(server, connect, publisher)
    peers = [upgraded(server.port, token(f"user{n % 1000}")) for n in range(count)]
    assert server.connections() == count + 1
    for peer in peers:
        peer.setsockopt(*RESET_ON_CLOSE)
        peer.close()
    wait_until(lambda: server.connections() == 1, timeout=30, what="the vanished forgotten")
    check()


def test_the_server_survives_clients_that_vanish_during_writes(server, healthy, publisher):
    backend = publisher(server.resp_port)
    peers = [upgraded(server.port, token("crowd")) for _ in range(200)]
    for peer in peers:
        backend.publish("user_noti:crowd", message("x" * 10_000))
        peer.setsockopt(*RESET_ON_CLOSE)
        peer.close()
    healthy()


def test_without_free_descriptors_new_clients_wait(launch, connect, publisher):
    """With none left, new clients wait; the process does not spin, serves existing clients, and recovers."""
    server = launch(descriptors=256)
    client, backend = connect(server, "ann"), publisher(server.resp_port)
    backend.ping()
    crowd = []
    for _ in range(400):
        with contextlib.suppress(OSError):
            crowd.append(socket.create_connection(("127.0.0.1", server.port), 1))
    time.sleep(0.5)
    before = server.cpu_seconds()
    time.sleep(2)
    assert server.cpu_seconds() - before < 1.0
    assert backend.publish("user_noti:ann", message("still here")) == 1
    assert client.next_json()["payload"] == "still here"

    for peer in crowd:
        peer.close()
    newest = wait_until(lambda: try_to(lambda: connect(server, "ann")), what="room for a new client")
    assert backend.publish("user_noti:ann", message("again")) == 2
    assert newest.next_json()["payload"] == "again"


def try_to(action):
    with contextlib.suppress(OSError, TimeoutError):
        return action()


# --- ports ---


def test_a_port_of_another_program_ends_the_start(attempt):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code, log = attempt(listener=[{"bind": f"127.0.0.1:{port}", "dialects": ["notify"]}])
    assert code == 1
    assert f"127.0.0.1:{port}" in log and "panicked" not in log


def test_a_port_of_another_fanfare_ends_the_start(attempt, server, healthy):
    """Both use SO_REUSEPORT inside; even so, the second must not take half of the first one's clients."""
    code, log = attempt(listener=[{"bind": f"127.0.0.1:{server.port}", "dialects": ["notify"]}])
    assert code == 1
    assert f"127.0.0.1:{server.port}" in log
    healthy()


def test_a_door_port_of_another_program_ends_the_start(attempt):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code, log = attempt(resp={"bind": f"127.0.0.1:{port}"})
    assert code == 1
    assert f"127.0.0.1:{port}" in log and "panicked" not in log


def test_the_same_port_twice_ends_the_start(attempt):
    bind = f"127.0.0.1:{free_port()}"
    code, _ = attempt(listener=[{"bind": bind, "dialects": ["notify"]}, {"bind": bind, "dialects": ["realtime"]}])
    assert code in (1, 2)


def test_a_restart_takes_its_port_at_once(cleanup, connect):
    """Connections of the first server are in TIME_WAIT when the second one binds."""
    server = Fanfare()
    cleanup.callback(server.kill)
    for _ in range(3):
        server.start()
        connect(server, "ann")
        server.stop()


# --- the data folder ---


def test_the_first_start_creates_a_secret_and_keeps_it(cleanup, connect):
    server = Fanfare(auth=None)
    cleanup.callback(server.kill)
    server.start()
    secrets = [path for path in (server.folder / "data").rglob("*") if "secret" in path.name]
    assert len(secrets) == 1
    assert stat.S_IMODE(secrets[0].stat().st_mode) == 0o600
    text = secrets[0].read_text().strip()
    assert len(text) >= 32 and text not in server.log()
    assert "secret" in server.log().lower()
    server.stop()
    server.start()
    assert secrets[0].read_text().strip() == text
    server.stop()


def test_the_production_profile_requires_a_secret(attempt):
    code, log = attempt(auth=None, arguments=("--profile", "production"))
    assert code == 2
    assert "secret" in log


def test_a_data_folder_that_cannot_be_made(attempt, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, log = attempt(auth=None, data_dir=str(tmp_path / "file" / "data"))
    assert code in (1, 2)
    assert str(tmp_path) in log and "panicked" not in log


def test_a_data_folder_that_cannot_be_written(attempt, tmp_path):
    tmp_path.chmod(0o500)
    # Without these capabilities, root is also bound by the modes of its files.
    bound = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    code, log = attempt(auth=None, data_dir=str(tmp_path / "data"), wrapper=bound)
    assert code in (1, 2)
    assert str(tmp_path) in log and "panicked" not in log


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a full file system; only root can make one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        with contextlib.suppress(OSError), open(tmp_path / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield tmp_path
    finally:
        # The server may have its database there; it is ended after this.
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_at_the_first_start(attempt, full_disk):
    """Without room for the secret the server does not start: a new secret at each start would end all logins."""
    code, log = attempt(auth=None, data_dir=str(full_disk / "data"))
    assert code in (1, 2)
    assert str(full_disk) in log and "panicked" not in log
    leftovers = [p for p in full_disk.rglob("*") if p.is_file() and "secret" in p.name]
    assert leftovers == []  # half a secret must not be used as one at the next start


def test_a_full_disk_does_not_matter_where_nothing_is_stored(launch, connect, publisher, full_disk):
    server = launch(data_dir=str(full_disk), auth={"jwt_secret": SECRET})
    health_check(server, connect, publisher)()
