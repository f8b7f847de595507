"""components/host.py: each fact that breaks a stack gives one message, and what is not broken gives none."""

from __future__ import annotations

import ipaddress
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

from components import host
from components.settings import Settings, parse

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINE: Final = host.Engine(
    version="28.1.0", storage_driver="overlay2", cgroup_version="2", root=Path("/var/lib/docker"), cpus=2
)
WELL: Final = host.HostFacts(
    stack="dev",
    local=True,
    engine=ENGINE,
    tun=True,
    dri=(host.Device(path=Path("/dev/dri/renderD128"), gid=105),),
    nvidia=True,
    free_bytes=100 * host.GIGABYTE,
    data_is_directory=True,
)
ANY: Final = ipaddress.IPv4Address("0.0.0.0")


def settings(**changes: object) -> Settings:
    """Settings with every need there is, which `WELL` meets."""
    values: dict[str, object] = {
        "vpn": {"type": "embedded"},
        "storage": {"data": "/srv/media", "min-free-gb": 5},
        "jellyfin": {"gpu": {"mode": "dri", "render-gid": 105}},
        "networks": {"pool": "172.31.240.0/20"},
    }
    return parse({**values, **changes}, "Pulumi.dev.yaml")


def taken(port: int, address: str = "0.0.0.0") -> host.Listener:
    return host.Listener(address=ipaddress.ip_address(address), port=port, holder="container web")


def test_a_host_that_has_everything_has_no_problem() -> None:
    assert host.problems(settings(), WELL) == ()


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (
            replace(WELL, engine=None, engine_error="no Docker Engine answers at unix:///x: it is not running"),
            ("nexus:docker.host: no Docker Engine answers at unix:///x",),
        ),
        (replace(WELL, tun=False), ("nexus:vpn: /dev/net/tun is missing", "sudo modprobe tun")),
        (replace(WELL, dri=()), ("nexus:jellyfin.gpu.device: /dev/dri/renderD128", "it has: none")),
        (
            replace(WELL, dri=(host.Device(path=Path("/dev/dri/renderD128"), gid=44),)),
            (
                "nexus:jellyfin.gpu.render-gid: is 105",
                "group 44",
                "config set --path nexus:jellyfin.gpu.render-gid 44",
            ),
        ),
        (
            replace(WELL, free_bytes=3 * host.GIGABYTE),
            ("nexus:storage.min-free-gb: wants 5 GB free at /var/lib/docker, there are 3.0", "docker system df"),
        ),
        (replace(WELL, data_is_directory=False), ("nexus:storage.data: /srv/media is not a directory", "1000:1000")),
        (
            replace(WELL, data_owner=(33, 34)),
            (
                "nexus:storage.data: /srv/media belongs to 33:34, and the apps run as 1000:1000; run",
                "nexus:apps.uid 33`",
                "nexus:apps.gid 34`",
                "`sudo chown -R 1000:1000 /srv/media`",
            ),
        ),
        (replace(WELL, listeners=(taken(80),)), ("nexus:edge.http-port: port 80 on 127.0.0.1", "container web")),
        (
            replace(WELL, listeners=(taken(443, "127.0.0.1"),)),
            ("nexus:edge.https-port: port 443", "-s dev config set"),
        ),
        (
            replace(
                WELL,
                ranges=(host.Range(network=ipaddress.IPv4Network("172.31.241.0/24"), holder="Docker network x"),),
            ),
            ("nexus:networks.pool: 172.31.240.0/20 overlaps 172.31.241.0/24 of Docker network x",),
        ),
        (
            replace(WELL, engine=replace(ENGINE, cpus=1)),
            ("nexus:jellyfin.cpus: is 2, but this host has 1", "config set --path nexus:jellyfin.cpus 1`"),
        ),
        (
            replace(WELL, engine=replace(ENGINE, storage_driver="overlayfs")),
            ("nexus:docker.image-store: is overlay2", "config set --path nexus:docker.image-store containerd"),
        ),
    ],
)
def test_one_breaking_fact_gives_one_message(facts: host.HostFacts, says: tuple[str, ...]) -> None:
    (problem,) = host.problems(settings(), facts)
    for part in says:
        assert part in problem


def test_nvidia_without_its_toolkit_is_a_problem_only_where_it_is_asked_for() -> None:
    without = replace(WELL, nvidia=False)
    assert host.problems(settings(), without) == ()
    (problem,) = host.problems(settings(jellyfin={"gpu": {"mode": "nvidia"}}), without)
    assert "nexus:jellyfin.gpu.mode" in problem
    assert "nvidia-ctk runtime configure" in problem


def test_every_problem_is_told_at_once() -> None:
    facts = replace(WELL, tun=False, free_bytes=0, listeners=(taken(80), taken(443)))
    assert len(host.problems(settings(), facts)) == 4


def test_what_cannot_be_told_is_not_judged() -> None:
    assert host.problems(settings(), replace(WELL, free_bytes=None, data_is_directory=None)) == ()


@pytest.mark.parametrize("owner", [(1000, 1000), (0, 0), (0, 50), None])
def test_a_tree_of_the_apps_or_of_root_is_good(owner: tuple[int, int] | None) -> None:
    assert host.problems(settings(), replace(WELL, data_owner=owner)) == ()


def test_of_a_remote_engine_only_the_socket_group_is_asked() -> None:
    remote = settings(docker={"host": "ssh://media@nas"})
    facts = host.gather(remote, "prod")
    assert facts == host.HostFacts(stack="prod", local=False)
    (problem,) = host.problems(remote, facts)
    assert "nexus:docker.socket-gid: missing" in problem
    with pytest.raises(host.HostError, match="socket-gid: missing"):
        host.socket_gid(remote)
    told = settings(docker={"host": "ssh://media@nas", "socket-gid": 998})
    assert host.problems(told, facts) == ()
    assert host.socket_gid(told) == 998


def test_socket_gid_is_read_from_a_local_socket(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    path.touch()
    assert host.socket_gid(settings(docker={"host": f"unix://{path}"})) == path.stat().st_gid
    path.unlink()
    with pytest.raises(host.HostError, match="it is not running"):
        host.socket_gid(settings(docker={"host": f"unix://{path}"}))


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "192.168.1.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_addresses_collide_as_the_kernel_has_it(one: str, other: str, collide: bool) -> None:
    facts = replace(WELL, listeners=(taken(80, one),))
    chosen = settings(edge={"bind-address": other})
    assert bool(host.problems(chosen, facts)) is collide


TCP: Final = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
"""
TCP6: Final = """\
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:2382 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 0000000000000000FFFF00000100007F:2383 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def container(name: str, stack: str | None, port: int, address: str = "127.0.0.1") -> dict[str, object]:
    return {
        "Names": [f"/{name}"],
        "Labels": {"nexus.stack": stack} if stack else {},
        "Ports": [
            {"IP": address, "PrivatePort": 80, "PublicPort": port, "Type": "tcp"},
            {"PrivatePort": 81, "Type": "tcp"},
        ],
    }


def test_listeners_are_read_from_the_kernel_and_established_connections_are_not() -> None:
    found = {(str(one.address), one.port) for one in host.listeners("dev", (), TCP, TCP6)}
    assert found == {("127.0.0.1", 80), ("0.0.0.0", 443), ("::", 9090), ("127.0.0.1", 9091)}


def test_the_stacks_own_edge_does_not_hold_a_port_against_it() -> None:
    found = host.listeners("dev", [container("nexus-dev-traefik", "dev", 80)], TCP, "")
    assert [one.port for one in found] == [443]


def test_another_stacks_container_is_named_even_where_the_kernel_shows_no_listener() -> None:
    (found,) = host.listeners("dev", [container("nexus-other-traefik", "other", 8443)], "", "")
    assert (found.port, found.holder) == (8443, "container nexus-other-traefik")


def network(name: str, subnet: str, stack: str | None = None, bridge: str | None = None) -> dict[str, object]:
    return {
        "Id": f"{name:0<12}{'0' * 52}",
        "Name": name,
        "Labels": {"nexus.stack": stack} if stack else {},
        "Options": {"com.docker.network.bridge.name": bridge} if bridge else {},
        "IPAM": {"Config": [{"Subnet": subnet}]},
    }


ROUTE: Final = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
br-mine00000000\t00F01FAC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun7\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""


def test_ranges_are_those_of_others() -> None:
    networks = [
        network("mine", "172.31.240.0/24", stack="dev"),
        network("bridge", "172.17.0.0/16", bridge="docker0"),
        network("six", "fd00::/64"),
    ]
    found = {(str(one.network), one.holder) for one in host.ranges("dev", networks, ROUTE)}
    assert found == {
        ("172.17.0.0/16", "Docker network bridge"),
        ("192.168.0.0/24", "a route of this host through eth0"),
        ("10.0.0.0/8", "a route of this host through tun7"),
    }


class _Engine(BaseHTTPRequestHandler):
    answers: Mapping[str, object] = {}

    def do_GET(self) -> None:
        body = json.dumps(self.answers[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    """A socket on which something answers as a Docker Engine does."""
    path = tmp_path / "docker.sock"
    _Engine.protocol_version = "HTTP/1.1"
    _Engine.answers = {
        "/info": {
            "ServerVersion": "28.1.0",
            "Driver": "overlay2",
            "CgroupVersion": "2",
            "DockerRootDir": str(tmp_path),
            "NCPU": 4,
            "Runtimes": {"runc": {}, "nvidia": {}},
        },
        "/containers/json": [container("nexus-other-traefik", "other", 8443)],
        "/networks": [network("other", "10.9.0.0/24")],
    }
    with socketserver.UnixStreamServer(str(path), _Engine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the engine's host is a virtual machine")
def test_gather_asks_the_engine_and_the_host(engine: Path, tmp_path: Path) -> None:
    chosen = settings(docker={"host": f"unix://{engine}"}, storage={"data": str(tmp_path)})
    facts = host.gather(chosen, "dev")
    assert facts.engine == host.Engine(
        version="28.1.0",
        storage_driver="overlay2",
        cgroup_version="2",
        root=tmp_path,
        cpus=4,
        runtimes=("nvidia", "runc"),
    )
    assert facts.nvidia
    assert facts.data_is_directory is True
    assert facts.data_owner == (os.getuid(), os.getgid())
    assert facts.free_bytes
    assert any(one.holder == "container nexus-other-traefik" for one in facts.listeners)
    # Where containers see other users than the host does, its owner says nothing.
    _Engine.answers = {**_Engine.answers, "/info": {"SecurityOptions": ["name=seccomp,profile=x", "name=rootless"]}}
    assert host.gather(chosen, "dev").data_owner is None
    assert any(str(one.network) == "10.9.0.0/24" for one in facts.ranges)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the engine's host is a virtual machine")
@pytest.mark.parametrize("there", [False, True])
def test_an_engine_that_does_not_answer_is_a_fact_and_no_error(tmp_path: Path, there: bool) -> None:
    path = PurePosixPath(tmp_path / "docker.sock")
    if there:
        socketserver.UnixStreamServer(str(path), _Engine).server_close()
    facts = host.gather(settings(docker={"host": f"unix://{path}"}), "dev")
    assert facts.engine is None
    (problem,) = host.problems(settings(), facts)
    assert f"no Docker Engine answers at unix://{path}" in problem
    assert "scripts/docker-engine" in problem


def test_a_socket_of_another_group_says_how_to_join_it() -> None:
    # Root may use every socket, so the refusal itself cannot be brought about here.
    assert "usermod -aG docker" in host._unreachable(Path("/var/run/docker.sock"), PermissionError(13, "denied"))


def test_it_imports_no_engine_library() -> None:
    """The doctor and every preview read it; importing pulumi or docker costs a second."""
    code = "import sys, components.host; sys.exit(bool({'pulumi', 'docker', 'requests'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
