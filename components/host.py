"""What the host of the Docker Engine has, and what a stack's settings need of it and do not find.

The facts are those of the host that the engine is on, here or at the other end of ssh: what the engine tells, and
what one shell script sees that is run there. What cannot be had is unknown, and not checked. Read by `make doctor`
and by the program at every preview, so it is quick and imports no engine library. What does not belong here: the way
to the host (reach.py), and changing anything on it.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import shlex
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from components import commands, reach
from components.errors import PlatformError

if TYPE_CHECKING:
    from components.settings.schema import Docker, Settings

LABEL_STACK: Final = "nexus.stack"
_ELSEWHERE: Final = "the engine runs in a virtual machine, whose devices, paths and routes are its own"
TUN: Final = Path("/dev/net/tun")
GIGABYTE: Final = 10**9
_TIMEOUT: Final = 10.0
"""Seconds for one answer of the engine."""
_SSH_TIMEOUT: Final = _TIMEOUT + reach.CONNECT_SECONDS
_LOOPBACK_FIXED: Final = ((23, 0, 11), (25, 0, 5), (26, 0, 0))
"""The releases from which, each in its line, no name asked in an internal network leaves by the host's own resolver
(CVE-2024-29018, moby/moby PR 47538; of 25.0 its advisory names 25.0.4 and the release notes 25.0.5: the later)."""

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
    containerd_images: bool = False
    """Whether images lie in containerd, as on new installations of Docker 29 and later."""
    limits: bool = True
    """Whether it can hold containers to their memory and processors; otherwise it takes limits and does nothing."""
    rootless: bool = False
    """Whether it runs as an ordinary user: its root is that user."""
    remapped: bool = False
    """Whether users in its containers are others than those of its host: rootless, or `userns-remap`."""
    desktop: bool = False
    """Whether it is in a virtual machine, as Docker Desktop's: its devices, paths and groups are not this host's."""

    @property
    def checks_start_sooner(self) -> bool:
        """Whether a health check has an interval of its own while a container starts: since Docker 25 (API 1.44)."""
        major = self.version.partition(".")[0]
        return major.isdecimal() and int(major) >= 25

    @property
    def image_store(self) -> Literal["overlay2", "containerd"]:
        """As `nexus:docker.image-store` calls it: overlay2 stands for each of the engine's own drivers."""
        return "containerd" if self.containerd_images else "overlay2"

    @property
    def layers(self) -> PurePosixPath | None:
        """The directory that says which layer is which container's; None where images lie in containerd."""
        if self.containerd_images:
            return None
        return PurePosixPath(self.root, "image", self.storage_driver, "layerdb")


ORDINARY: Final = Engine(
    version="", storage_driver="overlay2", cgroup_version="", root=Path("/var/lib/docker"), cpus=0
)
"""What is taken of an engine that was not asked."""


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
    """What one host has. None and empty where nothing was asked, and what `unseen` speaks of."""

    stack: str
    local: bool
    """Whether the host is this machine."""
    engine: Engine | None = None
    engine_error: str | None = None
    """Why no engine answers, and what to do."""
    unseen: str | None = None
    """Why the host itself could not be looked at: then all below is unknown but what the engine told."""
    routes_unseen: bool = False
    """Whether the host has no `ip` command: then `ranges` are those of the engine's networks alone."""
    tun: bool | None = None
    wireguard: bool | None = None
    """Whether the kernel has WireGuard, loaded or to be loaded; None where its modules are not this host's to see."""
    dri: tuple[Device, ...] = ()
    nvidia: bool | None = None
    """Whether containers can be given NVIDIA GPUs: by the runtime, its hook, or a CDI specification."""
    free_bytes: int | None = None
    """Free where the engine keeps its data; None where that cannot be told."""
    data_is_directory: bool | None = None
    """Whether the path of `nexus:storage.data` is a directory; None where none is set."""
    data_owner: tuple[int, int] | None = None
    """User and group of that directory; None where that is not what containers see."""
    listeners: tuple[Listener, ...] = ()
    ranges: tuple[Range, ...] = ()
    resolvers: tuple[Address, ...] = ()
    """The name servers that the engine asks for its containers."""


def engine_of(settings: Settings, facts: HostFacts) -> Engine:
    """The engine as it says of itself; one that was not asked is an ordinary one with the image store of the
    settings."""
    if facts.engine is not None:
        return facts.engine
    return replace(ORDINARY, containerd_images=settings.docker.image_store == "containerd")


def socket_path(settings: Settings, engine: Engine) -> PurePosixPath:
    """Where the engine's own host has its socket: where the settings say, Docker Desktop's at the usual place."""
    return PurePosixPath(reach.SOCKET if engine.desktop else reach.socket_path(settings.docker.host))


def socket_gid(settings: Settings, engine: Engine) -> int:
    """The numeric group of the engine's socket, as a container sees it: the setting, or what this host's socket
    belongs to.

    Raises HostError where the engine is remote and `nexus:docker.socket-gid` is not set, or there is no socket.
    """
    if settings.docker.socket_gid is not None:
        return settings.docker.socket_gid
    if engine.desktop:
        return 0  # its machine's socket is root's
    if (path := settings.docker.local_socket) is None:
        raise HostError(_gid_missing(settings.docker.host))
    try:
        gid = path.stat().st_gid
        return _seen_from_inside(path, gid) if engine.rootless else gid
    except OSError as error:
        raise HostError(f"nexus:docker.host: {unreachable(settings.docker, error)}") from error


def _seen_from_inside(path: Path, gid: int) -> int:
    """What the containers of a rootless engine, which has a user namespace, know this host's group `gid` as.

    Raises OSError where the engine does not answer, HostError where the group is not in the namespace.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT)
        connection.connect(str(path))
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    for line in _gid_map(pid).splitlines():
        inside, outside, count = map(int, line.split())
        if outside <= gid < outside + count:
            return inside + gid - outside
    raise HostError(
        f"nexus:docker.socket-gid: missing, and what this rootless engine's containers know group {gid} of {path} as "
        f"is not to be seen; set what `docker run --rm --volume {path}:/s busybox stat -c %g /s` prints"
    )


def _gid_map(pid: int) -> str:
    return Path(f"/proc/{pid}/gid_map").read_text(encoding="ascii")


def gather(settings: Settings, stack: str) -> HostFacts:
    """The facts of the host that `stack` lives on. Never raises for what it does not find."""
    where = settings.docker
    facts = HostFacts(stack=stack, local=where.local_socket is not None)
    try:
        with _Api(where) as api:
            info = _table(api.get("/info"))
            containers = [_table(item) for item in _list(api.get("/containers/json"))]
            networks = [_table(item) for item in _list(api.get("/networks"))]
    except (OSError, http.client.HTTPException, ValueError) as error:
        facts = replace(facts, engine_error=unreachable(where, error))
        # Over ssh the second way would fail as the first did.
        return replace(facts, **_devices(_look(settings, Path("/"))[0])) if facts.local else facts
    engine = engine_from(info)
    if engine.desktop or (facts.local and sys.platform != "linux"):
        return replace(facts, local=False, engine=replace(engine, desktop=True), unseen=_ELSEWHERE)
    seen, unseen = _look(settings, engine.root)
    free = re.search(r"\s(\d+)\s+\d+%\s", seen.get("disk", ""))
    resolvers = (line.split()[1] for line in seen.get("resolver", "").splitlines() if len(line.split()) > 1)
    return replace(
        facts,
        engine=engine,
        unseen=unseen,
        **_devices(seen),
        nvidia="nvidia" in engine.runtimes or (None if unseen else "nvidia" in seen),
        free_bytes=int(free[1]) * 1024 if free else None,
        data_is_directory=_yes(seen.get("data")),
        data_owner=None if engine.remapped else _owner(seen.get("owner", "")),
        listeners=listeners(stack, containers, seen.get("tcp", ""), seen.get("tcp6", "")),
        ranges=ranges(stack, networks, seen.get("route", ""), seen.get("rule", "")),
        routes_unseen="route" not in seen,
        resolvers=tuple(found for text in resolvers if (found := _address(text)) is not None),
    )


_SCRIPT: Final = r"""
LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export LC_ALL PATH
root=$1 data=$2 device=$3
say() { what=$1; shift; "$@" 2>/dev/null | while IFS= read -r line; do printf '%s\t%s\n' "$what" "$line"; done; }
echo 'nexus host'
if [ -c /dev/net/tun ]; then say tun echo yes; else say tun echo no; fi
if [ -d /sys/module/wireguard ]; then say wireguard echo yes
elif [ -d "/lib/modules/$(uname -r)" ]; then
  if grep -qs 'wireguard\.ko' "/lib/modules/$(uname -r)/modules.dep" "/lib/modules/$(uname -r)/modules.builtin"
  then say wireguard echo yes; else say wireguard echo no; fi
fi
for node in /dev/dri/renderD* "$device"; do
  if [ -c "$node" ]; then say dri stat -L -c '%g %n' "$node"; fi
done
if command -v nvidia-container-runtime-hook >/dev/null 2>&1; then say nvidia echo hook; fi
for file in /etc/cdi/nvidia*.* /var/run/cdi/nvidia*.*; do
  if [ -e "$file" ]; then say nvidia echo "$file"; fi
done
# The engine's directory is closed to ordinary users; a parent on the same file system answers as well.
while [ "$root" != / ] && ! df -Pk "$root" >/dev/null 2>&1; do root=$(dirname "$root"); done
say disk df -Pk "$root"
if [ -d "$data" ]; then say data echo yes; say owner stat -L -c '%u %g' "$data"
elif [ -n "$data" ]; then
  above=$(dirname "$data")
  while [ ! -e "$above" ] && [ "$above" != / ]; do above=$(dirname "$above"); done
  # Below what this user may not enter nothing can be told.
  if [ -x "$above" ]; then say data echo no; fi
fi
say tcp awk 'NR == 1 || $4 == "0A"' /proc/net/tcp
say tcp6 awk 'NR == 1 || $4 == "0A"' /proc/net/tcp6
say rule ip -4 rule show
say route ip -4 route show table all
# Its own configuration tells the engine whom to ask, or the second file where the first names nothing but
# systemd-resolved's own address (moby/moby daemon/libnetwork/internal/resolvconf, Path).
dns=$(tr '\n' ' ' 2>/dev/null </etc/docker/daemon.json |
  sed -n 's/.*"dns" *: *\[\([^]]*\)\].*/\1/p' | tr '",' '  ')
resolver=/etc/resolv.conf
if [ "$(awk '$1 == "nameserver" {print $2}' $resolver 2>/dev/null)" = 127.0.0.53 ]
then resolver=/run/systemd/resolve/resolv.conf; fi
if [ -n "$dns" ]; then for one in $dns; do say resolver echo "nameserver $one"; done
else say resolver awk '$1 == "nameserver"' $resolver; fi
echo 'nexus end'
"""
"""Prints what a host has, a line for each find: its name, a tab, and the find as the host's own tools write it. Takes
the engine's data root, the path of the data or nothing, and the GPU's device or nothing."""


def _look(settings: Settings, root: Path) -> tuple[Mapping[str, str], str | None]:
    """What `_SCRIPT` prints on the engine's host, by name, and why that is nothing where it is."""
    where, gpu = settings.docker, settings.jellyfin.gpu
    arguments = (
        str(root),
        str(settings.storage.data or ""),
        # The setting may also name a link such as /dev/dri/by-path/….
        str(gpu.device) if gpu.mode == "dri" else "",
    )
    timeout = _TIMEOUT if where.local_socket else _SSH_TIMEOUT
    try:
        lines = reach.run(where, _SCRIPT, arguments, timeout).splitlines()
    except OSError as error:
        return {}, f"no command can be run on {where.host}: {error}"
    # Whatever the far shell says of its own stands before.
    lines = lines[lines.index("nexus host") :] if "nexus host" in lines else []
    if lines[-1:] != ["nexus end"]:
        # A key with command="docker system dial-stdio" is enough for the engine (docs/ci.md).
        return {}, f"what was run on {where.host} did not run there; may this key do nothing but reach the engine?"
    found: dict[str, list[str]] = {}
    for line in lines[1:-1]:
        name, _, text = line.partition("\t")
        found.setdefault(name, []).append(text)
    return {name: "\n".join(texts) for name, texts in found.items()}, None


class _Devices(TypedDict):
    tun: bool | None
    wireguard: bool | None
    dri: tuple[Device, ...]


def _devices(seen: Mapping[str, str]) -> _Devices:
    nodes = {path: int(gid) for gid, _, path in (line.partition(" ") for line in seen.get("dri", "").splitlines())}
    return {
        "tun": _yes(seen.get("tun")),
        "wireguard": _yes(seen.get("wireguard")),
        "dri": tuple(Device(path=Path(path), gid=gid) for path, gid in sorted(nodes.items())),
    }


def _owner(text: str) -> tuple[int, int] | None:
    uid, _, gid = text.partition(" ")
    return (int(uid), int(gid)) if gid else None


def _yes(text: str | None) -> bool | None:
    return None if text is None else text == "yes"


def engine_from(info: Mapping[str, object]) -> Engine:
    """The engine, from its answer to /info."""
    # [["driver-type", "io.containerd.snapshotter.v1"]] where images lie in containerd, whatever the driver is called.
    status = [_list(pair) for pair in _list(info.get("DriverStatus"))]
    security = [_text(option).split(",") for option in _list(info.get("SecurityOptions"))]
    return Engine(
        version=_text(info.get("ServerVersion")),
        storage_driver=_text(info.get("Driver")),
        cgroup_version=_text(info.get("CgroupVersion")),
        root=Path(_text(info.get("DockerRootDir")) or "/"),
        cpus=_number(info.get("NCPU")),
        runtimes=tuple(sorted(_table(info.get("Runtimes")))),
        containerd_images=["driver-type", "io.containerd.snapshotter.v1"] in status,
        limits=info.get("MemoryLimit") is not False and info.get("CpuCfsQuota") is not False,
        rootless=any("name=rootless" in option for option in security),
        remapped=any({"name=rootless", "name=userns"} & set(option) for option in security),
        desktop=_text(info.get("OperatingSystem")) == "Docker Desktop",
    )


def problems(settings: Settings, facts: HostFacts) -> tuple[str, ...]:
    """What `settings` ask of the host and `facts` do not show: one message each, with the key and what to do."""
    found: list[str] = []
    if settings.docker.local_socket is None and settings.docker.socket_gid is None:
        found.append(_gid_missing(settings.docker.host))
    if facts.engine is None:
        return (*found, f"nexus:docker.host: {facts.engine_error}") if facts.engine_error else tuple(found)
    return (
        *found,
        *_store_problems(settings, facts, facts.engine),
        *_user_problems(facts.engine),
        *_vpn_problems(settings, facts),
        *_cpu_problems(settings, facts, facts.engine),
        *_gpu_problems(settings, facts),
        *_port_problems(settings, facts),
        *_disk_problems(settings, facts, facts.engine),
        *_pool_problems(settings, facts),
    )


def resolver_warning(facts: HostFacts) -> str | None:
    """What leaves this host by its own resolver where that is on loopback, None where nothing does."""
    if facts.engine is None or not any(address.is_loopback for address in facts.resolvers):
        return None
    version = tuple(int(part) for part in re.findall(r"\d+", facts.engine.version.partition("-")[0])[:3])
    line = next((fixed for fixed in _LOOPBACK_FIXED if fixed[0] == version[0]), _LOOPBACK_FIXED[-1])
    if version >= line:
        return None
    return (
        f"this engine ({facts.engine.version}) asks it for containers of internal networks too, so a name leaves "
        "where nothing else does (CVE-2024-29018); use an engine from 23.0.11, 25.0.5 or 26.0 on, or name another "
        'server in its /etc/docker/daemon.json ("dns")'
    )


def _store_problems(settings: Settings, facts: HostFacts, engine: Engine) -> Iterator[str]:
    if settings.docker.image_store not in (None, engine.image_store):
        yield (
            f"nexus:docker.image-store: is {settings.docker.image_store}, but this engine's is {engine.image_store} "
            f"(its storage driver is {engine.storage_driver}); take the setting out, the engine is asked: run "
            f"`{commands.config_rm(facts.stack, '--path nexus:docker.image-store')}`"
        )


def _user_problems(engine: Engine) -> Iterator[str]:
    if engine.remapped and not engine.rootless:
        yield (
            "nexus:docker.host: this engine gives containers other users (userns-remap), and then lets none use the "
            "host's network, which the firewall has to; take userns-remap out of its /etc/docker/daemon.json, or run "
            "the engine rootless"
        )


def _vpn_problems(settings: Settings, facts: HostFacts) -> Iterator[str]:
    if facts.tun is False:
        yield f"nexus:vpn: {TUN} is missing on this host; run `sudo modprobe tun`"
    # linuxserver/wireguard has the tools alone (its package_versions.txt); the lab's image, which a lock file names,
    # has wireguard-go.
    if facts.wireguard is False and settings.vpn.type == "embedded" and settings.images.lock is None:
        yield (
            "nexus:vpn.type: embedded needs WireGuard in this host's kernel, which has none; install a kernel that "
            "does (on Debian linux-image-amd64, instead of a -cloud or a provider's own), or use another type"
        )


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
        if facts.unseen:
            return
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
    if gpu.mode == "nvidia" and facts.nvidia is False:
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
    if found := [other for other in facts.ranges if pool.overlaps(other.network)]:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield (
            f"nexus:networks.pool: {pool} overlaps {found[0].network} of {found[0].holder}{more}; run "
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


def ranges(stack: str, networks: Sequence[Mapping[str, object]], routes: str, rules: str) -> tuple[Range, ...]:
    """The IPv4 ranges in use, from the engine's networks and the text of `ip route show table all` and `ip rule`.

    Every table counts that a rule names; that of the kernel's own, `local`, has the host's own addresses.
    """
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
    # A kernel without policy routing has these two.
    tables = set(re.findall(r" lookup (\S+)", rules)) or {"main", "local"}
    for line in routes.splitlines():
        words = line.split()
        kind = words.pop(0) if words and words[0] in _ROUTE_TYPES else "unicast"
        after = dict(pairwise(words))
        table = after.get("table", "main")
        device = after.get("dev", "")
        if kind in _ROUTES_TO_NOTHING or not words or words[0] == "default" or device in bridges:
            continue
        if table not in tables:
            continue
        try:
            target = ipaddress.IPv4Network(words[0], strict=False)
        except ValueError:
            continue
        if target.prefixlen == 0:
            continue
        if kind == "local":
            holder = f"this host's own address on {device}"
        else:
            holder = f"a route of this host ({f'through {device}' if device else kind}, table {table})"
        found.append(Range(network=target, holder=holder))
    return tuple(found)


# iproute2's ip/rtm_map.c; a route without a word is unicast.
_ROUTES_TO_NOTHING: Final = frozenset({"broadcast", "anycast", "multicast", "throw"})
_ROUTE_TYPES: Final = _ROUTES_TO_NOTHING | {"unicast", "local", "nat", "unreachable", "prohibit", "blackhole"}


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


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def unreachable(engine: Docker, error: Exception) -> str:
    """Why no engine answers and what to do."""
    where = f"no Docker Engine answers at {engine.host}"
    if reach.is_ssh(engine.host):
        trial = shlex.join(reach.ssh(engine, "docker", "version"))
        return f"{where}: {reach.complaint(engine) or error}; this has to work: {trial}"
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
    return commands.config_set(facts.stack, f"--path nexus:{key} {value}")


class _Api:
    """The engine's HTTP API, on one connection."""

    def __init__(self, engine: Docker) -> None:
        self._connection = http.client.HTTPConnection("docker", timeout=_TIMEOUT)
        self._engine = engine

    def __enter__(self) -> _Api:
        # The first answer over ssh comes after its sign-in.
        timeout = _TIMEOUT if self._engine.local_socket else _SSH_TIMEOUT
        self._connection.sock = reach.dial(self._engine, timeout)
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


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
