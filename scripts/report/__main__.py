"""Previews a stack and writes what would change as Markdown, with the guard against lost data."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts import images, options, preview
from scripts.console import UserError, finish, say
from scripts.report import events, guard, markdown

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
    shown.add_argument("--limit", type=int, default=markdown.LIMIT, help="characters (default: %(default)s)")
    given = parser.parse_args(arguments)
    if given.command == "render":
        try:
            found = events.read(given.events.read_text(encoding="utf-8"), str(given.events))
        except OSError as error:
            raise UserError(f"{given.events}: {error.strerror}") from error
        sys.stdout.write(markdown.render(given.stack, found, limit=given.limit, allowed=allowed()))
        return verdict(found)
    return _preview(given)


def _preview(given: argparse.Namespace) -> int:
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    engine = preview.prepare(given)
    say(f"report: previewing stack {given.stack}")
    with (folder / "preview.json").open("w", encoding="utf-8") as out:
        done = subprocess.run(
            ["pulumi", "preview", "--json", "--show-sames", "--non-interactive", "--color", "never"],
            cwd=engine.paths.root,
            env={**engine.environment, "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    found = events.read((folder / "preview.json").read_text(encoding="utf-8"), "preview.json")
    if done.returncode and not (found.errors or found.violations):
        found = events.Preview(changes=found.changes, errors=(done.stderr.strip() or "it ended early",), failed=True)
    whole = markdown.render(given.stack, found, limit=sys.maxsize, allowed=allowed())
    (folder / "report.md").write_text(whole, encoding="utf-8")
    short = markdown.render(given.stack, found, allowed=allowed())
    (folder / "comment.md").write_text(short, encoding="utf-8")
    say(f"report: written to {folder / 'comment.md'}")
    return verdict(found, failed=done.returncode != 0)


def verdict(found: events.Preview, *, failed: bool = False) -> int:
    """0 where a reviewer may go on; says what does not let them."""
    lost = guard.losses(found)
    if lost and not allowed():
        names = ", ".join(one.name for one in lost)
        say(f"report: data would be lost: {names}; {ALLOW}=true (in CI: the label) lets this pass")
    if found.failed or failed:
        say("report: the preview failed, or a policy refused it")
    return 1 if found.failed or failed or (lost and not allowed()) else 0


def allowed() -> bool:
    """Whether losing data was allowed."""
    return os.environ.get(ALLOW) == "true"


if __name__ == "__main__":
    finish(main, "a preview changes nothing")
