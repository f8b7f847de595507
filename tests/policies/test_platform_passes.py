"""The declared platform, by every choice of settings: the pack refuses nothing of it, and needs each of its lines."""

from __future__ import annotations

import dataclasses

import pytest

from policies.config import read
from policies.rules import RULES
from policies.rules.rule import Stack
from tests.components.stacks import CHOICES
from tests.policies.platform import declared, first_previewed, places, report, validated

REFUSED = {"mirror": {"image-registry"}}
"""A mirror is a line of policies/config.yaml, which is its owner's to write."""


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_settings_passes(choice: str) -> None:
    messages = [one.message for one in report(choice).violations if one.rule not in REFUSED.get(choice, ())]
    assert messages == []
    assert {one.rule for one in report(choice).violations} == REFUSED.get(choice, set())


@pytest.mark.parametrize("choice", ["dev", "containerd"])
def test_a_preview_with_unknown_values_passes(choice: str) -> None:
    stack = declared(choice, preview=True)
    assert [one.message for one in validated(stack).violations] == []
    # As rules of a whole stack see it in the preview of its first `up`.
    of_stacks = [rule for rule in RULES if rule.validate_stack]
    assert [one.message for one in validated(first_previewed(stack), of_stacks).violations] == []


def test_the_order_of_resources_changes_nothing() -> None:
    stack = declared("dev")
    broken = dataclasses.replace(
        stack,
        resources=tuple(
            dataclasses.replace(one, props={**one.props, "name": "x", "hostname": "radarr", "networksAdvanced": []})
            if one.name in ("sonarr-container", "prometheus-container")
            else one
            for one in stack.resources
        ),
    )
    turned = dataclasses.replace(broken, resources=broken.resources[::-1])
    of_stacks = [rule for rule in RULES if rule.validate_stack]
    assert len(validated(broken, of_stacks).violations) > 5
    assert places(validated(broken, of_stacks)) == places(validated(turned, of_stacks))


def test_every_exemption_is_needed_by_some_choice() -> None:
    unused = [{(rule, one.resource, one.only, one.value) for rule, one in report(name).unused} for name in CHOICES]
    assert set.intersection(*unused) == set(), "take these out of policies/config.yaml"


def test_no_exemption_is_needed_where_nothing_is_declared() -> None:
    nothing = validated(Stack(name="dev", resources=()))
    assert len(nothing.unused) == sum(len(line.entries) for line in read().exemptions) > 0
