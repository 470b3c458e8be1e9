"""A small OpenTelemetry collector: an HTTP server that parses OTLP's protobuf and can be made to misbehave. Standard library only."""

import threading

from fanfare import free_port
from http_service import HttpService


def fields(message):
    """The fields of a protobuf message, by number; values are numbers or bytes."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            value = number()
        else:
            length = {1: 8, 5: 4}.get(key & 7) or number()
            value, at = message[at:at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def attributes(messages):
    """The key and value of each KeyValue."""
    read = {}
    for message in map(fields, messages):
        [(kind, [value])] = fields(message[2][0]).items()
        read[message[1][0].decode()] = value.decode() if kind == 1 else bool(value) if kind == 2 else value
    return read


def spans_of(body):
    """The spans of an ExportTraceServiceRequest."""
    for resource in map(fields, fields(body).get(1, [])):
        node = attributes(fields(resource[1][0])[1])
        for scope in map(fields, resource[2]):
            for span in map(fields, scope[2]):
                yield {
                    "trace": span[1][0].hex(), "id": span[2][0].hex(), "parent": span.get(4, [b""])[0].hex(),
                    "name": span[5][0].decode(), "kind": {4: "producer", 5: "consumer"}[span[6][0]],
                    "took": int.from_bytes(span[8][0], "little") - int.from_bytes(span[7][0], "little"),
                    "node": node, "attributes": attributes(span[9]),
                }


class Collector:
    """Stores what it receives. `status` is its answer; while `silent` is set, it does not answer."""

    def __init__(self):
        self.status, self.spans, self.bodies, self.headers = 200, [], [], []
        self.silent, self.ended = threading.Event(), threading.Event()
        self.server = HttpService(self.answer, free_port())
        self.url = self.server.url

    def answer(self, request, body):
        while self.silent.is_set() and not self.ended.wait(0.05):
            pass
        if self.status == 200:
            self.bodies.append(body)
            self.headers.append((request.path, dict(request.headers)))
            self.spans.extend(spans_of(body))
        return self.status, b""

    def stop(self):
        self.ended.set()
        self.server.stop()
