"""Where things are on this machine. scripts/env.sh is the one place that decides; this reads what it says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.console import UserError

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Paths:
    """The checkout, this user's directories outside it, and the environment that commands run in."""

    root: Path
    cache: Path
    state: Path
    environment: Mapping[str, str]

    @property
    def ca(self) -> Path:
        """The local certificate authority, shared by this user's stacks."""
        return self.state / "ca"

    @property
    def backend(self) -> Path | None:
        """The directory of the Pulumi state, or None where the backend is not made of files."""
        url = self.environment.get("PULUMI_BACKEND_URL", "")
        return Path(url.removeprefix("file://")) if url.startswith("file://") else None

    @property
    def lab_lock(self) -> Path:
        """The lab's lock file of image references."""
        return self.cache / "lab" / "images.lock.json"

    def stack(self, name: str) -> Path:
        """The files of one stack outside the checkout."""
        return self.state / "stacks" / name


def find() -> Paths:
    """The paths of this machine and user, from scripts/env.sh."""
    environment = dict(os.environ)
    if environment.get("NEXUS_ROOT") != str(ROOT) or "NEXUS_TOOLCHAIN" not in environment:
        environment |= _sourced()
    return Paths(
        root=ROOT,
        cache=Path(environment["NEXUS_CACHE"]),
        state=Path(environment["NEXUS_STATE"]),
        environment=environment,
    )


def _sourced() -> dict[str, str]:
    script = ROOT / "scripts" / "env.sh"
    done = subprocess.run(
        ["bash", "-euc", '. "$0" && env -0', str(script)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{script} failed:\n{done.stderr.strip()}")
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)
