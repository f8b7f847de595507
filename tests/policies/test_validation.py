"""policies/validation.py: what refuses, what only warns, what is exempt, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pulumi_policy import EnforcementLevel, Severity

from policies.config import PackConfig
from policies.rules.props import Value
from policies.rules.rule import Config, Finding, Resource, Rule, Stack
from policies.validation import validate
from tests.policies.harness import CONTAINER


def red(resource: Resource, config: Config) -> Iterator[Finding]:
    """Objects to paint that is not the one allowed, and says it twice."""
    if resource.props.get("paint") != config["allowed"]:
        for _ in range(2):
            yield Finding(path=("paint",), problem="is of another colour", advice="Paint it anew")


def lonely(stack: Stack, _config: Config) -> Iterator[Finding]:
    """Objects to each resource of a stack of one."""
    if len(stack.resources) == 1:
        yield Finding(path=(), problem="is alone", advice="Add another", resource=stack.resources[0])


def rule(name: str, level: EnforcementLevel = EnforcementLevel.MANDATORY, *, whole: bool = False) -> Rule:
    """A rule about one resource, or about the whole stack."""
    return Rule(
        name=name,
        description="Everything has the one colour, so that nobody has to ask which.",
        remediation="Paint it anew.",
        severity=Severity.LOW,
        validate=None if whole else red,
        validate_stack=lonely if whole else None,
        settings={"allowed": {"type": "string", "default": "green"}},
        level=level,
    )


def stack(*paints: str, kind: str = CONTAINER) -> Stack:
    """A stack with a resource for each paint."""
    made = (
        Resource(type=kind, name=f"r{index}", stack="dev", props={"paint": paint})
        for index, paint in enumerate(paints)
    )
    return Stack(name="dev", resources=tuple(made))


NONE: Final = PackConfig(rules={})


def test_each_resource_is_checked_and_each_place_told_once() -> None:
    report = validate(stack("green", "red", "blue"), [rule("one-colour")], NONE)
    assert [one.message for one in report.violations] == [
        "r1: paint is of another colour. Paint it anew",
        "r2: paint is of another colour. Paint it anew",
    ]
    assert (report.rules, report.resources) == (1, 3)
    assert report.seconds >= 0


def test_a_rule_gets_its_own_configuration() -> None:
    config = PackConfig(rules={"one-colour": {"allowed": "red"}})
    report = validate(stack("green", "red"), [rule("one-colour"), rule("other-colour")], config)
    assert [(one.rule, one.resource.name) for one in report.violations if one.resource] == [
        ("one-colour", "r0"),
        ("other-colour", "r1"),
    ]


def test_advice_is_a_warning() -> None:
    rules = [rule("by-itself", EnforcementLevel.ADVISORY), rule("by-file"), rule("not")]
    report = validate(stack("red"), rules, PackConfig(rules={}, advisory=frozenset({"by-file"})))
    assert [one.rule for one in report.warnings] == ["by-itself", "by-file"]
    assert [one.rule for one in report.violations] == ["not"]


def test_the_whole_stack_is_checked_too() -> None:
    whole = rule("nobody-alone", whole=True)
    assert validate(stack("green", "green"), [whole], NONE).violations == ()
    (found,) = validate(stack("green"), [whole], NONE).violations
    assert found.message.startswith("r0: is alone")


def test_a_whole_stacks_finding_can_be_exempt() -> None:
    entry: Value = {"resource": "r0", "reason": "the others come later", "until": "2026-03-01"}
    config = PackConfig(rules={"nobody-alone": {"exemptions": [entry]}})
    report = validate(stack("green"), [rule("nobody-alone", whole=True)], config)
    assert report.violations == ()
    assert [one.rule for one in report.exempted] == ["nobody-alone"]
    assert report.unused == ()


def test_what_is_not_the_docker_providers_is_let_alone() -> None:
    assert validate(stack("red", kind="random:index/randomId:RandomId"), [rule("one-colour")], NONE).violations == ()
