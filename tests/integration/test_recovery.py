"""What goes wrong half-way is healed by the next `up`, and data outlives the stack. All on the second stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from components.arr import ARRS
from tests.integration.edge import ask
from tests.integration.stacks import ROOT, Stack, not_healthy, service_of, succeeded, wait_for
from tests.integration.test_storage import sh
from tests.integration.test_up import fingerprint
from tests.matrix import TABLE

pytestmark = pytest.mark.integration

MARKER: Final = "/data/media/movies/marker.txt"
INTERRUPTED: Final = 130
SERVICES: Final = {name for row in TABLE for name in row.members} | {"qbittorrent", "firewall"}
"""What runs: the services of the network table, and those without a network of their own."""
STOP_LIMIT: Final = 180.0
"""Seconds for an interrupted engine to end: it waits for what it has begun."""


@pytest.fixture(scope="module")
def other(second: Stack) -> Stack:
    """The second stack, up."""
    second.write()
    second.up()
    return second


def assert_whole(stack: Stack) -> None:
    """Everything healthy, nothing left over, nothing left to change."""
    assert not_healthy(stack.containers()) == []
    assert sorted(map(service_of, stack.containers())) == sorted(SERVICES)
    assert "pending_operations" not in stack.export()
    succeeded(stack.pulumi("preview", "--refresh", "--expect-no-changes"))


def locks(stack: Stack) -> list[str]:
    """The engine's locks on the stack."""
    folder = stack.state / "backend" / ".pulumi" / "locks"
    return [path.name for path in folder.rglob("*.json") if stack.name in path.parts]


def test_a_killed_engine_is_healed(other: Stack) -> None:
    """Killed while it makes a container: a stale lock, a pending operation, a container that no state knows."""
    before = str(other.container("jellyfin").id)
    other.write({"nexus:jellyfin": {"transcode-mb": 66}})
    command = other.start("up", "--stack-file", str(other.file))

    def new_one() -> str | None:
        assert command.running, f"it ended too early:\n{command.output[-3000:]}"
        named = other.client.containers.list(filters={"name": other.physical("jellyfin") + "$"})
        return next((str(item.id) for item in named if item.id != before), None)

    orphan = wait_for(new_one, 120, "the new Jellyfin container")
    engines = command.descendants("pulumi")
    assert len(engines) == 1
    os.kill(engines[0], signal.SIGKILL)
    assert command.wait(60) == 1
    assert "the engine was killed (signal 9)" in command.output
    assert locks(other), "no stale lock was left, so none is healed"
    state = other.export()
    assert state.get("pending_operations"), "no pending operation was left, so none is healed"
    resources = state["resources"]
    assert isinstance(resources, list)
    assert orphan not in {item.get("id") for item in resources}, "the container is known, so no orphan is healed"

    healed = other.up()
    assert "heal: removing container" in healed.output
    assert "heal: the engine that locked the stack" in healed.output
    assert locks(other) == []
    assert_whole(other)
    tmpfs = other.container("jellyfin").attrs["HostConfig"]["Tmpfs"]["/cache/transcodes"]
    assert "size=66m" in tmpfs


def test_containers_that_were_killed_or_stopped_are_healed(other: Stack) -> None:
    before = fingerprint(other)
    other.container("vpn").kill()
    other.container("sonarr").stop()
    assert sorted(not_healthy(other.containers()))[-2:] == ["sonarr is exited", "vpn is exited"]
    other.up()
    assert not_healthy(other.containers()) == []
    after = fingerprint(other)
    # The rider's namespace went with the VPN container: it has to have been started anew as well.
    assert {name for name in before if before[name] != after[name]} == {"vpn", "sonarr", "qbittorrent"}
    rider, vpn = other.container("qbittorrent"), other.container("vpn")
    namespaces = [sh(item, "readlink /proc/self/ns/net") for item in (rider, vpn)]
    assert namespaces[0] == namespaces[1]
    assert ask(other, "qbittorrent").status == 200
    succeeded(other.pulumi("preview", "--refresh", "--expect-no-changes"))


def dockerd() -> int:
    """The process of the Docker Engine, where killing it harms nobody: this project started it, or this is CI."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "nexus"
    pid_file = Path(os.environ.get("NEXUS_STATE") or home) / "dockerd" / "dockerd.pid"
    found = {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (entry / "comm").exists() and (entry / "comm").read_text().strip() == "dockerd"
    }
    ours = {int(pid_file.read_text())} if pid_file.exists() else set()
    if os.environ.get("CI") != "true":
        found &= ours
    if len(found) != 1 and os.environ.get("CI") != "true":
        pytest.skip("the Docker Engine was not started by scripts/docker-engine: it is not the tests' to kill")
    assert len(found) == 1, f"processes named dockerd: {found or 'none'}"
    return found.pop()


def test_a_killed_docker_engine_is_healed(stack: Stack, other: Stack) -> None:
    """Killed while containers are made. Those of both stacks outlive it or are started again, in any order."""
    pid = dockerd()
    before = str(other.container("jellyfin").id)
    other.write({"nexus:jellyfin": {"transcode-mb": 67}})
    command = other.start("up", "--stack-file", str(other.file))

    def new_one() -> bool:
        assert command.running, f"it ended too early:\n{command.output[-3000:]}"
        named = other.client.containers.list(filters={"name": other.physical("jellyfin") + "$"})
        return any(item.id != before for item in named)

    wait_for(new_one, 120, "the new Jellyfin container")
    os.kill(pid, signal.SIGKILL)
    assert command.wait(STOP_LIMIT) == 1
    assert "what was made stays; `make up` goes on from here" in command.output
    assert "Traceback" not in command.output

    # What `make up` begins with; here with the tests' own place for its process number.
    subprocess.run(["scripts/docker-engine"], cwd=ROOT, check=True, timeout=120)
    other.up()
    assert_whole(other)
    assert "size=67m" in other.container("jellyfin").attrs["HostConfig"]["Tmpfs"]["/cache/transcodes"]
    stack.up()
    assert_whole(stack)
    for one in (stack, other):
        assert ask(one, "qbittorrent").status == 200


def power_lost(stack: Stack) -> None:
    """The engine and every container end at once. Where a container outlived it, the engine would stop that one when
    it starts, as if a person had, and leave it so."""
    running = [int(item.attrs["State"]["Pid"]) for item in stack.client.containers.list()]
    for process in (dockerd(), *running):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def shut_down(_stack: Stack) -> None:
    """The engine is told to end, and stops its containers first, as at a reboot."""
    process = dockerd()
    os.kill(process, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{process}").exists(), STOP_LIMIT, "the engine to end")


@pytest.mark.parametrize("trouble", [shut_down, power_lost])
def test_the_downloader_comes_back_by_itself_after_the_docker_engine(
    stack: Stack, trouble: Callable[[Stack], None]
) -> None:
    """The engine starts the containers in any order, the downloader before its VPN container too."""
    trouble(stack)
    subprocess.run(["scripts/docker-engine"], cwd=ROOT, check=True, timeout=120)
    began, said = time.monotonic(), [""]

    def well() -> bool:
        left = ", ".join(not_healthy(stack.containers()))
        if left != said[-1]:
            said.append(left)
            print(f"{time.monotonic() - began:4.0f} s: {left or 'all healthy'}")
        return not left

    wait_for(well, STOP_LIMIT, f"all containers to be healthy by themselves; they were {said}")
    rider, vpn = stack.container("qbittorrent"), stack.container("vpn")
    namespaces = [sh(item, "readlink /proc/self/ns/net") for item in (rider, vpn)]
    assert namespaces[0] == namespaces[1]
    assert ask(stack, "qbittorrent").status == 200


@dataclass(frozen=True, kw_only=True)
class Destroyed:
    """The second stack after `destroy`, and what was known of it and of its neighbour before."""

    stack: Stack
    output: str
    left: list[str]
    identity: tuple[str, str]
    """Jellyfin's own id, which it made at its first start, and its name."""
    neighbour_before: dict[str, tuple[str, str]]
    neighbour_after: dict[str, tuple[str, str]]


def jellyfin_identity(stack: Stack) -> tuple[str, str]:
    """What clients know the server by: its id lies in its data, its name is its host's."""
    info = json.loads(ask(stack, "jellyfin", "/System/Info/Public").body)
    return str(info["Id"]), str(info["ServerName"])


@pytest.fixture(scope="module")
def destroyed(stack: Stack, other: Stack) -> Destroyed:
    """Media and app data in the second stack, which is then destroyed."""
    other.write()
    wait_for(lambda: not not_healthy(other.containers()), STOP_LIMIT, "the second stack to be healthy by itself")
    assert sh(other.container("radarr"), f"echo kept >{MARKER}") == (0, "")
    identity = jellyfin_identity(other)
    before = fingerprint(stack)
    output = other.destroy().output
    return Destroyed(
        stack=other,
        output=output,
        left=other.leftovers(),
        identity=identity,
        neighbour_before=before,
        neighbour_after=fingerprint(stack),
    )


def test_destroy_leaves_nothing_but_the_data(destroyed: Destroyed) -> None:
    name = destroyed.stack.physical
    assert destroyed.left == sorted(
        f"volume {name(volume)}"
        for volume in (
            "data", "jellyfin-config", *(f"{app.name}-config" for app in ARRS), "qbittorrent-config",
            "prometheus-data", "alertmanager-data", "grafana-data",
        )
    )  # fmt: skip
    assert name("data") in destroyed.output, "destroy says where the data is"


def test_destroying_one_stack_leaves_the_other_alone(stack: Stack, destroyed: Destroyed) -> None:
    assert destroyed.neighbour_after == destroyed.neighbour_before
    assert not_healthy(stack.containers()) == []
    assert ask(stack, "jellyfin", "/System/Info/Public").status == 200


def test_ctrl_c_in_the_middle_of_up_is_healed_and_the_data_is_found(destroyed: Destroyed) -> None:
    other = destroyed.stack
    command = other.start("up", "--stack-file", str(other.file))

    def some() -> bool:
        assert command.running, f"it ended too early:\n{command.output[-3000:]}"
        return len(other.containers()) >= 3

    wait_for(some, 240, "the first containers")
    command.interrupt()
    assert command.wait(STOP_LIMIT) == INTERRUPTED
    assert "interrupted: " in command.output
    assert "Traceback" not in command.output
    made = len(other.containers())
    assert 0 < made < len(SERVICES), f"{made} containers were made, so it was not in the middle"

    other.up()
    assert_whole(other)
    assert sh(other.container("radarr"), f"cat {MARKER}") == (0, "kept")
    assert jellyfin_identity(other) == destroyed.identity
    # Grafana keeps the password of its first start in its own data.
    password = other.output("admin-password")
    assert ask(other, "sonarr", password=password).status == 200
    assert ask(other, "grafana", "/api/org", password=password).status == 200
