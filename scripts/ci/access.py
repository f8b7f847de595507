"""The way from a runner to a Docker host by ssh:// : one key for the run, and the host keys that were pinned.

A runner with an access of its own (a self-hosted one beside the host) needs none of this, and is left as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.console import UserError, say

KEY: Final = "DEPLOY_SSH_KEY"
KNOWN: Final = "DEPLOY_KNOWN_HOSTS"
_MARK: Final = "# nexus: made for one workflow run"


def grant(home: Path, environment: Mapping[str, str]) -> bool:
    """Writes the key, the known hosts and a configuration that trusts no other; False where no key is given.

    The values come from the variables DEPLOY_SSH_KEY and DEPLOY_KNOWN_HOSTS. Raises UserError where only one of them
    is set, or where this account has a configuration of its own.
    """
    key, known = environment.get(KEY, "").strip(), environment.get(KNOWN, "").strip()
    if not key and not known:
        say("ssh: no key for this run; the runner's own access is used, if the stack needs any")
        return False
    if not key or not known:
        raise UserError(
            f"{KEY if not key else KNOWN}: must be set with the other one: an unknown host is not to be trusted at "
            "first sight (`ssh-keyscan HOST` on a network you trust prints the lines)"
        )
    folder = home / ".ssh"
    config = folder / "config"
    if config.exists() and not config.read_text(encoding="utf-8").startswith(_MARK):
        raise UserError(f"{config}: this runner has its own access by ssh; leave {KEY} and {KNOWN} unset for it")
    folder.mkdir(mode=0o700, exist_ok=True)
    key_file, known_file = folder / "nexus-deploy", folder / "nexus-known-hosts"
    _write(key_file, key)
    _write(known_file, known)
    _write(
        config,
        f"{_MARK}\nHost *\n  IdentityFile {key_file}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known_file}\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes",
    )
    say(f"ssh: key and {len(known.splitlines())} pinned host keys for this run")
    return True


def revoke(home: Path) -> None:
    """Takes away what `grant` wrote, and nothing else."""
    folder = home / ".ssh"
    config = folder / "config"
    if config.exists() and config.read_text(encoding="utf-8").startswith(_MARK):
        config.unlink()
    for name in ("nexus-deploy", "nexus-known-hosts"):
        (folder / name).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
