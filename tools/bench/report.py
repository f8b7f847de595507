"""The document that `bench --write` leaves: what was measured, on what, how, and the figures of that run.

The only text about figures that is kept in the repository, and no figure in it is typed by hand. What does not belong
here: checking them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench import deploy, figures, memory, preview


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the figures come from, in words that name nobody."""

    cores: int
    memory_gib: float
    docker: str
    storage: str
    cgroup: str
    pulumi: str
    python: str
    load: float
    """The load average of the minute before the run: what else the machine did."""

    def text(self) -> str:
        """One sentence."""
        return (
            f"{self.cores} cores, {self.memory_gib:.0f} GiB of memory, Docker Engine {self.docker} ({self.storage}, "
            f"cgroup v{self.cgroup}), Pulumi {self.pulumi}, Python {self.python}; load average before the run "
            f"{self.load:.1f}"
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """One run of the benchmark; a part that was left out is None."""

    command: str
    date: str
    stack: str
    runs: int
    idle: int
    machine: Machine
    stand_ins: Sequence[str]
    """Services of the stack whose images only stand in for the real programs."""
    previews: preview.Previews | None = None
    deployments: deploy.Deployments | None = None
    uses: Sequence[memory.Use] | None = None


def memory_gib(meminfo: str) -> float:
    """The machine's memory in GiB, from the text of /proc/meminfo. Raises ValueError where it is not there."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 1024 / 1024
    raise ValueError("no MemTotal in /proc/meminfo")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def console(results: Results) -> str:
    """For the terminal: every table under a line that says what it is."""
    blocks = [f"{title}\n{table.text()}" for title, table in tables(results)]
    return "\n\n".join([f"Machine: {results.machine.text()}", *blocks, stand_ins(results)])


def tables(results: Results) -> list[tuple[str, figures.Table]]:
    """The tables of a run with their titles."""
    found: list[tuple[str, figures.Table]] = []
    if one := results.previews:
        title = (
            f"`pulumi preview` of an unchanged stack with {one.resources} resources in {one.components} components"
        )
        found.append((title, figures.compare(one.series, (preview.EMPTY, preview.FLAT))))
    if two := results.deployments:
        made = f"{two.containers} containers, {two.networks} networks and {two.volumes} volumes"
        found.append((f"First `up` of {made}", figures.compare(two.up, (deploy.DIRECT,))))
        found.append((f"`destroy` of {made}", figures.compare(two.down, (deploy.DIRECT,))))
    if results.uses is not None:
        found.append((f"Memory after {results.idle} s of idling", memory.memory_table(results.uses)))
    return found


def stand_ins(results: Results) -> str:
    """What has to be known of the images before any figure is quoted."""
    if not results.stand_ins:
        return "All images are the real programs."
    return (
        f"Stand-ins, not the real programs, ran for: {', '.join(results.stand_ins)}. Their memory and the time until "
        "they are healthy say nothing about the real ones; the ratios compare like with like."
    )


def document(results: Results) -> str:
    """docs/performance.md. Raises ValueError where a part was left out: the document is of one run, or it is not."""
    one, two, uses = results.previews, results.deployments, results.uses
    if one is None or two is None or uses is None:
        raise ValueError("only a run of all parts is written down")
    titled = {title: table.markdown() for title, table in tables(results)}
    (first, previews), (second, up), (third, down), (fourth, used) = titled.items()
    return f"""\
<!-- Written by tools/bench; do not edit. -->
# Performance

Made on {results.date} by

    {results.command}

on {results.machine.text()}. {stand_ins(results)}

All that is compared ran in this one run, in turn (A B C, A B C, …), {results.runs} rounds. Seconds are of the wall
clock. A ratio is the median, over the rounds, of the ratio within a round. On another machine, or on this one with
other things to do, expect other seconds; the ratios move less.

## {first}

{previews}

- {preview.EMPTY}: imports `pulumi`, `pulumi_docker` and `pulumi_random` and declares nothing. The least a preview can
  take with this engine and these SDKs.
- {preview.FLAT}: generated from the stack's state. One statement for each custom resource, by its SDK class, with the
  state's values as literals and its dependencies as `depends_on`; no component, no setting, no look at the host. Its
  state is the stack's, with the URNs rewritten. The run is void if its preview shows a change.
- {preview.OURS}: `pulumi preview` of the stack `{results.stack}`, without and with the policy pack; `make` always
  passes the pack.

The same engine, virtual environment, passphrase and kind of backend for all; each was run once before the clock ran.

## {second}

{up}

## {third}

{down}

Both on a scratch stack in the shape of dev, with ports, networks and a state directory of its own, images pulled
beforehand, at most {two.parallel} operations at a time, as `make` runs it.

- {deploy.OURS}: `pulumi up --skip-preview` on an empty state, and `pulumi destroy --exclude-protected`, both with the
  policy pack, as `make` runs them (`make up` previews before).
- {deploy.DIRECT}: the same volumes, networks, containers, files and order of dependencies straight from Python.
  Each container is configured as `docker inspect` showed NEXUS's; health is asked for once a second, as the provider
  does; containers are stopped with the same grace. What only the engine has (its state, generated secrets, looking
  images up) is left out. The provider waits 2 s before it looks whether a network is there, and before it removes a
  network or a volume (terraform-provider-docker, `resource_docker_network_funcs.go`, `resource_docker_volume.go`);
  the API run does not.

## {fourth}

{used}

The working set of each container's control group: usage less inactive file pages. What the Docker Engine itself uses
for a container is not in it.
"""


def write(path: Path, results: Results) -> None:
    """Writes the document of a run of all parts."""
    path.write_text(document(results), encoding="utf-8")
