"""Family `sockets`: every spelling of an engine's socket is refused on every road, and nothing else is."""

from collections.abc import Callable

import pytest

from policies.rules.sockets import ENGINE_SOCKETS, Reach, reach
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
    at,
    container,
    judge,
    judge_raw,
    positions,
    replaced,
    rules_of,
    service,
    volume,
)

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


@pytest.mark.parametrize(("path", "road"), _pairs(INNOCENT, _INNOCENT_SAMPLES))
def test_innocent_on_every_road(path: str, road: str) -> None:
    kind, props = ROADS[road](path)
    assert judge(props, kind) == []


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
    "DOCKER_HOST=tcp://socket-proxy:2375",  # judged by a rule of its own, later
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
    ["-logtostderr", "-port=8080", "--docker=tcp://socket-proxy:2375", "--docker_only=true", "-v", "2"],
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
        {"mounts": [READ_ONLY_SOCKET | {"source": "/run/podman/podman.sock"}]},
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
