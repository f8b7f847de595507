"""Family `vpn`: what the downloader rides keeps everything inside the tunnel.

Judged on every stack is each container that is a way out: by its image (gluetun), by gluetun's own setting
VPN_SERVICE_PROVIDER, or by its logical name in `gateways`; with it the one that fills its volumes, which is named
`vpn-seed` beside a `vpn-container` and is the only one that may, and the rules for the firewall (post-rules.txt)
wherever they are uploaded. Known are gluetun's settings up to 3.41 and their older names. That the tunnel ends at
a provider is `no-embedded-vpn-peer`; who shares the way out's network is the family `networks`. Not seen from here:
what a provider's own server list says, and a file on the host, which is refused for that reason.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pulumi_policy import Severity

from policies.rules.configuration import Setting, files, member, settings, switched_off, switched_on, texts
from policies.rules.containers import Mounted, items, mounts, specs, text_of
from policies.rules.props import ENVIRONMENT, UNKNOWN, Path, Value, canonical
from policies.rules.references import parse
from policies.rules.rule import DEVELOPMENT, Config, Finding, Resource, Rule, Stack, in_development, texts_setting

IMAGES: Final = ("qmcgaw/gluetun", "qdm12/gluetun")
OWN_PROGRAM: Final = "/gluetun-entrypoint"
DIRECTORIES: Final = ("/gluetun", "/iptables", "/run/secrets")
"""Where gluetun reads settings and rules."""
INTERFACE: Final = "tun0"
"""The downloader is bound to it, and the firewall lets it alone through."""

_PRIVATE: Final = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
_SMALLEST: Final = {4: 16, 6: 48}
"""The shortest prefix, by version, of a private network that traffic may go to outside the tunnel."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", text) if part]


def _networks(text: str) -> list[_Network] | None:
    """The networks of a list, those side by side as one; None where one cannot be read."""
    try:
        found = [ipaddress.ip_network(part, strict=False) for part in _parts(text)]
    except ValueError:
        return None
    four = ipaddress.collapse_addresses(one for one in found if isinstance(one, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(one for one in found if isinstance(one, ipaddress.IPv6Network))
    return [*four, *six]


def _small_and_private(text: str, _config: Config) -> bool:
    found = _networks(text)
    return found is not None and all(
        one.prefixlen >= _SMALLEST[one.version] and any(_within(one, private) for private in _PRIVATE)
        for one in found
    )


def _within(one: _Network, other: _Network) -> bool:
    return one.version == other.version and one.network_address in other and one.broadcast_address in other


def _everything(text: str, _config: Config) -> bool:
    """All addresses of version 4; the firewall drops what is of version 6 and not in the tunnel."""
    return any(str(one) == "0.0.0.0/0" for one in _networks(text) or ())


def _ports(setting: str) -> Callable[[str, Config], bool]:
    def allowed(text: str, config: Config) -> bool:
        given = config.get(setting)
        numbers = {one for one in given if isinstance(one, int | float)} if isinstance(given, list) else set()
        return all(re.fullmatch(r"\d{1,5}", part) and int(part) in numbers for part in _parts(text))

    return allowed


def _through_the_tunnel(text: str, _config: Config) -> bool:
    """Whether each resolver is gluetun's own or a public address, to which the tunnel is the only way."""
    return all(_public(re.sub(r"^\[(.*)\](?::\d+)?$|^([\d.]+):\d+$", r"\1\2", part)) for part in _parts(text))


def _public(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return text in ("127.0.0.1", "::1") or (address.is_global and not address.is_multicast)


def _asks(text: str, _config: Config) -> bool:
    """Whether a role of the control server is one that asks for a key or a password."""
    try:
        role = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(role, dict) and str(role.get("auth")).casefold() in ("apikey", "basic")


_ROUTES: Final = re.compile(
    r"(?:^|\s|--)(?:route-nopull|route-noexec|redirect-private|net_gateway|script-security\s+[2-9]|plugin\s|"
    r"pull-filter\s+(?:ignore|reject)\s+[\"']?(?:redirect|route))",
    re.IGNORECASE,
)
"""What makes OpenVPN leave the routes as they are, or run programs that may change them."""


@dataclass(frozen=True, kw_only=True)
class _Demand:
    """What a setting has to be where it is set. `names` are in the spelling of `canonical`.

    With `elsewhere` the stacks of development are let alone.
    """

    names: re.Pattern[str]
    met: Callable[[str, Config], bool]
    problem: str
    remedy: str
    elsewhere: bool = False


def _demand(
    names: str, met: Callable[[str, Config], bool], problem: str, remedy: str, *, elsewhere: bool = False
) -> _Demand:
    return _Demand(names=re.compile(names), met=met, problem=problem, remedy=remedy, elsewhere=elsewhere)


def _never(_text: str, _config: Config) -> bool:
    return False


_TAKE_OUT: Final = "Take it out"

_FIREWALL: Final = (
    _demand(
        r"firewall(?:enabled\w*)?",
        lambda text, _: switched_on(text),
        "switches off the firewall, which is all that stops a leak when the tunnel is down",
        _TAKE_OUT,
    ),
    _demand(
        r"firewalloutboundsubnets|extrasubnets",
        _small_and_private,
        "lets traffic past the tunnel to more than a small private network",
        "Take it out, or name private networks of at most /16 (IPv6: /48)",
    ),
    _demand(
        r"firewallinputports",
        _ports("input-ports"),
        "opens a port that is not one of this rule's setting `input-ports`",
        "Take the port out, or add it to the setting",
    ),
    _demand(
        r"firewallvpninputports|vpnportforwardinglisteningports?",
        lambda text, config: text == "0" or _ports("vpn-input-ports")(text, config),
        "opens a port to whoever is at the tunnel's other end, and is not one of the setting `vpn-input-ports`",
        "Take the port out, or add it to the setting",
    ),
    _demand(
        r"vpn(?:portforwarding)?(?:up|down)command",
        _never,
        "runs a command as root that may change routes and firewall",
        _TAKE_OUT,
    ),
)

_ROLE: Final = "httpcontrolserverauthdefaultrole"
_TUNNEL: Final = (
    _demand(
        r"(?:vpn|openvpn|wireguard|amneziawg)interface",
        lambda text, _: text == INTERFACE,
        f"is not {INTERFACE}, the one interface that the downloader and the firewall take for the tunnel",
        _TAKE_OUT,
    ),
    _demand(
        r"(?:wireguard|amneziawg|peer)allowedips",
        _everything,
        "sends a part of the traffic into the tunnel, and the rest elsewhere",
        "Take it out, or set it to every address: 0.0.0.0/0 and ::/0",
    ),
    _demand(
        r"openvpnflags",
        lambda text, _: not _ROUTES.search(text),
        "keeps OpenVPN from making the tunnel the way for everything",
        _TAKE_OUT,
    ),
    _demand(
        r"httpproxy|proxy|tinyproxy|shadowsocks",
        lambda text, _: switched_off(text),
        "is a proxy, by which others use the tunnel or this container goes another way",
        _TAKE_OUT,
    ),
    _demand(
        r"dnskeepnameserver",
        lambda text, _: switched_off(text),
        "asks the host's resolver for names, outside the tunnel",
        _TAKE_OUT,
    ),
    _demand(
        r"dns(?:plaintext)?address|dnsupstreamplainaddresses",
        _through_the_tunnel,
        "is a resolver that can be reached without the tunnel",
        "Take it out; an address of the provider's, inside the tunnel, is an exception with a reason",
    ),
    _demand(
        r"dnsserver|dot",
        lambda text, _: switched_on(text),
        "switches off the resolver that asks for names in encrypted form",
        "Take it out, or set it on stacks of development alone",
        elsewhere=True,
    ),
    _demand(
        r"dnsupstreamresolvertype",
        lambda text, _: text.casefold() != "plain",
        "asks for names in clear",
        "Take it out, or set it on stacks of development alone",
        elsewhere=True,
    ),
    _demand(_ROLE, _asks, "opens the control server, which can stop the tunnel", "Give it an API key"),
    # The file is the seed's, where a role is known by its name.
    _demand(
        rf"{_ROLE}(?:secret)?file",
        lambda text, _: text.endswith("role"),
        "names a file that no rule takes for a role of the control server",
        "Let the file's name end in `role`",
    ),
)


def _gateway(resource: Resource, given: Sequence[Setting], config: Config) -> bool:
    """Whether a resource is a way out."""
    if not any(specs(resource)):
        return False
    images = (spec.props.get("image") for spec in specs(resource))
    return (
        resource.name in texts(config.get("gateways"))
        or any(isinstance(one, str) and parse(one).repository.endswith(IMAGES) for one in images)
        or any(one.name == "VPN_SERVICE_PROVIDER" for one in given)
    )


def _seed(resource: Resource, config: Config) -> bool:
    """Whether it fills a way out's volumes."""
    return resource.kind == "Container" and resource.name in map(_seed_of, texts(config.get("gateways")))


def _seed_of(gateway: str) -> str:
    """The logical name of what fills the volumes of a way out."""
    return f"{gateway.removesuffix('-container')}-seed"


def _unmet(
    demands: Sequence[_Demand], given: Sequence[Setting], resource: Resource, config: Config
) -> Iterator[Finding]:
    developed = in_development(resource.stack, config)
    for setting in given:
        name = canonical(setting.name)
        for demand in demands:
            if not setting.value or (demand.elsewhere and developed):
                continue
            if demand.names.fullmatch(name):
                if not demand.met(setting.value, config):
                    yield _of(setting, demand.problem, demand.remedy)
            elif not name.startswith(_ROLE) and demand.names.fullmatch(re.sub(r"(?:secret)?file$", "", name)):
                yield _of(setting, "is read from a file, where no rule sees it", "Set it by its own name")


def _of(setting: Setting, problem: str, remedy: str) -> Finding:
    return Finding(path=setting.path, problem=problem, remedy=remedy, note=setting.note, value=setting.value)


def _firewall(resource: Resource, config: Config) -> Iterator[Finding]:
    for file in files(resource):
        known = file.text.split("\n") if isinstance(file.text, str) else []
        if file.base == "post-rules.txt" and (file.text is None or not all(map(_only_drops, known))):
            yield Finding(
                path=file.path,
                problem="has a line for the firewall that does more than drop packets",
                remedy="Leave only lines that begin with iptables -I or -A and end in -j DROP or REJECT",
            )
    given = settings(resource)
    gateway = _gateway(resource, given, config)
    if gateway or _seed(resource, config):
        yield from _unmet(_FIREWALL, given, resource, config)
        yield from _unseen(resource)
    if gateway:
        yield from _other_programs(resource)


_OPTIONS: Final = frozenset(
    {
        *("-i", "-o", "-s", "-d", "-p", "-m", "--in-interface", "--out-interface", "--source", "--destination"),
        *("--protocol", "--match", "--sport", "--dport", "--sports", "--dports", "--state", "--ctstate"),
        *("--uid-owner", "--gid-owner", "--reject-with", "--src-type", "--limit-iface-out"),
    }
)
_ADD: Final = frozenset({"-I", "-A", "--insert", "--append"})
_JUMP: Final = frozenset({"-j", "--jump"})


def _only_drops(line: str) -> bool:
    """Whether a line of post-rules.txt is empty, a remark, or a rule that lets nothing through."""
    program, *words = line.split() or ["#"]
    if program.startswith("#"):
        return True
    options = [word for word in words if word.startswith("-")]
    jumps = [after for word, after in pairwise(words) if word in _JUMP]
    return (
        re.fullmatch(r"ip6?tables(?:-nft|-legacy)?", program) is not None
        and sum(word in _ADD for word in options) == 1
        and len(jumps) == 1
        and jumps[0] in ("DROP", "REJECT")
        and all(word in _ADD | _JUMP | _OPTIONS for word in options)
    )


def _unseen(resource: Resource) -> Iterator[Finding]:
    """Files of the host that gluetun would read."""
    remedy = "Write the file in the program, as one of the service's config or secrets"
    uploads = member(resource.props, "uploads")
    for index, upload in enumerate(uploads if isinstance(uploads, list) else []):
        source = member(upload, "source")
        if isinstance(source, str) and source:
            yield Finding(
                path=("uploads", index, "source"), problem="is a file that no rule can judge", remedy=remedy
            )
    for spec in specs(resource):
        for mount in mounts(spec):
            target = "/" + mount.target.strip("/")
            near = any(f"{one}/".startswith(f"{target}/") or target.startswith(f"{one}/") for one in DIRECTORIES)
            if mount.kind == "bind" and (near or target == "/"):
                yield Finding(
                    path=mount.path,
                    problem="brings files of the host that no rule can judge to where gluetun reads its own",
                    remedy=remedy,
                )


def _other_programs(resource: Resource) -> Iterator[Finding]:
    """What runs in a way out beside gluetun, or before it."""
    for spec in specs(resource):
        first, then = ("commands", "args") if spec.swarm else ("entrypoints", "command")
        for key, allowed in ((first, [OWN_PROGRAM]), (then, [])):
            words = [word for word in items(spec.props.get(key)) if word is not UNKNOWN]
            if words and words != allowed:
                yield Finding(
                    path=(*spec.path, key),
                    problem="runs something else than gluetun, as root and with the right to change its firewall",
                    remedy=_TAKE_OUT,
                )


def _everything_inside(resource: Resource, config: Config) -> Iterator[Finding]:
    given = settings(resource)
    gateway = _gateway(resource, given, config)
    if not gateway and not _seed(resource, config):
        return
    yield from _unmet(_TUNNEL, given, resource, config)
    for file in files(resource):
        if not isinstance(file.text, str):
            continue
        if any(_ROUTES.search(line) for line in file.text.splitlines() if not line.lstrip().startswith(("#", ";"))):
            yield Finding(
                path=file.path,
                problem="keeps OpenVPN from making the tunnel the way for everything",
                remedy="Take out what is about routes, filters and programs",
            )
        if file.base.endswith("role") and not _asks(file.text, config):
            yield Finding(
                path=file.path,
                problem="is no role of the control server that asks for a key",
                remedy="Give it an API key",
            )
    for setting in given:
        if setting.name in ("AUTH", "ROLES_AUTH") and switched_off(setting.value):
            yield _of(setting, "opens the control server, which can stop the tunnel", "Give the role an API key")
    if gateway and not any(canonical(one.name).startswith(_ROLE) for one in given):
        yield from _without_role(resource)


def _without_role(resource: Resource) -> Iterator[Finding]:
    if any(entry.within & ENVIRONMENT and entry.value is UNKNOWN for entry in resource.entries):
        return  # it may be there
    for spec in specs(resource):
        path: Path = (*spec.path, "env" if spec.swarm else "envs")
        yield Finding(
            path=path,
            problem="sets no role for the control server, which is open then and can stop the tunnel",
            remedy="Set HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE to a file with an API key",
        )


def _other_files(stack: Stack, config: Config) -> Iterator[Finding]:
    """What else than its own seed puts files into a way out's volumes."""
    holders = (*stack.of("Container"), *stack.of("Service"))
    gateways = [one for one in holders if _gateway(one, settings(one), config)]
    for gateway in gateways:
        volumes = {mount.source for mount in _volumes(gateway)}
        seed = _seed_of(gateway.name)
        others = [one for one in holders if one not in gateways and not (one.name == seed and _seed(one, config))]
        for one in others:
            for mount in _volumes(one):
                if mount.source in volumes and mount.read_only is not True:
                    yield Finding(
                        path=mount.path,
                        problem="writes where a way out reads its files, and no rule judges what",
                        remedy=f"Let its seed alone fill its volumes, and name the way out in `gateways` ({seed})",
                        resource=one,
                    )
        for volume in stack.of("Volume"):
            if text_of(member(volume.props, "name")) in volumes:
                yield from _kept_elsewhere(volume)


def _volumes(resource: Resource) -> Iterator[Mounted]:
    for spec in specs(resource):
        yield from (one for one in mounts(spec) if one.kind != "bind" and one.source)


def _kept_elsewhere(volume: Resource) -> Iterator[Finding]:
    """What gives a volume files that are not the stack's."""
    driver, options = (member(volume.props, key) for key in ("driver", "driverOpts"))
    foreign = isinstance(driver, str) and driver not in ("", "local")
    if foreign or (isinstance(options, dict) and options and options.get("type") != "tmpfs"):
        yield Finding(
            path=("driver" if foreign else "driverOpts",),
            problem="brings files that no rule can judge to where a way out reads its own",
            remedy="Let the engine keep the volume",
            resource=volume,
        )


def _numbers(description: str, *default: Value) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer"}, "default": list(default), "description": description}


_GATEWAYS: Final = {
    "gateways": texts_setting(
        "Logical names of the containers that are a way out, whatever their image is.", ["vpn-container"]
    )
}

RULES: Final = (
    Rule(
        name="vpn-firewall",
        description=(
            "The firewall around the tunnel is on and as it was declared: nothing leaves past the tunnel but to a "
            "small private network, no other port is open, no added line lets anything through, and nothing else "
            "runs where it could be changed."
        ),
        remediation=(
            "Take the setting, line, mount or command out. A port that an app needs goes into this rule's settings."
        ),
        severity=Severity.CRITICAL,
        judge=_firewall,
        settings={
            **_GATEWAYS,
            "input-ports": _numbers("Ports that the firewall may open on the container's own networks.", 8080),
            "vpn-input-ports": _numbers("Ports that it may open to whoever is at the tunnel's other end."),
        },
    ),
    Rule(
        name="vpn-keeps-all-traffic",
        description=(
            "All traffic takes the tunnel, names included: every address is routed into it, resolvers are reached "
            "through it, no proxy goes around it, and its control server asks for a key. A stack of development may "
            "ask for names in clear: its peer is no provider."
        ),
        remediation="Take the setting out: gluetun's own defaults keep everything inside.",
        severity=Severity.CRITICAL,
        judge=_everything_inside,
        settings={
            **_GATEWAYS,
            DEVELOPMENT: texts_setting(
                "Stacks that may ask for names in clear: the key of that name in policies/config.yaml.", []
            ),
        },
    ),
    Rule(
        name="vpn-files-from-its-seed",
        description=(
            "What lies where gluetun reads its own files is put there by its seed alone, whose files the two rules "
            "above judge: no other container writes to its volumes, and the engine keeps them."
        ),
        remediation="Take the mount out, or put the files into the seed of the way out.",
        severity=Severity.HIGH,
        judge_stack=_other_files,
        settings=_GATEWAYS,
    ),
)
