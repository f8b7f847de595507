"""Family `closed`: a stack holds the types of resources, their inputs and the environment variables that a list
names, and nothing else.

The other families say what is wrong with an input that this program writes. Here is refused whatever nobody has
allowed yet: an input that the provider gains next year, a switch that an app has. The lists are in
policies/config.yaml, where a new line is reviewed. Not seen from here: what a listed input holds, unless the list
says which value it may have.
"""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from pulumi_policy import Severity

from policies.rules.configuration import variables
from policies.rules.containers import table, texts
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import TEXTS, Config, Finding, Resource, rule, table_setting, texts_setting


@rule(
    "known-inputs",
    Severity.HIGH,
    "CIS 5.16, CIS 5.17, CIS 5.20, CIS 5.31",
    types=("",),
    settings={
        "inputs": table_setting(
            "The inputs of each type, such as `mounts.source`: a dot goes into objects and the items of lists, `*` "
            "is any name, and `=` with a value in JSON allows that value alone.",
            TEXTS,
        )
    },
)
def _unlisted(resource: Resource, config: Config) -> Iterator[Finding]:
    """A stack has only the types of resources, and each only the inputs, that the list names.

    Do without it; or have it reviewed as a line of settings.known-inputs.inputs in policies/config.yaml.
    """
    listed = table(config.get("inputs"))
    if resource.type not in listed:
        yield Finding((), f"is a {resource.type}: no such type is on the list")
        return
    for path in _outside(resource.props, (), "", texts(listed[resource.type])):
        yield Finding(path, f"is not on the list of inputs of a {resource.kind}, or not with this value")


@lru_cache(maxsize=64)
def _read(lines: tuple[str, ...]) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
    """The inputs that the lines name, each with the values that it may have, in JSON, of which an empty one is any;
    and the inputs of which members are listed."""
    values: dict[str, frozenset[str]] = {}
    for line in lines:
        key, _, only = line.partition("=")
        values[key] = values.get(key, frozenset()) | {only}
    parts = [key.split(".") for key in values]
    return values, frozenset(".".join(one[:length]) for one in parts for length in range(1, len(one)))


def _outside(value: Value, path: Path, name: str, lines: tuple[str, ...]) -> Iterator[Path]:
    """The paths to what is not on the list, each as near to the resource as it can be said."""
    values, holders = _read(lines)
    good = values.get(name, frozenset())
    if value is None or value in ([], {}) or "" in good or (good and _json(value) in good):
        return
    if isinstance(value, dict) and (not name or name in holders):
        for key, member in value.items():
            whole, starred = f"{name}.{key}" if name else key, f"{name}.*"
            called = starred if starred in values and whole not in values else whole
            yield from _outside(member, (*path, key), called, lines)
    elif isinstance(value, list) and name in holders:
        for index, member in enumerate(value):
            yield from _outside(member, (*path, index), name, lines)
    elif value is not UNKNOWN or name not in holders:
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

    Do without it; or have it reviewed as a line of settings.known-environment.variables in policies/config.yaml.
    """
    if resource.name in texts(config.get("elsewhere")):
        return
    listed = [one.partition("=") for one in texts(config.get("variables"))]
    for path, name, value in variables(resource):
        if not any(fnmatchcase(name, key) and (not sign or fnmatchcase(value, good)) for key, sign, good in listed):
            yield Finding(path, "is a variable that no line names, or not with this value", note=name)


RULES: Final = (_unlisted, _unnamed)
