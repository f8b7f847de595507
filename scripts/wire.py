"""The engine's JSON: its types, its URNs, how it marks a secret, and what an exported state holds.

What does not belong here: what is made of it. The policy pack, which the engine starts by itself, has the marks in
policies/rules/props.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Table = dict[str, Json]

# sdk/go/common/resource/sig: an object with this key is no object, and this value under it says that it is a secret.
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a mark and no secret
STACK: Final = "pulumi:pulumi:Stack"
"""The type of the root, which the engine makes for itself."""

MASK: Final = "[secret]"
"""What a preview writes in the place of a secret."""


def table(value: object) -> Table:
    """An object; an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def tables(value: object) -> list[Table]:
    """The objects of a list; none in the place of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """The texts of a list; none in the place of anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


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


def resources(export: Mapping[str, object]) -> list[Table]:
    """The resources of an exported state, what others depend on first."""
    return tables(table(export.get("deployment")).get("resources"))


def is_custom(item: Table) -> bool:
    """Whether a provider (or the engine, for a provider) makes this resource: neither the stack nor a component."""
    return item.get("custom") is True


def hidden(value: Table) -> str | None:
    """The JSON text that a secret of `stack export --show-secrets` stands for; None for anything else."""
    plain = value.get("plaintext")
    return plain if value.get(SIGNATURE) == SECRET and isinstance(plain, str) else None


def revealed(value: Json) -> Json:
    """A value from `stack export --show-secrets` as plain JSON, the secrets in it in clear."""
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


def masked(value: object) -> object:
    """`value` with the mask for each secret, whether it is there as ciphertext or in clear."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return MASK
        return {key: masked(member) for key, member in value.items()}
    return [masked(member) for member in value] if isinstance(value, list) else value
