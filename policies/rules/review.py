"""Family `review`: somebody looks at each exemption of policies/config.yaml again.

It warns and never refuses: a date that passes must not stop an `up`, in an emergency least of all. `make policy`, and
so CI, fails for the same (policies/config.py, `late`). Not seen from here: exemptions for resources that are not in
the stack, and a clock that is wrong.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from pulumi_policy import EnforcementLevel, Severity

from policies.rules.containers import items, table, text_of
from policies.rules.rule import REVIEWS, Config, Finding, Stack, stack_rule


@stack_rule(
    "exemption-review",
    Severity.LOW,
    settings={
        REVIEWS: {
            "type": "array",
            "items": {"type": "object"},
            "default": [],
            "description": "Rule, resource and day of each exemption, as in policies/config.yaml.",
        }
    },
    level=EnforcementLevel.ADVISORY,
)
def _overdue(stack: Stack, config: Config) -> Iterator[Finding]:
    """Every exemption for a resource of this stack has been looked at by its day. It warns only.

    Look at that line of policies/config.yaml again, give it a new day or take it out.
    """
    today = datetime.now(UTC).date().isoformat()
    here = {one.name: one for one in stack.resources}
    for index, entry in enumerate(map(table, items(config.get(REVIEWS)))):
        until = text_of(entry.get("until"))
        if (resource := here.get(text_of(entry.get("resource")))) and "" < until < today:
            problem, rule = f"is an exemption whose review was due by {until}", text_of(entry.get("rule"))
            yield Finding(("exemptions", index), problem, note=rule, resource=resource)


RULES: Final = (_overdue,)
