"""The one reader of a stack file, Pulumi.<stack>.yaml, for the program and the scripts.

It reads what Pulumi reads, and refuses what Pulumi would take otherwise than it is written, or pass over. What does
not belong here: what the settings mean (settings/), and whose file it is (scripts/stack.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from components.strictyaml import Loader, complaint

Tree = dict[str, object]

PROJECT: Final = "nexus"

KEYS: Final = frozenset({"config", "encryptionsalt", "secretsprovider", "encryptedkey", "environment"})
"""The keys of a stack file (sdk/go/common/workspace/project.go, ProjectStack)."""


class StackFileError(ValueError):
    """The file is not a stack file: the message names it, and the line or the key."""


class _Loader(Loader):
    """YAML as Pulumi reads it (version 1.2): `no` is a word, `12:30:00` is text, a date is text.

    A number with a leading zero is octal to Pulumi (01000 is 512), and decimal to whoever wrote it.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(node.value)
        if re.fullmatch(r"[-+]?0[0-9]+", text):
            problem = "a number with a leading zero, which is octal to Pulumi: write it without the zero"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return int(text)


FLOAT: Final = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    ("float", FLOAT, list("-+.0123456789")),
    ("null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def load(path: Path) -> Tree:
    """Any YAML file of Pulumi's as a tree. Raises StackFileError where it is none."""
    try:
        tree: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise StackFileError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # Without the cause, which quotes the line.
        raise StackFileError(f"{path}: {complaint(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise StackFileError(f"{path}: is not an object of keys and values")
    return {str(key): value for key, value in tree.items()}


def read(path: Path) -> Tree:
    """A stack file as a tree, each key of `config` with its namespace. Raises StackFileError naming file and key."""
    tree = load(path)
    config = tree.get("config") or {}
    if not isinstance(config, dict):
        raise StackFileError(f"{path}: config is not an object with a key for each setting")
    for key in tree:
        if key not in KEYS:
            raise StackFileError(
                f"{path}: {key}: no such key; allowed are {', '.join(sorted(KEYS))}, and settings stand under config"
            )
    if "config" in tree:
        tree["config"] = _qualified(path, config)
    return tree


def _qualified(path: Path, config: Mapping[Any, object]) -> Tree:
    """As Pulumi does it (config.ParseKey): a key without a namespace is the project's, and `a:config:b` is `a:b`."""
    found: Tree = {}
    for written, value in config.items():
        parts = str(written).split(":")
        if len(parts) == 1:
            parts = [PROJECT, *parts]
        elif len(parts) == 3 and parts[1] == "config":
            del parts[1]
        key = ":".join(parts)
        if key in found:
            raise StackFileError(f"{path}: {written}: is {key} once more; take one of the two out")
        found[key] = value
    return found
