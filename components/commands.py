"""The commands that messages tell people to run, as the one who reads them would type them.

Whoever came by `scripts/` has a stack file and a passphrase outside the checkout, which only `scripts/pulumi` knows;
whoever runs the Pulumi CLI has neither.
"""

from __future__ import annotations

import os


def config_set(stack: str, arguments: str) -> str:
    """The command that sets a key of a stack's configuration, such as `--path nexus:edge.http-port 8080`."""
    return _config(stack, f"set {arguments}")


def config_rm(stack: str, arguments: str) -> str:
    """The command that takes a key out of a stack's configuration."""
    return _config(stack, f"rm {arguments}")


def _config(stack: str, words: str) -> str:
    # scripts/env.sh sets it, and whatever it starts inherits it.
    if "NEXUS_ROOT" in os.environ:
        return f"scripts/pulumi -s {stack} config {words}"
    return f"pulumi config {words} --stack {stack}"
