"""Family `networks`: ports, bridges and the table, broken in one way at a time; and what must pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from components.networks import TABLE
from policies.config import matrix, read
from policies.rules import closed, networks
from policies.rules.props import UNKNOWN as PLAIN_UNKNOWN
from policies.rules.rule import Resource, Stack
from tests.policies.harness import CONTAINER, UNKNOWN, Json, Props, declared_inputs, pack_config, places
from tests.policies.platform import changed, declared, validated

RULES: Final = frozenset(rule.name for rule in networks.RULES)
NETWORK: Final = "docker:index/network:Network"
EDGE: Final = "traefik-container"
HTTPS: Final[Props] = {"internal": 8443.0, "external": 443.0, "ip": "127.0.0.1", "protocol": "tcp"}


def of(name: str, **changes: Json) -> dict[str, list[str]]:
    """What is refused of a declared resource with these inputs."""
    kind = NETWORK if name.startswith("network-") else CONTAINER
    return places(declared_inputs(name, **changes), kind, name=name, rules=networks.RULES)


@pytest.mark.parametrize("name", ["jellyfin-container", "sonarr-seed"])
def test_only_the_edge_publishes(name: str) -> None:
    assert of(name, ports=[HTTPS]) == {"published-ports": ["ports"]}


@pytest.mark.parametrize(
    ("port", "place"),
    [
        ({"external": 8443.0}, None),
        ({"external": "443"}, None),
        ({"external": UNKNOWN, "protocol": UNKNOWN, "ip": UNKNOWN}, None),
        ({"ip": "0.0.0.0"}, None),
        *(({"external": port}, "external") for port in (1023.0, 22.0, 0.0, None, "x")),
        *(({"ip": address}, "ip") for address in ("", None, " ")),
    ],
)
def test_what_the_edge_may_publish(port: Props, place: str | None) -> None:
    assert of(EDGE, ports=[HTTPS | port]) == ({"published-ports": [f"ports[0].{place}"]} if place else {})


def test_the_edge_speaks_tcp() -> None:
    told = places(declared_inputs(EDGE, ports=[HTTPS | {"protocol": "udp"}]), name=EDGE, rules=closed.RULES)
    assert told == {"known-inputs": ["ports[0].protocol"]}


def test_the_edge_has_two_ports_at_as_many_addresses_as_it_likes() -> None:
    both: list[Json] = [
        {**HTTPS, "external": port, "ip": ip} for port in (80.0, 443.0) for ip in ("192.0.2.1", "198.51.100.1")
    ]
    assert of(EDGE, ports=both) == {}
    assert of(EDGE, ports=[*both, HTTPS | {"external": 8443.0}]) == {"published-ports": ["ports"]}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"networksAdvanced": None}, "networksAdvanced"),
        ({"networksAdvanced": []}, "networksAdvanced"),
        ({"networkMode": "bridge", "networksAdvanced": None}, "networkMode"),
        ({"networkMode": "Default", "networksAdvanced": []}, "networkMode"),
        ({"networksAdvanced": [{"name": "bridge"}]}, "networksAdvanced[0].name"),
        ({"networksAdvanced": [{"name": UNKNOWN}, {"name": " Bridge "}]}, "networksAdvanced[1].name"),
        *(({"networkMode": mode}, "networkMode") for mode in ("nexus-dev-monitoring", "a1" * 32, "service:web")),
        ({"networkMode": UNKNOWN, "networksAdvanced": None}, None),
        ({"networksAdvanced": UNKNOWN}, None),
        ({"networkMode": "none"}, None),
        # As the engine shows what the provider filled in.
        ({"networkMode": "bridge"}, None),
        ({"networkMode": "bridge", "networksAdvanced": UNKNOWN}, None),
    ],
)
def test_nobody_is_on_the_default_bridge(changes: Props, place: str | None) -> None:
    assert of("sonarr-container", **changes) == ({"no-default-bridge": [place]} if place else {})


INHIBIT: Final[Props] = {"com.docker.network.bridge.inhibit_ipv4": "true"}


@pytest.mark.parametrize(
    ("name", "changes", "place"),
    [
        *(("network-apps", {"internal": value}, "internal") for value in (False, None, "no")),
        *(
            ("network-apps", {"ipamConfigs": value}, "ipamConfigs")
            for value in (
                *(None, [], [{"gateway": "172.31.241.1"}], [{"subnet": "0.0.0.0/0"}], [{"subnet": "10.0.0.0/8"}]),
                *([{"subnet": "192.0.2.0/24"}], [{"subnet": "172.31.241.0/24"}, {"subnet": "fd00::/64"}]),
                [{"subnet": "mine"}],
            )
        ),
        *(("network-apps", {"options": value}, "options") for value in (None, {}, dict.fromkeys(INHIBIT, "false"))),
        ("network-egress", {"internal": True}, "internal"),
        *(
            ("network-egress", {"options": value}, "options")
            for value in (None, {}, {"com.docker.network.bridge.enable_icc": "true"})
        ),
        ("network-egress", {"options": UNKNOWN}, None),
        ("network-tunnel", {"options": {}}, None),
        ("network-apps", {"internal": UNKNOWN, "driver": UNKNOWN, "ipamConfigs": UNKNOWN}, None),
    ],
)
def test_a_network_without_its_walls_is_refused(name: str, changes: Props, place: str | None) -> None:
    assert of(name, **changes).get("internal-network", []) == ([place] if place else [])


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        *(({"driver": value}, "driver") for value in ("macvlan", "host", "overlay")),
        ({"ipv6": True}, "ipv6"),
        ({"options": {"com.docker.network.bridge.name": "br0"}}, "options.com.docker.network.bridge.name"),
    ],
)
def test_a_network_is_a_bridge_without_ipv6_or_other_options(changes: Props, place: str) -> None:
    told = places({"name": "x", **changes}, NETWORK, name="network-apps", rules=closed.RULES)
    assert told == {"known-inputs": [place]}


def test_the_configuration_is_the_programs_table() -> None:
    settings = read().settings
    assert pack_config("prod").rules["network-table"]["table"] == matrix()
    assert "network-table" not in settings
    open_ones = settings["internal-network"]["open"]
    assert isinstance(open_ones, list)
    assert set(open_ones) == {f"network-{row.name}" for row in TABLE if not row.internal}
    assert settings["internal-network"]["apart"] == [f"network-{row.name}" for row in TABLE if row.apart]


def broken(resource: str, **props: object) -> set[str]:
    """What the family says of the declared platform with other inputs of one resource."""
    return {
        one.rule for one in validated(changed(declared("dev"), resource, **props), networks.RULES).violations
    } & RULES


def test_each_is_on_its_networks_and_on_no_other() -> None:
    apps, egress = ({"name": f"nexus-test-{name}"} for name in ("apps", "egress"))
    assert broken("sonarr-container", networksAdvanced=[apps, egress]) == set()
    assert broken("sonarr-container", networksAdvanced=[apps]) == {"network-table"}
    monitoring = {"name": "nexus-test-monitoring"}
    assert broken("sonarr-container", networksAdvanced=[apps, egress, monitoring]) == {"network-table"}
    foreign = {"name": "somebody-elses"}
    assert broken("sonarr-container", networksAdvanced=[apps, egress, foreign]) == {"network-table"}
    assert broken("sonarr-container", networksAdvanced=[apps, {"name": UNKNOWN}]) == set()
    assert broken("sonarr-container", networksAdvanced=UNKNOWN) == set()


def test_who_only_opens_connections_there_has_no_name_there() -> None:
    (prometheus,) = (one for one in declared("dev").of("Container") if one.name == "prometheus-container")
    attached = prometheus.props["networksAdvanced"]
    assert isinstance(attached, list)
    named = [{**one, "aliases": ["prometheus"]} for one in attached if isinstance(one, dict)]
    assert broken("prometheus-container", networksAdvanced=attached) == set()
    assert broken("prometheus-container", networksAdvanced=named) == {"network-table"}


def test_a_network_that_the_table_does_not_have() -> None:
    stack = declared("dev")
    more = Resource(type=NETWORK, name="network-side-door", stack="dev", props={"name": "x"})
    found = validated(Stack(name="dev", resources=(*stack.resources, more))).violations
    assert "network-table" in {one.rule for one in found}


@pytest.mark.parametrize(
    "props",
    [
        {"networkMode": "none"},
        {"networkMode": "bridge"},
        {"networkMode": None},
        {"networksAdvanced": [{"name": "nexus-test-egress"}]},
        {"ports": [HTTPS]},
    ],
    ids=str,
)
def test_the_downloader_has_its_vpns_namespace_and_nothing_else(props: Props) -> None:
    assert broken("qbittorrent-container") == set()
    assert "downloader-inside-its-vpn" in broken("qbittorrent-container", **props)


def riding(mode: str, *sources: str) -> Stack:
    """The declared platform, where the downloader's mode is this and made from these resources."""
    stack = declared("dev")
    made = {"networkMode": frozenset(sources)} if sources else {}
    changed_one = (
        replace(one, sources=made, props={**one.props, "networkMode": mode})
        if one.name == "qbittorrent-container"
        else one
        for one in stack.resources
    )
    return Stack(name="dev", resources=tuple(changed_one))


@pytest.mark.parametrize(
    "stack",
    [
        riding("container:" + "1f" * 32, "sonarr-container"),
        riding("container:" + "1f" * 32, "sonarr-container", "vpn-container"),
        riding("container:" + "1f" * 32),
        riding("container:nexus-test-sonarr"),
    ],
    ids=["another", "two", "an id from nowhere", "by name"],
)
def test_another_containers_namespace_is_not_the_vpns(stack: Stack) -> None:
    assert {one.rule for one in validated(stack).violations} == {"downloader-inside-its-vpn"}


def test_the_vpns_namespace_by_its_id_or_name() -> None:
    for stack in (riding("container:" + "1f" * 32, "vpn-container"), riding("container:nexus-test-vpn")):
        assert validated(stack).violations == ()


def test_nothing_else_rides() -> None:
    props: Props = {"networkMode": "container:" + "1f" * 32, "networksAdvanced": None}
    assert "downloader-inside-its-vpn" in broken("radarr-container", **props)
    assert broken("qbittorrent-container", networkMode=PLAIN_UNKNOWN) == set()
