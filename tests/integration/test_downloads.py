"""The downloader's only way out is the tunnel: seen at the far end, and at the VPN container's own interfaces."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import docker.errors
import pytest
from docker.models.containers import Container

from components.downloads import PEER_PORT, WEBUI_PORT
from components.secrets import ADMIN_USER
from lab.images.catalogue import LABEL
from tests.integration.edge import Reply, ask
from tests.integration.probes import Listener, container_removed, finish, launch, outside, probe
from tests.integration.stacks import Stack, health_of, not_healthy, succeeded, wait_for

pytestmark = pytest.mark.integration

RECOVERY: Final = 240.0
"""Seconds within which the tunnel is back by itself. gluetun looks each minute, tries for two more before it takes
the tunnel for dead, and waits 15 s after a first crash (healthcheck/checker.go, vpn/loop.go)."""
TOKENS: Final = (f"attempt-{number}" for number in itertools.count(1))

TRY: Final = """
import json, socket, struct, sys, time
asked = json.loads(sys.argv[1])
address, port, token = asked["address"], asked["port"], asked["token"]
SO_BINDTODEVICE = 25
outcomes = {}

def tcp(name, prepare):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(asked["timeout"])
        try:
            prepare(connection)
            connection.connect((address, port))
            connection.sendall(f"{token} {name}\\n".encode())
            outcomes[name] = "sent" if connection.recv(64) else "cut off"
        except OSError as error:
            outcomes[name] = str(error)

def udp(name, prepare, target=None):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        try:
            prepare(connection)
            connection.sendto(f"{token} {name}".encode(), target or (address, port))
            outcomes[name] = "handed over"
        except OSError as error:
            outcomes[name] = str(error)

udp("udp", lambda connection: None)
udp("dns", lambda connection: None, ("203.0.113.53", 53))
for gateway in asked["gateways"]:
    udp(f"udp to the host at {gateway}", lambda connection: None, (gateway, port))
# Docker's resolver, which asks from the host.
udp("udp to the resolver", lambda connection: None, ("127.0.0.11", 53))
tcp("tcp", lambda connection: None)
# What the kernel's routes alone would let out: from an interface's own address, and tied to the interface.
for interface in asked["interfaces"]:
    name, device = interface["name"], struct.pack("16s", interface["name"].encode())
    ways = {
        "from": lambda connection: connection.bind((interface["address"], 0)),
        "on": lambda connection: connection.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device),
    }
    for way, prepare in ways.items():
        udp(f"udp {way} {name}", prepare)
        tcp(f"tcp {way} {name}", prepare)
print(json.dumps(outcomes))
"""

INTERFACES: Final = """
import fcntl, json, socket, struct
SIOCGIFADDR = 0x8915
found = []
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
    for _, name in socket.if_nameindex():
        try:
            answer = fcntl.ioctl(asker, SIOCGIFADDR, struct.pack("256s", name.encode()))
            found.append({"name": name, "address": socket.inet_ntoa(answer[20:24])})
        except OSError:
            pass
print(json.dumps(found))
"""

SNIFF: Final = """
import collections, json, select, signal, socket, struct, sys, time
asked = json.loads(sys.argv[1])
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
PACKET_OUTGOING = 4
seen = collections.Counter()
listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
listener.setblocking(False)
print("ready", flush=True)
deadline = time.monotonic() + asked["limit"]
while not stopped and time.monotonic() < deadline:
    if not select.select([listener], [], [], 0.2)[0]:
        continue
    frame, (interface, kind, direction, *_) = listener.recvfrom(65535)
    if direction != PACKET_OUTGOING or not interface.startswith("eth"):
        continue
    if kind == 0x0806:
        continue
    if kind == 0x0800 and len(frame) >= 34:
        header = (frame[14] & 15) * 4
        protocol = frame[23]
        target = socket.inet_ntoa(frame[30:34])
        port = struct.unpack("!H", frame[14 + header + 2:14 + header + 4])[0] if protocol in (6, 17) else 0
        seen[interface, "ip", protocol, target, port] += 1
    elif kind == 0x86dd and len(frame) >= 54:
        seen[interface, "ip6", frame[20], socket.inet_ntop(socket.AF_INET6, frame[38:54]), 0] += 1
    else:
        seen[interface, hex(kind), 0, "", 0] += 1
print(json.dumps([[*key, count] for key, count in seen.items()]))
"""

LEAK: Final = """
import json, socket, struct, sys
asked = json.loads(sys.argv[1])
payload = b"planted"
udp = struct.pack("!HHHH", 40000, 53, 8 + len(payload), 0) + payload
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                 socket.inet_aton(asked["source"]), socket.inet_aton(asked["target"]))
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((asked["interface"], 0))
sender.send(b"\\xff" * 6 + sender.getsockname()[4] + b"\\x08\\x00" + ip + udp)
print(json.dumps("sent"))
"""

LINK: Final = """
import json, os, socket, struct, sys
RTM_NEWLINK, RTM_DELLINK, NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR, IFF_UP = 16, 17, 1, 4, 2, 1
name, what = json.loads(sys.argv[1])
request = {"delete": RTM_DELLINK, "down": RTM_NEWLINK}[what]
body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, IFF_UP if what == "down" else 0)
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
    kernel.send(struct.pack("=IHHII", 16 + len(body), request, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body)
    answer = kernel.recv(65535)
kind, error = struct.unpack("=H", answer[4:6])[0], struct.unpack("=i", answer[16:20])[0]
if kind != NLMSG_ERROR or error:
    sys.exit(f"the kernel refused: {os.strerror(-error)}")
print(json.dumps("done"))
"""

FLOW: Final = """
import json, socket, sys, time
asked = json.loads(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
    connection.settimeout(10)
    connection.connect((asked["address"], asked["port"]))
    connection.send(asked["token"].encode())
    connection.recv(64)
    print("established", flush=True)
    refused, deadline = 0, time.monotonic() + asked["seconds"]
    while time.monotonic() < deadline:
        try:
            connection.send(asked["token"].encode())
        except OSError:
            refused += 1
        time.sleep(0.05)
print(json.dumps(refused))
"""


GUESS: Final = """
import http.client, json, ssl, sys, urllib.parse
asked = json.loads(sys.argv[1])
statuses = []
for number, forwarded in enumerate(asked["forwarded"]):
    place = (asked["address"], asked["port"])
    if asked["tls"]:
        connection = http.client.HTTPSConnection(*place, timeout=10, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(*place, timeout=10)
    body = urllib.parse.urlencode({"username": asked["user"], "password": f"guess {number}"})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": forwarded}
    if asked["tls"]:
        headers["Host"] = asked["host"]
    connection.request("POST", "/api/v2/auth/login", body, headers)
    statuses.append(connection.getresponse().status)
print(json.dumps(statuses))
"""


@dataclass(frozen=True, kw_only=True)
class Packets:
    """One kind of packet that left the VPN container's own interfaces."""

    interface: str
    family: str
    protocol: int
    target: str
    port: int
    count: int


CHECK_SOONER: Final = (
    'for one in /proc/[0-9]*; do read -r name <$one/comm && [ "$name" = gluetun-entrypo ] && '
    "kill -USR1 ${one#/proc/}; done"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """The downloader, its VPN container, and an outside that knows by what way it is reached."""

    stack: Stack
    far: Listener
    source: str
    """The address that the outside sees of what has come through the tunnel."""
    endpoint: tuple[str, int]
    """Address and UDP port that the tunnel's own packets go to."""

    @property
    def vpn(self) -> Container:
        return self.stack.container("vpn")

    @property
    def peer(self) -> Container:
        return self.stack.container("vpn-peer")

    @property
    def gateways(self) -> list[str]:
        """The host's addresses on the VPN container's networks."""
        names = [self.stack.physical(name) for name in ("apps", "tunnel")]
        found = [one.attrs["IPAM"]["Config"][0]["Gateway"] for one in self.stack.client.networks.list(names=names)]
        assert len(found) == len(names)
        return found

    @property
    def apps_subnet(self) -> ipaddress.IPv4Network:
        network = self.vpn.attrs["NetworkSettings"]["Networks"][self.stack.physical("apps")]
        return ipaddress.IPv4Network(f"{network['IPAddress']}/{network['IPPrefixLen']}", strict=False)

    def is_back(self) -> bool:
        """Whether a connection arrives through the tunnel. Else the stand-in for gluetun is told to check it now: the
        real one waits for a minute.

        By a command inside: a signal from outside would be for the engine as if somebody had stopped the container.
        """
        with suppress(docker.errors.APIError):  # one of the two does not run at the moment
            if self.through():
                return True
            vpn = self.vpn
            if vpn.labels.get(f"{LABEL}.kind") == "stand-in":
                vpn.exec_run(["sh", "-c", CHECK_SOONER])
        return False

    def interfaces(self) -> list[dict[str, str]]:
        """The VPN container's interfaces with their addresses."""
        found = probe(self.stack, self.vpn, INTERFACES)
        assert isinstance(found, list)
        return found

    def attempt(self, *, everything: bool = False) -> tuple[str, Mapping[str, str]]:
        """Tries to reach the outside from the downloader's namespace: the token that was sent, and what came of it.
        `everything`: also around the tunnel, by each of the VPN container's own interfaces and by the host."""
        token = f"{next(TOKENS)}-{time.time_ns()}"
        own = [item for item in self.interfaces() if item["name"].startswith("eth")] if everything else []
        asked = {"address": self.far.address, "port": self.far.port, "token": token, "timeout": 2, "interfaces": own}
        asked["gateways"] = self.gateways if everything else []
        outcomes = probe(self.stack, self.stack.container("qbittorrent"), TRY, asked)
        assert isinstance(outcomes, dict)
        return token, outcomes

    def through(self) -> bool:
        """Whether a connection from the downloader arrives outside, from the peer."""
        token, outcomes = self.attempt()
        return outcomes["tcp"] == "sent" and self.far.sources(token) == {self.source}

    @contextmanager
    def watched(self) -> Iterator[list[Packets]]:
        """Fills a list with what has left the VPN container's own interfaces meanwhile."""
        sniffer = launch(
            self.stack, SNIFF, {"limit": 240}, capabilities=("NET_RAW",), network_mode=f"container:{self.vpn.id}"
        )
        packets: list[Packets] = []
        with container_removed(sniffer):
            wait_for(lambda: b"ready" in sniffer.logs() or None, 30, "the packet sniffer")
            yield packets
            sniffer.kill("SIGTERM")
            found = finish(sniffer)
            assert isinstance(found, list)
            keys = ("interface", "family", "protocol", "target", "port", "count")
            packets += [Packets(**dict(zip(keys, item, strict=True))) for item in found]

    def leaks(self, packets: Sequence[Packets]) -> list[Packets]:
        """What is neither the tunnel's own traffic nor an answer to a neighbour on the apps network."""
        return [
            item
            for item in packets
            if not self.tunnelled(item)
            and not (item.family == "ip" and ipaddress.IPv4Address(item.target) in self.apps_subnet)
        ]

    def tunnelled(self, item: Packets) -> bool:
        """Whether it is UDP to the VPN's endpoint; or ICMP to it: the kernel answers so what still comes from there
        while nothing listens, between a crash and the next try."""
        return (item.family, item.target) == ("ip", self.endpoint[0]) and (item.protocol, item.port) in (
            (17, self.endpoint[1]),
            (1, 0),
        )


@pytest.fixture(scope="module")
def place(stack: Stack) -> Iterator[Place]:
    with outside(stack) as far:
        peer = stack.container("vpn-peer")
        far.network.connect(peer)
        try:
            peer.reload()
            address = {name: str(one["IPAddress"]) for name, one in peer.attrs["NetworkSettings"]["Networks"].items()}
            made = Place(
                stack=stack,
                far=far,
                source=address[stack.physical("outside")],
                endpoint=(address[stack.physical("tunnel")], PEER_PORT),
            )
            wait_for(made.through, RECOVERY, "the tunnel")
            yield made
        finally:
            far.network.disconnect(stack.container("vpn-peer"), force=True)


@dataclass(frozen=True, kw_only=True)
class WebUi:
    """qBittorrent's page through the edge."""

    stack: Stack

    def post(self, path: str, form: Mapping[str, str], cookie: str = "") -> Reply:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Referer": f"https://qbittorrent.{self.stack.domain}:{self.stack.https_port}/",
            "Cookie": cookie,
        }
        return ask(self.stack, "qbittorrent", path, method="POST", body=urlencode(form), headers=headers)

    def get(self, path: str, cookie: str = "") -> Reply:
        return ask(self.stack, "qbittorrent", path, headers={"Cookie": cookie})

    def sign_in(self, password: str) -> str:
        """The session's cookie; empty where the page refused."""
        reply = self.post("/api/v2/auth/login", {"username": ADMIN_USER, "password": password})
        return reply.headers.get("set-cookie", "").partition(";")[0] if reply.status in (200, 204) else ""


@pytest.fixture
def page(stack: Stack) -> WebUi:
    return WebUi(stack=stack)


@pytest.fixture
def cookie(stack: Stack, page: WebUi) -> str:
    found = page.sign_in(stack.output("admin-password"))
    assert found, "qBittorrent refused the generated password"
    return found


def test_the_page_takes_the_generated_password_and_no_other(stack: Stack, page: WebUi, cookie: str) -> None:
    assert page.get("/api/v2/app/version", cookie).status == 200
    for wrong in (stack.output("admin-password")[::-1], "adminadmin", ""):
        refused = page.sign_in(wrong)
        assert refused == ""
        assert page.get("/api/v2/app/version", refused).status == 403


@pytest.mark.parametrize(
    ("network", "where", "port", "tls"),
    [("edge", "traefik", 8443, True), ("apps", "vpn", WEBUI_PORT, False)],
    ids=["at the edge", "as Sonarr asks"],
)
def test_wrong_passwords_lock_out_who_gave_them_and_nobody_else(
    stack: Stack, page: WebUi, network: str, where: str, port: int, tls: bool
) -> None:
    """Five of them ban an address for an hour. It is the client's own, whatever the client says that it is."""
    edge = stack.container("traefik").attrs["NetworkSettings"]["Networks"][stack.physical("edge")]
    name = f"qbittorrent.{stack.domain}:{stack.https_port}"
    # As this machine's own requests look at the edge, and of nobody.
    forged = [edge["Gateway"], *(f"203.0.113.{number}" for number in range(5)), "127.0.0.1"]
    asked = {"address": where, "port": port, "tls": tls, "host": name, "user": ADMIN_USER, "forwarded": forged}
    with container_removed(launch(stack, GUESS, asked, network=stack.physical(network))) as guesser:
        statuses = finish(guesser)
    assert isinstance(statuses, list)
    assert statuses[0] != 403
    assert statuses[-2:] == [403, 403], "a forged address let it go on guessing"
    assert page.sign_in(stack.output("admin-password")), "another one is locked out"


def test_the_cookie_is_secure_behind_the_edge(stack: Stack, page: WebUi, cookie: str) -> None:
    found = re.match(r"v(\d+)\.(\d+)", page.get("/api/v2/app/version", cookie).body)
    assert found
    reply = page.post("/api/v2/auth/login", {"username": ADMIN_USER, "password": stack.output("admin-password")})
    # Up to 5.1 qBittorrent sets the flag only where it speaks TLS itself.
    assert ("secure" in reply.headers["set-cookie"].lower()) is ((int(found[1]), int(found[2])) >= (5, 2))


def test_the_downloader_is_bound_to_the_tunnel(page: WebUi, cookie: str) -> None:
    preferences = page.get("/api/v2/app/preferences", cookie).json()
    assert isinstance(preferences, dict)
    assert preferences["current_network_interface"] == "tun0"
    assert preferences["upnp"] is False
    assert preferences["save_path"].rstrip("/") == "/data/torrents"


def test_traffic_arrives_from_the_peer_and_leaves_as_tunnel_packets(place: Place) -> None:
    assert_only_the_tunnel_leads_out(place)


def assert_only_the_tunnel_leads_out(place: Place) -> None:
    """Tries every way out, with the tunnel up."""
    with place.watched() as packets:
        token, outcomes = place.attempt(everything=True)
        wait_for(lambda: place.far.sources(token) or None, 10, "something outside")
    assert outcomes["tcp"] == "sent"
    assert place.far.sources(token) == {place.source}
    arrived = {text.partition(" ")[2].strip() for _, _, text in place.far.seen() if token in text}
    assert arrived == {"tcp", "udp"}, "something found a way around the tunnel"
    assert place.leaks(packets) == []
    assert any(place.tunnelled(item) for item in packets)
    closed = ["udp to the resolver", *(f"udp to the host at {gateway}" for gateway in place.gateways)]
    assert {outcomes[way] for way in closed} == {"[Errno 1] Operation not permitted"}, outcomes


def test_a_planted_leak_is_seen(place: Place) -> None:
    """The sniffer reports what it is there to report: a packet that is put on the wire below the firewall."""
    own = next(item for item in place.interfaces() if item["name"].startswith("eth"))
    with place.watched() as packets:
        asked = {"interface": own["name"], "source": own["address"], "target": "203.0.113.9"}
        assert probe(place.stack, place.vpn, LEAK, asked, capabilities=("NET_RAW",)) == "sent"
    assert [(item.target, item.port) for item in place.leaks(packets)] == [("203.0.113.9", 53)]


def test_the_handshake_is_real_and_bytes_go_through_it(place: Place) -> None:
    def wg(what: str) -> list[int]:
        done = place.peer.exec_run(["wg", "show", "wg0", what])
        assert isinstance(done.output, bytes)
        assert done.exit_code == 0, done.output
        return [int(field) for field in done.output.decode().split()[1:]]

    before = wg("transfer")
    assert place.through()
    received, sent = (after - earlier for after, earlier in zip(wg("transfer"), before, strict=True))
    assert received > 200
    assert sent > 200
    assert 0 <= time.time() - wg("latest-handshakes")[0] < 180


def test_a_torrents_own_traffic_arrives_from_the_peer(place: Place, page: WebUi, cookie: str) -> None:
    """Not a probe's but qBittorrent's: a magnet link whose tracker is the outside listener."""
    content = f"{time.time_ns():040x}"
    tracker = f"http://{place.far.address}:{place.far.port}/announce"
    magnet = f"magnet:?xt=urn:btih:{content}&tr={quote(tracker, safe='')}"
    try:
        assert page.post("/api/v2/torrents/add", {"urls": magnet}, cookie).status in (200, 202)
        wait_for(lambda: place.far.sources("GET /announce") or None, 60, "qBittorrent's announcement")
        assert place.far.sources("GET /announce") == {place.source}
    finally:
        page.post("/api/v2/torrents/delete", {"hashes": content, "deleteFiles": "true"}, cookie)


def assert_nothing_gets_out(place: Place) -> None:
    """Tries every way out for a while and expects that nothing arrives and nothing leaves."""
    arrived = len(place.far.seen())
    with place.watched() as packets:
        token, outcomes = place.attempt(everything=True)
        # What is only delayed arrives now.
        time.sleep(3)
    assert "sent" not in outcomes.values()
    assert place.far.sources(token) == set()
    assert len(place.far.seen()) == arrived
    assert place.leaks(packets) == []


def assert_recovers(place: Place) -> None:
    """Waits until the tunnel carries traffic again and both containers say so; nobody lends a hand."""
    began = time.monotonic()
    wait_for(place.is_back, RECOVERY, "the tunnel to come back by itself")
    print(f"the tunnel was back after {time.monotonic() - began:.0f} s")
    pair = [place.vpn, place.stack.container("qbittorrent")]
    wait_for(lambda: not not_healthy(pair), RECOVERY, "the VPN container and the downloader to be healthy")


def test_nothing_gets_out_while_the_peer_is_away_and_it_comes_back_by_itself(place: Place) -> None:
    place.peer.pause()
    try:
        assert_nothing_gets_out(place)
    finally:
        place.peer.unpause()
    assert_recovers(place)


def test_nothing_gets_out_without_tun0_and_it_comes_back_by_itself(place: Place) -> None:
    began = place.vpn.attrs["State"]["StartedAt"]
    with place.watched() as packets:
        assert probe(place.stack, place.vpn, LINK, ["tun0", "delete"], capabilities=("NET_ADMIN",)) == "done"
        token, outcomes = place.attempt(everything=True)
        time.sleep(3)
    late = {text.partition(" ")[2].strip() for _, _, text in place.far.seen() if token in text}
    # The VPN container may have made its tunnel anew meanwhile; what counts is that nothing took another way.
    assert late <= {"tcp", "udp"}, outcomes
    assert place.far.sources(token) <= {place.source}
    assert place.leaks(packets) == []
    assert_recovers(place)
    print(f"the VPN container was {'not ' if place.vpn.attrs['State']['StartedAt'] == began else ''}restarted")


def assert_a_flow_ends_with_tun0(place: Place) -> None:
    """Sets tun0 down, not deleted, under a flow that is established: by default gluetun lets that go on, and the
    kernel's next route is the one past the tunnel."""
    token = f"flow-{next(TOKENS)}-{time.time_ns()}"
    asked = {"address": place.far.address, "port": place.far.port, "token": token, "seconds": 8}
    rider = place.stack.container("qbittorrent")
    flow = launch(place.stack, FLOW, asked, network_mode=f"container:{rider.id}")
    with container_removed(flow), place.watched() as packets:
        wait_for(lambda: b"established" in flow.logs() or None, 30, "an established flow")
        assert probe(place.stack, place.vpn, LINK, ["tun0", "down"], capabilities=("NET_ADMIN",)) == "done"
        assert finish(flow) != 0, "no packet was refused, so tun0 was not down"
    assert place.leaks(packets) == []
    assert place.far.sources(token) == {place.source}


def test_a_flow_that_is_established_ends_with_tun0(place: Place) -> None:
    assert_a_flow_ends_with_tun0(place)
    assert_recovers(place)


def test_a_replaced_vpn_container_replaces_its_rider(place: Place) -> None:
    stack = place.stack
    before = {name: str(stack.container(name).id) for name in ("vpn", "qbittorrent", "vpn-peer", "sonarr")}
    succeeded(stack.pulumi("state", "taint", stack.urn("vpn-container", "Container"), "--yes"))
    stack.up()
    after = {name: str(stack.container(name).id) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"vpn", "qbittorrent"}
    rider = stack.container("qbittorrent")
    assert rider.attrs["HostConfig"]["NetworkMode"] == f"container:{after['vpn']}"
    assert health_of(rider) == "healthy"
    wait_for(place.through, RECOVERY, "the tunnel of the new VPN container")
    succeeded(stack.pulumi("preview", "--expect-no-changes"))
    print(json.dumps(after))
