"""The stand-ins' own checks: formatting, vet and the Go tests of lab/standins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("command", ["vet", "test"])
def test_go_finds_nothing(command: str) -> None:
    done = go("go", command, "./...")
    assert done.returncode == 0, done.stdout + done.stderr


def test_needs_the_standard_library_alone() -> None:
    done = go("go", "list", "-m", "all")
    assert (done.returncode, done.stdout) == (0, "nexus-media/lab/standins\n"), done.stderr
