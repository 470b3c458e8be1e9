"""Keys and tokens: the keys of the configuration, an unavailable identity provider, and clocks that are corrected."""

import json
import pathlib
import re
import signal
import time

import pytest
import websockets

import fanfare
from conftest import Client
from dialects import DIALECTS, NAMES, all_dialects, port_of
from fanfare import ROOT, SECRET, run, token, wait_until
from identity_provider import Key, Provider

KEYS = ROOT / "crates/fanfare-server/tests/data/auth-keys"
PUBLIC = ["rsa-public", "rsa-pkcs1-public", "rsa-certificate", "p256-public", "p256-certificate", "p384-public"]
PUBLIC += ["ed25519-public", "ed25519-certificate"]


# --- the errors of check and serve ---


def written(folder, text):
    file = folder / "fanfare.toml"
    file.write_text(f'data_dir = "{folder}/data"\nresp.bind = ""\n' + text)
    return str(file)


LISTENER = '[[listener]]\nbind = "127.0.0.1:0"\ndialects = ["notify"]\n'


def tls(certificate, key):
    return LISTENER + f'tls = {{ cert = "{KEYS}/{certificate}.txt", key = "{KEYS}/{key}.txt" }}\n'


@pytest.mark.parametrize(
    "text, key",
    [
        (f'auth.public_key_file = "{KEYS}/rsa1024-public.txt"\n', "auth.public_key_file"),
        (f'auth.public_key_file = "{KEYS}/p521-public.txt"\n', "auth.public_key_file"),
        (f'auth.public_key_file = "{KEYS}/rsa-public.txt"\nauth.algorithms = ["ES256"]\n', "auth.algorithms"),
        ('auth.jwks_url = "ftp://id.example.com/keys"\n', "auth.jwks_url"),
        ('broker.url = "redis:///path"\n', "broker.url"),
        ('storage.url = "postgres://u@h/d?sslmode=sometimes"\n', "storage.url"),
        (tls("rsa-certificate", "rsa-other-private"), "listener[0].tls.key"),
        (tls("rsa-public", "rsa-private"), "listener[0].tls.cert"),
    ],
)
def test_check_refuses_what_serve_refuses(tmp_path, text, key):
    """With the same lines, and exit code 2."""
    file = written(tmp_path, text)
    checked, served = (run(*command, "--config", file) for command in (["config", "check"], ["serve"]))
    assert (checked.returncode, served.returncode) == (2, 2), (checked.stderr, served.stderr)
    [line] = re.findall(rf"^.*fanfare\.toml:\d+: {re.escape(key)}: .*$", checked.stderr, re.M)
    assert line.removeprefix("error: ") in served.stderr


@pytest.mark.parametrize("secret", ["", SECRET])
@pytest.mark.parametrize("file", PUBLIC)
def test_a_file_of_public_keys_is_enough(launch, tmp_path, file, secret):
    """The file decides which algorithms are allowed, with or without a configured secret."""
    auth = {"jwt_secret": secret, "public_key_file": str(KEYS / f"{file}.txt")}
    server = launch(auth=auth)
    assert run("config", "check", "--config", str(server.config_file)).returncode == 0
    assert server.get(f"/ws?token={token('ann')}").status in ((400, 426) if secret else (401,))


# --- an identity provider ---


@pytest.fixture(scope="module")
def keys():
    return [Key(f"key-{number}") for number in range(4)]


@pytest.fixture
def provider(cleanup, keys):
    provider = Provider(keys[0])
    cleanup.callback(provider.stop)
    return provider


def knock(server, dialect, proof):
    return Client(f"ws://127.0.0.1:{port_of(server, dialect)}{DIALECTS[dialect].path}?token={proof}")


def handshake(server, dialect, proof):
    """The status of a refused handshake and its Retry-After."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        knock(server, dialect, proof)
    return refused.value.response.status_code, refused.value.response.headers.get("Retry-After")


def test_a_server_starts_while_its_provider_is_unavailable(launch, cleanup, keys, provider):
    """A token that cannot be judged is answered with 503 and 1013 instead of 401, and the node is not ready. The first keys end both."""
    server = launch(**all_dialects(auth={"jwks_url": provider.url}))
    proof = keys[0].token("ann")
    ready = server.get("/readyz")
    assert ready.status == 503 and "keys" in json.loads(ready.text)["reason"]
    for dialect in ("notify", "broadcast", "realtime"):
        status, retry_after = handshake(server, dialect, proof)
        assert status == 503 and int(retry_after) > 0, dialect
    assert knock(server, "rooms", proof).closed()[0] == 1013
    topics = Client(f"ws://127.0.0.1:{port_of(server, 'topics')}/ws")
    topics.socket.send(json.dumps({"type": "auth", "token": proof}))
    assert topics.closed()[0] == 1013
    for path in ("/api/messages", "/api/auth/me", "/sessions", "/api/v1/connections"):
        answer = server.get(path, Authorization=f"Bearer {proof}")
        assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True), path
    # The server's own tokens need no provider.
    knock(server, "notify", token("ann")).close()
    log = server.log()
    assert "onnection refused" in log and "hunter" not in log

    provider.start()
    wait_until(lambda: server.get("/readyz").status == 200, timeout=30, what="a node that is ready")
    for dialect in ("notify", "broadcast", "realtime", "rooms"):
        knock(server, dialect, proof).close()
    assert server.get("/api/messages", Authorization=f"Bearer {proof}").status == 200


def test_a_published_key_is_accepted_at_once(launch, keys, provider):
    """The first token with a new key makes the server fetch it, in any form."""
    provider.start()
    server = launch(auth={"jwks_url": provider.url})
    knock(server, "notify", keys[0].token("ann")).close()
    for key in keys[1:3]:
        provider.keys.append(key)
        knock(server, "notify", key.token("ann")).close()
    provider.keys.append(keys[3])
    assert server.get("/api/messages", Authorization=f"Bearer {keys[3].token('ann')}").status == 200


def test_a_reload_fetches_the_keys_again(launch, keys, provider):
    """A withdrawn key is refused from then on. If the provider is unavailable, the keys stay."""
    provider.start()
    server = launch(auth={"jwt_secret": "", "jwks_url": provider.url})
    knock(server, "notify", keys[0].token("ann")).close()

    def reload(end):
        before = len(server.log())
        server.config_file.write_text(fanfare.toml(server.config))
        server.signal(signal.SIGHUP)
        wait_until(lambda: end in server.log()[before:], what=end)

    provider.keys = [keys[1]]
    reload("configuration read again")
    assert handshake(server, "notify", keys[0].token("ann"))[0] == 401
    knock(server, "notify", keys[1].token("ann")).close()
    provider.stop()
    server.config["auth"]["algorithms"] = ["RS256"]
    reload("the keys stay as they are")
    knock(server, "notify", keys[1].token("ann")).close()
    assert server.get("/readyz").status == 200


def test_an_unknown_key_is_401_and_fetches_once_for_all(launch, keys, provider):
    provider.start()
    server = launch(auth={"jwks_url": provider.url})
    before = provider.requests
    assert server.get(f"/ws?token={keys[1].token('ann')}").status == 401
    assert provider.requests == before + 1
    provider.stop()
    status, retry_after = handshake(server, "notify", keys[2].token("ann"))
    assert (status, int(retry_after) > 0) == (503, True), "without a fetch nothing is known of a new key"
    knock(server, "notify", keys[0].token("ann")).close()


# --- tokens ---


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": int(time.time()) + 100_000},
        {"iat": "2026-01-01T00:00:00Z"},
        {"iat": None, "sid": 7},
        {"sid": ["a", "b"]},
        {"sid": "x" * 300},
    ],
)
def test_other_claims_do_not_matter(server, connect, claims):
    connect(server, "ann", claims).close()


def test_null_stands_for_a_claim_that_is_left_out(server):
    import base64
    import hashlib
    import hmac

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {"sub": "ann", "exp": int(time.time()) + 60, "iat": None, "nbf": None, "sid": None}
    message = encoded(b'{"alg":"HS256"}') + "." + encoded(json.dumps(claims).encode())
    signature = encoded(hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).digest())
    Client(server.ws() + f"?token={message}.{signature}").close()


# --- line ends of secrets ---


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_line_ends_are_no_part_of_a_secret(launch, connect, tmp_path, end):
    key = "an-api-key-of-the-tests"
    env = {"JWT_SECRET_KEY": SECRET + end, "FANFARE_API_KEYS": key + end, "FANFARE_RESP_PASSWORD": "hunter2" + end}
    server = launch(auth={}, env=env)
    del server.config["auth"]
    connect(server, "ann").close()
    assert server.get("/api/v1/connections", Authorization=f"Bearer {key}").status == 200
    import redis

    assert redis.Redis(port=server.resp_port, password="hunter2").ping()


def test_a_file_and_the_configuration_may_end_with_a_line_end_too(launch, connect, tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\r\n\n")
    connect(launch(auth={"jwt_secret": "", "jwt_secret_file": str(file)}), "ann").close()
    connect(launch(auth={"jwt_secret": SECRET + "\n"}), "ann").close()


def test_other_white_space_is_kept_with_a_warning(launch, connect):
    server = launch(auth={"jwt_secret": SECRET + " "})
    connect(server, "ann", {"secret": SECRET + " "}).close()
    assert "white space" in server.log() and SECRET not in server.log()


# --- the clock ---


def test_an_expiry_follows_the_wall_clock(launch, connect, clock):
    """If it is set forward, only connections whose tokens have expired by it are closed."""
    server = launch(env=clock.env)
    short, long = connect(server, "ann", {"ttl": 1800}), connect(server, "bob", {"ttl": 7200})
    clock.move(3600)
    assert short.closed() == (1008, "token expired")
    wait_until(lambda: server.connections() == 1, what="one connection that stays")
    long.close()


# --- refusals in the log ---


def lines(server, message):
    entries = (json.loads(line) for line in server.log().splitlines() if line.startswith("{"))
    return [entry for entry in entries if entry.get("message") == message]


@pytest.mark.parametrize("dialect", [name for name in NAMES if name != "topics"])
def test_a_refused_token_leaves_a_line(launch, dialect):
    """At the default level, with the reason and without the token; a flood of refusals leaves few lines."""
    server = launch(**all_dialects())
    bad = token("ann", secret="another-secret-that-is-long-enough-for-hs256")
    for _ in range(20):
        with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
            knock(server, dialect, bad).socket.recv(10)
    found = wait_until(lambda: lines(server, "connection refused"), what="a line")
    assert (found[0]["dialect"], found[0]["reason"], found[0]["level"]) == (dialect, "bad_credential", "INFO")
    assert "signature" in found[0]["detail"] and len(found) < 20
    assert bad not in server.log() and bad.split(".")[2] not in server.log()


def test_refusals_of_every_kind_leave_a_line(launch):
    """Origins, upgrades that a proxy has broken, tokens in frames and on HTTP routes."""
    server = launch(**all_dialects(auth={"allowed_origins": ["https://app.example.com"]}))
    answer = server.get(f"/ws?token={token('ann')}", Origin="https://evil.example")
    assert answer.status == 403
    assert server.get(f"/ws?token={token('ann')}").status in (400, 426)  # without `Upgrade`
    assert server.get("/api/messages", Authorization="Bearer a.b.c").status == 401
    topics = Client(f"ws://127.0.0.1:{port_of(server, 'topics')}/ws")
    topics.socket.send(json.dumps({"type": "auth", "token": token("ann", ttl=-5)}))
    assert topics.next_json()["type"] == "auth_error"
    topics.close()
    refused = wait_until(lambda: len(found := lines(server, "connection refused")) == 2 and found, what="two lines")
    assert [(entry["reason"], entry["dialect"]) for entry in refused] == [
        ("forbidden_origin", "notify"), ("bad_handshake", "notify"),
    ]
    assert "https://evil.example" in refused[0]["detail"] and "pgrade" in refused[1]["detail"]
    tokens = wait_until(lambda: len(found := lines(server, "token refused")) == 2 and found, what="two lines")
    assert [entry["reason"] for entry in tokens] == ["bad_credential", "expired_credential"]


def test_a_tls_handshake_that_fails_leaves_a_line(launch):
    folder, port = pathlib.Path(__file__).parent / "tls", fanfare.free_port()
    pair = {"cert": str(folder / "cert.txt"), "key": str(folder / "key.txt")}
    plain = fanfare.free_port()
    listeners = [
        {"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]},
        {"bind": f"127.0.0.1:{port}", "dialects": ["notify"], "tls": pair},
    ]
    server = launch(port=plain, listener=listeners)
    with pytest.raises(Exception):
        Client(f"wss://localhost:{port}/ws?token={token('ann')}")  # whose authorities have not signed the certificate
    [line] = wait_until(lambda: lines(server, "connection refused"), what="a line")
    assert line["reason"] == "tls_handshake" and line["detail"]
