"""Two stacks after their Docker Engine was killed or shut down: what comes back by itself, and what `up` heals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.integration.edge import ask
from tests.integration.stacks import ROOT, Stack, not_healthy, wait_for
from tests.integration.test_rider import namespace
from tests.integration.test_up import assert_whole

pytestmark = pytest.mark.integration

STOP_LIMIT: Final = 180.0
"""Seconds for `up` to end without its Docker Engine, and for the containers to come back with it."""


@pytest.fixture(scope="module")
def other(second: Stack) -> Stack:
    """The second stack, up."""
    second.write()
    second.up()
    return second


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
    other.remade(command, "jellyfin", before)
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
    assert namespace(rider) == namespace(vpn)
    assert ask(stack, "qbittorrent").status == 200
