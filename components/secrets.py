"""Secrets the program makes itself: generated once, kept encrypted in state, delivered as files.

What only the outside world can give is a secret setting (components/settings). Nothing here is ever put into an
environment variable, a label or a command.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_random as random
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from components.errors import PlatformError

ADMIN_USER: Final = "admin"


@dataclass(frozen=True, kw_only=True)
class WireGuardKeys:
    """A WireGuard key pair, base64 as `wg` prints it. Both are secret Outputs, the public one by contagion."""

    private: pulumi.Output[str]
    public: pulumi.Output[str]


class SecretBundle(pulumi.ComponentResource):
    """The generated secrets of a stack: each is asked for once, by whoever it belongs to, under a name that is its
    resource's. They need no app to run, so that wiring needs no second pass.

    Protected as the data is: apps keep in their data what they were given at their first start (Grafana its
    password), so a secret must be the same when `destroy` is followed by `up`. For the same reason neither its name
    nor its length may change.
    """

    def __init__(self, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nexus:secrets:SecretBundle", "secrets", {}, opts)
        self._names: set[str] = set()
        admin = self._password("admin-password", 24)
        self.admin_password: pulumi.Output[str] = admin.result
        self.admin_htpasswd: pulumi.Output[str] = pulumi.Output.concat(ADMIN_USER, ":", admin.bcrypt_hash)
        """A line for a basic-auth users file."""
        self.register_outputs({})

    def password(self, name: str, length: int = 24) -> pulumi.Output[str]:
        """A password of letters and digits."""
        return self._password(name, length).result

    def hexadecimal(self, name: str, length: int = 16) -> pulumi.Output[str]:
        """`length` random bytes, in hexadecimal."""
        return self.raw(name, length).apply(bytes.hex)

    def base64(self, name: str, length: int = 32) -> pulumi.Output[str]:
        """`length` random bytes, in base64."""
        return self.raw(name, length).apply(_base64)

    def wireguard(self, name: str) -> WireGuardKeys:
        """A WireGuard key pair."""
        private = self.base64(name)
        return WireGuardKeys(private=private, public=private.apply(wireguard_public_key))

    def raw(self, name: str, length: int) -> pulumi.Output[bytes]:
        """`length` random bytes, at most 32."""
        if not 1 <= length <= hashlib.sha256().digest_size:
            raise PlatformError(f"the generated secret {name}: {length} bytes; 1 to 32 can be had")
        # Not RandomBytes: its id is its value in base64, and an id is in state in clear. 64 letters and digits hold
        # more than 256 bits, so their digest is as good as random bytes.
        source = self._password(name, 64)
        return source.result.apply(lambda text: hashlib.sha256(text.encode()).digest()[:length])

    def _password(self, name: str, length: int) -> random.RandomPassword:
        if name in self._names:
            raise PlatformError(f"the generated secret {name} is asked for twice: ask once and hand it on")
        self._names.add(name)
        opts = pulumi.ResourceOptions(parent=self, protect=True)
        return random.RandomPassword(name, length=length, special=False, opts=opts)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wireguard_public_key(private: str) -> str:
    """The public key of a base64 private key, base64."""
    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
