"""The programs that each break one rule, under mocks: what test_policies_preview.py expects of the real engine."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Mapping
from typing import Final

import pytest

from policies.rules.props import Value
from policies.validation import Report
from tests.components.recorder import run
from tests.integration.test_policies_preview import BROKEN, LITERAL, PROGRAMS
from tests.policies.platform import stack_of, validated

FILLED_IN: Final[Mapping[str, Value]] = {
    "networkMode": "bridge", "start": True, "removeVolumes": True, "containerReadRefreshTimeoutMilliseconds": 15000.0,
}  # fmt: skip
"""What the provider gives a container that says nothing."""


def report(program: str, monkeypatch: pytest.MonkeyPatch, *, preview: bool, stack: str = "test-dev") -> Report:
    """What the pack says of a program."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    recorder = run(lambda: runpy.run_path(str(PROGRAMS / program / "__main__.py")), stack="test", preview=preview)
    found = stack_of(recorder, stack)
    filled = (
        dataclasses.replace(one, props={**FILLED_IN, **one.props}) if one.kind == "Container" else one
        for one in found.resources
    )
    return validated(dataclasses.replace(found, resources=tuple(filled)))


@pytest.mark.parametrize(("program", "resource", "place", "rule"), BROKEN)
def test_a_program_is_refused_where_the_engine_would(
    program: str, resource: str, place: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for preview in (True, False):
        told = [
            (one.rule, one.message)
            for one in report(program, monkeypatch, preview=preview, stack="staging").violations
        ]
        assert [text for name, text in told if name == rule and text.startswith(f"{resource}: {place} ")]
        assert LITERAL not in "".join(text for _, text in told)


def test_a_good_program_passes_and_what_only_up_knows_is_refused_by_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report("good", monkeypatch, preview=True).violations == ()
    assert report("known-only-at-up", monkeypatch, preview=True).violations == ()
    (one,) = report("known-only-at-up", monkeypatch, preview=False).violations
    assert (one.rule, one.message.partition(" sets ")[0]) == ("no-literal-secret", "talker: command[1]")
