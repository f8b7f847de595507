"""The table's own rules, and that the networks and attachments of a stack are the table's and nothing else."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Mapping

import pytest

from components import networks
from components.errors import PlatformError
from components.networks import TABLE, may_talk, rows_of, subnets
from tests.components.stacks import CHOICES, SOCKET_PROXY, add_to_table, built, every, service

POOLS = ["172.31.240.0/20", "10.77.0.0/16", "10.0.0.0/8", "192.168.0.0/16"]

ROUTED_TWICE: Mapping[str, str] = {}
"""Services on more than one network with a way out, and why. None is: with two, which one a packet leaves by is
Docker's choice (lexical by network name before engine 28)."""


def members() -> set[str]:
    """Every service that the table names."""
    return {member for row in TABLE for member in row.members}


def services(choice: str) -> set[str]:
    """Every service of a stack."""
    return set(built(choice).of("Service"))


def subnet_of(choice: str, row: str) -> str:
    """The subnet of one network of a stack."""
    return str(built(choice).of("Network")[f"network-{row}"].tables("ipamConfigs")[0]["subnet"])


def on_the_host(choice: str) -> set[str]:
    """The services of a stack that are on no network but the host's own."""
    return {name for name in services(choice) if built(choice).service(name).text("networkMode") == "host"}


def riders(choice: str) -> set[str]:
    """The services of a stack that live in another one's network namespace."""
    return {
        name for name in services(choice) if built(choice).service(name).text("networkMode").startswith("container:")
    }


class TestTable:
    def test_names_are_unique(self) -> None:
        names = [row.name for row in TABLE]
        assert sorted(set(names)) == sorted(names)

    def test_fits_the_smallest_pool(self) -> None:
        # A /20, the smallest pool that the settings take, has sixteen /24.
        assert len(TABLE) <= 16

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
    def test_each_row_has_its_reason_and_no_member_twice(self, row: networks.Row) -> None:
        assert row.why
        assert len(set(row.members)) == len(row.members)

    def test_the_networks_of_the_design_are_there(self) -> None:
        assert {"edge", "apps", "egress", "tunnel", "data", "monitoring"} <= {row.name for row in TABLE}

    def test_only_three_have_a_way_out(self) -> None:
        assert {row.name for row in TABLE if not row.internal} == {"edge", "egress", "tunnel"}

    def test_at_most_one_way_out_for_a_service(self) -> None:
        found = {name for name in members() if sum(not row.internal for row in rows_of(name)) > 1}
        assert found == set(ROUTED_TWICE)

    def test_each_socket_network_has_one_proxy_and_one_consumer(self) -> None:
        rows = [row for row in TABLE if row.name.startswith("socket-")]
        assert rows
        for row in rows:
            consumer = row.name.removeprefix("socket-")
            assert set(row.members) == {consumer, f"{consumer}-socket-proxy"}
            assert row.internal

    def test_a_socket_proxy_is_on_no_other_network(self) -> None:
        proxies = {name for name in members() if name.endswith("-socket-proxy")}
        assert SOCKET_PROXY in proxies
        for proxy in proxies:
            assert [row.name for row in rows_of(proxy)] == [f"socket-{proxy.removesuffix('-socket-proxy')}"]

    def test_the_tunnel_has_the_two_ends_of_the_vpn_only(self) -> None:
        (row,) = (row for row in TABLE if row.name == "tunnel")
        assert set(row.members) == {"vpn", "vpn-peer"}


class TestAgainstTheServices:
    """The table and the services that the platform makes name each other, in every stack."""

    @pytest.mark.parametrize("choice", CHOICES)
    def test_every_service_is_named_or_rides_one_that_is(self, choice: str) -> None:
        assert services(choice) - riders(choice) - on_the_host(choice) <= members()
        assert not (riders(choice) | on_the_host(choice)) & members(), "they have no network of their own"
        assert on_the_host(choice) == {"firewall"}
        assert riders(choice) == {"qbittorrent"}

    def test_no_name_is_without_a_service(self) -> None:
        made = {name for choice in CHOICES for name in services(choice)}
        assert members() <= made

    def test_only_members_of_edge_publish_ports(self) -> None:
        (edge,) = (row for row in TABLE if row.name == "edge")
        for stack in every().values():
            assert {name for name, item in stack.of("Container").items() if item.tables("ports")} == {
                f"{member}-container" for member in edge.members
            }

    @pytest.mark.parametrize("choice", CHOICES)
    def test_each_container_is_attached_as_the_table_says(self, choice: str) -> None:
        stack = built(choice)
        for name in services(choice) - riders(choice) - on_the_host(choice):
            container = stack.service(name)
            attached = {str(item["name"]): item for item in container.tables("networksAdvanced")}
            assert attached.keys() == {f"nexus-test-{row.name}" for row in rows_of(name)}
            # Where it does not answer, a name would lead to an address that nobody reaches.
            for row in rows_of(name):
                answers = not row.apart and name not in row.silent
                assert attached[f"nexus-test-{row.name}"].get("aliases") == ([name] if answers else None)
            # By Output and not by name: a replaced network must replace what hangs on it.
            assert container.sources["networksAdvanced"] == {f"network-{row.name}" for row in rows_of(name)}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_fixed_addresses_are_the_tables(self, choice: str) -> None:
        stack = built(choice)
        given = {
            (name, str(item["name"])): item["ipv4Address"]
            for name in services(choice)
            for item in stack.service(name).tables("networksAdvanced")
            if "ipv4Address" in item
        }
        assert given == {
            (name, f"nexus-test-{row.name}"): str(ipaddress.ip_network(subnet_of(choice, row.name))[part])
            for row in TABLE
            for name, part in row.fixed.items()
            if name in services(choice)
        }


class TestMayTalk:
    def test_is_what_the_table_says(self) -> None:
        shared = {
            (one, other)
            for row in TABLE
            for one, other in itertools.product(row.members, repeat=2)
            if not row.apart and other not in row.silent
        }
        assert shared == {pair for pair in itertools.product(members(), repeat=2) if may_talk(*pair)}

    def test_what_is_scraped_does_not_reach_back(self) -> None:
        scraped = {name for name in members() if may_talk("prometheus", name)} - {"prometheus"}
        assert {"jellyfin", "traefik", "alertmanager", "node-exporter", "grafana"} <= scraped
        assert {name for name in scraped if may_talk(name, "prometheus")} == {"grafana"}, "Grafana asks it"

    def test_who_is_silent_listens_at_a_fixed_address_elsewhere(self) -> None:
        for row in TABLE:
            assert set(row.silent) <= set(row.members)
            for name in row.silent:
                assert [other.name for other in rows_of(name) if name in other.fixed and name not in other.silent]
                assert name not in row.fixed

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("jellyfin", SOCKET_PROXY),
            ("prometheus", SOCKET_PROXY),
            ("traefik", SOCKET_PROXY),
            ("traefik", "vpn-peer"),
            ("sonarr", "vpn-peer"),
            ("sonarr", "prometheus"),
            ("sonarr", "grafana"),
            ("vpn", "prometheus"),
            ("vpn", "alertmanager"),
            ("prometheus", "radarr"),
            ("jellyfin", "prometheus"),
            ("jellyfin", "alertmanager"),
            ("sonarr", "alertmanager"),
            ("alertmanager", "sonarr"),
            ("traefik", "prometheus"),
            ("alertmanager", "prometheus"),
            ("sonarr", "blackbox-exporter"),
            ("jellyfin", "grafana"),
        ],
    )
    def test_never(self, one: str, other: str) -> None:
        assert rows_of(one)
        assert rows_of(other)
        assert not may_talk(one, other)

    def test_a_service_that_is_not_named_talks_to_nobody(self) -> None:
        assert not any(may_talk("newcomer", name) for name in members())

    def test_a_service_that_is_not_named_gets_no_network(self) -> None:
        with pytest.raises(PlatformError, match=r"components/networks\.py: no network names 'newcomer'"):
            rows_of("newcomer")


class TestSubnets:
    @pytest.mark.parametrize("pool", POOLS)
    def test_each_network_has_its_own_part_of_the_pool(self, pool: str) -> None:
        whole = ipaddress.IPv4Network(pool)
        cut = subnets(whole)
        assert cut.keys() == {row.name for row in TABLE}
        for subnet in cut.values():
            assert subnet.subnet_of(whole)
            assert subnet.prefixlen == 24
        for one, other in itertools.combinations(cut.values(), 2):
            assert not one.overlaps(other)

    @pytest.mark.parametrize("pool", POOLS)
    def test_a_row_at_the_end_moves_no_other(self, pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
        before = subnets(ipaddress.IPv4Network(pool))
        added = networks.Row(name="newcomers", internal=True, members=(), why="a test")
        monkeypatch.setattr(networks, "TABLE", (*TABLE, added))
        after = subnets(ipaddress.IPv4Network(pool))
        assert {name: after[name] for name in before} == before
        assert after.keys() - before.keys() == {"newcomers"}

    @pytest.mark.parametrize("choice", ["dev", "remote"])
    def test_the_networks_of_a_stack(self, choice: str) -> None:
        pool = ipaddress.IPv4Network({"dev": "172.31.240.0/20", "remote": "10.77.0.0/16"}[choice])
        made = built(choice).of("Network")
        assert made.keys() == {f"network-{row.name}" for row in TABLE}
        for row in TABLE:
            network = made[f"network-{row.name}"]
            assert network.text("name") == f"nexus-test-{row.name}"
            assert network.inputs["internal"] is row.internal
            # The engine says of both what it was told (moby, bridge/labels.go).
            assert network.table("options") == {
                "com.docker.network.bridge.inhibit_ipv4": "true" if row.internal else "false",
                "com.docker.network.bridge.enable_icc": "false" if row.name == "egress" else "true",
            }
            assert network.inputs["driver"] == "bridge"
            assert network.inputs["ipv6"] is False
            assert network.labels == {"nexus.stack": "test"}
            assert network.delete_before_replace
            (ipam,) = network.tables("ipamConfigs")
            subnet = subnets(pool)[row.name]
            assert ipam == {"subnet": str(subnet), "gateway": str(subnet[1])}


class TestFixedAddresses:
    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
    def test_lie_above_what_docker_gives_out(self, row: networks.Row) -> None:
        # From the gateway upwards: no member without a fixed address must ever get one of these.
        assert set(row.fixed) <= set(row.members)
        assert len(set(row.fixed.values())) == len(row.fixed)
        assert all(1 + len(row.members) < part < 255 for part in row.fixed.values())

    def test_the_vpn_container_looks_for_its_peer_where_it_is(self) -> None:
        stack = built("dev")
        (attached,) = stack.service("vpn-peer").tables("networksAdvanced")
        assert stack.service("vpn").env["WIREGUARD_ENDPOINT_IP"] == attached["ipv4Address"]


class TestNewcomer:
    """A service gets its networks by its name in the table, with no second edit."""

    def test_named_in_two_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        add_to_table(monkeypatch, "newcomer", "apps", "monitoring")
        container = service("newcomer")
        attached = [item["name"] for item in container.tables("networksAdvanced")]
        assert attached == ["nexus-test-apps", "nexus-test-monitoring"]

    def test_named_in_none(self) -> None:
        with pytest.raises(PlatformError, match=r"components/networks\.py: no network names 'newcomer'"):
            service("newcomer")
