"""An authorizer for the tests. The channel's name contains its answer."""

import contextlib
import http.server
import json
import threading


class Authorizer:
    """Allows names that end in `yes` and refuses names that end in `no`; `gated` names wait for `open(name, allow)`."""

    def __init__(self):
        self.questions, self.gates, self.lock = [], {}, threading.Lock()
        self.ended = threading.Event()
        asked = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, text = asked.answer(question)
                # The server may have closed its request by now.
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    if status == 302:
                        self.send_header("Location", "/yes")
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/may"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

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

    def answer(self, question):
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
            "error": (500, b'{"allow":true}'), "created": (201, b'{"allow":true}'), "redirect": (302, b'{"allow":true}'),
            "garbage": (200, b"yes"), "text": (200, b'{"allow":"true"}'), "silent": (200, b""), "list": (200, b"[true]"),
            "huge": (200, b'{"allow":true,"x":"' + b"x" * 70_000 + b'"}'),
        }.items():
            if channel.endswith(word):
                return answer
        return 404, b""
