"""An authorizer for the tests. The channel's name contains its answer."""

import json
import threading

from http_service import HttpService


class Authorizer:
    """Allows names that end in `yes` and refuses names that end in `no`; `gated` names wait for `open(name, allow)`."""

    def __init__(self):
        self.questions, self.gates, self.lock = [], {}, threading.Lock()
        self.ended = threading.Event()
        self.server = HttpService(self.answer, protocol="HTTP/1.1")
        self.url = f"{self.server.url}/may"

    def close(self):
        self.ended.set()
        self.server.stop()

    def gate(self, channel):
        with self.lock:
            return self.gates.setdefault(channel, [threading.Event(), False])

    def open(self, channel, allow):
        """Releases the answers about `channel`."""
        gate = self.gate(channel)
        gate[1] = allow
        gate[0].set()

    def asked_about(self, channel):
        with self.lock:
            return [question for question in self.questions if question["channel"] == channel]

    def answer(self, _, body):
        question = json.loads(body)
        channel = question["channel"]
        with self.lock:
            self.questions.append(question)
        if channel.endswith("gated"):
            gate = self.gate(channel)
            gate[0].wait(20)
            return 200, json.dumps({"allow": gate[1]}).encode()
        if channel.endswith("late"):
            self.ended.wait(20)
            return 200, b'{"allow":true}'
        for word, answer in {
            "ann only yes": (200, json.dumps({"allow": question["user"] == "ann"}).encode()),
            "hear only yes": (200, json.dumps({"allow": question["action"] == "subscribe"}).encode()),
            "yes": (200, b'{"allow":true,"more":[]}'), "no": (200, b'{"allow":false}'),
            "error": (500, b'{"allow":true}'), "created": (201, b'{"allow":true}'), "redirect": (302, b'{"allow":true}', {"Location": "/yes"}),
            "garbage": (200, b"yes"), "text": (200, b'{"allow":"true"}'), "silent": (200, b""), "list": (200, b"[true]"),
            "huge": (200, b'{"allow":true,"x":"' + b"x" * 70_000 + b'"}'),
        }.items():
            if channel.endswith(word):
                return answer
        return 404, b""
