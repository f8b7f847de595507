"""Shows what `up` would change, with the policy pack, and changes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from components import host
from scripts import certificate, dockerhost, images, options, stack
from scripts.console import finish, say
from scripts.engine import Engine, open_stack
from scripts.paths import find


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run preview`."""
    parser = options.parser(
        "preview",
        __doc__,
        epilog="Other options are handed to `pulumi preview`: --diff, --refresh, --expect-no-changes, --json, …",
    )
    images.add_option(parser)
    given, rest = parser.parse_known_args(arguments)
    engine = prepare(given)
    if "--json" not in rest:
        say(f"preview: stack {given.stack}, as {engine.files.config} has it")
    status = engine.stream("preview", *rest)
    return status if status >= 0 else 1


def prepare(given: argparse.Namespace) -> Engine:
    """The engine on the stack of these options (`options.add_stack`, `images.add_option`), ready for a preview.

    Raises UserError where the stack file, a secret or the host is not as it must be.
    """
    engine = open_stack(find(), given.stack, given.stack_file)
    stack.settings(engine.files)  # before a registry is asked anything
    # What the host needs depends on whether the images are the real ones.
    images.choose(engine, given.images)
    settings = stack.settings(engine.files)
    dockerhost.check(settings, host.gather(settings, given.stack), engine.files)
    certificate.ensure(engine, settings.edge.domain, certificate.hosts({}))
    stack.check(engine.files)
    return engine


if __name__ == "__main__":
    finish(main, "a preview changes nothing")
