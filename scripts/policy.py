"""Checks a stack by the policy pack in seconds: without engine, passphrase, secrets or Docker.

Checked is what the program declares with the settings of the stack file (scripts/declared.py), or, with --preview and
--state, what the engine wrote as JSON; a secret there is a mask or ciphertext, and stays so. The name of the stack,
which decides on the rules for development, is then that in the file.

An exemption whose review is overdue is a failure here and a warning of `up`. One that this stack does not need is
listed, and is no failure: another stack may need it. One that no choice of settings needs fails a test
(tests/policies/test_exemptions.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from policies import config as pack
from policies.rules import RULES
from policies.rules.exemptions import Exemption
from policies.rules.props import UNKNOWN, Value, plain, show
from policies.rules.rule import Resource, Result, Rule, Stack
from policies.validation import Report, validate
from scripts import declared, options, stack
from scripts.console import UserError, elapsed, finish, table
from scripts.paths import find
from scripts.wire import MASK, STACK, masked, parse_urn, tables

SOON: Final = 30
"""Days before the review of an exemption from which on it is pointed out."""

# Nothing is left of the resource after these operations (pkg/resource/deploy/step.go).
_GONE: Final = frozenset({"delete", "delete-replaced", "discard-replaced", "read-discard", "remove-pending-replace"})


def of_preview(text: str, where: str) -> tuple[Stack, int]:
    """The stack in the output of `pulumi preview --json`, and how many unchanged resources that leaves out.

    Raises UserError where it is something else, or the output of a preview that failed.
    """
    tree = _object(text, where)
    steps = tree.get("steps")
    if not isinstance(steps, list):
        hint = "; that is a stack export: use --state" if "deployment" in tree else ""
        raise UserError(f"{where}: is not the output of `pulumi preview --json`: it has no list of steps{hint}")
    for diagnostic in tables(tree.get("diagnostics")):
        if diagnostic.get("severity") == "error":
            raise UserError(f"{where}: is of a preview that failed, so it does not have the whole stack")
    found: dict[str, Resource] = {}
    for step in tables(steps):
        if step.get("op") not in _GONE and isinstance(state := step.get("newState"), dict):
            resource = _resource(state, where)
            found[resource.urn] = resource
    summary = tree.get("changeSummary")
    same = summary.get("same", 0) if isinstance(summary, dict) else 0
    shown = sum(step.get("op") == "same" for step in tables(steps))
    return _stack(found.values(), where), max(0, same - shown) if isinstance(same, int) else 0


def of_state(text: str, where: str) -> Stack:
    """The stack in the output of `pulumi stack export`. Raises UserError where it is something else."""
    tree = _object(text, where)
    deployment = tree.get("deployment")
    if not isinstance(deployment, dict):
        hint = "; that is a preview: use --preview" if "steps" in tree else ""
        raise UserError(f"{where}: is not the output of `pulumi stack export`: it has no deployment{hint}")
    kept = (
        one for one in tables(deployment.get("resources")) if not (one.get("delete") or one.get("pendingReplacement"))
    )
    return _stack((_resource(one, where) for one in kept), where)


def _object(text: str, where: str) -> Mapping[str, object]:
    try:
        tree: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: is not one JSON document: line {error.lineno}: {error.msg}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{where}: is JSON, but not an object")
    return tree


def _stack(resources: Iterable[Resource], where: str) -> Stack:
    found = tuple(resources)
    names = sorted({one.stack for one in found})
    if len(names) != 1:
        raise UserError(
            f"{where}: has {'resources of several stacks' if names else 'no resources: nothing to check'}"
        )
    # The root that the engine makes for itself is no declaration.
    return Stack(name=names[0], resources=tuple(one for one in found if one.type != STACK))


def _resource(state: Mapping[str, object], where: str) -> Resource:
    urn, kind = state.get("urn"), state.get("type")
    try:
        parts = parse_urn(str(urn))
    except ValueError:
        parts = None
    if parts is None or not isinstance(kind, str):
        raise UserError(f"{where}: has a resource without urn and type")
    given = state.get("inputs")
    props = _hidden(plain(masked(given if isinstance(given, dict) else {})))
    sources = state.get("propertyDependencies")
    return Resource(
        type=kind,
        name=parts.name,
        stack=parts.stack,
        props=props,
        urn=str(urn),
        protect=state.get("protect") is True,
        sources={
            key: frozenset(one.rpartition("::")[2] for one in urns if isinstance(one, str))
            for key, urns in (sources if isinstance(sources, dict) else {}).items()
            if isinstance(urns, list)
        },
    )


def _hidden(props: Value) -> dict[str, Value]:
    """`props` with UNKNOWN for a mask where a secret may be: of what is meant to hold secrets, no more can be said.

    Elsewhere the mask stays, and `no-literal-secret` refuses it.
    """
    if not isinstance(props, dict):
        return {}
    return {key: _unknown(value) if key == "uploads" else value for key, value in props.items()}


def _unknown(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _unknown(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_unknown(member) for member in value]
    return UNKNOWN if value == MASK else value


def describe(report: Report, late: Sequence[str], today: date) -> str:
    """The report as text: what is wrong first, then what is let pass, and why."""
    parts = [
        _problems("violations", report.violations),
        _problems("warnings: rules that do not refuse on this stack", report.warnings),
        _exemptions(
            "exemptions in use", ((one.rule, one.exemption, one) for one in report.exempted if one.exemption), today
        ),
        _exemptions(
            "exemptions that this stack does not need", ((rule, one, None) for rule, one in report.unused), today
        ),
        "\n".join(["exemptions to review:", *(f"  {line}" for line in late)]) if late else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _problems(title: str, results: Sequence[Result]) -> str:
    if not results:
        return ""
    by_name = {rule.name: rule for rule in RULES}
    lines = [f"{title}:"]
    for name, group in groupby(sorted(results, key=lambda one: one.rule), key=lambda one: one.rule):
        rule = by_name[name]
        lines.append(f"  {name} (severity {rule.severity.value}, {rule.url})")
        lines += [f"    {_kind(one)}{one.message}" for one in group]
        lines.append(f"    what to do: {rule.remediation}")
    return "\n".join(lines)


def _kind(result: Result) -> str:
    return f"{result.resource.kind} " if result.resource else ""


def _exemptions(title: str, found: Iterable[tuple[str, Exemption, Result | None]], today: date) -> str:
    rows: dict[tuple[str, Exemption], list[str]] = {}
    for rule, one, result in found:
        places = rows.setdefault((rule, one), [])
        if result is not None and (place := show(result.finding.path)) not in places:
            places.append(place)
    if not rows:
        return ""
    cells = [
        [rule, one.resource, _place(one, places), _until(one, today), one.reason]
        for (rule, one), places in rows.items()
    ]
    return f"{title}:\n{table(cells)}"


def _place(one: Exemption, places: Sequence[str]) -> str:
    """Where it was used, else where it would be, and for which value."""
    place = ", ".join(places) or one.only or "-"
    return f"{place}: {one.value}" if one.value else place


def _until(one: Exemption, today: date) -> str:
    left = (one.until - today).days
    soon = "overdue" if left < 0 else f"{left} days left" if left <= SOON else ""
    return f"review by {one.until}" + (f" ({soon})" if soon else "")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def check(target: Stack, left_out: int, today: date) -> int:
    """Checks `target` and prints the report; 1 where a rule refuses or an exemption has to be reviewed. `left_out`
    resources of the stack are not in it.

    Raises UserError for a mistake in the pack's configuration.
    """
    try:
        file = pack.read(pack.FILE)
        settings = pack.configure(file, RULES, target.name)
    except pack.ConfigError as error:
        raise UserError(str(error)) from error
    rules: Sequence[Rule] = RULES
    if left_out:
        rules = [rule for rule in RULES if rule.validate_stack is None]
    report = validate(target, rules, settings)
    late = tuple(pack.late(file, today))
    if text := describe(report, late, today):
        print(f"{text}\n")
    if left_out:
        print(
            f"{_counted(left_out, 'unchanged resource')} not in this preview, so {len(RULES) - len(rules)} rules "
            "about the whole stack were not run; `pulumi preview --json --show-sames` has every resource"
        )
    used = {(one.rule, one.exemption) for one in report.exempted}
    print(
        f"policy: stack {target.name}: {_counted(report.rules, 'rule')} run, "
        f"{_counted(report.resources, 'resource')} checked: {_counted(len(report.violations), 'violation')}, "
        f"{_counted(len(report.warnings), 'warning')}, {_counted(len(used), 'exemption')} in use; {elapsed():.1f} s"
    )
    return 1 if report.violations or late else 0


def _read(file: Path) -> tuple[str, str]:
    """The text of a file, or of stdin for `-`, and what to call it."""
    if file.name == "-":
        return sys.stdin.read(), "stdin"
    try:
        return file.read_text(encoding="utf-8"), str(file)
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not text"
        raise UserError(f"{file}: cannot be read ({problem})") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run policy`."""
    parser = options.parser("policy", __doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--preview",
        type=options.file_argument,
        metavar="FILE",
        help="check the output of `pulumi preview --json` instead; - is stdin",
    )
    source.add_argument(
        "--state",
        type=options.file_argument,
        metavar="FILE",
        help="check the output of `pulumi stack export` instead; - is stdin",
    )
    given = parser.parse_args(arguments)
    left_out = 0
    if given.preview:
        target, left_out = of_preview(*_read(given.preview))
    elif given.state:
        target = of_state(*_read(given.state))
    else:
        paths = find()
        target = declared.of_stack(paths.root, given.stack, stack.peek(paths, given.stack, given.stack_file))
    return check(target, left_out, datetime.now(UTC).date())


if __name__ == "__main__":
    finish(main, "checking changes nothing")
