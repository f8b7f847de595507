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

from policies.rules.configuration import texts
from policies.rules.containers import is_enabled, is_known, items, number, table, text_of
from policies.rules.props import UNKNOWN
from policies.rules.rule import Config, Finding, Resource, Rule, Stack, texts_setting

TABLE: Final = "table"
"""The setting of the rule that knows who is on which network; its value is policies/matrix.yaml."""

ANSWERS: Final = "answers"
"""The others on that network find the container there by its name."""

CONNECTS: Final = "connects"
"""The container opens connections on that network, and has no name there."""

_INHIBIT: Final = "com.docker.network.bridge.inhibit_ipv4"
_ICC: Final = "com.docker.network.bridge.enable_icc"
_DEFAULTS: Final = {_INHIBIT: "false", _ICC: "true"}
"""What the engine does where nothing is said."""
_NEEDED: Final = {_INHIBIT: "true", _ICC: "false"}
_DEFAULT_BRIDGES: Final = frozenset({"bridge", "default", "nat"})


def _published(resource: Resource, config: Config) -> Iterator[Finding]:
    ports, allowed = resource.props.get("ports"), {number(one) for one in items(config.get("ports"))}
    if resource.kind != "Container" or not items(ports):
        return
    if resource.name not in texts(config.get("edge")):
        advice = "Take it out, and give the app a route at the edge"
        yield Finding(path=("ports",), problem="publishes a port, and this is not the edge", advice=advice)
        return
    numbers = {number(table(port).get("external")) for port in items(ports)} - {None}
    if len(numbers) > len(allowed):
        problem = "is more than there are on the list"
        yield Finding(path=("ports",), problem=problem, advice="Publish no more than that")
    for index, port in enumerate(map(table, items(ports))):
        external, protocol, address = port.get("external"), port.get("protocol", "tcp"), port.get("ip")
        given = number(external)
        if is_known(external) and given not in allowed and not (given or 0) >= 1024:
            yield Finding(
                path=("ports", index, "external"),
                problem="is not given, or is a port of the host below 1024 that is not on the list",
                advice="Publish 80 and 443, or ports from 1024 on",
            )
        if is_known(protocol) and protocol != "tcp":
            yield Finding(path=("ports", index, "protocol"), problem="is not tcp", advice="Publish TCP alone")
        if is_known(address) and not text_of(address).strip():
            yield Finding(
                path=("ports", index, "ip"),
                problem="is not given: the engine then publishes on every address, past the host's firewall",
                advice="Write the address, such as 127.0.0.1; 0.0.0.0 where every address is meant",
            )


def _own_networks(resource: Resource, _config: Config) -> Iterator[Finding]:
    if resource.kind != "Container":
        return
    advice = "Attach it to networks of the stack, by `network` in its declaration"
    mode, attached = resource.props.get("networkMode"), resource.props.get("networksAdvanced")
    text = mode.strip().casefold() if isinstance(mode, str) else ""
    # The provider fills in "bridge" where nothing is given, and takes a container off it that has its own networks.
    if text in _DEFAULT_BRIDGES and is_known(attached) and not items(attached):
        yield Finding(
            path=("networkMode",), problem="is the engine's default bridge, where all reach all", advice=advice
        )
    elif mode in (None, "") and is_known(attached) and not items(attached):
        yield Finding(
            path=("networksAdvanced",),
            problem="names no network: the engine then uses its default bridge, where all reach all",
            advice=advice,
        )
    # The provider attaches `networksAdvanced` beside it, and the engine takes a network's name or id here as well.
    if text and text not in {*_DEFAULT_BRIDGES, "none", "host"} and not text.startswith("container:"):
        yield Finding(
            path=("networkMode",),
            problem="is a network by name or id, past the table of who is on which",
            advice="Attach it by `networksAdvanced`",
        )
    for index, item in enumerate(items(attached)):
        name = table(item).get("name")
        if isinstance(name, str) and name.strip().casefold() in _DEFAULT_BRIDGES:
            yield Finding(
                path=("networksAdvanced", index, "name"), problem="is the engine's default bridge", advice=advice
            )


def _network(resource: Resource, config: Config) -> Iterator[Finding]:
    if resource.kind != "Network":
        return
    props = resource.props
    driver = props.get("driver")
    if is_known(driver) and driver not in (None, "", "bridge"):
        yield Finding(
            path=("driver",),
            problem="is not bridge: containers would be on the host's own network segment",
            advice="Use a bridge",
        )
    if is_enabled(props.get("ipv6")):
        problem = "is a second way out that no rule of the stack looks at"
        yield Finding(path=("ipv6",), problem=problem, advice="Take it out")
    if is_known(props.get("ipamConfigs")) and not any(
        table(item).get("subnet") for item in items(props.get("ipamConfigs"))
    ):
        yield Finding(
            path=("ipamConfigs",),
            problem="leaves the address range to the engine, which may take one of the home's",
            advice="Cut it from `nexus:networks.pool`",
        )
    for item in items(props.get("ipamConfigs")):
        subnet = table(item).get("subnet")
        if isinstance(subnet, str) and not _private_range(subnet):
            yield Finding(
                path=("ipamConfigs",),
                problem="has a range that is not a small private one of IPv4",
                advice="Cut it from `nexus:networks.pool`",
            )
    open_ones = texts(config.get("open"))
    needed = {} if resource.name in open_ones else {_INHIBIT: "reaches the host at its gateway"}
    if resource.name in texts(config.get("apart")):
        needed[_ICC] = "has members that reach one another, and are there for the outside alone"
    for key, problem in needed.items():
        value = table(props.get("options")).get(key)
        if is_known(props.get("options")) and is_known(value) and text_of(value).strip().casefold() != _NEEDED[key]:
            yield Finding(path=("options",), problem=problem, advice=f"Set {key} to {_NEEDED[key]}")
    for key, value in table(props.get("options")).items():
        if key not in needed and (key, value) not in _DEFAULTS.items():
            yield Finding(
                path=("options", key),
                problem="changes how the network is joined to the host and to others",
                advice="Take it out",
            )
    if resource.name not in open_ones and is_known(props.get("internal")) and not is_enabled(props.get("internal")):
        yield Finding(
            path=("internal",),
            problem="is not on: the network has a way out, and is not among those that are meant to",
            advice="Set it, or add the network to this rule's settings with the table in components/networks.py",
        )
    if resource.name in open_ones and is_enabled(props.get("internal")):
        yield Finding(
            path=("internal",),
            problem="is on, and the network is meant to have a way out",
            advice="Take it out of this rule's settings where that has changed",
        )


def _private_range(subnet: str) -> bool:
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
    for one in stack.of("Service"):
        yield Finding(
            path=("taskSpec",),
            problem="is a Swarm service, whose networks the table does not have",
            advice="Declare a container",
            resource=one,
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
            if not logical and all(isinstance(network.props.get("name"), str) for network in networks.values()):
                yield Finding(
                    path=("networksAdvanced", index),
                    problem="is no network of this stack",
                    advice="Attach it to networks of the stack alone",
                    resource=one,
                )
            elif logical in rows and one.name not in rows[logical]:
                yield Finding(
                    path=("networksAdvanced", index),
                    problem="is a network on which the table does not have this container",
                    advice="Take it out of the service's `network`, or run `make docs` and have the table reviewed",
                    resource=one,
                )
            elif logical in rows and rows[logical][one.name] == CONNECTS and items(table(item).get("aliases")):
                yield Finding(
                    path=("networksAdvanced", index, "aliases"),
                    problem="is a name on a network where the table has this container only open connections",
                    advice="Take it out, or run `make docs` and have the table reviewed",
                    resource=one,
                )
        missing = {name for name, members in rows.items() if one.name in members} - attached
        if missing and not unsure:
            yield Finding(
                path=("networksAdvanced",),
                problem="lacks a network on which the table has this container",
                advice="Add it to the service's `network`, or run `make docs` and have the table reviewed",
                resource=one,
            )


def _riders(stack: Stack, config: Config) -> Iterator[Finding]:
    wanted = {name: target for name, target in table(config.get("riders")).items() if isinstance(target, str)}
    there = {one.name for one in stack.of("Container")}
    for one in stack.of("Container"):
        mode = one.props.get("networkMode")
        rides = isinstance(mode, str) and mode.strip().casefold().startswith("container:")
        target = wanted.get(one.name)
        if target is None:
            if rides:
                yield Finding(
                    path=("networkMode",),
                    problem="is the namespace of another container, which only the downloader may share",
                    advice="Give it networks of its own",
                    resource=one,
                )
            continue
        if target not in there:
            continue
        sources = one.sources.get("networkMode")
        physical = next((box.props.get("name") for box in stack.of("Container") if box.name == target), None)
        named = isinstance(mode, str) and mode.strip() == f"container:{physical}"
        # An id says nothing by itself: what the property is made from has to be that container, and no other.
        elsewhere = sources != {target} if sources else mode is not UNKNOWN and not named
        if (mode is not UNKNOWN and not rides) or elsewhere:
            yield Finding(
                path=("networkMode",),
                problem="is not the VPN container's namespace: the downloader would have another way out",
                advice="Let it share the VPN container's namespace, by its id",
                resource=one,
            )
        for key in ("networksAdvanced", "ports", "hosts", "dns", "dnsSearches"):
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
            "edge": texts_setting("Logical names of the containers that may publish ports.", ["traefik-container"]),
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
        description="A network is a bridge that leads neither out nor to the host, but for the few meant to.",
        remediation="Set `internal`, inhibit_ipv4, driver bridge and a range; take attachable, ingress and ipv6 out.",
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
        remediation="Set `networkMode` to container:<id of the VPN container>, and no network, port or DNS.",
        severity=Severity.CRITICAL,
        validate_stack=_riders,
        settings={
            "riders": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "default": {"qbittorrent-container": "vpn-container"},
                "description": "Of each container that shares a namespace the one whose it is, by logical names.",
            }
        },
    ),
)
