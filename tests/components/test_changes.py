"""The changes that are tried on an engine (tests/integration/changes.py) leave out no input that the program sets."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from tests.components.recorder import run
from tests.components.stacks import every
from tests.integration.changes import CHANGED, ROWS, UNTRIED, program
from tests.integration.test_changes import CONTAINER, NETWORK, PROVIDERS

MAPS: Final = frozenset({"logOpts", "options", "sysctls", "tmpfs"})
"""Inputs that are objects with keys of their own: one input each."""


def keys_of(inputs: Mapping[str, object]) -> Iterator[str]:
    """The inputs of a resource, each field of an object for itself."""
    for key, value in inputs.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and key not in MAPS:
                yield from (f"{key}.{name}" for name in item)
            else:
                yield key


def kind_of(type_: str, labels: Mapping[str, str]) -> str:
    """service, seed, network or volume; empty for any other resource."""
    kind = type_.rpartition(":")[2]
    return labels["nexus.role"] if kind == "Container" else kind.lower() if kind in ("Network", "Volume") else ""


@functools.cache
def set_by_the_product() -> Mapping[tuple[str, str], bool]:
    """Every input that any stack of the product sets, by kind and key: whether each such resource has it."""
    resources = [
        (kind, set(keys_of(item.inputs)))
        for made in every().values()
        for item in made.resources
        if (kind := kind_of(item.type, item.labels if item.type.endswith(":Container") else {}))
    ]
    often = Counter((kind, key) for kind, keys in resources for key in keys)
    all_of = Counter(kind for kind, _ in resources)
    return {(kind, key): number == all_of[kind] for (kind, key), number in often.items()}


def test_every_input_has_a_row() -> None:
    """An input that the product comes to set has to be tried, and one that it may leave out has to be taken away."""
    found = set_by_the_product()
    assert len(found) > 80
    changed = {(row.kind, key) for row in ROWS for key in row.keys}
    covered = {(kind, key) for kind, key in found if (kind, key) in changed or (kind, key.split(".")[0]) in changed}
    assert found.keys() - covered - UNTRIED.keys() == set()
    assert changed - {(kind, part) for kind, key in found for part in (key, key.split(".")[0])} == set()
    assert UNTRIED.keys() <= found.keys()
    gone = {(row.kind, key.split(".")[0]) for row in ROWS if row.note.endswith("gone") for key in row.keys}
    sometimes = {(kind, key) for (kind, key), always in found.items() if not always} - UNTRIED.keys()
    assert {(kind, key.split(".")[0]) for kind, key in sometimes} - gone == set()


def test_every_input_is_looked_at() -> None:
    looked = {("service", key) for key in CONTAINER} | {("seed", key) for key in CONTAINER}
    looked |= {(kind, key) for kind in ("service", "seed") for key in PROVIDERS}
    looked |= {("network", key) for key in NETWORK} | {("volume", "name"), ("service", "gpus")}
    assert {(kind, key.split(".")[0]) for kind, key in set_by_the_product()} - looked == set()


@pytest.mark.tools
@pytest.mark.parametrize("changed", ["", "1"])
def test_the_program_runs_to_its_end(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    """So that the engine is not the first to see a mistake in it."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    monkeypatch.setenv(CHANGED, changed)
    made = {one.name for one in run(program).resources}
    assert {row.resource for row in ROWS} <= made
