"""Physical names and labels of what the program makes on a Docker host, from one place.

Scripts and tests find a stack's containers, networks and volumes by these labels.
"""

from __future__ import annotations

from typing import Final, Literal

import pulumi

LABEL_STACK: Final = "nexus.stack"
LABEL_SERVICE: Final = "nexus.service"
LABEL_ROLE: Final = "nexus.role"
LABEL_SEED: Final = "nexus.seed"
LABEL_OWN: Final = "nexus.own"
"""Of a container: what it has in place of its image's own."""

Role = Literal["service", "seed"]
"""``service``: runs for as long as the stack is up. ``seed``: an init container, which ran once to fill volumes."""


def physical(name: str) -> str:
    """The name on the Docker host of the logical resource `name`: two stacks fit on one host."""
    return f"{pulumi.get_project()}-{pulumi.get_stack()}-{name}"


def labels(service: str, role: Role) -> dict[str, str]:
    """The labels every container of the stack carries."""
    return {LABEL_STACK: pulumi.get_stack(), LABEL_SERVICE: service, LABEL_ROLE: role}
