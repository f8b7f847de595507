"""Long-running steps: child processes that show signs of life, hashes of inputs, results that are whole or absent.

What does not belong here: what the steps make.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.console import UserError, say

_SIGN_OF_LIFE: Final = 20.0  # seconds between lines of a silent step
_GRACE: Final = 20.0  # seconds a child has to clean up after SIGTERM
_LINES_SHOWN: Final = 15

_children: Final[set[subprocess.Popen[bytes]]] = set()
_children_lock: Final = threading.Lock()
_stopping: Final = threading.Event()


def digest(*parts: str | Path) -> str:
    """A hash of texts and of files; a folder stands for all files in it, each with its name and execute bit."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(f"text {len(part)}\n{part}\n".encode())
            continue
        for path in sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]:
            content = path.read_bytes()
            name = path.relative_to(part.parent)
            total.update(f"file {name} {bool(path.stat().st_mode & 0o100)} {len(content)}\n".encode() + content)
    return total.hexdigest()[:24]


def run(command: Sequence[str | Path], *, what: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Runs a command with its output in `log`, saying every 20 seconds that it still runs and what it has said since.

    Raises UserError with the last lines of the output if it fails.
    """
    started = time.monotonic()
    read = 0
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = _start(command, output.fileno(), environment)
        try:
            while True:
                try:
                    status = child.wait(timeout=_SIGN_OF_LIFE)
                    break
                except subprocess.TimeoutExpired:
                    news, read = _last_line(log, read)
                    say(f"{what}: still running after {time.monotonic() - started:.0f} s{news}")
        except BaseException:
            _end(child)
            raise
        finally:
            with _children_lock:
                _children.discard(child)
    if status:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:])
        raise UserError(f"{what} failed with status {status}; the whole output is in {log}, its end is:\n{end}")


def _last_line(log: Path, read: int) -> tuple[str, int]:
    """The last line of what was written behind the first `read` bytes, in brackets, and how many bytes there are now.

    Nothing where nothing was written: an old line does not tell what is being done.
    """
    with log.open("rb") as opened:
        opened.seek(read)
        new = opened.read()
    lines = [line.strip() for line in new.decode(errors="replace").splitlines()]
    said = [line for line in lines if line]
    return (f" ({said[-1][:100]})" if said else ""), read + len(new)


def _start(
    command: Sequence[str | Path], output: int, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    with _children_lock:
        if _stopping.is_set():
            raise UserError("stopped before this step began")
        # A group of its own: mmdebstrap and shell scripts clean up only if all their processes are told.
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            process_group=0,
        )
        _children.add(child)
    return child


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def stop_all() -> None:
    """Ends every running child, those of other threads included, and lets none begin."""
    with _children_lock:
        _stopping.set()
        children = list(_children)
    for child in children:
        _end(child)


def artefact(folder: Path, name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder with what `make` makes for these inputs, from an earlier run or made now.

    Made under a temporary name and renamed, so that an interrupted run leaves nothing half-made. Results of the
    same name for other inputs are removed.
    """
    result = folder / f"{name}-{key}"
    if result.is_dir():
        return result
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.glob(f"{name}-*"):
        shutil.rmtree(other)
    unfinished = folder / f".unfinished-{name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    make(unfinished)
    unfinished.rename(result)
    return result


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Waits until no other process holds `lock`, and holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run builds the lab's images: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, text: str) -> None:
    """Replaces a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
