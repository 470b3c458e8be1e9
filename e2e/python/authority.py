"""A real ACME authority for one test: Pebble, with a DNS server that resolves every name to this machine."""

import json
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import urllib.request

from fanfare import environment, free_port, program, wait_until


class Authority:
    """`validity` is the lifetime of its certificates in seconds; it connects to `tls_port` instead of port 443."""

    def __init__(self, tls_port, validity=3600, refused=(), reject_nonces=5):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pebble-"))
        self.port, self.management, self.dns = free_port(), free_port(), free_port()
        self.directory, self.processes = f"https://localhost:{self.port}/dir", []
        self.log_file, self.ca = self.folder / "log", self.folder / "cert.pem"
        self.env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": str(reject_nonces)}
        config = {
            "listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.ca), "privateKey": str(self.folder / "key.pem"),
            "httpPort": free_port(), "tlsPort": tls_port, "ocspResponderURL": "", "externalAccountBindingRequired": False,
            "domainBlocklist": list(refused), "certificateValidityPeriod": validity,
        }
        (self.folder / "config.json").write_text(json.dumps({"pebble": config}))
        subprocess.run(
            [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
             "-keyout", str(self.folder / "key.pem"), "-out", str(self.ca)],
            check=True, capture_output=True,
        )

    def start(self):
        self.run("pebble-challtestsrv", "-dns01", f"127.0.0.1:{self.dns}", "-management", f"127.0.0.1:{free_port()}",
                 "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "")
        self.run("pebble", "-config", str(self.folder / "config.json"), "-dnsserver", f"127.0.0.1:{self.dns}")
        wait_until(self.roots, what="an authority that answers")
        return self

    def run(self, name, *arguments):
        with open(self.log_file, "ab") as log:
            self.processes.append(subprocess.Popen(
                [program("pebble", name), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(**self.env),
            ))

    def roots(self):
        """The root certificate, which Pebble creates at each start."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            return urllib.request.urlopen(f"https://localhost:{self.management}/roots/0", context=context, timeout=5).read().decode()
        except OSError:
            return None

    def log(self):
        return self.log_file.read_text(errors="replace")

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
