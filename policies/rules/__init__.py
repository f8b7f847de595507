"""Every rule of the pack, in one tuple. A family is one file here; a new one is named here."""

from importlib import import_module
from typing import Final

from pulumi_policy import Policy

from policies.rules.rule import Rule

_NAMES: Final = (
    *("closed", "sockets", "secrets", "container", "images", "networks"),
    *("data", "environments", "vpn", "edge", "monitoring", "review"),
)

FAMILIES: Final[dict[str, tuple[Rule, ...]]] = {
    name: import_module(f"policies.rules.{name}").RULES for name in _NAMES
}

RULES: Final[tuple[Rule, ...]] = tuple(rule for rules in FAMILIES.values() for rule in rules)

POLICIES: Final[tuple[Policy, ...]] = tuple(rule.policy() for rule in RULES)

__all__ = ["FAMILIES", "POLICIES", "RULES"]
