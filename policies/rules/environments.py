"""Family `environments`: what serves development has no place where people depend on it.

On the stacks of `development-stacks` (policies/config.yaml) these rules are silent; every other stack counts as
staging or production. Checked are facts: the logical name of the VPN peer, the address of a VPN's server, the
certificate, and a short list of settings in arguments and files. Which variables an app has, and with which values,
is `known-environment`; whether a route asks for a sign-in, `every-route-has-a-chain`; that no image is the lab's,
`image-registry`. Not seen from here: what people set in an app's own pages, and what is in an image.
"""

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from pulumi_policy import Severity

from policies.rules.configuration import files, variables
from policies.rules.containers import items, text_of
from policies.rules.literals import assignments, words
from policies.rules.props import Path, safe_name
from policies.rules.rule import (
    DEVELOPMENT,
    Config,
    Finding,
    Resource,
    ResourceValidation,
    in_development,
    rule,
    texts_setting,
)

SETTINGS: Final = {
    DEVELOPMENT: texts_setting("Stacks on which this rule is silent: the key of that name in policies/config.yaml.")
}


def _outside_development(validate: ResourceValidation) -> ResourceValidation:
    @wraps(validate)
    def outside(resource: Resource, config: Config) -> Iterator[Finding]:
        if not in_development(resource.stack, config):
            yield from validate(resource, config)

    return outside


_ON: Final = r"1|true|yes|on|enabled?"
_OFF: Final = r"0|false|no|off|none|disabled?|disabledforlocaladdresses"
_LOGS: Final = "makes the app log far more than it should, what people do and secrets included"
_NOBODY: Final = "lets people in without asking who they are"
_ANY_CERTIFICATE: Final = "makes the app accept any certificate"
FORBIDDEN: Final = (
    # The end of a setting's name, without case and what parts its words; its value; what is wrong with it.
    (r"level|verbosity|log", r"(?:.*[\s,;:|=])?(?:debug|trace|verbose)(?:[\s,;:|].*)?", _LOGS),
    (r"debug|trace|verbose", _ON, _LOGS),
    (r"pprof|profiling|api(?:insecure|dashboard)", _ON, "opens pages that are for a developer alone"),
    (r"enableadminapi", _ON, "lets anybody in reach delete what is stored"),
    (r"anonymous(?:enabled)?|allowsignup|noauth|disableauth", _ON, _NOBODY),
    (r"auth(?:entication)?(?:method|type|enabled|required)?", _OFF, _NOBODY),
    (r"authsubnetwhitelistenabled|bypasslocalauth", _ON, _NOBODY),
    (r"skipverify|nocheckcertificate", _ON, _ANY_CERTIFICATE),
    (r"certificatevalidation|(?:tls|ssl)verify", _OFF, _ANY_CERTIFICATE),
)


def _settings(resource: Resource) -> Iterator[tuple[Path, str, str]]:
    """What arguments and files set: where, the name, and the value; a flag without one has the value `true`.

    Not the environment: there `known-environment` has each name, with its value where a value is a door.
    """
    for key in ("entrypoints", "command"):
        arguments = [text_of(one) for one in items(resource.props.get(key))]
        for index, (word, following) in enumerate(pairwise([*arguments, "-"])):
            if flag := re.fullmatch(r"--?([A-Za-z][\w.-]*)", word):
                yield (key, index), flag[1], "true" if following.startswith("-") else following
            for name, value in assignments(word):
                yield (key, index), name, value
    for file in files(resource):
        for number, line in enumerate(text_of(file.text).splitlines(), 1):
            for name, value in assignments(line):
                yield (*file.path, number), name, value


@rule("no-dev-bypass", Severity.CRITICAL, settings=SETTINGS)
@_outside_development
def _bypass(resource: Resource, _config: Config) -> Iterator[Finding]:
    """On staging and production no app is told, by an argument or a file, to accept any certificate, to let people in
    without a sign-in, to serve a developer's pages or to log at a developer's level.

    Take it out, or set it on stacks of development alone.
    """
    for path, name, value in _settings(resource):
        # In a file the line tells enough.
        note = safe_name(name) if path[0] != "uploads" else None
        squashed, given = "".join(words(name)), value.strip("\"' ").casefold()
        for end, refused, problem in FORBIDDEN:
            if re.fullmatch(f".*(?:{end})", squashed) and re.fullmatch(refused, given, re.DOTALL):
                yield Finding(path, problem, note=note or "")


# Not `is_private`: that is also true of the addresses set aside for documentation.
_RANGES: Final = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.168.0.0/16", "::/127", "fc00::/7", "fe80::/10"),
)
_INSIDE: Final = tuple(map(ipaddress.ip_network, _RANGES))
_PEER: Final = "vpn-peer"
"""The VPN server of development, by the service's name."""
_ENDPOINT: Final = re.compile(r"(?:.*_)?ENDPOINT(?:_IP)?")
_REMOTE: Final = re.compile(r"^[ \t]*remote[ \t]+(\S+)", re.MULTILINE)
"""Where OpenVPN's own configuration says whom to connect to."""


def _is_inside(host: str) -> bool:
    """Whether a VPN's server can only be on this machine or its own networks."""
    if host.casefold() in ("localhost", _PEER):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _INSIDE if network.version == address.version)


@rule("no-embedded-vpn-peer", Severity.CRITICAL, settings=SETTINGS)
@_outside_development
def _embedded(resource: Resource, _config: Config) -> Iterator[Finding]:
    """On staging and production the tunnel ends at a provider: the peer inside the stack is there so that development
    needs no account, and hides nothing.

    Set nexus:vpn of this stack to a provider (type: wireguard or openvpn). A server of your own elsewhere in a
    private network is an exemption with a reason.
    """
    if resource.name in (f"{_PEER}-container", f"{_PEER}-seed"):
        yield Finding(("name",), "is the VPN server of development, which hides nothing")
    problem = "is an address on this machine or its own networks: the tunnel would end here"
    for path, name, value in variables(resource):
        if _ENDPOINT.fullmatch(name) and _is_inside(value):
            yield Finding(path, problem, note=name)
    for file in files(resource):
        if any(map(_is_inside, _REMOTE.findall(text_of(file.text)))):
            yield Finding(file.path, problem)


DEVELOPMENT_AUTHORITY: Final = "NEXUS local CA"
"""How the common name of the authority begins that `make up` makes (scripts/certificate.py)."""


@rule("no-dev-certificate", Severity.HIGH, settings=SETTINGS)
@_outside_development
def _certificate(resource: Resource, _config: Config) -> Iterator[Finding]:
    """On staging and production no certificate is of the authority that `make up` makes for development, or for
    localhost alone: whoever has that machine's key can pass for the platform.

    Set nexus:tls-certificate and nexus:tls-key to a certificate of the stack's own domain.
    """
    for file in files(resource):
        if problem := _of_development(text_of(file.text)):
            yield Finding(file.path, problem)


@lru_cache(maxsize=64)
def _of_development(text: str) -> str:
    """What is wrong with a chain of certificates; empty where nothing is, or where none can be read."""
    for block in re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL):
        try:
            certificate = x509.load_pem_x509_certificate(block.encode())
            issuers = [str(one.value) for one in certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
            lists = (one.value for one in certificate.extensions)
            named = (one for one in lists if isinstance(one, x509.SubjectAlternativeName))
            names = [name for one in named for name in one.get_values_for_type(x509.DNSName)]
        except (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension):
            continue
        if any(one.startswith(DEVELOPMENT_AUTHORITY) for one in issuers):
            return "is signed by the authority of dev, whose key lies on somebody's machine"
        if names and all(one == "localhost" or one.endswith(".localhost") for one in names):
            return "is for localhost alone"
    return ""


RULES: Final = (_bypass, _embedded, _certificate)
