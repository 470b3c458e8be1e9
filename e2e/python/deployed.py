"""The proxies' configurations of `deploy/proxies`, with only addresses, ports and folders replaced."""

import os
import re
import shutil
import urllib.error
import urllib.request

from fanfare import ROOT
from proxies import Proxy
from test_tls import FILES
from tls_client import trusting

CONFIGURATIONS = ROOT / "deploy" / "proxies"
NODE_ADDRESS = re.compile(r"10\.0\.0\.1([12]):(8081|3000)")


def text_of(name, nodes):
    """A configuration whose two nodes listen on these ports of loopback; `nodes` has {8081: port, 3000: port} for each."""
    text = (CONFIGURATIONS / name).read_text()
    return NODE_ADDRESS.sub(lambda found: f"127.0.0.1:{nodes[int(found[1]) - 1][int(found[2])]}", text)


def nginx(nodes):
    def config(proxy):
        replaced = {"/etc/fanfare": proxy.folder, "/var/log/nginx": proxy.folder, "listen 443": f"listen 127.0.0.1:{proxy.port}"}
        site = proxy.folder / "site"
        site.write_text(_replaced(text_of("nginx.conf", nodes), replaced))
        temporary = " ".join(f"{kind}_temp_path {proxy.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" * (os.geteuid() == 0)
        main = f"{user} daemon off; worker_processes 2; pid {proxy.folder}/pid; error_log {proxy.folder}/error.log alert; events {{}}"
        return f"{main}\nhttp {{ {temporary} include {site}; }}\n"

    return _Secure("nginx", config, lambda file, folder: ["-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)])


def haproxy(nodes):
    def config(proxy):
        replaced = {
            "/etc/haproxy": proxy.folder, "bind :443": f"bind 127.0.0.1:{proxy.port}", "log /dev/log": "log stdout format raw",
            "    user haproxy\n    group haproxy\n": "",
        }
        return _replaced(text_of("haproxy.cfg", nodes), replaced)

    return _Secure("haproxy", config, lambda file, _: ["-db", "-f", str(file)])


def caddy(nodes):
    """Caddy, with a certificate from a file instead of an authority."""

    def config(proxy):
        certificate = f"https://localhost:{proxy.port} {{\n\ttls {proxy.folder}/cert.pem {proxy.folder}/key.pem"
        only = "{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system " + str(proxy.folder) + "\n"
        replaced = {"/var/log/caddy": proxy.folder, "push.example.com {": certificate, "\n{\n": "\n" + only}
        return _replaced(text_of("Caddyfile", nodes), replaced)

    return _Secure("caddy", config, lambda file, _: ["run", "--config", str(file), "--adapter", "caddyfile"])


def traefik(nodes):
    """Traefik, with a certificate from a file instead of an authority."""

    def config(proxy):
        certificate = f"tls: {{ certificates: [{{ certFile: {proxy.folder}/cert.pem, keyFile: {proxy.folder}/key.pem }}] }}\n"
        routes = {"        certResolver: letsencrypt\n": "", "      tls:\n": "      tls: {}\n", "push.example.com": "localhost"}
        (proxy.folder / "traefik-fanfare.yaml").write_text(_replaced(text_of("traefik-fanfare.yaml", nodes), routes) + certificate)
        text = text_of("traefik.yaml", nodes)
        authority = text[text.index("certificatesResolvers:"):text.index("# Without")]
        replaced = {authority: "", "/etc/traefik": proxy.folder, "/var/log/traefik": proxy.folder, '":443"': f'"127.0.0.1:{proxy.port}"'}
        return _replaced(text, replaced)

    return _Traefik("traefik", config, lambda file, folder: ["--configFile", str(file.rename(folder / "traefik.yaml"))])


PROXIES = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy, "traefik": traefik}


class _Secure(Proxy):
    """Its folder has the tests' certificate for `localhost` under the names that the configurations use."""

    def prepare(self):
        shutil.copy(FILES / "cert.txt", self.folder / "cert.pem")
        shutil.copy(FILES / "key.txt", self.folder / "key.pem")
        both = (FILES / "cert.txt").read_text() + (FILES / "key.txt").read_text()
        (self.folder / "fanfare.pem").write_text(both)

    def written(self):
        """All of its log."""
        logs = [path for path in self.folder.iterdir() if path.is_file() and (path.suffix == ".log" or path.name == "out")]
        return "\n".join(path.read_text(errors="replace") for path in logs)


class _Traefik(_Secure):
    def kill(self):
        """Kills it: a clean stop would wait ten seconds for WebSockets to end."""
        self.process.kill()
        self.process.wait(10)
        super().kill()

    def _accepts(self):
        """Waits for its routes: it opens its port before it has loaded them."""
        if not super()._accepts():
            return False
        try:
            urllib.request.urlopen(f"https://localhost:{self.port}/ws", timeout=5, context=trusting(FILES / "cert.txt"))
        except urllib.error.HTTPError as error:
            return error.code != 404
        except OSError:
            return False


def _replaced(text, replaced):
    for old, new in replaced.items():
        assert old in text, f"{old!r} is not in the configuration"
        text = text.replace(old, str(new))
    return text
