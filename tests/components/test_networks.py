"""Which networks there are; that policies/matrix.yaml says who is on them, in every stack; how a service says so."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from components import networks
from components.arguments import ServiceArgs
from components.errors import PlatformError
from components.networks import APPS, DATA, EGRESS, EXPORTERS, MONITORING, TUNNEL, OwnNetworks, subnets
from components.service import Service
from tests import matrix
from tests.components.stacks import CHOICES, GOOD, SOCKET_PROXY, build, built, declare, every, service
from tests.matrix import may_talk, rows_of

POOLS = ["172.31.240.0/20", "10.77.0.0/16", "10.0.0.0/8", "192.168.0.0/16"]

ROUTED_TWICE: Mapping[str, str] = {}
"""Services on more than one network with a way out, and why. None is: with two, which one a packet leaves by is
Docker's choice (lexical by network name before engine 28)."""


def members() -> set[str]:
    """Every service that the matrix names."""
    return {member for row in matrix.TABLE for member in row.members}


def services(choice: str) -> set[str]:
    """Every service of a stack."""
    return set(built(choice).of("Service"))


def subnet_of(choice: str, row: str) -> str:
    """The subnet of one network of a stack."""
    return str(built(choice).of("Network")[f"network-{row}"].tables("ipamConfigs")[0]["subnet"])


def fixed(choice: str) -> dict[tuple[str, str], int]:
    """The host parts of the addresses that are fixed in a stack, by service and network."""
    return {
        (name, network): int(ipaddress.IPv4Address(str(item["ipv4Address"])))
        - int(ipaddress.IPv4Network(subnet_of(choice, network)).network_address)
        for name in services(choice)
        for item in built(choice).service(name).tables("networksAdvanced")
        if "ipv4Address" in item
        for network in [str(item["name"]).removeprefix("nexus-test-")]
    }


def on_the_host(choice: str) -> set[str]:
    """The services of a stack that are on no network but the host's own."""
    return {name for name in services(choice) if built(choice).service(name).text("networkMode") == "host"}


def riders(choice: str) -> set[str]:
    """The services of a stack that live in another one's network namespace."""
    return {
        name for name in services(choice) if built(choice).service(name).text("networkMode").startswith("container:")
    }


def declared_networks(choice: str) -> dict[str, OwnNetworks]:
    """The networks that each service of a stack declares, as objects."""
    found: dict[str, OwnNetworks] = {}
    whole = Service.__init__

    def kept(self: Service, name: str, args: ServiceArgs, *rest: Any) -> None:  # noqa: ANN401 - handed on
        if isinstance(args.network, OwnNetworks):
            found[name] = args.network
        whole(self, name, args, *rest)

    with mock.patch.object(Service, "__init__", kept):
        build(CHOICES[choice])
    return found


class TestTable:
    def test_names_are_unique(self) -> None:
        names = [row.name for row in networks.TABLE]
        assert sorted(set(names)) == sorted(names)

    def test_fits_the_smallest_pool(self) -> None:
        # A /20, the smallest pool that the settings take, has sixteen /24.
        assert len(networks.TABLE) <= 16
        assert {row.slot for row in networks.TABLE} <= set(range(16))

    @pytest.mark.parametrize("row", networks.TABLE, ids=lambda row: row.name)
    def test_each_row_has_its_reason(self, row: networks.Network) -> None:
        assert row.why

    def test_names_no_service(self) -> None:
        # A network that is there for one of them has its name; who is on it is said where that one is declared.
        text = Path(networks.__file__).read_text(encoding="utf-8")
        for row in networks.TABLE:
            text = re.sub(rf"(?i)\b{row.name.replace('-', '[-_]')}\b", "", text)
        found = sorted(name for name in members() | {"qbittorrent", "gluetun"} if re.search(rf"(?i){name}", text))
        assert found == [], "components/networks.py names a service; write what a network is for, not for whom"

    def test_the_networks_of_the_design_are_there(self) -> None:
        assert {"edge", "apps", "egress", "tunnel", "data", "monitoring"} <= {row.name for row in networks.TABLE}

    def test_only_three_have_a_way_out(self) -> None:
        assert {row.name for row in networks.TABLE if not row.internal} == {"edge", "egress", "tunnel"}

    def test_at_most_one_way_out_for_a_service(self) -> None:
        found = {name for name in members() if sum(not row.internal for row in rows_of(name)) > 1}
        assert found == set(ROUTED_TWICE)

    def test_each_socket_network_has_one_proxy_and_one_consumer(self) -> None:
        rows = [row for row in matrix.TABLE if row.name.startswith("socket-")]
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
        (row,) = (row for row in matrix.TABLE if row.name == "tunnel")
        assert set(row.members) == {"vpn", "vpn-peer"}


class TestAgainstTheServices:
    """The matrix and the services that the platform makes name each other, in every stack."""

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
        (edge,) = (row for row in matrix.TABLE if row.name == "edge")
        for stack in every().values():
            assert {name for name, item in stack.of("Container").items() if item.tables("ports")} == {
                f"{member}-container" for member in edge.members
            }

    @pytest.mark.parametrize("choice", CHOICES)
    def test_each_container_is_attached_as_the_matrix_says(self, choice: str) -> None:
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
    def test_fixed_addresses(self, choice: str) -> None:
        peer = {("vpn-peer", "tunnel"): 10} if "vpn-peer" in services(choice) else {}
        assert fixed(choice) == {
            ("traefik", "apps"): 250,
            ("prometheus", "monitoring"): 250,
            ("blackbox-exporter", "exporters"): 250,
            **peer,
        }


class TestMayTalk:
    def test_is_what_the_matrix_says(self) -> None:
        shared = {
            (one, other)
            for row in matrix.TABLE
            for one, other in itertools.product(row.members, repeat=2)
            if not row.apart and other not in row.silent
        }
        assert shared == {pair for pair in itertools.product(members(), repeat=2) if may_talk(*pair)}

    @pytest.mark.parametrize("choice", ["dev", "prod"])
    def test_is_what_the_declarations_say(self, choice: str) -> None:
        """`reach`, which the program itself asks, and the matrix: with the embedded peer and without."""
        own = declared_networks(choice)
        assert own.keys() == services(choice) - riders(choice) - on_the_host(choice)
        for one, other in itertools.product(own, repeat=2):
            assert own[one].reach(own[other]) is may_talk(one, other), (one, other)

    def test_what_is_scraped_does_not_reach_back(self) -> None:
        scraped = {name for name in members() if may_talk("prometheus", name)} - {"prometheus"}
        assert {"jellyfin", "traefik", "alertmanager", "node-exporter", "grafana"} <= scraped
        assert {name for name in scraped if may_talk(name, "prometheus")} == {"grafana"}, "Grafana asks it"

    def test_who_is_silent_listens_at_a_fixed_address_elsewhere(self) -> None:
        at = fixed("dev")
        assert [name for row in matrix.TABLE for name in row.silent] != []
        for row in matrix.TABLE:
            assert set(row.silent) <= set(row.members)
            for name in row.silent:
                assert [one.name for one in rows_of(name) if (name, one.name) in at and name not in one.silent]
                assert (name, row.name) not in at

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


class TestSubnets:
    @pytest.mark.parametrize("pool", POOLS)
    def test_each_network_has_its_own_part_of_the_pool(self, pool: str) -> None:
        whole = ipaddress.IPv4Network(pool)
        cut = subnets(whole)
        assert cut.keys() == {row.name for row in networks.TABLE}
        for subnet in cut.values():
            assert subnet.subnet_of(whole)
            assert subnet.prefixlen == 24
        for one, other in itertools.combinations(cut.values(), 2):
            assert not one.overlaps(other)

    @pytest.mark.parametrize("pool", POOLS)
    def test_neither_the_order_nor_another_row_moves_one(self, pool: str) -> None:
        whole = ipaddress.IPv4Network(pool)
        before = subnets(whole)
        free = next(slot for slot in range(16) if slot not in {row.slot for row in networks.TABLE})
        added = networks.Network(name="newcomers", slot=free, internal=True, why="a test")
        assert subnets(whole, networks.TABLE[::-1]) == before
        after = subnets(whole, [added, *networks.TABLE])
        assert after == {**before, "newcomers": [*itertools.islice(whole.subnets(new_prefix=24), 16)][free]}
        left = subnets(whole, networks.TABLE[3:])
        assert left == {name: before[name] for name in left}

    def test_a_slot_is_the_subnet_that_a_running_stack_has(self) -> None:
        # A changed number replaces a network and everything on it.
        today = {
            name: slot
            for slot, name in enumerate(
                (
                    "edge",
                    "apps",
                    "egress",
                    "tunnel",
                    "data",
                    "monitoring",
                    "socket-cadvisor",
                    "exporters",
                    "alerts",
                    "scrape-traefik",
                    "scrape-jellyfin",
                    "dashboards",
                    "socket-guard",
                )
            )
        }
        assert today.items() <= {row.name: row.slot for row in networks.TABLE}.items()

    @pytest.mark.parametrize("slot", [-1, 16, 300])
    def test_a_slot_that_the_pool_does_not_have(self, slot: int) -> None:
        table = [APPS, DATA, networks.Network(name="newcomers", slot=slot, internal=True, why="a test")]
        said = (
            rf"^components/networks\.py: the network newcomers has slot={slot}, and nexus:networks\.pool, "
            r"172\.31\.240\.0/20, has 0 to 15: give it a free one \(0, 2, 3\)$"
        )
        with pytest.raises(PlatformError, match=said):
            subnets(ipaddress.IPv4Network(POOLS[0]), table)

    def test_more_networks_than_the_pool_has_room_for(self) -> None:
        table = [networks.Network(name=f"n{slot}", slot=slot, internal=True, why="a test") for slot in range(17)]
        with pytest.raises(
            PlatformError, match=r"the network n16 has slot=16, .* set a larger nexus:networks\.pool$"
        ):
            subnets(ipaddress.IPv4Network(POOLS[0]), table)

    def test_a_slot_that_two_networks_have(self) -> None:
        table = [APPS, DATA, networks.Network(name="newcomers", slot=4, internal=True, why="a test")]
        said = (
            r"^components/networks\.py: the networks data and newcomers both have slot=4: give it a free one \(0, 2"
        )
        with pytest.raises(PlatformError, match=said):
            subnets(ipaddress.IPv4Network(POOLS[0]), table)

    def test_a_name_that_two_networks_have(self) -> None:
        table = [APPS, DATA, dataclasses.replace(DATA, slot=13)]
        with pytest.raises(PlatformError, match=r"^components/networks\.py: two networks are called data"):
            subnets(ipaddress.IPv4Network(POOLS[0]), table)

    @pytest.mark.parametrize("choice", ["dev", "remote"])
    def test_the_networks_of_a_stack(self, choice: str) -> None:
        pool = ipaddress.IPv4Network({"dev": "172.31.240.0/20", "remote": "10.77.0.0/16"}[choice])
        made = built(choice).of("Network")
        assert made.keys() == {f"network-{row.name}" for row in networks.TABLE}
        for row in networks.TABLE:
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
    @pytest.mark.parametrize("choice", CHOICES)
    def test_lie_above_what_docker_gives_out(self, choice: str) -> None:
        # From the gateway upwards: no member without a fixed address must ever get one of these.
        at = fixed(choice)
        for row in matrix.TABLE:
            parts = [part for (name, network), part in at.items() if network == row.name and name in row.members]
            assert len(set(parts)) == len(parts) == len([1 for _, network in at if network == row.name])
            assert all(1 + len(row.members) < part < 255 for part in parts)

    def test_the_vpn_container_looks_for_its_peer_where_it_is(self) -> None:
        stack = built("dev")
        (attached,) = stack.service("vpn-peer").tables("networksAdvanced")
        assert stack.service("vpn").env["WIREGUARD_ENDPOINT_IP"] == attached["ipv4Address"]


class TestOwnNetworks:
    """A service says which networks it is on, and that is all there is to say."""

    def test_two(self) -> None:
        container = service("newcomer", dataclasses.replace(GOOD, network=OwnNetworks(MONITORING, APPS)))
        attached = {str(item["name"]): item.get("aliases") for item in container.tables("networksAdvanced")}
        assert attached == {"nexus-test-apps": ["newcomer"], "nexus-test-monitoring": ["newcomer"]}

    def test_the_order_does_not_count(self) -> None:
        assert OwnNetworks(MONITORING, APPS) == OwnNetworks(APPS, MONITORING)

    def test_none(self) -> None:
        with pytest.raises(
            PlatformError, match=r"^OwnNetworks names no network: write which, .* components/networks\.py"
        ):
            OwnNetworks()

    def test_one_twice(self) -> None:
        with pytest.raises(PlatformError, match=r"^OwnNetworks names apps twice"):
            OwnNetworks(APPS, DATA, APPS.at(250))

    def test_who_only_connects_somewhere_listens_at_a_fixed_address_elsewhere(self) -> None:
        with pytest.raises(PlatformError, match=r"^OwnNetworks has data to open connections alone, and no"):
            OwnNetworks(APPS, EGRESS, DATA.connects())
        assert OwnNetworks(APPS.at(250), EGRESS, DATA.connects()).names == "apps, egress, data"

    @pytest.mark.parametrize("host", [-1, 0, 1, 255, 256])
    def test_an_address_that_none_is(self, host: int) -> None:
        with pytest.raises(PlatformError, match=rf"^apps\.at\({host}\): a host part is 2 to 254$"):
            APPS.at(host)

    def test_an_address_that_another_has(self) -> None:
        args = dataclasses.replace(GOOD, network=OwnNetworks(APPS.at(77)))
        with pytest.raises(
            PlatformError, match=r"^newcomer and sonarr are both at\(77\) on apps: change one of them$"
        ):
            declare(lambda host: [Service(name, args, host) for name in ("sonarr", "newcomer")])

    def test_an_address_that_is_not_fixed(self) -> None:
        with pytest.raises(PlatformError, match=r"^apps: no address is fixed there; write at"):
            declare(lambda host: host.networks.address(APPS.connects()))

    def test_a_network_that_is_not_in_the_table(self) -> None:
        stranger = networks.Network(name="side-door", slot=14, internal=False, why="a test")
        args = dataclasses.replace(GOOD, network=OwnNetworks(APPS, stranger))
        with pytest.raises(PlatformError, match=r"^components/networks\.py: the network side-door is not in TABLE"):
            declare(lambda host: Service("newcomer", args, host))

    def test_who_only_connects_is_not_reached(self) -> None:
        one, other = OwnNetworks(DATA.at(250), EXPORTERS.connects()), OwnNetworks(EXPORTERS)
        assert one.reach(other)
        assert not other.reach(one)

    def test_nobody_is_reached_where_all_are_apart(self) -> None:
        assert not OwnNetworks(EGRESS).reach(OwnNetworks(EGRESS.at(9)))

    def test_what_leads_out(self) -> None:
        assert OwnNetworks(APPS, TUNNEL).lead_out
        assert not OwnNetworks(APPS, DATA).lead_out
