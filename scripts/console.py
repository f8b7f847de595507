"""How the commands talk to people: progress with elapsed seconds, tables, one message for a mistake.

What does not belong here: what is being done.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

INTERRUPTED: Final = 130
# A command that is part of another counts from where that began.
_STARTED: Final = float(os.environ.setdefault("NEXUS_STARTED", str(time.monotonic())))


class UserError(Exception):
    """Something the person at the keyboard can put right: the message says what, where and how."""


class Interrupted(Exception):  # noqa: N818 - not an error: what was asked for has been done
    """Ctrl-C (or SIGTERM) came while a child process ran, and the child has ended."""


def elapsed() -> float:
    """Seconds since the command started, or the one that it is part of."""
    return time.monotonic() - _STARTED


def say(text: str) -> None:
    """One line of progress on stderr, with the seconds since the command started; results go to stdout."""
    print(f"[{elapsed():4.0f}s] {text}", file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Columns of equal width; the last one is not padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    return "\n".join(
        indent + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )


def finish(command: Callable[[], int], resume: str) -> NoReturn:
    """Runs a command and ends the process with its exit status.

    A UserError ends in its message and status 1, Ctrl-C in one line with `resume` and status 130; neither shows a
    traceback. Anything else is a defect of the command and shows one.
    """
    try:
        status = command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = 1
    except (KeyboardInterrupt, Interrupted):
        print(f"\n[{elapsed():4.0f}s] interrupted: {resume}", file=sys.stderr, flush=True)
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`); Python would complain once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
