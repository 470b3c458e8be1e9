"""Certificates by ACME from a real authority: how they are obtained, kept and renewed, and what happens if the authority is unavailable or
refuses."""

import pathlib
import socket
import ssl
import stat
import subprocess

import pytest

import tls_client
from authority import Authority
from conftest import Client, message
from fanfare import free_port, program, token, wait_until

NAMES = ["push.example.com", "www.push.example.com"]


@pytest.fixture
def authority(cleanup):
    """authority(port, ...) starts an authority that validates at that port."""

    def started(port, **options):
        own = Authority(port, **options)
        cleanup.callback(own.remove)
        return own

    return started


def arguments(authority, port, **acme):
    """A server with a plain listener for the test's requests, and one with the authority's certificate."""
    plain = free_port()
    acme = {"domains": NAMES, "contact": ["ops@example.com"], "directory": authority.directory,
            "ca_file": str(authority.ca), "retry": "1s"} | acme
    listeners = [
        {"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]},
        {"bind": f"127.0.0.1:{port}", "dialects": ["notify"], "acme": True},
    ]
    return {"listener": listeners, "acme": acme, "port": plain}


def served(port, name=NAMES[0], protocols=()):
    """The serial number of the certificate that a client of `name` receives, as bytes of the certificate; None if its handshake fails."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as tcp:
            with context.wrap_socket(tcp, server_hostname=name) as tls:
                return tls.getpeercert(binary_form=True)
    except (ssl.SSLError, ConnectionError):
        return None


def is_for(certificate, name):
    checked = subprocess.run([program("openssl", "openssl"), "x509", "-inform", "DER", "-noout", "-checkhost", name],
                             input=certificate, capture_output=True, check=True)
    return b"does match" in checked.stdout


def stored(server):
    return next(pathlib.Path(server.config["data_dir"]).glob("acme/*/certificate.pem"), None)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_certificate_is_obtained_and_clients_verify_it(launch, authority, publisher, tmp_path):
    port = free_port()
    own = authority(port).start()
    server = launch(**arguments(own, port))
    certificate = wait_until(lambda: served(port), what="a certificate")
    assert all(is_for(certificate, name) for name in NAMES)
    (tmp_path / "root.pem").write_text(own.roots())
    context = tls_client.trusting(tmp_path / "root.pem")
    sock = socket.create_connection(("127.0.0.1", port))
    client = Client(f"wss://{NAMES[0]}:{port}/ws?token={token('ann')}", ssl=context, sock=sock)
    assert publisher(server.resp_port).publish("user_noti:ann", message(1)) == 1
    assert client.next_json()["payload"] == 1
    client.close()
    # The ACME protocol is accepted only for open challenges, and carries no request.
    assert served(port, protocols=["acme-tls/1"]) is None
    folder = stored(server).parent
    assert [mode(path) for path in (folder, folder / "certificate.pem", folder / "account.json")] == [0o700, 0o600, 0o600]
    assert server.prometheus("fanfare_acme_orders_total") == 1
    assert server.prometheus("fanfare_certificate_end_timestamp_seconds") > 1_700_000_000
    assert not any(secret in server.log() for secret in ("PRIVATE", "key_pkcs8"))


def test_the_stored_certificate_serves_after_a_restart_without_the_authority(launch, authority):
    port = free_port()
    own = authority(port).start()
    server = launch(**arguments(own, port))
    certificate = wait_until(lambda: served(port), what="a certificate")
    server.stop()
    own.stop()
    server.start()
    assert served(port) == certificate
    assert "cannot be renewed" not in server.log() and server.prometheus("fanfare_acme_orders_total") == 0


def test_a_certificate_is_renewed_while_the_server_runs(launch, authority):
    port = free_port()
    own = authority(port, validity=30).start()
    server = launch(**arguments(own, port))
    first = wait_until(lambda: served(port), what="a certificate")
    second = wait_until(lambda: (new := served(port)) != first and new, 90, "another certificate")
    assert is_for(second, NAMES[0])
    wait_until(lambda: server.prometheus("fanfare_acme_orders_total") >= 2, what="two orders")
    account = stored(server).with_name("account.json").read_text()
    assert own.log().count("There are now 1 accounts") <= 1 and account


def test_while_the_authority_is_unavailable_the_current_certificate_serves_until_and_after_its_expiry(launch, authority):
    port = free_port()
    own = authority(port, validity=20).start()
    server = launch(**arguments(own, port))
    certificate = wait_until(lambda: served(port), what="a certificate")
    own.stop()
    wait_until(lambda: "cannot be renewed; the present one stays in use" in server.log(), 60, "a warning")
    assert served(port) == certificate
    wait_until(lambda: "has ended and cannot be renewed" in server.log(), 90, "an error")
    assert served(port) == certificate and server.get("/livez").status == 200
    assert server.prometheus("fanfare_last_acme_order_successful") == 0
    # The restarted authority has lost its accounts.
    own.start()
    wait_until(lambda: served(port) not in (None, certificate), 90, "another certificate")
    wait_until(lambda: server.prometheus("fanfare_last_acme_order_successful") == 1, what="an order that succeeded")


def test_an_authority_that_is_unavailable_at_the_start_is_retried(launch, authority):
    port = free_port()
    own = authority(port)
    server = launch(**arguments(own, port))
    wait_until(lambda: "no certificate; TLS connections are refused" in server.log(), what="an error")
    assert "Connection refused" in server.log() and "retry_in" in server.log()
    assert served(port) is None and server.get("/livez").status == 200
    problems = lambda: {problem["name"]: problem for problem in server.json("/api/v1/problems")["problems"]}
    assert problems()["no_certificate"]["detail"] == f"127.0.0.1:{port}"
    own.start()
    wait_until(lambda: served(port), 60, "a certificate")
    wait_until(lambda: "no_certificate" not in problems(), what="no problem")


def test_a_refusal_is_reported_in_the_authoritys_words(launch, authority):
    port = free_port()
    own = authority(port, refused=[NAMES[0]]).start()
    server = launch(**arguments(own, port))
    wait_until(lambda: "urn:ietf:params:acme:error:rejectedIdentifier" in server.log(), what="the refusal")
    assert NAMES[0] in server.log() and server.get("/livez").status == 200


def test_a_name_that_leads_elsewhere_is_named(launch, authority):
    port = free_port()
    own = authority(free_port()).start()
    server = launch(**arguments(own, port))
    wait_until(lambda: "the authority could not validate push.example.com" in server.log(), what="the refusal")
    wait_until(lambda: server.prometheus("fanfare_acme_orders_total") >= 2, 60, "another order")
    assert server.get("/livez").status == 200


def test_without_a_folder_to_store_it_no_certificate_is_ordered(launch, authority, tmp_path):
    port = free_port()
    own = authority(port).start()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "acme").write_text("a file in its place")
    server = launch(**arguments(own, port), data_dir=str(tmp_path / "data"))
    wait_until(lambda: "cannot be written" in server.log(), what="an error")
    assert str(tmp_path / "data" / "acme") in server.log()
    assert "There are now 1 orders" not in own.log() and server.get("/livez").status == 200
