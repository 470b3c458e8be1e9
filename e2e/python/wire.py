"""Raw sockets: WebSocket and RESP written by hand, for input that no client library would send."""

import base64
import contextlib
import os
import socket
import struct
import time


def connect(port, timeout=10):
    return socket.create_connection(("127.0.0.1", port), timeout)


def upgrade_request(target, *headers, host="127.0.0.1"):
    """The bytes of a valid handshake for `target`, with further header lines."""
    lines = [
        f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(), *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def upgraded(port, token, *headers):
    """A socket whose handshake is done."""
    peer = connect(port)
    peer.sendall(upgrade_request(f"/ws?token={token}", *headers))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        assert byte, f"closed during the handshake: {head!r}"
        head += byte
    assert head.startswith(b"HTTP/1.1 101 "), head
    return peer


def frame(opcode, payload=b"", fin=True, rsv=0, mask=b"\x01\x02\x03\x04", length=None):
    """A client's frame. `length` announces another size than the payload has."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0x80 if mask else 0
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + (mask or b"") + payload


def read_all(peer, timeout=10):
    """All bytes until the peer closes. An abort is also an end; silence past `timeout` is an error."""
    peer.settimeout(timeout)
    got = b""
    with contextlib.suppress(ConnectionError):
        while chunk := peer.recv(65536):
            got += chunk
    return got


def frames(peer, timeout=10):
    """The server's frames, (opcode, payload), until it closes."""
    peer.settimeout(timeout)
    with contextlib.suppress(ConnectionError), peer.makefile("rb") as stream:
        while len(head := stream.read(2)) == 2:
            size = head[1]
            if size >= 126:
                size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
            yield head[0] & 0x0F, stream.read(size)


def close_code(peer, timeout=10):
    """The code of the next close frame, or None if the connection ended without one."""
    for opcode, payload in frames(peer, timeout):
        if opcode == 8:
            peer.close()  # the server may be waiting for an answer, and needs none
            return int.from_bytes(payload[:2], "big")
    return None


def status(peer, timeout=10):
    """The status of an HTTP answer, or None if the connection was closed without one."""
    line = read_all(peer, timeout).split(b"\r\n")[0].split(b" ")
    return int(line[1]) if len(line) > 1 and line[0].startswith(b"HTTP/") else None


def send_slowly(peer, data, seconds_between):
    """Sends one byte at a time; ends early if the peer has closed. Returns how many bytes were sent."""
    for i in range(len(data)):
        try:
            peer.sendall(data[i : i + 1])
        except OSError:
            return i
        time.sleep(seconds_between)
    return len(data)


class RespError(Exception):
    """An error reply."""


class Resp:
    """A Redis connection that sends given bytes unchanged, and reads RESP2 and RESP3."""

    def __init__(self, port, timeout=10):
        self.socket = connect(port, timeout)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    @staticmethod
    def encode(*words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def send(self, *words):
        self.socket.sendall(self.encode(*words))

    def call(self, *words):
        self.send(*words)
        return self.read()

    def raw(self, data):
        self.socket.sendall(data)

    def read(self):
        """One reply. Errors are returned, not raised, so that a pipeline can be read to its end."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError(line)
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RespError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        if kind in b"$=":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind in b"*~>":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"%":
            return {self.read(): self.read() for _ in range(int(rest))}
        raise AssertionError(f"not RESP: {line!r}")

    def closed(self):
        """True once the server has closed, whatever it sent before."""
        try:
            while self.file.read(4096):
                pass
        except ConnectionError:
            pass
        return True
