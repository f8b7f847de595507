"""Which stacks the workflows are for.

A stack that a team shares carries its encryption in the checkout's file (`encryptionsalt` or `secretsprovider`, as
scripts/stack.py has it), and its state in a backend that a runner reaches. Any other stack is one user's own or a
template, and there is nothing of it that a runner could compare with or change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.console import UserError

# A key at the margin: nothing nested, nothing in a comment. No YAML here, which a bare Python does not have.
_ENCRYPTION: Final = re.compile(r"^(?:encryptionsalt|secretsprovider)\s*:", re.MULTILINE)
_NAME: Final = re.compile(r"Pulumi\.([a-z][a-z0-9-]{0,30})\.yaml")


def shared(root: Path, also: Sequence[str] = ()) -> tuple[str, ...]:
    """The shared stacks of a checkout in the order of their names, after those of `also`.

    Raises UserError where there is no stack file for one of `also`.
    """
    files = {match[1]: path for path in sorted(root.glob("Pulumi.*.yaml")) if (match := _NAME.fullmatch(path.name))}
    if missing := [name for name in also if name not in files]:
        raise UserError(f"there is no {', '.join(f'Pulumi.{name}.yaml' for name in missing)} in {root}")
    ours = [name for name, path in files.items() if _ENCRYPTION.search(path.read_text(encoding="utf-8"))]
    return tuple(dict.fromkeys([*also, *ours]))
