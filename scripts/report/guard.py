"""The guard: what of a preview would lose data, or what can only be made once.

What does not belong here: how that is shown.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from policies.rules.data import DISPOSABLE
from scripts.report.events import Change, Preview


def stateful(change: Change) -> bool:
    """Whether a resource holds what cannot be made again: protected, a volume with data, a generated secret."""
    if change.protected or change.type.startswith("random:"):
        return True
    return change.kind == "Volume" and not any(fnmatchcase(change.name, pattern) for pattern in DISPOSABLE)


def losses(preview: Preview) -> tuple[Change, ...]:
    """The resources with state that would be deleted or replaced."""
    return tuple(one for one in preview.changes if one.op in ("delete", "replace") and stateful(one))
