"""What every rule stands on: plain data from whatever the engine hands over, and no rule that raises."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.proxy import unknown_checking_proxy

from policies.rules import RULES, containers
from policies.rules.props import UNKNOWN, leaves, plain, show
from policies.rules.rule import Resource, Stack
from tests.policies.harness import SECRET, SIGNATURE, Json
from tests.policies.harness import UNKNOWN as TEXT
from tests.policies.platform import declared

ATOMS: Final[tuple[Any, ...]] = (None, True, 7, 1.5, "", "x", TEXT, "\0", b"x", object(), float("nan"))


def anything(source: random.Random, depth: int = 3) -> Any:  # noqa: ANN401 - whatever there is
    """Some value, of any type and shape."""
    kind = source.randrange(6) if depth else 0
    if kind == 1:
        return [anything(source, depth - 1) for _ in range(source.randrange(4))]
    if kind == 2:
        return {source.choice(("a", "value", "1", "", SIGNATURE)): anything(source, depth - 1) for _ in range(3)}
    if kind == 3:
        return {SIGNATURE: SECRET, "value": anything(source, depth - 1)}
    return source.choice(ATOMS)


def test_plain_takes_whatever_the_engine_hands_over() -> None:
    source = random.Random(7)
    for _ in range(2000):
        found = plain(anything(source))
        assert list(leaves(found)) is not None
        for helper in (containers.items, containers.table, containers.text_of, containers.number, containers.texts):
            helper(found)
        assert plain(found) == found or found != found or "nan" in str(found)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (TEXT, UNKNOWN),
        ({"a": [TEXT, {"b": 1}]}, {"a": [UNKNOWN, {"b": 1}]}),
        ({SIGNATURE: SECRET, "value": {"a": TEXT}}, {"a": UNKNOWN}),
        ({SIGNATURE: "other", "value": 1}, {SIGNATURE: "other", "value": 1}),
    ],
)
def test_unknowns_are_marked_and_secrets_unwrapped(given: Json, found: object) -> None:
    assert plain(given) == found
    if isinstance(given, dict):
        assert plain(unknown_checking_proxy(deserialize_properties(given))) == found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("mounts", 0, "source"), "mounts[0].source"),
        (("tmpfs", "/tmp"), "tmpfs./tmp"),
        (("labels", "two words"), "labels.*"),
        (("envs", "ghp_" + "a1B2" * 9), "envs.*"),
        ((), ""),
    ],
)
def test_a_path_prints_no_credential(path: tuple[str | int, ...], text: str) -> None:
    assert show(path) == text


JUNK: Final[tuple[Any, ...]] = (UNKNOWN, None, 7, "x", [None, UNKNOWN, {}], {"x": [7]})
WHOSE: Final = ("sonarr-container", "vpn-container", "guard-socket-proxy-container", "traefik-seed", "vpn-seed",
                "traefik-container", "network-apps", "volume-data", "image-sonarr", "docker")  # fmt: skip


@pytest.mark.parametrize("name", WHOSE)
def test_no_rule_raises(name: str) -> None:
    """An exception would end that rule as advice. Each input, and each member of one, is something else."""
    (one,) = (found for found in declared("dev").resources if found.name == name)
    for key, value in one.props.items():
        first = value[0] if isinstance(value, list) and value else None
        inner = [[{**first, member: junk}] for junk in JUNK for member in first] if isinstance(first, dict) else []
        for junk in (*JUNK, *inner):
            broken = Resource(type=one.type, name=name, stack="prod", props={**one.props, key: junk}, urn=one.urn)
            stack = Stack(name="prod", resources=(broken,))
            for rule in RULES:
                assert list(rule.results(stack, {})) is not None
