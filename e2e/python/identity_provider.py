"""An identity provider: RSA keys made in Python, and an HTTP server of their public parts. Standard library only."""

import base64
import hashlib
import json
import secrets
import time

from fanfare import free_port
from http_service import HttpService

# The DER of "a SHA-256 digest" (RFC 8017 section 9.2, note 1).
SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _is_prime(number):
    if any(number % small == 0 for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(20):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _prime():
    while True:
        candidate = secrets.randbits(1024) | (3 << 1022) | 1
        if candidate % 65537 != 1 and _is_prime(candidate):
            return candidate


class Key:
    """An RSA key of 2048 bits that signs RS256 tokens."""

    def __init__(self, kid):
        one, other = _prime(), _prime()
        self.kid, self.modulus = kid, one * other
        self.private = pow(65537, -1, (one - 1) * (other - 1))

    def jwk(self):
        return {"kty": "RSA", "kid": self.kid, "n": _b64(_bytes(self.modulus)), "e": "AQAB"}

    def token(self, user, **claims):
        now = int(time.time())
        header = {"alg": "RS256", "kid": self.kid}
        claims = {"sub": user, "iat": now, "exp": now + 3600, **claims}
        message = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        digest = SHA256 + hashlib.sha256(message.encode()).digest()
        padded = b"\0\1" + b"\xff" * (256 - 3 - len(digest)) + b"\0" + digest
        signature = pow(int.from_bytes(padded, "big"), self.private, self.modulus)
        return message + "." + _b64(signature.to_bytes(256, "big"))


class Provider:
    """Serves `keys` on a port that it reserves at once; it accepts no connection before `start`."""

    def __init__(self, *keys):
        self.keys, self.port, self.requests, self.server = list(keys), free_port(), 0, None

    @property
    def url(self):
        return f"http://reader:hunter2@127.0.0.1:{self.port}/keys?token=hunter3"

    def start(self):
        self.server = HttpService(self.answer, self.port)
        return self

    def answer(self, _, body):
        self.requests += 1
        return 200, json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None
