"""The stack's networks and who is on them: deny by default, as data.

Two containers can talk only where they share a row. A test walks every pair of this table from inside the
running containers; nothing else in the program attaches a container to a network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_docker as docker

from components.errors import PlatformError
from components.names import LABEL_STACK, physical

VPN_PEER_HOST: Final = 10
"""Host part of the embedded VPN peer's fixed address on `tunnel`: gluetun wants an address, not a name."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network: its name, whether it has a way out, and the services on it.

    The position in `TABLE` gives its /24 of the pool, so rows are added at the end.
    """

    name: str
    internal: bool
    members: tuple[str, ...]
    why: str


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
    ),
    Row(
        name="egress",
        internal=False,
        members=("jellyfin", "sonarr", "radarr", "prowlarr", "alertmanager"),
        why="metadata, indexers and alert receivers; nothing is published",
    ),
    Row(
        name="tunnel",
        internal=False,
        members=("vpn", "vpn-peer"),
        why="the VPN container's way to its endpoint; the downloader lives in its namespace",
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
        members=(
            "prometheus",
            "alertmanager",
            "grafana",
            "node-exporter",
            "cadvisor",
            "blackbox-exporter",
            "traefik",
            "jellyfin",
        ),
        why="Prometheus to what it scrapes, Grafana to Prometheus, Traefik to Grafana",
    ),
    Row(
        name="socket-cadvisor",
        internal=True,
        members=("cadvisor-socket-proxy", "cadvisor"),
        why="one network for each consumer of a socket proxy",
    ),
)


def rows_of(service: str) -> tuple[Row, ...]:
    """The networks that the table puts `service` on. Raises PlatformError where it names none."""
    rows = tuple(row for row in TABLE if service in row.members)
    if not rows:
        raise PlatformError(f"components/networks.py: no network names {service!r}; add it to a row of TABLE")
    return rows


def may_talk(one: str, other: str) -> bool:
    """Whether the table lets two services reach each other."""
    return any(one in row.members and other in row.members for row in TABLE)


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

    def attachments(self, service: str) -> list[docker.ContainerNetworksAdvancedArgs]:
        """The networks of `service`, where it answers to its own name."""
        return [
            docker.ContainerNetworksAdvancedArgs(
                name=self.by_name[row.name].name,
                aliases=[service],
                ipv4_address=str(self.vpn_peer_address) if (service, row.name) == ("vpn-peer", "tunnel") else None,
            )
            for row in rows_of(service)
        ]

    @property
    def vpn_peer_address(self) -> ipaddress.IPv4Address:
        """The embedded VPN peer's address on `tunnel`."""
        return self.subnets["tunnel"][VPN_PEER_HOST]
