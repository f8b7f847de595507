"""The pack's configuration files: read, checked, and turned into what each rule is given.

config.yaml is written by people, matrix.yaml (who is on which network) by `make docs`. A mistake in one is an error
that names file and key; the pack does not start with half of its configuration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import yaml
from pulumi_policy import EnforcementLevel
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from components.strictyaml import Loader, complaint
from policies.rules.containers import items
from policies.rules.exemptions import Exempt
from policies.rules.networks import TABLE
from policies.rules.props import Value
from policies.rules.rule import DEVELOPMENT as DEVELOPMENT
from policies.rules.rule import EXEMPT, REVIEWS, Config, Rule, Schema, in_development

T = TypeVar("T")

FILE: Final = Path(__file__).with_name("config.yaml")

MATRIX: Final = Path(__file__).with_name("matrix.yaml")
"""Who is on which network, as the program declares it."""

Matrix = Annotated[dict[str, dict[str, Literal["answers", "connects"]]], Field(min_length=1)]

LONGEST: Final = timedelta(days=400)
"""How far ahead the review of an exemption may be: somebody looks at each at least once a year."""


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """What the rules are given on one stack: each rule's own configuration by its name, and which only warn."""

    rules: Mapping[str, Config]
    advisory: frozenset[str] = frozenset()

    def initial(self, rules: Sequence[Rule]) -> dict[str, EnforcementLevel | dict[str, Any]]:
        """As the SDK takes it, the same for every stack: the pack starts before it is told for which.

        Every level is written: one that is left out reaches the engine as advisory.
        """
        return {rule.name: {**self.rules.get(rule.name, {}), "enforcementLevel": rule.level} for rule in rules}

    @property
    def levels(self) -> dict[str, str]:
        """The levels that are others on this stack, as `--policy-pack-config` takes them."""
        return dict.fromkeys(sorted(self.advisory), EnforcementLevel.ADVISORY.value)

    def level(self, rule: Rule) -> EnforcementLevel:
        """The level of a rule on this stack."""
        return EnforcementLevel.ADVISORY if rule.name in self.advisory else rule.level


class ConfigError(ValueError):
    """The configuration file is wrong: the message names it, the key and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-"), hide_input_in_errors=True
    )


class ExemptionLine(Exempt):
    """One line of exemptions, as in the file; see policies/rules/exemptions.py."""

    rule: str = Field(description="Name of the rule.")
    value: str | tuple[str, ...] = Field(
        "",
        description="Only for this value, or these, where the rule tells values apart: a capability, a host path. In "
        "one, * is any text.",
    )

    @property
    def entries(self) -> list[Value]:
        """As the rule's configuration has it: one for each value."""
        fields: dict[str, Value] = self.model_dump(
            mode="json", by_alias=True, exclude={"rule", "value"}, exclude_defaults=True
        )
        values = (self.value,) if isinstance(self.value, str) else self.value
        return [fields | ({"value": value} if value else {}) for value in values]


class File(_Section):
    """The whole file."""

    development_stacks: tuple[str, ...] = Field(
        description="Stacks on which nobody depends; in a name `*` stands for any characters. The rules for staging "
        "and production are silent there."
    )
    advisory: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Rules that only warn, by stack; for stacks of development alone."
    )
    exemptions: tuple[ExemptionLine, ...] = Field(
        (), description="What a rule lets pass, why, and by when that is reviewed again."
    )
    settings: Mapping[str, Mapping[str, object]] = Field(
        default_factory=dict, description="Settings of single rules, by the rule's name."
    )


def read(path: Path = FILE) -> File:
    """The file, checked by itself. Raises ConfigError."""
    return _checked(path, TypeAdapter(File))


def matrix(path: Path = MATRIX) -> Matrix:
    """Who is on which network: its containers by each network's logical name, and how each is there. Raises
    ConfigError."""
    return _checked(path, TypeAdapter(Matrix), "; run `make docs`, which writes it")


def _checked(path: Path, shape: TypeAdapter[T], advice: str = "") -> T:
    try:
        tree: object = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - a SafeLoader
        if isinstance(tree, dict):  # a key with nothing behind it, as when the last exemption is taken out
            tree = {key: value for key, value in tree.items() if value is not None}
        return shape.validate_python(tree)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, one['loc'])) or 'the file'}: {_SAID.get(one['type'], one['msg'])}"
            for one in error.errors(include_input=False, include_url=False)
        ]
    except yaml.YAMLError as error:
        lines = [complaint(error)]
    except (OSError, ValueError) as error:  # ValueError: a day such as 2027-02-30
        lines = [" ".join(str(error).split())]
    raise ConfigError("\n".join(f"{_called(path)}: {line}{advice}" for line in lines))


# Where pydantic speaks of Python's types.
_SAID: Final = {
    **dict.fromkeys(("dict_type", "mapping_type", "model_type"), "must be an object"),
    "tuple_type": "must be a list",
    "extra_forbidden": "no such key",
    "missing": "missing",
}


def _called(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def late(file: File, today: date) -> Iterator[str]:
    """A line for each exemption whose review is past, or too far ahead, on the day `today`.

    Not in `configure`: neither a day that comes nor a clock that is wrong may stop a deployment.
    """
    latest = today + LONGEST
    for index, line in enumerate(file.exemptions):
        where = f"{_called(FILE)}: exemptions.{index} ({line.rule}, {line.resource})"
        if line.until < today:
            yield f"{where}: review was due by {line.until}; look at it again, give it a new day or take it out"
        elif line.until > latest:
            yield f"{where}: until must be {latest} or before: an exemption is reviewed once a year"


def is_development(stack: str) -> bool:
    """Whether the pack's configuration counts the stack of that name among those of development."""
    return in_development(stack, {DEVELOPMENT: list(read().development_stacks)})


def configure(file: File, rules: Sequence[Rule], stack: str = "") -> PackConfig:
    """What each of `rules` is given on `stack`; without one, on any.

    Raises ConfigError for what names no rule, no setting, or no stack of development.
    """
    by_name = {rule.name: rule for rule in rules}
    problems: list[str] = []

    def known(name: str, where: str) -> bool:
        if name not in by_name:
            problems.append(f"{where}: there is no rule {name}; there are {', '.join(sorted(by_name))}")
        return name in by_name

    images: dict[str, Value] = {}
    for line in file.exemptions:
        if line.image:
            images[line.resource] = [*items(images.get(line.resource)), line.image]
    of_the_files: dict[str, Value] = {
        DEVELOPMENT: [*file.development_stacks],
        TABLE: {network: {**members} for network, members in matrix().items()},
        EXEMPT: images,
        REVIEWS: [
            {"rule": one.rule, "resource": one.resource, "until": one.until.isoformat()} for one in file.exemptions
        ],
    }
    result = {rule.name: {key: of_the_files[key] for key in of_the_files if key in rule.settings} for rule in rules}
    for name, settings in file.settings.items():
        for key, value in settings.items() if known(name, "settings") else ():
            schema = by_name[name].settings.get(key)
            if schema is None or key in of_the_files:
                problems.append(f"settings.{name}.{key}: that rule has no such setting")
            elif complaint := _unfit(value, schema):
                problems.append(f"settings.{name}.{key}: {complaint}")
            result[name][key] = value  # type: ignore[assignment] # any YAML value; the engine checks the schema
    for index, line in enumerate(file.exemptions):
        if known(line.rule, f"exemptions.{index}.rule"):
            given = result[line.rule]
            given["exemptions"] = [*items(given.get("exemptions")), *line.entries]
    advisory: set[str] = set()
    for one, names in file.advisory.items():
        if not in_development(one, of_the_files):
            problems.append(f"advisory.{one}: not one of {DEVELOPMENT}; elsewhere every rule refuses")
        advisory.update(name for name in names if known(name, f"advisory.{one}") and one == stack)
    if problems:
        raise ConfigError("\n".join(f"{_called(FILE)}: {problem}" for problem in problems))
    return PackConfig(rules=result, advisory=frozenset(advisory))


_TYPES: Final[Mapping[str, type]] = {"array": list, "object": dict, "string": str}


def _unfit(value: object, schema: Schema) -> str:
    """What is wrong with a setting, by its schema's type and that of its items; the engine checks the rest."""
    if not isinstance(value, _TYPES[schema["type"]]):
        return f"must be of type {schema['type']}"
    members = enumerate(value) if isinstance(value, list) else ()
    return next((f"item {at} {fault}" for at, one in members if (fault := _unfit(one, schema["items"]))), "")
