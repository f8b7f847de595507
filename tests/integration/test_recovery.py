"""What goes wrong half-way is healed by the next `up`, and data outlives the stack."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import Final

import pytest

from tests import offers
from tests.integration.edge import ask
from tests.integration.stacks import Stack, not_healthy, succeeded, wait_for
from tests.integration.test_rider import namespace
from tests.integration.test_storage import sh
from tests.integration.test_up import SERVICES, assert_whole, fingerprint

pytestmark = pytest.mark.integration

MARKER: Final = "/data/media/movies/marker.txt"
INTERRUPTED: Final = 130
STOP_LIMIT: Final = 180.0
"""Seconds for an interrupted engine to end: it waits for what it has begun."""


def locks(stack: Stack) -> list[str]:
    """The engine's locks on the stack."""
    folder = stack.state / "backend" / ".pulumi" / "locks"
    return [path.name for path in folder.rglob("*.json") if stack.name in path.parts]


def test_a_killed_engine_is_healed(stack: Stack) -> None:
    """Killed while it makes a container: a stale lock, a pending operation, a container that no state knows."""
    before = str(stack.container("jellyfin").id)
    stack.write({"nexus:jellyfin": {"transcode-mb": 66}})
    command = stack.start("up", "--stack-file", str(stack.file))
    orphan = stack.remade(command, "jellyfin", before)
    engines = command.descendants("pulumi")
    assert len(engines) == 1
    os.kill(engines[0], signal.SIGKILL)
    assert command.wait(60) == 1
    assert "the engine was killed (signal 9)" in command.output
    assert locks(stack), "no stale lock was left, so none is healed"
    state = stack.export()
    assert state.get("pending_operations"), "no pending operation was left, so none is healed"
    resources = state["resources"]
    assert isinstance(resources, list)
    assert orphan not in {item.get("id") for item in resources}, "the container is known, so no orphan is healed"

    healed = stack.up()
    assert "heal: removing container" in healed.output
    assert "heal: the engine that locked the stack" in healed.output
    assert locks(stack) == []
    assert_whole(stack)
    tmpfs = stack.container("jellyfin").attrs["HostConfig"]["Tmpfs"]["/cache/transcodes"]
    assert "size=66m" in tmpfs


def test_containers_that_were_killed_or_stopped_are_healed(stack: Stack) -> None:
    before = fingerprint(stack)
    stack.container("vpn").kill()
    stack.container("sonarr").stop()
    assert sorted(not_healthy(stack.containers()))[-2:] == ["sonarr is exited", "vpn is exited"]
    stack.up()
    assert not_healthy(stack.containers()) == []
    after = fingerprint(stack)
    # The rider's namespace went with the VPN container: it has to have been started anew as well.
    assert {name for name in before if before[name] != after[name]} == {"vpn", "sonarr", "qbittorrent"}
    rider, vpn = stack.container("qbittorrent"), stack.container("vpn")
    assert namespace(rider) == namespace(vpn)
    assert ask(stack, "qbittorrent").status == 200
    succeeded(stack.pulumi("preview", "--refresh", "--expect-no-changes"))


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
def destroyed(stack: Stack) -> Destroyed:
    """Media and app data in the stack, which is then destroyed."""
    stack.write()
    assert sh(stack.container("radarr"), f"echo kept >{MARKER}") == (0, "")
    identity = jellyfin_identity(stack)
    output = stack.destroy().output
    return Destroyed(stack=stack, output=output, left=stack.leftovers(), identity=identity)


def test_destroy_leaves_nothing_but_the_data(destroyed: Destroyed) -> None:
    name = destroyed.stack.physical
    assert destroyed.left == sorted(f"volume {name(volume)}" for volume in offers.KEPT)
    assert name("data") in destroyed.output, "destroy says where the data is"


def test_ctrl_c_in_the_middle_of_up_is_healed_and_the_data_is_found(destroyed: Destroyed) -> None:
    stack = destroyed.stack
    command = stack.start("up", "--stack-file", str(stack.file))

    def some() -> bool:
        assert command.running, f"it ended too early:\n{command.output[-3000:]}"
        return len(stack.containers()) >= 3

    wait_for(some, 240, "the first containers")
    command.interrupt()
    assert command.wait(STOP_LIMIT) == INTERRUPTED
    assert "interrupted: " in command.output
    assert "Traceback" not in command.output
    made = len(stack.containers())
    assert 0 < made < len(SERVICES), f"{made} containers were made, so it was not in the middle"

    stack.up()
    assert_whole(stack)
    assert sh(stack.container("radarr"), f"cat {MARKER}") == (0, "kept")
    assert jellyfin_identity(stack) == destroyed.identity
    # Grafana keeps the password of its first start in its own data.
    password = stack.output("admin-password")
    assert ask(stack, "sonarr", password=password).status == 200
    assert ask(stack, "grafana", "/api/org", password=password).status == 200
