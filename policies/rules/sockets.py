"""Family `sockets`: nothing but a named socket proxy may reach a container engine's API, and it lets little pass.

Whoever can write to an engine's socket is root on the host; a socket that is mounted read-only still takes every
request. Judged is every road by which a docker resource can get at one: binds, mounts, volume drivers, another
container's mounts, plugins, uploads, and addresses in environment and arguments. The engines are Docker, Podman,
containerd, CRI-O, BuildKit and LXD. A path is judged by what it would be on a Linux host: `..`, doubled slashes, case
and the usual symbolic links do not hide it.

A proxy is a container that binds an engine's socket, or whose image is called one. What it lets pass is read from its
own arguments and variables (policies/rules/proxies.py). An exception lets it have the socket's file itself, bound
read-only, and nothing above it. Its consumer needs an exception too, to be given the address.

Not seen from here:
- a symbolic link of the host's own making, and a socket of another name outside the usual places
- an address without an engine's port, name or variable, such as one that an app is told on its own page
- a daemon or context that is configured by a file in the image, and where DOCKER_HOST of the shell that runs Pulumi
  leads: only what the provider is given is judged
- what a proxy with switches for whole parts of the API lets pass by GET: CONTAINERS=1 of such a one also hands out
  the files of every container
- consumers on an unknown network, of another stack, or on the host itself

Sensitive host paths that hold no socket (/sys, /proc as a whole, the engine's data root) are not this family's
business.
"""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from pulumi_policy import Severity

from policies.rules import proxies
from policies.rules.configuration import UnreadableError, files, member, settings, texts
from policies.rules.paths import NETWORKED, clean
from policies.rules.props import ARGUMENTS, ENVIRONMENT, UNKNOWN, Entry, Path, Value, safe_name
from policies.rules.rule import Config, Finding, Resource, Rule, Stack

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


class Reach(Enum):
    """What a host path gives away; the value is the text of the violation."""

    SOCKET = "is a container engine's socket"
    PARENT = "is a directory that holds a container engine's socket"
    PROCESS = "leads through /proc into a process's own view of the host, where the engine's socket lies"
    PIPE = "is a named pipe of a container engine"


@lru_cache(maxsize=4096)
def reach(path: str) -> Reach | None:
    """What mounting the host path `path` would give away, or None."""
    text = path.strip().casefold()
    if _PIPE.search(text):
        return Reach.PIPE
    text = re.sub(r"^(?:http\+)?(?:unix|file)://", "/", text)
    if not text.startswith(("/", "..")):
        return Reach.SOCKET if _SOCKET_NAME.fullmatch(text.rstrip("/").rpartition("/")[2]) else None
    # As the daemon reads it (it cleans a bind's source as text) and as the kernel does (it follows links first).
    readings = (clean(text, links=False), clean(text, links=True))
    if None in readings:
        return Reach.PROCESS
    found = {_held(parts) for parts in readings if parts is not None}
    return next((kind for kind in (Reach.SOCKET, Reach.PARENT) if kind in found), None)


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
_DRIVER_OPTIONS: Final = frozenset({"driveropts", "driveroptions"})
_HOST_VARIABLES: Final = frozenset({"DOCKER_HOST", "CONTAINER_HOST", "CONTAINERD_ADDRESS", "PODMAN_HOST"})


def _judge(resource: Resource, _config: Config) -> Iterator[Finding]:
    for entry in resource.entries:
        if entry.key == "fromcontainer" and entry.value not in (None, ""):
            yield Finding(
                path=entry.path,
                problem="takes over the mounts of another container, which cannot be judged from here",
                remedy="Name each volume that this container needs",
                excusable=False,
            )
            continue
        if entry.key in ARGUMENTS and (entry.holder or isinstance(entry.value, list)):
            yield from _bind_arguments(entry)
        if len(entry.path) > 1 and entry.path[-2] == "volumes" and (found := reach(str(entry.path[-1]))):
            yield Finding(path=entry.path, problem=found.value, remedy=_REMEDY, excusable=False)
        if isinstance(entry.value, str):
            found = _reach_of(entry, entry.value)
            if found is None:
                continue
            note = ""
            if entry.key in ENVIRONMENT and "=" in entry.value:
                note = safe_name(entry.value.partition("=")[0]) or ""
            yield Finding(
                path=entry.path,
                problem=found.value,
                remedy=_REMEDY,
                note=note,
                value="/" + "/".join(clean(entry.value.rpartition("=")[2], links=False) or ()),
                excusable=resource.kind == "Container" and _excusable(entry, found),
            )


def _reach_of(entry: Entry, text: str) -> Reach | None:
    """What the string `text` gives away, by the place it stands in."""
    if entry.within & ENVIRONMENT:
        return _address(entry, text)
    if entry.within & ARGUMENTS:
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
    if entry.within & (ENVIRONMENT | ARGUMENTS):
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
    if NETWORKED.fullmatch(str(entry.holder.get("type")).strip()) and "bind" not in flags:
        return None  # the device is a path on another host; a bind would ignore the type
    for piece in text.split(","):
        for word in (piece, *piece.rpartition("=")[2].split(":")):
            if (found := reach(word)) is not None:
                return found
    # The engine mounts from its own working directory, which is the host's root.
    device = text.strip() if entry.path[-1] == "device" else re.sub(r".*(?:^|,)device=", "", text).partition(",")[0]
    relative = device and not device.startswith("/") and (entry.path[-1] == "device" or "device=" in text)
    return reach(f"/{device}") if relative else None


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


# ---- an engine's API over the network ----

_PORTS: Final = r"237[56]"
_LOOPBACK: Final = r"localhost|127(?:\.\d+){3}|\[?::1\]?"
# An engine's own ports, whatever stands before them, and the names that socket proxies go by.
_ADDRESS: Final = re.compile(
    rf"(?:\b(?:tcp|https?|docker|ssh)://(?P<host>[^\s/?#\"']*?):{_PORTS}(?!\d)"
    rf"|(?<![\w.:/@-])(?P<bare>(?=[\w.-]*[A-Za-z.])[\w.-]+):{_PORTS}(?![\w.:])"
    r"|\b(?:tcp|https?)://(?P<proxy>[\w.-]*(?:socket-?proxy|dockersocket)[\w.-]*))",
    re.IGNORECASE,
)
# The client's own options: `docker -H tcp://…`, and its address at a port of its own.
_CLIENT: Final = re.compile(
    r"\b(?:docker|podman|nerdctl|buildctl|lazydocker|ctop)(?:-compose)?\b[^;&|\n]*?"
    r"(?:\s-H|--host|--url|--addr|--docker|docker=[\"']?host)[\s=\"']*(?:tcp|ssh|https?)://",
    re.IGNORECASE,
)
_ENGINES: Final = r"(?:DOCKER|CONTAINER|PODMAN|CONTAINERD|BUILDKIT|BALENA|NERDCTL|MOBY)"
_HOST_NAME: Final = re.compile(
    rf"(?:.*_)?{_ENGINES}_(?:HOST|ADDR|ADDRESS|ENDPOINT|SOCKET|SOCK|API)|CONTAINERD_ADDRESS|BUILDKIT_HOST"
)
_URL_NAME: Final = re.compile(rf"(?:.*_)?{_ENGINES}(?:_UR[LI])?")
_REMOTE: Final = re.compile(r"\b(?:tcp|ssh|docker)://", re.IGNORECASE)
_LOCAL: Final = re.compile(r"(?:(?:http\+)?unix:|fd:|npipe:|file:|/|\\\\)", re.IGNORECASE)
_DAEMON: Final = re.compile(
    r"(?:^|[\s/;&|(])(?:dockerd(?:-entrypoint\.sh|-rootless\.sh)?|docker\s+(?:-d|daemon)|balenad|buildkitd|containerd"
    r"|podman\b[^;&|\n]*\bsystem\s+service)(?=\s|$)"
)
_LISTENS: Final = re.compile(
    r"(?:\s-H|--host|--addr|--address|system\s+service\b[^;&|\n]*?)[\s=]*tcp:", re.IGNORECASE
)
_PUBLISHES: Final = re.compile(r"(?:^|\s)(?:-p|--publish)[\s=]*(?:\S*:)?2375(?::\d+)?(?!\d)")
# Below these keys stand texts of an app's own, whose names mean nothing here.
_TEXTS: Final = ENVIRONMENT | ARGUMENTS | {"labels", "label", "uploads"}
_VERIFIES: Final = re.compile(r"--tls(?:verify|cacert)(?!\s*=?\s*(?:false|0|no)\b)", re.IGNORECASE)


def _judge_tcp(resource: Resource, _config: Config) -> Iterator[Finding]:
    if resource.type.startswith("pulumi:providers:"):
        yield from _provider(resource.props)
        return
    remedy = "Let it listen on its socket alone, or give it --tlsverify and certificates"
    if _daemon(resource) and _LISTENS.search(line := _line(resource)) and not _VERIFIES.search(line):
        path = next((entry.path for entry in _words(resource) if "tcp:" in str(entry.value).casefold()), ())
        yield Finding(path=path, problem="starts an engine that listens on TCP without TLS", remedy=remedy)
    for option in proxies.options(resource):
        if option.variable and option.name.upper() == "DOCKER_TLS_CERTDIR" and option.value == "":
            yield Finding(
                path=option.path,
                problem="turns the TLS of an engine in a container off",
                remedy="Leave it out",
                note="DOCKER_TLS_CERTDIR",
            )
    for file in files(resource):
        try:
            document = file.document()
        except UnreadableError:
            continue
        listens = any(re.match(r"\s*tcp:", text, re.IGNORECASE) for text in texts(member(document, "hosts")))
        if listens and member(document, "tlsverify") is not True:
            yield Finding(
                path=file.path, problem="tells an engine to listen on TCP without TLS", remedy="Set tlsverify in it"
            )
    problem = "publishes the port of an engine's API without TLS"
    advice = "Take it out; an engine is reached by SSH, or by TLS with client certificates"
    for path, ports in _published(resource):
        if 2375 in ports:
            yield Finding(path=path, problem=problem, remedy=advice)
    for entry in resource.entries:
        if entry.key in ARGUMENTS and isinstance(entry.value, str) and _PUBLISHES.search(entry.value):
            yield Finding(path=entry.path, problem=problem, remedy=advice)


def _provider(props: dict[str, Value]) -> Iterator[Finding]:
    """The docker provider: its engine over TCP needs certificates on both sides."""
    host = member(props, "host")
    if not isinstance(host, str) or not host.strip() or re.match(r"\s*(?:unix|npipe|fd|ssh):", host, re.IGNORECASE):
        return
    materials = [member(props, name) for name in ("caMaterial", "certMaterial", "keyMaterial")]
    if member(props, "certPath") in (None, "") and any(material in (None, "") for material in materials):
        yield Finding(
            path=("host",),
            problem="is an engine's API over TCP without TLS: who reaches the port is root on that host",
            remedy="Use ssh://, or give certPath or the three materials",
        )


def _published(resource: Resource) -> Iterator[tuple[Path, frozenset[int]]]:
    """Every published port of a container or of a Swarm service: where, and the numbers on both sides."""
    for entry in resource.entries:
        if entry.key != "ports" or isinstance(entry.value, list) or entry.within & _TEXTS:
            continue
        sides = entry.value.values() if isinstance(entry.value, dict) else [entry.value]
        numbers = " ".join(f"{one:.0f}" if isinstance(one, float) else str(one) for one in sides)
        yield entry.path, frozenset(int(number) for number in re.findall(r"(?<![\d.])\d{1,5}(?![\d.])", numbers))


def _words(resource: Resource) -> Iterator[Entry]:
    """The texts of entry point and arguments, health checks aside."""
    for entry in resource.entries:
        if entry.key in ARGUMENTS - {"test", "tests"} and isinstance(entry.value, str):
            yield entry


def _line(resource: Resource) -> str:
    """Entry point and arguments as one line, without quotes."""
    words = sorted(_words(resource), key=lambda entry: not entry.key.startswith("entrypoint"))
    return " " + re.sub(r"[\"'`]", "", " ".join(str(entry.value) for entry in words))


def _daemon(resource: Resource) -> bool:
    return _DAEMON.search(_line(resource)) is not None


def _judge_address(resource: Resource, _config: Config) -> Iterator[Finding]:
    remedy = "Take it out; the consumer of a socket proxy is named by an exception"
    problem = "gives it the address of an engine's API"
    serves, proxy = _daemon(resource), _is_proxy(resource)
    told: list[Path] = []
    for setting in settings(resource):
        host = _HOST_NAME.fullmatch(setting.name) and setting.value and not _LOCAL.match(setting.value)
        if host or (_URL_NAME.fullmatch(setting.name) and _REMOTE.search(setting.value)):
            told.append(setting.path)
            yield Finding(path=setting.path, problem=problem, remedy=remedy, note=setting.note)
    for entry in resource.entries:
        argument = bool(entry.within & ARGUMENTS) and not entry.within & ENVIRONMENT
        if not isinstance(entry.value, str) or not (argument or entry.within & ENVIRONMENT) or (argument and serves):
            continue
        found = list(_ADDRESS.finditer(re.sub(r"[\"'`]", "", unquote(entry.value))))
        own = proxy and all(re.fullmatch(_LOOPBACK, one["host"] or one["bare"] or "", re.IGNORECASE) for one in found)
        if found and not own:
            note = safe_name(proxies.pair(entry, entry.value)[0]) if entry.within & ENVIRONMENT else ""
            told.append(entry.path)
            yield Finding(path=entry.path, problem=problem, remedy=remedy, note=note or "")
    for entry in resource.entries:
        if serves or entry.key not in ARGUMENTS or not (entry.holder or isinstance(entry.value, list)):
            continue
        # What was said of an argument is not said of the line.
        if any(path[: len(entry.path)] == entry.path for path in told):
            continue
        words = entry.value if isinstance(entry.value, list) else [entry.value]
        if _CLIENT.search(re.sub(r"[\"'`]", "", " ".join(word for word in words if isinstance(word, str)))):
            yield Finding(path=entry.path, problem=problem, remedy=remedy)


# ---- socket proxies ----

_NETWORKS: Final = frozenset({"networksadvanced", "networksadvanceds", "networks"})


def _is_proxy(resource: Resource) -> bool:
    """Whether a container or service binds an engine's socket, or its image is called a socket proxy."""
    if resource.kind not in ("Container", "Service"):
        return False
    for entry in resource.entries:
        if not isinstance(entry.value, str):
            continue
        if entry.key == "image" and proxies.known_proxy(entry.value):
            return True
        if not entry.within & _TEXTS and _reach_of(entry, entry.value) is Reach.SOCKET:
            return True
    return False


def _judge_grants(resource: Resource, _config: Config) -> Iterator[Finding]:
    found = list(proxies.label_grants(resource))
    if _is_proxy(resource):
        found += proxies.grants(resource)
    for path, problem, option in found:
        yield Finding(
            path=path,
            problem=problem,
            remedy="Name each path that its consumer reads, and no method but GET and HEAD",
            note=(safe_name(option.name) or "") if path[-1] != option.name else "",
            value="start" if proxies.starts_one(option) else "",
        )


def _judge_reachable(resource: Resource, _config: Config) -> Iterator[Finding]:
    if not _is_proxy(resource):
        return
    remedy = "Give it one internal network, which it shares with its consumer alone"
    for entry in resource.entries:
        value = entry.value
        if entry.within & _TEXTS:
            continue
        if entry.key == "ports" and (isinstance(entry.path[-1], int) or isinstance(value, dict | str)):
            yield Finding(path=entry.path, problem="publishes a port of a socket proxy", remedy=remedy)
        elif entry.key == "publishallports" and value is True:
            yield Finding(path=entry.path, problem="publishes every port of a socket proxy", remedy=remedy)
        elif entry.key == "networkmode" and isinstance(value, str):
            mode = value.strip().casefold()
            if mode == "host" or mode.startswith(("container:", "service:")):
                yield Finding(
                    path=entry.path, problem="puts a socket proxy into a network that is not its own", remedy=remedy
                )
    for path, name in _attachments(resource):
        if isinstance(name, str) and name.strip().casefold() == "host":
            yield Finding(path=path, problem="puts a socket proxy into the host's network", remedy=remedy)
    for option in proxies.options(resource):
        if problem := _opens(re.sub("^sp", "", option.key), option.value):
            yield Finding(path=option.path, problem=problem, remedy=remedy, note=safe_name(option.name) or "")


def _opens(key: str, value: str | None) -> str:
    """What is wrong with an option of wollomatic's proxy about who may come."""
    if key == "allowfrom" and value is not None:
        network = re.fullmatch(r".*/(\d+)", value)
        wide = network and int(network[1]) < (128 if ":" in value else 32)
        if wide or "," in value or value.strip() in ("", "*", "0.0.0.0", "::"):
            return "lets more than one consumer in"
    if key == "proxycontainername" and value != "":
        return "leaves what may pass to labels of other containers"
    if key == "proxysocketendpoint" and value != "":
        return "offers the proxy as a file, which any container with that volume can use"
    return ""


def _judge_consumers(stack: Stack, _config: Config) -> Iterator[Finding]:
    runners = [
        one for one in stack.resources if one.type.startswith("docker:") and one.kind in ("Container", "Service")
    ]
    names = _network_names(stack)
    networks = {id(one): _networks(one, names) for one in runners}
    whole = all(known for _, known in networks.values())
    remedy = "Give each consumer a proxy and an internal network of its own"
    for proxy in filter(_is_proxy, runners):
        own, known = networks[id(proxy)]
        path = ("taskSpec", "networksAdvanceds") if proxy.kind == "Service" else ("networksAdvanced",)
        mode = member(proxy.props, "networkMode")
        if not own:
            if known and mode not in ("none", UNKNOWN):
                problem = "puts a socket proxy on the default network, which every container may be on"
                yield Finding(path=path, problem=problem, remedy=remedy, resource=proxy)
            continue
        others = [one for one in runners if one is not proxy and (networks[id(one)][0] & own or _rides(one, proxy))]
        if len(others) > 1:
            problem = "puts a socket proxy on networks with more than one other container"
            yield Finding(path=path, problem=problem, remedy=remedy, resource=proxy)
        elif not others and whole:
            problem = "puts a socket proxy on networks without a consumer"
            yield Finding(path=path, problem=problem, remedy="Take it out, or give it its consumer", resource=proxy)


def _network_names(stack: Stack) -> dict[str, str]:
    """Networks by what they can be called: name and id."""
    found: dict[str, str] = {}
    for network in stack.of("Network"):
        name = member(network.props, "name")
        for other in (name, member(network.props, "id")):
            if isinstance(name, str) and isinstance(other, str):
                found[other] = name
    return found


def _attachments(resource: Resource) -> Iterator[tuple[Path, Value]]:
    """The networks that a container or service is put on: where, and the name."""
    for entry in resource.entries:
        if entry.key not in _NETWORKS or isinstance(entry.value, list) or entry.within & _TEXTS:
            continue
        if isinstance(entry.value, dict):
            yield (*entry.path, "name"), member(entry.value, "name")
        elif entry.value is not None:
            yield entry.path, entry.value


def _networks(resource: Resource, names: dict[str, str]) -> tuple[frozenset[str], bool]:
    """The networks a container or service is on, and whether that is all of them."""
    given = [name for _, name in _attachments(resource)]
    mode = member(resource.props, "networkMode")
    if mode is UNKNOWN or (isinstance(mode, str) and mode in names):
        given.append(mode)
    return frozenset(names.get(one, one) for one in given if isinstance(one, str)), UNKNOWN not in given


def _rides(resource: Resource, host: Resource) -> bool:
    """Whether a container lives in the network namespace of another."""
    mode = member(resource.props, "networkMode")
    callings = [member(host.props, name) for name in ("name", "id")]
    return isinstance(mode, str) and mode in {f"container:{one}" for one in callings if isinstance(one, str)}


RULES: Final = (
    Rule(
        name="no-engine-socket",
        description=(
            "No container reaches a container engine's socket, nor a directory that holds one: "
            "who can write to it is root on the host. A socket proxy has it by a named exception, read-only."
        ),
        remediation=(
            "Remove the bind, mount or volume. What needs the engine's API asks a socket proxy that lets only the "
            "needed calls pass. The proxy binds the socket file itself, read-only, and has an exception in "
            "policies/config.yaml with a reason and a day of review."
        ),
        severity=Severity.CRITICAL,
        judge=_judge,
        benchmarks=("CIS 5.6", "CIS 5.32", "OWASP 1"),
    ),
    Rule(
        name="no-engine-over-tcp",
        description=(
            "No engine's API is reached or offered over TCP without TLS, by the provider, by a daemon in a container "
            "or on a published port: who reaches the port is root on that host."
        ),
        remediation=(
            "Reach a remote engine by `ssh://`, or by TLS with client certificates (`certPath`, or the three "
            "materials). A daemon listens on its socket, or with `--tlsverify`. Port 2375 is never published."
        ),
        severity=Severity.CRITICAL,
        judge=_judge_tcp,
        types=("docker:", "docker-build:", "pulumi:providers:docker"),
        benchmarks=("CIS 2.7", "OWASP 1"),
    ),
    Rule(
        name="no-engine-address",
        description=(
            "No container is told the address of an engine's API (`DOCKER_HOST`, `tcp://…:2375`, a client's `-H`): "
            "only the one consumer of a socket proxy needs it, and that one is named."
        ),
        remediation=(
            "Remove the variable or argument. For the consumer of a socket proxy, add an exception to "
            "policies/config.yaml with a reason and a day of review."
        ),
        severity=Severity.CRITICAL,
        judge=_judge_address,
        benchmarks=("CIS 5.32", "OWASP 1"),
    ),
    Rule(
        name="read-only-socket-proxy",
        description=(
            "A socket proxy lets nothing pass that changes something, nor paths of any kind: with POST or `.*` it is "
            "the socket itself, and by `/containers/…/archive` every container's secrets can be read. An exception "
            "with the value `start` lets it start one container, named in full."
        ),
        remediation=(
            "Allow GET and HEAD of the paths that the consumer needs, each written out, such as "
            "`/v1\\.[0-9]+/containers/json`. What has to change something is not done through a proxy."
        ),
        severity=Severity.CRITICAL,
        judge=_judge_grants,
        benchmarks=("CIS 5.32", "OWASP 1"),
    ),
    Rule(
        name="private-socket-proxy",
        description=(
            "A socket proxy publishes no port, has a network of its own and lets one consumer in: it asks nobody "
            "for a password."
        ),
        remediation=(
            "Take published ports, the host's network and wide `-allowfrom` away; name the one consumer in "
            "`-allowfrom`."
        ),
        severity=Severity.CRITICAL,
        judge=_judge_reachable,
        benchmarks=("CIS 5.9", "CIS 5.10", "CIS 5.32", "OWASP 1", "OWASP 5"),
    ),
    Rule(
        name="one-consumer-per-socket-proxy",
        description=(
            "The networks of a socket proxy hold exactly one other container: what one consumer may read is not for "
            "every neighbour."
        ),
        remediation="Give each consumer of an engine's API its own proxy, on an internal network of the two.",
        severity=Severity.HIGH,
        judge_stack=_judge_consumers,
        benchmarks=("CIS 5.32", "OWASP 1", "OWASP 5"),
    ),
)
