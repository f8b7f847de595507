"""Family `environments`: what serves development has no place where people depend on it.

On the stacks of `development-stacks` (policies/config.yaml) these rules are silent; every other stack counts as
staging or production. Checked are facts: the logical name of the VPN peer, the address of a VPN's server, the
certificate, and a few settings, by the last words of their names, in arguments, environment and files. Which
variables an app has at all, and with which values, is `known-environment`; whether a route asks for a sign-in,
`every-route-has-a-chain`; that no image is the lab's, `image-registry`. Not seen from here: what people set in an
app's own pages, and what is in an image.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from pulumi_policy import Severity

from policies.rules.configuration import files, settings, texts
from policies.rules.rule import (
    DEVELOPMENT,
    Config,
    Finding,
    Resource,
    ResourceValidation,
    Rule,
    in_development,
    texts_setting,
)

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    DEVELOPMENT: texts_setting("Stacks on which this rule is silent: the key of that name in policies/config.yaml.")
}


def _outside_development(validate: ResourceValidation) -> ResourceValidation:
    def outside(resource: Resource, config: Config) -> Iterator[Finding]:
        if not in_development(resource.stack, config):
            yield from validate(resource, config)

    return outside


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A setting that is refused: the last words of its name, and the values."""

    name: str
    value: str
    problem: str

    def is_met(self, name: str, value: str) -> bool:
        """Whether a setting is it."""
        return (
            re.fullmatch(rf"(?:.*_)?(?:{self.name})", name) is not None
            and re.fullmatch(self.value, value, re.IGNORECASE | re.DOTALL) is not None
        )


_ON: Final = r"1|true|t|yes|y|on|enabled?"
_OFF: Final = r"0|false|f|no|n|off|none|disabled?|never"
_TALKATIVE: Final = r"(?:.*[\s,;:|=])?(?:debug\d?|dbg|trace|trc|verbose|silly|finest)(?:[\s,;:|].*)?"
_LOGS: Final = "makes the app log far more than it should, what people do and secrets included"
_DEBUG: Final = (
    Refused(name=r"\w*LEVEL|LOG|LOGGING|VERBOSITY|LOG_\w+", value=_TALKATIVE, problem=_LOGS),
    Refused(name=r"DEBUG|TRACE|VERBOSE|DEBUG_MODE|(?:ENABLE|LOG)_(?:DEBUG|TRACE)", value=_ON, problem=_LOGS),
    Refused(
        name=r"PPROF|PROFILING|(?:ENABLE|WEB_ENABLE)_(?:PPROF|PROFILING)|API_(?:INSECURE|DASHBOARD|DEBUG)",
        value=_ON,
        problem="opens pages that are for a developer alone",
    ),
)
_NOBODY: Final = "lets people in without asking who they are"
_BYPASS: Final = (
    Refused(name="(?:AUTH_)?ANONYMOUS(?:_AUTH)?(?:_ENABLED)?|ALLOW_ANONYMOUS", value=_ON, problem=_NOBODY),
    Refused(name="AUTH(?:ENTICATION)?(?:_METHOD|_TYPE|_ENABLED|_REQUIRED)?|SIGN_IN", value=_OFF, problem=_NOBODY),
    Refused(name="(?:NO|DISABLE|SKIP|BYPASS)_(?:AUTH|LOGIN|SIGN_IN)(?:_ENABLED)?", value=_ON, problem=_NOBODY),
    Refused(name="LOCAL_?HOST_AUTH", value=_OFF, problem="lets in whoever comes from the same network namespace"),
    Refused(
        name="AUTH_SUBNET_WHITELIST_ENABLED|BYPASS_LOCAL_AUTH|AUTH_PROXY_ENABLED|ALLOW_SIGN_UP",
        value=_ON,
        problem="lets in a whole network, or anybody who says who they are",
    ),
    Refused(
        name="INSECURE_SKIP_VERIFY|(?:TLS|SSL)_SKIP_VERIFY|SKIP_TLS_VERIFY|NO_CHECK_CERTIFICATE|(?<!API_)INSECURE",
        value=_ON,
        problem="makes the app accept any certificate, or believe any address",
    ),
    Refused(
        name="(?:TLS|SSL|CERTIFICATE)_(?:VERIFY|VALIDATION)|CERTIFICATE_VALIDATION",
        value=rf"{_OFF}|disabledforlocaladdresses",
        problem="makes the app accept any certificate",
    ),
    Refused(
        name="ENV|ENVIRONMENT|APP_MODE|NODE_ENV|DEV_MODE|DEVELOPMENT",
        value=rf"dev|development|debug|{_ON}",
        problem="runs the app as developers run it",
    ),
    Refused(name="WEB_ENABLE_ADMIN_API", value=_ON, problem="lets anybody in reach delete what is stored"),
)


def _settings(refused: Sequence[Refused]) -> ResourceValidation:
    def validate(resource: Resource, _config: Config) -> Iterator[Finding]:
        for setting in settings(resource):
            found = next((one for one in refused if one.is_met(setting.name, setting.value)), None)
            if found is not None:
                advice = "Take it out, or set it on stacks of development alone"
                yield Finding(path=setting.path, problem=found.problem, advice=advice, note=setting.note)

    return _outside_development(validate)


# Not `is_private`: that is also true of the addresses set aside for documentation.
_INSIDE: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.168.0.0/16", "::/127", "fc00::/7", "fe80::/10"),
        ),
    )
)
_ENDPOINT: Final = re.compile(r"(?:.*_)?ENDPOINT(?:_IP)?|(?:.*_)?REMOTE")
_REMOTE: Final = re.compile(r"^[ \t]*remote[ \t]+(\S+)", re.MULTILINE)
"""Where OpenVPN's own configuration says whom to connect to."""


def _is_inside(host: str, peers: Sequence[str]) -> bool:
    """Whether a VPN's server can only be on this machine or its own networks."""
    if host.casefold() == "localhost" or host.casefold() in peers:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _INSIDE if network.version == address.version)


def _embedded(resource: Resource, config: Config) -> Iterator[Finding]:
    advice = "Set nexus:vpn of this stack to a provider (type: wireguard or openvpn)"
    peers = texts(config.get("peers"))
    if resource.name in [f"{peer}-{kind}" for peer in peers for kind in ("container", "seed")]:
        yield Finding(path=("name",), problem="is the VPN server of development, which hides nothing", advice=advice)
    problem = "is an address on this machine or its own networks: the tunnel would end here"
    for setting in settings(resource):
        if _ENDPOINT.fullmatch(setting.name) and _is_inside(setting.value, peers):
            yield Finding(path=setting.path, problem=problem, advice=advice, note=setting.note)
    for file in files(resource):
        if isinstance(file.text, str) and any(_is_inside(one, peers) for one in _REMOTE.findall(file.text)):
            yield Finding(path=file.path, problem=problem, advice=advice)


DEVELOPMENT_AUTHORITY: Final = "NEXUS local CA"
"""How the common name of the authority begins that `make up` makes (scripts/certificate.py)."""


def _certificate(resource: Resource, _config: Config) -> Iterator[Finding]:
    for file in files(resource):
        if isinstance(file.text, str) and (problem := _of_development(file.text)):
            advice = "Set nexus:tls-certificate and nexus:tls-key to a certificate of the stack's own domain"
            yield Finding(path=file.path, problem=problem, advice=advice)


@lru_cache(maxsize=64)
def _of_development(text: str) -> str:
    """What is wrong with a chain of certificates; empty where nothing is, or where none can be read."""
    for block in re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL):
        try:
            certificate = x509.load_pem_x509_certificate(block.encode())
            issuers = [str(one.value) for one in certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
            names = _names(certificate)
        except (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension):
            continue
        if any(one.startswith(DEVELOPMENT_AUTHORITY) for one in issuers):
            return "is signed by the authority of dev, whose key lies on somebody's machine"
        if names and all(one == "localhost" or one.endswith(".localhost") for one in names):
            return "is for localhost alone"
    return ""


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(one) for one in found.value.get_values_for_type(x509.DNSName)]


RULES: Final = (
    Rule(
        name="no-dev-bypass",
        description=(
            "On staging and production no app runs in a mode for developers, accepts any certificate, or lets people "
            "in without a sign-in: each is a door that development leaves open."
        ),
        remediation="Take the setting out, or set it for the stacks of development alone.",
        severity=Severity.CRITICAL,
        validate=_settings(_BYPASS),
        settings=SETTINGS,
    ),
    Rule(
        name="no-debug-flag",
        description=(
            "On staging and production no app logs at a developer's level or serves pages for developers (profiles, "
            "a dashboard of the edge's own): both tell what nobody should read."
        ),
        remediation="Take the flag out, or set the level to `info`; set it for the stacks of development alone.",
        severity=Severity.MEDIUM,
        validate=_settings(_DEBUG),
        settings=SETTINGS,
    ),
    Rule(
        name="no-embedded-vpn-peer",
        description=(
            "On staging and production the tunnel ends at a provider: the peer inside the stack is there so that "
            "development needs no account, and hides nothing."
        ),
        remediation=(
            "Set `nexus:vpn` of the stack to `wireguard` or `openvpn` with a provider. A server of your own "
            "elsewhere in a private network is an exemption with a reason."
        ),
        severity=Severity.CRITICAL,
        validate=_outside_development(_embedded),
        settings={**SETTINGS, "peers": texts_setting("Services that are a VPN server, by name.", ["vpn-peer"])},
    ),
    Rule(
        name="no-dev-certificate",
        description=(
            "On staging and production no certificate is of the authority that `make up` makes for development, or "
            "for localhost alone: whoever has that machine's key can pass for the platform."
        ),
        remediation="Set `nexus:tls-certificate` and `nexus:tls-key` to a certificate of the stack's own domain.",
        severity=Severity.HIGH,
        validate=_outside_development(_certificate),
        settings=SETTINGS,
    ),
)
