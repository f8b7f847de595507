"""Family `closed`: a stack holds the types of resources, their inputs and the environment variables that a list
names, and nothing else.

The other families say what is wrong with an input that this program writes. Here is refused whatever nobody has
allowed yet: an input that the provider gains next year, a switch that an app has. The lists are in
policies/config.yaml, where a new line is reviewed. Not seen from here: what a listed input holds, unless the list
says which value it may have.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from pulumi_policy import Severity

from policies.rules.configuration import variables
from policies.rules.containers import table, texts
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Config, Finding, Resource, rule, texts_setting

_FILE: Final = "settings.known-inputs.inputs in policies/config.yaml"
_VARIABLES: Final = "settings.known-environment.variables in policies/config.yaml"


@rule(
    "known-inputs",
    Severity.HIGH,
    "CIS 5.16, CIS 5.17, CIS 5.20, CIS 5.31",
    types=("",),
    settings={
        "inputs": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
            "default": {},
            "description": "The inputs of each type, such as `mounts.source`: a dot goes into objects and the "
            "items of lists, `*` is any name, and `=` with a value in JSON allows that value alone.",
        }
    },
)
def _unlisted(resource: Resource, config: Config) -> Iterator[Finding]:
    """A stack has only the types of resources, and each only the inputs, that the list names.

    Do without it; or add a line to `known-inputs` in policies/config.yaml, where it is reviewed.
    """
    listed = table(config.get("inputs"))
    if resource.type not in listed:
        yield Finding(
            (),
            f"is a {resource.type}: no such type is on the list",
            f"Do without it; or have it reviewed as a line of {_FILE}",
        )
        return
    for path in _outside(resource.props, (), "", _read(texts(listed[resource.type]))):
        yield Finding(
            path,
            f"is not on the list of inputs of a {resource.kind}, or not with this value",
            f"Do without it; or have it reviewed as a line of {_FILE}",
        )


@dataclass(frozen=True)
class _Listed:
    """The inputs of a type, each with the values that it may have, in JSON; an empty one is any."""

    exact: Mapping[str, tuple[str, ...]]
    patterns: Mapping[str, tuple[str, ...]]
    holders: frozenset[str]
    """Inputs of which members are listed."""

    def allows(self, name: str, value: Value) -> bool:
        """Whether an input of that name may have that value."""
        found = [
            *self.exact.get(name, ()),
            *(one for key in self.patterns if fnmatchcase(name, key) for one in self.patterns[key]),
        ]
        return "" in found or bool(found and _json(value) in found)


@lru_cache(maxsize=64)
def _read(lines: tuple[str, ...]) -> _Listed:
    values: dict[str, tuple[str, ...]] = {}
    for line in lines:
        key, _, only = line.partition("=")
        values[key] = (*values.get(key, ()), only)
    parts = [key.split(".") for key in values]
    return _Listed(
        exact={key: found for key, found in values.items() if "*" not in key},
        patterns={key: found for key, found in values.items() if "*" in key},
        holders=frozenset(".".join(one[:length]) for one in parts for length in range(1, len(one))),
    )


def _outside(value: Value, path: Path, name: str, listed: _Listed) -> Iterator[Path]:
    """The paths to what is not on the list, each as near to the resource as it can be said."""
    if value is None or value in ([], {}) or listed.allows(name, value):
        return
    if isinstance(value, dict) and (not name or name in listed.holders):
        for key, member in value.items():
            yield from _outside(member, (*path, key), f"{name}.{key}" if name else key, listed)
    elif isinstance(value, list) and name in listed.holders:
        for index, member in enumerate(value):
            yield from _outside(member, (*path, index), name, listed)
    elif value is not UNKNOWN or name not in listed.holders:
        yield path


def _json(value: Value) -> str:
    """A value as the list writes it: the engine hands every number over as a fraction."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole and isinstance(value, float) else value, default=str)


@rule(
    "known-environment",
    Severity.HIGH,
    settings={
        "variables": texts_setting("NAME, or NAME=VALUE; in both `*` is any text."),
        "elsewhere": texts_setting("Containers whose variables are another rule's to check, by logical names."),
    },
)
def _unnamed(resource: Resource, config: Config) -> Iterator[Finding]:
    """A container has only the environment variables that a line names, and where it names a value, only that: each
    app has switches that open a door, and new ones come with each release.

    Do without it; or add a line to `known-environment` in policies/config.yaml.
    """
    if resource.name in texts(config.get("elsewhere")):
        return
    listed = [one.partition("=") for one in texts(config.get("variables"))]
    for path, name, value in variables(resource):
        if not any(fnmatchcase(name, key) and (not sign or fnmatchcase(value, good)) for key, sign, good in listed):
            yield Finding(
                path,
                "is a variable that no line names, or not with this value",
                f"Do without it; or have it reviewed as a line of {_VARIABLES}",
                note=name,
            )


RULES: Final = (_unlisted, _unnamed)
