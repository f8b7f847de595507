"""The network table, walked from inside: who can reach whom, on every address and every listening port; and that
nobody reaches the host, or what is beside it on its own link."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from components.downloads import GUARD, WEBUI_PORT
from tests.integration.probes import probe
from tests.integration.stacks import Stack, health_of, service_of, wait_for
from tests.matrix import TABLE, may_talk, rows_of

pytestmark = pytest.mark.integration

TIMEOUT: Final = 2.0
"""Seconds for one connection: a packet that is dropped costs all of them, and all are tried at once."""
AT_ONCE: Final = 4
CABLE: Final = "nexus-out"
"""The host's end of the cable to what is outside."""
IPTABLES: Final = (shutil.which("iptables-nft") or "iptables", "-t", "mangle")
"""The kind that the firewall's image has, whichever the host prefers."""

LISTENING: Final = """
import ipaddress, json, pathlib
found = []
for table in ("tcp", "tcp6"):
    path = pathlib.Path("/proc/net", table)
    for line in path.read_text().splitlines()[1:] if path.exists() else []:
        fields = line.split()
        host, _, port = fields[1].partition(":")
        if fields[3] == "0A":
            raw = b"".join(int(host[i:i + 8], 16).to_bytes(4, "little") for i in range(0, len(host), 8))
            address = ipaddress.ip_address(raw)
            address = getattr(address, "ipv4_mapped", None) or address
            found.append(["*" if address.is_unspecified else str(address), int(port, 16)])
print(json.dumps(sorted(set(map(tuple, found)))))
"""

REACH: Final = """
import concurrent.futures, errno, json, os, pathlib, socket, sys, threading, time
asked = json.loads(sys.argv[1])

def connect(target):
    host, port = target
    # A listener that takes one connection at a time refuses the next one for a moment.
    for _ in range(3):
        try:
            with socket.create_connection((host, port), timeout=asked["timeout"]):
                return "connected"
        except TimeoutError:
            return "timeout"
        except ConnectionRefusedError:
            outcome = "refused"
            time.sleep(0.3)
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
    return outcome

resolved = {}

def resolve(name):
    try:
        resolved[name] = sorted({item[4][0] for item in socket.getaddrinfo(name, None, socket.AF_INET)})
    except OSError:
        resolved[name] = []

# Nobody answers a datagram: who gets it says so.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as letters:
    for address in asked["letters"]:
        try:
            letters.sendto(asked["token"].encode(), tuple(address))
        except OSError:
            pass

# Looking up a name cannot be given a time limit, so the threads are left behind.
for name in asked["names"]:
    threading.Thread(target=resolve, args=(name,), daemon=True).start()
began = time.monotonic()
with concurrent.futures.ThreadPoolExecutor(128) as pool:
    outcomes = list(pool.map(connect, asked["targets"]))
while len(resolved) < len(asked["names"]) and time.monotonic() < began + 3 * asked["timeout"]:
    time.sleep(0.05)
print(json.dumps({
    "outcomes": outcomes,
    "resolved": dict(resolved),
}), flush=True)
os._exit(0)
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A service with a network of its own, as it really is."""

    service: str
    container: Container
    addresses: dict[str, str]
    """Network of the table to address."""
    listening: tuple[tuple[str, int], ...]
    """Address (`*` for all) and TCP port, without what listens on loopback only."""

    def targets(self) -> Iterator[tuple[str, str, int]]:
        """Network, address and port of everything it offers."""
        for network, address in self.addresses.items():
            for bound, port in self.listening:
                if bound in ("*", address):
                    yield network, address, port


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """A listener outside Docker's networks, where only what is routed out of the host gets to."""

    address: str
    link_local: str
    """A second address of it, such as clouds give their metadata."""
    port: int


@dataclass(frozen=True, kw_only=True)
class Host:
    """Listeners on all addresses of the host, TCP and UDP on one port."""

    addresses: tuple[str, ...]
    """Its own, but those on loopback and on the links of other stacks, which come and go beside this one."""
    gateways: tuple[str, ...]
    """What the stack's networks call their gateway, whoever that is."""
    port: int
    letters: list[str] = field(default_factory=list)
    """What has come in datagrams."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What one source sees of the others."""

    source: Node
    outcomes: dict[tuple[str, str, str, int], str]
    """By target service, network, address and port."""
    resolved: dict[str, list[str]]
    way_out: str
    """What came of a connection to the outside listener."""
    beside: dict[str, str]
    """What came of connections to the host and to its link, by address."""


def survey(stack: Stack) -> list[Node]:
    """Every service with a network of its own, with its addresses and what it listens on."""
    containers = [
        item
        for item in stack.containers()
        if not item.attrs["HostConfig"]["NetworkMode"].startswith(("container:", "host"))
    ]

    def look(container: Container) -> Node:
        container.reload()
        found = probe(stack, container, LISTENING)
        assert isinstance(found, list)
        prefix = stack.physical("")
        return Node(
            service=service_of(container),
            container=container,
            addresses={
                name.removeprefix(prefix): network["IPAddress"]
                for name, network in container.attrs["NetworkSettings"]["Networks"].items()
            },
            listening=tuple((str(ip), int(port)) for ip, port in found if not str(ip).startswith("127.")),
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(look, containers))


def walk(stack: Stack, sources: Sequence[Node], nodes: Sequence[Node], far: Beyond, host: Host) -> list[Sight]:
    """Lets each source try everything that every other node offers, its name, the outside and the host."""
    beside = [*sorted({*host.addresses, *host.gateways}), far.link_local]

    def look(source: Node) -> Sight:
        others = [node for node in nodes if node.service != source.service]
        targets = [(node.service, *target) for node in others for target in node.targets()]
        asked = {
            "targets": [
                *((address, port) for _, _, address, port in targets),
                *((address, far.port if address == far.link_local else host.port) for address in beside),
                (far.address, far.port),
            ],
            "letters": [(address, host.port) for address in beside],
            "token": source.service,
            "names": [node.service for node in others],
            "timeout": TIMEOUT,
        }
        seen = probe(stack, source.container, REACH, asked)
        assert isinstance(seen, dict)
        *outcomes, way_out = seen["outcomes"]
        return Sight(
            source=source,
            outcomes=dict(zip(targets, outcomes[: len(targets)], strict=True)),
            beside=dict(zip(beside, outcomes[len(targets) :], strict=True)),
            resolved=seen["resolved"],
            way_out=way_out,
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(look, sources))


def lets_in(target: str, network: str, port: int) -> bool:
    """Whether a service is open at a port that it listens on: the VPN container's firewall lets in the downloader's
    page, from the apps alone."""
    return target != "vpn" or (network, port) == ("apps", WEBUI_PORT)


def faults(sight: Sight, nodes: Sequence[Node], host: Host) -> Iterator[str]:
    """Where what a source sees is not what the table says."""
    source = sight.source.service
    rows = {row.name: row for row in TABLE}
    for (target, network, address, port), outcome in sight.outcomes.items():
        where = f"{source} to {target} on {network} ({address}:{port}): {outcome}"
        if rows[network].joins(source, target) and lets_in(target, network, port):
            if outcome != "connected":
                yield f"{where}, but the table lets them talk there"
        # Refused is an answer too: the packet got there.
        elif outcome in ("connected", "refused"):
            yield f"{where}, but the table keeps them apart there"
    for node in nodes:
        known = bool(set(sight.resolved.get(node.service, ())) & set(node.addresses.values()))
        # The VPN container asks its own resolver, through the tunnel: it knows no name of the stack.
        if known and not may_talk(source, node.service):
            yield f"{source} resolves the name {node.service}, but the table keeps them apart"
        if not known and source not in ("vpn", node.service) and may_talk(source, node.service):
            yield f"{source} does not resolve the name {node.service}, but the table lets them talk"
    for address, outcome in sight.beside.items():
        if outcome in ("connected", "refused"):
            yield f"{source} to the host's side at {address}: {outcome}"
    if source in host.letters:
        yield f"{source} to the host: a datagram arrived"
    if all(row.internal for row in rows_of(source)):
        # Engines before 28 give a default route on an internal network too, to a gateway that is not there.
        if sight.way_out not in ("ENETUNREACH", "EHOSTUNREACH", "timeout"):
            yield f"{source} to the outside: {sight.way_out}, but it has only internal networks"
    elif sight.way_out != "connected":
        yield f"{source} to the outside: {sight.way_out}, but it has a network that is not internal"


@pytest.fixture(scope="module")
def far(stack: Stack) -> Iterator[Beyond]:
    """A network namespace on a cable of its own (198.18.0.0/15 is for such tests, RFC 2544), with a listener."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        reason = (
            "the way out is tried against a network namespace, which needs root and `ip` (apt-get install iproute2)"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    name, beyond = (
        f"{stack.physical('')}out",
        Beyond(address="198.18.77.2", link_local="169.254.77.77", port=7070),
    )

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    ip("netns", "add", name)
    serve = f"import socket; s = socket.create_server(('', {beyond.port})); print('ready', flush=True)\n"
    serve += "while True: s.accept()[0].close()"
    listener = None
    try:
        ip("link", "add", CABLE, "type", "veth", "peer", "name", "inside", "netns", name)
        ip("address", "add", "198.18.77.1/30", "dev", CABLE)
        ip("link", "set", CABLE, "up")
        ip("-n", name, "address", "add", f"{beyond.address}/30", "dev", "inside")
        ip("-n", name, "address", "add", f"{beyond.link_local}/32", "dev", "inside")
        ip("-n", name, "link", "set", "inside", "up")
        ip("-n", name, "route", "add", "default", "via", "198.18.77.1")
        ip("route", "add", f"{beyond.link_local}/32", "via", beyond.address)
        listener = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", serve], stdout=subprocess.PIPE, text=True
        )
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        yield beyond
    finally:
        if listener is not None:
            listener.terminate()
            listener.communicate()
        # With the namespace go its end of the cable and the other one.
        ip("netns", "delete", name)
        wait_for(lambda: not os.path.exists(f"/sys/class/net/{CABLE}"), 10, "the test's cable to go")  # noqa: PTH110


@pytest.fixture(scope="module")
def host(stack: Stack, far: Beyond) -> Iterator[Host]:
    """The machine that the tests and the engine are on."""
    listed = subprocess.run(["ip", "-4", "-json", "address"], capture_output=True, text=True, check=True).stdout
    networks = stack.client.networks.list(names=[stack.physical("")])
    mine = {f"br-{str(network.id)[:12]}" for network in networks} | {CABLE}
    addresses = [
        str(address["local"])
        for link in json.loads(listed)
        if link["ifname"] in mine or not str(link["ifname"]).startswith(("br-", "nexus-"))
        for address in link["addr_info"]
        if not str(address["local"]).startswith("127.")
    ]
    gateways = [str(item["Gateway"]) for network in networks for item in network.attrs["IPAM"]["Config"]]
    with socket.create_server(("0.0.0.0", 0), backlog=256) as server, socket.socket(type=socket.SOCK_DGRAM) as box:
        made = Host(addresses=tuple(addresses), gateways=tuple(gateways), port=server.getsockname()[1])
        box.bind(server.getsockname())

        def collect() -> None:
            while letter := box.recv(100).decode():
                made.letters.append(letter)

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            for address in addresses:
                socket.create_connection((address, made.port), timeout=TIMEOUT).close()
                box.sendto(b"the host itself", (address, made.port))
            wait_for(lambda: made.letters.count("the host itself") == len(addresses), 10, "the host's own letters")
            socket.create_connection((far.link_local, far.port), timeout=TIMEOUT).close()
            yield made
        finally:
            box.sendto(b"", ("127.0.0.1", made.port))
            thread.join()


@pytest.fixture(scope="module")
def nodes(stack: Stack) -> list[Node]:
    return survey(stack)


def test_everything_is_on_the_networks_of_the_table(nodes: list[Node]) -> None:
    assert {node.service: set(node.addresses) for node in nodes} == {
        service: {row.name for row in rows_of(service)} for service in {name for row in TABLE for name in row.members}
    }
    silent = {
        (node.service, network)
        for node in nodes
        for network in node.addresses
        if network not in {where for where, *_ in node.targets()}
    }
    # The guard asks its proxy and offers nothing anywhere.
    assert silent == {(name, row.name) for row in TABLE for name in (*row.silent, GUARD) if name in row.members}


def test_the_matrix_is_what_the_table_says(stack: Stack, nodes: list[Node], far: Beyond, host: Host) -> None:
    sights = walk(stack, nodes, nodes, far, host)
    pairs = {(sight.source.service, target) for sight in sights for target, *_ in sight.outcomes}
    offering = {name for row in TABLE for name in row.members if name not in (*row.silent, GUARD)}
    assert pairs == {(node.service, other) for node in nodes for other in offering if other != node.service}
    outcomes = [outcome for sight in sights for outcome in sight.outcomes.values()]
    print(f"{len(pairs)} pairs, {len(outcomes)} connections tried, {outcomes.count('connected')} made")
    assert [fault for sight in sights for fault in faults(sight, nodes, host)] == []
    assert "connected" in outcomes


def test_no_internal_network_has_the_host_on_it(host: Host) -> None:
    """Beside the firewall, and without it: where there is no gateway nothing of the host can be asked."""
    assert len(host.gateways) == len(TABLE)
    assert len(set(host.gateways) & set(host.addresses)) == len([row for row in TABLE if not row.internal])


def test_without_the_firewall_the_host_is_seen(stack: Stack, nodes: list[Node], far: Beyond, host: Host) -> None:
    """The walk reports what it is there to report, of the host and its link too; and the rules go and come with
    their container."""
    firewall = stack.container("firewall")
    by_name = {node.service: node for node in nodes}
    tried = [by_name[name] for name in ("sonarr", "alertmanager", "traefik", "vpn", "vpn-peer", "node-exporter")]
    firewall.stop()
    try:
        assert rules_in_place(stack) == []
        found = [fault for sight in walk(stack, tried, nodes, far, host) for fault in faults(sight, nodes, host)]
    finally:
        firewall.start()
        wait_for(lambda: health_of(firewall) == "healthy", 60, "the firewall to be healthy again")
        host.letters.clear()
    for source in ("sonarr", "alertmanager", "traefik", "vpn-peer"):
        for address in (*host.addresses, far.link_local):
            assert f"{source} to the host's side at {address}: connected" in found
        assert f"{source} to the host: a datagram arrived" in found
    # gluetun lets its namespace reach the networks that it is on.
    assert any(fault.startswith("vpn to the host's side") for fault in found)
    assert not any(fault.startswith("node-exporter to the host") for fault in found), "it has no way there at all"
    assert rules_in_place(stack)


def rules_in_place(stack: Stack) -> list[str]:
    """What the host's tables have of this stack."""
    done = subprocess.run([*IPTABLES, "-S"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if f"nexus-{stack.name}" in line.split()]


def test_the_rules_are_put_back(stack: Stack) -> None:
    """A firewall of the host's that is loaded anew takes them along; their container looks every five seconds."""
    before = rules_in_place(stack)
    chain = f"nexus-{stack.name}"
    subprocess.run([*IPTABLES, "-D", "PREROUTING", "-j", chain], check=True)
    subprocess.run([*IPTABLES, "-F", chain], check=True)
    assert rules_in_place(stack) != before
    wait_for(lambda: rules_in_place(stack) == before, 30, "the rules to be there again")


@contextmanager
def attached(network: Network, container: Container) -> Iterator[None]:
    """A container on one more network than the program put it on."""
    network.connect(container)
    try:
        yield
    finally:
        network.disconnect(container, force=True)


@pytest.mark.parametrize("network", ["apps", "egress"])
def test_a_container_on_a_wrong_network_is_seen(stack: Stack, far: Beyond, host: Host, network: str) -> None:
    """The walk reports what it is there to report: Grafana is put beside the apps, and where there is a way out."""
    grafana = stack.container("grafana")
    with attached(stack.client.networks.list(names=[stack.physical(network)])[0], grafana):
        nodes = survey(stack)
        by_name = {node.service: node for node in nodes}
        assert network in by_name["grafana"].addresses
        sights = walk(stack, [by_name["grafana"], by_name["sonarr"]], nodes, far, host)
        found = "\n".join(fault for sight in sights for fault in faults(sight, nodes, host))
    if network == "apps":
        assert "grafana to sonarr on apps" in found
        assert "sonarr to grafana on apps" in found
        assert "grafana resolves the name sonarr" in found
    else:
        assert "grafana to the outside: connected" in found
        # There they are apart, whoever they are.
        assert " on egress" not in found
    grafana.reload()
    assert set(grafana.attrs["NetworkSettings"]["Networks"]) == {
        stack.physical(row.name) for row in rows_of("grafana")
    }


def test_the_networks_are_the_tables(stack: Stack) -> None:
    networks = stack.client.networks.list(names=[stack.physical("")])
    found = {str(item.name).removeprefix(stack.physical("")): item.attrs for item in networks}
    assert {name: item["Internal"] for name, item in found.items()} == {row.name: row.internal for row in TABLE}
    assert {name: item["Options"] for name, item in found.items()} == {row.name: row.options for row in TABLE}
