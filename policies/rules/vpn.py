"""Family `vpn`: the VPN gateway, whose network the downloader shares, keeps everything inside the tunnel.

Checked is each container that is a gateway: by its logical name in `gateways`, by its image (gluetun), or by
gluetun's own setting VPN_SERVICE_PROVIDER; with it the init container that fills its volumes. gluetun reads settings
from its environment, and from /run/secrets by the file's name: each of both is on the lists in policies/config.yaml,
and has a value that is there. That the tunnel ends at a provider is `no-embedded-vpn-peer`, who shares the gateway's
network the family `networks`, and whose files its volumes hold `declared-volumes`. Not seen from here: a provider's
list of servers.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from pulumi_policy import Severity

from policies.rules.configuration import files, texts, variables
from policies.rules.containers import is_init, items, table, text_of
from policies.rules.props import UNKNOWN, Value
from policies.rules.references import parse
from policies.rules.rule import DEVELOPMENT, Config, Finding, Resource, Rule, in_development, texts_setting

IMAGE: Final = "qmcgaw/gluetun"
RULES_FILE: Final = "post-rules.txt"

_FIREWALL: Final = re.compile(r"(?:.*_)?FIREWALL.*|EXTRA_SUBNETS|VPN_PORT_FORWARDING.*|.*_COMMAND")
"""Names of settings that are the firewall's, or may change it."""
_ROUTES: Final = re.compile(
    r"\s*(?:--)?(?:route-nopull|route-noexec|redirect-private|script-security\s+[2-9]|plugin\s|up\s|down\s|"
    r"pull-filter\s+(?:ignore|reject)\s+[\"']?(?:redirect|route))|.*net_gateway",
    re.IGNORECASE,
)
"""What makes OpenVPN leave the routes as they are, or run programs that may change them."""


def is_gateway(resource: Resource, config: Config) -> bool:
    """Whether a container is a VPN gateway."""
    if resource.kind != "Container" or is_init(resource.props):
        return False
    image = text_of(resource.props.get("image"))
    return (
        resource.name in table(config.get("gateways"))
        or parse(image).ends_in(IMAGE)
        or any(name == "VPN_SERVICE_PROVIDER" for _, name, _ in variables(resource))
    )


def _is_init(resource: Resource, config: Config) -> bool:
    return resource.name in table(config.get("gateways")).values()


def _unlisted(resource: Resource, config: Config, *, firewall: bool) -> Iterator[Finding]:
    """The variables of one of the two rules that are not on its list."""
    rule = "vpn-firewall" if firewall else "vpn-keeps-all-traffic"
    listed = table(config.get("variables"))
    if in_development(resource.stack, config):
        listed = {**listed, **table(config.get("in-development"))}
    for path, name, value in variables(resource):
        if (_FIREWALL.fullmatch(name) is not None) is not firewall:
            continue
        wanted = listed.get(name)
        if not isinstance(wanted, str) or not re.fullmatch(wanted, value):
            yield Finding(
                path=path,
                problem="is a setting of the VPN gateway that no line names, or not with this value",
                advice=f"Take it out; or have it reviewed as a line of settings.{rule}.variables in "
                "policies/config.yaml",
                note=name,
                value=value,
            )


def _firewall(resource: Resource, config: Config) -> Iterator[Finding]:
    if is_gateway(resource, config):
        yield from _unlisted(resource, config, firewall=True)
        for key in ("entrypoints", "command"):
            if any(word is not UNKNOWN for word in items(resource.props.get(key))):
                yield Finding(
                    path=(key,),
                    problem="runs something else than the gateway's own program, as root beside its firewall",
                    advice="Take it out",
                )
    if not _is_init(resource, config):
        return
    listed = texts(config.get("files"))
    for file in files(resource):
        if isinstance(file.name, str) and file.name not in listed:
            yield Finding(
                path=file.path,
                problem="is a file that no line names: the VPN gateway may read a setting from it",
                advice="Take it out; or have it reviewed as a line of settings.vpn-firewall.files in "
                "policies/config.yaml",
            )
        elif file.base == RULES_FILE and isinstance(file.text, str) and not all(map(_drops, file.text.split("\n"))):
            yield Finding(
                path=file.path,
                problem="has a line for the firewall that does more than drop packets",
                advice="Leave only lines that begin with iptables -I or -A and end in -j DROP or REJECT",
            )


_OPTIONS: Final = frozenset(
    {
        *("-I", "-A", "-j", "-i", "-o", "-s", "-d", "-p", "-m", "--dport", "--dports", "--sport", "--sports"),
        *("--state", "--ctstate", "--src-type", "--limit-iface-out", "--reject-with", "--uid-owner", "--gid-owner"),
    }
)


def _drops(line: str) -> bool:
    """Whether a line of the rules is empty, a remark, or a rule that lets nothing through."""
    program, *words = line.split() or ["#"]
    if program.startswith("#"):
        return True
    options = [word for word in words if word.startswith("-")]
    targets = [after for word, after in pairwise(words) if word == "-j"]
    return (
        re.fullmatch(r"ip6?tables(?:-nft|-legacy)?", program) is not None
        and len([word for word in options if word in ("-I", "-A")]) == 1
        and targets in (["DROP"], ["REJECT"])
        and _OPTIONS.issuperset(options)
    )


def _everything_inside(resource: Resource, config: Config) -> Iterator[Finding]:
    if is_gateway(resource, config):
        yield from _unlisted(resource, config, firewall=False)
        given = {name for _, name, _ in variables(resource)}
        if UNKNOWN not in items(resource.props.get("envs")):
            for name in texts(config.get("required")):
                if name not in given:
                    yield Finding(
                        path=("envs",),
                        problem="sets no role for the control server, which is open then and can stop the tunnel",
                        advice=f"Set {name}",
                    )
    if _is_init(resource, config):
        for file in files(resource):
            if not isinstance(file.text, str):
                continue
            if file.base.endswith("role") and not _asks(file.text):
                yield Finding(
                    path=file.path,
                    problem="is no role of the control server that asks for a key",
                    advice="Give it an API key",
                )
            elif file.base.endswith(".ovpn") and any(map(_ROUTES.match, file.text.splitlines())):
                yield Finding(
                    path=file.path,
                    problem="keeps OpenVPN from making the tunnel the way for everything",
                    advice="Take out what is about routes, filters and programs",
                )


def _asks(text: str) -> bool:
    try:
        role: object = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(role, dict) and role.get("auth") == "apikey" and bool(role.get("apikey"))


def _table(description: str, default: dict[str, str] | None = None) -> dict[str, Any]:
    values: dict[str, Value] = {"type": "string"}
    return {
        "type": "object",
        "additionalProperties": values,
        "default": default or {},
        "description": description,
    }


_VARIABLES: Final = "Settings by name, each with the regular expression that its whole value matches."
_GATEWAYS: Final = {
    "gateways": _table(
        "Of each VPN gateway the init container that fills its volumes, by logical names.",
        {"vpn-container": "vpn-seed"},
    )
}

RULES: Final = (
    Rule(
        name="vpn-firewall",
        description=(
            "The firewall around the tunnel is as it was declared: the gateway has the settings, ports and files "
            "that a line names, no added rule lets anything through, and nothing else runs beside it."
        ),
        remediation="Take the setting, file, rule or command out. What is needed is a line in policies/config.yaml.",
        severity=Severity.CRITICAL,
        validate=_firewall,
        settings={
            **_GATEWAYS,
            "variables": _table(_VARIABLES),
            "files": texts_setting("The files that the init container of a gateway may write."),
        },
    ),
    Rule(
        name="vpn-keeps-all-traffic",
        description=(
            "All traffic takes the tunnel, names included: the gateway has the settings that a line names, with a "
            "value that is there, its control server asks for a key, and OpenVPN makes all routes. A stack of "
            "development may ask for names in clear: its peer is no provider."
        ),
        remediation="Take the setting out: gluetun's own defaults keep everything inside.",
        severity=Severity.CRITICAL,
        validate=_everything_inside,
        settings={
            **_GATEWAYS,
            "variables": _table(_VARIABLES),
            "in-development": _table("The same for stacks of development alone, in place of those above."),
            "required": texts_setting("Settings that a gateway must have."),
            DEVELOPMENT: texts_setting("The key of that name in policies/config.yaml."),
        },
    ),
)
