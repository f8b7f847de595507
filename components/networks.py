"""The stack's networks and who is on them: deny by default, as data.

Two containers can talk only where they share a row, and no container talks to the host (components/firewall.py has
what Docker's own options leave open). A test walks every pair of this table from inside the running containers;
nothing else in the program attaches a container to a network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pulumi
import pulumi_docker as docker

from components.errors import PlatformError
from components.names import LABEL_STACK, physical

_BRIDGE: Final = "com.docker.network.bridge"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network: its name, whether it has a way out, and the services on it.

    The position in `TABLE` gives its /24 of the pool, so rows are added at the end.
    """

    name: str
    internal: bool
    members: tuple[str, ...]
    why: str
    apart: bool = False
    """Whether its members reach the outside and not one another."""
    silent: tuple[str, ...] = ()
    """Members that open connections here and listen elsewhere, at a fixed address."""
    fixed: Mapping[str, int] = field(default_factory=dict)
    """Host parts of the addresses that something is configured with, by member. Docker gives addresses out from the
    gateway upwards, so they lie above what the members can ever take."""

    @property
    def options(self) -> Mapping[str, str]:
        """The bridge's options. An internal network's gateway is no address of the host (any engine takes this
        spelling; `gateway_mode_ipv4=isolated` is refused by engines before 28). None is left out: the provider keeps
        what was declared once and then is not (`options` is Optional and Computed)."""
        return {
            f"{_BRIDGE}.enable_icc": "false" if self.apart else "true",
            f"{_BRIDGE}.inhibit_ipv4": "true" if self.internal else "false",
        }

    def joins(self, one: str, other: str) -> bool:
        """Whether `one` may open a connection to `other` on this network."""
        return {one, other} <= {*self.members} and not self.apart and other not in self.silent


TABLE: Final = (
    Row(
        name="edge",
        internal=False,
        members=("traefik",),
        why="the only network with published ports",
    ),
    Row(
        name="apps",
        internal=True,
        members=("traefik", "jellyfin", "sonarr", "radarr", "prowlarr", "vpn", "blackbox-exporter"),
        why="Traefik to the web apps, and the apps to each other; the downloader is reached at its VPN container",
        silent=("blackbox-exporter",),
        fixed={"traefik": 250},  # what the apps believe X-Forwarded-For from
    ),
    Row(
        name="egress",
        internal=False,
        members=("jellyfin", "sonarr", "radarr", "prowlarr", "alertmanager"),
        why="metadata, indexers and alert receivers; nothing is published",
        apart=True,
    ),
    Row(
        name="tunnel",
        internal=False,
        members=("vpn", "vpn-peer"),
        why="the VPN container's way to its endpoint; the downloader lives in its namespace",
        fixed={"vpn-peer": 10},  # gluetun wants an address, not a name
    ),
    Row(
        name="data",
        internal=True,
        members=(),
        why="databases and those who use them; none of the apps so far needs one",
    ),
    Row(
        name="monitoring",
        internal=True,
        members=("prometheus", "grafana"),
        why="Grafana to Prometheus, which scrapes it and answers on this network alone",
        fixed={"prometheus": 250},
    ),
    Row(
        name="socket-cadvisor",
        internal=True,
        members=("cadvisor-socket-proxy", "cadvisor"),
        why="one network for each consumer of a socket proxy",
    ),
    Row(
        name="exporters",
        internal=True,
        members=("prometheus", "node-exporter", "cadvisor", "blackbox-exporter"),
        why="Prometheus to what only measures; the blackbox exporter asks for anybody, so it answers here alone",
        silent=("prometheus",),
        fixed={"blackbox-exporter": 250},
    ),
    Row(
        name="alerts",
        internal=True,
        members=("prometheus", "alertmanager"),
        why="Prometheus to Alertmanager, which asks nobody for a password",
        silent=("prometheus",),
    ),
    Row(
        name="scrape-traefik",
        internal=True,
        members=("prometheus", "traefik"),
        why="Prometheus to what the internet reaches, which must not reach back",
        silent=("prometheus",),
    ),
    Row(
        name="scrape-jellyfin",
        internal=True,
        members=("prometheus", "jellyfin"),
        why="as scrape-traefik",
        silent=("prometheus",),
    ),
    Row(
        name="dashboards",
        internal=True,
        members=("traefik", "grafana"),
        why="Traefik to Grafana",
    ),
    Row(
        name="socket-guard",
        internal=True,
        members=("guard-socket-proxy", "guard"),
        why="as socket-cadvisor: the guard may have the downloader started, and nothing else",
    ),
)


def rows_of(service: str) -> tuple[Row, ...]:
    """The networks that the table puts `service` on. Raises PlatformError where it names none."""
    rows = tuple(row for row in TABLE if service in row.members)
    if not rows:
        raise PlatformError(f"components/networks.py: no network names {service!r}; add it to a row of TABLE")
    return rows


def may_talk(one: str, other: str) -> bool:
    """Whether the table lets `one` open a connection to `other`."""
    return any(row.joins(one, other) for row in TABLE)


def subnets(pool: ipaddress.IPv4Network) -> Mapping[str, ipaddress.IPv4Network]:
    """Each network's /24 of the stack's pool, by network name."""
    return {row.name: subnet for row, subnet in zip(TABLE, pool.subnets(new_prefix=24), strict=False)}


class Networks(pulumi.ComponentResource):
    """The Docker networks of `TABLE`. Attach with `attachments`; it hands out Outputs, never names, so that a
    replaced network replaces what hangs on it."""

    def __init__(self, pool: ipaddress.IPv4Network, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nexus:networks:Networks", "networks", {}, opts)
        self.subnets = subnets(pool)
        self.by_name = {
            row.name: docker.Network(
                f"network-{row.name}",
                name=physical(row.name),
                driver="bridge",
                internal=row.internal,
                options=dict(row.options),
                ipv6=False,
                labels=[docker.NetworkLabelArgs(label=LABEL_STACK, value=pulumi.get_stack())],
                # Subnet and gateway both: an automatic gateway comes back as a diff and replaces the network
                # (terraform-provider-docker #54).
                ipam_configs=[
                    docker.NetworkIpamConfigArgs(
                        subnet=str(self.subnets[row.name]), gateway=str(self.subnets[row.name][1])
                    )
                ],
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # Docker lets two networks share a name through its API, and a subnet has only one owner.
                    delete_before_replace=True,
                ),
            )
            for row in TABLE
        }
        self.register_outputs({})

    @property
    def open(self) -> tuple[ipaddress.IPv4Network, ...]:
        """The subnets that have the host for a gateway."""
        return tuple(self.subnets[row.name] for row in TABLE if not row.internal)

    def attachments(self, service: str) -> list[docker.ContainerNetworksAdvancedArgs]:
        """The networks of `service`. It has its name where it answers: Docker takes a name's address from whichever
        network comes first, and those with a way out come before the others."""
        return [
            docker.ContainerNetworksAdvancedArgs(
                name=self.by_name[row.name].name,
                aliases=None if row.apart or service in row.silent else [service],
                ipv4_address=str(self.address(service, row.name)) if service in row.fixed else None,
            )
            for row in rows_of(service)
        ]

    def address(self, service: str, network: str) -> ipaddress.IPv4Address:
        """The fixed address of `service` on that network. Raises KeyError where the table fixes none."""
        row = next(row for row in TABLE if row.name == network)
        return self.subnets[network][row.fixed[service]]
