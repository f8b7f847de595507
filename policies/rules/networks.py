"""Family `networks`: who may reach whom is a table, and only the edge is open to the host's network.

The table is policies/matrix.yaml, for the whole of a stack: `make docs` writes it from what the program declares, and
the review of its diff is what lets a container onto a network. Containers and networks are told apart by their
logical names. In a preview the names of networks and the ids of containers can be unknown: what is unknown is checked
by `up`, which sees a container before it is made. Not seen from here: what a container's own firewall does, and what
the host routes.
"""

import ipaddress
from collections.abc import Iterator
from typing import Final

from pulumi_policy import Severity

from policies.rules.containers import items, number, table, text_of, texts
from policies.rules.props import UNKNOWN, Path
from policies.rules.rule import Config, Finding, Resource, Rule, Stack, texts_setting

TABLE: Final = "table"
"""The setting of the rule that knows who is on which network; its value is policies/matrix.yaml."""

ANSWERS: Final = "answers"
"""The others on that network find the container there by its name."""

CONNECTS: Final = "connects"
"""The container opens connections on that network, and has no name there."""

_INHIBIT: Final = ("com.docker.network.bridge.inhibit_ipv4", "true", "reaches the host at its gateway")
_ICC: Final = (
    "com.docker.network.bridge.enable_icc",
    "false",
    "has members that reach one another, and are there for the outside alone",
)
_DEFAULT_BRIDGES: Final = frozenset({"bridge", "default", "nat"})
_OF_THE_ENGINE: Final = _DEFAULT_BRIDGES | {"none", "host"}


def _published(resource: Resource, config: Config) -> Iterator[Finding]:
    ports, allowed = items(resource.props.get("ports")), {number(one) for one in items(config.get("ports"))}
    if resource.kind != "Container" or not ports:
        return
    if resource.name not in texts(config.get("edge")):
        advice = "Take it out, and give the app a route at the edge"
        yield Finding(path=("ports",), problem="publishes a port, and this is not the edge", advice=advice)
        return
    if len({number(table(port).get("external")) for port in ports} - {None}) > len(allowed):
        problem = "is more than there are on the list"
        yield Finding(path=("ports",), problem=problem, advice="Publish no more than that")
    for index, port in enumerate(map(table, ports)):
        external, address = port.get("external"), port.get("ip")
        given = number(external)
        if external is not UNKNOWN and given not in allowed and not (given or 0) >= 1024:
            yield Finding(
                path=("ports", index, "external"),
                problem="is not given, or is a port of the host below 1024 that is not on the list",
                advice="Publish 80 and 443, or ports from 1024 on",
            )
        if address is not UNKNOWN and not text_of(address).strip():
            yield Finding(
                path=("ports", index, "ip"),
                problem="is not given: the engine then publishes on every address, past the host's firewall",
                advice="Write the address, such as 127.0.0.1; 0.0.0.0 where every address is meant",
            )


def _own_networks(resource: Resource, _config: Config) -> Iterator[Finding]:
    if resource.kind != "Container":
        return
    advice = "Attach it to networks of the stack, by `network` in its declaration"
    given, attached = resource.props.get("networkMode"), resource.props.get("networksAdvanced")
    mode = text_of(given).strip().casefold()
    # The provider fills in "bridge" where nothing is given, and takes a container off it that has its own networks.
    if attached is not UNKNOWN and not items(attached) and given is not UNKNOWN and mode in {"", *_DEFAULT_BRIDGES}:
        problem = "is the engine's default bridge, which it also takes where none is named: there all reach all"
        yield Finding(path=("networkMode" if mode else "networksAdvanced",), problem=problem, advice=advice)
    # The provider attaches `networksAdvanced` beside it, and the engine takes a network's name or id here as well.
    elif mode and mode not in _OF_THE_ENGINE and not mode.startswith("container:"):
        problem = "is a network by name or id, past the table of who is on which"
        yield Finding(path=("networkMode",), problem=problem, advice=advice)
    for index, item in enumerate(items(attached)):
        if text_of(table(item).get("name")).strip().casefold() in _OF_THE_ENGINE:
            problem = "is a network of the engine's own, its default bridge or the host's"
            yield Finding(path=("networksAdvanced", index, "name"), problem=problem, advice=advice)


def _network(resource: Resource, config: Config) -> Iterator[Finding]:
    if resource.kind != "Network":
        return
    ranges, options, internal = (resource.props.get(key) for key in ("ipamConfigs", "options", "internal"))
    subnets = [table(item).get("subnet") for item in items(ranges)]
    if ranges is not UNKNOWN and not (
        subnets and all(one is UNKNOWN or _is_private(text_of(one)) for one in subnets)
    ):
        yield Finding(
            path=("ipamConfigs",),
            problem="leaves the address range to the engine, or has one that is not a small private one of IPv4",
            advice="Cut it from `nexus:networks.pool`",
        )
    is_open = resource.name in texts(config.get("open"))
    needed = [*([] if is_open else [_INHIBIT]), *([_ICC] if resource.name in texts(config.get("apart")) else [])]
    for key, value, problem in needed:
        if UNKNOWN not in (options, table(options).get(key)) and table(options).get(key) != value:
            yield Finding(path=("options",), problem=problem, advice=f"Set {key} to {value}")
    if internal is not UNKNOWN and (internal is True) is is_open:
        yield Finding(
            path=("internal",),
            problem="is not as meant: a network leads out where the list of those says so, and nowhere else",
            advice="Set it; or add the network to `open` in this rule's settings, beside its row in the program",
        )


def _is_private(subnet: str) -> bool:
    try:
        found = ipaddress.IPv4Network(subnet.strip(), strict=False)
    except ValueError:
        return False
    return found.prefixlen >= _WIDEST and any(found.subnet_of(one) for one in _PRIVATE)


_WIDEST: Final = 16
_PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


def _membership(stack: Stack, config: Config) -> Iterator[Finding]:
    rows = {name: table(members) for name, members in table(config.get(TABLE)).items()}
    networks = {one.name: one for one in stack.of("Network")}
    by_name: dict[str, str] = {}
    for logical, network in networks.items():
        if isinstance(name := network.props.get("name"), str):
            by_name[name] = logical
        if logical not in rows:
            yield Finding(
                path=(),
                problem="is a network that the table does not have",
                advice="Declare it in components/networks.py, run `make docs` and have policies/matrix.yaml reviewed",
                resource=network,
            )
    for one in stack.of("Container"):
        given = one.props.get("networksAdvanced")
        if given is UNKNOWN:
            continue
        attached: set[str] = set()
        unsure = False
        for index, item in enumerate(items(given)):
            name = table(item).get("name")
            if not isinstance(name, str):
                unsure = True
                continue
            logical = by_name.get(name, "")
            attached.add(logical)
            path: Path = ("networksAdvanced", index)
            problem, advice = "", "Take it out of the service's `network`, or have a new table reviewed (`make docs`)"
            if not logical and all(isinstance(network.props.get("name"), str) for network in networks.values()):
                problem = "is no network of this stack"
            elif logical in rows and one.name not in rows[logical]:
                problem = "is a network on which the table does not have this container"
            elif logical in rows and rows[logical][one.name] == CONNECTS and items(table(item).get("aliases")):
                path = (*path, "aliases")
                problem = "is a name on a network where the table has this container only open connections"
            if problem:
                yield Finding(path=path, problem=problem, advice=advice, resource=one)
        missing = {name for name, members in rows.items() if one.name in members} - attached
        if missing and not unsure:
            yield Finding(
                path=("networksAdvanced",),
                problem="lacks a network on which the table has this container",
                advice="Add it to the service's `network`, or run `make docs` and have the table reviewed",
                resource=one,
            )


def _riders(stack: Stack, config: Config) -> Iterator[Finding]:
    wanted = table(config.get("riders"))
    containers = {one.name: one for one in stack.of("Container")}
    for one in containers.values():
        mode, target = one.props.get("networkMode"), text_of(wanted.get(one.name))
        shares = text_of(mode).strip().casefold().startswith("container:")
        if one.name not in wanted:
            if shares:
                yield Finding(
                    path=("networkMode",),
                    problem="is the namespace of another container, which only the downloader may share",
                    advice="Give it networks of its own",
                    resource=one,
                )
            continue
        if target not in containers:
            continue
        sources = one.sources.get("networkMode")
        named = text_of(mode).strip() == f"container:{containers[target].props.get('name')}"
        # An id says nothing by itself: what the property is made from has to be that container, and no other.
        elsewhere = sources != {target} if sources else mode is not UNKNOWN and not named
        if (mode is not UNKNOWN and not shares) or elsewhere:
            yield Finding(
                path=("networkMode",),
                problem="is not the VPN container's namespace: the downloader would have another way out",
                advice="Let it share the VPN container's namespace, by its id",
                resource=one,
            )
        for key in ("networksAdvanced", "ports"):
            if items(one.props.get(key)):
                yield Finding(
                    path=(key,),
                    problem="gives the downloader more than the VPN container's namespace",
                    advice="Take it out: what it needs belongs to the VPN container",
                    resource=one,
                )


RULES: Final = (
    Rule(
        name="published-ports",
        description=(
            "Only the edge publishes ports, so that nothing is reached without its TLS, sign-in and log: TCP 80 and "
            "443, or as many from 1024 on, since below are the host's own services, each with its address written."
        ),
        remediation="Give an app a route at the edge. There publish 80 and 443, or ports from 1024 on, and set `ip`.",
        severity=Severity.CRITICAL,
        validate=_published,
        settings={
            "edge": texts_setting("Logical names of the containers that may publish ports."),
            "ports": {
                "type": "array",
                "items": {"type": "number"},
                "default": [80, 443],
                "description": "Ports of the host below 1024 that may be published, and how many at all.",
            },
        },
        benchmarks=("CIS 5.8", "CIS 5.9", "CIS 5.14", "OWASP 5"),
    ),
    Rule(
        name="no-default-bridge",
        description="No container is on the engine's default bridge, where every container reaches every other.",
        remediation="Attach it to networks of the stack, or give it networkMode none.",
        severity=Severity.HIGH,
        validate=_own_networks,
        benchmarks=("CIS 2.2", "CIS 5.30", "OWASP 5"),
    ),
    Rule(
        name="internal-network",
        description="A network leads neither out nor to the host, but for the few meant to, and has a private range.",
        remediation="Set `internal`, inhibit_ipv4 and a range.",
        severity=Severity.HIGH,
        validate=_network,
        settings={
            "open": texts_setting("Logical names of the networks that are meant to have a way out."),
            "apart": texts_setting("Logical names of those whose members must not reach one another."),
        },
        benchmarks=("OWASP 5",),
    ),
    Rule(
        name="network-table",
        description="Each container is on the networks that the table has it on: on no other, and on none less.",
        remediation=(
            "Change `network` in the service's declaration; or write the table anew (`make docs`) and have its diff "
            "reviewed."
        ),
        severity=Severity.HIGH,
        validate_stack=_membership,
        settings={
            TABLE: {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": {"type": "string", "enum": [ANSWERS, CONNECTS]},
                },
                "default": {},
                "description": (
                    "Of each network the containers on it, all by logical name, each with whether it "
                    f"`{ANSWERS}` there or only `{CONNECTS}`."
                ),
            }
        },
        benchmarks=("OWASP 5",),
    ),
    Rule(
        name="downloader-inside-its-vpn",
        description="The downloader has no network but its VPN container's namespace; nothing else shares one.",
        remediation="Set `networkMode` to container:<id of the VPN container>, and no network or port.",
        severity=Severity.CRITICAL,
        validate_stack=_riders,
        settings={
            "riders": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "default": {},
                "description": "Of each container that shares a namespace the one whose it is, by logical names.",
            }
        },
    ),
)
