"""Writes docs/policies.md from the rules' metadata, docs/settings.md from the settings' types, and
policies/matrix.yaml and tests/platform.yaml from what the program declares.

With --check nothing is written, and what is not current is named. What does not belong here: explanations. They stand
where the thing explained is, in the families' docstrings, the rules and the fields.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from components.settings.schema import Settings
from components.settings.secret import SECRET_KEYS
from components.stackfile import PROJECT
from policies import benchmarks
from policies import config as pack
from policies.rules import FAMILIES, RULES
from policies.rules.networks import ANSWERS, CONNECTS, TABLE
from policies.rules.rule import DEVELOPMENT, EXEMPT, REVIEWS, Resource, Rule
from scripts import declared
from scripts.console import UserError, finish, say
from scripts.paths import ROOT
from tools import snapshot

WRITTEN: Final = "<!-- Written by `make docs`; what is changed here by hand is lost. -->"


def policies() -> str:
    """docs/policies.md."""
    parts = [
        WRITTEN,
        "# Policies",
        f"The pack in `policies/` has {len(RULES)} rules in {len(FAMILIES)} families. `make preview` and `make up` "
        "run it on the engine, which refuses a resource before it is made; `make policy STACK=prod` runs it in "
        "seconds on what the program declares, without engine, passphrase, secrets or Docker. It checks what the "
        "engine wrote, too: `scripts/run policy --preview FILE` the output of `pulumi preview --json --show-sames`, "
        "`--state FILE` that of `pulumi stack export`.",
        "A message names the resource, the property and what to do, and never a value. What only an update will know "
        "is skipped in a preview and checked by `up`. What a rule lets pass is a line in `policies/config.yaml`: "
        "rule, resource, reason, and the day by which that is reviewed again. After that day `up` warns, and `make "
        "policy` fails.",
        _table(
            ("Family", "Rules"),
            (
                (f"[{name}](#family-{name})", ", ".join(_link(rule) for rule in rules))
                for name, rules in FAMILIES.items()
            ),
        ),
    ]
    for name, rules in FAMILIES.items():
        parts += [f"## Family: {name}", docstring(name), f"Its tests: {_tests(name)}."]
        for rule in rules:
            parts += _rule(rule)
    for benchmark in benchmarks.BENCHMARKS:
        parts += [
            f"## Benchmark: {benchmark.name}",
            f"[The benchmark]({benchmark.url}) has the full text; the titles here are this project's words.",
            _table(("Item", "What it asks for", "Rules", "Tests, or why there is no rule"), _items(benchmark)),
        ]
    return "\n\n".join(parts) + "\n"


def docstring(family: str) -> str:
    """What a family says of itself."""
    module = importlib.import_module(f"policies.rules.{family}")
    text = re.sub(rf"^Family `{family}`: ", "", inspect.cleandoc(module.__doc__ or ""))
    return text[:1].upper() + text[1:]


def tests_of(family: str) -> tuple[str, ...]:
    """The files with a family's tests."""
    found = (ROOT / "tests" / "policies").glob(f"test_rule_{family}*.py")
    return tuple(sorted(path.relative_to(ROOT).as_posix() for path in found))


def _tests(family: str) -> str:
    return ", ".join(f"[{path.rpartition('/')[2]}](../{path})" for path in tests_of(family))


def _link(rule: Rule) -> str:
    return f"[{rule.name}](#{rule.name})"


def _rule(rule: Rule) -> Iterator[str]:
    about = "the whole stack" if rule.validate_stack is not None else "one resource"
    items = ", ".join(rule.benchmarks) or "none"
    yield f"## {rule.name}"
    yield rule.description
    yield (
        f"Severity {rule.severity.value}, {rule.level.value}; checks {about}; benchmarks: {items}.\n\n"
        f"What to do: {rule.remediation}"
    )
    if rule.settings:
        yield _table(
            ("Setting", "Type", "Default", "What it is"),
            (
                (f"`{key}`", _schema_type(schema), _schema_default(key, schema), str(schema.get("description", "")))
                for key, schema in rule.settings.items()
            ),
        )


def _schema_type(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_schema_type(schema.get('items', {}))}"
    return " or ".join(f"`{one}`" for one in schema["enum"]) if "enum" in schema else kind


def _schema_default(key: str, schema: Mapping[str, Any]) -> str:
    if key in (DEVELOPMENT, EXEMPT, REVIEWS):
        return "that of the file"
    if key == TABLE:
        return "policies/matrix.yaml"
    default = schema.get("default")
    if isinstance(default, list):
        return ", ".join(f"`{one if isinstance(one, str) else json.dumps(one)}`" for one in default) or "none"
    return f"`{json.dumps(default)}`"


def _items(benchmark: benchmarks.Benchmark) -> Iterator[Sequence[str]]:
    families = {rule.name: name for name, rules in FAMILIES.items() for rule in rules}
    for item in benchmark.items:
        rules = benchmarks.covering(item, RULES)
        last = ", ".join(dict.fromkeys(_tests(families[rule.name]) for rule in rules)) or item.reason
        yield item.id, item.title, ", ".join(map(_link, rules)) or "-", last


def settings_page() -> str:
    """docs/settings.md."""
    parts = [
        WRITTEN,
        "# Settings",
        "Each key stands under `config:` in `Pulumi.<stack>.yaml`. What may be left out has a default; an unknown "
        "key is refused. `scripts/pulumi -s <stack> config set --path nexus:edge.domain media.example.org` sets one; "
        "with Pulumi alone it is `pulumi config set --path …`.",
    ]
    for name, info in Settings.model_fields.items():
        key = f"{PROJECT}:{info.alias or name}"
        for index, model in enumerate(models(info.annotation)):
            about = inspect.cleandoc(model.__doc__ or "").replace("``", "`")
            parts += [f"## {key}"] if index == 0 else []
            parts += [about, _fields(model)]
            # What is below a key with a choice of its own, such as jellyfin's gpu.
            for below, inner in model.model_fields.items():
                for choice in models(inner.annotation):
                    parts += [f"### {key}.{inner.alias or below}, {_choice(choice)}", _fields(choice)]
    required = SECRET_KEYS
    parts += [
        "## Secret settings",
        "Each is set with `scripts/pulumi -s <stack> config set --secret <key>` and stored encrypted; in clear it is "
        "refused. `make preview` names those that a stack's other settings ask for.",
        _table(("Key", "What it is"), ((f"`{PROJECT}:{one.key}`", one.what) for one in required)),
        "## policies/config.yaml",
        "The policy pack's own configuration, the same for all stacks and reviewed like code. What single rules can "
        "be set to is in [policies.md](policies.md).",
        _fields(pack.File),
        "### exemptions, each",
        _fields(pack.ExemptionLine),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def models(annotation: object) -> tuple[type[BaseModel], ...]:
    """The models that a field may hold directly; none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if get_origin(annotation) is Annotated:
        return models(get_args(annotation)[0])
    if get_origin(annotation) in (tuple, list, dict, Mapping, Literal):
        return ()
    return tuple(model for part in get_args(annotation) for model in models(part))


def _choice(model: type[BaseModel]) -> str:
    """Which of several choices a model is: the value it is told apart by."""
    for name, info in model.model_fields.items():
        if get_origin(info.annotation) is Literal:
            return f"{info.alias or name}: {get_args(info.annotation)[0]}"
    return "each"


def _fields(model: type[BaseModel]) -> str:
    return _table(
        ("Key", "Type", "Default", "What it is"),
        (
            (f"`{info.alias or name}`", _type(info), _default(info), _about(name, info))
            for name, info in model.model_fields.items()
        ),
    )


def _about(name: str, info: FieldInfo) -> str:
    if info.description:
        return info.description
    return "Chooses this form." if name in ("type", "mode") else ""


def _type(info: FieldInfo) -> str:
    return _named(info.annotation)


_NAMES: Final[Mapping[object, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    object: "any",
}


def _named(annotation: object) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if annotation is None or annotation is type(None):
        return ""
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if origin is Annotated:
        return _named(arguments[0])
    if origin is tuple:
        return f"list of {_named(arguments[0])}"
    if models(annotation):
        return "object"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"object of {_named(arguments[1])}"
    if arguments:
        return " or ".join(name for name in map(_named, arguments) if name)
    return _WORDS.get(getattr(annotation, "__name__", ""), "text")


_WORDS: Final[Mapping[str, str]] = {
    "IPv4Address": "IPv4 address",
    "IPv4Network": "IPv4 range",
    "IPvAnyAddress": "IP address",
    "PurePosixPath": "path",
    "date": "day",
}


def _default(info: FieldInfo) -> str:
    default: object = info.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        return f"`{_choice(default.__class__)}`" if _choice(default.__class__) != "each" else "see below"
    if default is None or default in ("", (), {}):
        return "none"
    return f"`{default}`"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    if len(lines) == 2:
        return ""
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in lines)


def _cell(text: str) -> str:
    """One line, in which `<name>` outside of code is no markup."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(piece if piece.startswith("`") else piece.replace("<", "&lt;") for piece in pieces)


STACKS: Final = ("dev", "prod", "staging")
"""The stacks whose files are part of the repository. A file that a user adds beside them changes nothing here."""

_MATRIX: Final = f"""\
# Who is on which network: each network with its containers, all by logical name. Written by `make docs` from what the
# program declares on the stacks {", ".join(STACKS)}; what is changed here by hand is lost.
# A change in this file is a change of who reaches whom, and is reviewed as one: the rule `network-table` refuses a
# stack that differs from it.
# `{ANSWERS}`: the others on that network find it there by its name. `{CONNECTS}`: it only opens connections there.
"""


def matrix() -> str:
    """policies/matrix.yaml."""
    rows: dict[str, dict[str, str]] = {}
    for name in STACKS:
        stack = declared.of_stack(ROOT, name, ROOT / f"Pulumi.{name}.yaml", quiet=True)
        networks = {str(one.props.get("name")): one.name for one in stack.of("Network")}
        rows |= {network: {} for network in networks.values() if network not in rows}
        for one in stack.of("Container"):
            for network, how in _attached(one):
                row = rows[networks[network]]
                if row.setdefault(one.name, how) != how:
                    raise UserError(
                        f"{one.name}: {how} on {networks[network]} of the stack {name} alone; declare it as elsewhere"
                    )
    return _MATRIX + yaml.safe_dump(rows, sort_keys=True)


def _attached(container: Resource) -> Iterator[tuple[str, str]]:
    attached = container.props.get("networksAdvanced")
    for item in attached if isinstance(attached, list) else []:
        if isinstance(item, dict):
            yield str(item.get("name")), ANSWERS if item.get("aliases") else CONNECTS


PAGES: Final[Mapping[str, Callable[[], str]]] = {"docs/policies.md": policies, "docs/settings.md": settings_page}
"""What is read by people, in Markdown."""

FILES: Final[Mapping[str, Callable[[], str]]] = {
    **PAGES,
    "policies/matrix.yaml": matrix,
    "tests/platform.yaml": snapshot.platform,
}
"""All that is written."""


def stale(root: Path) -> Mapping[str, str]:
    """The files that are not there, or not as they would be written: by name, what would be."""
    written = {name: text() for name, text in FILES.items()}
    return {
        name: text
        for name, text in written.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run docs`."""
    description = (__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    parser = argparse.ArgumentParser(prog="scripts/run docs", description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not current")
    given = parser.parse_args(arguments)
    old = stale(ROOT)
    if given.check:
        if old:
            raise UserError(f"not current: {', '.join(old)}; run `make docs`")
        return 0
    for name, text in old.items():
        (ROOT / name).write_text(text, encoding="utf-8")
        say(f"docs: wrote {name}")
    return 0


if __name__ == "__main__":
    finish(main, "`make docs` starts again")
