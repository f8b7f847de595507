"""Exemptions: what they cover, what they do not, until when, and that the pack's own are all needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import PosixPath
from typing import Final

import pytest
from pulumi_policy import Severity

from components import host
from policies.config import PackConfig
from policies.rules.exemptions import Exemption, exemptions
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Config, Finding, Resource, Rule, Stack
from policies.validation import validate
from tests.components.stacks import EMBEDDED, Choice, build
from tests.policies.harness import CONTAINER
from tests.policies.platform import stack_of
from tests.policies.platform import validated as validated_stack

UNTIL: Final = date(2026, 6, 30)
ENTRY: Final[dict[str, Value]] = {"resource": "web", "reason": "is repainted soon", "until": UNTIL.isoformat()}


def objects(resource: Resource, _config: Config) -> Iterator[Finding]:
    """Objects to `paint`, and for good to `lead`."""
    for key in ("paint", "lead"):
        if key in resource.props:
            yield Finding(path=(key,), problem="is red", advice="Paint it green", exemptible=key != "lead")


RULE: Final = Rule(
    name="no-red-paint",
    description="Nothing is painted red, because nobody could tell it from a fire.",
    remediation="Paint it green.",
    severity=Severity.LOW,
    validate=objects,
)


def validated(*entries: Value, **props: Value) -> tuple[list[str], list[str]]:
    """Messages of what is refused, and names of what is exempt."""
    stack = Stack(name="prod", resources=(Resource(type=CONTAINER, name="web", stack="prod", props=props),))
    report = validate(stack, [RULE], PackConfig(rules={RULE.name: {"exemptions": list(entries)}}))
    return [one.message for one in report.violations], [str(one.finding.path[0]) for one in report.exempted]


def test_without_one_it_is_refused() -> None:
    assert validated(paint="x") == (["web: paint is red. Paint it green"], [])


def test_it_still_holds_after_its_day() -> None:
    for until in ("1999-12-31", "2999-12-31"):
        assert validated({**ENTRY, "until": until}, paint="x") == ([], ["paint"])


def test_what_may_never_pass_does_not() -> None:
    refused, exempt = validated(ENTRY, paint="x", lead="x")
    assert refused == ["web: lead is red. Paint it green. No exemption may allow this"]
    assert exempt == ["paint"]


def test_one_that_is_not_needed_is_told() -> None:
    other: Value = {**ENTRY, "resource": "worker"}
    stack = Stack(name="prod", resources=(Resource(type=CONTAINER, name="web", stack="prod", props={"paint": "x"}),))
    report = validate(stack, [RULE], PackConfig(rules={RULE.name: {"exemptions": [ENTRY, other]}}))
    assert [(rule, one.resource) for rule, one in report.unused] == [("no-red-paint", "worker")]


@pytest.mark.parametrize(
    ("only", "path", "covered"),
    [
        ("", ("mounts", 0, "source"), True),
        ("mounts", ("mounts", 0, "source"), True),
        ("mounts.source", ("mounts", 0, "source"), True),
        ("mounts[0]", ("mounts", 0, "source"), True),
        ("mounts[0].source", ("mounts", 0, "source"), True),
        ("mounts[0].source", ("mounts", 1, "source"), False),
        ("mounts[1]", ("mounts", 0), False),
        ("mounts[0]", ("mounts",), False),
        ("mounts.source", ("mounts", 0, "target"), False),
        ("mount", ("mounts", 0), False),
        ("mounts.source.x", ("mounts", 0, "source"), False),
        ("capabilities.adds", ("capabilities", "adds", 2), True),
        ("capabilities.adds", ("capabilities",), False),
        ("networkMode", ("network_mode",), False),
        ("envs[2]", ("envs", 2), True),
        ("envs[2]", ("envs", 20), False),
        ("tmpfs./run", ("tmpfs", "/run"), True),
        ("tmpfs./run", ("tmpfs", "/tmp"), False),
        ("a[0][1]", ("a", 0, 1), True),
        ("a[0][1]", ("a", 0, 2), False),
    ],
)
def test_a_property_narrows(only: str, path: Path, covered: bool) -> None:
    one = Exemption(resource="web", reason="is repainted soon", until=UNTIL, only=only)
    assert one.covers("web", {}, path) is covered
    assert not one.covers("web2", {}, path)


@pytest.mark.parametrize(
    ("image", "covered"),
    [
        ("a/b", True),
        ("a/b:1@sha256:" + "4f" * 32, True),
        ("ghcr.io/a/b:1", True),
        ("localhost:5000/a/b", True),
        ("a/b2", False),
        ("x/a/b", False),
        ("b", False),
        ("a/b/c", False),
        ("sha256:" + "4f" * 32, True),
        (UNKNOWN, True),
        (None, False),
        (["a/b"], False),
    ],
)
def test_an_image_narrows(image: Value, covered: bool) -> None:
    one = Exemption(resource="web", reason="is repainted soon", until=UNTIL, image="a/b")
    assert one.covers("web", {"image": image}, ("paint",)) is covered
    # What has no image of its own, such as a Swarm service, has not this one.
    assert not one.covers("web", {}, ("paint",))


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "web",
        {},
        {key: value for key, value in ENTRY.items() if key != "reason"},
        {key: value for key, value in ENTRY.items() if key != "until"},
        {**ENTRY, "resource": ""},
        {**ENTRY, "until": "soon"},
        {**ENTRY, "until": 20260630},
        {**ENTRY, "until": UNKNOWN},
        {**ENTRY, "image": None},
        {**ENTRY, "why": "because"},
    ],
)
def test_what_is_not_whole_is_none(entry: Value) -> None:
    assert exemptions({"exemptions": [entry]}) == ()
    assert exemptions({"exemptions": entry}) == ()
    assert validated(entry, paint="x")[1] == []


@pytest.mark.parametrize("socket", ["/home/me/.docker/run/docker.sock", "/tmp/second.sock"])
def test_the_packs_own_follow_the_engines_socket(socket: str) -> None:
    made = build(Choice(config={**EMBEDDED, "nexus:docker": {"host": f"unix://{socket}"}}))
    assert validated_stack(stack_of(made, "dev")).violations == ()


@pytest.mark.parametrize("root", ["/home/me/.local/share/docker"])
def test_the_packs_own_follow_the_engines_data_root(root: str) -> None:
    engine = host.Engine(version="28", storage_driver="overlay2", cgroup_version="2", root=PosixPath(root), cpus=4)
    made = build(Choice(config=EMBEDDED, engine=engine))
    assert validated_stack(stack_of(made, "dev")).violations == ()


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("NET_ADMIN", ["NET_ADMIN"], ["NET_ADMIN2", "XNET_ADMIN", ""]),
        (
            "*/docker.sock",
            ["/run/docker.sock", "/a/b/docker.sock"],
            ["/run/dockerxsock", "/run/docker.sock/x", "/run"],
        ),
        ("*/image/*/layerdb", ["/d/image/x/layerdb"], ["/d/image/layerdb", "/d/image/x/layerdb/y", "/d"]),
    ],
)
def test_a_star_in_a_value_is_any_text(pattern: str, fits: list[str], does_not: list[str]) -> None:
    exemption = Exemption(resource="a", reason="because it is so", until=UNTIL, value=pattern)
    assert all(exemption.covers("a", {}, (), value) for value in fits)
    assert not any(exemption.covers("a", {}, (), value) for value in does_not)
