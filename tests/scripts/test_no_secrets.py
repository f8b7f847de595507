"""scripts/no-secrets: what looks like a secret fails, in every kind of file; `make lint` and pre-commit run it."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from scripts.paths import ROOT

pytestmark = pytest.mark.tools

# Put together here, so that this file holds none of them.
AWS: Final = "AKIA" + "Q3EGZ7XNLD5T4KWV"
GITHUB: Final = "ghp_" + "a8Kd03mfP2xTz7QwLr5VbN1cYh6UjE9sG4oI"
KEY: Final = "-----BEGIN " + "OPENSSH PRIVATE KEY-----"
DIGITS: Final = base64.b64encode(bytes(range(7, 200, 5))).decode()
PLANTED: Final = (
    ("aws", "settings.py", f'REGION = "{AWS}"\n'),
    ("github", "notes.md", f"{GITHUB}\n"),
    ("private-key", "id", f"{KEY}\nAAAA\n"),
    ("url", "compose.yaml", "database: postgres://nexus:" + "correcthorse@db/nexus\n"),
    ("password", "settings.py", "password" + ' = "correct-horse-battery"\n'),
    ("random", "settings.py", f'VALUE = "{DIGITS}"\n'),
    ("stack-file", "Pulumi.prod.yaml", "config:\n  nexus:smtp-password" + ": swordfish-of-the-sea\n"),
)


def scan(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "no-secrets", *files], capture_output=True, text=True, check=False, cwd=files[0].parent
    )


@pytest.mark.parametrize(("name", "text"), [one[1:] for one in PLANTED], ids=[one[0] for one in PLANTED])
def test_a_planted_secret_fails(tmp_path: Path, name: str, text: str) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / name
    good.write_text("nothing to see\n", encoding="utf-8")
    bad.write_text(text, encoding="utf-8")
    done = scan(good, bad)
    assert done.returncode == 1, done.stderr
    assert f"{name}:" in done.stdout
    assert "good.txt" not in done.stdout
    for word in (AWS, GITHUB, DIGITS, "correct", "swordfish"):
        assert word not in done.stdout + done.stderr, "the finding is printed"


def test_what_is_no_secret_passes(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(
        "config:\n  nexus:vpn: {type: embedded}\n  nexus:smtp-password:\n    secure: v1:abc\n"
        "  nexus:edge: {domain: media.example.org}\n",
        encoding="utf-8",
    )
    done = scan(file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_tests_a_shape_still_counts(tmp_path: Path) -> None:
    # A path below tests/ of the checkout is what chooses; a link makes one without leaving anything in it.
    name = "no-secrets-probe.txt"
    probe = ROOT / "tests" / name
    target = tmp_path / name
    for text, status in ((f"{AWS}\n", 1), (f'VALUE = "{DIGITS}"\n', 0)):
        target.write_text(text, encoding="utf-8")
        probe.symlink_to(target)
        try:
            done = scan(probe)
        finally:
            probe.unlink()
        assert done.returncode == status, done.stdout + done.stderr


def test_lint_and_pre_commit_run_it() -> None:
    steps = (ROOT / "scripts" / "test").read_text(encoding="utf-8").splitlines()
    at = steps.index('step "secrets" scripts/no-secrets')
    assert at < steps.index('if [ "$part" != lint ]; then'), "only a part of the checks has it"
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = [hook["entry"].split()[0] for hook in hooks]
    assert "scripts/no-secrets" in entries
    for tool in ("ruff", "mypy", "shellcheck"):
        assert f".venv/bin/{tool}" in entries
    for entry in entries:
        assert (ROOT / entry).is_file(), entry
