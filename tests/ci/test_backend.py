"""Where the state is: files of this user, unless NEXUS_BACKEND_URL says otherwise, as the workflows do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "file:///somewhere/backend"),
        ({"NEXUS_BACKEND_URL": ""}, "file:///somewhere/backend"),
        ({"NEXUS_BACKEND_URL": "s3://bucket/nexus"}, "s3://bucket/nexus"),
        # Another project's, which happens to be set, is not taken for ours.
        ({"PULUMI_BACKEND_URL": "s3://another/project"}, "file:///somewhere/backend"),
    ],
)
def test_the_backend_is_this_users_or_the_one_that_was_named(given: dict[str, str], expected: str) -> None:
    plain = {
        name: value for name, value in os.environ.items() if name not in ("NEXUS_BACKEND_URL", "PULUMI_BACKEND_URL")
    }
    done = subprocess.run(
        ["bash", "-euc", '. scripts/env.sh; . scripts/env.sh; echo "$PULUMI_BACKEND_URL"'],
        cwd=ROOT,
        env={**plain, "NEXUS_STATE": "/somewhere", **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
