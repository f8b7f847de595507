"""Every rule of the pack, in one tuple. A family is one file here; a new one is added to POLICIES."""

from typing import Final

from pulumi_policy import Policy

from policies.rules import secrets, sockets

POLICIES: Final[tuple[Policy, ...]] = (*sockets.POLICIES, *secrets.POLICIES)

__all__ = ["POLICIES"]
