"""Family `networks`: ports, bridges and the table, broken in one way at a time; and what must pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from components.networks import TABLE
from policies.config import matrix, read
from policies.rules import networks
from policies.rules.props import UNKNOWN as PLAIN_UNKNOWN
from policies.rules.rule import Resource, Stack
from tests.components.stacks import CHOICES
from tests.policies.harness import CONTAINER, SERVICE, UNKNOWN, Json, Props, container, judge, pack_config, rules_of
from tests.policies.harness import service as swarm
from tests.policies.platform import changed, declared, judged

RULES: Final = frozenset(rule.name for rule in networks.RULES)
NETWORK: Final = "docker:index/network:Network"
EDGE: Final = "traefik-container"
HTTPS: Final[Props] = {"internal": 8443, "external": 443, "ip": "127.0.0.1", "protocol": "tcp"}


def ports(*published: Json) -> Props:
    """A container that publishes."""
    return container(ports=list(published))


def of_edge(props: Props, *, stack: str = "prod") -> set[str]:
    """What the family says of the edge with these inputs."""
    return rules_of(judge(props, name=EDGE, stack=stack)) & RULES


@pytest.mark.parametrize(
    "name", ["sonarr", "traefik", "Traefik-container", "traefik-container-2", "jellyfin-container"]
)
def test_only_the_edge_publishes(name: str) -> None:
    assert rules_of(judge(ports(HTTPS), name=name)) & RULES == {"published-at-the-edge"}
    assert of_edge(ports(HTTPS)) == set()


@pytest.mark.parametrize("value", [True, "true", 1])
def test_nobody_publishes_whatever_the_image_exposes(value: Json) -> None:
    assert "published-at-the-edge" in of_edge(container(publishAllPorts=value))


def test_a_swarm_service_publishes_nothing() -> None:
    published = swarm() | {"endpointSpec": {"ports": [{"targetPort": 80, "publishedPort": 80}]}}
    assert "published-at-the-edge" in rules_of(judge(published, SERVICE, name="traefik-container"))


@pytest.mark.parametrize(
    ("port", "stack", "found"),
    [
        ({"external": 8443}, "prod", set()),
        ({"external": 1023}, "prod", {"published-ports"}),
        ({"external": 22}, "dev", {"published-ports"}),
        ({"external": 8443}, "dev", set()),
        ({"external": "443"}, "prod", set()),
        ({"external": None}, "prod", {"published-ports"}),
        ({"protocol": "udp"}, "prod", {"published-ports"}),
        ({"protocol": "TCP"}, "prod", set()),
        ({"external": UNKNOWN, "protocol": UNKNOWN, "ip": UNKNOWN}, "prod", set()),
        ({"ip": ""}, "prod", {"explicit-bind-address"}),
        ({"ip": None}, "prod", {"explicit-bind-address"}),
        ({"ip": " "}, "prod", {"explicit-bind-address"}),
        ({"ip": "0.0.0.0"}, "prod", set()),
    ],
)
def test_what_the_edge_may_publish(port: Props, stack: str, found: set[str]) -> None:
    assert of_edge(ports(HTTPS | port), stack=stack) == found


def test_a_third_port_is_one_too_many() -> None:
    http: Props = HTTPS | {"external": 80}
    assert of_edge(ports(http, HTTPS)) == set()
    assert of_edge(ports(http, HTTPS, HTTPS | {"external": 8443}), stack="dev") == {"published-ports"}


@pytest.mark.parametrize(
    "changes",
    [
        {"networksAdvanced": None},
        {"networksAdvanced": []},
        {"networkMode": "bridge", "networksAdvanced": None},
        {"networkMode": "Default", "networksAdvanced": []},
        {"networksAdvanced": [{"name": "bridge"}]},
        {"networksAdvanced": [{"name": UNKNOWN}, {"name": " Bridge "}]},
    ],
    ids=str,
)
def test_nobody_is_on_the_default_bridge(changes: Props) -> None:
    assert rules_of(judge(container(**changes))) == {"no-default-bridge"}


@pytest.mark.parametrize(
    "changes",
    [
        {"networkMode": UNKNOWN, "networksAdvanced": None},
        {"networksAdvanced": UNKNOWN},
        {"networkMode": "none"},
        # As the engine shows what the provider filled in.
        {"networkMode": "bridge"},
        {"networkMode": "bridge", "networksAdvanced": UNKNOWN},
    ],
    ids=str,
)
def test_what_is_not_known_or_not_there_is_no_default_bridge(changes: Props) -> None:
    assert judge(container(**changes)) == []


KEPT_FROM_THE_HOST: Final[Props] = {"com.docker.network.bridge.inhibit_ipv4": "true"}
GOOD_NETWORK: Final[Props] = {
    "name": "nexus-dev-apps",
    "driver": "bridge",
    "internal": True,
    "ipv6": False,
    "ipamConfigs": [{"subnet": "172.31.241.0/24"}],
    "options": KEPT_FROM_THE_HOST,
}
EGRESS: Final[Props] = GOOD_NETWORK | {
    "internal": False,
    "options": {"com.docker.network.bridge.enable_icc": "false"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"internal": False},
        {"internal": None},
        {"internal": "no"},
        {"driver": "macvlan"},
        {"driver": "host"},
        {"driver": "overlay"},
        {"attachable": True},
        {"ingress": True},
        {"ipv6": True},
        {"ipamConfigs": None},
        {"ipamConfigs": []},
        {"ipamConfigs": [{"gateway": "172.31.241.1"}]},
        {"ipamConfigs": [{"subnet": "0.0.0.0/0"}]},
        {"ipamConfigs": [{"subnet": "10.0.0.0/8"}]},
        {"ipamConfigs": [{"subnet": "192.0.2.0/24"}]},
        {"ipamConfigs": [{"subnet": "172.31.241.0/24"}, {"subnet": "fd00::/64"}]},
        {"ipamConfigs": [{"subnet": "mine"}]},
        {"ipamDriver": "dhcp"},
        {"options": None},
        {"options": {}},
        {"options": {"com.docker.network.bridge.inhibit_ipv4": "false"}},
        {"options": {**KEPT_FROM_THE_HOST, "com.docker.network.bridge.name": "br0"}},
        {"options": {**KEPT_FROM_THE_HOST, "com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"}},
        {"options": {**KEPT_FROM_THE_HOST, "com.docker.network.bridge.trusted_host_interfaces": "eth0"}},
        {"options": {**KEPT_FROM_THE_HOST, "com.docker.network.enable_ipv6": UNKNOWN}},
    ],
    ids=str,
)
def test_a_network_without_its_walls_is_refused(changes: Props) -> None:
    assert rules_of(judge(GOOD_NETWORK, NETWORK, name="network-apps")) == set()
    assert rules_of(judge(GOOD_NETWORK | changes, NETWORK, name="network-apps")) == {"internal-network"}


def test_an_option_on_the_list_passes() -> None:
    options: Props = {
        "options": {**KEPT_FROM_THE_HOST, "com.docker.network.driver.mtu": "1420"},
        "ipamDriver": "default",
    }
    config: Props = {"options": ["com.docker.network.driver.mtu"]}
    assert judge(GOOD_NETWORK | options, NETWORK, name="network-apps", config=config, rules=networks.RULES) == []


@pytest.mark.parametrize("mode", ["nexus-dev-monitoring", "a1" * 32, "home-macvlan", "service:web", "Other_Default"])
@pytest.mark.parametrize("attached", [[{"name": "nexus-dev-apps"}], None, UNKNOWN])
def test_no_network_by_its_name_in_the_mode(mode: str, attached: Json) -> None:
    found = rules_of(judge(container(networkMode=mode, networksAdvanced=attached)))
    assert found & RULES == {"no-default-bridge"}


def test_no_swarm_service_has_networks_of_its_own() -> None:
    stack = declared("dev")
    more = Resource(type=SERVICE, name="torrent-service", stack="dev", props={"name": "vpn"})
    found = judged(Stack(name="dev", resources=(*stack.resources, more)), networks.RULES).violations
    assert {one.rule for one in found} == {"network-table"}


def test_those_that_are_meant_to_have_a_way_out_have_one() -> None:
    assert judge(EGRESS, NETWORK, name="network-egress") == []
    assert judge(EGRESS | {"options": {}}, NETWORK, name="network-tunnel") == []
    assert rules_of(judge(EGRESS | {"internal": True}, NETWORK, name="network-egress")) == {"internal-network"}


@pytest.mark.parametrize("options", [None, {}, {"com.docker.network.bridge.enable_icc": "true"}], ids=str)
def test_those_that_are_there_for_the_outside_alone_do_not_join_their_members(options: Props | None) -> None:
    found = rules_of(judge(EGRESS | {"options": options}, NETWORK, name="network-egress"))
    assert found == {"internal-network"}
    assert judge(EGRESS | {"options": UNKNOWN}, NETWORK, name="network-egress") == []


def test_the_configuration_is_the_programs_table() -> None:
    settings = read().settings
    assert pack_config("prod").rules["network-table"]["table"] == matrix()
    assert "network-table" not in settings
    open_ones = settings["internal-network"]["open"]
    assert isinstance(open_ones, list)
    assert set(open_ones) == {f"network-{row.name}" for row in TABLE if not row.internal}
    assert settings["internal-network"]["apart"] == [f"network-{row.name}" for row in TABLE if row.apart]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("preview", [False, True])
def test_the_declared_platform_passes(choice: str, preview: bool) -> None:
    found = judged(declared(choice, preview=preview), networks.RULES).violations
    assert [one.message for one in found] == []


def broken(resource: str, **props: object) -> set[str]:
    """What the family says of the declared platform with other inputs of one resource."""
    return {
        one.rule for one in judged(changed(declared("dev"), resource, **props), networks.RULES).violations
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
    found = judged(Stack(name="dev", resources=(*stack.resources, more))).violations
    assert "network-table" in {one.rule for one in found}


@pytest.mark.parametrize(
    "props",
    [
        {"networkMode": "none"},
        {"networkMode": "bridge"},
        {"networkMode": None},
        {"networksAdvanced": [{"name": "nexus-test-egress"}]},
        {"dns": ["192.0.2.53"]},
        {"hosts": [{"host": "tracker", "ip": "192.0.2.1"}]},
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
    assert {one.rule for one in judged(stack).violations} == {"downloader-inside-its-vpn"}


def test_the_vpns_namespace_by_its_id_or_name() -> None:
    for stack in (riding("container:" + "1f" * 32, "vpn-container"), riding("container:nexus-test-vpn")):
        assert judged(stack).violations == ()


def test_nothing_else_rides() -> None:
    props: Props = {"networkMode": "container:" + "1f" * 32, "networksAdvanced": None}
    assert "downloader-inside-its-vpn" in broken("radarr-container", **props)
    assert broken("qbittorrent-container", networkMode=PLAIN_UNKNOWN) == set()


@pytest.mark.parametrize(
    "port",
    [
        {"internal": 8082, "ip": "127.0.0.1", "protocol": "tcp"},
        {"internal": 8082, "external": None, "ip": "127.0.0.1", "protocol": "tcp"},
        {"internal": 8082, "external": 0, "ip": "127.0.0.1", "protocol": "tcp"},
    ],
    ids=str,
)
def test_no_port_is_left_to_chance(port: Props) -> None:
    assert of_edge(ports(port)) == {"published-ports"}


def test_a_port_may_be_bound_twice() -> None:
    both = [
        {**HTTPS, "external": external, "ip": ip} for external in (80, 443) for ip in ("192.0.2.1", "198.51.100.1")
    ]
    assert of_edge(ports(*both)) == set()


KEYS: Final = (
    "options",
    "ipamDriver",
    "ports",
    "publishAllPorts",
    "networkMode",
    "networksAdvanced",
    "endpointSpec",
    "ipamConfigs",
    "internal",
)


@pytest.mark.parametrize(
    "junk", [None, 7, 1.5, True, "x", [], {}, [None], [[]], {"x": None}, [7, "y"], UNKNOWN], ids=str
)
def test_junk_raises_nothing(junk: Json) -> None:
    for key in KEYS:
        for kind in (CONTAINER, SERVICE, NETWORK):
            judge(container(**{key: junk}), kind, rules=networks.RULES)
        for name in ("sonarr-container", "qbittorrent-container", "network-apps"):
            judged(changed(declared("dev"), name, **{key: junk}), networks.RULES)
