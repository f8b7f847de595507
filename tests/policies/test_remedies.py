"""Remedies: what a rule with one objects to is mended by it, and nothing else changes; what it must leave alone."""

from __future__ import annotations

from typing import Final

import pytest

from policies.rules import RULES
from policies.rules.props import Value, plain
from policies.rules.rule import Resource
from tests.policies import test_rule_hardening, test_rule_resources
from tests.policies.harness import CONTAINER, SERVICE, UNKNOWN, Json, Props, container, service

BY_NAME: Final = {rule.name: rule for rule in RULES if rule.remedy}
EXCEPTION: Final[Value] = {"resource": "sonarr", "reason": "its logs go elsewhere", "until": "2999-01-01"}


def resource(props: Props, kind: str = CONTAINER) -> Resource:
    """A resource as rules see it."""
    data = plain(props)
    assert isinstance(data, dict)
    return Resource(type=kind, name="sonarr", stack="dev", props=data)


def mended(rule: str, changes: Props) -> Props | None:
    """What the rule's remedy changes in a container with these changes; none where it does nothing."""
    found = BY_NAME[rule].mend(resource(container(**changes)), {})
    return dict(found) if found else None  # type: ignore[arg-type] # values of a remedy are all known


def test_there_are_two() -> None:
    assert set(BY_NAME) == {"log-rotation", "no-new-privileges"}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        *(("no-new-privileges", one) for one in test_rule_hardening.BROKEN["no-new-privileges"]),
        *(("log-rotation", one) for one in test_rule_resources.BROKEN["log-rotation"]),
    ],
)
def test_what_is_broken_is_mended_or_stays_refused(rule: str, changes: Props) -> None:
    broken = resource(container(**changes))
    found = BY_NAME[rule].mend(broken, {})
    assert set(found) <= {"securityOpts", "logDriver", "logOpts"}
    after = Resource(type=CONTAINER, name="sonarr", stack="dev", props={**broken.props, **found})
    assert (BY_NAME[rule].mend(after, {}) == {}) is True
    judge = BY_NAME[rule].judge
    assert judge
    config = {key: plain(schema["default"]) for key, schema in BY_NAME[rule].settings.items()}
    assert bool(list(judge(after, config))) is (not found), "changed, and still wrong"


@pytest.mark.parametrize(
    ("rule", "changes", "after"),
    [
        ("no-new-privileges", {"securityOpts": None}, {"securityOpts": ["no-new-privileges:true"]}),
        (
            "no-new-privileges",
            {"securityOpts": ["label=level:s0", " No-New-Privileges = false"]},
            {"securityOpts": ["label=level:s0", "no-new-privileges:true"]},
        ),
        (
            "log-rotation",
            {"logDriver": None, "logOpts": None},
            {"logDriver": "json-file", "logOpts": {"max-size": "10m", "max-file": "3"}},
        ),
        (
            "log-rotation",
            {"logDriver": "local", "logOpts": {"max-size": "0", "max-file": "7", "compress": "true"}},
            {"logDriver": "local", "logOpts": {"max-size": "10m", "max-file": "7", "compress": "true"}},
        ),
        # Somebody chose another driver, or none: only they know why.
        ("log-rotation", {"logDriver": "none"}, None),
        ("log-rotation", {"logDriver": "syslog"}, None),
        ("log-rotation", {"logDriver": 7}, None),
        # What is not known yet is not written over.
        ("log-rotation", {"logOpts": {"max-size": UNKNOWN}}, None),
        ("log-rotation", {"logOpts": UNKNOWN}, None),
        ("no-new-privileges", {"securityOpts": [UNKNOWN]}, None),
        ("no-new-privileges", {}, None),
        ("log-rotation", {}, None),
    ],
)
def test_what_it_becomes(rule: str, changes: Props, after: Json) -> None:
    assert mended(rule, changes) == after


def test_what_is_excused_is_let_alone() -> None:
    bare = resource(container(logDriver="json-file", logOpts={}))
    assert BY_NAME["log-rotation"].mend(bare, {"exceptions": [EXCEPTION]}) == {}
    assert BY_NAME["log-rotation"].mend(bare, {}) != {}


def test_a_swarm_service_is_refused_as_before() -> None:
    for rule in BY_NAME.values():
        assert rule.mend(resource(service(), SERVICE), {}) == {}
