"""The units of `deploy/systemd` under a real systemd, which is the first process of a container (systemd-nspawn) with this machine's files:
with all restrictions, started, reloaded, misconfigured, killed, hung, and on a port below 1024."""

import pathlib
import re
import shutil
import subprocess

import pytest

from fanfare import ROOT, SECRET, binary, program, wait_until

DEPLOY = ROOT / "deploy"
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
rm -f "$1/root/etc/machine-id"
echo 0123456789abcdef0123456789abcdef > "$1/root/etc/machine-id"
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --bind-ro="$2:/usr/local/bin/fanfare" \\
    --bind-ro="$3:/mnt" -D "$1/root" -- /lib/systemd/systemd --unit=basic.target
"""
# Its processes end with it, and it ends with the tests.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")
WAY = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """A copy of this machine that runs systemd. Its changes are not kept."""

    def __init__(self, folder):
        program("systemd-container", "systemd-nspawn")
        self.shared, self.log = folder / "shared", folder / "log"
        self.shared.mkdir()
        (folder / "disk").mkdir()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*ALONE, "sh", "-c", BOOT, "sh", str(folder / "disk"), binary(), str(self.shared)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": WAY},
            )

    def first_process(self):
        """Its process id outside; `None` while there is none."""
        found = [str(self.process.pid)]
        while found:
            number = found.pop()
            try:
                if pathlib.Path(f"/proc/{number}/comm").read_text() == "systemd\n":
                    return number
                found += pathlib.Path(f"/proc/{number}/task/{number}/children").read_text().split()
            except FileNotFoundError:
                continue
        return None

    def boots(self):
        """Whether systemd has started. If it cannot, such as in a chroot, the container ends or hangs."""
        try:
            wait_until(lambda: self.process.poll() is not None or self.run("systemctl is-active basic.target").stdout == "active\n", 60)
        except AssertionError:
            return False
        return self.process.poll() is None

    def run(self, command, check=False):
        leader = self.first_process()
        if leader is None:
            return subprocess.CompletedProcess(command, 1, "", "no first process")
        enter = ["nsenter", "--target", leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wd=/"]
        done = subprocess.run(
            [*enter, "sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            env={"PATH": WAY, "HOME": "/root"},
        )
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr, self.journal())
        return done

    def journal(self):
        return self.run("journalctl --no-pager -o cat -u fanfare").stdout

    def state(self, *names):
        shown = self.run("systemctl show fanfare").stdout
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return [values[name] for name in names]

    def is_there_again(self):
        """After at least one restart by systemd."""
        restarts, state = self.state("NRestarts", "ActiveState")
        return int(restarts) > 0 and state == "active"

    def install(self, path, text):
        (self.shared / "file").write_text(text)
        self.run(f"cp /mnt/file {path}", check=True)

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()  # and so all others inside
            self.process.wait(20)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("systemd")
    made = Machine(folder)
    try:
        if not made.boots():
            pytest.skip(f"systemd does not start in a container here: {made.log.read_text(errors='replace')[-300:]}")
        made.run("useradd --system --home-dir /var/lib/fanfare --shell /usr/sbin/nologin fanfare", check=True)
        made.run("install -d -m 750 -g fanfare /etc/fanfare", check=True)
        made.install("/etc/fanfare/jwt_secret", SECRET)
        made.run("chgrp fanfare /etc/fanfare/jwt_secret && chmod 640 /etc/fanfare/jwt_secret", check=True)
        yield made
    finally:
        made.remove()
        shutil.rmtree(folder, ignore_errors=True)


AS_SERVER = "runuser -u fanfare -- fanfare --config /etc/fanfare/fanfare.toml"


@pytest.fixture
def started(machine):
    """The unit and the configuration of `deploy/`, unchanged and running."""
    machine.run("systemctl disable --now fanfare.socket; systemctl stop fanfare; rm -rf /etc/systemd/system/fanfare.*; systemctl reset-failed fanfare")
    for name in ("fanfare.service", "fanfare.socket"):
        machine.install(f"/etc/systemd/system/{name}", (DEPLOY / "systemd" / name).read_text())
    machine.install("/etc/fanfare/fanfare.toml", (DEPLOY / "fanfare.toml").read_text())
    machine.run("systemctl daemon-reload && systemctl start fanfare", check=True)
    return machine


def test_it_serves_with_all_its_restrictions(started):
    assert started.run(f"{AS_SERVER} ready", check=True).stdout == "ready\n"
    assert "ff_" in started.run(f"{AS_SERVER} key create backend --scope publish", check=True).stdout
    [number] = started.state("MainPID")
    status = dict(line.split(":\t", 1) for line in started.run(f"cat /proc/{number}/status").stdout.splitlines() if ":\t" in line)
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]) == (0, 0, "1", "2")


def test_a_reload_and_a_restart_with_a_wrong_file(started):
    text = (DEPLOY / "fanfare.toml").read_text()
    started.install("/etc/fanfare/fanfare.toml", text.replace("[limits]", "[limits]\nburst = 50"))
    started.run("systemctl reload fanfare", check=True)
    wait_until(lambda: "changed: limits.burst" in started.journal(), what="the report of the reload")
    started.install("/etc/fanfare/fanfare.toml", text + "nonsense = 1\n")
    started.run("systemctl reload fanfare")
    wait_until(lambda: "nothing is changed" in started.journal(), what="the report of the errors")
    assert started.state("ActiveState") == ["active"]
    assert started.run("systemctl restart fanfare").returncode != 0
    assert started.state("ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "2", "0"], "starting again does not help"


def test_it_is_started_again_after_a_crash_and_when_it_hangs(started):
    [number] = started.state("MainPID")
    started.run(f"kill -KILL {number}", check=True)
    wait_until(started.is_there_again, what="a server that is there again")
    started.run("mkdir -p /etc/systemd/system/fanfare.service.d", check=True)
    sooner = "[Service]\nWatchdogSec=6s\nTimeoutAbortSec=1s\n"
    started.install("/etc/systemd/system/fanfare.service.d/sooner.conf", sooner)
    started.run("systemctl daemon-reload && systemctl restart fanfare", check=True)
    [number] = started.state("MainPID")
    started.run(f"kill -STOP {number}", check=True)
    wait_until(started.is_there_again, 60, what="a server instead of the one that hung")
    assert "Watchdog timeout" in started.run("journalctl --no-pager -o cat _PID=1").stdout


LOW_PORT = """
data_dir = "/var/lib/fanfare"
[[listener]]
bind = "[::]:443"
dialects = ["notify"]
[auth]
jwt_secret_file = "/etc/fanfare/jwt_secret"
allowed_origins = ["https://app.example.com"]
"""


def test_a_port_below_1024_by_the_socket_unit(started):
    started.install("/etc/fanfare/fanfare.toml", LOW_PORT)
    text = (DEPLOY / "systemd/fanfare.socket").read_text()
    first, *others = re.findall(r"^ListenStream=.*\n", text, re.M)
    for line in others:
        text = text.replace(line, "")
    started.install("/etc/systemd/system/fanfare.socket", text.replace(first, "ListenStream=443\n"))
    [command] = re.findall(r"`(systemctl .*)`", text)
    started.run(f"systemctl daemon-reload && {command}", check=True)
    assert started.run("fanfare ready --url http://127.0.0.1:443").stdout == "ready\n"
    # While the server is down, the socket holds a client, whose connection starts it.
    started.run("systemctl stop fanfare", check=True)
    assert started.run("fanfare ready --url http://[::1]:443").stdout == "ready\n"
    assert started.state("ActiveState") == ["active"]
