"""Exceptions: what a rule lets pass for one resource, why, and by when somebody looks at that again.

They are lines of policies/config.yaml and reach a rule by its configuration, so that the engine checks them against
the schema here. One whose day has passed still holds: see rules/review.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.references import is_id, parse

SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "description": "Resources that this rule lets pass, each with a reason and the day of its next review.",
    "default": [],
    "items": {
        "type": "object",
        "required": ["resource", "reason", "until"],
        "additionalProperties": False,
        "properties": {
            "resource": {"type": "string", "minLength": 1, "description": "Logical name of the resource."},
            "property": {
                "type": "string",
                "minLength": 1,
                "description": "Only for this property and what is below it, such as capabilities.adds.",
            },
            "image": {
                "type": "string",
                "minLength": 1,
                "description": "Only where the container runs this repository, such as wollomatic/socket-proxy.",
            },
            "value": {
                "type": "string",
                "minLength": 1,
                "description": "Only for this value where the rule tells values apart: a capability, a host path, "
                "with * for any text.",
            },
            "reason": {"type": "string", "minLength": 10},
            "until": {
                "type": "string",
                "pattern": r"^\d{4}-\d{2}-\d{2}$",
                "description": "The day by which it is reviewed again, such as 2027-06-30.",
            },
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class PolicyException:
    """One exception. `only` (the key `property`) and `image` narrow it where they are not empty.

    A property with an index, `mounts[0].source`, is that one; without, `mounts.source`, that of every member.

    `image` is the repository, without registry, tag and digest, or with the registry to demand that too. It is
    checked where the image is written as a reference; an image id says nothing about a repository. `value` narrows it
    to one value where the rule tells values apart (`Finding.value`), such as a capability; `*` in it is any text.
    """

    resource: str
    reason: str
    until: date
    only: str = ""
    image: str = ""
    value: str = ""

    def covers(self, name: str, props: Mapping[str, Value], path: Path, value: str = "") -> bool:
        """Whether it is about the property at `path` of the resource of that logical name and these inputs."""
        if name != self.resource or (self.value and not _fits(self.value, value)):
            return False
        if self.image and not _runs(self.image, props.get("image")):
            return False
        return _below(_parts(self.only), path)


def _fits(pattern: str, value: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value) is not None


def _parts(only: str) -> Path:
    """The parts of a property as it is written, `mounts[0].source`."""
    return tuple(int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|([^.\[\]]+)", only))


def _below(wanted: Path, path: Path) -> bool:
    """Whether `path` is at or below `wanted`, where a list without an index stands for each of its members."""
    left = list(path)
    for part in wanted:
        while isinstance(part, str) and left and isinstance(left[0], int):
            del left[0]
        if not left or isinstance(part, int) != isinstance(left[0], int):
            return False
        if left[0] != part:
            return False
        del left[0]
    return True


def _runs(repository: str, image: Value) -> bool:
    if isinstance(image, str):
        return is_id(image) or parse(image).is_of(repository)
    return image is UNKNOWN


_KEYS: Final = frozenset({"resource", "property", "image", "value", "reason", "until"})


def exceptions(config: Mapping[str, Value]) -> tuple[PolicyException, ...]:
    """The exceptions in a rule's configuration. An entry that is not whole is none; this never raises."""
    given = config.get("exceptions")
    found = []
    for entry in given if isinstance(given, list) else []:
        if not isinstance(entry, dict) or not entry.keys() <= _KEYS:
            continue
        texts = {key: value for key, value in entry.items() if isinstance(value, str) and value}
        if texts.keys() != entry.keys() or not texts.keys() >= {"resource", "reason", "until"}:
            continue
        try:
            until = date.fromisoformat(texts.pop("until"))
        except ValueError:
            continue
        only = texts.pop("property", "")
        found.append(PolicyException(**texts, only=only, until=until))
    return tuple(found)
