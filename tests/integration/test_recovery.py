"""What goes wrong half-way is healed by the next `up`, and data outlives the stack. On a stack of its own.

The Docker Engine killed half-way is in test_engine_killed.py, and `destroy` beside another stack in test_ssh.py.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import docker
import pytest

from components.arr import ARRS
from tests.integration.conftest import own
from tests.integration.edge import ask
from tests.integration.stacks import (
    FIRST_UP_LIMIT,
    Stack,
    free_port,
    not_healthy,
    service_of,
    succeeded,
    wait_for,
)
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
def other(client: docker.DockerClient, alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, up."""
    made = Stack(
        name="test3-dev",
        directory=tmp_path_factory.mktemp("recovery"),
        client=client,
        http_port=free_port(47080),
        https_port=free_port(47443),
        pool="172.31.240.0/20",
    )
    with own(made):
        succeeded(made.run("up", "--stack-file", str(made.file), limit=FIRST_UP_LIMIT))
        yield made


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


@dataclass(frozen=True, kw_only=True)
class Destroyed:
    """The stack after `destroy`, and what was known of it before."""

    stack: Stack
    output: str
    left: list[str]
    identity: tuple[str, str]
    """Jellyfin's own id, which it made at its first start, and its name."""


def jellyfin_identity(stack: Stack) -> tuple[str, str]:
    """What clients know the server by: its id lies in its data, its name is its host's."""
    info = json.loads(ask(stack, "jellyfin", "/System/Info/Public").body)
    return str(info["Id"]), str(info["ServerName"])


@pytest.fixture(scope="module")
def destroyed(other: Stack) -> Destroyed:
    """Media and app data in the stack, which is then destroyed."""
    other.write()
    other.up()
    assert sh(other.container("radarr"), f"echo kept >{MARKER}") == (0, "")
    identity = jellyfin_identity(other)
    output = other.destroy().output
    return Destroyed(stack=other, output=output, left=other.leftovers(), identity=identity)


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
