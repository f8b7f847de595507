"""The stand-ins' formatting and dependencies. `scripts/test` runs `go vet` and their Go tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.tools

MODULE = Path(__file__).resolve().parents[2] / "lab" / "standins"


def go(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a Go command in the module; without Go the test is skipped, or fails where CI=true promises one."""
    if shutil.which("go") is None:
        message = "Go is not on PATH; install it (https://go.dev/dl) to test the stand-ins"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    environment = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    return subprocess.run(command, cwd=MODULE, env=environment, capture_output=True, text=True, check=False)


def test_is_formatted() -> None:
    done = go("gofmt", "-l", ".")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_needs_the_standard_library_alone() -> None:
    done = go("go", "list", "-m", "all")
    assert (done.returncode, done.stdout) == (0, "nexus-media/lab/standins\n"), done.stderr
