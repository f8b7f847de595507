"""From the exported state of a stack, a project that declares the same resources without any component.

Pure: text in, text out. The program's inputs are the state's, as literals, secrets among them: whoever writes it to a
file keeps that file to this user. What does not belong here: running anything (preview.py).
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Final

from scripts.console import UserError
from scripts.wire import SIGNATURE, STACK, Json, Table, Urn, hidden, is_custom, parse_urn, resources, table, texts

_PROVIDER: Final = "pulumi:providers:"
_DEFAULTS: Final = "__defaults"
"""Where a bridged provider notes which inputs it filled in by itself (pulumi-terraform-bridge, pkg/tfbridge)."""

_HEAD: Final = '''\
# mypy: ignore-errors
"""Generated from a state: the resources of a stack, one statement each."""

import pulumi
'''


def flat_urn(urn: str, project: str) -> str:
    """The URN of the same resource in `project`, with no parent but the stack. Raises ValueError for what is none."""
    parts = parse_urn(urn)
    name = f"{project}-{parts.stack}" if parts.type == STACK else parts.name
    return str(Urn(stack=parts.stack, project=project, type=parts.type, name=name))


def flat_state(export: Mapping[str, Json], project: str, *, empty: bool = False) -> Table:
    """A state to import, made from `pulumi stack export`: in `project`, without components and stack outputs.

    `empty`: with the stack itself and nothing in it. Raises UserError where two resources would get one URN.
    """
    items = [item for item in resources(export) if item.get("type") == STACK or (is_custom(item) and not empty)]
    moved = [_moved(item, project) for item in items]
    urns = [str(item["urn"]) for item in moved]
    if twice := sorted({urn for urn in urns if urns.count(urn) > 1}):
        raise UserError(f"without their components these resources have one name: {', '.join(twice)}")
    known = set(urns)
    for item in moved:
        # What a component stands for in a list of dependencies, its resources, is in that list too.
        item["dependencies"] = [urn for urn in texts(item["dependencies"]) if urn in known]
    kept = {
        key: value
        for key, value in table(export.get("deployment")).items()
        if key not in ("resources", "pending_operations")
    }
    return {**export, "deployment": {**kept, "resources": [*moved]}}


def flat_program(export: Mapping[str, Json]) -> str:
    """A Python program that declares each custom resource of `pulumi stack export --show-secrets` by its SDK class.

    Raises UserError for an input that cannot be written down, such as an asset.
    """
    items = [item for item in resources(export) if is_custom(item) and not _is_default_provider(item)]
    names = {str(item["urn"]): f"r{number}" for number, item in enumerate(items)}
    modules = sorted({_class(str(item["type"])).partition(".")[0] for item in items})
    body = "\n".join(_statement(item, names) for item in items)
    return "\n".join([_HEAD + "\n".join(f"import {module}" for module in modules), "", body, ""])


def python_name(name: str) -> str:
    """The SDK's name of a property: destroyGraceSeconds is destroy_grace_seconds."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    return f"{snake}_" if keyword.iskeyword(snake) else snake


def _statement(item: Table, names: Mapping[str, str]) -> str:
    kind, urn = str(item["type"]), str(item["urn"])
    inputs = _given(table(item.get("inputs")))
    if kind.startswith(_PROVIDER):
        # The SDK gives its own version; the engine notes it among the inputs.
        inputs = {key: value for key, value in inputs.items() if key not in ("version", "pluginDownloadURL")}
    arguments = [repr(parse_urn(urn).name)]
    arguments += [f"{python_name(key)}={_literal(value, f'{urn}: {key}')}" for key, value in inputs.items()]
    if options := ", ".join(_options(item, names)):
        arguments.append(f"opts=pulumi.ResourceOptions({options})")
    return f"{names[urn]} = {_class(kind)}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _options(item: Table, names: Mapping[str, str]) -> Iterator[str]:
    provider = str(item.get("provider", "")).rpartition("::")[0]
    if provider in names:
        yield f"provider={names[provider]}"
    if after := [names[urn] for urn in texts(item.get("dependencies")) if urn in names]:
        yield f"depends_on=[{', '.join(after)}]"
    for key in ("protect", "retainOnDelete"):
        if item.get(key) is True:
            yield f"{python_name(key)}=True"
    for key in ("ignoreChanges", "replaceOnChanges"):
        if paths := texts(item.get(key)):
            yield f"{python_name(key)}={paths!r}"
    timeouts = {key: value for key, value in table(item.get("customTimeouts")).items() if value}
    if timeouts:
        given = ", ".join(f"{key}='{value}s'" for key, value in timeouts.items())
        yield f"custom_timeouts=pulumi.CustomTimeouts({given})"


def _given(inputs: Table) -> Table:
    """Inputs without those that the provider filled in, and without the notes of the engine and the provider."""
    defaults = texts(inputs.get(_DEFAULTS))
    return {key: item for key, item in inputs.items() if key not in defaults and not key.startswith("__")}


def _literal(value: Json, where: str) -> str:
    match value:
        case dict():
            plain = hidden(value)
            if plain is not None:
                return f"pulumi.Output.secret({_literal(json.loads(plain), where)})"
            if SIGNATURE in value:
                # The text names the place and not the value, which may be a secret.
                raise UserError(
                    f"{where}: an encrypted value, an asset or a reference cannot be written as a literal"
                )
            pairs = (f"{key!r}: {_literal(item, where)}" for key, item in _given(value).items())
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(_literal(item, where) for item in value) + "]"
        case _:
            return repr(value)


def _moved(item: Table, project: str) -> Table:
    """One resource of the state, moved to `project` with everything that points to others."""
    # Older names, places in the source, and what only an update reads, are left behind.
    left = ("aliases", "sourcePosition", "stackTrace", "propertyDependencies")
    moved = {key: value for key, value in item.items() if key not in left}
    urn = flat_urn(str(item["urn"]), project)
    moved["urn"] = urn
    if item.get("type") == STACK:
        moved.pop("outputs", None)
    if item.get("parent"):
        stack = parse_urn(urn).stack
        moved["parent"] = str(Urn(stack=stack, project=project, type=STACK, name=f"{project}-{stack}"))
    if provider := item.get("provider"):
        made, _, identity = str(provider).rpartition("::")
        moved["provider"] = f"{flat_urn(made, project)}::{identity}"
    moved["dependencies"] = [flat_urn(one, project) for one in texts(item.get("dependencies"))]
    if other := item.get("deletedWith"):
        moved["deletedWith"] = flat_urn(str(other), project)
    return moved


def _class(kind: str) -> str:
    """The SDK class of a type token: docker:index/container:Container is pulumi_docker.Container."""
    if kind.startswith(_PROVIDER):
        return f"{_module(kind.removeprefix(_PROVIDER))}.Provider"
    package, module, name = kind.split(":")
    place = module.partition("/")[0]
    return ".".join([_module(package), *([] if place == "index" else [python_name(place)]), name])


def _module(package: str) -> str:
    return f"pulumi_{package.replace('-', '_')}"


def _is_default_provider(item: Table) -> bool:
    """Whether the engine made this provider by itself, as it will again."""
    return str(item["type"]).startswith(_PROVIDER) and parse_urn(str(item["urn"])).name.startswith("default")
