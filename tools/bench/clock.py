"""The time that a command, with a limit, or a block takes. What does not belong here: which one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts import process
from scripts.console import UserError

_TIMED_OUT: Final = 124
"""Exit status of timeout(1)."""
_GRACE: Final = 60
"""Seconds between the interrupt and the kill of a command that ran past its limit."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One command that has ended: its exit status, wall-clock seconds, and stdout and stderr together."""

    status: int
    seconds: float
    text: str


def timed(command: Sequence[str], folder: Path, environment: Mapping[str, str], limit: int) -> Run:
    """Runs a command in `folder` and waits for its end.

    Raises UserError where it takes more than `limit` seconds, and Interrupted after Ctrl-C; either way it has ended.
    """
    lines: list[str] = []
    # In the foreground: pulumi alone gets the interrupt and ends its plugins itself.
    bounded = ["timeout", "--foreground", "--signal=INT", f"--kill-after={_GRACE}", str(limit), *command]
    start = time.monotonic()
    status = process.stream(bounded, cwd=folder, environment=environment, show=lines.append)
    seconds = time.monotonic() - start
    if status == _TIMED_OUT:
        raise UserError(f"{' '.join(command[:2])} took more than {limit} s and was stopped:\n" + "\n".join(lines))
    return Run(status=status, seconds=seconds, text="\n".join(lines))


@contextmanager
def stopwatch(seconds: list[float]) -> Iterator[None]:
    """Appends the seconds that the block took, if it came to its end."""
    start = time.monotonic()
    yield
    seconds.append(time.monotonic() - start)
