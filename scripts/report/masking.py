"""Takes out of a preview what looks like a secret, for a place that more people read than may know one.

The engine masks what the program marks. This is for what nobody marked; the policy pack's detectors check, and where
they leave a doubt the whole text is hidden. What does not belong here: what a credential looks like
(policies/rules/literals.py), and how a value is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise
from typing import Final

from policies.rules import literals
from scripts.wire import MASK, SIGNATURE, Json

_LONGEST: Final = 100_000
"""Characters of a text that is looked into; a longer one is hidden."""
_BLANK: Final = "true"
"""Stands for what is hidden already when the rest is checked: no detector takes it for a secret."""
_FLAG: Final = re.compile(r"-{0,2}(?P<name>[A-Za-z][\w.-]*)")
_SET: Final = re.compile(
    r"(?P<start>\s*(?:-\s+)?[\"']?(?P<name>-{0,2}[A-Za-z_][\w.-]*)[\"']?\s*[=:]\s*)(?P<value>.*)"
)
# A name with its value on the lines below: `password: |`, `<password>`, `"credentials": {`.
_OPENS: Final = re.compile(r"\s*(?:-\s+)?[\"'<]?(?P<name>[A-Za-z_][\w.-]*)[\"'>]?\s*[=:]?\s*[|>\[{(]?[-+\d]*\s*")


def masked(value: Json, name: str = "") -> Json:
    """A value without what looks like a secret. `name` is what it is called."""
    if isinstance(value, dict):
        return _table(value, name)
    if isinstance(value, list):
        return _list(value, name)
    if isinstance(value, str):
        return masked_text(value, name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return MASK if number and literals.named_secret(name, str(value)) else value


@lru_cache(maxsize=4096)
def masked_text(text: str, name: str = "") -> str:
    """A text without what looks like a secret; the whole of it is hidden where only a part cannot be."""
    if literals.named_secret(name, text) or len(text) > _LONGEST:
        return MASK
    if "\n" in text:
        return _lines(text)
    return _line(text) if _secret(text) else text


def beside(value: Json, other: Json) -> Json:
    """A value, masked already, with a mask also where `other`, the same property on the other side, has one.

    What becomes a secret was the same value a moment ago, or looks like it. Where it cannot be told which part the
    mask stands for, everything goes that is not on the other side as well.
    """
    if value is None or value == other or not _has_mask(other):
        return value
    if isinstance(value, dict) and isinstance(other, dict):
        return {key: beside(member, other.get(key)) for key, member in value.items()}
    if isinstance(value, list) and isinstance(other, list):
        return _beside_list(value, other)
    if isinstance(value, str) and isinstance(other, str):
        return _beside_lines(value.split("\n"), other.split("\n"))
    return MASK


def _beside_list(value: list[Json], other: list[Json]) -> Json:
    more = _more_masks(value, other)
    shown: list[Json] = []
    for index, member in enumerate(value):
        partner = other[index] if index < len(other) else None
        if isinstance(member, dict):
            same = (one for one in other if isinstance(one, dict) and _called(one) == _called(member) is not None)
            partner = next(same, partner)
        elif more and member not in other and not _has_mask(partner):
            partner = MASK
        shown.append(beside(member, partner))
    return shown


def _beside_lines(lines: list[str], others: list[str]) -> str:
    """Only the lines in the place of which the other side has masked ones, and lines that it has in no place."""
    blocks = SequenceMatcher(None, lines, others, autojunk=False).get_opcodes()
    moved = any(tag == "insert" and _has_mask(list(others[begin:end])) for tag, _, _, begin, end in blocks)
    shown = list(lines)
    for tag, start, stop, begin, end in blocks:
        if (tag == "replace" and _more_masks(lines[start:stop], others[begin:end])) or (tag == "delete" and moved):
            shown[start:stop] = [_beside_line(line, others) for line in lines[start:stop]]
    return "\n".join(shown)


def _beside_line(line: str, others: Sequence[str]) -> str:
    """A line with the mask where one of the others has it behind the same beginning; else nothing but the mask."""
    starts = (one.partition(MASK)[0] for one in others if MASK in one)
    return max((start for start in starts if line.startswith(start)), key=len, default="") + MASK


def _more_masks(value: Sequence[Json], other: Sequence[Json]) -> bool:
    """Whether more members of `other` are masked: one that is so on both sides was a secret before."""
    return sum(map(_has_mask, other)) > sum(map(_has_mask, value))


def _has_mask(value: Json) -> bool:
    if isinstance(value, str):
        return MASK in value
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_mask, members))


def _called(value: dict[str, Json]) -> Json:
    """What tells members of a list apart: an uploaded file is called by its path."""
    return next((value[key] for key in ("label", "name", "key", "file", "target") if key in value), None)


def _table(value: dict[str, Json], name: str) -> Json:
    if SIGNATURE in value:
        return MASK
    # {label: db.password, value: …}, {name: …, value: …}; an uploaded file is called by its path.
    called = next((value[key] for key in ("label", "name", "key", "file") if isinstance(value.get(key), str)), name)
    shown: dict[str, Json] = {}
    for key, member in value.items():
        if key == "__defaults":
            continue
        given = key.startswith(("value", "content"))
        hidden = given and isinstance(member, str) and literals.named_secret(str(called), member)
        shown[key] = MASK if hidden else masked(member, "" if key in ("label", "name", "key", "file") else key)
    return shown


def _list(value: list[Json], name: str) -> Json:
    shown = [masked(member, name) for member in value]
    for at, (before, member) in enumerate(pairwise(value), 1):
        flag = _FLAG.fullmatch(before) if isinstance(before, str) else None
        if flag and isinstance(member, str) and not (member.startswith("-") and _FLAG.fullmatch(member)):
            shown[at] = MASK if literals.named_secret(flag["name"], member) else shown[at]
    words = " ".join(_BLANK if one == MASK else one for one in shown if isinstance(one, str))
    # A password may stand some words after the program: curl, -u, admin:…
    return [shown[0], *(MASK for _ in shown[1:])] if len(shown) > 1 and literals.has_password(words) else shown


def _lines(text: str) -> str:
    """Each line by itself, and what a secret name opens with it; all of it where that does not do."""
    if literals.has_private_key(text) or any("\n" in value.strip() for _, value in _named(text)):
        return MASK
    shown: list[str] = []
    below: int | None = None
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip())
        if below is not None and line.strip() and depth <= below:
            below = None
        opens = _OPENS.fullmatch(line)
        if below is not None and line.strip():
            shown.append(MASK)
        elif opens and literals.named_secret(opens["name"], "written"):
            shown.append(line)
            below = depth
        elif _secret(line):
            shown.append(_line(line))
            below = depth
        else:
            shown.append(line)
    whole = "\n".join(shown)
    return MASK if _secret(re.sub(r"\\\n\s*", " ", whole.replace(MASK, _BLANK))) else whole


def _line(text: str) -> str:
    """A line that holds a secret: the name and the mask, or the mask for an address alone where only that is one."""
    found = _SET.fullmatch(text)
    if found and literals.named_secret(found["name"], found["value"]) and not literals.looks_secret(found["name"]):
        return found["start"] + MASK
    words = [MASK if literals.has_password(word) else word for word in text.split(" ")]
    rest = " ".join(words)
    return MASK if len(words) == 1 or _secret(rest.replace(MASK, _BLANK)) else rest


def _secret(text: str) -> bool:
    return literals.looks_secret(text) or bool(_named(text))


def _named(text: str) -> list[tuple[str, str]]:
    """What the text sets to names of secrets."""
    return [pair for pair in literals.assignments(text) if pair[1] != MASK and literals.named_secret(*pair)]
