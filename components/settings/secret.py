"""The secret settings: which there are, which of them a stack needs, and how its services get them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import pulumi

from components import openvpn
from components.settings import values
from components.settings.schema import (
    EmailReceiver,
    EmbeddedVpn,
    NoReceiver,
    OpenVpn,
    Settings,
    WebhookReceiver,
    WireGuardVpn,
)
from components.stackfile import PROJECT


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """A secret setting: its key in the stack file, what it is, and what is wrong with a value, if that can be told.

    `sample` makes up a value that nothing is wrong with.
    """

    key: str
    what: str
    fault: Callable[[str], str | None] = lambda _: None
    sample: str = "{}"
    file: bool = False
    """Whether it has lines: at its prompt the CLI takes the first one alone, so it is to be read from a file."""


def _url_fault(text: str) -> str | None:
    good = re.fullmatch(r"https?://[^\s/?#]+(?:[/?#]\S*)?", text)
    return None if good else "must be an address that begins with https:// or http://, without spaces"


def _pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\n{{}}\n-----END {kind}-----"


def _no_pem(text: str, kind: str) -> str | None:
    found = re.search(rf"-----BEGIN ([A-Z ]*{kind})-----\s[\s\S]+?-----END \1-----", text)
    return None if found else f"is not whole PEM text, from its line BEGIN {kind} to its line END"


def _no_wireguard_key(text: str) -> str | None:
    if values.is_wireguard_key(text):
        return None
    return "is no WireGuard key: 44 characters of base64, as `wg genkey` prints them (nordvpn: not the access token)"


_SAMPLE_KEY: Final = "{:A<43.43}="

TLS_CERTIFICATE: Final = SecretKey(
    key="tls-certificate",
    what="PEM certificate chain for *.<domain>; on localhost domains not needed",
    fault=lambda text: _no_pem(text, "CERTIFICATE"),
    sample=_pem("CERTIFICATE"),
    file=True,
)
TLS_KEY: Final = SecretKey(
    key="tls-key",
    what="PEM private key of that certificate",
    fault=lambda text: _no_pem(text, "PRIVATE KEY"),
    sample=_pem("PRIVATE KEY"),
    file=True,
)
WIREGUARD_PRIVATE_KEY: Final = SecretKey(
    key="wireguard-private-key",
    what="your WireGuard private key",
    fault=_no_wireguard_key,
    sample=_SAMPLE_KEY,
)
WIREGUARD_PRESHARED_KEY: Final = SecretKey(
    key="wireguard-preshared-key",
    what="WireGuard preshared key: airvpn's always, others' if there is one",
    fault=_no_wireguard_key,
    sample=_SAMPLE_KEY,
)
OPENVPN_USER: Final = SecretKey(key="openvpn-user", what="OpenVPN user name; of custom, if the server asks for one")
OPENVPN_PASSWORD: Final = SecretKey(key="openvpn-password", what="OpenVPN password, with the user name")
OPENVPN_CONFIG: Final = SecretKey(
    key="openvpn-config",
    what="your .ovpn file for provider custom, with certificates and keys inside it",
    file=True,
    fault=openvpn.problem,
    sample="remote 198.51.100.7 1194 udp\n# {}",
)
ALERT_WEBHOOK_URL: Final = SecretKey(
    key="alert-webhook-url",
    what="URL that alerts are posted to; not on the Docker host itself, which containers do not reach",
    fault=_url_fault,
    sample="https://{}.invalid/",
)
SMTP_PASSWORD: Final = SecretKey(key="smtp-password", what="password at the SMTP server")

SECRET_KEYS: Final = (
    TLS_CERTIFICATE,
    TLS_KEY,
    WIREGUARD_PRIVATE_KEY,
    WIREGUARD_PRESHARED_KEY,
    OPENVPN_USER,
    OPENVPN_PASSWORD,
    OPENVPN_CONFIG,
    ALERT_WEBHOOK_URL,
    SMTP_PASSWORD,
)


def required_secrets(settings: Settings, given: Collection[str] = ()) -> tuple[SecretKey, ...]:
    """The secret settings that this choice of settings, with the keys in `given` set, cannot do without."""
    pair = (TLS_CERTIFICATE, TLS_KEY)
    # Where no authority signs a name, the edge has a certificate of its own making.
    needed = not values.is_local(settings.edge.domain) or any(one.key in given for one in pair)
    keys = [*pair] if needed else []
    match settings.vpn:
        case WireGuardVpn(provider="airvpn"):
            keys += [WIREGUARD_PRIVATE_KEY, WIREGUARD_PRESHARED_KEY]
        case WireGuardVpn():
            keys.append(WIREGUARD_PRIVATE_KEY)
        case OpenVpn(provider="custom"):
            keys.append(OPENVPN_CONFIG)
        case OpenVpn():
            keys += [OPENVPN_USER, OPENVPN_PASSWORD]
        case EmbeddedVpn():
            pass
    match settings.monitoring.receiver:
        case WebhookReceiver():
            keys.append(ALERT_WEBHOOK_URL)
        case EmailReceiver():
            keys.append(SMTP_PASSWORD)
        case NoReceiver():
            pass
    return tuple(keys)


@dataclass(frozen=True)
class Secrets:
    """The road of secret settings: each leaves as a secret Output and in no other form."""

    stack: str

    def require(self, secret: SecretKey) -> pulumi.Output[str]:
        """The secret's value. `load` has checked that it is set and encrypted."""
        return pulumi.Config(PROJECT).require_secret(secret.key)

    def get(self, secret: SecretKey) -> pulumi.Output[str] | None:
        """The secret's value, or None where it is not set."""
        return pulumi.Config(PROJECT).get_secret(secret.key)
