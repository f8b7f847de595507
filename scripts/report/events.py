"""Reads a preview's events: what `pulumi preview --json` streams with PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true.

Only what a reviewer needs is kept. What does not belong here: how it looks (markdown.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from scripts.console import UserError
from scripts.wire import MASK, SIGNATURE, Json, Table, table

SHOWN: Final = ("replace", "delete", "create", "update", "import", "read-replacement")
"""Operations that are shown; the two halves of a replacement are told by the engine beside it, and are not."""

FAILED: Final = "preview failed"
"""What the engine says last of a preview that anything else ended."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One resource that would change. `diffs` are the property paths with what happens to each: add, update, delete,
    each also with -replace. `old` and `new` are inputs, with secrets as the engine masks them."""

    op: str
    urn: str
    old: Table
    new: Table
    diffs: Mapping[str, str]
    protected: bool

    @property
    def type(self) -> str:
        """The type without those of its parents, such as docker:index/container:Container."""
        return self.urn.split("::")[2].rpartition("$")[2] if self.urn.count("::") >= 3 else ""

    @property
    def kind(self) -> str:
        """The last part of the type, such as Container."""
        return self.type.rpartition(":")[2]

    @property
    def name(self) -> str:
        """The logical name."""
        return self.urn.split("::", 3)[-1]


@dataclass(frozen=True, kw_only=True)
class Violation:
    """What a policy says."""

    rule: str
    resource: str
    message: str
    level: str
    severity: str

    @property
    def refuses(self) -> bool:
        """Whether the engine refuses for it."""
        return self.level == "mandatory"


@dataclass(frozen=True, kw_only=True)
class Remediation:
    """What a policy changes in a resource before the engine makes it: the properties' names."""

    rule: str
    resource: str
    properties: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A whole preview. `counts` are resources by operation; `failed` where it did not end well."""

    changes: tuple[Change, ...] = ()
    violations: tuple[Violation, ...] = ()
    remediations: tuple[Remediation, ...] = ()
    errors: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    failed: bool = False


def read(text: str, where: str) -> Preview:
    """The preview in these lines. Raises UserError with `where` for what are no events."""
    events: list[Table] = []
    # Not splitlines(), which also splits at what JSON may hold as it is, such as U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            raise UserError(
                f"{where}: line {number} is no event; write it with PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true "
                "pulumi preview --json, or by `scripts/run report preview`"
            ) from None
        if isinstance(event, dict):
            events.append(event)
    return _preview(events)


def _preview(events: Iterable[Table]) -> Preview:
    changes: dict[str, Change] = {}
    violations: list[Violation] = []
    remediations: list[Remediation] = []
    errors: list[str] = []
    counts: dict[str, int] = {}
    ended = failed = False
    for event in events:
        if metadata := table(table(event.get("resourcePreEvent")).get("metadata")):
            change = _change(metadata)
            if change.op in SHOWN and change.type != "pulumi:pulumi:Stack":
                changes.setdefault(change.urn, change)
        elif policy := table(event.get("policyEvent")):
            violations.append(_violation(policy))
        elif mended := table(event.get("policyRemediationEvent")):
            remediations.append(_remediation(mended))
        elif diagnostic := table(event.get("diagnosticEvent")):
            if diagnostic.get("severity") == "error":
                errors.append(str(diagnostic.get("message", "")).strip())
        elif "summaryEvent" in event:
            ended = True
            summary = table(event["summaryEvent"])
            failed = summary.get("result") == "failed"
            found = table(summary.get("resourceChanges"))
            counts = {op: number for op, number in found.items() if isinstance(number, int)}
    refused = any(one.refuses for one in violations)
    return Preview(
        changes=tuple(sorted(changes.values(), key=lambda one: (SHOWN.index(one.op), one.name))),
        violations=tuple(dict.fromkeys(violations)),
        remediations=tuple(dict.fromkeys(remediations)),
        errors=tuple(dict.fromkeys(filter(None, errors))),
        counts=counts,
        failed=failed or refused or not ended,
    )


def _change(metadata: Table) -> Change:
    old, new = table(metadata.get("old")), table(metadata.get("new"))
    detailed = table(metadata.get("detailedDiff"))
    diffs = {path: str(table(one).get("diffKind", "update")) for path, one in detailed.items()}
    listed = metadata.get("diffs")
    for path in listed if isinstance(listed, list) and not diffs else []:
        diffs[str(path)] = "update"
    return Change(
        op=str(metadata.get("op", "")),
        urn=str(metadata.get("urn", "")),
        old=table(old.get("inputs")),
        new=table(new.get("inputs")),
        diffs=diffs,
        protected=old.get("protect") is True,
    )


def _violation(policy: Table) -> Violation:
    return Violation(
        rule=str(policy.get("policyName", "")),
        resource=str(policy.get("resourceUrn", "")).rpartition("::")[2],
        # The engine puts the rule's description before what the rule reports.
        message=str(policy.get("message", "")).strip().rpartition("\n")[2],
        level=str(policy.get("enforcementLevel", "")),
        severity=str(policy.get("severity", "")),
    )


def _remediation(mended: Table) -> Remediation:
    before, after = table(mended.get("before")), table(mended.get("after"))
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return Remediation(
        rule=str(mended.get("policyName", "")),
        resource=str(mended.get("resourceUrn", "")).rpartition("::")[2],
        properties=tuple(keys),
    )


def at(inputs: Json, path: str) -> Json:
    """The value at a property path such as mounts[0].source or labels["a.b"]; None where there is none.

    Of what is secret as a whole its mask.
    """
    for part in parts(path):
        if inputs == MASK or (isinstance(inputs, dict) and SIGNATURE in inputs):
            return MASK
        if isinstance(inputs, dict) and isinstance(part, str):
            inputs = inputs.get(part)
        elif isinstance(inputs, list) and isinstance(part, int) and part < len(inputs):
            inputs = inputs[part]
        else:
            return None
    return inputs


def parts(path: str) -> Sequence[str | int]:
    """The parts of a property path."""
    found: list[str | int] = []
    rest = path
    while rest:
        if rest.startswith('["'):
            name, _, rest = rest[2:].partition('"]')
            found.append(name)
        elif rest.startswith("["):
            index, _, rest = rest[1:].partition("]")
            found.append(int(index) if re.fullmatch("[0-9]{1,9}", index) else index)
        else:
            rest = rest.removeprefix(".")
            end = min((place for place in (rest.find("."), rest.find("[")) if place > 0), default=len(rest))
            found.append(rest[:end])
            rest = rest[end:]
    return found
