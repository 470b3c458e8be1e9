"""Signals: SIGHUP reloads the configuration, SIGUSR1 and SIGUSR2 have no effect, the others drain."""

import contextlib
import json
import pathlib
import signal
import socket
import ssl
import shutil
import subprocess
import time

import pytest
import redis
import websockets

from conftest import Client, message
from dialects import all_dialects, ask
from fanfare import SECRET, free_port, run, toml, token, wait_until
from tls_client import trusting

FILES = pathlib.Path(__file__).parent / "tls"
READ_AGAIN = "configuration read again"
OTHER_SECRET = "another-secret-for-tests-that-is-long-enough"


def hang_up(server, **tables):
    """Writes the configuration with these tables changed, sends SIGHUP, and returns the new lines of the log."""
    for name, value in tables.items():
        merged = isinstance(value, dict) and isinstance(server.config.get(name), dict)
        server.config[name] = server.config[name] | value if merged else value
    server.config_file.write_text(toml(server.config))
    return read_again(server)


def read_again(server):
    before = len(server.log())
    server.signal(signal.SIGHUP)
    ends = (READ_AGAIN, "nothing is changed")
    wait_until(lambda: any(end in server.log()[before:] for end in ends), what="an end of reading again")
    return server.log()[before:]


def tries(server, user, secret):
    """Whether a token signed with this secret is accepted."""
    try:
        Client(f"ws://127.0.0.1:{server.port}/ws?token={token(user, secret=secret)}").close()
        return True
    except websockets.InvalidStatus as refused:
        assert refused.response.status_code == 401
        return False


# --- certificates ---


@pytest.fixture
def secure(launch, tmp_path):
    """A server with TLS whose files can be replaced."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(FILES / "cert.txt", cert)
    shutil.copy(FILES / "key.txt", key)
    plain, port = free_port(), free_port()
    listeners = [
        {"bind": f"127.0.0.1:{plain}", "dialects": ["notify"]},
        {"bind": f"localhost:{port}", "dialects": ["notify"], "tls": {"cert": str(cert), "key": str(key)}},
    ]
    server = launch(port=plain, listener=listeners)
    server.tls_port, server.cert, server.key = port, cert, key
    return server


def served(server):
    """The certificate that a new connection receives, in PEM."""
    return ssl.get_server_certificate(("127.0.0.1", server.tls_port))


def pem(name):
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert((FILES / name).read_text()))


def test_a_renewed_certificate_is_served_and_old_connections_stay(secure, publisher):
    context = trusting(FILES / "cert.txt")
    old = Client(f"wss://localhost:{secure.tls_port}/ws?token={token('ann')}", ssl=context)
    assert served(secure) == pem("cert.txt")
    shutil.copy(FILES / "renewed-cert.txt", secure.cert)
    shutil.copy(FILES / "renewed-key.txt", secure.key)
    assert served(secure) == pem("cert.txt"), "nothing is read before the signal"
    logged = read_again(secure)
    assert READ_AGAIN in logged and "restart" not in logged
    assert served(secure) == pem("renewed-cert.txt")
    renewed = trusting(FILES / "renewed-cert.txt")
    new = Client(f"wss://localhost:{secure.tls_port}/ws?token={token('ann')}", ssl=renewed)
    assert publisher(secure.resp_port).publish("user_noti:ann", message(1)) == 2
    assert old.next_json()["payload"] == new.next_json()["payload"] == 1
    old.close(), new.close()


def test_a_half_renewed_certificate_changes_nothing(secure):
    shutil.copy(FILES / "renewed-cert.txt", secure.cert)
    logged = hang_up(secure, auth={"jwt_secret": OTHER_SECRET})
    assert "listener[1].tls.key" in logged and "another certificate" in logged and "nothing is changed" in logged
    assert served(secure) == pem("cert.txt")
    assert tries(secure, "ann", SECRET) and not tries(secure, "ann", OTHER_SECRET)


def test_a_certificate_may_move_to_another_file(secure):
    listeners = secure.config["listener"]
    listeners[1]["tls"] = {"cert": str(FILES / "renewed-cert.txt"), "key": str(FILES / "renewed-key.txt")}
    assert "restart" not in hang_up(secure, listener=listeners)
    assert served(secure) == pem("renewed-cert.txt")


CA = """
[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
serial = serial
default_md = sha256
policy = names
x509_extensions = extensions
unique_subject = no
[names]
commonName = supplied
[extensions]
subjectAltName = DNS:localhost
basicConstraints = critical, CA:TRUE
"""


def expiring_certificate(folder, seconds):
    """Writes a self-signed certificate for localhost that expires soon, and its key."""
    folder.mkdir()
    (folder / "config").write_text(CA)
    (folder / "index").write_text("")
    (folder / "serial").write_text("01\n")
    end = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))
    request = "req -new -newkey rsa:2048 -nodes -keyout key.pem -out request -subj /CN=localhost"
    sign = f"ca -batch -selfsign -notext -config config -keyfile key.pem -in request -out cert.pem -startdate 20200101000000Z -enddate {end}"
    for command in (request, sign):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return folder / "cert.pem", folder / "key.pem"


def test_connections_outlive_the_expiry_of_a_certificate(secure, publisher, tmp_path):
    cert, key = expiring_certificate(tmp_path / "expiring", 20)
    shutil.copy(cert, secure.cert), shutil.copy(key, secure.key)
    assert "listener[1].tls.cert, listener[1].tls.key" in read_again(secure)
    context = ssl.create_default_context(cafile=cert)
    live = Client(f"wss://localhost:{secure.tls_port}/ws?token={token('ann')}", ssl=trusting(cert))

    def is_refused():
        with socket.create_connection(("127.0.0.1", secure.tls_port)) as plain:
            try:
                context.wrap_socket(plain, server_hostname="localhost").close()
            except ssl.SSLCertVerificationError as refused:
                return "expired" in str(refused)

    wait_until(is_refused, timeout=60, what="the end of the certificate")
    assert publisher(secure.resp_port).publish("user_noti:ann", message(1)) == 1
    assert live.next_json()["payload"] == 1, "who is connected stays"
    shutil.copy(FILES / "renewed-cert.txt", secure.cert)
    shutil.copy(FILES / "renewed-key.txt", secure.key)
    read_again(secure)
    renewed = trusting(FILES / "renewed-cert.txt")
    Client(f"wss://localhost:{secure.tls_port}/ws?token={token('ben')}", ssl=renewed).close()
    live.close()


# --- keys, rules, the log level ---


def test_a_reload_replaces_the_secret(launch, connect):
    server = launch()
    old = connect(server, "ann")
    assert READ_AGAIN in hang_up(server, auth={"jwt_secret": OTHER_SECRET})
    assert tries(server, "ann", OTHER_SECRET) and not tries(server, "ann", SECRET)
    with contextlib.closing(redis.Redis(port=server.resp_port)) as publisher:
        assert publisher.publish("user_noti:ann", message(1)) == 1
    assert old.next_json()["payload"] == 1, "who is in stays in"


def test_logins_are_signed_with_the_new_secret(launch):
    server = launch()
    hang_up(server, auth={"jwt_secret": OTHER_SECRET})
    account = json.dumps({"email": "mia@example.com", "password": "correct horse battery"})
    data = json.loads(server.get("/api/auth/register", "POST", account).text)["data"]
    me = server.get("/api/auth/me", Authorization=f"Bearer {data['accessToken']}")
    assert me.status == 200, me.text


def test_a_reload_replaces_api_keys(launch):
    first, second = "first-key-of-the-service", "second-key-of-the-service"
    server = launch(api={"keys": [first]})
    body = '{"to":"everyone","data":1}'

    def answers():
        post = lambda key: server.get("/api/v1/events", "POST", body, Authorization=f"Bearer {key}").status
        with contextlib.closing(redis.Redis(port=server.resp_port, password=second)) as publisher:
            try:
                resp = publisher.ping()
            except redis.AuthenticationError:
                resp = False
        return post(first), post(second), resp

    assert answers() == (200, 401, False)
    hang_up(server, api={"keys": [second]})
    assert answers() == (401, 200, True)


def test_a_setting_that_needs_a_restart_grants_no_access(launch, tmp_path):
    """The door keeps its address, the API its trust, and the secret its folder: rules that use them must judge by the values in force."""
    key, password = "first-key-of-the-service", "password-of-the-door"
    port = free_port()
    server = launch(api={"keys": [key]}, resp={"bind": f"0.0.0.0:{port}", "password": password})
    logged = hang_up(server, api={"keys": []}, resp={"bind": f"127.0.0.1:{port}", "password": ""})
    assert "resp.password" in logged and "nothing is changed" in logged
    with contextlib.closing(redis.Redis(port=port)) as publisher, pytest.raises(redis.AuthenticationError):
        publisher.publish("user_noti:ann", message(1))
    logged = hang_up(server, api={"trust_loopback": False}, resp={"password": password})
    assert "api.keys" in logged and "nothing is changed" in logged
    assert server.get("/api/v1/connections").status == 401
    assert server.get("/api/v1/connections", Authorization=f"Bearer {key}").status == 200


def test_the_secret_stays_in_the_folder_of_the_start(launch, tmp_path):
    server = launch(auth={"jwt_secret": ""})
    account = json.dumps({"email": "mia@example.com", "password": "correct horse battery"})
    access = json.loads(server.get("/api/auth/register", "POST", account).text)["data"]["accessToken"]
    elsewhere = tmp_path / "elsewhere"
    logged = hang_up(server, data_dir=str(elsewhere))
    assert READ_AGAIN in logged and "data_dir" in logged
    assert server.get("/api/auth/me", Authorization=f"Bearer {access}").status == 200
    assert not elsewhere.exists()


def test_access_rules(launch, speak):
    closed = [{"pattern": "board", "subscribe": "nobody", "publish": "nobody"}]
    server = launch(**all_dialects(channel=[{"pattern": "other", "subscribe": "anyone"}]))
    ann = speak(server, "topics", "ann")
    exact, by_pattern = speak(server, "topics", "ben"), speak(server, "topics", "cid")
    assert exact.ask(type="subscribe", topic="board")["type"] == "subscribed"
    assert by_pattern.ask(type="subscribe", topic="*")["type"] == "subscribed"

    def publish():
        answer = ask(server, "topics", "/api/v1/events", "POST", '{"to":{"channel":"board"},"data":1}')
        return json.loads(answer.text)["recipients"]

    assert publish() == 2
    logged = hang_up(server, channel=closed)
    assert READ_AGAIN in logged and "restart" not in logged
    assert ann.ask(type="subscribe", topic="board")["code"] == 403
    assert publish() == 1, "the exact subscription stays, the pattern shows it no more"
    hang_up(server, channel=[{"pattern": "other", "subscribe": "anyone"}])
    assert ann.ask(type="subscribe", topic="board")["type"] == "subscribed"
    assert publish() == 3


def test_access_by_default(launch, speak):
    server = launch(**all_dialects())
    logged = hang_up(server, rooms={"default_access": "nobody"})
    assert "restart" not in logged
    ann = speak(server, "rooms", "ann")
    ann.say(type="join_room", room="project:1")
    assert ann.next_json()["type"] == "error"


def test_the_log_level(launch):
    server = launch()
    server.get("/notify", Origin="null")
    assert '"DEBUG"' not in server.log()
    hang_up(server, log={"level": "debug"})
    server.signal(signal.SIGUSR1)
    wait_until(lambda: "SIGUSR1 does nothing" in server.log(), what="a line at debug")
    before = len(server.log())
    server.config["log"] = {"level": "error"}
    server.config_file.write_text(toml(server.config))
    server.signal(signal.SIGHUP)
    server.signal(signal.SIGUSR1)
    time.sleep(0.5)
    server.signal(signal.SIGUSR2)
    assert "SIGUSR2" not in server.log()[before:]


def test_what_needs_a_restart_is_named(launch):
    server = launch()
    logged = hang_up(server, notify={"ping_interval": "7s"}, shutdown={"timeout": "11s"})
    assert "what differs in notify.ping_interval, shutdown.timeout needs a restart" in logged
    logged = read_again(server)
    assert "notify.ping_interval, shutdown.timeout needs a restart" in logged, "it still does"
    listeners = server.config["listener"] + [{"bind": f"127.0.0.1:{free_port()}", "dialects": ["notify"]}]
    assert "what differs in listener, notify.ping_interval, shutdown" in hang_up(server, listener=listeners)


def test_limits(launch, connect):
    """They apply from then on; existing connections stay."""
    server = launch(limits={"requests_per_second_per_ip": 0, "burst": 1})
    ann = connect(server, "ann")
    logged = hang_up(server, notify={"max_connections": 1}, limits={"requests_per_second_per_ip": 1, "max_body_size": 100})
    assert "restart" not in logged
    assert "changed: limits.max_body_size, limits.requests_per_second_per_ip, notify.max_connections" in logged
    with pytest.raises(websockets.InvalidStatus) as refused:
        connect(server, "ben")
    assert refused.value.response.status_code == 503
    event = json.dumps({"to": {"user": "ann"}, "type": "t", "data": "x" * 100})
    assert {server.get("/api/v1/events", "POST", event).status for _ in range(3)} == {413, 429}
    hang_up(server, notify={"max_connections": 2, "max_message_size": 5}, limits={"requests_per_second_per_ip": 0, "max_body_size": 1000})
    assert server.get("/api/v1/events", "POST", event).status == 200
    assert ann.next_json()["payload"] == "x" * 100, "it stayed"
    ann.socket.send("123456")
    assert ann.closed()[0] == 1009, "a message is measured when it comes"
    connect(server, "ben")


def test_limits_of_logins(launch):
    server = launch(auth={"login_attempts_per_minute": 0})
    login = json.dumps({"email": "mia@example.com", "password": "wrong horse battery"})
    tries = lambda: {server.get("/api/auth/login", "POST", login).status for _ in range(4)}
    assert tries() == {401}
    assert "restart" not in hang_up(server, auth={"login_attempts_per_minute": 2})
    assert tries() == {401, 429}
    hang_up(server, auth={"login_attempts_per_minute": 0})
    assert tries() == {401}


def test_a_proxy_that_is_trusted_from_now_on(launch):
    server = launch(limits={"requests_per_second_per_ip": 1, "burst": 1})
    by = lambda number: server.get("/nothing", **{"X-Forwarded-For": f"192.0.2.{number}"}).status
    assert 429 in {by(number) for number in range(5)}, "all share the proxy's address"
    hang_up(server, limits={"trusted_proxies": ["127.0.0.1"]})
    assert {by(number) for number in range(10, 15)} == {404}


# --- by the command, and by the service API ---


def command(server, *arguments, **env):
    done = run(*arguments, "--config", str(server.config_file), **env)
    return done.returncode, done.stdout, done.stderr


def test_the_command_says_what_changed(launch):
    server = launch(api={"keys": ["key-of-the-operator-1"]})
    server.config["limits"] = {"burst": 9}
    server.config["server"] = {"shards": 1}
    server.config_file.write_text(toml(server.config))
    expected = f"  file           {server.config_file}\n  {{}}limits.burst\n  needs restart  server.shards\n"
    code, out, _ = command(server, "config", "check", "--against-running")
    assert code == 0 and out.startswith("ok\n")
    assert out.endswith("a reload would succeed\n" + expected.format("would change   "))
    assert READ_AGAIN not in server.log(), "nothing was done"
    assert command(server, "reload", "--dry-run")[1].startswith("a reload would succeed\n")
    assert command(server, "reload") == (0, "reloaded\n" + expected.format("changed        "), "")
    assert "configuration read again; changed: limits.burst" in server.log()
    assert command(server, "reload")[1].count("nothing") == 1, "what needs a restart is named until then"


def test_the_command_and_a_broken_file(launch):
    server = launch(api={"keys": ["key-of-the-operator-1"]})
    server.config_file.write_text(server.config_file.read_text() + "\n[limits]\nburst = 0\n")
    line = server.config_file.read_text().splitlines().index("burst = 0") + 1
    problem = f"{server.config_file}:{line}: limits.burst: found 0"
    code, _, error = command(server, "reload")
    assert code == 2 and problem in error
    # A command without the file leaves the checks to the server.
    where = ("--url", f"http://127.0.0.1:{server.port}", "--key", "key-of-the-operator-1")
    done = run("reload", *where)
    assert done.returncode == 2 and problem in done.stderr and "nothing is changed" in done.stderr
    answer = server.get("/api/v1/reload", "POST", "", Authorization="Bearer key-of-the-operator-1")
    problems = json.loads(answer.text)["error"]["details"]["problems"]
    assert answer.status == 422 and len(problems) == 1 and problems[0].startswith(problem)
    assert "nothing is changed" in server.log()


def test_who_may_reload(launch):
    server = launch()
    made = command(server, "key", "create", "reader", "--scope", "read", "--scope", "publish")[1]
    reader = made.split("key  ")[1].strip()
    admin = command(server, "key", "create", "operator", "--scope", "admin")[1].split("key  ")[1].strip()
    status = lambda key: server.get("/api/v1/reload", "POST", "", Authorization=f"Bearer {key}").status
    wait_until(lambda: status(admin) == 200, what="a new key to be known")
    assert status(reader) == 403 and status("nonsense") == 401
    assert server.get("/api/v1/reload", "POST", "").status == 401, "a key was made, so this machine is not trusted"
    assert server.get("/api/v1/reload?dry_run=maybe", "POST", "", Authorization=f"Bearer {admin}").status == 400
    code, _, error = command(server, "reload", FANFARE_API_KEY=reader)
    assert code == 1 and "403" in error
    assert command(server, "reload", FANFARE_API_KEY=admin)[0] == 0


# --- broken files, floods, drains ---


def test_a_broken_file_changes_nothing_and_each_error_is_logged(launch, connect):
    server = launch()
    client = connect(server, "ann")
    good = server.config_file.read_text()
    broken = good.replace(SECRET, OTHER_SECRET) + '\nnonsense = 1\n[log]\nlevel = "loud"\n'
    server.config_file.write_text(broken)
    logged = read_again(server).splitlines()
    errors = [line for line in logged if '"ERROR"' in line]
    assert len(errors) == 3, logged
    assert "nonsense" in errors[0] and "log.level" in errors[1] and "nothing is changed" in errors[2]
    assert OTHER_SECRET not in server.log()
    server.config_file.unlink()
    assert "cannot be read" in read_again(server)
    assert tries(server, "ann", SECRET)
    client.socket.ping().wait(5)
    server.config_file.write_text(good)
    assert READ_AGAIN in read_again(server)


def test_a_hundred_hangups(server, connect, publisher):
    client, backend = connect(server, "ann"), publisher(server.resp_port)
    for number in range(100):
        server.signal(signal.SIGHUP)
        if number % 10 == 0:
            assert backend.publish("user_noti:ann", message(number)) == 1
            assert client.next_json()["payload"] == number
    assert READ_AGAIN in read_again(server)
    assert server.get("/livez").status == 200


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_user_signals_do_nothing(server, connect, publisher, number):
    client, before = connect(server, "ann"), server.log()
    for _ in range(5):
        server.signal(number)
    assert publisher(server.resp_port).publish("user_noti:ann", message(1)) == 1
    assert client.next_json()["payload"] == 1
    assert server.log() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_drain(launch, connect, number):
    server = launch()
    client = connect(server, "ann")
    server.signal(number)
    assert client.closed() == (1001, "Server shutting down")
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_ends_at_once(launch, connect, number):
    server = launch(shutdown={"timeout": "60s", "drain_window": "60s"})
    clients = [connect(server, "ann") for _ in range(5)]
    server.signal(signal.SIGTERM)
    wait_until(lambda: "draining" in server.log(), what="a drain")
    server.signal(number)
    assert server.wait() == 1
    for client in clients:
        client.closed()


def test_a_hangup_during_a_drain(launch, connect):
    server = launch(shutdown={"timeout": "20s", "drain_window": "1s"})
    clients = [connect(server, "ann") for _ in range(5)]
    server.signal(signal.SIGTERM)
    wait_until(lambda: "draining" in server.log(), what="a drain")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        server.signal(number)
    for client in clients:
        assert client.closed() == (1001, "Server shutting down")
    assert server.wait() == 0
    assert READ_AGAIN not in server.log()
