"""Makes the files that an operator of NATS makes with `nsc`: the keys of an operator, accounts and a user, and the JWTs that sign them."""

import base64
import json
import subprocess
import tempfile
import time

# The first byte of a key's text, by role; a seed's own byte is before it.
OPERATOR, ACCOUNT, USER, SEED = 14 << 3, 0, 20 << 3, 18 << 3
# An Ed25519 key in PKCS #8, without its last 32 bytes.
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc.to_bytes(2, "little")


def text(raw):
    return base64.b32encode(raw + crc16(raw)).decode().rstrip("=")


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A key of `role`, made by OpenSSL."""

    def __init__(self, role):
        self.der = self.openssl("genpkey", "-algorithm", "ed25519", "-outform", "DER")[: len(PKCS8) + 32]
        public = self.openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", input=self.der)[-32:]
        self.public = text(bytes([role]) + public)
        self.seed = text(bytes([SEED | role >> 5, (role & 31) << 3]) + self.der[len(PKCS8) :])

    @staticmethod
    def openssl(*arguments, input=None):
        return subprocess.run(["openssl", *arguments], input=input, capture_output=True, check=True, timeout=20).stdout

    def states(self, subject, name, **claims):
        """A JWT, signed by this key, that `subject` is `name`."""
        header = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": name, "iat": int(time.time()), "iss": self.public, "sub": subject.public, "name": name, "nats": claims}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, body))
        with tempfile.NamedTemporaryFile() as message, tempfile.NamedTemporaryFile() as key:
            message.write(signed.encode())
            key.write(self.der)
            message.flush(), key.flush()
            command = ("pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", key.name, "-in", message.name)
            return f"{signed}.{base64url(self.openssl(*command))}"


class Operator:
    """An operator with a system account, and an account for Fanfare that has JetStream."""

    def __init__(self):
        self.key, self.system, self.account = Key(OPERATOR), Key(ACCOUNT), Key(ACCOUNT)

    def server_config(self):
        """The part of a server's configuration that names them."""
        unlimited = {name: -1 for name in ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage")}
        unlimited |= {"streams": -1, "consumer": -1, "wildcards": True}
        operator = self.key.states(self.key, "O", type="operator", version=2, system_account=self.system.public)
        system = self.key.states(self.system, "SYS", type="account", version=2, limits=unlimited | {"disk_storage": 0, "mem_storage": 0})
        account = self.key.states(self.account, "FANFARE", type="account", version=2, limits=unlimited)
        return (
            f"operator: {operator}\nsystem_account: {self.system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self.system.public}: {system}, {self.account.public}: {account} }}\n"
        )

    def credentials(self):
        """A credentials file for a new user of the account."""
        user = Key(USER)
        statement = self.account.states(user, "fanfare", type="user", version=2, subs=-1, data=-1, payload=-1)
        return (
            f"-----BEGIN NATS USER JWT-----\n{statement}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
