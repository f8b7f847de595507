"""Idle memory of a stack's containers: the working set of each control group, as Kubernetes counts it.

What the engine itself uses (a shim for each container, logs, proxies) is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import docker

from components.names import LABEL_ROLE, LABEL_SERVICE, LABEL_STACK
from scripts.console import UserError, say
from scripts.dockerhost import SERVICE
from tools.bench.figures import Table

MONITORING: Final = (
    "prometheus",
    "alertmanager",
    "grafana",
    "node-exporter",
    "blackbox-exporter",
    "cadvisor",
    "cadvisor-socket-proxy",
)
"""The services that watch the others."""

_MIB: Final = 1024 * 1024
_STEP: Final = 10


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one service holds, in bytes, and whether its image only stands in for the real program."""

    service: str
    bytes: int
    stand_in: bool


def working_set(memory: Mapping[str, object]) -> int:
    """Bytes in use and not given back under pressure: usage less inactive file pages.

    `memory` is `memory_stats` of the Docker API. Raises KeyError where the container does not run.
    """
    usage, stats = memory["usage"], memory["stats"]
    if not isinstance(usage, int) or not isinstance(stats, Mapping):
        raise KeyError("stats")
    # cgroup v1 counts a group's own pages and, in total_…, those of the groups below it too.
    inactive = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return max(0, usage - int(inactive))


def measure(client: docker.DockerClient, stack: str, idle: int) -> tuple[Use, ...]:
    """The memory of each service container of `stack` after `idle` seconds of doing nothing, the largest first.

    Raises UserError where none runs.
    """
    wanted = {"label": [f"{LABEL_STACK}={stack}", f"{LABEL_ROLE}={SERVICE}"]}
    if not client.api.containers(filters=wanted):
        raise UserError(f"no container of stack {stack} runs; run `make up` first")
    for left in range(idle, 0, -_STEP):
        say(f"memory: idling for {left} s more")
        time.sleep(min(_STEP, left))
    found = []
    for entry in client.api.containers(filters=wanted):
        labels = entry["Labels"]
        stats = client.api.stats(entry["Id"], stream=False, one_shot=True)
        found.append(
            Use(
                service=str(labels[LABEL_SERVICE]),
                bytes=working_set(stats["memory_stats"]),
                # A container's labels include its image's.
                stand_in=labels.get("org.nexus-media.lab.kind") == "stand-in",
            )
        )
    return tuple(sorted(found, key=lambda use: (-use.bytes, use.service)))


def memory_table(uses: Sequence[Use]) -> Table:
    """Each service and the sums, in MiB."""
    rows = [(use.service, f"{use.bytes / _MIB:.1f}", "stand-in" if use.stand_in else "real") for use in uses]
    rows += [
        (f"{name}, {len(part)} containers", f"{sum(use.bytes for use in part) / _MIB:.1f}", "")
        for name, part in (
            ("monitoring", [use for use in uses if use.service in MONITORING]),
            ("all", list(uses)),
        )
    ]
    return Table(head=("service", "MiB", "image"), rows=tuple(rows))
