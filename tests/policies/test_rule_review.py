"""Family `review`: an exemption whose day has passed is warned of, and refuses nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from policies.config import PackConfig
from policies.rules.props import UNKNOWN, Value
from policies.rules.review import RULES
from policies.rules.rule import REVIEWS, Resource, Stack
from policies.validation import validate
from tests.policies.harness import CONTAINER

WEB: Final = Resource(type=CONTAINER, name="web", stack="prod", props={})
STACK: Final = Stack(name="prod", resources=(WEB,))
(RULE,) = RULES


def warned(reviews: Value) -> list[str]:
    """What is warned of; nothing of it is refused."""
    report = validate(STACK, RULES, PackConfig(rules={RULE.name: {REVIEWS: reviews}}))
    assert report.violations == ()
    return [one.message for one in report.warnings]


def test_the_day_before_is_warned_of_and_no_other() -> None:
    today = datetime.now(UTC).date()
    days = [(today + timedelta(days=number)).isoformat() for number in (0, -1, -1, 1, -400)]
    names = ("web", "web", "other", "web", "web")
    lines: list[Value] = [
        {"rule": "no-rust", "resource": name, "until": day} for name, day in zip(names, days, strict=True)
    ]
    advice = "Look at that line of policies/config.yaml again, give it a new day or take it out"
    assert warned(lines) == [
        f"web: exemptions[{index}] (no-rust) is an exemption whose review was due by {days[index]}. {advice}"
        for index in (1, 4)
    ]


@pytest.mark.parametrize("reviews", [None, UNKNOWN, "web", [None], [{"resource": "web"}], [{"resource": UNKNOWN}]])
def test_what_is_not_whole_is_none(reviews: Value) -> None:
    assert warned(reviews) == []
