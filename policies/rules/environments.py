"""Family `environments`: what serves development has no place where people depend on it.

On the stacks of `development-stacks` (policies/config.yaml) these rules are silent; every other stack counts as
staging or production. Judged are images and what a container is configured with (configuration.py): environment,
arguments and files, by the names of their settings. Whether each route asks for a sign-in is judged on every stack,
by `every-route-has-a-chain`. Not seen from here: what people set in an app's own pages, what is in an image, and
what an entrypoint's script writes itself.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from pulumi_policy import Severity

from policies.rules.configuration import Setting, files, settings, switched_off, switched_on, texts
from policies.rules.props import COMMANDS, Path
from policies.rules.references import Reference, parse
from policies.rules.rule import DEVELOPMENT, Config, Finding, Judge, Resource, Rule, in_development, texts_setting

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    DEVELOPMENT: texts_setting(
        "Stacks on which this rule is silent: the key of that name in policies/config.yaml.", []
    )
}


def _elsewhere(judge: Judge) -> Judge:
    """`judge` for the stacks on which somebody depends."""

    def judged(resource: Resource, config: Config) -> Iterator[Finding]:
        if not in_development(resource.stack, config):
            yield from judge(resource, config)

    return judged


def _on(value: str) -> bool:
    return value != "" and not switched_off(value)


def _open(value: str) -> bool:
    return switched_off(value) or value.casefold() in {
        "anonymous",
        "anonymously",
        "open",
        "bypass",
        "disabledforlocaladdresses",
    }


def _lax(value: str) -> bool:
    """What makes a check of certificates no check, for whoever it may be."""
    return switched_off(value) or value.casefold() in {"disabledforlocaladdresses", "cert_none", "ignore", "skip"}


def _talkative(value: str) -> bool:
    """A log level, or one of several (`info,sqlx=debug`), that writes down everything."""
    words = (word.strip("\"'") for word in re.split(r"[\s,;:|=]+", value.casefold()))
    return any(re.fullmatch(r"debug\d?|dbu?g|trace|trc|verbose|silly|fine(?:r|st)", word) for word in words)


def _high(value: str) -> bool:
    return re.fullmatch(r"(?:[4-9]|\d\d+)", value) is not None


def _lowest(value: str) -> bool:
    """A level by number: 7 and more are for debugging in syslog's way, 10 and below 0 in those of Python and Go."""
    return re.fullmatch(r"-\d+|[7-9]|10", value) is not None


def _for_development(value: str) -> bool:
    return _for_developers(value) or value.casefold() == "local"


def _for_developers(value: str) -> bool:
    return value.casefold() in {"dev", "devel", "develop", "development", "debug", "debugging"}


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A setting that a rule refuses: its name, as configuration.py spells it, and the values that are refused."""

    name: re.Pattern[str]
    value: Callable[[str], bool]
    problem: str


def _switch(name: str, value: Callable[[str], bool], problem: str) -> Switch:
    """The last words of a name, also where they run together: INSECURE_SKIP_VERIFY and INSECURESKIPVERIFY."""
    loose = re.sub(r"(\(\?<!\w+\))|_", lambda found: found[1] or "_?", name)
    return Switch(name=re.compile(rf"(?:.*_)?(?:{loose})", re.DOTALL), value=value, problem=problem)


_NOT: Final = r"(?<!NO_)(?<!NOT_)(?<!DISABLE_)(?<!WITHOUT_)(?<!DISABLED_)"

_LOGS: Final = "makes the app log far more than it should, what people do and secrets included"
_PAGES: Final = "opens pages that are for a developer alone"
_DEBUG: Final = (
    _switch(r"\w*LEVEL|LOG|LOGGING|LOGGER|VERBOSITY|LOG_FILTERS?", _talkative, _LOGS),
    Switch(name=re.compile(r"(?:.*_)?(?:LOG|LOGGING|SERILOG)_\w+"), value=_talkative, problem=_LOGS),
    _switch("LOG_LEVEL", _lowest, _LOGS),
    Switch(name=re.compile("V|(?:.*_)?VERBOSITY"), value=_high, problem=_LOGS),  # of Kubernetes' programs, OpenVPN
    Switch(name=re.compile("VV+"), value=_on, problem=_LOGS),
    _switch(
        rf"{_NOT}(?:DEBUG|XDEBUG|TRACE|VERBOSE|LEVEL_DEBUG|LEVEL_TRACE)(?:_(?:ENABLED?|MODE|ON|LOGS?|LOGGING))?",
        _on,
        _LOGS,
    ),
    _switch(r"(?:ENABLE|WITH|USE)_(?:DEBUG|TRACE|VERBOSE)\w*", _on, _LOGS),
    _switch(rf"{_NOT}(?:PPROF|PROFILING|PROFILER)(?:_(?:ENABLED?|ON))?", _on, _PAGES),
    _switch(r"(?:ENABLE|WITH|USE)_(?:PPROF|PROFILING)", _on, _PAGES),
    _switch(r"API_(?:INSECURE|DASHBOARD|DEBUG)", _on, _PAGES),
    Switch(name=re.compile("(?:TRAEFIK_)?API"), value=switched_on, problem=_PAGES),
)

_MODE: Final = "runs the app as developers run it"
_AROUND: Final = "goes around what protects the app"
_TRUST: Final = "makes the app accept any certificate"
_BYPASS: Final = (
    _switch(
        r"ENV|ENVIRONMENT|APP_MODE|RUN_MODE|RUNTIME_MODE|GIN_MODE|NODE_ENV|PROFILES_ACTIVE", _for_development, _MODE
    ),
    _switch("MODE", _for_developers, _MODE),
    _switch(rf"{_NOT}(?:DEV|DEVELOPMENT|DEV_MODE|DEVELOPMENT_MODE|DEV_MODE_ENABLED)", switched_on, _MODE),
    _switch(
        rf"{_NOT}(?<!AUTH_)(?<!LOGIN_)(?<!NO_DEV_)(?:DEV_)?BYPASS(?:_ENABLED)?|{_NOT}(?:DEV|SKIP|ENABLE)_BYPASS\w*",
        _on,
        _AROUND,
    ),
    _switch(
        rf"{_NOT}(?:INSECURE_SKIP_VERIFY|SKIP_(?:TLS_|SSL_|CERT(?:IFICATE)?_)?VERIF\w*|(?:TLS|SSL)_SKIP_VERIFY|"
        r"NO_(?:SSL_|TLS_)?VERIFY|NO_CHECK_CERTIFICATE|TLS_INSECURE|SSL_INSECURE|ALLOW_INSECURE)",
        _on,
        _TRUST,
    ),
    Switch(name=re.compile("INSECURE"), value=_on, problem=_TRUST),
    _switch(
        r"(?:TLS|SSL|CERT|CERTIFICATE)_(?:VERIFY|VERIFICATION|VALIDATION|CHECK)|VERIFY_(?:TLS|SSL|CERT\w*|PEER|HOST)|"
        r"CERTIFICATE_VALIDATION|REJECT_UNAUTHORIZED|HTTPS_?VERIFY|PYTHONHTTPSVERIFY|REQUIRE_TLS",
        _lax,
        _TRUST,
    ),
    _switch("(?:FORWARDED_HEADERS|PROXY_PROTOCOL)_INSECURE", _on, "believes any address that a request names"),
    _switch("WEB_ENABLE_ADMIN_API", _on, "lets anybody in reach delete what is stored"),
    Switch(
        name=re.compile(r"FIREWALL(?:_ENABLED\w*)?"),
        value=switched_off,
        problem="switches off the firewall that keeps traffic inside the tunnel",
    ),
)

_NOBODY: Final = "lets people in without asking who they are"
_SIGN_IN: Final = (
    _switch(r"(?:AUTH_)?ANONYMOUS(?:_AUTH)?(?:_ENABLED?)?|(?:ENABLE|ALLOW)_ANONYMOUS\w*", _on, _NOBODY),
    _switch(r"AUTH_PROXY_ENABLED", _on, "believes whoever names a user in a header"),
    _switch(r"(?:USERS_)?ALLOW_SIGN_UP|ENABLE_SIGN_?UP|OPEN_REGISTRATION", _on, "lets anybody make an account"),
    _switch(
        rf"{_NOT}(?<!SMTP_)(?<!SKIP_)(?<!BYPASS_)(?:AUTH|AUTHENTICATION|SIGN_IN|LOGIN)(?:_METHOD|_TYPE|_MODE|_REQUIRED|_ENABLED?)?|"
        r"(?:ENABLE|REQUIRE|USE)_(?:AUTH|AUTHENTICATION|SIGN_IN|LOGIN)|AUTHENTICATION_(?:METHOD|REQUIRED)",
        _open,
        _NOBODY,
    ),
    _switch(
        r"(?:NO|DISABLE|DISABLED|SKIP|BYPASS|WITHOUT)_?(?:AUTH|AUTHENTICATION|SIGN_IN|LOGIN)(?:_ENABLED)?|NOAUTH|"
        r"(?:AUTH|AUTHENTICATION|SIGN_IN|LOGIN)_(?:DISABLED|BYPASS|OFF)",
        _on,
        _NOBODY,
    ),
    _switch(r"LOCAL_HOST_AUTH|LOCALHOST_AUTH", switched_off, "lets in whoever comes from the same network namespace"),
    _switch(
        r"AUTH_SUBNET_WHITELIST_ENABLED|BYPASS_LOCAL_AUTH|BYPASS_AUTH_SUBNET_WHITELIST_ENABLED",
        _on,
        "lets in whole networks without asking",
    ),
    _switch(r"DEFAULT_POLICY", _open, _NOBODY),
)


def _bypass(resource: Resource, config: Config) -> Iterator[Finding]:
    yield from _switches(_BYPASS, "Take it out, or set it on dev stacks alone")(resource, config)
    for file in files(resource):
        if file.opaque:
            yield Finding(
                path=file.path,
                problem="holds settings by its name and cannot be read as an app may read it",
                remedy="Write it in UTF-8, and XML without a DOCTYPE",
            )


def _switches(table: tuple[Switch, ...], remedy: str) -> Judge:
    def judge(resource: Resource, _config: Config) -> Iterator[Finding]:
        for setting in settings(resource):
            problem = _refused(table, setting)
            if problem:
                yield Finding(path=setting.path, problem=problem, remedy=remedy, note=setting.note)

    return _elsewhere(judge)


def _refused(table: tuple[Switch, ...], setting: Setting) -> str:
    name = setting.name[-_LONGEST:]
    found = (one.problem for one in table if one.name.fullmatch(name) and one.value(setting.value))
    return next(found, "")


_LONGEST: Final = 160
"""Characters of a name that are looked at, from its end: a pattern's time grows with the square of them."""


# Keys under which the provider takes a reference to an image; `name` is one of a RemoteImage alone.
_REFERENCES: Final = frozenset({"image", "imagename", "repodigest", "sourceimage", "targetimage", "fromimage"})
_NAMED_BY_REFERENCE: Final = frozenset({"RemoteImage", "RegistryImage"})


def _references(resource: Resource) -> Iterator[tuple[Path, Reference]]:
    for entry in resource.entries:
        if isinstance(entry.value, str) and (
            entry.key in _REFERENCES
            or (resource.kind in _NAMED_BY_REFERENCE and len(entry.path) == 1 and entry.key == "name")
        ):
            yield entry.path, parse(re.sub(r"^[\w+.-]+://", "", entry.value.strip().casefold()))


def _loopback(host: str) -> bool:
    if host in ("localhost", "host.docker.internal", "ip6-localhost") or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


LAB: Final = "org.nexus-media.lab"
"""Labels of this prefix are on every image that the lab builds (lab/images)."""


def _stand_in(resource: Resource, _config: Config) -> Iterator[Finding]:
    remedy = "Remove nexus:images.lock from the stack's settings: then the pinned images are used"
    for path, reference in _references(resource):
        if _loopback(reference.host):
            yield Finding(
                path=path, problem="comes from a registry on the machine itself, as the lab's do", remedy=remedy
            )
    for entry in resource.entries:
        if "labels" not in entry.within:
            continue
        key = entry.path[-1]
        named = isinstance(key, str) and key.casefold().startswith(LAB)
        if named or (isinstance(entry.value, str) and entry.value.strip().casefold().startswith(LAB)):
            yield Finding(path=entry.path, problem="marks an image of the lab", remedy=remedy)


PEERS: Final = (
    "linuxserver/wireguard",
    "weejewel/wg-easy",
    "wg-easy/wg-easy",
    "masipcat/wireguard-go",
    "firezone/firezone",
)
PEER_NAME: Final = "vpn-peer"

# Not `is_private`: that is also true of the addresses set aside for documentation.
_INSIDE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "::/127", "fc00::/7", "fe80::/10"),
    )
)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _inside(endpoint: str) -> bool:
    """Whether an endpoint, with or without its port, can only be on this machine or its own networks."""
    text = endpoint.strip().strip("\"'")
    bare = re.fullmatch(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+", text)
    host = next((part for part in bare.groups() if part), "") if bare else text
    if host.casefold() == PEER_NAME or _loopback(host.casefold()):
        return True
    address = _address(host)
    return address is not None and any(
        address in network for network in _INSIDE if network.version == address.version
    )


_ENDPOINT: Final = re.compile(
    r"(?:.*_)?(?:WIREGUARD|VPN|OPENVPN|PEER|AMNEZIAWG|WG)_ENDPOINT(?:_IP)?|(?:.*_)?OPENVPN_(?:TARGET_)?IP"
)


_REMOTE: Final = re.compile(r"^[ \t]*remote[ \t]+(\S+)", re.MULTILINE)
"""Where OpenVPN's own configuration says whom to connect to."""
_FLAG: Final = re.compile(r"(?:^|\s)--remote(?:\s+|=)([^\s\"']+)")


def _remotes(resource: Resource) -> Iterator[tuple[Path, str, str]]:
    """Path, name and address of each server of a tunnel."""
    openvpn = any(
        entry.key in COMMANDS and isinstance(entry.value, str) and "openvpn" in entry.value.casefold()
        for entry in resource.entries
    )
    for setting in settings(resource):
        if _ENDPOINT.fullmatch(setting.name) or (openvpn and setting.name == "REMOTE"):
            yield setting.path, setting.note, setting.value
        elif setting.name.endswith("OPENVPN_FLAGS"):
            for address in _FLAG.findall(setting.value):
                yield setting.path, setting.note, address
    for file in files(resource):
        for address in _REMOTE.findall(file.text) if isinstance(file.text, str) else ():
            yield file.path, "", address


def _embedded(resource: Resource, config: Config) -> Iterator[Finding]:
    remedy = "Set nexus:vpn of this stack to a provider (type: wireguard or openvpn)"
    peers = texts(config.get("images"))
    for path, reference in _references(resource):
        if any(map(reference.ends_in, peers)):
            yield Finding(path=path, problem="is a VPN server of one's own, which hides nothing", remedy=remedy)
    if resource.kind in ("Container", "Service"):
        yield from islice(_named_as_peer(resource, remedy), 1)
    for path, note, address in _remotes(resource):
        if _inside(address):
            yield Finding(
                path=path,
                problem="is an address on this machine or its own networks: the tunnel would end here",
                remedy=remedy,
                note=note,
            )


def _named_as_peer(resource: Resource, remedy: str) -> Iterator[Finding]:
    problem = "is the VPN peer of dev"
    if re.fullmatch(rf"{PEER_NAME}(?:-container|-service)?", resource.name):
        yield Finding(path=("name",), problem=problem, remedy=remedy)
    for entry in resource.entries:
        if not isinstance(entry.value, str):
            continue
        name = entry.value.strip().casefold()
        called = (entry.key == "name" and len(entry.path) == 1 and name.endswith(f"-{PEER_NAME}")) or (
            entry.key in ("name", "hostname", "aliases") and name == PEER_NAME
        )
        if called:
            yield Finding(path=entry.path, problem=problem, remedy=remedy)


DEVELOPMENT_AUTHORITY: Final = "NEXUS local CA"
"""How the common name of the authority begins that `make up` makes (scripts/certificate.py)."""


def _certificate(resource: Resource, _config: Config) -> Iterator[Finding]:
    remedy = "Set nexus:tls-certificate and nexus:tls-key to a certificate of the stack's own domain"
    for file in files(resource):
        if isinstance(file.text, str) and (problem := _of_development(file.text)):
            yield Finding(path=file.path, problem=problem, remedy=remedy)


@lru_cache(maxsize=64)
def _of_development(text: str) -> str:
    """What is wrong with a chain of certificates; empty where nothing is, or where none can be read."""
    for block in re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL):
        try:
            certificate = x509.load_pem_x509_certificate(block.encode())
            issuers = [str(one.value) for one in certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
            names = [str(one) for one in _names(certificate)]
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
    return found.value.get_values_for_type(x509.DNSName)


RULES: Final = (
    Rule(
        name="no-dev-bypass",
        description=(
            "On staging and production no app runs in a mode for developers, accepts any certificate, or goes "
            "without the firewall around the tunnel: each is a door that development leaves open. A file of settings "
            "that cannot be read as the app may read it, in another encoding or with a DOCTYPE, is refused as well."
        ),
        remediation="Take the setting out, or set it for the stacks of development alone.",
        severity=Severity.HIGH,
        judge=_elsewhere(_bypass),
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
            "elsewhere in a private network is an exception with a reason."
        ),
        severity=Severity.CRITICAL,
        judge=_elsewhere(_embedded),
        settings={
            **SETTINGS,
            "images": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "default": list(PEERS),
                "description": "Repositories of VPN servers, without registry, tag and digest.",
            },
        },
    ),
    Rule(
        name="no-stand-in-image",
        description=(
            "On staging and production no image is one of the lab's: those are stand-ins and older builds, from a "
            "registry on the machine itself, that pass for the real ones in tests."
        ),
        remediation="Remove `nexus:images.lock` from the stack's settings, so that the pinned images are used.",
        severity=Severity.CRITICAL,
        judge=_elsewhere(_stand_in),
        settings=SETTINGS,
    ),
    Rule(
        name="no-debug-flag",
        description=(
            "On staging and production no app logs at a developer's level or serves pages for developers (profiles, "
            "Traefik's dashboard): both tell what nobody should read."
        ),
        remediation="Take the flag out, or set the level to `info`; set it for the stacks of development alone.",
        severity=Severity.MEDIUM,
        judge=_switches(_DEBUG, "Take it out, or lower the level"),
        settings=SETTINGS,
    ),
    Rule(
        name="no-open-sign-in",
        description=(
            "On staging and production no app lets people in without a sign-in: no anonymous access, no accounts for "
            "everybody, no networks that are let in unasked. `External` of the *arr apps is judged at their routes."
        ),
        remediation="Take the setting out, so that the app or the edge asks for a name and a password.",
        severity=Severity.CRITICAL,
        judge=_switches(_SIGN_IN, "Take it out: the app or the edge has to ask for a name and a password"),
        settings=SETTINGS,
    ),
    Rule(
        name="no-dev-certificate",
        description=(
            "On staging and production no certificate is of the authority that `make up` makes for development, or "
            "for localhost alone: whoever has that machine's key can pass for the platform."
        ),
        remediation="Set `nexus:tls-certificate` and `nexus:tls-key` to a certificate of the stack's own domain.",
        severity=Severity.HIGH,
        judge=_elsewhere(_certificate),
        settings=SETTINGS,
    ),
)
