"""The settings from a stack file, or from the engine's configuration, which no other module reads as a whole."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import pulumi
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from components import commands, openvpn, stackfile, tls
from components.settings.messages import explain
from components.settings.schema import OpenVpn, Settings, models_of, tags_of
from components.settings.secret import (
    OPENVPN_CONFIG,
    OPENVPN_PASSWORD,
    OPENVPN_USER,
    SECRET_KEYS,
    TLS_CERTIFICATE,
    TLS_KEY,
    SecretKey,
    Secrets,
    required_secrets,
)
from components.stackfile import PROJECT

PLACEHOLDER: Final = "CHANGE-ME"
"""What a template has where only the owner knows the value. It is refused by key, with an example of the field."""


class SettingsError(pulumi.RunError):
    """A setting is wrong or missing: the message names the file, the key and what to do."""


def parse(values: Mapping[str, Any], file: str) -> Settings:
    """Settings from the keys of a stack file (without the ``nexus:`` prefix; objects as parsed or as JSON text).

    Raises SettingsError with one line for each mistake: file, key, what is wrong; never the value given.
    """
    settings, problems = _parsed(values)
    if settings is None or problems:
        _refuse(file, problems)
    return settings


def _parsed(values: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """The settings, or None, and a line for each mistake; beside settings these are placeholders alone."""
    problems: list[str] = []
    tree: dict[str, Any] = {}
    for key, value in values.items():
        try:
            tree[key] = _object(value)
        except ValueError as error:
            problems.append(f"{PROJECT}:{key}: {error}")
    settings = None
    try:
        settings = Settings.model_validate(filled(tree), by_alias=True, by_name=False)
    except ValidationError as error:
        # What is kept of the error must not be the error itself, which knows what was given.
        problems += [explain(details) for details in error.errors(include_input=False, include_url=False)]
    # pydantic takes true for 1; no setting is a switch.
    for switch in (f"{PROJECT}:{key}:" for key in _switches(tree)):
        if not any(problem.startswith(switch) for problem in problems):
            problems.append(f"{switch} must not be true or false")
    settings = None if problems else settings
    for path, field in placeholders(tree):
        problems.append(
            f"{PROJECT}:{'.'.join(path)}: is still the template's {PLACEHOLDER}: write your own, such as "
            f"{_example(field)}. {field.description}"
        )
    return settings, problems


def placeholders(values: Mapping[str, Any]) -> tuple[tuple[tuple[str, ...], FieldInfo], ...]:
    """The keys, from the section down, that still have a template's placeholder, with their fields. The sections may
    have their namespace."""
    return tuple(_left(_objects(values), (Settings,)))


def _objects(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what is JSON text of an object as one; what cannot be read is left for `parse` to refuse."""
    tree = dict(values)
    for key, value in values.items():
        with contextlib.suppress(ValueError):
            tree[key] = _object(value)
    return tree


def _left(
    tree: Mapping[str, Any], models: Sequence[type[BaseModel]], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    # Of a choice, the form that is chosen.
    chosen = [
        model for model in models if any(isinstance(one, str) and one in tags_of(model) for one in tree.values())
    ]
    for key, value in tree.items():
        fields = (
            info
            for model in chosen or models
            for name, info in model.model_fields.items()
            if (info.alias or name) == key.removeprefix(f"{PROJECT}:")
        )
        field = next(fields, None)
        if field is not None and isinstance(value, Mapping):
            yield from _left(value, models_of(field.annotation), (*above, key))
        elif field is not None and PLACEHOLDER in (json.dumps(value) if isinstance(value, list) else str(value)):
            yield (*above, key), field


def _example(field: FieldInfo) -> Any:
    return field.examples[0] if field.examples else PLACEHOLDER


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with each placeholder's place taken by the example of its field."""
    tree = _objects(values)
    for path, field in placeholders(tree):
        branch = tree
        for key in path[:-1]:
            branch[key] = dict(branch[key])
            branch = branch[key]
        branch[path[-1]] = _example(field)
    return tree


def _switches(tree: Any, path: str = "") -> Iterator[str]:
    """The keys whose value is true or false."""
    if isinstance(tree, bool):
        yield path
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _switches(value, f"{path}.{key}" if path else str(key))


def check(config: Mapping[str, Any], encrypted: Collection[str], stack: str, file: str) -> Settings:
    """The plain settings in a stack's whole configuration: keys with their namespaces, and which hold a secret.

    Raises SettingsError for keys that are not this project's, plain settings that were stored as secrets (they would
    reach state and containers in clear), secrets in clear, and as `parse` does.
    """
    settings, problems = _checked(config, encrypted, stack)
    if settings is None or problems:
        _refuse(file, problems)
    return settings


def _checked(config: Mapping[str, Any], encrypted: Collection[str], stack: str) -> tuple[Settings | None, list[str]]:
    """As `_parsed`, of the whole configuration."""
    prefix = f"{PROJECT}:"
    secret = {f"{prefix}{one.key}" for one in SECRET_KEYS}
    sections = {f"{prefix}{field.alias or name}" for name, field in Settings.model_fields.items()}
    problems: list[str] = []
    for key in config:
        space, _, name = key.partition(":")
        if space not in (PROJECT, "pulumi"):
            ours = f"{prefix}{name}" if f"{prefix}{name}" in sections | secret else f"{prefix}<setting>"
            there = f"{prefix}docker.{name}" if space == "docker" else ours
            problems.append(f"{key}: no such setting, and nothing would read it; write {there} (docs/settings.md)")
        elif key in secret - set(encrypted):
            problems.append(
                f"{key}: is a secret but stored in clear; run `{commands.config_set(stack, f'--secret {key}')}` with "
                "it, and count the old value as known to others"
            )
    plain = {
        key.removeprefix(prefix): value
        for key, value in config.items()
        if key.startswith(prefix) and key not in secret
    }
    settings, mistakes = _parsed(plain)
    for key in sorted(sections & set(encrypted) & config.keys()):
        about = [one for one in mistakes if one.startswith((f"{key}.", f"{key}:"))]
        mistakes = [one for one in mistakes if one not in about]
        # A mistyped key below is unknown first of all; `secure` stands for the value in the stack file.
        unknown = [one for one in about if ": no such setting" in one and not one.startswith(f"{key}.secure:")]
        problems += unknown or [
            f"{key}: is stored as a secret but is a plain setting; set it again without --secret (secret settings "
            "have keys of their own)"
        ]
    return None if problems else settings, [*problems, *mistakes]


def load(stack: str) -> tuple[Settings, Secrets]:
    """The settings of the stack being run, from the engine's configuration.

    Raises SettingsError as `check` does, for secrets that are missing or cannot be right, and for what stands in the
    stack file otherwise than the engine has read it.
    """
    file = f"Pulumi.{stack}.yaml"
    # What the engine hands over has lost how it was written: 01000 is 512.
    written = Path(os.environ.get("PULUMI_OPTION_CONFIG_FILE") or file)
    if written.is_file():
        try:
            stackfile.read(written)
        except stackfile.StackFileError as error:
            raise SettingsError(str(error)) from error
    config = _all_config()
    settings, problems = _checked(config, _secret_config_keys(), stack)
    if settings is not None:
        problems += _secret_problems(settings, config, stack)
    if settings is None or problems:
        _refuse(file, problems)
    return settings, Secrets(stack)


def _secret_problems(settings: Settings, config: Mapping[str, str], stack: str) -> Iterator[str]:
    """A line for each secret setting that is missing or cannot be right."""
    have = {key.removeprefix(f"{PROJECT}:") for key in config}
    needed = [*required_secrets(settings, have)]
    if isinstance(settings.vpn, OpenVpn) and settings.vpn.provider == "custom":
        # A server that asks for a user name asks for a password, too.
        pair = (OPENVPN_USER, OPENVPN_PASSWORD)
        asked = openvpn.asks_for_user(config.get(f"{PROJECT}:{OPENVPN_CONFIG.key}", ""))
        needed += pair if asked or any(one.key in have for one in pair) else ()
    for secret in SECRET_KEYS:
        key = f"{PROJECT}:{secret.key}"
        command = f"run `{commands.config_set(stack, f'--secret {key}')}{' < FILE' if secret.file else ''}`"
        if key not in config:
            if secret in needed:
                yield f"{key}: missing ({secret.what}); {command}"
        elif not config[key].strip():
            yield f"{key}: is empty; {command} with it"
        elif _is_sealed(config[key]):
            continue
        elif fault := secret.fault(config[key]) or _tls_fault(secret, settings, config):
            yield f"{key}: {fault}; {command} with it"


def _tls_fault(secret: SecretKey, settings: Settings, config: Mapping[str, str]) -> str | None:
    """What is wrong with certificate or key beside the other and the domain."""
    chain = config.get(f"{PROJECT}:{TLS_CERTIFICATE.key}", "")
    if secret is TLS_CERTIFICATE:
        return tls.certificate_problem(chain, settings.edge.domain)
    return tls.key_problem(chain, config[f"{PROJECT}:{TLS_KEY.key}"]) if secret is TLS_KEY else None


def _is_sealed(text: str) -> bool:
    """Whether a value is one that the scripts have no key for: as it stands in the stack file."""
    return text.startswith('{"secure": ')


def _refuse(file: str, problems: Iterable[str]) -> NoReturn:
    raise SettingsError("\n".join(f"{file}: {problem}" for problem in problems))


def _object(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value, object_pairs_hook=_once)
        except json.JSONDecodeError:
            return value
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice} stands twice")
    return found


def _all_config() -> dict[str, Any]:
    # pulumi.Config can read a key but not list them, and an unknown key must be refused: the engine hands all of
    # them over in PULUMI_CONFIG (sdk/python runtime/config.py); set_all_config is what tests use.
    from pulumi.runtime import config as runtime

    return {**json.loads(os.environ.get("PULUMI_CONFIG", "{}")), **runtime.CONFIG.get()}


def _secret_config_keys() -> set[str]:
    from pulumi.runtime import config as runtime

    return set(json.loads(os.environ.get("PULUMI_CONFIG_SECRET_KEYS", "[]"))) | runtime._SECRET_KEYS.get()
