"""prod's shape and then staging's, each with a VPN server of one's own beyond the host: WireGuard, and OpenVPN.

Both are the committed templates with the placeholders filled: another domain with a certificate of its own, other
ports and addresses, data on a path of the host, alerts to a webhook. One stack comes up as the first and then goes
over to the second, as that of somebody who changes provider and domain. It has a name of development, since only
there may the lab's images run; what is up is checked by the rules for production as well.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import docker
import pytest
import yaml
from docker.models.containers import Container

from components.secrets import wireguard_public_key
from components.settings.load import PLACEHOLDER
from policies import config as pack
from policies.rules import RULES
from policies.validation import validate
from scripts import paths
from scripts.images import read_lock
from scripts.policy import of_state
from tests.ci.certificates import make
from tests.integration.conftest import own
from tests.integration.edge import ask
from tests.integration.probes import LABEL, Listener, container_removed, fetch, listening
from tests.integration.stacks import (
    DOCKER_HOST,
    FIRST_UP_LIMIT,
    ROOT,
    Stack,
    free_port,
    new_stack,
    not_healthy,
    succeeded,
    wait_for,
)
from tests.integration.test_downloads import (
    RECOVERY,
    Place,
    assert_a_flow_ends_with_tun0,
    assert_nothing_gets_out,
    assert_only_the_tunnel_leads_out,
    assert_recovers,
)

pytestmark = pytest.mark.integration

CABLE: Final = ("198.18.78.1", "198.18.78.2")
"""The host's end of the cable to the server, and the server's (198.18.0.0/15 is for tests, RFC 2544)."""
FAR: Final = "198.18.79.1"
"""A second address of the server's, which both the tunnel and the host's own routes lead to."""
HEALTH_PORT: Final = 9998
LISTENER_PORT: Final = 7070

OPENVPN_SERVER: Final = """\
port {port}
proto udp4
dev tun0
topology subnet
server {subnet} 255.255.255.0
push "redirect-gateway def1"
keepalive 5 30
dh none
<ca>
{ca}</ca>
<cert>
{cert}</cert>
<key>
{key}</key>
"""

OPENVPN_CLIENT: Final = """\
client
dev tun
proto udp
remote {address} {port}
nobind
<ca>
{ca}</ca>
<cert>
{cert}</cert>
<key>
{key}</key>
"""


@dataclass(frozen=True, kw_only=True)
class Far:
    """A VPN server beyond the host, and what a stack has to be told to use it."""

    port: int
    server: str
    """Its address inside the tunnel."""
    client: str
    settings: Mapping[str, object]
    """nexus:vpn."""
    secrets: Mapping[str, str]
    script: str
    """What the server runs, with its files in /run/secrets."""
    files: Mapping[str, str]
    environment: Mapping[str, str]


def wireguard(_folder: Path) -> Far:
    """The embedded peer's own script, elsewhere."""
    client, server, shared = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(3))
    inside, mine = "10.99.0.1", "10.99.0.2"
    return Far(
        port=51821,
        server=inside,
        client=mine,
        settings={
            "type": "wireguard",
            "provider": "custom",
            "addresses": f"{mine}/32",
            "endpoint-ip": CABLE[1],
            "endpoint-port": 51821,
            "public-key": wireguard_public_key(server),
            "health-target": f"{inside}:{HEALTH_PORT}",
        },
        secrets={"wireguard-private-key": client, "wireguard-preshared-key": shared},
        script=(ROOT / "config" / "vpn" / "peer.sh").read_text(encoding="utf-8"),
        files={"private_key": server, "preshared_key": shared},
        environment={
            "ADDRESS": inside,
            "CLIENT": mine,
            "CLIENT_PUBLIC_KEY": wireguard_public_key(client),
            "PORT": "51821",
        },
    )


def openvpn(folder: Path) -> Far:
    """Debian's OpenVPN server, which knows its clients by certificate."""
    ca, cert, key = (path.read_text(encoding="utf-8") for path in make(folder, "vpn.example.org"))
    text = {"ca": ca, "cert": cert, "key": key, "port": 1195, "address": CABLE[1], "subnet": "10.98.0.0"}
    inside = "10.98.0.1"
    return Far(
        port=1195,
        server=inside,
        client="10.98.0.2",
        settings={"type": "openvpn", "provider": "custom", "health-target": f"{inside}:{HEALTH_PORT}"},
        secrets={"openvpn-config": OPENVPN_CLIENT.format(**text)},
        script=f"openvpn --config /run/secrets/server.conf &\nwhile :; do nc -l {HEALTH_PORT} </dev/null; done\n",
        files={"server.conf": OPENVPN_SERVER.format(**text)},
        environment={},
    )


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def beyond(client: docker.DockerClient, stack: str, image: str, far: Far, folder: Path) -> Iterator[Container]:
    """The server in a container without a network, at the other end of a cable from the host."""
    folder.mkdir()
    for name, text in far.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "server.sh").write_text(far.script, encoding="utf-8")
    cable = "nexus-far"
    made = client.containers.create(
        image,
        # The cable comes after the start.
        entrypoint=[
            "/bin/sh",
            "-c",
            "until ip link show far >/dev/null 2>&1; do sleep 0.1; done; . /run/secrets/server.sh",
        ],
        environment=dict(far.environment),
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN", "NET_RAW"],
        devices=["/dev/net/tun"],
        sysctls={"net.ipv4.ip_forward": "1"},
        volumes={str(folder): {"bind": "/run/secrets", "mode": "ro"}},
        labels={LABEL: stack},
        init=True,
    )
    with container_removed(made) as container:
        container.start()
        container.reload()
        subprocess.run(["ip", "link", "delete", cable], check=False, capture_output=True)
        ip("link", "add", cable, "type", "veth", "peer", "name", "far", "netns", str(container.attrs["State"]["Pid"]))
        ip("address", "add", f"{CABLE[0]}/30", "dev", cable)
        ip("link", "set", cable, "up")
        inside = f"ip address add {CABLE[1]}/30 dev far; ip address add {FAR}/32 dev lo; ip link set far up"
        done = container.exec_run(["sh", "-ec", f"{inside}; ip route add default via {CABLE[0]}"])
        assert done.exit_code == 0, done.output
        ip("route", "replace", FAR, "via", CABLE[1])
        yield container


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A stack that is up, with its server."""

    stack: Stack
    far: Far
    server: Container
    authority: Path
    media: Path
    asked: frozenset[str]
    """The secrets that it lacked at first."""
    missing: str
    """What `up` said then."""
    place: Place

    @property
    def trust(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.authority)
        return context

    def control(self, method: str, status: str = "") -> str:
        """What gluetun's control server says of the VPN's status, or of a change to it."""
        role = self.place.vpn.exec_run(["cat", "/run/secrets/control_role"]).output
        assert isinstance(role, bytes)
        (answer,) = fetch(
            self.stack,
            self.place.vpn,
            "http://127.0.0.1:8000/v1/vpn/status",
            method=method,
            headers={"X-API-Key": yaml.safe_load(role)["apikey"]},
            body=f'{{"status": "{status}"}}' if status else "",
        )
        assert answer.status == 200, answer.body
        told = answer.json()
        assert isinstance(told, dict)
        return str(told.get("outcome", told.get("status")))


def filled(template: str, far: Far, media: Path, domain: str, ports: tuple[int, int]) -> dict[str, object]:
    """The stack file's keys, with what is the owner's."""
    given: dict[str, dict[str, object]] = yaml.safe_load((ROOT / f"Pulumi.{template}.yaml").read_text())["config"]
    given["nexus:edge"] |= {"domain": domain, "http-port": ports[0], "https-port": ports[1]}
    # Nobody else need reach a test.
    given["nexus:edge"]["bind-address"] = "127.0.0.1"
    given["nexus:storage"] |= {"data": str(media), "min-free-gb": 1}
    given["nexus:vpn"] = dict(far.settings)
    assert PLACEHOLDER not in str(given)
    return dict(given)


@pytest.fixture(scope="module")
def living(client: docker.DockerClient, alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, whose shapes follow each other, and nothing of it up."""
    folder = tmp_path_factory.mktemp("nexus")
    made = new_stack(client, folder, "prod-dev", ports=45000, pool="172.31.176.0/20")
    with own(made):
        yield made


@pytest.fixture(scope="module")
def images(living: Stack) -> Mapping[str, str]:
    """The lab's images by key: its root file system has both servers."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        reason = "the VPN server stands in a network beyond the host, which needs root and `ip` (iproute2)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    lock = paths.find().lab_lock
    if not lock.is_file():
        succeeded(living.run("images", "--stack-file", str(living.file), limit=FIRST_UP_LIMIT))
    if not lock.is_file():
        pytest.skip("the VPN servers are the lab's, and images come from registries here")
    return {image.key: image.ref for image in read_lock(lock)}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path of the host for the data."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The secrets that the stack has been given so far."""
    return set()


@pytest.fixture(scope="module", params=[("prod", wireguard), ("staging", openvpn)], ids=lambda param: param[0])
def shape(
    request: pytest.FixtureRequest,
    living: Stack,
    media: Path,
    known: set[str],
    images: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shape]:
    template, kind = request.param
    folder = tmp_path_factory.mktemp(template)
    far = kind(folder)
    domain = f"{template}.media.example.org"
    authority, chain, key = make(folder, f"*.{domain}")
    ports = free_port(living.http_port), free_port(living.https_port)
    more = filled(template, far, media, domain, ports)
    more = {"nexus:networks": {"pool": living.pool}, **more, "nexus:docker": {"host": DOCKER_HOST}}
    stack = replace(living, http_port=ports[0], https_port=ports[1], more=more)
    given = {
        "tls-certificate": chain.read_text(encoding="utf-8"),
        "tls-key": key.read_text(encoding="utf-8"),
        "alert-webhook-url": f"https://{FAR}/alerts",
        **far.secrets,
    }
    asked = given.keys() - {"wireguard-preshared-key"} - known
    with beyond(living.client, stack.name, images["wireguard"], far, folder / "server") as server:
        stack.write()
        refused = stack.run("up", "--stack-file", str(stack.file))
        assert refused.process.returncode == 1
        for name, value in given.items():
            set_secret(stack, name, value)
        known.update(given)
        succeeded(stack.run("up", "--stack-file", str(stack.file), limit=FIRST_UP_LIMIT))
        with listening(stack, LISTENER_PORT, FAR, network_mode=f"container:{server.id}") as container:
            for protocol in ("tcp", "udp"):
                opened = server.exec_run(
                    f"iptables -I INPUT 1 -d {FAR} -p {protocol} --dport {LISTENER_PORT} -j ACCEPT"
                )
                assert opened.exit_code == 0, opened.output
            place = Place(
                stack=stack,
                far=Listener(container=container, address=FAR, port=LISTENER_PORT),
                source=far.client,
                endpoint=(CABLE[1], far.port),
            )
            wait_for(place.through, RECOVERY, "the tunnel")
            yield Shape(
                stack=stack,
                far=far,
                server=server,
                authority=authority,
                media=media,
                asked=frozenset(asked),
                missing=refused.output,
                place=place,
            )


def set_secret(stack: Stack, key: str, value: str) -> None:
    """As a person does, who gives the value on standard input."""
    done = subprocess.run(
        ["scripts/pulumi", "-s", stack.name, "config", "set", "--secret", f"nexus:{key}"],
        cwd=ROOT,
        env=stack.environment,
        input=value,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_missing_was_named(shape: Shape) -> None:
    assert shape.asked
    for key in shape.asked:
        assert f"nexus:{key}: missing" in shape.missing
    assert "Traceback" not in shape.missing


def test_everything_is_healthy_and_nothing_is_left_to_change(shape: Shape) -> None:
    assert len(shape.stack.containers()) >= 14
    assert not_healthy(shape.stack.containers()) == []
    succeeded(shape.stack.pulumi("preview", "--refresh", "--expect-no-changes"))


def test_the_edge_answers_at_its_own_domain_and_ports(shape: Shape) -> None:
    assert ask(shape.stack, "jellyfin", "/System/Info/Public", context=shape.trust).status == 200
    assert ask(shape.stack, "sonarr", context=shape.trust).status == 401
    assert (
        ask(shape.stack, "sonarr", context=shape.trust, password=shape.stack.output("admin-password")).status == 200
    )


def test_data_lies_on_the_hosts_path(shape: Shape) -> None:
    done = shape.stack.container("qbittorrent").exec_run(["sh", "-c", "echo kept >/data/torrents/marker"])
    assert done.exit_code == 0, done.output
    marker = shape.media / "torrents" / "marker"
    assert marker.read_text(encoding="utf-8") == "kept\n"
    assert (marker.stat().st_uid, marker.stat().st_gid) == (1000, 1000)
    assert not any(str(volume.name).endswith("-data-data") for volume in shape.stack.volumes())


LABS: Final = frozenset({"image-registry"})
"""What keeps the lab's images out of production, which is the one thing here that is not production's."""


def test_what_is_up_passes_the_rules_for_production(shape: Shape) -> None:
    found = of_state(shape.stack.read("stack", "export"), "the stack")
    name = shape.stack.name.removesuffix("-dev")
    stack = replace(found, name=name, resources=tuple(replace(one, stack=name) for one in found.resources))
    report = validate(stack, RULES, pack.configure(pack.read(pack.FILE), RULES, name))
    assert report.rules == len(RULES)
    assert {one.rule for one in report.violations} == LABS


def test_only_the_tunnel_leads_out(shape: Shape) -> None:
    assert_only_the_tunnel_leads_out(shape.place)


def test_a_flow_ends_with_tun0_and_the_vpn_can_be_stopped_and_started(shape: Shape) -> None:
    assert_a_flow_ends_with_tun0(shape.place)
    assert shape.control("PUT", "stopped") == "stopped"
    assert shape.control("GET") == "stopped"
    assert_nothing_gets_out(shape.place)
    assert shape.control("PUT", "running") == "running"
    assert_recovers(shape.place)
