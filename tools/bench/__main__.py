"""Measures what NEXUS costs: preview, first up and destroy, and idle memory, beside what they could cost at least.

Everything that is compared runs in one run, in turn, so that the ratios hold on a machine that has other things to
do. No figure is a threshold. The stack itself is not changed; part two has a scratch stack of its own.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import docker

from scripts import dockerhost, images, options, stack
from scripts.console import UserError, elapsed, finish, say
from scripts.engine import CONTAINER, Engine, State, open_stack
from scripts.paths import find
from tools.bench import deploy, memory, preview, report

PARTS: Final = ("preview", "deploy", "memory")
IDLE: Final = 60
"""Seconds that nothing is done before memory is read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run bench`."""
    parser = options.parser("bench", __doc__)
    parser.add_argument("--runs", type=_rounds, default=5, metavar="N", help="rounds of each comparison (default: 5)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part only; may be given more than once")
    parser.add_argument("--write", action="store_true", help="write the figures to docs/performance.md")
    given = parser.parse_args(arguments)
    parts = tuple(given.only or PARTS)
    if given.write and set(parts) != set(PARTS):
        raise UserError("--write is for a run of all parts: leave out --only")
    signal.signal(signal.SIGTERM, _interrupt)
    load = os.getloadavg()[0]
    paths = find()
    if not paths.stack(given.stack).exists() and not given.stack_file:
        raise UserError(f"stack {given.stack} is not up; run `make up STACK={given.stack}` first")
    engine = open_stack(paths, given.stack, given.stack_file)
    client = dockerhost.connect(stack.settings(engine.files).docker)
    if why := unready(engine.state(), dockerhost.look(client, given.stack).containers):
        raise UserError(f"stack {given.stack} {why}; run `make up STACK={given.stack}` first")
    say(f"bench: stack {given.stack}, {', '.join(parts)}, {given.runs} round(s)")
    # Memory first: nothing that the other parts do is in it.
    uses = memory.measure(client, given.stack, IDLE) if "memory" in parts else None
    previews = preview.measure(engine, given.runs) if "preview" in parts else None
    deployments = deploy.measure(engine, given.runs) if "deploy" in parts else None
    results = report.Results(
        command=_command(given),
        date=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        stack=given.stack,
        runs=given.runs,
        idle=IDLE,
        machine=_machine(engine, client, load),
        stand_ins=sorted(images.local_stand_ins(client, given.stack)),
        previews=previews,
        deployments=deployments,
        uses=uses,
    )
    print(f"\n{report.console(results)}\n", flush=True)
    if given.write:
        target = paths.root / "docs" / "performance.md"
        report.write(target, results)
        say(f"bench: written to {target}")
    say(f"bench: done, {elapsed():.0f} seconds in all")
    return 0


def unready(state: State, containers: Sequence[dockerhost.Container]) -> str | None:
    """Why a stack cannot be measured, or None. `containers` are those that the Docker Engine has of it."""
    services = [one for one in containers if one.role == dockerhost.SERVICE]
    if not state.ids(CONTAINER) or not services:
        return "is not up"
    # A state kept elsewhere may be of other containers with the same names.
    if state.ids(CONTAINER) != {one.id for one in containers}:
        return "has other containers on the Docker Engine than its state knows"
    if unwell := [one.name for one in services if not one.well]:
        return f"is not healthy: {', '.join(unwell)}"
    return None


def _machine(engine: Engine, client: docker.DockerClient, load: float) -> report.Machine:
    info = client.info()
    return report.Machine(
        cores=report.cores(),
        memory_gib=report.memory_gib(Path("/proc/meminfo").read_text(encoding="ascii")),
        docker=str(info["ServerVersion"]),
        storage=str(info["Driver"]),
        cgroup=str(info["CgroupVersion"]),
        pulumi=engine.output("version").strip().removeprefix("v"),
        python=platform.python_version(),
        load=load,
    )


def _command(given: argparse.Namespace) -> str:
    """The command line that does the same again."""
    words = ["scripts/run", "bench", "--stack", given.stack, "--runs", str(given.runs)]
    return shlex.join([*words, *(["--write"] if given.write else [])])


def _rounds(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 50:
        raise argparse.ArgumentTypeError("a number from 1 to 50")
    return int(text)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    finish(main, "what the benchmark made is removed; nothing was written")
