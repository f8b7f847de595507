"""Family `review`: somebody looks at each exemption of policies/config.yaml again.

It warns and never refuses: a date that passes must not stop an `up`, in an emergency least of all. `make policy`, and
so CI, fails for the same (policies/config.py, `late`). Not seen from here: exemptions for resources that are not in
the stack, and a clock that is wrong.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Final

from pulumi_policy import EnforcementLevel, Severity

from policies.rules.containers import items, table
from policies.rules.rule import REVIEWS, Config, Finding, Stack, stack_rule


@stack_rule(
    "exemption-review",
    Severity.LOW,
    settings={
        REVIEWS: {
            "type": "array",
            "items": {"type": "object"},
            "default": [],
            "description": "resource and day of each exemption, as in policies/config.yaml.",
        }
    },
    level=EnforcementLevel.ADVISORY,
)
def _overdue(stack: Stack, config: Config) -> Iterator[Finding]:
    """Every exemption for a resource of this stack has been looked at by its day. It warns only.

    Review the line in policies/config.yaml, then give it a new day or take it out.
    """
    today = datetime.now(UTC).date()
    here = {one.name: one for one in stack.resources}
    for index, entry in enumerate(map(table, items(config.get(REVIEWS)))):
        resource = here.get(str(entry.get("resource")))
        until = str(entry.get("until"))
        if resource is not None and _day(until) < today:
            yield Finding(
                resource=resource,
                path=("exemptions", index),
                note=str(entry.get("rule")),
                problem=f"is an exemption whose review was due by {until}",
                advice="Look at that line of policies/config.yaml again, give it a new day or take it out",
            )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return date.max


RULES: Final = (_overdue,)
