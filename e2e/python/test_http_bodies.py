"""Bodies that are not JSON, and bodies that only look like JSON: the answer names the error, and never quotes the body."""

import gzip
import json
import re

import pytest

from dialects import all_dialects, port_of
from fanfare import Fanfare, running, token

ROUTES = {
    "/notify": b'{"message":"hi"}',
    "/api/v1/events": b'{"to":"everyone","data":1}',
    "/api/auth/login": b'{"email":"a@example.com","password":"some password"}',
    "/sessions": b'{"username":"a@example.com","password":"some password"}',
    "/sessions/refresh": b'{"refresh_token":"x"}',
    "/api/messages": b'{"content":"hi"}',
}
FORM = {"Content_Type": "application/x-www-form-urlencoded"}
SECRET_WORD = "s3cr3t"


@pytest.fixture(scope="module")
def server():
    with running(**all_dialects()) as one:
        one.port = port_of(one, "broadcast")
        yield one


def post(server: Fanfare, path, body, **headers):
    credential = token("root", roles=["admin"]) if not path.startswith(("/api/auth", "/sessions")) else None
    if credential:
        headers["Authorization"] = f"Bearer {credential}"
    answer = server.get(path, "POST", body, **headers)
    assert SECRET_WORD not in answer.text
    error = json.loads(answer.text).get("error") if answer.text else None
    return answer.status, error.get("message") if isinstance(error, dict) else error


@pytest.mark.parametrize("path", ROUTES)
def test_a_byte_order_mark_is_skipped(server, path):
    plain, marked = (post(server, path, mark + ROUTES[path]) for mark in (b"", b"\xef\xbb\xbf"))
    assert plain[0] not in (400, 415)
    assert (marked[0], marked[1]) == plain


@pytest.mark.parametrize("path", ROUTES)
def test_json_with_the_content_type_of_a_form_is_read(server, path):
    assert post(server, path, ROUTES[path], **FORM) == post(server, path, ROUTES[path])


DEEP = b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"
NOT_JSON = {
    "nothing": (b"", {}, 400, "empty"),
    "spaces": (b" \n", {}, 400, "empty"),
    "gzip": (gzip.compress(b"{}"), {}, 415, "gzip"),
    "gzip that says so": (gzip.compress(b"{}"), {"Content_Encoding": "gzip"}, 415, "Content-Encoding"),
    "UTF-16": ('{"a":"s3cr3t"}'.encode("utf-16"), {}, 415, "UTF-16"),
    "UTF-16 without a mark": ('{"a":"s3cr3t"}'.encode("utf-16-le"), {}, 415, "UTF-16"),
    "Latin-1": ('{"a":"s3cr3t é"}'.encode("latin-1"), {}, 400, "not UTF-8"),
    "a form": (b"message=s3cr3t", FORM, 415, "form"),
    "another form": (b"--x\r\n\r\ns3cr3t", {"Content_Type": "multipart/form-data; boundary=x"}, 415, "form"),
    "too deep": (DEEP, {}, 400, "nested deeper than 128"),
    "a mistake": (b'{"a":"s3cr3t",\n"s3cr3t":s3cr3t}', {}, 400, "line 2 column 10"),
}


@pytest.mark.parametrize("name", NOT_JSON)
@pytest.mark.parametrize("path", ROUTES)
def test_the_error_says_why_a_body_is_not_json(server, path, name):
    body, headers, status, words = NOT_JSON[name]
    found, message = post(server, path, body, **headers)
    assert (found, words in message) == (status, True), message
    assert re.fullmatch(r"the body [^\"']*", message.replace("expected `", "").replace("`", "")), message


def test_json_of_another_shape_keeps_its_own_error(server):
    assert post(server, "/notify", b"[]") == (400, "The body must be a JSON object")
    status, message = post(server, "/api/v1/events", b'{"to":"everyone"}')
    assert (status, "data" in message) == (400, True)
