"""A container, as the server sees one: it is the first process; its root is read-only and has no shell, no temporary folder, only the
program and its configuration; it has its own network and user. Made by `unshare`, without a container engine."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

from fanfare import binary, program, wait_until

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENTER = """
set -e
root=$1; shift
ip link set lo up
mount --bind "$root" "$root"
mount --bind "$root.data" "$root/var/lib/fanfare"
for device in null random urandom; do mount --bind "/dev/$device" "$root/dev/$device"; done
mount -o remount,ro,bind "$root" "$root"
cd "$root"
exec chroot "$root" "$@"
"""

NAMESPACES = ("--user", "--map-root-user", "--mount", "--pid", "--net")


def container_refusal():
    """The reason why no container can be made, such as a chroot; empty if one can."""
    done = subprocess.run([program("util-linux", "unshare"), *NAMESPACES, "--fork", "true"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


class Container:
    """`files` has the text of each file by its path inside. `data` is the folder that is mounted at /var/lib/fanfare."""

    def __init__(self, files):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="container-"))
        self.root, self.data = self.folder / "root", self.folder / "root.data"
        for path in (self.root / "usr/local/bin", self.root / "var/lib/fanfare", self.root / "proc", self.root / "dev", self.data):
            path.mkdir(parents=True)
        for device in ("null", "random", "urandom"):  # every engine provides these
            (self.root / "dev" / device).touch()
        shutil.copy(binary(), self.root / "usr/local/bin/fanfare")
        for library in re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", binary()], capture_output=True, text=True).stdout):
            self._copy(library)
        for path, text in files.items():
            self.path(path).parent.mkdir(parents=True, exist_ok=True)
            self.path(path).write_text(text)
        self.process = None

    def _copy(self, library):
        target = self.path(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)

    def path(self, inside):
        return self.root / inside.lstrip("/")

    def start(self, command, **env):
        """Runs `command` with only these variables."""
        unshare = [program("util-linux", "unshare"), *NAMESPACES, "--fork", "--kill-child"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*unshare, "sh", "-c", ENTER, "sh", str(self.root), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": SYSTEM_PATH} | env,
            )
        return self

    def first_process(self):
        """Its process id outside."""
        unshare = self.process.pid
        [child] = pathlib.Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        return int(child)

    def execute(self, *command, **env):
        """Runs another command inside, as `docker exec` does."""
        inside = ["--target", str(self.first_process()), "--user", "--preserve-credentials", "--mount", "--net", "--pid", "--root", "--wd"]
        return subprocess.run(
            [program("util-linux", "nsenter"), *inside, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env={"PATH": SYSTEM_PATH} | env,
        )

    def waits_for(self, text):
        def logged():
            assert self.process.poll() is None, self.log()
            return text in self.log()

        wait_until(logged, what=f"{text!r} in the log")

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def stop(self):
        """Sends SIGTERM to the first process, and returns its exit code."""
        os.kill(self.first_process(), signal.SIGTERM)
        return self.process.wait(30)

    def remove(self):
        if self.process and self.process.poll() is None:
            self.process.kill()  # which ends the first process and with it all others
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
