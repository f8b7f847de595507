"""The pack's configuration files: read, checked, and turned into what each rule is given.

config.yaml is written by people, matrix.yaml (who is on which network) by `make docs`. A mistake in one is an error
that names file and key; the pack does not start with half of its configuration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from pulumi_policy import EnforcementLevel
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.strictyaml import Loader, complaint
from policies.rules.exemptions import Exempt
from policies.rules.networks import ANSWERS, CONNECTS, TABLE
from policies.rules.props import Value
from policies.rules.rule import DEVELOPMENT as DEVELOPMENT
from policies.rules.rule import EXEMPT, REVIEWS, Config, Rule, in_development

FILE: Final = Path(__file__).with_name("config.yaml")

MATRIX: Final = Path(__file__).with_name("matrix.yaml")
"""Who is on which network, as the program declares it."""

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
    try:
        tree: object = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - a SafeLoader
        if isinstance(tree, dict):  # a key with nothing behind it, as when the last exemption is taken out
            tree = {key: value for key, value in tree.items() if value is not None}
        return File.model_validate(tree)
    except ValidationError as error:
        lines = (
            f"{_called(path)}: {'.'.join(map(str, one['loc'])) or 'the file'}: {_SAID.get(one['type'], one['msg'])}"
            for one in error.errors(include_input=False, include_url=False)
        )
        message = "\n".join(lines)
    except yaml.YAMLError as error:
        message = f"{_called(path)}: {complaint(error)}"
    except (OSError, ValueError) as error:  # ValueError: a day such as 2027-02-30
        message = f"{_called(path)}: {' '.join(str(error).split())}"
    raise ConfigError(message)


# Where pydantic speaks of Python's types.
_SAID: Final = {
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "tuple_type": "must be a list",
    "extra_forbidden": "no such key",
    "missing": "missing",
}


def matrix(path: Path = MATRIX) -> dict[str, dict[str, str]]:
    """Who is on which network: its containers by each network's logical name, and how each is there. Raises
    ConfigError."""
    advice = "run `make docs`, which writes it"
    try:
        tree: object = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{_called(path)}: {complaint(error)}; {advice}") from None
    except OSError as error:
        raise ConfigError(f"{_called(path)}: {error.strerror}; {advice}") from None
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"{_called(path)}: has no network; {advice}")
    for network, members in tree.items():
        if not isinstance(members, dict):
            raise ConfigError(f"{_called(path)}: {network}: must be an object of containers; {advice}")
        for name, how in members.items():
            if how not in (ANSWERS, CONNECTS):
                raise ConfigError(f"{_called(path)}: {network}.{name}: must be {ANSWERS} or {CONNECTS}; {advice}")
    return {str(network): {str(name): str(how) for name, how in members.items()} for network, members in tree.items()}


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

    advisory: set[str] = set()
    result: dict[str, dict[str, Value]] = {
        rule.name: {DEVELOPMENT: list(file.development_stacks)} if DEVELOPMENT in rule.settings else {}
        for rule in rules
    }
    for name, settings in file.settings.items():
        if known(name, "settings"):
            for key, value in settings.items():
                schema = by_name[name].settings.get(key)
                if schema is None or key in (DEVELOPMENT, EXEMPT, REVIEWS, TABLE):
                    problems.append(f"settings.{name}.{key}: that rule has no such setting")
                elif complaint := _unfit(value, schema):
                    problems.append(f"settings.{name}.{key}: {complaint}")
                result[name][key] = value  # type: ignore[assignment] # any YAML value; the engine checks the schema
    images: dict[str, list[Value]] = {}
    for line in file.exemptions:
        if line.image and line.image not in (given := images.setdefault(line.resource, [])):
            given.append(line.image)
    for rule in rules:
        if TABLE in rule.settings:
            result[rule.name][TABLE] = {network: dict(members) for network, members in matrix().items()}
        if EXEMPT in rule.settings:
            result[rule.name][EXEMPT] = dict(images)
        if REVIEWS in rule.settings:
            result[rule.name][REVIEWS] = [
                {"rule": line.rule, "resource": line.resource, "until": line.until.isoformat()}
                for line in file.exemptions
            ]
    lines: dict[str, list[Value]] = {}
    for index, line in enumerate(file.exemptions):
        if known(line.rule, f"exemptions.{index}.rule"):
            lines.setdefault(line.rule, []).extend(line.entries)
    for name, entries in lines.items():
        result[name]["exemptions"] = entries
    for one, names in file.advisory.items():
        if not in_development(one, {DEVELOPMENT: list(file.development_stacks)}):
            problems.append(f"advisory.{one}: not one of {DEVELOPMENT}; elsewhere every rule refuses")
        for name in names:
            if known(name, f"advisory.{one}") and one == stack:
                advisory.add(name)
    if problems:
        raise ConfigError("\n".join(f"{_called(FILE)}: {problem}" for problem in problems))
    return PackConfig(rules=result, advisory=frozenset(advisory))


_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "string": str,
}


def _unfit(value: object, schema: Mapping[str, Any]) -> str:
    """What is wrong with a setting, by its schema's type, allowed values and items; the engine checks the rest."""
    kind = str(schema.get("type"))
    if kind in _TYPES and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return f"must be of type {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of {', '.join(map(str, schema['enum']))}"
    for index, item in enumerate(value if isinstance(value, list) else []):
        if complaint := _unfit(item, schema.get("items", {})):
            return f"item {index} {complaint}"
    return ""
