"""Family `sockets`: every path to an engine that a container may be given, what may pass, and what a proxy may be."""

from __future__ import annotations

from typing import Final

import pytest

from policies.rules.sockets import RULES, _is_data, exposes_engine
from tests.policies.harness import UNKNOWN, Json, Props, declared_inputs, places

PROVIDER: Final = "pulumi:providers:docker"
PROXY: Final = "guard-socket-proxy-container"


def bind(source: Json, target: Json = "/x", **more: Json) -> Props:
    return {"mounts": [{"type": "bind", "source": source, "target": target, "readOnly": True, **more}]}


def refused(name: str, **changes: Json) -> dict[str, list[str]]:
    return places(declared_inputs(name, **changes), name=name, rules=RULES)


EXPOSING: Final = (
    "/", "//", "/.", "/var", "/var/", "/VAR/Run", "/run", "/run/", "/run/docker.sock", "/var/run/docker.sock",
    "/var/run/../run/", "/var//run/user/1000", "/run/user/1000/podman/podman.sock", "/run/containerd",
    "/var/snap/docker/common/run/docker.sock", "/home/me/.docker/run/docker.sock", "/srv/engine.sock",
    "/srv/docker.socket", "/var/lib/lxd/unix.socket", "//./pipe/docker_engine", "npipe:////./pipe/x", "/run/media",
    "\\\\.\\pipe\\docker_engine", "unix:///srv/x.sock", "../var/run", ".", "..", "run", "~/docker.sock",
    "/srv/../run", "/run/media/me",
)  # fmt: skip
INNOCENT: Final = ("/srv/media", "/home/me/media", "/run/media/me/disk/films", "/mnt/sock", "/media/docker", "/tank")


@pytest.mark.parametrize("path", EXPOSING)
def test_an_engine_is_seen_in(path: str) -> None:
    assert exposes_engine(path)
    assert refused("sonarr-container", **bind(path))["no-engine-socket"] == ["mounts[0].source"]


@pytest.mark.parametrize("path", INNOCENT)
def test_no_engine_is_seen_in(path: str) -> None:
    assert not exposes_engine(path)


@pytest.mark.parametrize(
    ("path", "good"),
    [
        *((path, True) for path in ("/srv/media", "/mnt/a b/c", "/tank", "/home/me/films", "/run/media/me/disk")),
        *(
            (path, False)
            for path in (
                *("/", "/etc", "/etc/x", "/usr/share", "/root", "/home", "/home/me", "/users/me", "/var/lib/docker"),
                *("/srv/../etc", "/srv/", "//srv", "srv", "", "/srv/.ssh", "/home/me/.config/x", "/LIB64/x"),
            )
        ),
    ],
)  # fmt: skip
def test_where_the_data_tree_may_be(path: str, good: bool) -> None:
    assert _is_data(path) is good


@pytest.mark.parametrize(
    "changes",
    [
        bind("/srv/media"),
        bind("/etc", "/data"),
        bind("/sys"),
        bind("/srv/media", "/data/x"),
        bind("/srv/media", type="tmpfs"),
        bind("/srv/media", type=UNKNOWN),
        bind("", type="volume"),
        bind("name", type="bind"),
        bind("srv/media", type="volume"),
        bind("/srv", type="volume"),
    ],
)
def test_a_path_that_no_line_names_is_refused(changes: Props) -> None:
    assert refused("sonarr-container", **changes) == {"no-host-path": ["mounts[0].source"]}


@pytest.mark.parametrize(
    "changes",
    [
        bind("/srv/media", "/data", readOnly=False),
        bind(UNKNOWN),
        bind("nexus-dev-x", type="volume"),
        {"mounts": UNKNOWN},
    ],
)
def test_what_may_be_mounted(changes: Props) -> None:
    assert refused("sonarr-container", **changes) == {}


@pytest.mark.parametrize(
    ("name", "changes", "rule"),
    [
        (PROXY, bind("/var/run/docker.sock"), None),
        (PROXY, bind("/run/user/1000/docker.sock"), None),
        (PROXY, bind("/var/run/docker.sock", readOnly=False), "no-engine-socket"),
        (PROXY, bind("/var/run/../run/docker.sock"), "no-engine-socket"),
        (PROXY, bind("/var/run"), "no-engine-socket"),
        (PROXY, bind("/run/x.sock/y"), "no-engine-socket"),
        (PROXY, bind("/run/podman/podman.sock"), None),
        ("cadvisor-container", bind("/sys"), None),
        ("cadvisor-container", bind("/var/lib/docker/image/overlay2/layerdb"), None),
        ("cadvisor-container", bind("/sys", readOnly=False), "no-host-path"),
        ("cadvisor-container", bind("/etc/image/../../x/image/overlay2/layerdb"), "no-host-path"),
        ("cadvisor-container", bind("/var/lib/docker"), "no-host-path"),
    ],
)
def test_an_exemption_goes_as_far_as_its_line(name: str, changes: Props, rule: str | None) -> None:
    assert refused(name, **changes) == ({rule: ["mounts[0].source"]} if rule else {})


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"envs": ["TZ=UTC", "DOCKER_HOST=x"]}, "envs[1] (DOCKER_HOST)"),
        ({"envs": ["ENGINE=http://proxy:2375"]}, "envs[0] (ENGINE)"),
        ({"command": ["app", "-H=tcp://a"]}, "command[1]"),
        ({"command": ["dockerd", "--host=unix:///run/docker.sock"]}, "command[1]"),
        ({"entrypoints": ["sh", "-c", "curl proxy:2376/v1"]}, "entrypoints[2]"),
        ({"healthcheck": {"tests": ["CMD", "curl", "proxy:2375"]}}, "healthcheck.tests[2]"),
        ({"uploads": [{"file": "/run/config/a", "content": "hosts: [tcp://0.0.0.0:1]"}]}, "uploads[0].content"),
    ],
)
def test_no_container_is_told_where_an_engine_is(changes: Props, place: str) -> None:
    assert refused("sonarr-container", **changes) == {"no-engine-address": [place]}


@pytest.mark.parametrize(
    ("host", "good"),
    [
        *((host, True) for host in ("unix:///var/run/docker.sock", "ssh://me@nas", "", None, UNKNOWN)),
        *(
            (host, False)
            for host in ("tcp://nas:2376", "http://nas", "npipe:////./pipe/docker_engine", "nas:2375", 1)
        ),
    ],
)
def test_the_provider_has_no_port_of_an_engine(host: Json, good: bool) -> None:
    told = places({"host": host} if host is not None else {}, PROVIDER, name="default", rules=RULES)
    assert told == ({} if good else {"no-engine-address": ["host"]})


GOOD: Final = ["-listenip=0.0.0.0", "-allowfrom=guard", "-allowGET=/containers/nexus-dev-qbittorrent/json"]


@pytest.mark.parametrize(
    ("word", "rule", "note"),
    [
        (r"-allowGET=/containers/nexus\.1-dev-qbittorrent/json", None, ""),
        ("-allowPOST=/containers/nexus-dev-qbittorrent/start", None, ""),
        (UNKNOWN, None, ""),
        ("-allowPOST=/containers/.*/start", "read-only-socket-proxy", " (allowPOST)"),
        ("-allowPOST=/containers/a/b-qbittorrent/start", "read-only-socket-proxy", " (allowPOST)"),
        ("-allowGET=/.*", "read-only-socket-proxy", " (allowGET)"),
        ("-allowGET=/containers/a-qbittorrent/json|/.*", "read-only-socket-proxy", " (allowGET)"),
        ("-allowHEAD=/_ping", "read-only-socket-proxy", " (allowHEAD)"),
        ("-allowfrom=0.0.0.0/0", "read-only-socket-proxy", " (allowfrom)"),
        ("-allowfrom=sonarr", "read-only-socket-proxy", " (allowfrom)"),
        ("-loglevel=debug", "read-only-socket-proxy", " (loglevel)"),
        ("-proxysocketendpoint=/x", "read-only-socket-proxy", " (proxysocketendpoint)"),
        ("", "read-only-socket-proxy", ""),
    ],
)
def test_a_proxys_command_is_on_the_list(word: str, rule: str | None, note: str) -> None:
    assert refused(PROXY, command=[*GOOD, word]) == ({rule: [f"command[3]{note}"]} if rule else {})


def test_a_proxy_publishes_nothing_and_runs_nothing_else() -> None:
    told = refused(PROXY, entrypoints=["sh"], ports=[{"internal": 2375.0, "external": 2375.0}])
    assert told == {"read-only-socket-proxy": ["entrypoints", "ports"]}


def test_a_proxy_without_a_line_lets_nothing_pass() -> None:
    image = "docker.io/wollomatic/socket-proxy:1.13.1"
    told = refused("sonarr-container", image=image, command=[*GOOD], entrypoints=None)
    assert told == {"read-only-socket-proxy": ["command[1] (allowfrom)", "command[2] (allowGET)"]}
