"""Real proxies in front of a server, each on its own ports and in its own folder."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from fanfare import free_port, wait_until

NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_max_body_size 64m;
    upstream fanfare {{ server 127.0.0.1:{backend}; keepalive 8; }}
    server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend in
    bind 127.0.0.1:{port}
    default_backend fanfare
backend fanfare
    {backend_lines}
frontend stats
    bind 127.0.0.1:{stats}
    stats enable
    stats uri /stats
"""


class Proxy:
    """A proxy that runs until `kill`."""

    def __init__(self, program, config, arguments):
        self.port, self.folder = free_port(), pathlib.Path(tempfile.mkdtemp(prefix="proxy-"))
        packages = pathlib.Path(sys.executable).parent  # the folder of a program that a Python package installs
        self.program = shutil.which(program, path=os.environ.get("PATH", "") + f":/usr/sbin:/sbin:{packages}")
        assert self.program, f"{program} is not installed"
        self.prepare()
        file = self.folder / "config"
        file.write_text(config(self))
        self.process = subprocess.Popen(
            [self.program, *arguments(file, self.folder)], stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "out", "wb"), stderr=subprocess.STDOUT,
        )
        wait_until(self._accepts, what=f"a {program} that accepts")

    def prepare(self):
        """Fills the folder before the configuration is written."""

    def _accepts(self):
        assert self.process.poll() is None, (self.folder / "out").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def nginx(backend, location):
    """nginx with a `location` block that forwards requests; the upstream is named `fanfare`."""
    config = lambda proxy: NGINX.format(user="user root;" * (os.geteuid() == 0), folder=proxy.folder, port=proxy.port, backend=backend, location=location)  # noqa: E731
    return Proxy("nginx", config, lambda file, folder: ["-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)])


def haproxy(*backend_lines):
    """HAProxy with these lines in its backend; its statistics are on `stats_port`."""
    stats = free_port()

    def config(proxy):
        return HAPROXY.format(port=proxy.port, stats=stats, backend_lines="\n    ".join(backend_lines))

    proxy = Proxy("haproxy", config, lambda file, _: ["-db", "-f", str(file)])
    proxy.stats_port = stats
    return proxy
