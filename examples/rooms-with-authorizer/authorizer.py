"""An authorizer: says which user may use which room. Replace MEMBERS with a look into your database.

    python3 authorizer.py PORT
"""

import http.server
import json
import sys

MEMBERS = {"project:7": {"alice", "ben"}, "task:12": {"alice"}}


class Authorizer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # {"user": "alice", "action": "subscribe", "channel": "project:7"}; `user` is null for an anonymous connection
        allowed = question["user"] in MEMBERS.get(question["channel"], ())
        answer = json.dumps({"allow": allowed}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Authorizer).serve_forever()
