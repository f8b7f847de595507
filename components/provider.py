"""What the Docker provider does with a container's inputs, where that is not what is written."""

from __future__ import annotations

import inspect
from typing import Final

import pulumi_docker as docker

UPDATED: Final = frozenset(
    {
        # Sent to the engine while the container runs (resource_docker_container_funcs.go, Update).
        "memory",
        "memory_swap",
        "restart",
        # The provider's own, which the engine never has.
        "attach",
        "destroy_grace_seconds",
        "logs",
        "must_run",
        "wait",
        "wait_timeout",
    }
)
"""Inputs of a container that the provider can change where it is."""

REPLACING: Final = tuple(sorted(inspect.signature(docker.ContainerArgs).parameters.keys() - UPDATED))
"""All other inputs. The provider takes some of them (tmpfs, init, the fields of mounts and healthcheck, and whatever
comes with its next version) for updates in place and then never sends them to the engine."""


def duration(seconds: int) -> str:
    """Seconds as Go prints a duration (90 is 1m30s): the engine hands health check times back in that form, and
    any other spelling is a diff on every refresh."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"
