"""The Docker host that a stack's services stand on, as the program sees it: what is there before the first of them.

What does not belong here: looking at the host (host.py), and the way to its engine (reach.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import pulumi

from components.host import Engine
from components.networks import Networks
from components.service import ImageStore
from components.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Socket:
    """The engine's socket on its own host: where it is, and the numeric group of it as a container sees it."""

    path: PurePosixPath
    gid: int


@dataclass(frozen=True, kw_only=True)
class DockerHost:
    """One Docker host. A second one would be a second of these, with a provider of its own in the options that its
    parts were made with."""

    engine: Engine
    """What the engine says of itself."""
    images: ImageStore
    networks: Networks
    storage: Storage
    socket: Socket
    timezone: str
    """TZ of every service, such as Europe/Berlin."""
    wall: pulumi.Resource | None = None
    """What keeps containers from the host: it is there before any that has the host for a gateway."""
