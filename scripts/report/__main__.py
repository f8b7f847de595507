"""Previews a stack and writes what would change as Markdown, with the guard against lost data."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from scripts import images, options, preview
from scripts.console import UserError, finish, say
from scripts.report import events, guard, markdown, masking

ALLOW: Final = "NEXUS_ALLOW_DATA_LOSS"
"""Set to true the guard lets pass; anything else does not."""


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run report`."""
    parser = argparse.ArgumentParser(prog="scripts/run report", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser(
        "preview", help="preview a stack under the policy pack; write comment.md, report.md and preview.json"
    )
    options.add_stack(whole)
    images.add_option(whole)
    whole.add_argument("--folder", type=options.file_argument, required=True, help="where to write them")
    shown = commands.add_parser("render", help="write the Markdown of events that were written before")
    shown.add_argument("--events", type=options.file_argument, required=True, help="the events, a line each")
    shown.add_argument("--stack", required=True, help="the stack's name")
    shown.add_argument("--limit", type=int, default=markdown.LIMIT, help="bytes (default: %(default)s)")
    given = parser.parse_args(arguments)
    if given.command == "render":
        try:
            found = events.read(given.events.read_text(encoding="utf-8"), str(given.events))
        except OSError as error:
            raise UserError(f"{given.events}: {error.strerror}") from error
        sys.stdout.write(markdown.render(given.stack, found, limit=given.limit, allowed=allowed()))
        return exit_status(found)
    return _preview(given)


def _preview(given: argparse.Namespace) -> int:
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found, failed = _events(given, folder / "preview.json")
    except UserError as error:
        # A mistake in the stack file, a secret that is missing, a host that does not answer: the commonest failures.
        write(given.stack, events.Preview(errors=(str(error),), failed=True), folder)
        raise UserError(masking.masked_text(str(error))) from error
    write(given.stack, found, folder)
    return exit_status(found, failed=failed)


def _events(given: argparse.Namespace, file: Path) -> tuple[events.Preview, bool]:
    """What the preview found, and whether the engine says that it failed; its events go into `file`."""
    engine = preview.prepare(given)
    say(f"report: previewing stack {given.stack}")
    with file.open("w", encoding="utf-8") as out:
        done = subprocess.run(
            ["pulumi", "preview", "--json", "--show-sames", "--non-interactive", "--color", "never"],
            cwd=engine.paths.root,
            env={**engine.environment, "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    said = done.stderr.strip() or f"pulumi preview ended with status {done.returncode}"
    try:
        found = events.read(file.read_text(encoding="utf-8", errors="replace"), file.name)
    except UserError as error:
        raise UserError(f"{error}\n{said}") from error
    if not done.returncode:
        return found, False
    explained = any(one.refuses for one in found.violations) or set(found.errors) - {events.FAILED}
    errors = found.errors if explained else (*found.errors, said)
    return replace(found, errors=errors, failed=True), True


def write(stack: str, found: events.Preview, folder: Path) -> None:
    """Writes comment.md, and report.md for what takes more."""
    for name, limit, whole in (
        ("report.md", markdown.SUMMARY, "a preview by hand has all: scripts/run preview --diff"),
        ("comment.md", markdown.LIMIT, "the run's summary has more"),
    ):
        shown = markdown.render(stack, found, limit=limit, allowed=allowed(), whole=whole)
        (folder / name).write_text(shown, encoding="utf-8")
    say(f"report: written to {folder / 'comment.md'}")


def exit_status(found: events.Preview, *, failed: bool = False) -> int:
    """0 where a reviewer may go on; says what does not let them."""
    lost = guard.losses(found)
    failed = failed or found.failed
    if lost and not allowed():
        names = ", ".join(one.name for one in lost)
        way = "the preview has to succeed first" if failed else f"{ALLOW}=true (in CI: the label) lets this pass"
        say(f"report: data would be lost: {names}; {way}")
    if failed:
        say("report: the preview failed, or a policy refused it")
    return 1 if failed or (lost and not allowed()) else 0


def allowed() -> bool:
    """Whether losing data was allowed."""
    return os.environ.get(ALLOW) == "true"


if __name__ == "__main__":
    finish(main, "a preview changes nothing")
