"""The pack's configuration file: read, checked, and turned into what each rule is given.

A mistake in it is an error that names file and key; the pack does not start with half of its configuration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pulumi_policy import EnforcementLevel
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.rules.props import Value
from policies.rules.rule import Config, Rule

FILE: Final = Path(__file__).with_name("config.yaml")

LONGEST: Final = timedelta(days=400)
"""How far ahead an exception may end: somebody looks at each at least once a year."""

DEVELOPMENT: Final = "development-stacks"
"""The setting of a rule that is for staging and production alone; its value is that of the file."""


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """What the rules are given on one stack: each rule's own configuration by its name, and which only warn."""

    rules: Mapping[str, Config]
    advisory: frozenset[str] = frozenset()

    @property
    def initial(self) -> dict[str, EnforcementLevel | dict[str, Any]]:
        """As the SDK takes it."""
        levels: dict[str, Any] = {"enforcementLevel": EnforcementLevel.ADVISORY}
        return {name: {**given, **(levels if name in self.advisory else {})} for name, given in self.rules.items()}


class ConfigError(ValueError):
    """The configuration file is wrong: the message names it, the key and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-"), hide_input_in_errors=True
    )


class ExceptionLine(_Section):
    """One exception, as in the file; see policies/rules/exceptions.py."""

    rule: str
    resource: Annotated[str, Field(min_length=1)]
    only: str = Field("", alias="property")
    image: str = ""
    reason: Annotated[str, Field(min_length=10)]
    until: date

    @property
    def entry(self) -> dict[str, Value]:
        """As the rule's configuration has it."""
        fields: dict[str, Value] = {"resource": self.resource, "reason": self.reason, "until": self.until.isoformat()}
        return fields | {key: value for key, value in (("property", self.only), ("image", self.image)) if value}


class File(_Section):
    """The whole file."""

    development_stacks: tuple[str, ...]
    advisory: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    exceptions: tuple[ExceptionLine, ...] = ()
    settings: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)


def read(path: Path = FILE) -> File:
    """The file, checked by itself. Raises ConfigError."""
    try:
        return File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = (
            f"{path.name}: {'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        message = "\n".join(lines)
    except (OSError, yaml.YAMLError) as error:
        message = f"{path.name}: {' '.join(str(error).split())}"
    raise ConfigError(message)


def configure(file: File, rules: Sequence[Rule], stack: str, today: date | None = None) -> PackConfig:
    """What each of `rules` is given on `stack`. Raises ConfigError for what names no rule, no setting, or no stack
    of development, and for an exception that ends too far ahead. `today` is for tests."""
    by_name = {rule.name: rule for rule in rules}
    problems: list[str] = []

    def known(name: str, where: str) -> bool:
        if name not in by_name:
            problems.append(f"{where}: there is no rule {name}; there are {', '.join(sorted(by_name))}")
        return name in by_name

    latest = (today or datetime.now(UTC).date()) + LONGEST
    advisory: set[str] = set()
    result: dict[str, dict[str, Value]] = {
        rule.name: {DEVELOPMENT: list(file.development_stacks)} if DEVELOPMENT in rule.settings else {}
        for rule in rules
    }
    for name, settings in file.settings.items():
        if known(name, "settings"):
            for key, value in settings.items():
                if key not in by_name[name].settings or key == DEVELOPMENT:
                    problems.append(f"settings.{name}.{key}: that rule has no such setting")
                result[name][key] = value  # type: ignore[assignment] # any YAML value; the engine checks the schema
    lines: dict[str, list[Value]] = {}
    for index, line in enumerate(file.exceptions):
        where = f"exceptions.{index}"
        if line.until > latest:
            problems.append(f"{where}.until: must be {latest} or before; an exception is looked at once a year")
        if known(line.rule, f"{where}.rule"):
            lines.setdefault(line.rule, []).append(line.entry)
    for name, entries in lines.items():
        result[name]["exceptions"] = entries
    for one, names in file.advisory.items():
        if one not in file.development_stacks:
            problems.append(f"advisory.{one}: not one of {DEVELOPMENT}; elsewhere every rule refuses")
        for name in names:
            if known(name, f"advisory.{one}") and one == stack:
                advisory.add(name)
    if problems:
        raise ConfigError("\n".join(f"{FILE.name}: {problem}" for problem in problems))
    return PackConfig(rules=result, advisory=frozenset(advisory))
