"""Family `sockets`: nothing but a named socket proxy may reach a container engine's socket.

Whoever can write to such a socket is root on the host. Judged is every road by which a docker resource can get at
one: binds, mounts, volume drivers, another container's mounts, plugins, uploads, and addresses in environment and
arguments. A path is judged by what it would be on a Linux host: `..`, doubled slashes, case and the usual symbolic
links do not hide it. A symbolic link of the host's own making cannot be seen from here. Sensitive host paths that
hold no socket (/sys, /proc as a whole, the engine's data root) are not this family's business.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final
from urllib.parse import unquote

from pulumi_policy import Severity

from policies.rules.props import Entry, safe_name, walk
from policies.rules.rule import Config, Finding, Resource, Rule

# Where engines listen; `*` stands for one component. /var/run is /run. The home directories are those of Docker
# Desktop, Rancher Desktop, Colima, OrbStack and Podman machine.
_HOMES: Final = ("/root", "/home/*", "/users/*", "/var/home/*")
_HOME_SOCKETS: Final = (
    ".docker/run/docker.sock",
    ".docker/desktop/docker.sock",
    ".rd/docker.sock",
    ".colima/default/docker.sock",
    ".orbstack/run/docker.sock",
    ".local/share/containers/podman/machine/podman.sock",
)
ENGINE_SOCKETS: Final = (
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/user/*/docker.sock",
    "/run/user/*/docker/containerd/containerd.sock",
    "/run/user/*/podman/podman.sock",
    "/run/user/*/buildkit/buildkitd.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/balena-engine.sock",
    "/run/guest-services/docker.sock",
    "/run/host-services/docker.proxy.sock",
    "/run/snap.docker/docker.sock",
    "/var/snap/docker/common/run/docker.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
    *(f"{home}/{socket}" for home in _HOMES for socket in _HOME_SOCKETS),
)
# A socket of such a name is an engine's wherever it lies.
_SOCKET_NAME: Final = re.compile(
    r"[\w.-]*(?:docker|podman|containerd|crio|cri-o|moby|buildkit|balena|nerdctl)[\w.-]*\.sock(?:et)?(?:\.raw|\.ttrpc)?"
)
_PIPE: Final = re.compile(
    r"npipe:|[\\/]{2,}[.?\w-]*[\\/]+pipe[\\/]+[\w.-]*(?:docker|containerd|podman|moby|buildkit)"
)
# Symbolic links of a usual Linux host, followed before a `..` after them is.
_LINKS: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("var", "run"): ("run",),
    ("var", "lock"): ("run", "lock"),
}
_PROCESS: Final = re.compile(r"self|thread-self|\d+")
_PROCESS_DOORS: Final = frozenset({"cwd", "fd", "map_files"})


class Reach(Enum):
    """What a host path gives away; the value is the text of the violation."""

    SOCKET = "is a container engine's socket"
    PARENT = "is a directory that holds a container engine's socket"
    PROCESS = "leads through /proc into a process's own view of the host, where the engine's socket lies"
    PIPE = "is a named pipe of a container engine"


def reach(path: str) -> Reach | None:
    """What mounting the host path `path` would give away, or None."""
    text = path.strip().casefold()
    if _PIPE.search(text):
        return Reach.PIPE
    text = re.sub(r"^(?:http\+)?(?:unix|file)://", "/", text)
    if not text.startswith(("/", "..")):
        return Reach.SOCKET if _SOCKET_NAME.fullmatch(text.rstrip("/").rpartition("/")[2]) else None
    # As the daemon reads it (it cleans a bind's source as text) and as the kernel does (it follows links first).
    readings = (_clean(text, links=False), _clean(text, links=True))
    if None in readings:
        return Reach.PROCESS
    found = {_held(parts) for parts in readings if parts is not None}
    return next((kind for kind in (Reach.SOCKET, Reach.PARENT) if kind in found), None)


def _clean(path: str, *, links: bool) -> tuple[str, ...] | None:
    """The components of `path` without `.`, `..` and known links; None where it goes through a process's doors."""
    done: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        if links:
            done = list(_LINKS.get(tuple(done), tuple(done)))
        if len(done) > 2 and done[0] == "proc" and _PROCESS.fullmatch(done[1]):
            if done[-1] == "root":
                done = []
            elif done[-1] in _PROCESS_DOORS:
                return None
    if len(done) in (2, 3, 4) and done[0] == "proc" and _PROCESS.fullmatch(done[1]) and done[2:3] in ([], ["task"]):
        return None
    return _LINKS.get(tuple(done[:2]), tuple(done[:2])) + tuple(done[2:])


def _held(parts: tuple[str, ...]) -> Reach | None:
    if any(_SOCKET_NAME.fullmatch(part) for part in parts):
        return Reach.SOCKET
    for socket in _SOCKET_PARTS:
        if len(parts) <= len(socket) and all(want in ("*", have) for want, have in zip(socket, parts, strict=False)):
            return Reach.SOCKET if len(parts) == len(socket) else Reach.PARENT
    return None


_SOCKET_PARTS: Final = tuple(tuple(socket.strip("/").split("/")) for socket in ENGINE_SOCKETS)


_REMEDY: Final = "Take it out; what needs the engine's API asks a socket proxy over an internal network"
_HOST_PATHS: Final = frozenset({"hostpath", "source", "src", "volumename"})
_ENVS: Final = frozenset({"env", "envs", "environment"})
_ARGUMENTS: Final = frozenset({"command", "commands", "cmd", "args", "entrypoint", "entrypoints", "test", "tests"})
_DRIVER_OPTIONS: Final = frozenset({"driveropts", "driveroptions"})
_HOST_VARIABLES: Final = frozenset({"DOCKER_HOST", "CONTAINER_HOST", "CONTAINERD_ADDRESS", "PODMAN_HOST"})
_REMOTE_TYPES: Final = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|sshfs|ceph|glusterfs|9p", re.IGNORECASE)


def _judge(resource: Resource, _config: Config) -> Iterator[Finding]:
    for entry in walk(resource.props):
        if entry.key == "fromcontainer" and entry.value not in (None, ""):
            yield Finding(
                path=entry.path,
                problem="takes over the mounts of another container, which cannot be judged from here",
                remedy="Name each volume that this container needs",
                excusable=False,
            )
            continue
        if entry.key in _ARGUMENTS and (entry.holder or isinstance(entry.value, list)):
            yield from _bind_arguments(entry)
        if len(entry.path) > 1 and entry.path[-2] == "volumes" and (found := reach(str(entry.path[-1]))):
            yield Finding(path=entry.path, problem=found.value, remedy=_REMEDY, excusable=False)
        if isinstance(entry.value, str):
            found = _reach_of(entry, entry.value)
            if found is None:
                continue
            note = ""
            if entry.key in _ENVS and "=" in entry.value:
                note = safe_name(entry.value.partition("=")[0]) or ""
            yield Finding(
                path=entry.path,
                problem=found.value,
                remedy=_REMEDY,
                note=note,
                excusable=resource.kind == "Container" and _excusable(entry, found),
            )


def _reach_of(entry: Entry, text: str) -> Reach | None:
    """What the string `text` gives away, by the place it stands in."""
    if entry.within & _ENVS:
        return _address(entry, text)
    if entry.within & _ARGUMENTS:
        return _named(text)
    if entry.within & _DRIVER_OPTIONS:
        return _driver_option(entry, text)
    if "grantpermissions" in entry.within:
        return reach(text) if "/" in text or "\\" in text else None
    if entry.key == "volumes":
        return reach(text.partition(":")[0]) or reach(text)
    if entry.holder and entry.key in _HOST_PATHS:
        if str(entry.holder.get("type")).strip().casefold() == "npipe":
            return Reach.PIPE
        if entry.key == "volumename":
            # The provider writes "<volumeName>:<containerPath>", so a path here is a bind.
            return reach(text.partition(":")[0]) or reach(text)
        return reach(text)
    return None


def _excusable(entry: Entry, found: Reach) -> bool:
    """True where a proxy may have it: the socket itself, bound read-only, or its address in env and arguments."""
    if found is not Reach.SOCKET:
        return False
    if entry.within & (_ENVS | _ARGUMENTS):
        return True
    if entry.holder.get("readOnly") is not True:
        return False
    return (entry.key == "source" and entry.holder.get("type") == "bind") or entry.key == "hostpath"


def _address(entry: Entry, text: str) -> Reach | None:
    """A variable that names an engine's socket. A directory that holds one is no address: HOME=/ is innocent."""
    if isinstance(entry.path[-1], int):
        name, _, value = text.partition("=")
    else:
        holder_name = entry.holder.get("name", entry.holder.get("key"))
        name, value = holder_name if isinstance(holder_name, str) else str(entry.path[-1]), text
    if name.strip().upper() in _HOST_VARIABLES:
        if re.match(r"\s*(?:npipe|\\\\)", value, re.IGNORECASE):
            return Reach.PIPE
        if re.match(r"\s*(?:(?:http\+)?unix:|fd:|/)", value, re.IGNORECASE):
            return Reach.SOCKET
    return _named(value)


def _named(text: str) -> Reach | None:
    """An engine's socket or pipe that `text` names anywhere; quotes and percent signs do not hide it."""
    if _PIPE.search(text.casefold()):
        return Reach.PIPE
    bare = re.sub(r"[\"'`\\]", "", unquote(text))
    for word in re.split(r"[\s=,;|&(){}<>:\[\]]+", bare):
        if reach(word) is Reach.SOCKET:
            return Reach.SOCKET
    return None


def _driver_option(entry: Entry, text: str) -> Reach | None:
    """A volume driver's option: `device=/run`, also `o=bind,device=/run`, and the layers of an overlay."""
    flags = str(entry.holder.get("o")).casefold()
    if _REMOTE_TYPES.fullmatch(str(entry.holder.get("type")).strip()) and "bind" not in flags:
        return None  # the device is a path on another host; a bind would ignore the type
    for piece in text.split(","):
        for word in (piece, *piece.rpartition("=")[2].split(":")):
            if (found := reach(word)) is not None:
                return found
    return None


def _bind_arguments(entry: Entry) -> Iterator[Finding]:
    """`-v /run:/x` and `--mount type=bind,source=/run,…`, for a container that calls an engine's client."""
    listed = isinstance(entry.value, list)
    arguments = entry.value if isinstance(entry.value, list) else [entry.value]
    previous = ""
    for index, argument in enumerate(arguments):
        for word in re.sub(r"[\"'`]", "", argument).split() if isinstance(argument, str) else [""]:
            if previous in ("-v", "--volume", "--mount"):
                specification = word
            else:
                glued = re.match(r"(?:--volume=|--mount=|-v=?)(.+)", word)
                specification = glued[1] if glued else ""
            previous = word
            bind = re.match(r"([^:]+):/", specification)
            sources = [bind[1]] if bind else re.findall(r"(?:^|,)(?:source|src)=([^,]+)", specification)
            for source in sources:
                if (found := reach(source)) is not None:
                    path = (*entry.path, index) if listed else entry.path
                    yield Finding(path=path, problem=found.value, remedy=_REMEDY, excusable=False)


RULES: Final = (
    Rule(
        name="no-engine-socket",
        description=(
            "No container reaches a container engine's socket, nor a directory that holds one: "
            "who can write to it is root on the host. The one exemption is a socket proxy, read-only."
        ),
        remediation=(
            "Remove the bind, mount or volume. What needs the engine's API goes through a socket proxy that lets "
            "only the needed calls pass; the proxy itself is listed under `exemptions` in this rule's settings, with "
            "a reason, and binds the socket file itself read-only."
        ),
        severity=Severity.CRITICAL,
        judge=_judge,
    ),
)
