"""components/host.py: each fact that breaks a stack gives one message, and what is not broken gives none."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

from components import host
from components.settings.load import parse
from components.settings.schema import Settings
from scripts import dockerhost
from scripts.console import UserError

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINE: Final = host.Engine(
    version="28.1.0", storage_driver="overlay2", cgroup_version="2", root=Path("/var/lib/docker"), cpus=2
)
WELL: Final = host.HostFacts(
    stack="dev",
    local=True,
    engine=ENGINE,
    tun=True,
    wireguard=True,
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
        "docker": {"image-store": "overlay2"},
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
                "config set --path nexus:apps.uid 33 ",
                "config set --path nexus:apps.gid 34 ",
                "`sudo chown -R 1000:1000 /srv/media`",
            ),
        ),
        (replace(WELL, listeners=(taken(80),)), ("nexus:edge.http-port: port 80 on 127.0.0.1", "container web")),
        (
            replace(WELL, listeners=(taken(443, "127.0.0.1"),)),
            ("nexus:edge.https-port: port 443", "config set --path nexus:edge.https-port"),
        ),
        (
            replace(
                WELL,
                ranges=(host.Range(network=ipaddress.IPv4Network("172.31.241.0/24"), holder="Docker network x"),),
            ),
            ("nexus:networks.pool: 172.31.240.0/20 overlaps 172.31.241.0/24 of Docker network x",),
        ),
        (
            replace(
                WELL,
                ranges=tuple(
                    host.Range(network=ipaddress.IPv4Network(f"172.31.24{n}.0/24"), holder=f"Docker network {n}")
                    for n in (1, 2, 3)
                ),
            ),
            ("nexus:networks.pool: 172.31.240.0/20 overlaps 172.31.241.0/24 of Docker network 1 and 2 more; run",),
        ),
        (
            replace(WELL, engine=replace(ENGINE, cpus=1)),
            ("nexus:jellyfin.cpus: is 2, but this host has 1", "config set --path nexus:jellyfin.cpus 1 "),
        ),
        (
            replace(WELL, engine=replace(ENGINE, storage_driver="overlayfs", containerd_images=True)),
            ("nexus:docker.image-store: is overlay2", "config rm --path nexus:docker.image-store "),
        ),
        (
            replace(WELL, engine=replace(ENGINE, remapped=True)),
            ("nexus:docker.host: this engine gives containers other users (userns-remap)", "run the engine rootless"),
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


def test_what_cannot_be_told_is_not_checked() -> None:
    unknown = replace(
        WELL, unseen="no", tun=None, wireguard=None, dri=(), nvidia=None, free_bytes=None, data_is_directory=None
    )
    assert host.problems(settings(), unknown) == ()


@pytest.mark.parametrize("owner", [(1000, 1000), (0, 0), (0, 50), None])
def test_a_tree_of_the_apps_or_of_root_is_good(owner: tuple[int, int] | None) -> None:
    assert host.problems(settings(), replace(WELL, data_owner=owner)) == ()


def test_of_a_host_that_was_not_asked_only_the_socket_group_is() -> None:
    remote = settings(docker={"host": "ssh://media@nas"})
    facts = host.HostFacts(stack="prod", local=False)
    (problem,) = host.problems(remote, facts)
    assert "nexus:docker.socket-gid: missing" in problem
    with pytest.raises(host.HostError, match="socket-gid: missing"):
        host.socket_gid(remote, ENGINE)
    told = settings(docker={"host": "ssh://media@nas", "socket-gid": 998})
    assert host.problems(told, facts) == ()
    assert host.socket_gid(told, ENGINE) == 998


def test_the_real_image_of_the_embedded_peer_needs_the_kernels_wireguard_and_the_labs_does_not() -> None:
    without = replace(WELL, wireguard=False)
    (problem,) = host.problems(settings(), without)
    assert problem.startswith("nexus:vpn.type: embedded needs WireGuard in this host's kernel")
    assert host.problems(settings(images={"lock": "/lab.json"}), without) == ()
    assert host.problems(settings(), replace(WELL, wireguard=None)) == ()
    other = {"type": "wireguard", "provider": "mullvad", "addresses": "10.64.0.2/32"}
    assert host.problems(settings(vpn=other), without) == ()


def test_socket_gid_is_read_from_a_local_socket(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    path.touch()
    assert host.socket_gid(settings(docker={"host": f"unix://{path}"}), ENGINE) == path.stat().st_gid
    path.unlink()
    with pytest.raises(host.HostError, match="it is not running"):
        host.socket_gid(settings(docker={"host": f"unix://{path}"}), ENGINE)


def test_the_socket_of_a_desktop_engine_is_its_machines_roots(tmp_path: Path) -> None:
    # It has another group on this host, or is not there: no socket is looked at.
    here, desktop = {"host": f"unix://{tmp_path / 'docker.sock'}"}, replace(ENGINE, desktop=True)
    assert host.socket_gid(settings(docker=here), desktop) == 0
    assert host.socket_gid(settings(docker={**here, "socket-gid": 77}), desktop) == 77


@pytest.mark.skipif(sys.platform != "linux", reason="user namespaces are Linux's")
@pytest.mark.parametrize(
    ("gid_map", "seen"),
    [
        ("         0       1500          1\n         1     200000      65536\n", 105),
        ("0 0 4294967295\n", 200104),
        ("", None),
    ],
)
def test_the_socket_of_a_rootless_engine_has_the_group_that_its_containers_know(
    engine: Path, monkeypatch: pytest.MonkeyPatch, gid_map: str, seen: int | None
) -> None:
    def stat(self: Path) -> os.stat_result:
        return os.stat_result((0o140660, 0, 0, 1, 1500, 200104, 0, 0, 0, 0))

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(host, "_gid_map", {os.getpid(): gid_map}.__getitem__)
    chosen, rootless = settings(docker={"host": f"unix://{engine}"}), replace(ENGINE, rootless=True)
    if seen is None:
        with pytest.raises(host.HostError, match=r"nexus:docker\.socket-gid: missing.* group 200104 of .*stat -c %g"):
            host.socket_gid(chosen, rootless)
    else:
        assert host.socket_gid(chosen, rootless) == seen


def test_the_socket_of_a_local_engine_is_that_of_the_settings_and_of_others_the_usual_one() -> None:
    rootless, usual = PurePosixPath("/run/user/1000/docker.sock"), PurePosixPath("/var/run/docker.sock")
    chosen = settings(docker={"host": f"unix://{rootless}"})
    assert host.socket_path(chosen, replace(ENGINE, rootless=True)) == rootless
    assert host.socket_path(chosen, replace(ENGINE, desktop=True)) == usual
    assert host.socket_path(settings(docker={"host": "ssh://media@nas"}), ENGINE) == usual
    assert host.socket_path(settings(docker={"host": f"ssh://media@nas{rootless}"}), ENGINE) == rootless


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


RULES: Final = """\
0:	from all lookup local
5270:	from all lookup 52
32766:	from all lookup main
32767:	from all lookup default
"""
# As iproute2 6.1 prints it; table 52 is Tailscale's, and no rule names table 99.
ROUTES: Final = """\
10.87.4.0/24 dev tailscale0 table 52
100.64.0.0/10 dev tailscale0 table 52
throw 127.0.0.0/8 table 52
172.30.0.0/16 dev elsewhere table 99
default via 192.168.0.1 dev eth0 proto dhcp metric 100
10.0.0.0/8 via 10.8.0.1 dev tun7
blackhole 172.29.0.0/16
172.31.240.0/24 dev br-mine00000000 proto kernel scope link src 172.31.240.1
192.168.0.0/24 dev eth0 proto kernel scope link src 192.168.0.9
198.51.100.7 dev ppp0 proto kernel scope link src 203.0.113.5
local 172.31.240.1 dev br-mine00000000 table local proto kernel scope host src 172.31.240.1
local 192.168.0.9 dev eth0 table local proto kernel scope host src 192.168.0.9
broadcast 192.168.0.255 dev eth0 table local proto kernel scope link src 192.168.0.9
"""


def test_ranges_are_those_of_others() -> None:
    networks = [
        network("mine", "172.31.240.0/24", stack="dev"),
        network("bridge", "172.17.0.0/16", bridge="docker0"),
        network("six", "fd00::/64"),
    ]
    found = {(str(one.network), one.holder) for one in host.ranges("dev", networks, ROUTES, RULES)}
    assert found == {
        ("172.17.0.0/16", "Docker network bridge"),
        ("10.87.4.0/24", "a route of this host (through tailscale0, table 52)"),
        ("100.64.0.0/10", "a route of this host (through tailscale0, table 52)"),
        ("10.0.0.0/8", "a route of this host (through tun7, table main)"),
        ("172.29.0.0/16", "a route of this host (blackhole, table main)"),
        ("192.168.0.0/24", "a route of this host (through eth0, table main)"),
        ("198.51.100.7/32", "a route of this host (through ppp0, table main)"),
        ("192.168.0.9/32", "this host's own address on eth0"),
    }


def test_a_kernel_without_rules_has_its_two_tables() -> None:
    found = {str(one.network) for one in host.ranges("dev", (), ROUTES, "")}
    assert "192.168.0.0/24" in found
    assert "10.87.4.0/24" not in found


@pytest.mark.parametrize(
    ("version", "leaks"),
    [
        ("20.10.24+dfsg1", True),
        ("23.0.10", True),
        ("23.0.11", False),
        ("24.0.9", True),
        ("25.0.4", True),
        ("25.0.5", False),
        ("26.0.0-rc1", False),
        ("28.5.2+dfsg4", False),
    ],
)
def test_an_engine_that_asks_a_resolver_on_loopback_for_internal_networks_is_warned_of(
    version: str, leaks: bool
) -> None:
    home = replace(WELL, engine=replace(ENGINE, version=version), resolvers=(ipaddress.ip_address("127.0.0.1"),))
    assert bool(host.resolver_warning(home)) is leaks
    away = replace(home, resolvers=(ipaddress.ip_address("192.0.2.53"), ipaddress.ip_address("fe80::1")))
    assert host.resolver_warning(away) is None


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
            "OperatingSystem": "Debian GNU/Linux 13 (trixie)",
            "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
            "SecurityOptions": ["name=seccomp,profile=builtin"],
        },
        "/version": {"ApiVersion": "1.41"},
        "/v1.41/_ping": "OK",
        "/v1.41/version": {"ApiVersion": "1.41"},
        "/containers/json": [container("nexus-other-traefik", "other", 8443)],
        "/networks": [network("other", "10.9.0.0/24")],
    }
    with socketserver.ThreadingUnixStreamServer(str(path), _Engine) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join()


PLAYS_SSH: Final = """#!/bin/sh
# Plays ssh: runs the remote command here, as sshd does in the user's shell, unless the key may do one thing alone.
printf '%s\\n' "$*" >>"$FAKE_SSH.log"
if [ -e "$FAKE_SSH.denied" ]; then echo 'me@nas: Permission denied (publickey).' >&2; exit 255; fi
for last; do :; done
if [ -e "$FAKE_SSH.forced" ]; then last='docker system dial-stdio'; fi
exec sh -c "$last"
"""
PLAYS_DOCKER: Final = """#!{python}
# Plays docker system dial-stdio: the engine's socket on stdin and stdout.
import os, socket, sys, threading
line = socket.socket(socket.AF_UNIX)
line.connect({socket!r})
def send():
    while data := os.read(0, 65536):
        line.sendall(data)
    line.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := line.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def far(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same engine behind an `ssh` of the tests'; the path that its log and its moods begin with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("ssh", PLAYS_SSH),
        ("docker", PLAYS_DOCKER.format(python=sys.executable, socket=str(engine))),
    ):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("FAKE_SSH", str(tmp_path / "ssh"))
    return tmp_path / "ssh"


def known(facts: host.HostFacts, root: Path) -> None:
    """What `gather` has to tell of the engine of these tests and of the machine that they run on."""
    assert facts.engine == host.Engine(
        version="28.1.0",
        storage_driver="overlay2",
        cgroup_version="2",
        root=root,
        cpus=4,
        runtimes=("nvidia", "runc"),
    )
    assert facts.unseen is None
    assert facts.nvidia
    assert facts.data_is_directory is True
    assert facts.tun is host.TUN.is_char_device()
    assert facts.free_bytes == pytest.approx(shutil.disk_usage(root).free, rel=0.2)
    assert any(one.holder == "container nexus-other-traefik" for one in facts.listeners)
    assert facts.data_owner == (os.getuid(), os.getgid())
    assert any(str(one.network) == "10.9.0.0/24" for one in facts.ranges)
    if shutil.which("ip"):
        assert any(str(one.network) == "127.0.0.1/32" for one in facts.ranges)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the engine's host is a virtual machine")
def test_gather_asks_the_engine_and_the_host(engine: Path, tmp_path: Path) -> None:
    chosen = settings(docker={"host": f"unix://{engine}"}, storage={"data": str(tmp_path)})
    facts = host.gather(chosen, "dev")
    assert facts.local
    known(facts, tmp_path)
    absent = settings(docker={"host": f"unix://{engine}"}, storage={"data": str(tmp_path / "not" / "there")})
    assert host.gather(absent, "dev").data_is_directory is False
    # Where containers see other users than the host does, its owner says nothing.
    for option in ("name=rootless", "name=userns"):
        _Engine.answers = {**_Engine.answers, "/info": {"SecurityOptions": ["name=seccomp,profile=x", option]}}
        assert host.gather(chosen, "dev").data_owner is None


FAR: Final = {"host": "ssh://me@nas:2222", "socket-gid": 998, "ssh-options": ["-F", "/my own/ssh"]}


@pytest.mark.skipif(sys.platform != "linux", reason="what the host has is asked of a Linux host alone")
def test_gather_asks_over_ssh_what_it_asks_here(far: Path, tmp_path: Path) -> None:
    odd = tmp_path / "it's my $data"
    odd.mkdir()
    chosen = settings(docker=FAR, storage={"data": str(odd)})
    facts = host.gather(chosen, "dev")
    assert not facts.local
    known(facts, tmp_path)
    assert facts == replace(
        host.gather(
            settings(docker={"host": f"unix://{tmp_path / 'docker.sock'}"}, storage={"data": str(odd)}), "dev"
        ),
        local=False,
        # What may change on this machine in between.
        free_bytes=facts.free_bytes,
        listeners=facts.listeners,
        ranges=facts.ranges,
    )
    log = Path(f"{far}.log").read_text(encoding="utf-8")
    start = "-l me -p 2222 -F /my own/ssh -o BatchMode=yes -o ConnectTimeout=30 -T -- nas "
    assert log.splitlines()[0] == f"{start}docker --host=unix:///var/run/docker.sock system dial-stdio"
    assert log.splitlines()[1].startswith(f"{start}sh -s -- ")


@pytest.mark.skipif(sys.platform != "linux", reason="what the host has is asked of a Linux host alone")
def test_a_key_that_reaches_the_engine_alone_leaves_the_host_unknown(far: Path, tmp_path: Path) -> None:
    Path(f"{far}.forced").touch()
    chosen = settings(docker=FAR, storage={"data": "/srv/media"}, images={"lock": "/lab.json"})
    facts = host.gather(chosen, "dev")
    assert facts.engine is not None
    assert facts.unseen is not None
    assert (facts.tun, facts.wireguard, facts.free_bytes, facts.data_is_directory) == (None, None, None, None)
    assert [one.holder for one in facts.listeners] == ["container nexus-other-traefik"]
    assert [str(one.network) for one in facts.ranges] == ["10.9.0.0/24"]
    assert host.problems(chosen, facts) == ()


def test_an_ssh_that_fails_says_what_it_said(far: Path) -> None:
    Path(f"{far}.denied").touch()
    chosen = settings(docker=FAR)
    (problem,) = host.problems(chosen, host.gather(chosen, "dev"))
    assert "no Docker Engine answers at ssh://me@nas:2222: me@nas: Permission denied (publickey)" in problem
    assert "this has to work: ssh -l me -p 2222" in problem


def test_a_docker_client_goes_the_same_way(far: Path) -> None:
    client = dockerhost.connect(settings(docker=FAR).docker)
    with closing(client):
        assert client.version()["ApiVersion"] == "1.41"
    assert "dial-stdio" in Path(f"{far}.log").read_text(encoding="utf-8")
    Path(f"{far}.denied").touch()
    with pytest.raises(UserError, match=r"no Docker Engine answers at ssh://me@nas:2222.*Permission denied"):
        dockerhost.connect(settings(docker=FAR).docker)


def test_of_a_desktop_engine_only_what_it_says_of_itself_is_known(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Engine.answers = {**_Engine.answers, "/info": {"NCPU": 4, "OperatingSystem": "Docker Desktop"}}
    facts = host.gather(settings(docker={"host": f"unix://{engine}"}), "dev")
    assert facts.engine is not None
    assert facts == host.HostFacts(stack="dev", local=False, engine=facts.engine, unseen=facts.unseen)
    assert facts.engine.desktop
    assert "virtual machine" in str(facts.unseen)
    _Engine.answers = {**_Engine.answers, "/info": {"NCPU": 4, "OperatingSystem": "Alpine Linux v3.22"}}
    monkeypatch.setattr(sys, "platform", "darwin")
    assert host.gather(settings(docker={"host": f"unix://{engine}"}), "dev") == facts
    problems = host.problems(settings(jellyfin={"cpus": 5}), facts)
    assert [problem.partition(":")[2].partition(":")[0] for problem in problems] == ["jellyfin.cpus"]


# As engines 20.10.24 and 28.5.2 with either store, and a rootless one, answered.
@pytest.mark.parametrize(
    ("info", "store", "layers", "rootless"),
    [
        (
            {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]], "DockerRootDir": "/srv/docker"},
            "overlay2",
            "/srv/docker/image/overlay2/layerdb",
            False,
        ),
        (
            {"Driver": "btrfs", "DriverStatus": [["Btrfs", ""]], "DockerRootDir": "/volume1/@docker"},
            "overlay2",
            "/volume1/@docker/image/btrfs/layerdb",
            False,
        ),
        (
            {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]},
            "containerd",
            None,
            False,
        ),
        (
            {"Driver": "native", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]},
            "containerd",
            None,
            False,
        ),
        (
            {
                "Driver": "overlay2",
                "DockerRootDir": "/home/me/.local/share/docker",
                "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"],
                "MemoryLimit": False,
                "CpuCfsQuota": False,
            },
            "overlay2",
            "/home/me/.local/share/docker/image/overlay2/layerdb",
            True,
        ),
    ],
)
def test_the_engine_says_how_it_stores_images(
    info: Mapping[str, object], store: str, layers: str | None, rootless: bool
) -> None:
    found = host.engine_from(info)
    assert (found.image_store, found.rootless, found.limits, found.desktop) == (store, rootless, not rootless, False)
    assert found.layers == (PurePosixPath(layers) if layers else None)
    left_out = settings(docker={})
    assert host.problems(left_out, replace(WELL, engine=replace(found, cpus=2))) == ()
    for chosen in ("overlay2", "containerd"):
        told = host.problems(settings(docker={"image-store": chosen}), replace(WELL, engine=replace(found, cpus=2)))
        assert bool(told) is (chosen != store)


def test_a_start_interval_is_of_docker_25() -> None:
    versions = ["", "20.10.24+dfsg1", "24.0.9", "25.0.0", "28.5.2+dfsg3", "29.0.0-rc.1", "100.1", "dev", "2.5"]
    found = [one for one in versions if replace(ENGINE, version=one).checks_start_sooner]
    assert found == ["25.0.0", "28.5.2+dfsg3", "29.0.0-rc.1", "100.1"]


@pytest.mark.parametrize("store", ["overlay2", "containerd"])
def test_of_an_engine_that_was_not_asked_the_settings_know_the_store(store: str) -> None:
    unasked = host.HostFacts(stack="dev", local=False)
    assert host.engine_of(settings(docker={"image-store": store}), unasked).image_store == store
    assert host.engine_of(settings(docker={}), unasked).layers == PurePosixPath(
        "/var/lib/docker/image/overlay2/layerdb"
    )
    assert host.engine_of(settings(docker={"image-store": store}), WELL) == ENGINE


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
    assert "usermod -aG docker" in host.unreachable(settings().docker, PermissionError(13, "denied"))


def test_it_imports_no_engine_library() -> None:
    """The doctor and every preview read it; importing pulumi or docker costs a second."""
    code = "import sys, components.host; sys.exit(bool({'pulumi', 'docker', 'requests'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
