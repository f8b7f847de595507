"""Takes out of a preview what looks like a secret, for a place that more people read than may know one.

The engine masks what the program marks. This is for what nobody marked; the policy pack's detectors judge, and where
they leave a doubt the whole text is hidden. What does not belong here: what a credential looks like
(policies/rules/literals.py), and how a value is shown.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

from policies.rules import literals
from scripts.wire import MASK, SIGNATURE, Json

_LONGEST: Final = 100_000
"""Characters of a text that is looked into; a longer one is hidden."""
_BLANK: Final = "true"
"""Stands for what is hidden already when the rest is judged: no detector takes it for a secret."""
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
    # A tool's password may stand some words after the tool: mysql, -u, root, -p…
    return [shown[0], *(MASK for _ in shown[1:])] if len(shown) > 1 and literals.tool_password(words) else shown


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
        elif _secret(line) or _directive(line):
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
    words = [MASK if literals.has_url_credentials(word) else word for word in text.split(" ")]
    rest = " ".join(words)
    return MASK if len(words) == 1 or _secret(rest.replace(MASK, _BLANK)) or _directive(text) else rest


def _secret(text: str) -> bool:
    return (
        literals.looks_secret(text)
        or literals.has_fast_hash(text)
        or literals.tool_password(text)
        or any(literals.named_secret(name, value) for name, value in _named(text))
    )


def _named(text: str) -> list[tuple[str, str]]:
    """What the text sets to names of secrets."""
    found = (pair for layer in literals.layers(text) for pair in literals.assignments(layer))
    return [(name, value) for name, value in found if value != MASK and literals.named_secret(name, value)]


def _directive(line: str) -> bool:
    """`requirepass …`, as some files of configuration have it, also where it is commented out."""
    return any(literals.named_secret(name, value) for name, value in literals.directive(line, apart=True))
