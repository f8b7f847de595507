"""Checks a list of resources by every rule in this process: for `make policy` and for tests.

The engine runs the same rules through the SDK. What does not belong here: where the resources come from.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pulumi_policy import EnforcementLevel

from policies.config import PackConfig
from policies.rules.exemptions import Exemption, exemptions
from policies.rules.rule import Result, Rule, Stack


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the rules say of a stack. `seconds` is the time that took."""

    rules: int
    resources: int
    seconds: float
    violations: tuple[Result, ...]
    warnings: tuple[Result, ...]
    """Violations of rules that only warn on this stack."""
    exempted: tuple[Result, ...]
    unused: tuple[tuple[str, Exemption], ...]
    """Exemptions of the configuration that exempt nothing here, with their rules' names."""


def validate(stack: Stack, rules: Sequence[Rule], config: PackConfig) -> Report:
    """Every rule on every resource of `stack`."""
    began = time.monotonic()
    violations: list[Result] = []
    warnings: list[Result] = []
    exempted: list[Result] = []
    unused: list[tuple[str, Exemption]] = []
    for rule in rules:
        given = config.rules.get(rule.name, {})
        results = tuple(rule.results(stack, given))
        refused = [result for result in results if result.refused]
        refuses = config.level(rule) is not EnforcementLevel.ADVISORY
        (violations if refuses else warnings).extend(refused)
        exempted += [result for result in results if not result.refused]
        used = {result.exemption for result in results}
        unused += [(rule.name, one) for one in exemptions(given) if one not in used]
    return Report(
        rules=len(rules),
        resources=len(stack.resources),
        seconds=time.monotonic() - began,
        violations=tuple(violations),
        warnings=tuple(warnings),
        exempted=tuple(exempted),
        unused=tuple(unused),
    )
