"""A real NATS between nodes: logins, TLS, and messages that exceed its limit. Its faults are in test_faults_nats.py."""

import json
import subprocess

import pytest

from brokers import Nats
from fanfare import wait_until
from nats_accounts import Operator


@pytest.fixture
def nats(cleanup):
    """nats("max_payload: 64KB") starts a NATS with JetStream and this additional configuration."""

    def started(more):
        server = Nats()
        cleanup.callback(server.remove)
        return server.start(more=more)

    return started


@pytest.fixture
def nodes(launch):
    """nodes(url=…, …) starts two nodes with this broker."""
    return lambda **broker: [launch(broker={"kind": "nats", **broker}) for _ in range(2)]


def url(server, scheme="nats", host="127.0.0.1"):
    return f"{scheme}://{host}:{server.port}"


def ready(node):
    return node.get("/readyz").status == 200


def refused(node, words):
    """Waits until the log of `node` has the reason why it is not ready."""
    wait_until(lambda: words in node.log(), what=f"a log with {words!r}")
    assert not ready(node)


def publish(node, data):
    """Publishes for ann. Returns the number of connections that the event reached, and whether its receipt is degraded."""
    answer = node.get("/api/v1/events", "POST", json.dumps({"to": {"user": "ann"}, "data": data}))
    assert answer.status == 200, answer.text
    answer = json.loads(answer.text)
    return answer["recipients"], answer.get("degraded", False)


def share(one, two, connect):
    """Events reach the other node, in both directions."""
    for node in (one, two):
        wait_until(lambda node=node: ready(node), what="a node that is ready")
    clients = [connect(node, "ann") for node in (one, two)]
    for node in (one, two):
        wait_until(lambda node=node: publish(node, "hello") == (2, False), what="an event that crosses")
    assert publish(one, "end") == (2, False)
    for client in clients:
        while client.next_json()["payload"] != "end":
            pass
    return clients


def test_a_user_of_an_operator_authenticates_by_a_credentials_file(nats, nodes, launch, connect, tmp_path):
    operator, other = Operator(), Operator()
    server = nats(operator.server_config())
    file, foreign = tmp_path / "fanfare.creds", tmp_path / "foreign.creds"
    file.write_text(operator.credentials())
    foreign.write_text(other.credentials())
    one, two = nodes(url=url(server), credentials_file=str(file))
    share(one, two, connect)
    # An account that this server does not have, and no login at all.
    stranger = launch(broker={"kind": "nats", "url": url(server), "credentials_file": str(foreign)})
    refused(stranger, "Authorization Violation")
    refused(launch(broker={"kind": "nats", "url": url(server)}), "Authorization Violation")
    for node in (one, two, stranger):
        for secret in file.read_text().split() + foreign.read_text().split():
            assert len(secret) < 30 or secret not in node.log()
    # The file is replaced, and read for the next connection.
    foreign.write_text(operator.credentials())
    wait_until(lambda: ready(stranger), what="a node with the new file")


def certificates(folder):
    """An authority, and a certificate for localhost that it has signed."""
    run = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder, timeout=60)  # noqa: E731
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    run("req", *new[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    run("x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")


@pytest.mark.parametrize("scheme", ["tls", "nats"])
def test_tls_accepts_a_private_authority(nats, nodes, launch, connect, tmp_path, scheme):
    certificates(tmp_path)
    server = nats(f'tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.key" }}\n')
    broker = {"url": url(server, scheme, "localhost"), "ca_file": str(tmp_path / "ca.pem")}
    share(*nodes(**broker), connect)
    # Another authority has not signed it, and the certificate is for another name.
    (tmp_path / "other").mkdir()
    certificates(tmp_path / "other")
    refused(launch(broker={"kind": "nats", **broker, "ca_file": str(tmp_path / "other/ca.pem")}), "invalid peer certificate")
    refused(launch(broker={"kind": "nats", **broker, "url": url(server, scheme)}), "invalid peer certificate")


def test_a_server_that_requires_client_certificates_accepts_only_nodes_with_one(nats, nodes, launch, connect, tmp_path):
    certificates(tmp_path)
    files = {name: f"{tmp_path}/{name}" for name in ("ca.pem", "server.pem", "server.key")}
    server = nats(
        f'tls {{ cert_file: "{files["server.pem"]}", key_file: "{files["server.key"]}", ca_file: "{files["ca.pem"]}", verify: true }}\n'
    )
    broker = {"url": url(server, "tls", "localhost"), "ca_file": files["ca.pem"]}
    share(*nodes(**broker, client_cert_file=files["server.pem"], client_key_file=files["server.key"]), connect)
    stranger = launch(broker={"kind": "nats", **broker})
    refused(stranger, "is away")
    assert "PRIVATE" not in stranger.log()


def test_a_server_without_tls_is_not_enough_for_tls(nats, launch):
    refused(launch(broker={"kind": "nats", "url": url(nats(""), "tls")}), "is away")


def test_an_event_above_max_payload_reaches_only_its_own_node(nats, nodes, connect):
    one, two = nodes(url=url(nats("max_payload: 64KB\n")))
    near, far = share(one, two, connect)
    before = one.prometheus("fanfare_publications_degraded_total")
    assert publish(one, "x" * 100_000) == (1, True)
    assert len(near.next_json()["payload"]) == 100_000
    assert one.prometheus("fanfare_publications_degraded_total") == before + 1
    assert "max_payload" in one.log()
    assert publish(one, "small") == (2, False)
    for client in (near, far):
        assert client.next_json()["payload"] == "small"
    assert ready(one) and ready(two)
