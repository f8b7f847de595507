"""What the host of the Docker Engine has, and what a stack's settings need of it and do not find.

Facts are gathered where the engine is on this machine (a unix socket on Linux); of a remote engine nothing local is
judged. Read by `make doctor` and by the program at every preview, so it is quick and imports no engine library. What
does not belong here: changing anything on the host.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import shlex
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from components.errors import PlatformError

if TYPE_CHECKING:
    from components.settings import Settings

LABEL_STACK: Final = "nexus.stack"
TUN: Final = Path("/dev/net/tun")
GIGABYTE: Final = 10**9
_TIMEOUT: Final = 10.0
"""Seconds for one answer of the engine."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class HostError(PlatformError):
    """A fact of the host that the program cannot do without is not to be had: the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The Docker Engine, from its own /info."""

    version: str
    storage_driver: str
    cgroup_version: str
    root: Path
    cpus: int
    """How many processors the engine may give away."""
    runtimes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device node and the numeric group that owns it."""

    path: Path
    gid: int


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A TCP port of the host that is taken, and by whom. Ports of the stack's own containers are not listed."""

    address: Address
    port: int
    holder: str


@dataclass(frozen=True, kw_only=True)
class Range:
    """An IPv4 range that something other than the stack uses."""

    network: ipaddress.IPv4Network
    holder: str


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What one host has. `local` is False where the engine is elsewhere: then the rest is left at its defaults."""

    stack: str
    local: bool
    engine: Engine | None = None
    engine_error: str | None = None
    """Why no engine answers, and what to do."""
    tun: bool = False
    dri: tuple[Device, ...] = ()
    nvidia: bool = False
    """Whether containers can be given NVIDIA GPUs: by the runtime, its hook, or a CDI specification."""
    free_bytes: int | None = None
    """Free where the engine keeps its data; None where that cannot be told."""
    data_is_directory: bool | None = None
    """Whether the path of `nexus:storage.data` is a directory; None where none is set."""
    data_owner: tuple[int, int] | None = None
    """User and group of that directory; None where that is not what containers see."""
    listeners: tuple[Listener, ...] = ()
    ranges: tuple[Range, ...] = ()


def socket_gid(settings: Settings) -> int:
    """The numeric group of the engine's socket: the setting, or what this host's socket belongs to.

    Raises HostError where the engine is remote and `nexus:docker.socket-gid` is not set, or there is no socket.
    """
    if settings.docker.socket_gid is not None:
        return settings.docker.socket_gid
    if (path := settings.docker.local_socket) is None:
        raise HostError(_gid_missing(settings.docker.host))
    try:
        return path.stat().st_gid
    except OSError as error:
        raise HostError(f"nexus:docker.host: {_unreachable(path, error)}") from error


def gather(settings: Settings, stack: str) -> HostFacts:
    """The facts of the host that `stack` lives on. Never raises for what it does not find."""
    path = settings.docker.local_socket
    if path is None or sys.platform != "linux":
        # Docker Desktop's socket is local, but its engine runs in a virtual machine with devices of its own.
        return HostFacts(stack=stack, local=False)
    try:
        with _Api(path) as api:
            info = _table(api.get("/info"))
            containers = [_table(item) for item in _list(api.get("/containers/json"))]
            networks = [_table(item) for item in _list(api.get("/networks"))]
    except (OSError, http.client.HTTPException, ValueError) as error:
        return HostFacts(
            stack=stack, local=True, engine_error=_unreachable(path, error), tun=_is_device(TUN), dri=_dri(settings)
        )
    engine = Engine(
        version=_text(info.get("ServerVersion")),
        storage_driver=_text(info.get("Driver")),
        cgroup_version=_text(info.get("CgroupVersion")),
        root=Path(_text(info.get("DockerRootDir")) or "/"),
        cpus=_number(info.get("NCPU")),
        runtimes=tuple(sorted(_table(info.get("Runtimes")))),
    )
    return HostFacts(
        stack=stack,
        local=True,
        engine=engine,
        tun=_is_device(TUN),
        dri=_dri(settings),
        nvidia=_nvidia(engine.runtimes),
        free_bytes=_free(engine.root),
        data_is_directory=Path(settings.storage.data).is_dir() if settings.storage.data else None,
        data_owner=None if _remapped(info) else _owner(settings),
        listeners=listeners(stack, containers, _proc("net/tcp"), _proc("net/tcp6")),
        ranges=ranges(stack, networks, _proc("net/route")),
    )


def problems(settings: Settings, facts: HostFacts) -> tuple[str, ...]:
    """What `settings` ask of the host and `facts` do not show: one message each, with the key and what to do."""
    if not facts.local:
        missing = settings.docker.local_socket is None and settings.docker.socket_gid is None
        return (_gid_missing(settings.docker.host),) if missing else ()
    if facts.engine is None:
        return (f"nexus:docker.host: {facts.engine_error}",)
    return (
        *_store_problems(settings, facts, facts.engine),
        *_vpn_problems(facts),
        *_cpu_problems(settings, facts, facts.engine),
        *_gpu_problems(settings, facts),
        *_port_problems(settings, facts),
        *_disk_problems(settings, facts, facts.engine),
        *_pool_problems(settings, facts),
    )


def _store_problems(settings: Settings, facts: HostFacts, engine: Engine) -> Iterator[str]:
    # The containerd image store calls its driver overlayfs; every other one is of the engine's own store.
    store = "containerd" if engine.storage_driver == "overlayfs" else "overlay2"
    if settings.docker.image_store != store:
        yield (
            f"nexus:docker.image-store: is {settings.docker.image_store}, but this engine's storage driver is "
            f"{engine.storage_driver}; run `{_set(facts, 'docker.image-store', store)}`"
        )


def _vpn_problems(facts: HostFacts) -> Iterator[str]:
    if not facts.tun:
        yield f"nexus:vpn: {TUN} is missing on this host; run `sudo modprobe tun`"


def _cpu_problems(settings: Settings, facts: HostFacts, engine: Engine) -> Iterator[str]:
    wanted = settings.jellyfin.cpus
    if wanted > engine.cpus:
        yield (
            f"nexus:jellyfin.cpus: is {wanted:g}, but this host has {engine.cpus}; run "
            f"`{_set(facts, 'jellyfin.cpus', str(engine.cpus))}`"
        )


def _gpu_problems(settings: Settings, facts: HostFacts) -> Iterator[str]:
    # By the mode and not by the type: components.settings imports pulumi, and this module must not.
    gpu = settings.jellyfin.gpu
    if gpu.mode == "dri":
        path = Path(gpu.device)
        found = {device.path: device for device in facts.dri}
        if path not in found:
            have = ", ".join(map(str, sorted(found))) or "none"
            yield (
                f"nexus:jellyfin.gpu.device: {path} is not a device of this host (it has: {have}); load the GPU's "
                f"driver, name another device, or `{_set(facts, 'jellyfin.gpu.mode', 'none')}`"
            )
        elif found[path].gid != gpu.render_gid:
            gid = found[path].gid
            yield (
                f"nexus:jellyfin.gpu.render-gid: is {gpu.render_gid}, but {path} belongs to group {gid}; run "
                f"`{_set(facts, 'jellyfin.gpu.render-gid', str(gid))}`"
            )
    if gpu.mode == "nvidia" and not facts.nvidia:
        yield (
            "nexus:jellyfin.gpu.mode: nvidia needs the NVIDIA Container Toolkit on this host; install "
            "nvidia-container-toolkit and run `sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl "
            "restart docker`"
        )


def _port_problems(settings: Settings, facts: HostFacts) -> Iterator[str]:
    edge = settings.edge
    for key, port in (("http-port", edge.http_port), ("https-port", edge.https_port)):
        taken = [one for one in facts.listeners if one.port == port and _same(one.address, edge.bind_address)]
        if taken:
            yield (
                f"nexus:edge.{key}: port {port} on {edge.bind_address} is in use by {taken[0].holder}; stop that, or "
                f"run `{_set(facts, f'edge.{key}', '<another port>')}`"
            )


def _disk_problems(settings: Settings, facts: HostFacts, engine: Engine) -> Iterator[str]:
    storage = settings.storage
    if facts.free_bytes is not None and facts.free_bytes < storage.min_free_gb * GIGABYTE:
        yield (
            f"nexus:storage.min-free-gb: wants {storage.min_free_gb} GB free at {engine.root}, there are "
            f"{facts.free_bytes / GIGABYTE:.1f}; make room (`docker system df` shows what Docker takes)"
        )
    if facts.data_is_directory is False:
        owner = f"{settings.apps.uid}:{settings.apps.gid}"
        yield (
            f"nexus:storage.data: {storage.data} is not a directory on this host; run `sudo install -d -o "
            f"{settings.apps.uid} -g {settings.apps.gid} {storage.data}` (the apps run as {owner})"
        )

    uid, gid = facts.data_owner or (0, 0)
    # A directory of root's is given to the apps (components/storage.py); anybody else may still use theirs.
    if uid != 0 and (uid, gid) != (settings.apps.uid, settings.apps.gid):
        owner = f"{settings.apps.uid}:{settings.apps.gid}"
        yield (
            f"nexus:storage.data: {storage.data} belongs to {uid}:{gid}, and the apps run as {owner}; run "
            f"`{_set(facts, 'apps.uid', str(uid))}` and `{_set(facts, 'apps.gid', str(gid))}`, or hand it over with "
            f"`sudo chown -R {owner} {shlex.quote(str(storage.data))}`"
        )


def _pool_problems(settings: Settings, facts: HostFacts) -> Iterator[str]:
    pool = settings.networks.pool
    for other in facts.ranges:
        if pool.overlaps(other.network):
            yield (
                f"nexus:networks.pool: {pool} overlaps {other.network} of {other.holder}; run "
                f"`{_set(facts, 'networks.pool', '<a free private range, /20 or larger>')}`"
            )


def listeners(stack: str, containers: Sequence[Mapping[str, object]], tcp: str, tcp6: str) -> tuple[Listener, ...]:
    """The taken TCP ports, from the engine's running containers and the text of /proc/net/tcp and tcp6.

    The containers are asked too, because an engine without its userland proxy publishes without listening.
    """
    own: set[int] = set()
    others: list[Listener] = []
    for container in containers:
        name = _text((_list(container.get("Names")) or ["?"])[0]).lstrip("/")
        ours = _table(container.get("Labels")).get(LABEL_STACK) == stack
        for published in (_table(port) for port in _list(container.get("Ports"))):
            port = published.get("PublicPort")
            if not isinstance(port, int) or published.get("Type") != "tcp":
                continue
            if ours:
                own.add(port)
            else:
                address = ipaddress.ip_address(_text(published.get("IP")) or "0.0.0.0")
                others.append(Listener(address=address, port=port, holder=f"container {name}"))
    known = {(one.address, one.port) for one in others}
    for address, port in (*_listening(tcp), *_listening(tcp6)):
        if port not in own and (address, port) not in known:
            holder = f"another program (`sudo ss -ltnp 'sport = :{port}'` names it)"
            others.append(Listener(address=address, port=port, holder=holder))
    return tuple(others)


def ranges(stack: str, networks: Sequence[Mapping[str, object]], route: str) -> tuple[Range, ...]:
    """The IPv4 ranges in use, from the engine's networks and the text of /proc/net/route."""
    found: list[Range] = []
    bridges = {"docker0"}
    for network in networks:
        options = _table(network.get("Options"))
        bridges.add(_text(options.get("com.docker.network.bridge.name")) or f"br-{_text(network.get('Id'))[:12]}")
        if _table(network.get("Labels")).get(LABEL_STACK) == stack:
            continue
        for part in _list(_table(network.get("IPAM")).get("Config")):
            subnet = _text(_table(part).get("Subnet"))
            if subnet and ":" not in subnet:
                holder = f"Docker network {_text(network.get('Name'))}"
                found.append(Range(network=ipaddress.IPv4Network(subnet, strict=False), holder=holder))
    for line in route.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0] in bridges:
            continue
        # Both numbers are in the host's byte order, which is little-endian wherever Docker runs.
        mask = ipaddress.IPv4Address(int(fields[7], 16).to_bytes(4, "little"))
        target = ipaddress.IPv4Address(int(fields[1], 16).to_bytes(4, "little"))
        if int(mask) != 0:
            network_ = ipaddress.IPv4Network(f"{target}/{mask}", strict=False)
            found.append(Range(network=network_, holder=f"a route of this host through {fields[0]}"))
    return tuple(found)


def _listening(table: str) -> Iterator[tuple[Address, int]]:
    """The listening sockets of the text of /proc/net/tcp or tcp6."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != "0A":
            continue
        host, _, port = fields[1].partition(":")
        # Each 32-bit word of the address is in the host's byte order.
        raw = b"".join(int(host[i : i + 8], 16).to_bytes(4, "little") for i in range(0, len(host), 8))
        address: Address = ipaddress.IPv4Address(raw) if len(raw) == 4 else ipaddress.IPv6Address(raw)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        yield address, int(port, 16)


def _same(one: Address, other: Address) -> bool:
    """Whether two bind addresses collide on one port. A listener on :: takes IPv4 connections as well."""
    if one == other:
        return True
    if one.version == other.version:
        return one.is_unspecified or other.is_unspecified
    return any(address.version == 6 and address.is_unspecified for address in (one, other))


def _dri(settings: Settings) -> tuple[Device, ...]:
    gpu = settings.jellyfin.gpu
    # The setting may also name a link such as /dev/dri/by-path/….
    candidates = {*Path("/dev/dri").glob("renderD*"), *({Path(gpu.device)} if gpu.mode == "dri" else ())}
    return tuple(Device(path=path, gid=path.stat().st_gid) for path in sorted(candidates) if _is_device(path))


def _nvidia(runtimes: Sequence[str]) -> bool:
    if "nvidia" in runtimes or shutil.which("nvidia-container-runtime-hook"):
        return True
    return any(any(Path(directory).glob("nvidia*.*")) for directory in ("/etc/cdi", "/var/run/cdi"))


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


def _owner(settings: Settings) -> tuple[int, int] | None:
    try:
        found = Path(settings.storage.data).stat() if settings.storage.data else None
    except OSError:
        return None
    return (found.st_uid, found.st_gid) if found else None


def _remapped(info: Mapping[str, object]) -> bool:
    """Whether users in containers are others than those of the host: rootless, or `userns-remap`."""
    options = " ".join(map(_text, _list(info.get("SecurityOptions"))))
    return "name=rootless" in options or "name=userns" in options


def _free(root: Path) -> int | None:
    # The engine's directory is closed to ordinary users; a parent on the same file system answers as well.
    for path in (root, *root.parents):
        try:
            usage = os.statvfs(path)
        except OSError:
            continue
        return usage.f_bavail * usage.f_frsize
    return None


def _proc(name: str) -> str:
    try:
        return Path("/proc", name).read_text(encoding="ascii")
    except OSError:
        return ""


def _unreachable(path: Path, error: Exception) -> str:
    where = f"no Docker Engine answers at unix://{path}"
    match error:
        case PermissionError():
            return f"{where}: this user may not use it; run `sudo usermod -aG docker $USER` and log in again"
        case FileNotFoundError() | ConnectionRefusedError():
            return f"{where}: it is not running; run `scripts/docker-engine`, which starts it or says how"
        case _:
            return f"{where}: {error}; look into the engine's log (`journalctl -u docker`), then try again"


def _gid_missing(host: str) -> str:
    return (
        f"nexus:docker.socket-gid: missing, and the engine at {host} is not on this machine; set what `stat -c %g "
        "/var/run/docker.sock` prints on that host"
    )


def _set(facts: HostFacts, key: str, value: str) -> str:
    return f"scripts/pulumi -s {facts.stack} config set --path nexus:{key} {value}"


class _Api:
    """The engine's HTTP API over its unix socket, one connection."""

    def __init__(self, path: Path) -> None:
        self._connection = _UnixConnection(path)

    def __enter__(self) -> _Api:
        self._connection.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> object:
        self._connection.request("GET", path, headers={"Host": "docker"})
        response = self._connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"{path} was answered with status {response.status}")
        answer: object = json.loads(body)
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
