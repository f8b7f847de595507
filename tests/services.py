"""Services of the tests that differ from another one in a few fields."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

from components.arguments import ServiceArgs


def changed(args: ServiceArgs, **changes: object) -> ServiceArgs:
    """`args` with these values of its own fields, or of the fields of its parts (limits, process, files, …)."""
    left = dict(changes)
    for field in fields(args):
        part = getattr(args, field.name)
        if is_dataclass(part) and not isinstance(part, type) and field.name not in left:
            own = {one.name: left.pop(one.name) for one in fields(part) if one.name in left}
            if own:
                left[field.name] = replace(part, **own)
    return replace(args, **left)  # type: ignore[arg-type]
