"""Which networks a stack has, and how a service says that it is on them: deny by default.

Two containers can talk only where they share a network, and no container talks to the host (components/firewall.py
has what Docker's own options leave open). Who is on which stands in the services' own declarations (`OwnNetworks`);
`make docs` writes them together into policies/matrix.yaml, where a change is reviewed. A test walks every pair from
inside the running containers; nothing else in the program attaches a container to a network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_docker as docker

from components.errors import PlatformError
from components.names import LABEL_STACK, physical

_FILE: Final = "components/networks.py"
_BRIDGE: Final = "com.docker.network.bridge"
_PREFIX: Final = 24


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network: its name, its part of the pool, and whether it has a way out.

    A service is on it as it is (`APPS`), at a fixed address (`APPS.at(250)`), or only to open connections
    (`APPS.connects()`).
    """

    name: str
    slot: int
    """Which /24 of the stack's pool it has. Never one that another network had on a running stack: both would change
    at once, and a subnet has only one owner."""
    internal: bool
    why: str
    apart: bool = False
    """Whether its members reach the outside and not one another."""

    @property
    def options(self) -> Mapping[str, str]:
        """The bridge's options. An internal network's gateway is no address of the host (any engine takes this
        spelling; `gateway_mode_ipv4=isolated` is refused by engines before 28). None is left out: the provider keeps
        what was declared once and then is not (`options` is Optional and Computed)."""
        return {
            f"{_BRIDGE}.enable_icc": "false" if self.apart else "true",
            f"{_BRIDGE}.inhibit_ipv4": "true" if self.internal else "false",
        }

    def at(self, host: int) -> Attachment:
        """On this network at a fixed address, by its host part, for what something is configured with. Docker gives
        addresses out from the gateway upwards, so it lies above what the members can ever take."""
        return Attachment(network=self, host=host, answers=not self.apart)

    def connects(self) -> Attachment:
        """On this network to open connections, by a service that listens elsewhere at a fixed address."""
        return Attachment(network=self, answers=False)


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A service on a network: where, and whether the others find it there."""

    network: Network
    host: int | None = None
    answers: bool = True

    def __post_init__(self) -> None:
        # The first is the gateway's, the last the broadcast address.
        if self.host is not None and not 2 <= self.host <= 254:
            raise PlatformError(f"{self.network.name}.at({self.host}): a host part is 2 to 254")


@dataclass(frozen=True, init=False)
class OwnNetworks:
    """The service is on these networks: `OwnNetworks(APPS, EGRESS)`.

    Raises PlatformError for none, for one twice, and for one that it only connects on without a fixed address on
    another: it would listen on all of them.
    """

    attachments: tuple[Attachment, ...]

    def __init__(self, *on: Network | Attachment) -> None:
        given = [one if isinstance(one, Attachment) else Attachment(network=one, answers=not one.apart) for one in on]
        # The order in which they are declared must not show: it would be a change of the container.
        object.__setattr__(self, "attachments", tuple(sorted(given, key=lambda one: one.network.slot)))
        if not given:
            raise PlatformError(
                f"OwnNetworks names no network: write which, such as OwnNetworks(APPS); {_FILE} has all"
            )
        names = [one.network.name for one in given]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise PlatformError(f"OwnNetworks names {', '.join(twice)} twice: take one out")
        silent = [one.network.name for one in given if not one.answers and not one.network.apart]
        if silent and not any(one.host for one in given):
            raise PlatformError(
                f"OwnNetworks has {', '.join(silent)} to open connections alone, and nowhere a fixed address that "
                "the service listens at: give it one, such as APPS.at(250), or leave out connects()"
            )

    @property
    def names(self) -> str:
        """Their names, for a message."""
        return ", ".join(one.network.name for one in self.attachments)

    @property
    def lead_out(self) -> bool:
        """Whether one of them has a way out, and so the host for a gateway."""
        return not all(one.network.internal for one in self.attachments)

    def reach(self, other: OwnNetworks) -> bool:
        """Whether who is on these may open a connection to who is on `other`."""
        mine = {one.network.name for one in self.attachments}
        return any(one.answers and one.network.name in mine for one in other.attachments)


EDGE: Final = Network(
    name="edge",
    slot=0,
    internal=False,
    why="the only network with published ports",
)
APPS: Final = Network(
    name="apps",
    slot=1,
    internal=True,
    why="the edge to the web apps, and the apps to each other",
)
EGRESS: Final = Network(
    name="egress",
    slot=2,
    internal=False,
    apart=True,
    why="metadata, indexers and receivers of alerts; nothing is published",
)
TUNNEL: Final = Network(
    name="tunnel",
    slot=3,
    internal=False,
    why="the way of a tunnel to its endpoint",
)
DATA: Final = Network(
    name="data",
    slot=4,
    internal=True,
    why="databases and those who use them",
)
MONITORING: Final = Network(
    name="monitoring",
    slot=5,
    internal=True,
    why="dashboards to the metrics that were collected",
)
SOCKET_CADVISOR: Final = Network(
    name="socket-cadvisor",
    slot=6,
    internal=True,
    why="one network for each consumer of a socket proxy",
)
EXPORTERS: Final = Network(
    name="exporters",
    slot=7,
    internal=True,
    why="who collects metrics to what only measures, or asks for anybody who reaches it",
)
ALERTS: Final = Network(
    name="alerts",
    slot=8,
    internal=True,
    why="who raises alerts to who sends them, and asks nobody for a password",
)
SCRAPE_TRAEFIK: Final = Network(
    name="scrape-traefik",
    slot=9,
    internal=True,
    why="who collects metrics to what the internet reaches, which must not reach back",
)
SCRAPE_JELLYFIN: Final = Network(
    name="scrape-jellyfin",
    slot=10,
    internal=True,
    why="as scrape-traefik",
)
DASHBOARDS: Final = Network(
    name="dashboards",
    slot=11,
    internal=True,
    why="the edge to the dashboards",
)
SOCKET_GUARD: Final = Network(
    name="socket-guard",
    slot=12,
    internal=True,
    why="as socket-cadvisor",
)

TABLE: Final = tuple(value for value in dict(globals()).values() if isinstance(value, Network))
"""All networks of a stack: those above."""


def subnets(pool: ipaddress.IPv4Network, table: Sequence[Network] = TABLE) -> Mapping[str, ipaddress.IPv4Network]:
    """Each network's /24 of the stack's pool, by network name. Raises PlatformError for a slot that the pool does not
    have, and for one that two networks have."""
    there = 1 << (_PREFIX - pool.prefixlen) if pool.prefixlen <= _PREFIX else 0
    taken = {row.slot for row in table}
    free = [str(slot) for slot in range(min(there, len(table) + 16)) if slot not in taken][:3]
    advice = f"give it a free one ({', '.join(free)})" if free else "set a larger nexus:networks.pool"
    by_slot: dict[int, str] = {}
    found: dict[str, ipaddress.IPv4Network] = {}
    for row in table:
        if not 0 <= row.slot < there:
            raise PlatformError(
                f"{_FILE}: the network {row.name} has slot={row.slot}, and nexus:networks.pool, {pool}, has 0 to "
                f"{there - 1}: {advice}"
            )
        if (other := by_slot.setdefault(row.slot, row.name)) != row.name:
            raise PlatformError(f"{_FILE}: the networks {other} and {row.name} both have slot={row.slot}: {advice}")
        if row.name in found:
            raise PlatformError(f"{_FILE}: two networks are called {row.name}: name one of them otherwise")
        found[row.name] = ipaddress.IPv4Network((int(pool.network_address) + (row.slot << 8), _PREFIX))
    return found


class Networks(pulumi.ComponentResource):
    """The Docker networks of a table. Attach with `attachments`; it hands out Outputs, never names, so that a
    replaced network replaces what hangs on it."""

    def __init__(
        self,
        pool: ipaddress.IPv4Network,
        opts: pulumi.ResourceOptions | None = None,
        table: Sequence[Network] = TABLE,
    ) -> None:
        super().__init__("nexus:networks:Networks", "networks", {}, opts)
        self.pool = pool
        self._table = tuple(table)
        self._subnets = subnets(pool, self._table)
        self._fixed: dict[ipaddress.IPv4Address, str] = {}
        self._by_name = {
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
                        subnet=str(self._subnets[row.name]), gateway=str(self._subnets[row.name][1])
                    )
                ],
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # Docker lets two networks share a name through its API, and a subnet has only one owner.
                    delete_before_replace=True,
                ),
            )
            for row in self._table
        }
        self.register_outputs({})

    @property
    def open(self) -> tuple[ipaddress.IPv4Network, ...]:
        """The subnets that have the host for a gateway, by slot."""
        return tuple(sorted(self._subnets[row.name] for row in self._table if not row.internal))

    def subnet(self, network: Network) -> ipaddress.IPv4Network:
        """The subnet of a network. Raises PlatformError for one that the stack does not have."""
        if network not in self._table:
            raise PlatformError(f"{_FILE}: the network {network.name} is not in TABLE; add it")
        return self._subnets[network.name]

    def address(self, attachment: Attachment) -> ipaddress.IPv4Address:
        """The fixed address of an attachment (`Network.at`)."""
        if attachment.host is None:
            raise PlatformError(f"{attachment.network.name}: no address is fixed there; write at(…)")
        return self.subnet(attachment.network)[attachment.host]

    def attachments(self, service: str, on: OwnNetworks) -> list[docker.ContainerNetworksAdvancedArgs]:
        """The networks of `service`. It has its name where it answers: Docker takes a name's address from whichever
        network comes first, and those with a way out come before the others.

        Raises PlatformError for a fixed address that another service has.
        """
        found: list[docker.ContainerNetworksAdvancedArgs] = []
        for one in on.attachments:
            self.subnet(one.network)
            address = None if one.host is None else self.address(one)
            if address is not None and (other := self._fixed.setdefault(address, service)) != service:
                raise PlatformError(
                    f"{service} and {other} are both at({one.host}) on {one.network.name}: change one of them"
                )
            found.append(
                docker.ContainerNetworksAdvancedArgs(
                    name=self._by_name[one.network.name].name,
                    aliases=[service] if one.answers else None,
                    ipv4_address=str(address) if address is not None else None,
                )
            )
        return found
