"""A preview as Markdown: what a reviewer has to see first stands first, and nothing in it is a stranger's markup.

Names, values and messages come from a pull request: everything outside a code fence is written as character
references, and a fence is longer than any within it. What does not belong here: reading events, and posting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from policies.rules import RULES, literals
from scripts.report.events import Change, Preview, Remediation, Violation, at, parts
from scripts.report.guard import losses, stateful
from scripts.wire import MASK, SIGNATURE, Json

LIMIT: Final = 65_000
"""Characters of a comment: GitHub takes 65,536, and the poster adds a line."""
VALUE: Final = 160
"""Characters of one value in a diff."""
OPEN: Final = 4
"""Rules whose violations are open; those of others are folded."""
ROWS: Final = 20
"""Violations of one rule that are listed."""
_SEVERITIES: Final = ("critical", "high", "medium", "low")
_FAILED: Final = "preview failed"
"""What the engine says last of a preview that anything else ended."""

_WORDS: Final = {
    "create": "to create", "update": "to update", "replace": "to replace", "delete": "to delete",
    "import": "to import", "read-replacement": "to read again", "same": "unchanged",
}  # fmt: skip


def render(stack: str, preview: Preview, *, limit: int = LIMIT, allowed: bool = False) -> str:
    """The whole comment, cut to `limit` characters between its parts. `allowed`: losing data was allowed."""
    lost = losses(preview)
    blocks = [_head(stack, preview)]
    if lost:
        blocks.append(_lost(lost, allowed=allowed))
    blocks += _violations(preview.violations)
    if preview.remediations:
        blocks.append(_remediations(preview.remediations))
    refused = any(one.refuses for one in preview.violations)
    blocks += [
        f"**Error**\n\n{_fenced(message, 'text')}"
        for message in preview.errors
        if not (refused and message == _FAILED)  # what refused it says more
    ]
    if down := _down(preview):
        blocks.append(down)
    if preview.changes:
        blocks.append(_table(preview.changes))
        blocks += [details for one in preview.changes if (details := _details(one))]
    return _cut(blocks, limit)


def _head(stack: str, preview: Preview) -> str:
    counts = [
        f"{preview.counts[op]} {words}" for op, words in _WORDS.items() if op != "same" and preview.counts.get(op)
    ]
    same = preview.counts.get("same", 0)
    refused = sum(one.refuses for one in preview.violations)
    if refused:
        state = f"refused by {refused} polic{'y' if refused == 1 else 'ies'}"
    elif preview.failed:
        state = "failed"
    else:
        state = "changes" if counts else "no changes"
    line = ", ".join(counts) or "nothing to change"
    return f"### Preview of stack {text(stack)}: {state}\n\n{line}" + (f" ({same} unchanged)" if same else "")


def _lost(lost: Sequence[Change], *, allowed: bool) -> str:
    rows = "\n".join(f"- **{one.op}** {text(one.name)} ({text(one.kind)})" for one in lost)
    verdict = "It was allowed by the label." if allowed else "This fails, unless the pull request is labelled for it."
    return f"> [!CAUTION]\n> Data would be lost: {len(lost)} of what cannot be made again. {verdict}\n\n{rows}"


def _violations(found: Sequence[Violation]) -> list[str]:
    """A block for each rule, the gravest first; what is more than a reviewer reads at once is folded."""
    grave = sorted(found, key=lambda one: (not one.refuses, _rank(one.severity), one.rule, one.resource))
    blocks = [_violation(list(group)) for _, group in groupby(grave, key=lambda one: (one.refuses, one.rule))]
    folded = blocks[OPEN:]
    if not folded:
        return blocks
    rest = "\n\n".join(folded)
    word = "policy" if len(folded) == 1 else "policies"
    return [
        *blocks[:OPEN],
        f"<details><summary>{len(folded)} more {word} that object</summary>\n\n{rest}\n\n</details>",
    ]


def _violation(group: Sequence[Violation]) -> str:
    one = group[0]
    known = {rule.name: rule for rule in RULES}.get(one.rule)
    remedy = f"\n\nWhat to do: {known.remediation}" if known else ""
    word = "Refused" if one.refuses else "Warning"
    rows = [f"- {text(_place(each))}" for each in group]
    if len(rows) > ROWS:
        rows[ROWS:] = [f"- … and {len(rows) - ROWS} more"]
    return f"**{word}: {text(one.rule)}** ({text(one.severity)})\n\n" + "\n".join(rows) + remedy


def _place(one: Violation) -> str:
    """What is said, with the resource first; the rules of this project begin with it."""
    where = one.resource or "the stack"
    return one.message if one.message.startswith(f"{where}: ") else f"{where}: {one.message}"


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _remediations(found: Sequence[Remediation]) -> str:
    rows = "\n".join(
        f"- {text(one.resource)}: {', '.join(map(text, one.properties))}, by {text(one.rule)}" for one in found
    )
    return f"**Changed by policies, and not in the program:**\n\n{rows}"


def _down(preview: Preview) -> str:
    gone = [
        one
        for one in preview.changes
        if one.kind == "Container" and one.name.endswith("-container") and one.op in ("replace", "delete")
    ]
    if not gone:
        return ""
    apps = [f"{text(one.name.removesuffix('-container'))}{' for good' if one.op == 'delete' else ''}" for one in gone]
    every = any(one.name == "traefik-container" for one in gone)
    rest = " While Traefik is replaced no app can be reached." if every else ""
    return f"**Down for a moment:** {', '.join(apps)}.{rest}"


def _table(changes: Sequence[Change]) -> str:
    first = sorted(changes, key=lambda one: not (one.op in ("replace", "delete") and stateful(one)))
    rows = "\n".join(
        f"| {'**' + one.op + '**' if one.op in ('replace', 'delete') else one.op} | {text(one.name)} | "
        f"{text(one.kind)} | {'yes' if stateful(one) else ''} |"
        for one in first
    )
    return f"| | resource | type | holds state |\n|---|---|---|---|\n{rows}"


def _details(one: Change) -> str:
    lines = _diff(one)
    if not lines:
        return ""
    body = _fenced("\n".join(lines), "diff")
    return f"<details><summary>{one.op} {text(one.name)}</summary>\n\n{body}\n\n</details>"


def _diff(one: Change) -> list[str]:
    lines: list[str] = []
    if one.op == "create":
        return [f"+ {key}: {_value(key, value)}" for key, value in sorted(one.new.items()) if key != "__defaults"]
    for path, kind in sorted(one.diffs.items()):
        forces = "  # forces replacement" if kind.endswith("-replace") else ""
        old, new = at(one.old, path), at(one.new, path)
        if not kind.startswith("add"):
            lines.append(f"- {path}: {_value(path, old)}{forces}")
        if not kind.startswith("delete"):
            lines.append(f"+ {path}: {_value(path, new)}{forces}")
    return lines


def _value(path: str, value: Json) -> str:
    """A value on one line, without secrets: those the engine masks, and what looks like one."""
    shown = json.dumps(_masked(_last(path), value), ensure_ascii=False)
    return shown if len(shown) <= VALUE else shown[: VALUE - 1] + "…"


def _last(path: str) -> str:
    return next((part for part in reversed(parts(path)) if isinstance(part, str)), "")


def _masked(name: str, value: Json) -> Json:
    if isinstance(value, dict):
        if SIGNATURE in value:
            return MASK
        return {key: _masked(key, member) for key, member in value.items() if key != "__defaults"}
    if isinstance(value, list):
        return [_masked(name, member) for member in value]
    if isinstance(value, str):
        key, equals, rest = value.partition("=")
        named = literals.named_secret(key, rest) if equals else literals.named_secret(name, value)
        if named or literals.looks_secret(value) or literals.has_url_credentials(value):
            return f"{key}={MASK}" if equals and not literals.looks_secret(key) else MASK
    return value


def text(value: str) -> str:
    """Text that is nothing but text, in a table or a line: no markup, mention, link or line break."""
    short = re.sub(r"\s+", " ", value).strip()
    short = short if len(short) <= 600 else short[:599] + "…"
    return re.sub(r"[^\w ,.:;/%'…-]|_|www|://", _reference, short)


def _reference(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(one)};" for one in found[0])


def _fenced(body: str, language: str) -> str:
    body = body if len(body) <= 20_000 else body[:20_000] + "\n… cut"
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def _cut(blocks: Sequence[str], limit: int) -> str:
    note = "\n\n_{} of {} parts are left out here; the run's summary has the whole._\n"
    room = limit - len(note) - 20
    kept: list[str] = []
    used = 0
    for block in blocks:
        if used + len(block) + 2 > room:
            break
        kept.append(block)
        used += len(block) + 2
    left = len(blocks) - len(kept)
    return "\n\n".join(kept) + (note.format(left, len(blocks)) if left else "\n")
