"""Family `vpn`: the VPN gateway, whose network the downloader shares, keeps everything inside the tunnel.

Checked is each container that is a gateway, by its logical name in `gateways`, with the init container that fills its
volumes: no other can be one, since `known-environment` has none of gluetun's settings. gluetun reads settings from
its environment, and from /run/secrets by the file's name: each of both is on the lists in policies/config.yaml, and
has a value that is there. That the tunnel ends at a provider is `no-embedded-vpn-peer`, who shares the gateway's
network the family `networks`, and whose files its volumes hold `declared-volumes`. Not seen from here: a provider's
list of servers.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from pulumi_policy import Severity

from policies.rules.configuration import files, variables
from policies.rules.containers import items, table, texts
from policies.rules.props import UNKNOWN
from policies.rules.rule import (
    DEVELOPMENT,
    Config,
    Finding,
    Resource,
    in_development,
    rule,
    table_setting,
    texts_setting,
)

RULES_FILE: Final = "post-rules.txt"
_SETTINGS: Final = "settings.vpn-keeps-all-traffic in policies/config.yaml, under"

_ROUTES: Final = re.compile(
    r"\s*(?:--)?(?:route-nopull|route-noexec|redirect-private|script-security\s+[2-9]|plugin\s|up\s|down\s|"
    r"pull-filter\s+(?:ignore|reject)\s+[\"']?(?:redirect|route))|.*net_gateway",
    re.IGNORECASE,
)
"""What makes OpenVPN leave the routes as they are, or run programs that may change them."""


def _gateway(resource: Resource, config: Config) -> Iterator[Finding]:
    """What a gateway is told, and that it runs nothing but its own program."""
    listed = table(config.get("variables"))
    if in_development(resource.stack, config):
        listed = {**listed, **table(config.get("in-development"))}
    given = variables(resource)
    for path, name, value in given:
        wanted = listed.get(name)
        if not isinstance(wanted, str) or not re.fullmatch(wanted, value):
            problem = "is a setting of the VPN gateway that no line names, or not with this value"
            advice = f"Take it out; or have it reviewed as a line of {_SETTINGS} variables"
            yield Finding(path, problem, advice, note=name, value=value)
    missing = set(texts(config.get("required"))) - {name for _, name, _ in given}
    if missing and UNKNOWN not in items(resource.props.get("envs")):
        problem = "sets no role for the control server, which is open then and can stop the tunnel"
        yield Finding(("envs",), problem, f"Set what {_SETTINGS} required, names")
    for key in ("entrypoints", "command"):
        if any(word is not UNKNOWN for word in items(resource.props.get(key))):
            problem = "runs something else than the gateway's own program, as root beside its firewall"
            yield Finding((key,), problem, "Take it out")


def _init(resource: Resource, config: Config) -> Iterator[Finding]:
    """The files that a gateway is given by its init container."""
    for file in files(resource):
        text = file.text if isinstance(file.text, str) else None
        problem, advice = "", ""
        if isinstance(file.name, str) and file.name not in texts(config.get("files")):
            problem = "is a file that no line names: the VPN gateway may read a setting from it"
            advice = f"Take it out; or have it reviewed as a line of {_SETTINGS} files"
        elif text is None:
            continue
        elif file.base == RULES_FILE and not all(map(_drops, text.split("\n"))):
            problem = "has a line for the firewall that does more than drop packets"
            advice = "Leave only lines that begin with iptables -I or -A and end in -j DROP or REJECT"
        elif file.base.endswith("role") and not _asks(text):
            problem, advice = "is no role of the control server that asks for a key", "Give it an API key"
        elif file.base.endswith(".ovpn") and any(map(_ROUTES.match, text.splitlines())):
            problem = "keeps OpenVPN from making the tunnel the way for everything"
            advice = "Take out what is about routes, filters and programs"
        if problem:
            yield Finding(file.path, problem, advice)


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


@rule(
    "vpn-keeps-all-traffic",
    Severity.CRITICAL,
    settings={
        "gateways": table_setting("Of each VPN gateway its init container, by logical names."),
        "variables": table_setting(
            "Settings by name, each with the regular expression that its whole value matches."
        ),
        "in-development": table_setting("The same for stacks of development alone, in place of those above."),
        "required": texts_setting("Settings that a gateway must have."),
        "files": texts_setting("The files that the init container of a gateway may write."),
        DEVELOPMENT: texts_setting("The key of that name in policies/config.yaml."),
    },
)
def _inside(resource: Resource, config: Config) -> Iterator[Finding]:
    """All traffic takes the tunnel, names included, and the firewall around it is as it was declared: the gateway has
    the settings and files that a line names, with a value that is there, no added rule lets anything through,
    OpenVPN makes all routes, the control server asks for a key, and nothing else runs there. A stack of
    development may ask for names in clear: its peer is no provider.

    Take the setting, file, rule or command out: gluetun's own defaults keep everything inside.
    """
    gateways = table(config.get("gateways"))
    if resource.kind == "Container" and resource.name in gateways:
        yield from _gateway(resource, config)
    elif resource.name in gateways.values():
        yield from _init(resource, config)


def _asks(text: str) -> bool:
    try:
        role: object = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(role, dict) and role.get("auth") == "apikey" and bool(role.get("apikey"))


RULES: Final = (_inside,)
