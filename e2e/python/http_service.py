"""An HTTP service that a test runs, such as an authorizer or a collector. Standard library only."""

import contextlib
import http.server
import threading


class HttpService(http.server.ThreadingHTTPServer):
    """Answers each request with `answer(request, body)`, which returns a status, the bytes of a body, and optional headers.

    It runs until `stop`. By default each request has its own connection; `protocol="HTTP/1.1"` keeps them.
    """

    def __init__(self, answer, port=0, protocol="HTTP/1.0"):
        self.answer, self.protocol = answer, protocol
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def setup(self):
        super().setup()
        self.protocol_version = self.server.protocol

    def do_GET(self):
        received = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body, *headers = self.server.answer(self, received)
        # The caller may have closed the connection by now.
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass
