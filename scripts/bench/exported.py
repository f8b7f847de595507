"""Reading the JSON of `pulumi stack export`. What does not belong here: what is made of it (flat.py, direct.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.wire import SECRET, SIGNATURE, Json, Table, table

STACK: Final = "pulumi:pulumi:Stack"


@dataclass(frozen=True, kw_only=True)
class Urn:
    """A URN in its parts; `type` is without the types of the parents."""

    stack: str
    project: str
    type: str
    name: str

    def __str__(self) -> str:
        return f"urn:pulumi:{self.stack}::{self.project}::{self.type}::{self.name}"


def parse_urn(urn: str) -> Urn:
    """The parts of a URN. Raises ValueError where it is none."""
    head, *rest = urn.split("::", 3)
    if not head.startswith("urn:pulumi:") or len(rest) != 3:
        raise ValueError(f"{urn!r} is not a URN")
    project, kind, name = rest
    return Urn(stack=head.removeprefix("urn:pulumi:"), project=project, type=kind.rpartition("$")[2], name=name)


def resources(export: Mapping[str, Json]) -> list[Table]:
    """The resources of an exported state, what others depend on first."""
    found = table(export.get("deployment")).get("resources")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def count(export: Mapping[str, Json], *, custom: bool) -> int:
    """How many custom resources a state has, providers among them; or how many components, without the stack."""
    return sum(1 for item in resources(export) if is_custom(item) is custom and item.get("type") != STACK)


def is_custom(item: Table) -> bool:
    """Whether a provider (or the engine, for a provider) makes this resource: neither the stack nor a component."""
    return item.get("custom") is True


def hidden(value: Table) -> str | None:
    """The JSON text that a secret of `--show-secrets` stands for; None for anything else."""
    plain = value.get("plaintext")
    return plain if value.get(SIGNATURE) == SECRET and isinstance(plain, str) else None


def revealed(value: Json) -> Json:
    """A value from `pulumi stack export --show-secrets` as plain JSON, the secrets in it in clear."""
    match value:
        case dict():
            plain = hidden(value)
            if plain is not None:
                return revealed(json.loads(plain))
            return {key: revealed(item) for key, item in value.items()}
        case list():
            return [revealed(item) for item in value]
        case _:
            return value


def tables(value: Json) -> Sequence[Table]:
    """The objects of a list; none in the place of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: Json) -> Sequence[str]:
    """The texts of a list; none in the place of anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
