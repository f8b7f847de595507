"""Child processes whose output is shown as it comes, and what Ctrl-C means for them.

A child gets a process group of its own, so that a key press at the terminal does not reach it directly: it is sent
exactly one SIGINT for each Ctrl-C, whether that came from a terminal, from make or from `kill`. (Pulumi takes a
second one for the order to drop everything.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from scripts.console import Interrupted

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stream(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    show: Callable[[str], None] | None = None,
    whole_group: bool = False,
) -> int:
    """Runs a command, showing its output, and returns its exit status (negative: the signal that killed it).

    `show` is given each line of stdout and stderr instead of the terminal. `whole_group`: an interrupt goes to the
    command and its children; needed for shell scripts, which do not pass it on.
    Raises Interrupted if Ctrl-C came meanwhile, after the command has ended.
    """
    with (
        _interrupts(whole_group) as interrupts,
        subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if show else None,
            stderr=subprocess.STDOUT if show else None,
            text=True,
            errors="replace",
            process_group=0,
        ) as child,
    ):
        interrupts.follow(child.pid)
        if show and child.stdout:
            for line in child.stdout:
                show(line.rstrip("\n"))
        status = child.wait()
    if interrupts.count:
        raise Interrupted
    return status


class _Interrupts:
    """Counts interrupts and hands each on to the child, as soon as there is one."""

    def __init__(self, whole_group: bool) -> None:
        self.count = 0
        self._whole_group = whole_group
        self._child: int | None = None

    def follow(self, child: int) -> None:
        self._child = child
        if self.count:
            self._send(child)

    def receive(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._child is not None:
            self._send(self._child)

    def _send(self, child: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if self._whole_group else os.kill)(child, signal.SIGINT)


@contextlib.contextmanager
def _interrupts(whole_group: bool) -> Iterator[_Interrupts]:
    interrupts = _Interrupts(whole_group)
    before = {number: signal.signal(number, interrupts.receive) for number in _SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
