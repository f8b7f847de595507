"""What a container is configured with: its environment and the files that it is given.

What a rule forbids does not belong here. Not seen from here: a file that is in the image or on the host.
"""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import yaml

from components.strictyaml import Loader
from policies.rules.containers import items, table
from policies.rules.props import UNKNOWN, Path, Unknown, Value, plain
from policies.rules.rule import Resource, once


class UnreadableError(ValueError):
    """A document is not what its name says. The message holds nothing of it."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that a container is given: its path in it, and its content. UNKNOWN is what only an update will know."""

    path: Path
    name: str | Unknown
    text: str | Unknown

    @property
    def base(self) -> str:
        """The last part of its path; empty where that is not known."""
        return self.name.rpartition("/")[2] if isinstance(self.name, str) else ""

    @property
    def is_structured(self) -> bool:
        """Whether its name promises a document of settings."""
        return self.base.rpartition(".")[2] in _PARSERS

    def document(self) -> Value:
        """Its content as plain data; UNKNOWN where it is not known, None where it is not structured.

        Raises UnreadableError.
        """
        if not isinstance(self.text, str):
            return UNKNOWN
        return _parsed(self.base.rpartition(".")[2], self.text) if self.is_structured else None


@once
def files(resource: Resource) -> Iterator[File]:
    """What is uploaded into a container."""
    for index, upload in enumerate(items(resource.props.get("uploads"))):
        given = table(upload)
        name, text = given.get("file"), given.get("content")
        yield File(
            path=("uploads", index, "content"),
            name=name if isinstance(name, str) else UNKNOWN,
            text=text if isinstance(text, str) else UNKNOWN,
        )


@once
def variables(resource: Resource) -> Iterator[tuple[Path, str, str]]:
    """Path, name and value of each environment variable that is known."""
    if resource.kind == "Container":
        for index, one in enumerate(items(resource.props.get("envs"))):
            if one is not UNKNOWN:
                name, _, value = str(one).partition("=")
                yield ("envs", index), name, value


class _Loader(Loader):
    """No aliases: nothing that the program writes has one, and with them a small text becomes an endless document."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("has an alias")
        return super().compose_node(parent, index)


def _yaml(text: str) -> object:
    loaded: object = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    return loaded


_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "yml": _yaml,
    "yaml": _yaml,
    "json": json.loads,
    "toml": tomllib.loads,
}


@lru_cache(maxsize=256)
def _parsed(kind: str, text: str) -> Value:
    try:
        return plain(_PARSERS[kind](text))
    except (ValueError, yaml.YAMLError, RecursionError, IndexError, TypeError, OverflowError) as error:
        raise UnreadableError(f"is not {kind}") from error
