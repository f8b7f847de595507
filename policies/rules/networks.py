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
from policies.rules.rule import (
    TEXT,
    Config,
    Finding,
    Resource,
    Stack,
    container_rule,
    network_rule,
    stack_rule,
    table_setting,
    texts_setting,
)

TABLE: Final = "table"
"""The setting of the rule that knows who is on which network; its value is policies/matrix.yaml."""

ANSWERS: Final = "answers"
"""The others on that network find the container there by its name."""

CONNECTS: Final = "connects"
"""The container opens connections on that network, and has no name there."""

_DEFAULT_BRIDGES: Final = frozenset({"bridge", "default", "nat"})
_OF_THE_ENGINE: Final = _DEFAULT_BRIDGES | {"none", "host"}

_PORTS: Final = (80, 443)
"""Ports of the host below 1024 that may be published; and as many as there are here, at all."""


@container_rule(
    "published-ports",
    Severity.CRITICAL,
    "CIS 5.8, CIS 5.9, CIS 5.14, OWASP 5",
    settings={"edge": texts_setting("Logical names of the containers that may publish ports.")},
)
def _published(resource: Resource, config: Config) -> Iterator[Finding]:
    """Only the edge publishes ports, so that nothing is reached without its TLS, sign-in and log: TCP 80 and 443, or
    as many from 1024 on, since below are the host's own services, each with its address written.

    Give an app a route at the edge. There publish 80 and 443, or ports from 1024 on, and set `ip`.
    """
    ports = items(resource.props.get("ports"))
    if ports and resource.name not in texts(config.get("edge")):
        advice = "Take it out, and give the app a route at the edge"
        yield Finding(("ports",), "publishes a port, and this is not the edge", advice)
        return
    if len({number(table(port).get("external")) for port in ports} - {None}) > len(_PORTS):
        yield Finding(("ports",), "is more than there are on the list", "Publish no more than that")
    for index, port in enumerate(map(table, ports)):
        external, address = port.get("external"), port.get("ip")
        given = number(external)
        if external is not UNKNOWN and given not in _PORTS and not (given or 0) >= 1024:
            problem = "is not given, or is a port of the host below 1024 that is not on the list"
            yield Finding(("ports", index, "external"), problem, "Publish 80 and 443, or ports from 1024 on")
        if address is not UNKNOWN and not text_of(address).strip():
            problem = "is not given: the engine then publishes on every address, past the host's firewall"
            advice = "Write the address, such as 127.0.0.1; 0.0.0.0 where every address is meant"
            yield Finding(("ports", index, "ip"), problem, advice)


@container_rule("no-default-bridge", Severity.HIGH, "CIS 2.2, CIS 5.30, OWASP 5")
def _own_networks(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No container is on the engine's default bridge, where every container reaches every other.

    Attach it to networks of the stack, by `network` in its declaration, or give it networkMode none.
    """
    given, attached = resource.props.get("networkMode"), resource.props.get("networksAdvanced")
    mode = text_of(given).strip().casefold()
    # The provider fills in "bridge" where nothing is given, and takes a container off it that has its own networks.
    if attached is not UNKNOWN and not items(attached) and given is not UNKNOWN and mode in {"", *_DEFAULT_BRIDGES}:
        problem = "is the engine's default bridge, which it also takes where none is named: there all reach all"
        yield Finding(("networkMode" if mode else "networksAdvanced",), problem)
    # The provider attaches `networksAdvanced` beside it, and the engine takes a network's name or id here as well.
    elif mode and mode not in _OF_THE_ENGINE and not mode.startswith("container:"):
        yield Finding(("networkMode",), "is a network by name or id, past the table of who is on which")
    for index, item in enumerate(map(table, items(attached))):
        if text_of(item.get("name")).strip().casefold() in _OF_THE_ENGINE:
            problem = "is a network of the engine's own, its default bridge or the host's"
            yield Finding(("networksAdvanced", index, "name"), problem)


@network_rule(
    "internal-network",
    Severity.HIGH,
    "OWASP 5",
    settings={
        "open": texts_setting("Logical names of the networks that are meant to have a way out."),
        "apart": texts_setting("Logical names of those whose members must not reach one another."),
    },
)
def _network(resource: Resource, config: Config) -> Iterator[Finding]:
    """A network leads neither out nor to the host, but for the few meant to, and has a private range.

    Set `internal`, inhibit_ipv4 and a range.
    """
    ranges, options, internal = (resource.props.get(key) for key in ("ipamConfigs", "options", "internal"))
    subnets = [table(item).get("subnet") for item in items(ranges)]
    if ranges is not UNKNOWN and not (
        subnets and all(one is UNKNOWN or _is_private(text_of(one)) for one in subnets)
    ):
        problem = "leaves the address range to the engine, or has one that is not a small private one of IPv4"
        yield Finding(("ipamConfigs",), problem, "Cut it from `nexus:networks.pool`")
    is_open = resource.name in texts(config.get("open"))
    closed, apart = not is_open, resource.name in texts(config.get("apart"))
    for needed, key, value, problem in (
        (closed, "inhibit_ipv4", "true", "reaches the host at its gateway"),
        (apart, "enable_icc", "false", "has members that reach one another, and are there for the outside alone"),
    ):
        option = f"com.docker.network.bridge.{key}"
        if needed and UNKNOWN not in (options, given := table(options).get(option)) and given != value:
            yield Finding(("options",), problem, f"Set {option} to {value}")
    if internal is not UNKNOWN and (internal is True) is is_open:
        problem = "is not as meant: a network leads out where the list of those says so, and nowhere else"
        advice = "Set it; or add the network to `open` in this rule's settings, beside its row in the program"
        yield Finding(("internal",), problem, advice)


def _is_private(subnet: str) -> bool:
    try:
        found = ipaddress.IPv4Network(subnet.strip(), strict=False)
    except ValueError:
        return False
    return found.prefixlen >= _WIDEST and any(found.subnet_of(one) for one in _PRIVATE)


_WIDEST: Final = 16
_PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


@stack_rule(
    "network-table",
    Severity.HIGH,
    "OWASP 5",
    settings={
        TABLE: table_setting(
            "Of each network the containers on it, all by logical name, each with whether it "
            f"`{ANSWERS}` there or only `{CONNECTS}`.",
            table_setting("", {**TEXT, "enum": [ANSWERS, CONNECTS]}),
        )
    },
)
def _membership(stack: Stack, config: Config) -> Iterator[Finding]:
    """Each container is on the networks that the table has it on: on no other, and on none less.

    Change `network` in the service's declaration; or write the table anew (`make docs`) and have its diff reviewed.
    """
    rows = {name: table(members) for name, members in table(config.get(TABLE)).items()}
    networks = stack.of("Network")
    by_name = {name: one.name for one in networks if isinstance(name := one.props.get("name"), str)}
    for network in networks:
        if network.name not in rows:
            problem = "is a network that the table does not have"
            advice = "Declare it in components/networks.py, run `make docs` and have policies/matrix.yaml reviewed"
            yield Finding((), problem, advice, resource=network)
    for one in stack.of("Container"):
        given = one.props.get("networksAdvanced")
        attached = list(map(table, items(given)))
        names = [name for item in attached if isinstance(name := item.get("name"), str)]
        for index, item in enumerate(attached):
            name = item.get("name")
            logical = by_name.get(name, "") if isinstance(name, str) else None
            path: Path = ("networksAdvanced", index)
            problem, advice = "", "Take it out of the service's `network`, or have a new table reviewed (`make docs`)"
            if logical == "" and len(by_name) == len(networks):  # else it may be one whose name is not known yet
                problem = "is no network of this stack"
            elif logical in rows and one.name not in rows[logical]:
                problem = "is a network on which the table does not have this container"
            elif logical in rows and rows[logical][one.name] == CONNECTS and items(item.get("aliases")):
                path = (*path, "aliases")
                problem = "is a name on a network where the table has this container only open connections"
            if problem:
                yield Finding(path, problem, advice, resource=one)
        wanted = {row for row, members in rows.items() if one.name in members}
        if wanted.difference(map(by_name.get, names)) and given is not UNKNOWN and len(names) == len(attached):
            problem = "lacks a network on which the table has this container"
            advice = "Add it to the service's `network`, or run `make docs` and have the table reviewed"
            yield Finding(("networksAdvanced",), problem, advice, resource=one)


@stack_rule(
    "downloader-inside-its-vpn",
    Severity.CRITICAL,
    settings={
        "riders": table_setting("Of each container that shares a namespace the one whose it is, by logical names.")
    },
)
def _riders(stack: Stack, config: Config) -> Iterator[Finding]:
    """The downloader has no network but its VPN container's namespace; nothing else shares one.

    Set `networkMode` to container:<id of the VPN container>, and no network or port.
    """
    wanted = table(config.get("riders"))
    containers = {one.name: one for one in stack.of("Container")}
    for one in containers.values():
        mode, target = one.props.get("networkMode"), text_of(wanted.get(one.name))
        shares = text_of(mode).strip().casefold().startswith("container:")
        if one.name not in wanted and shares:
            problem = "is the namespace of another container, which only the downloader may share"
            yield Finding(("networkMode",), problem, "Give it networks of its own", resource=one)
        if target not in containers:
            continue
        sources = one.sources.get("networkMode")
        named = text_of(mode).strip() == f"container:{containers[target].props.get('name')}"
        # An id says nothing by itself: what the property is made from has to be that container, and no other.
        elsewhere = sources != {target} if sources else mode is not UNKNOWN and not named
        if (mode is not UNKNOWN and not shares) or elsewhere:
            problem = "is not the VPN container's namespace: the downloader would have another way out"
            advice = "Let it share the VPN container's namespace, by its id"
            yield Finding(("networkMode",), problem, advice, resource=one)
        for key in ("networksAdvanced", "ports"):
            if items(one.props.get(key)):
                problem = "gives the downloader more than the VPN container's namespace"
                advice = "Take it out: what it needs belongs to the VPN container"
                yield Finding((key,), problem, advice, resource=one)


RULES: Final = (_published, _own_networks, _network, _membership, _riders)
