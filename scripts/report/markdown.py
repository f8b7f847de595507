"""A preview as Markdown: what a reviewer has to see first stands first, and nothing in it is a stranger's markup.

Names, values and messages come from a pull request: everything outside a code fence is written as character
references, and a fence is longer than any within it. What does not belong here: reading events, what looks like a
secret (masking.py), and posting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, zip_longest
from typing import Final

from policies.rules import RULES
from scripts.report.events import FAILED, Change, Preview, Remediation, Violation, at, parts
from scripts.report.guard import losses, stateful
from scripts.report.masking import beside, masked, masked_text
from scripts.wire import Json

LIMIT: Final = 65_000
"""Bytes of a comment: GitHub takes 65,536 characters, and the poster adds a line."""
SUMMARY: Final = 1_000_000
"""Bytes of a job's summary: GitHub takes 1 MiB."""
VALUE: Final = 160
"""Characters of one value in a diff."""
LINES: Final = 40
"""Lines of one text in a diff."""
AROUND: Final = 2
"""Lines around those that changed."""
OPEN: Final = 4
"""Rules whose violations are open; those of others are folded."""
ROWS: Final = 20
"""Violations of one rule that are listed, and rows of the table that are not folded."""
DETAILS: Final = 10
"""Resources whose properties are not folded once more."""
_SEVERITIES: Final = ("critical", "high", "medium", "low")

_WORDS: Final = {
    "create": "to create", "update": "to update", "replace": "to replace", "delete": "to delete",
    "import": "to import", "read-replacement": "to read again", "same": "unchanged",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the comment. Only its rows may be left out; `more` says in their place how many were."""

    head: str
    rows: tuple[str, ...] = ()
    tail: str = ""
    between: str = "\n"
    more: str = "- … and {} more"

    @property
    def text(self) -> str:
        """All of it."""
        return self.head + self.between.join(self.rows) + self.tail

    def cut(self, room: int) -> str:
        """As many of the rows as go into `room` bytes; nothing where there are no rows, or none goes in."""
        left = room - _size(self.head + self.tail + self.between + self.more) - 10
        kept: list[str] = []
        for row in self.rows:
            if (size := _size(row + self.between)) <= left:
                kept.append(row)
                left -= size
        if not kept:
            return ""
        return self.head + self.between.join([*kept, self.more.format(len(self.rows) - len(kept))]) + self.tail


def render(
    stack: str,
    preview: Preview,
    *,
    limit: int = LIMIT,
    allowed: bool = False,
    whole: str = "the run's summary has more",
) -> str:
    """The whole comment, cut to `limit` bytes. `allowed`: losing data was allowed; `whole`: where the rest is."""
    lost = losses(preview)
    found = [Part(head=_head(stack, preview))]
    if lost:
        found.append(_lost(lost, allowed=allowed, failed=preview.failed))
    found += _violations(preview.violations)
    if preview.remediations:
        found.append(_remediations(preview.remediations))
    refused = any(one.refuses for one in preview.violations)
    found += [
        Part(head=f"**Error**\n\n{_fenced(masked_text(message), 'text')}")
        for message in preview.errors
        if not (refused and message == FAILED)  # what refused it says more
    ]
    if down := _down(preview):
        found.append(Part(head=down))
    if preview.changes:
        found.append(_table(preview.changes))
        found += _properties(preview.changes)
    return _cut(found, limit, whole)


def _head(stack: str, preview: Preview) -> str:
    counts = [
        f"{preview.counts[op]} {words}" for op, words in _WORDS.items() if op != "same" and preview.counts.get(op)
    ]
    same = preview.counts.get("same", 0)
    refused = len({one.rule for one in preview.violations if one.refuses})
    if refused:
        state = f"refused by {refused} polic{'y' if refused == 1 else 'ies'}"
    elif preview.failed:
        state = "failed"
    else:
        state = "changes" if counts else "no changes"
    line = ", ".join(counts) or ("what would change is not known" if preview.failed else "nothing to change")
    return f"### Preview of stack {text(stack)}: {state}\n\n{line}" + (f" ({same} unchanged)" if same else "")


def _lost(lost: Sequence[Change], *, allowed: bool, failed: bool) -> Part:
    rows = tuple(f"- **{one.op}** {text(one.name)} ({text(one.kind)})" for one in lost)
    if failed:
        what = "The preview failed, so the label cannot let this pass."
    else:
        what = (
            "It was allowed by the label." if allowed else "This fails, unless the pull request is labelled for it."
        )
    if any(one.protected for one in lost):
        what += " What is protected has to be released first (docs/preview-diff.md says how)."
    return Part(
        head=f"> [!CAUTION]\n> Data would be lost: {len(lost)} of what cannot be made again. {what}\n\n", rows=rows
    )


def _violations(found: Sequence[Violation]) -> list[Part]:
    """A part for each rule, the gravest first; what is more than a reviewer reads at once is folded."""
    grave = sorted(found, key=lambda one: (not one.refuses, _rank(one.severity), one.rule, one.resource))
    groups = [list(group) for _, group in groupby(grave, key=lambda one: (one.refuses, one.rule))]
    shown = [_violation(group) for group in groups[:OPEN]]
    if folded := groups[OPEN:]:
        names = ", ".join(text(group[0].rule) for group in folded)
        shown.append(
            Part(
                head=f"<details><summary>{len(folded)} more: {names}</summary>\n\n",
                rows=tuple(_violation(group).text for group in folded),
                tail="\n\n</details>",
                between="\n\n",
                more="… and {} more",
            )
        )
    return shown


def _violation(group: Sequence[Violation]) -> Part:
    one = group[0]
    known = {rule.name: rule for rule in RULES}.get(one.rule)
    advice = f"\n\nWhat to do: {known.remediation}" if known else ""
    word = "Refused" if one.refuses else "Warning"
    said: dict[str, list[str]] = {}
    for each in group:
        where = each.resource or "the stack"
        # The rules of this project begin with the resource.
        said.setdefault(masked_text(each.message.removeprefix(f"{where}: ")), []).append(where)
    rows = [f"- {text(', '.join(where))}: {text(message)}" for message, where in said.items()]
    if len(rows) > ROWS:
        rows[ROWS:] = [f"- … and {len(rows) - ROWS} more"]
    return Part(head=f"**{word}: {text(one.rule)}** ({text(one.severity)})\n\n", rows=tuple(rows), tail=advice)


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _remediations(found: Sequence[Remediation]) -> Part:
    rows = tuple(
        f"- {text(one.resource)}: {', '.join(map(text, one.properties))}, by {text(one.rule)}" for one in found
    )
    return Part(head="**Changed by policies, and not in the program:**\n\n", rows=rows)


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


def _table(changes: Sequence[Change]) -> Part:
    first = sorted(changes, key=lambda one: not (one.op in ("replace", "delete") and stateful(one)))
    rows = tuple(
        f"| {'**' + one.op + '**' if one.op in ('replace', 'delete') else one.op} | {text(one.name)} | "
        f"{text(one.kind)} | {'yes' if stateful(one) else ''} |"
        for one in first
    )
    head, more = "| | resource | type | holds state |\n|---|---|---|---|\n", "| … | and {} more | | |"
    if len(rows) <= ROWS:
        return Part(head=head, rows=rows, more=more)
    summary = f"<details><summary>All {len(rows)} changes</summary>\n\n"
    return Part(head=summary + head, rows=rows, tail="\n\n</details>", more=more)


def _properties(changes: Sequence[Change]) -> list[Part]:
    details = tuple(shown for one in changes if (shown := _details(one)))
    if len(details) <= DETAILS:
        return [Part(head=one) for one in details]
    summary = f"<details><summary>Properties of {len(details)} resources</summary>\n\n"
    return [Part(head=summary, rows=details, tail="\n\n</details>", between="\n\n", more="… and {} more")]


def _details(one: Change) -> str:
    lines = _diff(one)
    if not lines:
        return ""
    body = _fenced("\n".join(lines), "diff")
    return f"<details><summary>{one.op} {text(one.name)}</summary>\n\n{body}\n\n</details>"


def _diff(one: Change) -> list[str]:
    # Masked as a whole: what a value is may be said beside it, as in {label, value} or after a flag.
    old, new = masked(one.old), masked(one.new)
    old, new = beside(old, new), beside(new, old)
    if one.op == "create":
        found = sorted(new.items()) if isinstance(new, dict) else []
        return [f"+ {_path(key)}: {_window(_written(value), 0)}" for key, value in found]
    lines: list[str] = []
    for path, kind in sorted(one.diffs.items()):
        if parts(path)[-1:] != ["__defaults"]:
            forces = "  # forces replacement" if kind.endswith("-replace") else ""
            lines += _changed(_path(path), kind, at(old, path), at(new, path), forces)
    return lines


def _changed(path: str, kind: str, old: Json, new: Json, forces: str) -> list[str]:
    if kind.startswith("add"):
        return [f"+ {path}: {_window(_written(new), 0)}{forces}"]
    if kind.startswith("delete"):
        return [f"- {path}: {_window(_written(old), 0)}{forces}"]
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new and old != new:
        return [f"! {path}: some lines{forces}", *_changed_lines(old.split("\n"), new.split("\n"))]
    before, after = _written(old), _written(new)
    first = _first(before, after)
    return [
        f"- {path}: {_window(before, first)}{forces}",
        f"+ {path}: {_window(after, first)}{forces}",
    ]


def _changed_lines(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """The lines that changed with what is around them; the bar keeps them from looking like a property."""
    shown: list[str] = []
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(AROUND):
        shown += ["    ⋮"] if shown else []
        for tag, start, end, begin, stop in group:
            if tag == "equal":
                shown += [f"    | {_window(plain(line), 0)}" for line in old[start:end]]
                continue
            pairs = list(zip_longest(map(plain, old[start:end]), map(plain, new[begin:stop])))
            for sign, sides in (("-", pairs), ("+", [(after, before) for before, after in pairs])):
                shown += [
                    f"{sign}   | {_window(one, 0 if other is None else _first(one, other))}"
                    for one, other in sides
                    if one is not None
                ]
    return shown if len(shown) <= LINES else [*shown[:LINES], f"    … and {len(shown) - LINES} more lines"]


def _written(value: Json) -> str:
    return plain(json.dumps(value, ensure_ascii=False))


def _path(path: str) -> str:
    """A property path on one line, whatever is in it."""
    return path if path.isprintable() else json.dumps(path)


def _first(one: str, other: str) -> int:
    """Where two texts begin to differ."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _window(shown: str, first: int) -> str:
    """The part of a long value around a place in it."""
    if len(shown) <= VALUE:
        return shown
    start = max(0, min(first - VALUE // 4, len(shown) - VALUE))
    end = start + VALUE
    return ("…" if start else "") + shown[start:end] + ("…" if end < len(shown) else "")


def plain(value: str) -> str:
    """Without what is not seen and changes how the rest is: line ends, control characters, marks of direction."""
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in value)


def text(value: str) -> str:
    """Text that is nothing but text, in a table or a line: no markup, mention, link or line break."""
    short = plain(re.sub(r"\s+", " ", value).strip())
    short = short if len(short) <= 600 else short[:599] + "…"
    return re.sub(r"[^\w ,.:;/%'…-]|_|www|://|\bgh-(?=\d)", _reference, short, flags=re.IGNORECASE)


def _reference(found: re.Match[str]) -> str:
    # GitHub looks for mentions and issues where the references are characters again: something has to stand between.
    apart = "&#8203;" if found[0].casefold() in ("@", "#", "gh-") else ""
    return "".join(f"&#{ord(one)};" for one in found[0]) + apart


def _fenced(body: str, language: str) -> str:
    body = "\n".join(plain(line) for line in body.replace("\t", "    ").split("\n"))
    body = body.replace("<!--", "<!\N{ZERO WIDTH SPACE}--")  # how the poster finds its own comment
    body = body if len(body) <= 20_000 else body[:20_000] + "\n… cut"
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def _cut(found: Sequence[Part], limit: int, whole: str) -> str:
    """All parts that go into `limit` bytes; one that does not is left out, or some of its rows, and those after it
    are still shown."""
    note = "\n\n_{} of {} parts are left out here, or cut; " + whole + "._\n"
    room = limit - _size(note) - 20
    kept: list[str] = []
    less = 0
    for part in found:
        shown = part.text if _size(part.text) + 2 <= room else part.cut(room - 2)
        less += shown != part.text
        if shown:
            kept.append(shown)
            room -= _size(shown) + 2
    return "\n\n".join(kept) + (note.format(less, len(found)) if less else "\n")


def _size(shown: str) -> int:
    return len(shown.encode())
