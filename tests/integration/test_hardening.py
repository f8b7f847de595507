"""How every container really runs: from the engine's own inspection, and from the kernel's view of its processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

import pytest
from docker.models.containers import Container

from tests.integration.probes import container_removed, fetch, image_of, probe
from tests.integration.stacks import Stack, service_of, wait_for

pytestmark = pytest.mark.integration

# Written out here and not taken from the program: each line is an exemption that a person agreed to.
CAPABILITIES: Final[Mapping[str, frozenset[str]]] = {
    "vpn": frozenset({"CHOWN", "DAC_OVERRIDE", "NET_ADMIN", "NET_RAW"}),
    "vpn-peer": frozenset({"NET_ADMIN", "NET_RAW"}),
    "cadvisor": frozenset({"DAC_OVERRIDE"}),
    "firewall": frozenset({"NET_ADMIN"}),
}
ROOT_USER: Final = frozenset({"vpn", "vpn-peer", "cadvisor", "firewall"})
WRITABLE_ROOT: Final = frozenset({"vpn"})
HOST_NETWORK: Final = frozenset({"firewall"})
TUN: Final = frozenset({"vpn", "vpn-peer"})
SOCKET_HOLDERS: Final = ("cadvisor-socket-proxy", "guard-socket-proxy")
SOCKETS: Final = tuple(
    PurePosixPath(path) for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock")
)
PUBLISHER: Final = "traefik"

BITS: Final = {"CHOWN": 0, "DAC_OVERRIDE": 1, "SETGID": 6, "SETUID": 7, "NET_ADMIN": 12, "NET_RAW": 13}
"""Numbers from linux/capability.h."""

STATUS: Final = """
import json, os, pathlib
found = []
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit() and int(entry.name) != os.getpid():
        try:
            lines = (entry / "status").read_text().splitlines()
            found.append({key: value.strip() for key, _, value in (line.partition(":") for line in lines)})
        except OSError:
            pass
print(json.dumps(found))
"""


def inspection_flaws(service: str, container: Container) -> Iterator[str]:
    """What a `docker inspect` shows that must not be for that service."""
    host, config = container.attrs["HostConfig"], container.attrs["Config"]
    caps = {cap.removeprefix("CAP_") for cap in host["CapAdd"] or ()}
    checks = {
        "drops not all capabilities": host["CapDrop"] == ["ALL"],
        f"has the capabilities {sorted(caps)}": caps == CAPABILITIES.get(service, frozenset()),
        "may gain privileges": "no-new-privileges:true" in (host["SecurityOpt"] or ()),
        "runs unconfined": not any("unconfined" in option for option in host["SecurityOpt"] or ()),
        "is privileged": host["Privileged"] is False,
        "has a writable root": host["ReadonlyRootfs"] is (service not in WRITABLE_ROOT),
        f"runs as {config['User']!r}": (config["User"] == "0:0") == (service in ROOT_USER)
        and config["User"].partition(":")[0].isdigit(),
        "has no memory limit, or swap": host["Memory"] > 0 and host["Memory"] == host["MemorySwap"],
        "has no CPU limit": host["NanoCpus"] > 0 or host["CpuQuota"] > 0,
        "has no process limit": bool(host["PidsLimit"] and host["PidsLimit"] > 0)
        or any(limit["Name"] == "nproc" and limit["Hard"] > 0 for limit in host["Ulimits"] or ()),
        "keeps logs without bound": host["LogConfig"]["Type"] == "json-file"
        and {"max-file", "max-size"} <= host["LogConfig"]["Config"].keys(),
        "does not come back after a crash": host["RestartPolicy"]["Name"] == "unless-stopped",
        "has no health check": bool((config.get("Healthcheck") or {}).get("Test")),
        f"has the network {host['NetworkMode']}": (host["NetworkMode"] == "host") == (service in HOST_NETWORK),
        "is in a namespace of the host": "host"
        not in (host["PidMode"], host["IpcMode"], host["UTSMode"], host["UsernsMode"]),
        "has devices": [device["PathOnHost"] for device in host["Devices"] or ()]
        == (["/dev/net/tun"] if service in TUN else []),
        "publishes ports": bool(published(container)) == (service == PUBLISHER),
        "is not pinned by digest": str(container.attrs["Image"]).startswith("sha256:"),
    }
    yield from (f"{service} {flaw}" for flaw, fine in checks.items() if not fine)
    for mount in container.attrs["Mounts"]:
        if mount["Destination"] in ("/run/secrets", "/run/config") and mount["RW"]:
            yield f"{service} may write its own {mount['Destination']}"
        if mount["Type"] != "bind":
            continue
        source = PurePosixPath(mount["Source"])
        if mount["RW"]:
            yield f"{service} may write the host's {source}"
        if any(socket.is_relative_to(source) for socket in SOCKETS) and service not in SOCKET_HOLDERS:
            yield f"{service} sees the raw Docker socket through {source}"


def process_flaws(service: str, user: str, processes: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What the kernel says of a container's processes that must not be."""
    allowed = sum(1 << BITS[cap] for cap in CAPABILITIES.get(service, frozenset()))
    for process in processes:
        name = f"{service}: process {process['Name']}"
        if process["NoNewPrivs"] != "1":
            yield f"{name} may gain privileges"
        if process["Seccomp"] != "2":
            yield f"{name} is not under a seccomp filter"
        # A bounding set is what a process could ever have; cAdvisor's health check and its like included.
        for key in ("CapBnd", "CapEff", "CapPrm", "CapInh"):
            if int(process[key], 16) & ~allowed:
                yield f"{name} has {key} {process[key]}"
        if set(process["Uid"].split()) != {user}:
            yield f"{name} runs as {process['Uid'].split()}, not as {user}"


def published(container: Container) -> set[tuple[str, int]]:
    """Host address and port of everything a container publishes."""
    return {
        (binding["HostIp"], int(binding["HostPort"]))
        for bindings in container.attrs["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    }


def processes_of(stack: Stack, container: Container) -> list[dict[str, str]]:
    found = probe(stack, container, STATUS, processes=True)
    assert isinstance(found, list)
    return found


def test_inspection_shows_no_flaw(stack: Stack) -> None:
    containers = stack.containers()
    assert len(containers) > 10
    assert [flaw for item in containers for flaw in inspection_flaws(service_of(item), item)] == []


def test_the_kernel_shows_no_flaw(stack: Stack) -> None:
    flaws: list[str] = []
    for container in stack.containers():
        processes = processes_of(stack, container)
        assert processes, f"{service_of(container)}: no process seen"
        user = container.attrs["Config"]["User"].partition(":")[0]
        flaws += process_flaws(service_of(container), user, processes)
    assert flaws == []


def test_a_soft_container_is_seen(stack: Stack) -> None:
    """The two checks above report what they are there for: on a container that has none of the hardening."""
    soft: Container = stack.client.containers.run(
        image_of(stack),
        entrypoint=["sleep", "60"],
        user="0:0",
        detach=True,
        labels={"nexus.test": stack.name},
        volumes={"/var/run": {"bind": "/host/run", "mode": "rw"}},
    )
    with container_removed(soft):
        soft.reload()
        inspected = "\n".join(inspection_flaws("sonarr", soft))
        for flaw in (
            "drops not all capabilities",
            "may gain privileges",
            "has a writable root",
            "runs as '0:0'",
            "has no memory limit",
            "has no CPU limit",
            "has no process limit",
            "keeps logs without bound",
            "does not come back",
            "has no health check",
            "may write the host's",
            "sees the raw Docker socket",
        ):
            assert flaw in inspected
        kernel = "\n".join(process_flaws("sonarr", "1000", processes_of(stack, soft)))
        for flaw in ("may gain privileges", "has CapBnd", "has CapEff", "not as 1000"):
            assert flaw in kernel


def test_only_the_edge_publishes_and_only_its_two_ports(stack: Stack) -> None:
    found = {service_of(item): published(item) for item in stack.containers() if published(item)}
    assert found == {PUBLISHER: {("127.0.0.1", stack.http_port), ("127.0.0.1", stack.https_port)}}


def test_the_raw_socket_is_in_socket_proxies_alone_and_read_only(stack: Stack) -> None:
    holders = [
        (service_of(item), mount["RW"])
        for role in ("service", "seed")
        for item in stack.containers(role)
        for mount in item.attrs["Mounts"]
        if mount["Type"] == "bind" and PurePosixPath(mount["Source"]).name.endswith("docker.sock")
    ]
    assert holders == [(holder, False) for holder in SOCKET_HOLDERS]


def test_the_socket_proxy_lets_four_calls_through_and_no_more(stack: Stack) -> None:
    cadvisor = stack.container("cadvisor")
    base = "http://cadvisor-socket-proxy:2375"
    own = f"/containers/{cadvisor.id}"
    good = ("/version", "/info", "/containers/json", f"{own}/json")
    bad = (
        "/images/json",
        "/volumes",
        "/secrets",
        "/v1.41/networks",
        f"{own}/logs?stdout=1",
        f"{own}/archive?path=/",
        "/version/../images/json",
        "//images/json",
    )
    allowed = fetch(stack, cadvisor, *(base + path for path in good))
    assert [answer.status for answer in allowed] == [200] * len(good)
    assert str(cadvisor.id) in allowed[2].body
    denied = fetch(stack, cadvisor, *(base + path for path in bad))
    assert [answer.status for answer in denied] == [403] * len(bad)
    posts = fetch(stack, cadvisor, f"{base}/containers/create", f"{base}{own}/stop", f"{base}/info", method="POST")
    assert [answer.status for answer in posts] == [405, 405, 405]
    deletes = fetch(stack, cadvisor, f"{base}{own}", method="DELETE")
    assert [answer.status for answer in deletes] == [405]
    assert cadvisor.id == stack.container("cadvisor").id


def test_seeders_have_ended_and_hold_little(stack: Stack) -> None:
    seeds = stack.containers("seed")
    assert seeds
    for seed in seeds:
        host = seed.attrs["HostConfig"]
        name = f"seed of {service_of(seed)}"
        assert seed.attrs["State"]["Status"] in ("created", "exited"), name
        assert seed.attrs["State"]["ExitCode"] == 0, name
        assert host["NetworkMode"] == "none", name
        assert host["CapDrop"] == ["ALL"], name
        assert {cap.removeprefix("CAP_") for cap in host["CapAdd"] or ()} <= {"CHOWN", "DAC_OVERRIDE", "FOWNER"}, name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["RestartPolicy"]["Name"] in ("", "no"), name


def test_memory_limit_is_the_kernels(stack: Stack) -> None:
    """A limit that the engine shows and the kernel does not have would be none."""
    container = stack.container("prowlarr")

    def limit() -> int | None:
        answer = container.stats(stream=False)
        assert isinstance(answer, dict)
        found: int | None = answer.get("memory_stats", {}).get("limit")
        return found

    assert wait_for(limit, 20, "memory statistics of prowlarr") == container.attrs["HostConfig"]["Memory"]
