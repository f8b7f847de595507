"""Family `sockets`: every spelling of an engine's socket or address is refused on every road, and nothing else is;
a socket proxy lets little pass, and to one consumer."""

import dataclasses
import time
from collections.abc import Callable

import pytest

from policies.rules import RULES, proxies, secrets, sockets
from policies.rules.props import plain
from policies.rules.rule import Resource, Stack
from policies.rules.sockets import ENGINE_SOCKETS, Reach, reach
from tests.policies import harness
from tests.policies.harness import (
    CONTAINER,
    OUTPUT,
    PLUGIN,
    SECRET,
    SERVICE,
    SIGNATURE,
    UNKNOWN,
    VOLUME,
    Json,
    Props,
    Violation,
    at,
    container,
    positions,
    replaced,
    rules_of,
    service,
    volume,
)

# The two families watch each other; what the others say of the same resource is not the matter here.
OURS = (*sockets.RULES, *secrets.RULES)


def judge(
    props: Props, kind: str = CONTAINER, *, name: str = "sonarr", config: Props | None = None
) -> list[Violation]:
    return harness.judge(props, kind, name=name, config=config, rules=OURS)


def judge_raw(props: Props, kind: str = CONTAINER) -> list[Violation]:
    return harness.judge_raw(props, kind, rules=OURS)


RULE = "no-engine-socket"

SOCKETS = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/var/run/podman/podman.sock",
    "/run/user/1000/podman/podman.sock",
    "/run/user/1000/docker.sock",
    "/var/run/user/0/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/containerd/containerd.sock.ttrpc",
    "/run/docker/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/user/1000/buildkit/buildkitd.sock",
    "/run/balena-engine.sock",
    "/var/snap/docker/common/run/docker.sock",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/home/me/.docker/run/docker.sock",
    "/home/me/.docker/desktop/docker.sock",
    "/Users/me/.colima/default/docker.sock",
    "/srv/elsewhere/docker.sock",
    "/tmp/my-docker-proxy.sock",
    "/var/run/docker.sock.raw",
]
PARENTS = [
    "/",
    "/run",
    "/run/",
    "/var",
    "/var/run",
    "/var/run/",
    "/var/lib",
    "/run/user",
    "/run/user/1000",
    "/run/podman",
    "/run/user/1000/podman",
    "/run/containerd",
    "/run/docker",
    "/run/crio",
    "/home",
    "/home/me",
    "/home/me/.docker",
    "/root",
    "/var/snap",
]
TRICKS = [
    "//var//run/./docker.sock",
    "/var/run/../run/docker.sock",
    "/var/run/docker.sock/",
    "/var/run/docker.sock/.",
    " /var/run/docker.sock ",
    "/VAR/RUN/DOCKER.SOCK",
    "/Var/Run",
    "/./run",
    "//",
    "/.",
    "/..",
    "/../../..",
    "/run/.",
    "/etc/../run",
    "/etc/../etc/../var/run/docker.sock",
    "/srv/media/../../run",
    "/var/lock/..",  # /var/lock is /run/lock
    "/var/lock/../docker.sock",
    "/var/run/..",  # / for the kernel, /var for the daemon
    "/proc/1/root",
    "/proc/1/root/",
    "/proc/1/root/run/docker.sock",
    "/proc/1/root/var/run",
    "/proc/self/root/run/docker.sock",
    "/proc/thread-self/root",
    "/proc/1/task/1/root/run",
    "/proc/1",
    "/proc/self",
    "/proc/self/task/1",
    "/proc/1/cwd",
    "/proc/1/fd/9",
    "/proc/1/map_files",
    "unix:///var/run/docker.sock",
    "unix:/../run/docker.sock",
    "file:///var/run",
    "../../../../var/run",
]
PIPES = [
    r"\\.\pipe\docker_engine",
    r"//./pipe/docker_engine",
    r"\\.\pipe\DOCKER_ENGINE",
    r"\\.\pipe\docker_engine_linux",
    r"\\.\pipe\dockerDesktopLinuxEngine",
    r"\\.\pipe\containerd-containerd",
    r"\\.\pipe\podman-machine-default",
    "npipe:////./pipe/docker_engine",
]
INNOCENT = [
    "/srv/media",
    "/data",
    "/sys",
    "/sys/fs/cgroup",
    "/proc",
    "/proc/1/mounts",
    "/proc/self/mountinfo",
    "/dev/dri",
    "/dev/disk",
    "/etc/localtime",
    "/var/lib/docker",
    "/var/lib/docker/",
    "/var/log",
    "/run/udev",
    "/run/secrets",
    "/run/dbus/system_bus_socket",
    "/run/user/1000/pulse",
    "/run/mysqld/mysqld.sock",
    "/runner",
    "/variable",
    "/home/me/media",
    "/home/me/run/docker.sock.d",
    "/opt/docker",
    "/srv/docker/sonarr",
    "nexus-dev-data",
    "docker",
    "run",
    "var",
]


def _device(path: str) -> Props:
    return {"type": "none", "o": "bind,ro", "device": path}


ROADS: dict[str, Callable[[str], tuple[str, Props]]] = {
    "volumes.hostPath": lambda p: (CONTAINER, container(volumes=[{"hostPath": p, "containerPath": "/x"}])),
    "volumes.host_path": lambda p: (CONTAINER, container(volumes=[{"host_path": p, "container_path": "/x"}])),
    "volumes as a map": lambda p: (CONTAINER, container(volumes={"hostPath": p, "containerPath": "/x"})),
    "volumes as a named map": lambda p: (CONTAINER, container(volumes={"a": {"hostPath": p, "containerPath": "/x"}})),
    "volumes.volumeName": lambda p: (CONTAINER, container(volumes=[{"volumeName": p, "containerPath": "/x"}])),
    "volumes as text": lambda p: (CONTAINER, container(volumes=[f"{p}:/x:ro"])),
    "volumes keyed by path": lambda p: (CONTAINER, container(volumes={p: {"bind": "/x", "mode": "ro"}})),
    "mounts": lambda p: (CONTAINER, container(mounts=[{"type": "bind", "source": p, "target": "/x"}])),
    "mounts, read-only": lambda p: (
        CONTAINER,
        container(mounts=[{"type": "bind", "source": p, "target": "/x", "readOnly": True}]),
    ),
    "mounts, type in capitals": lambda p: (
        CONTAINER,
        container(mounts=[{"type": "BIND", "source": p, "target": "/x"}]),
    ),
    "mounts, type unknown": lambda p: (
        CONTAINER,
        container(mounts=[{"type": UNKNOWN, "source": p, "target": UNKNOWN, "readOnly": UNKNOWN}]),
    ),
    "mounts as a map": lambda p: (CONTAINER, container(mounts={"type": "bind", "source": p, "target": "/x"})),
    "mounts, second": lambda p: (
        CONTAINER,
        container(mounts=[UNKNOWN, {"type": "bind", "source": p, "target": "/x"}, UNKNOWN]),
    ),
    "mounts.volumeOptions": lambda p: (
        CONTAINER,
        container(
            mounts=[
                {
                    "type": "volume",
                    "target": "/x",
                    "volumeOptions": {"driverName": "local", "driverOptions": _device(p)},
                }
            ]
        ),
    ),
    "volume": lambda p: (VOLUME, volume(driverOpts=_device(p))),
    "volume, no type": lambda p: (VOLUME, volume(driverOpts={"o": "rbind", "device": p})),
    "volume, false type": lambda p: (VOLUME, volume(driverOpts={"type": "nfs", "o": "bind", "device": p})),
    "volume, other driver": lambda p: (VOLUME, volume(driver="local-persist", driverOpts={"mountpoint": p})),
    "volume, device in o": lambda p: (VOLUME, volume(driverOpts={"type": "none", "o": f"bind,device={p}"})),
    "volume, overlay": lambda p: (
        VOLUME,
        volume(driverOpts={"type": "overlay", "device": "overlay", "o": f"lowerdir=/srv:{p},upperdir=/a,workdir=/b"}),
    ),
    "service mounts": lambda p: (SERVICE, service(mounts=[{"type": "bind", "source": p, "target": "/x"}])),
    "service volumeOptions": lambda p: (
        SERVICE,
        service(mounts=[{"type": "volume", "target": "/x", "volumeOptions": {"driverOptions": _device(p)}}]),
    ),
    "plugin": lambda p: (PLUGIN, {"name": "x", "grantPermissions": [{"name": "mount", "values": [p]}]}),
    "uploads.source": lambda p: (CONTAINER, container(uploads=[{"file": "/x", "source": p}])),
    "devices": lambda p: (CONTAINER, container(devices=[{"hostPath": p, "containerPath": "/x"}])),
}
# Every path on three roads, and a path of each kind on every road: what a path is does not depend on the road.
_MAIN_ROADS = ["volumes.hostPath", "mounts", "volume"]
_REFUSED = [*SOCKETS, *PARENTS, *TRICKS, *PIPES]
_SAMPLES = [
    "/var/run/docker.sock",
    "/run/user/1000/podman/podman.sock",
    "/",
    "/run/",
    "/var",
    "/etc/../var/RUN",
    PIPES[0],
]
_INNOCENT_SAMPLES = ["/srv/media", "/proc", "/var/lib/docker", "/runner", "nexus-dev-data", "run"]


def _pairs(paths: list[str], samples: list[str]) -> list[tuple[str, str]]:
    pairs = {(path, road): None for path in paths for road in _MAIN_ROADS}
    return list(pairs | {(path, road): None for path in samples for road in ROADS})


@pytest.mark.parametrize(("path", "road"), _pairs(_REFUSED, _SAMPLES))
def test_refused_on_every_road(path: str, road: str) -> None:
    kind, props = ROADS[road](path)
    violations = judge(props, kind)
    assert rules_of(violations) == {RULE}
    assert len(violations) == 1


# A volume's device is looked for from the engine's working directory, the host's root: there `run` is /run.
_DEVICES = {road for road in ROADS if road.startswith("volume, ") or "volumeOptions" in road} | {"volume"}
_FROM_ROOT = {
    (path, road) for path in ("run", "var") for road in _DEVICES - {"volume, other driver", "volume, overlay"}
}


@pytest.mark.parametrize(
    ("path", "road"), [one for one in _pairs(INNOCENT, _INNOCENT_SAMPLES) if one not in _FROM_ROOT]
)
def test_innocent_on_every_road(path: str, road: str) -> None:
    kind, props = ROADS[road](path)
    assert judge(props, kind) == []


@pytest.mark.parametrize(("path", "road"), [*sorted(_FROM_ROOT), (".", "volume"), ("./run/../run", "volume")])
def test_a_relative_device_is_below_the_hosts_root(path: str, road: str) -> None:
    kind, props = ROADS[road](path)
    assert rules_of(judge(props, kind)) == {RULE}


@pytest.mark.parametrize("socket", ENGINE_SOCKETS)
def test_every_known_socket_and_each_directory_above_it(socket: str) -> None:
    path = socket.replace("*", "someone")
    assert reach(path) is Reach.SOCKET
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        assert reach(path) is Reach.PARENT


def test_good_resources_pass() -> None:
    assert judge(container()) == []
    assert judge(volume(), VOLUME) == []
    assert judge(service(), SERVICE) == []


@pytest.mark.parametrize("path", ["nas.local:/", ":/", "192.0.2.1:/var", "nas:/run"])
@pytest.mark.parametrize("kind", ["nfs", "nfs4", "NFS"])
def test_a_path_on_another_host_is_not_this_hosts(kind: str, path: str) -> None:
    assert judge(volume(driverOpts={"type": kind, "o": "addr=192.0.2.1,rw", "device": path}), VOLUME) == []


def test_targets_inside_the_container_are_free() -> None:
    assert judge(container(mounts=[{"type": "volume", "source": "run", "target": "/var/run"}])) == []
    assert judge(container(tmpfs={"/var/run": "", "/run": ""})) == []


def test_any_named_pipe_mount_is_refused() -> None:
    props = container(mounts=[{"type": "npipe", "source": "anything", "target": "x"}])
    assert rules_of(judge(props)) == {RULE}


@pytest.mark.parametrize("origin", ["cadvisor-socket-proxy-container", "0123456789ab", UNKNOWN])
def test_another_containers_mounts_are_refused(origin: str) -> None:
    spellings: list[Json] = [[{"fromContainer": origin}], {"fromContainer": origin}, [{"from_container": origin}]]
    for volumes in spellings:
        assert rules_of(judge(container(volumes=volumes))) == {RULE}


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_other_container_is_fine(nothing: Json) -> None:
    assert judge(container(volumes=[{"fromContainer": nothing, "volumeName": "a", "containerPath": "/a"}])) == []


ADDRESSES = [
    "DOCKER_HOST=unix:///var/run/docker.sock",
    "DOCKER_HOST=unix:///anything/else",
    "DOCKER_HOST= UNIX:///anything/else",
    "DOCKER_HOST=/anything/else",
    "DOCKER_HOST=fd://",
    "DOCKER_HOST=npipe:////./pipe/custom",
    "docker_host=unix:///x.sock",
    "CONTAINER_HOST=unix:///x.sock",
    "CONTAINERD_ADDRESS=/x.sock",
    "WATCH=/var/run/docker.sock",
    "WATCH=unix:///run/podman/podman.sock",
    "WATCH=http+unix://%2Fvar%2Frun%2Fdocker.sock",
    "WATCH=http+unix://%2Fvar%2Frun%2Fdocker.sock/v1.41/info",
    "WATCH=/srv/a:/var/run/docker.sock",
    'WATCH={"socket": "/run/containerd/containerd.sock"}',
    "WATCH=//var//run/./docker.sock",
    r"WATCH=\\.\pipe\docker_engine",
]
INNOCENT_ADDRESSES = [
    "HOME=/",
    "PWD=/run",
    "XDG_RUNTIME_DIR=/run/user/1000",
    "PATH=/usr/bin:/bin:/var/run",
    "DOCKER_CONFIG=/run/docker",
    "PGHOST=/run/postgresql",
    "TZ=Europe/Berlin",
    "EMPTY=",
    "NO_EQUALS",
]


@pytest.mark.parametrize("variable", ADDRESSES)
def test_addresses_in_the_environment(variable: str) -> None:
    name, _, value = variable.partition("=")
    plugin: Props = {"name": "p", "envs": [variable]}
    for props, kind in (
        (container(envs=[variable]), CONTAINER),
        (container(envs=[UNKNOWN, variable, UNKNOWN]), CONTAINER),
        (container(envs={name: value}), CONTAINER),
        (container(envs=[{"name": name, "value": value}]), CONTAINER),
        (service(env={name: value}), SERVICE),
        (plugin, PLUGIN),
    ):
        violations = judge(props, kind)
        assert rules_of(violations) == {RULE}
        assert len(violations) == 1


@pytest.mark.parametrize("variable", INNOCENT_ADDRESSES)
def test_innocent_environment(variable: str) -> None:
    name, _, value = variable.partition("=")
    assert judge(container(envs=[variable])) == []
    assert judge(service(env={name: value}), SERVICE) == []


ARGUMENTS: list[list[Json]] = [
    ["docker", "run", "-v", "/var/run/docker.sock:/s", "x"],
    ["docker", "run", "-v/run:/s", "x"],
    ["docker", "run", "-v=/run:/s", "x"],
    ["docker", "run", "-v", "/:/host:ro", "x"],
    ["docker", "run", "--volume", "/var:/host", "x"],
    ["docker", "run", "--volume=/var/run:/host", "x"],
    ["docker", "run", "--mount", "type=bind,source=/run,target=/x"],
    ["docker", "run", "--mount=type=bind,src=/,dst=/x"],
    ["sh", "-c", "exec docker run -v '/run':/s x"],
    ["sh", "-c", "curl --unix-socket /var/run/docker.sock http://d/info"],
    ["sh", "-c", 'S="/var/run/docker.sock"; exec app $S'],
    ["sh", "-c", "exec app /var/run/dock''er.sock"],
    ["traefik", "--providers.docker.endpoint=unix:///var/run/docker.sock"],
    ["app", "-H", "unix:///run/podman/podman.sock"],
    ["app", UNKNOWN, "--socket", "/run/containerd/containerd.sock"],
    ["app", "--endpoint=npipe:////./pipe/docker_engine"],
    ["app", "//var//run/./docker.sock"],
]
INNOCENT_ARGUMENTS: list[list[Json]] = [
    ["-logtostderr", "-port=8080", "--docker_only=true", "-v", "2"],
    ["--path.procfs=/host/proc", "--path.rootfs=/", "--path.sysfs=/host/sys"],
    [
        "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/docker/.+|run/credentials/.+|sys|var/lib/docker/.+)($|/)"
    ],
    ["-listenip=0.0.0.0", r"-allowGET=/v1\..{1,2}/(version|info|containers/.*|events.*)", "-loglevel=info"],
    ["ls", "-v", "/"],
    ["sh", "-c", "mkdir -p /run/app && ls /var/run && cd / && exec app"],
    ["docker", "run", "-v", "/srv/media:/data", "-v", "named:/x", "x"],
    ["docker", "run", "--mount", "type=volume,source=run,target=/x"],
    ["--configfile=/etc/traefik/traefik.yml"],
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_arguments(arguments: list[Json]) -> None:
    text = " ".join(str(argument) for argument in arguments if argument != UNKNOWN)
    for props, kind in (
        (container(command=arguments), CONTAINER),
        (container(command=text), CONTAINER),
        (container(entrypoints=arguments), CONTAINER),
        (container(healthcheck={"tests": ["CMD", *arguments]}), CONTAINER),
        (service(commands=arguments), SERVICE),
        (service(args=arguments), SERVICE),
    ):
        assert rules_of(judge(props, kind)) == {RULE}


@pytest.mark.parametrize("arguments", INNOCENT_ARGUMENTS, ids=str)
def test_innocent_arguments(arguments: list[Json]) -> None:
    assert judge(container(command=arguments)) == []
    assert judge(container(healthcheck={"tests": ["CMD", *arguments]})) == []


# ---- the one exception ----

PROXY = "cadvisor-socket-proxy-container"
READ_ONLY_SOCKET: Props = {
    "type": "bind",
    "source": "/var/run/docker.sock",
    "target": "/var/run/docker.sock",
    "readOnly": True,
}


def proxy(**changes: Json) -> Props:
    good: Props = {"name": f"nexus-dev-{PROXY}", "volumes": [], "mounts": [READ_ONLY_SOCKET]}
    return container(**(good | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mounts": [READ_ONLY_SOCKET | {"source": "/run/docker.sock"}]},
        {"mounts": [], "volumes": [{"hostPath": "/var/run/docker.sock", "containerPath": "/s", "readOnly": True}]},
        {"command": ["-socketpath=/var/run/docker.sock"]},
        {"envs": ["SP_SOCKETPATH=/var/run/docker.sock"]},
        {"image": UNKNOWN},
        {"image": "wollomatic/socket-proxy:1.13.1"},
        {"image": "docker.io/wollomatic/socket-proxy:1.13.1@sha256:" + "0a" * 32},
        {"image": "localhost:5790/wollomatic/socket-proxy:1.13.1"},
        {"image": "0a" * 32},
    ],
    ids=str,
)
def test_the_proxy_may_have_the_socket_read_only(changes: Props) -> None:
    assert judge(proxy(**changes), name=PROXY) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"mounts": [READ_ONLY_SOCKET | {"source": "/run/podman/podman.sock"}]},
        {"mounts": [READ_ONLY_SOCKET | {"readOnly": False}]},
        {"mounts": [READ_ONLY_SOCKET | {"readOnly": None}]},
        {"mounts": [READ_ONLY_SOCKET | {"readOnly": "true"}]},
        {"mounts": [READ_ONLY_SOCKET | {"readOnly": UNKNOWN}]},
        {"mounts": [{"type": "bind", "source": "/var/run/docker.sock", "target": "/s"}]},
        {"mounts": [READ_ONLY_SOCKET | {"type": UNKNOWN}]},
        {"mounts": [READ_ONLY_SOCKET | {"source": "/var/run"}]},
        {"mounts": [READ_ONLY_SOCKET | {"source": "/run"}]},
        {"mounts": [READ_ONLY_SOCKET | {"source": "/"}]},
        {"mounts": [READ_ONLY_SOCKET | {"source": "/proc/1"}]},
        {"mounts": [READ_ONLY_SOCKET, READ_ONLY_SOCKET | {"source": "/run"}]},
        {"mounts": [READ_ONLY_SOCKET, READ_ONLY_SOCKET | {"readOnly": False}]},
        {"volumes": [{"hostPath": "/var/run/docker.sock", "containerPath": "/s"}]},
        {"volumes": [{"hostPath": "/run", "containerPath": "/run", "readOnly": True}]},
        {"volumes": [{"volumeName": "/var/run/docker.sock", "containerPath": "/s", "readOnly": True}]},
        {"volumes": [{"fromContainer": "other"}]},
        {"volumes": {"/var/run/docker.sock": {"bind": "/s"}}},
        {"command": ["docker", "run", "-v", "/run:/x"]},
        {"uploads": [{"file": "/s", "source": "/var/run/docker.sock"}]},
        {"image": "docker.io/library/busybox:1.37"},
        {"image": "evil.example/wollomatic/socket-proxy-x:1"},
        {"image": "wollomatic/socket-proxy/x"},
    ],
    ids=str,
)
def test_the_proxy_may_have_nothing_more(changes: Props) -> None:
    assert rules_of(judge(proxy(**changes), name=PROXY)) == {RULE}


@pytest.mark.parametrize(
    "name",
    [
        "sonarr",
        "cadvisor-socket-proxy-container-2",
        "my-cadvisor-socket-proxy-container",
        "Cadvisor-Socket-Proxy-Container",
        "",
    ],
)
def test_nobody_else_is_excepted(name: str) -> None:
    assert rules_of(judge(proxy(), name=name)) == {RULE}


def test_a_service_of_that_name_is_not_excepted() -> None:
    assert rules_of(judge(service(mounts=[READ_ONLY_SOCKET]), SERVICE, name=PROXY)) == {RULE}
    assert rules_of(judge(volume(driverOpts=_device("/var/run/docker.sock")), VOLUME, name=PROXY)) == {RULE}


def test_only_the_packs_configuration_makes_an_exception() -> None:
    entry: Props = {"resource": "other", "image": "example/proxy", "reason": "it asks", "until": "2999-01-01"}
    assert judge(proxy(), name="other", config={"exceptions": [entry]}) == []
    assert rules_of(judge(proxy(), name=PROXY, config={"exceptions": [entry]})) == {RULE}
    assert rules_of(judge(proxy(), name=PROXY, config={})) == {RULE}


# ---- unknown and secret values, other resources, messages ----

BAD = container(
    volumes=[{"hostPath": "/run", "containerPath": "/x"}, {"fromContainer": "other"}],
    mounts=[{"type": "bind", "source": "/var/run/docker.sock", "target": "/x"}],
    envs=["A=1", "DOCKER_HOST=unix:///s"],
    command=["app", "--socket=/run/podman/podman.sock"],
)
BAD_PLACES = {
    "volumes[0].hostPath": ("volumes", 0, "hostPath"),
    "volumes[1].fromContainer": ("volumes", 1, "fromContainer"),
    "mounts[0].source": ("mounts", 0, "source"),
    "envs[1]": ("envs", 1),
    "command[1]": ("command", 1),
}


ODD: list[Json] = [None, True, 3.5, "", [], {}, [[]], [None], {"": None}]


def _places(props: Props) -> set[str]:
    return {violation.message.split()[1] for violation in judge(props)}


def test_each_place_is_named_once() -> None:
    assert _places(BAD) == set(BAD_PLACES)
    assert any(v.message.startswith("sonarr: envs[1] (DOCKER_HOST) is a container") for v in judge(BAD))


@pytest.mark.parametrize("unknown", list(positions(BAD)), ids=str)
def test_an_unknown_hides_only_itself(unknown: tuple[str | int, ...]) -> None:
    hidden = {text for text, place in BAD_PLACES.items() if place[: len(unknown)] == unknown}
    # That another container's mounts are taken over is known even where its name is not.
    hidden.discard("volumes[1].fromContainer") if len(unknown) == 3 else None
    assert _places(replaced(BAD, unknown, UNKNOWN)) == set(BAD_PLACES) - hidden


@pytest.mark.parametrize("where", list(positions(BAD)), ids=str)
def test_odd_shapes_never_raise_nor_hide_the_rest(where: tuple[str | int, ...]) -> None:
    hidden = {text for text, place in BAD_PLACES.items() if place[: len(where)] == where}
    for odd in ODD:
        assert _places(replaced(BAD, where, odd)) >= set(BAD_PLACES) - hidden


@pytest.mark.parametrize("wrapper", [SECRET, OUTPUT])
@pytest.mark.parametrize("where", [("mounts",), ("mounts", 0), ("mounts", 0, "source")], ids=str)
def test_a_wrapped_value_is_judged_like_a_plain_one(where: tuple[str | int, ...], wrapper: str) -> None:
    wrapped = replaced(BAD, where, {SIGNATURE: wrapper, "value": at(BAD, where)})
    assert {v.message for v in judge_raw(wrapped)} == {v.message for v in judge_raw(BAD)}
    if wrapper == SECRET:
        assert {v.message for v in judge(wrapped)} == {v.message for v in judge(BAD)}
    # An output without a value is an unknown.
    assert len(judge_raw(replaced(BAD, where, {SIGNATURE: OUTPUT}))) == len(judge_raw(BAD)) - 1


def test_unknown_text_is_unknown_without_the_proxy_too() -> None:
    assert judge_raw(container(mounts=UNKNOWN, volumes=[UNKNOWN], envs=UNKNOWN)) == []


@pytest.mark.parametrize(
    "kind", ["pulumi:providers:docker", "random:index/randomPassword:RandomPassword", "nexus:a:B"]
)
def test_other_resources_are_not_judged(kind: str) -> None:
    assert judge(BAD | {"host": "unix:///var/run/docker.sock"}, kind) == []


# ---- an engine's API over TCP ----

TCP = "no-engine-over-tcp"
ADDRESS = "no-engine-address"
PROVIDER = "pulumi:providers:docker"
CERTIFICATES: Props = {"caMaterial": "ca", "certMaterial": "cert", "keyMaterial": "key"}


@pytest.mark.parametrize(
    "given",
    [
        {"host": "tcp://192.0.2.1:2375"},
        {"host": "tcp://192.0.2.1:2376"},
        {"host": "TCP://192.0.2.1"},
        {"host": " tcp://192.0.2.1:2375 "},
        {"host": "http://192.0.2.1:2375"},
        {"host": "https://192.0.2.1:2376"},
        {"host": "192.0.2.1:2375"},
        {"host": "docker.example.net"},
        {"host": "tcp://192.0.2.1:2376", "certPath": ""},
        {"host": "tcp://192.0.2.1:2376", "certPath": None},
        {"host": "tcp://192.0.2.1:2376", **CERTIFICATES, "keyMaterial": ""},
        {"host": "tcp://192.0.2.1:2376", "caMaterial": "ca"},
    ],
    ids=str,
)
def test_a_provider_over_tcp_needs_tls(given: Props) -> None:
    for kind in (PROVIDER, "pulumi:providers:docker-build"):
        assert rules_of(judge(given, kind)) == {TCP}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": None},
        {"host": ""},
        {"host": UNKNOWN},
        {"host": 5.0},
        {"host": "unix:///var/run/docker.sock"},
        {"host": "npipe:////./pipe/docker_engine"},
        {"host": "ssh://me@media.lan"},
        {"host": "tcp://192.0.2.1:2376", "certPath": "/srv/certificates"},
        {"host": "tcp://192.0.2.1:2376", "certPath": UNKNOWN},
        {"host": "tcp://192.0.2.1:2376", **CERTIFICATES},
        {"host": "tcp://192.0.2.1:2376", "caMaterial": UNKNOWN, "certMaterial": UNKNOWN, "keyMaterial": UNKNOWN},
    ],
    ids=str,
)
def test_a_provider_by_socket_ssh_or_tls_passes(given: Props) -> None:
    assert judge(given, PROVIDER) == []


DAEMONS: list[Props] = [
    {"command": ["dockerd", "-H", "tcp://0.0.0.0:2375"]},
    {"command": ["dockerd", "-H=tcp://0.0.0.0:2376"]},
    {"command": ["dockerd", "--host=tcp://0.0.0.0:2376", "--tls"]},
    {"command": ["dockerd", "--host", "tcp://:2375", "--host", "unix:///srv/x"]},
    {"command": ["dockerd", "-H", "tcp://0.0.0.0:2375", "--tlsverify=false"]},
    {"command": ["sh", "-c", "exec dockerd -H 'tcp://0.0.0.0:2375'"]},
    {"command": "/usr/bin/dockerd -H tcp://0.0.0.0"},
    {"entrypoints": ["dockerd"], "command": ["-H", "tcp://0.0.0.0:2375"]},
    {"entrypoints": ["dockerd-entrypoint.sh"], "command": [UNKNOWN, "--host=tcp://0.0.0.0:2375"]},
    {"command": ["docker", "daemon", "-H", "tcp://0.0.0.0:2375"]},
    {"command": ["podman", "--log-level=info", "system", "service", "-t", "0", "tcp:0.0.0.0:8080"]},
    {"command": ["buildkitd", "--addr", "tcp://0.0.0.0:1234"]},
    {"envs": ["DOCKER_TLS_CERTDIR="]},
    {"envs": {"DOCKER_TLS_CERTDIR": ""}},
    {"uploads": [{"file": "/etc/docker/daemon.json", "content": '{"hosts": ["tcp://0.0.0.0:2375"]}'}]},
    {"uploads": [{"file": "/d.json", "content": '{"hosts": ["unix:///x", "tcp://:2376"], "tlsverify": false}'}]},
]


@pytest.mark.parametrize("changes", DAEMONS, ids=str)
def test_a_daemon_without_tls(changes: Props) -> None:
    assert rules_of(judge(container(**changes))) == {TCP}


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ["dockerd", "-H", "tcp://0.0.0.0:2376", "--tlsverify", "--tlscacert=/certs/ca.pem"]},
        {"command": ["buildkitd", "--addr", "tcp://0.0.0.0:1234", "--tlscacert", "/certs/ca.pem"]},
        {"command": ["dockerd", "--data-root", "/data"]},
        {"envs": ["DOCKER_TLS_CERTDIR=/certs"]},
        {"uploads": [{"file": "/d.json", "content": '{"hosts": ["tcp://:2376"], "tlsverify": true}'}]},
        {"uploads": [{"file": "/d.json", "content": "{not json"}]},
        {"uploads": [{"file": "/d.json", "content": UNKNOWN}]},
        {"uploads": [{"file": "/p.yml", "content": "hosts: [a.example.net]"}]},
    ],
    ids=str,
)
def test_a_daemon_with_tls_passes(changes: Props) -> None:
    assert judge(container(**changes)) == []


PORTS: list[Json] = [
    [{"internal": 2375}],
    [{"internal": 2375.0, "external": 9999.0, "ip": "127.0.0.1"}],
    [{"internal": 9999, "external": 2375}],
    [{"internal": UNKNOWN, "external": "2375"}],
    [UNKNOWN, {"internal": 2375, "external": UNKNOWN}],
    {"internal": 2375},
    ["2375:2375"],
    ["127.0.0.1:2375:80/tcp"],
]


@pytest.mark.parametrize("ports", PORTS, ids=str)
def test_the_port_of_an_engine_is_not_published(ports: Json) -> None:
    # A family of its own judges every published port.
    assert TCP in rules_of(judge(container(ports=ports)))
    assert TCP in rules_of(judge(service() | {"endpointSpec": {"ports": ports}}, SERVICE))


def test_a_port_of_a_swarm_service() -> None:
    props = service() | {"endpointSpec": {"ports": [{"targetPort": 80, "publishedPort": 2375}]}}
    assert TCP in rules_of(judge(props, SERVICE))


@pytest.mark.parametrize(
    "ports", [[{"internal": 12375, "external": 23750}], [UNKNOWN], UNKNOWN, [{"internal": None}]]
)
def test_other_ports_are_not_an_engines(ports: Json) -> None:
    assert TCP not in rules_of(judge(container(ports=ports)))


@pytest.mark.parametrize("argument", ["-p 2375:2375", "--publish=127.0.0.1:2375:80", "-p=2375", "--publish 2375:80"])
def test_the_port_is_not_published_by_a_client(argument: str) -> None:
    assert TCP in rules_of(judge(container(command=["sh", "-c", f"docker run {argument} x"])))


# ---- addresses of an engine's API ----

NETWORK_ADDRESSES = [
    "DOCKER_HOST=tcp://socket-proxy:2375",
    "DOCKER_HOST=tcp://192.0.2.1:2376",
    "DOCKER_HOST=TCP://anything",
    "DOCKER_HOST= tcp://anything:1 ",
    "DOCKER_HOST='tcp://anything:1'",
    "DOCKER_HOST=ssh://me@media.lan",
    "DOCKER_HOST=http://anything:80",
    "DOCKER_HOST=media.lan:2375",
    "DOCKER_HOST=media.lan",
    "docker_host=tcp://anything:1",
    "CONTAINER_HOST=ssh://me@media.lan/run/podman",
    "PODMAN_HOST=tcp://anything:1",
    "BUILDKIT_HOST=tcp://anything:1234",
    "CONTAINERD_ADDRESS=tcp://anything:1",
    "APP__DOCKER__HOST=tcp://anything:1",
    "APP_DOCKER_ENDPOINT=tcp://anything:1",
    "DOCKER_URL=tcp://anything:1",
    "DOCKER=tcp://anything:1",
    "WATCH=tcp://anything:2375",
    "WATCH=tcp://anything:2376/",
    "WATCH=http://anything:2375/v1.51/info",
    "WATCH=https://anything:2376",
    "WATCH=anything:2375",
    "WATCH=192.0.2.1:2375",
    "WATCH=tcp://[fd00::1]:2375",
    "WATCH=a,tcp://anything:2375,b",
    "WATCH=tcp%3A%2F%2Fanything%3A2375",
    'WATCH={"url": "tcp://anything:2375"}',
    "WATCH=http://cadvisor-socket-proxy/containers/json",
    "WATCH=tcp://dockersocketproxy:80",
]


@pytest.mark.parametrize("variable", NETWORK_ADDRESSES)
def test_no_container_is_told_an_engines_address(variable: str) -> None:
    name, _, value = variable.partition("=")
    for props, kind in (
        (container(envs=[variable]), CONTAINER),
        (container(envs=[UNKNOWN, variable, UNKNOWN]), CONTAINER),
        (container(envs={name: value}), CONTAINER),
        (container(envs=[{"name": name, "value": value}]), CONTAINER),
        (service(env={name: value}), SERVICE),
    ):
        violations = judge(props, kind)
        assert rules_of(violations) == {ADDRESS}
        assert len(violations) == 1


CLIENTS: list[list[Json]] = [
    ["app", "--docker=tcp://anything:1"],
    ["app", "--docker", "tcp://anything:1"],
    ["app", "--docker.endpoint=tcp://anything:1"],
    ["traefik", "--providers.docker.endpoint=tcp://anything:1"],
    ["traefik", "--providers.docker.endpoint=http://anything:1"],
    ["app", "tcp://anything:2375"],
    ["app", UNKNOWN, "--target=anything:2375"],
    ["docker", "-H", "tcp://anything:1", "ps"],
    ["docker", "-H=tcp://anything:1", "ps"],
    ["docker", "--host", "ssh://me@anything", "ps"],
    ["docker-compose", "--host=tcp://anything:1", "up"],
    ["podman", "--url", "tcp://anything:1", "ps"],
    ["nerdctl", "context", "create", "x", "--docker", "host=tcp://anything:1"],
    ["sh", "-c", "DOCKER_HOST=tcp://anything:1 exec app"],
    ["sh", "-c", "export DOCKER_HOST='tcp://anything:1'; exec app"],
    ["sh", "-c", "exec docker -H 'tcp://anything:1' events"],
    ["sh", "-c", "curl http://anything:2375/containers/json"],
    ["sh", "-c", "wget -qO- http://socket-proxy/version"],
]


@pytest.mark.parametrize("arguments", CLIENTS, ids=str)
def test_no_argument_is_an_engines_address(arguments: list[Json]) -> None:
    text = " ".join(str(argument) for argument in arguments if argument != UNKNOWN)
    for props, kind in (
        (container(command=arguments), CONTAINER),
        (container(command=text), CONTAINER),
        (container(entrypoints=arguments), CONTAINER),
        (service(commands=arguments), SERVICE),
        (service(args=arguments), SERVICE),
    ):
        assert rules_of(judge(props, kind)) == {ADDRESS}


def test_an_address_in_a_health_check_or_a_file() -> None:
    tests: list[Json] = ["CMD", "curl", "http://anything:2375/_ping"]
    assert rules_of(judge(container(healthcheck={"tests": tests}))) == {ADDRESS}
    content = "providers: {docker: {endpoint: 'tcp://anything:1'}}"
    uploads: Json = [{"file": "/run/config/traefik.yml", "content": content}]
    assert rules_of(judge(container(uploads=uploads))) == {ADDRESS}


@pytest.mark.parametrize(
    "variable",
    [
        "DOCKER_HOST=",
        "DOCKER_CONFIG=/run/docker",
        "DOCKER_REGISTRY_URL=https://registry.example.net",
        "DOCKER_MIRROR=https://mirror.example.net:5000",
        "DOCKER_URL=https://www.docker.com",
        "DOCKER_API_VERSION=1.51",
        "DOCKER_HOSTNAME=media.lan",
        "DOCKER_MODS=linuxserver/mods:x",
        "HOST=media.lan",
        "PORT=2375",
        "RANGE=2375:2376",
        "URL=http://media.lan:23750/",
        "URL=tcp://media.lan:12375",
        "PROXY=http://proxy.lan:3128",
        "FORWARDED_BY=reverse-proxy:8080",
        "IMAGE=docker.io/wollomatic/socket-proxy:1.13.1",
    ],
)
def test_innocent_addresses(variable: str) -> None:
    name, _, value = variable.partition("=")
    assert judge(container(envs=[variable])) == []
    assert judge(service(env={name: value}), SERVICE) == []


CADVISOR = "cadvisor-container"
CONSUMER: list[Json] = ["-logtostderr", "--docker=tcp://cadvisor-socket-proxy:2375"]


def test_the_named_consumer_of_a_proxy() -> None:
    assert judge(container(command=CONSUMER), name=CADVISOR) == []
    image = "registry.lan:5000/google/cadvisor:v0.60.6"
    assert judge(container(command=CONSUMER, image="ghcr.io/google/cadvisor:v0.60.6"), name=CADVISOR) == []
    assert judge(container(command=CONSUMER, image=image), name=CADVISOR) == []
    assert rules_of(judge(container(command=CONSUMER))) == {ADDRESS}
    assert rules_of(judge(container(command=CONSUMER, image="busybox:1.37"), name=CADVISOR)) == {ADDRESS}
    assert rules_of(judge(container(entrypoints=CONSUMER), name=CADVISOR)) == {ADDRESS}
    assert rules_of(judge(container(envs=["DOCKER_HOST=tcp://x:2375"]), name=CADVISOR)) == {ADDRESS}


# ---- what a proxy lets pass ----

GRANTS = "read-only-socket-proxy"
REACHABLE = "private-socket-proxy"
CONSUMERS = "one-consumer-per-socket-proxy"
PATHS = r"(/v1\.[0-9]+)?/(_ping|version|info|containers/json|containers/[0-9a-f]{64}/json)"


def proxied(**changes: Json) -> set[str]:
    """The rules that object to the platform's own proxy, changed."""
    command: list[Json] = ["-listenip=0.0.0.0", "-allowfrom=cadvisor", f"-allowGET={PATHS}", "-allowHEAD=/_ping"]
    good: Props = {"command": [*command, "-allowhealthcheck", "-loglevel=info"]}
    return rules_of(judge(proxy(**(good | changes)), name=PROXY))


def test_the_platforms_proxy_passes() -> None:
    assert proxied() == set()


VERBS = ["POST", "PUT", "PATCH", "DELETE", "CONNECT"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_proxy_lets_nothing_pass_that_writes(verb: str) -> None:
    rows: list[Props] = [
        {"command": [f"-allow{verb}=/containers/.*/start"]},
        {"command": [f"--allow{verb}=/x"]},
        {"command": [f"-allow{verb}", "/x"]},
        {"command": [f"-allow{verb}", UNKNOWN]},
        {"command": [UNKNOWN, f"-allow{verb.lower()}=/x"]},
        {"command": [f"-allow{verb}='/x'"]},
        {"command": f"/socket-proxy -allow{verb}=/x"},
        {"command": ["sh", "-c", f"exec socket-proxy -allow{verb} /x"]},
        {"entrypoints": ["/socket-proxy", f"-allow{verb}=/x"]},
        {"envs": [f"SP_ALLOW_{verb}=/x"]},
        {"envs": [f"sp_allow_{verb.lower()}=/x"]},
        {"envs": [f'SP_ALLOW_{verb}="/x"']},
        {"envs": {f"SP_ALLOW_{verb}": "/x"}},
        {"envs": [f"SP_ALLOW_{verb}_2=/x"]},
    ]
    for row in rows:
        assert proxied(**row) == {GRANTS}, row
    assert proxied(command=[f"-allow{verb}="]) == set()
    label = f"socket-proxy.allow.{verb.lower()}"
    labels: list[Json] = [[{"label": label, "value": "/x"}], {label: "/x"}, [f"{label}.1=/x"]]
    for given in labels:
        assert rules_of(judge(container(labels=given))) == {GRANTS}, given


@pytest.mark.parametrize(
    ("option", "passes"),
    [
        ("-allowPOST=/containers/nexus-dev-qbittorrent/start", True),
        (r"-allowPOST=/containers/nexus-a\.b-qbittorrent/start", True),
        ("-allowPOST=/containers/nexus-dev-qbittorrent/(start|restart)", False),
        ("-allowPOST=/containers/nexus-dev-qbittorrent/restart", False),
        ("-allowPOST=/containers/.*/start", False),
        ("-allowPOST=/containers/nexus.dev/start", False),
        # A start could bring a new HostConfig along there.
        (r"-allowPOST=/v1\.[0-9]+/containers/nexus-dev-qbittorrent/start", False),
        ("-allowPUT=/containers/nexus-dev-qbittorrent/start", False),
        ("-allowPOST=/containers/create", False),
    ],
)
def test_the_guards_proxy_may_start_one_container(option: str, passes: bool) -> None:
    guard = "guard-socket-proxy-container"
    assert (rules_of(judge(proxy(command=[option]), name=guard)) == set()) is passes
    assert rules_of(judge(proxy(command=[option]), name=PROXY)) == {GRANTS}


@pytest.mark.parametrize(
    "variable",
    [
        "POST=1",
        "POST=true",
        "POST=yes",
        "post=1",
        "ALLOW_START=1",
        "ALLOW_STOP=1",
        "ALLOW_RESTARTS=1",
        "ALLOW_PAUSE=on",
        "EXEC=1",
        "SECRETS=1",
        "AUTH=1",
        "BUILD=1",
        "COMMIT=1",
        "SESSION=1",
        "GRPC=1",
        "SWARM=1",
    ],
)
def test_the_switches_of_a_proxy(variable: str) -> None:
    name, _, value = variable.partition("=")
    for changes in ({"envs": ["CONTAINERS=1", variable]}, {"envs": {name: value}}):
        assert proxied(**changes, command=None) == {GRANTS}
    assert rules_of(judge(container(envs=[variable]))) == set()
    for image in (
        "tecnativa/docker-socket-proxy:0.3",
        "ghcr.io/tecnativa/docker-socket-proxy",
        "lscr.io/linuxserver/socket-proxy:3@sha256:" + "0a" * 32,
        "registry.lan:5000/cache/linuxserver/docker-socket-proxy:3",
        "11notes/socket-proxy:2",
        "wollomatic/socket-proxy:1",
    ):
        assert GRANTS in rules_of(judge(container(image=image, envs=[variable]))), image


def test_the_switches_that_are_off() -> None:
    assert proxied(envs=["POST=0", "ALLOW_START=false", "EXEC=", "SECRETS=no", "CONTAINERS=1", "PING=1"]) == set()


WIDE = [
    ".*",
    "/.*",
    ".+",
    "/.+",
    "^/.*$",
    "(.*)",
    "/v1\\..{1,2}/.*",
    "[^x]*",
    "/[\\s\\S]*",
    "/(version|.*)",
    "/version|/info",  # without a group, each half is anchored at one end
    "/v1\\.[0-9]+/containers/.*",
    "/v1\\.[0-9]+/containers/[^/]+/[^/]+",
    "/v1\\..{1,2}/(version|containers/.*|events.*)",
    "/(v1\\..{1,2}/)?containers/[0-9a-f]{64}/(json|archive)",
    "/v1\\.[0-9]+/containers/[0-9a-f]+/export",
    "/v1\\.[0-9]+/images/.*",
    "/v1\\.[0-9]+/secrets.*",
    "/v1\\.[0-9]+/swarm/unlockkey",
    "/v1\\.[0-9]+/[a-z/0-9]*",
    "([a-z/]+)+",
    "(/[a-z]*){1,}",
    "/[[:alpha:]]+(",
    "*",
    "a*a*a*a*a*a*",
    "/" + "a?" * 600,
]


@pytest.mark.parametrize("pattern", WIDE)
def test_a_proxy_lets_no_wide_pattern_pass(pattern: str) -> None:
    began = time.process_time()
    for changes in (
        {"command": [f"-allowGET={pattern}"]},
        {"command": ["-allowGET", pattern]},
        {"command": [f"-allowHEAD={pattern}", f"-allowGET={PATHS}"]},
        {"command": [f"-allowGET={PATHS}", f"-allowGET={pattern}"]},
        {"command": None, "envs": [f"SP_ALLOW_GET={pattern}"]},
        {"command": None, "envs": {"SP_ALLOW_GET_2": pattern}},
    ):
        assert proxied(**changes) == {GRANTS}, changes
    labels: Json = [{"label": "socket-proxy.allow.get", "value": pattern}]
    assert rules_of(judge(container(labels=labels))) == {GRANTS}
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "pattern",
    [
        PATHS,
        "/_ping",
        "/version",
        "/v1\\..{1,2}/(version|info|_ping|events)",
        "/v1\\..{1,2}/(version|containers/json|containers/[^/]+/json|events.*)",
        "/v1\\.[0-9]+/containers/[0-9a-f]{12,64}/(json|stats|logs)",
        "/v1\\.[0-9]+/(networks|volumes|images/json)",
        "",
        UNKNOWN,
    ],
)
def test_a_proxy_may_let_named_paths_pass(pattern: str) -> None:
    assert proxied(command=["-allowGET", pattern]) == set()
    assert proxied(command=None, envs={"SP_ALLOW_GET": pattern}) == set()


def test_what_a_proxys_options_say_on_other_containers() -> None:
    assert judge(container(command=["-allowPOST=.*"], envs=["SP_ALLOW_POST=.*"])) == []


@pytest.mark.parametrize("image", ["wollomatic/socket-proxy:1", "x.lan/my-socketproxy", "a/dockersocket:2@sha256:0a"])
def test_images_that_are_called_a_proxy(image: str) -> None:
    assert proxies.known_proxy(image)


@pytest.mark.parametrize("image", ["busybox", "haproxy:3", "socket-proxy/busybox:1", "0a" * 32, "docker:28"])
def test_images_that_are_not(image: str) -> None:
    assert not proxies.known_proxy(image)


# ---- who may reach it ----


@pytest.mark.parametrize(
    "changes",
    [
        {"ports": [{"internal": 8080}]},
        {"ports": [{"internal": 8080, "external": 8080, "ip": "127.0.0.1"}]},
        {"ports": [UNKNOWN]},
        {"ports": {"internal": 8080}},
        {"ports": ["8080:8080"]},
        {"publishAllPorts": True},
        {"networkMode": "host"},
        {"networkMode": "HOST"},
        {"networkMode": "container:cadvisor"},
        {"networksAdvanced": [{"name": "host"}]},
        {"command": ["-allowfrom=0.0.0.0/0"]},
        {"command": ["-allowfrom", "0.0.0.0/0"]},
        {"command": ["-allowfrom=172.16.0.0/12"]},
        {"command": ["-allowfrom=::/0"]},
        {"command": ["-allowfrom=cadvisor,dozzle"]},
        {"command": ["-allowfrom="]},
        {"command": ["--allowFrom=*"]},
        {"envs": ["SP_ALLOWFROM=10.0.0.0/8"]},
        {"command": ["-proxycontainername=proxy"]},
        {"envs": ["SP_PROXYCONTAINERNAME=proxy"]},
        {"command": ["-proxysocketendpoint=/shared/proxy.file"]},
    ],
    ids=str,
)
def test_a_proxy_is_not_for_everybody(changes: Props) -> None:
    assert REACHABLE in proxied(**changes)
    assert {rule for rule in proxied(**changes) if "socket-proxy" in rule} == {REACHABLE}


@pytest.mark.parametrize(
    "changes",
    [
        {"ports": []},
        {"ports": None},
        {"ports": UNKNOWN},
        {"publishAllPorts": False},
        {"networkMode": "bridge"},
        {"networkMode": UNKNOWN},
        {"command": ["-allowfrom=cadvisor"]},
        {"command": ["-allowfrom=192.0.2.7/32"]},
        {"command": ["-allowfrom", UNKNOWN]},
        {"command": ["-proxycontainername="]},
    ],
    ids=str,
)
def test_a_proxy_for_one(changes: Props) -> None:
    assert REACHABLE not in proxied(**changes)


def test_a_port_of_a_service_that_is_a_proxy() -> None:
    props = service(image="wollomatic/socket-proxy:1") | {"endpointSpec": {"ports": [{"targetPort": 80}]}}
    assert REACHABLE in rules_of(judge(props, SERVICE))
    assert REACHABLE not in rules_of(judge(service(image="wollomatic/socket-proxy:1"), SERVICE))
    assert REACHABLE not in rules_of(judge(container(ports=[{"internal": 8080}])))


def _one(name: str, props: Props, kind: str = CONTAINER) -> Resource:
    data = plain(props)
    assert isinstance(data, dict)
    return Resource(type=kind, name=name, stack="dev", props=data, urn=f"urn:pulumi:dev::nexus::{kind}::{name}")


def _on(*networks: Json) -> Json:
    return [{"name": network} for network in networks]


def consumers(*resources: Resource) -> list[str]:
    """What the stack rule says, by the names of the resources."""
    stack = Stack(name="dev", resources=resources)
    config = harness.pack_config("dev").rules[CONSUMERS]
    rule = next(rule for rule in RULES if rule.name == CONSUMERS)
    verdicts = [verdict for verdict in rule.verdicts(stack, config) if verdict.refused]
    assert all(verdict.resource for verdict in verdicts)
    return [verdict.resource.name for verdict in verdicts if verdict.resource]


GATE = _one("gate", proxy(networksAdvanced=_on("socket")))
READER = _one("reader", container(networksAdvanced=_on("socket", "monitoring")))
OTHER = _one("other", container(networksAdvanced=_on("monitoring")))


def test_one_consumer_passes() -> None:
    assert consumers(GATE, READER, OTHER) == []
    assert consumers(READER, OTHER) == []
    assert consumers() == []


THIRD: list[Resource] = [
    _one("third", container(networksAdvanced=_on("socket"))),
    _one("third", container(networksAdvanced=_on("monitoring", "socket"))),
    _one("third", container(networksAdvanced={"name": "socket"})),
    _one("third", container(networksAdvanced=[UNKNOWN, {"name": "socket", "aliases": UNKNOWN}])),
    _one("third", container(networksAdvanced=_on("0a0a0a"))),
    _one("third", container(networks=["socket"])),
    _one("third", container(networksAdvanced=None, networkMode="socket")),
    _one("third", container(networksAdvanced=None, networkMode=f"container:nexus-dev-{PROXY}")),
    _one("third", {"name": "x", "taskSpec": {"networksAdvanceds": _on("socket")}}, SERVICE),
    _one("third", proxy(networksAdvanced=_on("socket", "x"))),
]
NETWORK = _one("socket", {"name": "socket", "id": "0a0a0a"}, "docker:index/network:Network")


@pytest.mark.parametrize("third", THIRD, ids=lambda one: str(one.props.get("networksAdvanced")))
def test_a_second_consumer_is_refused(third: Resource) -> None:
    assert "gate" in consumers(GATE, READER, OTHER, third, NETWORK)


def test_a_proxy_without_a_network_or_a_consumer_is_refused() -> None:
    assert consumers(GATE, OTHER) == ["gate"]
    assert consumers(_one("gate", proxy(networksAdvanced=None)), READER) == ["gate"]
    assert consumers(_one("gate", proxy(networksAdvanced=[])), READER) == ["gate"]
    assert consumers(_one("gate", proxy(networksAdvanced=_on("socket", "monitoring"))), READER, OTHER) == ["gate"]


def test_unknown_networks() -> None:
    unknown = _one("unknown", container(networksAdvanced=_on(UNKNOWN)))
    assert consumers(GATE, unknown) == []  # it may be the consumer
    assert consumers(GATE, READER, unknown) == []
    assert consumers(GATE, READER, THIRD[0], unknown) == ["gate"]
    unknowns: list[Json] = [UNKNOWN, [UNKNOWN], _on(UNKNOWN)]
    for nothing in unknowns:
        assert consumers(_one("gate", proxy(networksAdvanced=nothing)), READER, OTHER) == []
    silent = dataclasses.replace(GATE, props=GATE.props | {"networksAdvanced": [], "networkMode": "none"})
    assert consumers(silent) == []


PROXY_PROPS: Props = proxy(
    command=["-allowfrom=a,b", "-allowPOST=/x", "-allowGET=.*"],
    envs=["SP_ALLOW_PUT=/x", "DOCKER_HOST=tcp://x:2375"],
    ports=[{"internal": 2375, "external": 2375}],
    networkMode="host",
    labels=[{"label": "socket-proxy.allow.delete", "value": "/x"}],
)


@pytest.mark.parametrize("where", list(positions(PROXY_PROPS)), ids=str)
def test_odd_shapes_never_raise(where: tuple[str | int, ...]) -> None:
    for odd in (*ODD, UNKNOWN):
        changed = replaced(PROXY_PROPS, where, odd)
        judge(changed)
        judge(changed, PROVIDER)
        consumers(_one("gate", changed), READER)
