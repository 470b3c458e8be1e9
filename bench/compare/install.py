"""Installs peers into one folder, and changes nothing outside of it. A peer that is installed already is kept."""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NODE_PACKAGES = ("ws", "socket.io")


class Unavailable(Exception):
    """The peer cannot be installed on this machine."""


def command(*words, cwd=None, env=None):
    """Runs a command to its end. Returns what it printed."""
    try:
        done = subprocess.run(
            [str(word) for word in words], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
    except OSError as error:
        raise Unavailable(f"{words[0]}: {error}") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(map(str, words))}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout.strip()


class Folder:
    """The folder in which peers are installed."""

    def __init__(self, path, may_install=True):
        self.path, self.may_install = pathlib.Path(path).resolve(), may_install
        self.path.mkdir(parents=True, exist_ok=True)

    def make(self, made, what, *words, **options):
        """Runs a command that makes the file `made`, unless the file exists."""
        if made.exists():
            return made
        if not self.may_install:
            raise Unavailable(f"{what} is not installed")
        print(f"installing {what}", file=sys.stderr, flush=True)
        command(*words, **options)
        if not made.exists():
            raise Unavailable(f"{what}: {' '.join(map(str, words))} did not make {made}")
        return made

    def node_modules(self, package):
        """Returns the folder of the npm package."""
        given = os.environ.get("COMPARE_NODE_MODULES")
        if given and (pathlib.Path(given) / package).exists():
            return pathlib.Path(given)
        modules = self.path / "npm" / "node_modules"
        install = ("npm", "install", "--prefix", self.path / "npm", "--no-audit", "--no-fund", *NODE_PACKAGES)
        self.make(modules / package, package, *install)
        return modules

    def python(self, package):
        """Returns a Python interpreter that has the PyPI package."""
        interpreter = self.path / "venv" / "bin" / "python"
        self.make(interpreter, "a Python environment", sys.executable, "-m", "venv", self.path / "venv")
        mark = self.path / "venv" / f".{package}"
        if not mark.exists():
            install = f'"{interpreter}" -m pip install -q --disable-pip-version-check {package} && : >"{mark}"'
            self.make(mark, package, "sh", "-c", install)
        return interpreter

    def debian(self, package, program):
        """Returns the path of a Debian package's program, and the environment to run it in. Unpacks the package here if the system lacks it."""
        for folder in (*os.environ.get("PATH", os.defpath).split(":"), "/usr/sbin"):
            if (path := pathlib.Path(folder) / program).exists():
                return path, os.environ
        root = self.path / package
        archives = root / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        # With the dependencies that the system lacks.
        download = "apt-get -qq -y --no-install-recommends --download-only -o Debug::NoLocking=1"
        script = f'{download} -o Dir::Cache::archives="$1" install {package} && for one in "$1"/*.deb; do dpkg -x "$one" "$2"; done'
        path = self.make(root / "usr" / "sbin" / program, package, "sh", "-c", script, "sh", archives, root)
        libraries = [*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")]
        return path, os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}

    def axum(self):
        """Builds the Cargo project beside this file. Returns its program."""
        target = self.path / "axum"
        build = ("cargo", "build", "--release", "--locked", "--manifest-path", HERE / "axum" / "Cargo.toml", "--target-dir", target)
        return self.make(target / "release" / "compare-axum", "axum", *build)

    def cargo(self, package, version):
        """Installs a package of crates.io. Returns its program."""
        root = self.path / package
        install = ("cargo", "install", package, "--version", version, "--locked", "--root", root)
        return self.make(root / "bin" / package, package, *install)

    def uwebsockets(self, source):
        """Compiles a server with a checkout of uWebSockets and its submodule uSockets, without TLS and compression. Returns the program."""
        source = pathlib.Path(source).resolve()
        sockets = source / "uSockets" / "src"
        if not (sockets / "libusockets.h").exists():
            raise Unavailable(f"{source} has no uSockets: git submodule update --init uSockets")
        script = """
            set -e; mkdir -p objects; cd objects
            cc -O3 -flto -DLIBUS_NO_SSL -I "$1/uSockets/src" -c "$1"/uSockets/src/*.c "$1"/uSockets/src/eventing/*.c
            c++ -O3 -flto -std=c++20 -DLIBUS_NO_SSL -DUWS_NO_ZLIB -I "$1/src" -I "$1/uSockets/src" "$2" *.o -o ../uwebsockets
        """
        root = self.path / "uwebsockets"
        root.mkdir(exist_ok=True)
        words = ("sh", "-c", script, "sh", source, HERE / "servers" / "uwebsockets.cpp")
        return self.make(root / "uwebsockets", "uWebSockets", *words, cwd=root)
