"""What pydantic says of a mistake in the settings, in the words of the stack file: its keys, and never a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from components.settings.schema import Settings, models_of, tags_of
from components.settings.secret import SECRET_KEYS
from components.stackfile import PROJECT


def explain(details: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: the key with its namespace, and what is wrong or allowed there."""
    keys, place = _locate(details["loc"])
    key = PROJECT + ":" + ".".join(keys)
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return f"{key}: no such setting; allowed are {', '.join(_keys(place))}"
        case "missing":
            return f"{key}: missing"
        case "model_type" | "model_attributes_type":
            return f"{key}: must be an object with the keys {', '.join(_keys(place))}"
        case "union_tag_not_found":
            return f"{key}.{context['discriminator'].strip(chr(39))}: missing"
        case "union_tag_invalid":
            return f"{key}.{context['discriminator'].strip(chr(39))}: must be one of {context['expected_tags']}"
        case "tuple_type":
            return f"{key}: must be a list"
        case "path_type":
            return f"{key}: must be a path"
        case _:
            # What is wrong between two sections is the whole file's, and names its key itself.
            return f"{key}{': ' if keys else ''}{details['msg'].removeprefix('Value error, ')}"


def _locate(location: tuple[str | int, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys that lead to a mistake, and the models it may be in.

    pydantic's location has the tag of each discriminated union as well, which is no key of the file.
    """
    keys: list[str] = []
    models: list[type[BaseModel]] = [Settings]
    for part in location:
        tagged = [model for model in models if part in tags_of(model)] if len(models) > 1 else []
        if tagged:
            models = tagged
            continue
        keys.append(str(part))
        fields = [
            field for model in models for name, field in model.model_fields.items() if (field.alias or name) == part
        ]
        if fields:
            models = [model for field in fields for model in models_of(field.annotation)] or models
    return keys, models


def _keys(models: list[type[BaseModel]]) -> list[str]:
    """The keys of these models; of the whole file with its secret ones."""
    names = {field.alias or name for model in models for name, field in model.model_fields.items()}
    secrets = {secret.key for secret in SECRET_KEYS} if models == [Settings] else set()
    return [*sorted(names), *sorted(secrets)]
