"""The options that the commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def parser(name: str, doc: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser for `scripts/run NAME`, described by the first sentence of its module, with the stack options."""
    description = (doc or "").partition("\n\n")[0].replace("\n", " ")
    made = argparse.ArgumentParser(prog=f"scripts/run {name}", description=description, epilog=epilog)
    add_stack(made)
    return made


def add_stack(made: argparse.ArgumentParser) -> None:
    """The options that say which stack is meant."""
    made.add_argument(
        "--stack", default=os.environ.get("STACK") or "dev", help="the stack (default: $STACK, else dev)"
    )
    made.add_argument("--stack-file", type=file_argument, help="a stack file to use instead of Pulumi.<stack>.yaml")


def file_argument(text: str) -> Path:
    """A path as the caller meant it: scripts/run changes into the checkout and leaves word of where it was called."""
    return Path(os.environ.get("NEXUS_CALLED_IN", "."), text)
