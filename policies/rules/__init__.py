"""Every rule of the pack, in one tuple. A family is one file here; a new one is added to FAMILIES."""

from typing import Final

from pulumi_policy import Policy

from policies.rules import (
    closed,
    container,
    data,
    edge,
    environments,
    images,
    monitoring,
    networks,
    review,
    secrets,
    sockets,
    vpn,
)
from policies.rules.rule import Rule

FAMILIES: Final[dict[str, tuple[Rule, ...]]] = {
    "closed": closed.RULES,
    "sockets": sockets.RULES,
    "secrets": secrets.RULES,
    "container": container.RULES,
    "images": images.RULES,
    "networks": networks.RULES,
    "data": data.RULES,
    "environments": environments.RULES,
    "vpn": vpn.RULES,
    "edge": edge.RULES,
    "monitoring": monitoring.RULES,
    "review": review.RULES,
}

RULES: Final[tuple[Rule, ...]] = tuple(rule for rules in FAMILIES.values() for rule in rules)

POLICIES: Final[tuple[Policy, ...]] = tuple(rule.policy() for rule in RULES)

__all__ = ["FAMILIES", "POLICIES", "RULES"]
