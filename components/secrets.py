"""Secrets the program makes itself: generated once, kept encrypted in state, delivered as files.

What only the outside world can give is a secret setting (components/settings.py). Nothing here is ever put into an
environment variable, a label or a command.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_random as random
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ADMIN_USER: Final = "admin"

PBKDF2_ITERATIONS: Final = 100_000
"""qBittorrent's own number (src/base/utils/password.cpp)."""


@dataclass(frozen=True, kw_only=True)
class WireGuardKeys:
    """A WireGuard key pair, base64 as `wg` prints it. Both are secret Outputs, the public one by contagion."""

    private: pulumi.Output[str]
    public: pulumi.Output[str]


class SecretBundle(pulumi.ComponentResource):
    """Every generated secret of a stack, with an API key for each of `apps`. Made before any app starts, so that
    wiring needs no second pass.

    Protected as the data is: apps keep in their data what they were given at their first start (Grafana its
    password), so a secret must be the same when `destroy` is followed by `up`.
    """

    def __init__(self, apps: Iterable[str], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nexus:secrets:SecretBundle", "secrets", {}, opts)
        admin = random.RandomPassword(
            "admin-password", length=24, special=False, opts=pulumi.ResourceOptions(parent=self, protect=True)
        )
        self.admin_password: pulumi.Output[str] = admin.result
        self.admin_htpasswd: pulumi.Output[str] = pulumi.Output.concat(ADMIN_USER, ":", admin.bcrypt_hash)
        """A line for Traefik's basic-auth users file."""
        self._salt = self._bytes("qbittorrent-salt", 16)
        self.api_keys = {app: self._bytes(f"{app}-api-key", 16).apply(bytes.hex) for app in apps}
        """32 hexadecimal characters, as the apps make them themselves."""
        self.vpn_control_key = self._bytes("vpn-control-key", 16).apply(bytes.hex)
        self.vpn_client = self._wireguard("vpn-client-key")
        self.vpn_peer = self._wireguard("vpn-peer-key")
        self.vpn_preshared_key = self._bytes("vpn-preshared-key", 32).apply(_base64)
        self.register_outputs({})

    @property
    def qbittorrent_hash(self) -> pulumi.Output[str]:
        """The admin password in the form of WebUI\\Password_PBKDF2."""
        return pulumi.Output.all(self.admin_password, self._salt).apply(
            lambda pair: qbittorrent_pbkdf2(pair[0], pair[1])
        )

    def _bytes(self, name: str, length: int) -> pulumi.Output[bytes]:
        # Not RandomBytes: its id is its value in base64, and an id is in state in clear. 64 letters and digits hold
        # more than 256 bits, so their digest is as good as random bytes.
        opts = pulumi.ResourceOptions(parent=self, protect=True)
        source = random.RandomPassword(name, length=64, special=False, opts=opts)
        return source.result.apply(lambda text: hashlib.sha256(text.encode()).digest()[:length])

    def _wireguard(self, name: str) -> WireGuardKeys:
        private = self._bytes(name, 32).apply(_base64)
        return WireGuardKeys(private=private, public=private.apply(wireguard_public_key))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wireguard_public_key(private: str) -> str:
    """The public key of a base64 private key, base64."""
    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def qbittorrent_pbkdf2(password: str, salt: bytes) -> str:
    """A password as qBittorrent stores it: PBKDF2-HMAC-SHA512, 64 bytes, behind a salt of 16 bytes."""
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PBKDF2_ITERATIONS, 64)
    return f"@ByteArray({base64.b64encode(salt).decode()}:{base64.b64encode(key).decode()})"
