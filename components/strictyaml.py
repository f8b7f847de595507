"""YAML in which nothing is read otherwise than it is written, for the files that people write by hand.

What does not belong here: what the files mean.
"""

from __future__ import annotations

from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """A key that stands twice is refused: PyYAML takes the last one, and what the first said would be lost unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def complaint(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """What is wrong and in which line, on one line; never what stands there, which may be a secret."""
    if isinstance(error, UnicodeDecodeError):
        return "is not text in UTF-8"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = " ".join(str(getattr(error, part, None) or "") for part in ("context", "problem", "reason"))
    where = f"line {mark.line + 1}: " if mark else ""
    # The constructor's errors are about what is YAML.
    kind = "" if isinstance(error, yaml.constructor.ConstructorError) else "is not YAML: "
    return f"{kind}{where}{' '.join(said.split())}"
