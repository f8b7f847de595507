"""What the integration tests say where there is no Docker Engine. Needs none itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.stacks import ROOT

pytestmark = pytest.mark.tools


@pytest.mark.parametrize(("ci", "status", "outcome"), [("", 0, "SKIPPED"), ("true", 1, "ERROR")])
def test_a_missing_engine_is_named_and_skips_or_fails_in_ci(
    tmp_path: Path, ci: str, status: int, outcome: str
) -> None:
    socket = tmp_path / "no-engine.sock"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "integration", "-q", "-rsE", "-p", "no:cacheprovider",
         "tests/integration/test_up.py"],
        cwd=ROOT,
        env={**os.environ, "NEXUS_TEST_ENGINE": f"unix://{socket}", "CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert outcome in done.stdout
    assert f"none answers at unix://{socket}" in done.stdout
    assert "run `scripts/docker-engine`" in done.stdout
    assert " passed" not in done.stdout.splitlines()[-1]
