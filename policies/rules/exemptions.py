"""Exemptions: what a rule lets pass for one resource, why, and by when somebody looks at that again.

They are lines of policies/config.yaml and reach a rule by its configuration, so that the engine checks them against
the schema here. One whose day has passed still holds: see rules/review.py.
"""

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.references import is_id, parse


class Exempt(BaseModel):
    """What is let pass, and why. `only` (the key `property`) and `image` narrow it where they are not empty.

    A property with an index, `mounts[0].source`, is that one; without, `mounts.source`, that of every member.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    resource: Annotated[str, Field(min_length=1, description="Logical name of the resource.")]
    only: str = Field(
        "", alias="property", description="Only for this property and what is below it, such as `capabilities.adds`."
    )
    image: str = Field(
        "",
        description="Only where the container runs this repository, such as `wollomatic/socket-proxy`: with its "
        "registry, or without to mean any. An image's id says nothing about a repository.",
    )
    reason: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=10), Field(description="Why it is let pass.")
    ]
    until: Annotated[
        date, Field(strict=True, description="The day by which it is reviewed again, such as 2027-06-30.")
    ]


class Exemption(Exempt):
    """One exemption, as a rule is given it."""

    value: str = Field(
        "", description="Only for this value where the rule tells values apart: a capability, a path; * is any text."
    )

    def covers(self, name: str, props: Mapping[str, Value], path: Path, value: str = "") -> bool:
        """Whether it is about the property at `path` of the resource of that logical name and these inputs."""
        return (
            name == self.resource
            and (not self.value or _fits(self.value, value))
            and (not self.image or _runs(self.image, props.get("image")))
            and _below(self.only, path)
        )


SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "description": "Resources that this rule lets pass, each with a reason and the day of its next review.",
    "default": [],
    "items": Exemption.model_json_schema(),
}


def _fits(pattern: str, value: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value) is not None


def _below(wanted: str, path: Path) -> bool:
    """Whether `path` is at or below a property, in which a list without an index stands for each of its members."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    parts = r"(?:\[\d+\])*\.".join(map(re.escape, wanted.split(".")))
    return not wanted or re.match(rf"\.{parts}(?:[.\[]|$)", place) is not None


def _runs(repository: str, image: Value) -> bool:
    if isinstance(image, str):
        return is_id(image) or parse(image).is_of(repository)
    return image is UNKNOWN


def exemptions(config: Mapping[str, Value]) -> tuple[Exemption, ...]:
    """The exemptions in a rule's configuration. An entry that is not whole is none; this never raises."""
    given = config.get("exemptions")
    found = []
    for entry in given if isinstance(given, list) else []:
        try:
            found.append(Exemption.model_validate_json(json.dumps(entry)))
        except (ValidationError, TypeError):
            continue
    return tuple(found)
