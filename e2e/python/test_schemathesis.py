"""Requests generated from /openapi.json, valid and invalid, and their answers compared with it.

The requests are the same in every run, and their number is bounded. Each run uses one listener and one kind of credential.
"""

import json
import re
import subprocess
import sys

import pytest

import fanfare
from dialects import all_dialects, port_of

KEY = "a-key-for-services-0123456789"
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection",
]
EXAMPLES = 50
RUN_TIMEOUT = 120
# The listener, the caller, and the routes; together, all that is described.
RUNS = {
    "services": ("notify", "key", r"\w+ /api/v1/(events|users|connections|channels|history)"),
    "reload": ("notify", "key", r"\w+ /api/v1/reload"),
    "operators": ("notify", "key", r"\w+ /api/v1/(overview|problems|configuration|explain|accounts|keys|trace)"),
    "announcements": ("broadcast", "key", r"\w+ /(notify|status)$"),
    "users": ("topics", "user", r"\w+ /api/messages$|GET /api/auth/me$|GET /sessions$|DELETE /sessions/\{"),
    "logins": ("topics", None, r"POST /api/auth/(register|login|refresh)$|POST /sessions(/refresh)?$"),
    "passwords": ("topics", None, r"POST /api/auth/(logout|password(/reset)?)$"),
    "open": ("realtime", None, r"\w+ /(livez|readyz|health|metrics.*|info|docs|admin|.*api\.json|ws)$"),
    "rooms": ("rooms", None, r"\w+ /api/v1/ws/connect$"),
}

# Endless answers: they have their own tests.
STREAMS = {"GET /api/v1/stream", "GET /api/v1/tail"}


@pytest.fixture(scope="module")
def server():
    """Without a limit on logins."""
    unlimited = {"login_attempts_per_minute": 0, "login_attempts_per_minute_per_ip": 0, "registrations_per_minute_per_ip": 0}
    with fanfare.running(**all_dialects(api={"keys": [KEY]}, auth=unlimited)) as server:
        yield server


def credential(server, caller):
    """The key of a service, or the token of a user who has an account and a session here."""
    if caller == "user":
        body = json.dumps({"email": "ann@example.com", "password": "correct horse battery"})
        return json.loads(server.get("/api/auth/register", "POST", body).text)["data"]["accessToken"]
    return KEY if caller == "key" else None


def test_every_route_is_in_one_run(server):
    for path, operations in server.json("/openapi.json")["paths"].items():
        for method in operations:
            name = f"{method.upper()} {path}"
            runs = [run for run, (_, _, routes) in RUNS.items() if re.match(routes, name)]
            assert len(runs) == (name not in STREAMS), (name, runs)


@pytest.mark.parametrize("run", RUNS)
def test_generated_requests_get_replies_as_described(server, run, tmp_path):
    dialect, caller, routes = RUNS[run]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port_of(server, dialect)}/openapi.json"]
    command += ["--include-name-regex", f"^({routes})", "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", str(EXAMPLES), "--seed", "1", "--generation-deterministic", "--no-shrink", "--no-color"]
    command += ["--workers", "1", "--continue-on-failure", "--output-sanitize", "false"]
    token = credential(server, caller)
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_TIMEOUT,
        env=fanfare.environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b([1-9]\d*) generated, \1 passed", done.stdout), done.stdout
