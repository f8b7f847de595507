"""Judges a list of resources by every rule in this process: for `make policy` and for tests.

The engine runs the same rules through the SDK. What does not belong here: where the resources come from.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pulumi_policy import EnforcementLevel

from policies.config import PackConfig
from policies.rules.exceptions import PolicyException, exceptions
from policies.rules.rule import Rule, Stack, Verdict


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the rules say of a stack. `seconds` is the time that took."""

    rules: int
    resources: int
    seconds: float
    violations: tuple[Verdict, ...]
    warnings: tuple[Verdict, ...]
    """Violations of rules that only warn on this stack."""
    excused: tuple[Verdict, ...]
    unused: tuple[tuple[str, PolicyException], ...]
    """Exceptions of the configuration that excused nothing here, with their rules' names."""


def judge(stack: Stack, rules: Sequence[Rule], config: PackConfig) -> Report:
    """Every rule on every resource of `stack`."""
    began = time.monotonic()
    violations: list[Verdict] = []
    warnings: list[Verdict] = []
    excused: list[Verdict] = []
    unused: list[tuple[str, PolicyException]] = []
    for rule in rules:
        given = config.rules.get(rule.name, {})
        verdicts = tuple(rule.verdicts(stack, given))
        refused = [verdict for verdict in verdicts if verdict.refused]
        refuses = config.level(rule) is not EnforcementLevel.ADVISORY
        (violations if refuses else warnings).extend(refused)
        excused += [verdict for verdict in verdicts if not verdict.refused]
        used = {verdict.exception for verdict in verdicts}
        unused += [(rule.name, one) for one in exceptions(given) if one not in used]
    return Report(
        rules=len(rules),
        resources=len(stack.resources),
        seconds=time.monotonic() - began,
        violations=tuple(violations),
        warnings=tuple(warnings),
        excused=tuple(excused),
        unused=tuple(unused),
    )
