"""zizmor and actionlint have nothing to say of the workflows, and speak where what they are there for is planted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.tools

ROOT: Final = Path(__file__).resolve().parents[2]
ZIZMOR: Final = ROOT / ".venv" / "bin" / "zizmor"
ACTIONLINT: Final = ROOT / "scripts" / "ci" / "actionlint" / "run"
CHECKOUT: Final = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"

with_go = pytest.mark.skipif(shutil.which("go") is None, reason="actionlint is built with Go, which is not installed")

GOOD: Final = f"""\
name: planted
on:
  pull_request:
permissions: {{}}
concurrency:
  group: planted-${{{{ github.ref }}}}
  cancel-in-progress: true
jobs:
  one:
    name: one
    runs-on: ubuntu-24.04
    permissions:
      contents: read
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - env:
          TITLE: ${{{{ github.event.pull_request.title }}}}
        run: echo "$TITLE"
"""

# What is planted -> the line it takes the place of, and what zizmor calls it.
STRANGER: Final = "echo ${{ github.event.pull_request.title }}"
FAULTS: Final = {
    "unpinned action": (CHECKOUT, "actions/checkout@v7", "unpinned-uses"),
    "text of a stranger in a shell": ('echo "$TITLE"', STRANGER, "template-injection"),
    "rights for all": ("permissions: {}", "permissions: write-all", "excessive-permissions"),
    "a fork's code with our rights": ("pull_request:", "pull_request_target:", "dangerous-triggers"),
    "a token left in the checkout": ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
}


OPTIONS: Final = ("--offline", "--persona", "pedantic", "--no-progress", "--quiet")


def test_make_lint_runs_both_as_here() -> None:
    steps = (ROOT / "scripts" / "test").read_text(encoding="utf-8")
    assert f'"$bin/zizmor" {" ".join(OPTIONS)} .github/workflows\n' in steps
    assert f"{ACTIONLINT.relative_to(ROOT)} .github/workflows/*.yml\n" in steps


def zizmor(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ZIZMOR), *OPTIONS, "--color", "never", *map(str, files)], capture_output=True, text=True, check=False
    )


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ACTIONLINT), *map(str, files)], capture_output=True, text=True, check=False, timeout=300
    )


def planted(folder: Path, before: str, after: str) -> Path:
    file = folder / ".github" / "workflows" / "planted.yml"
    file.parent.mkdir(parents=True)
    assert GOOD.count(before) == 1
    file.write_text(GOOD.replace(before, after), encoding="utf-8")
    return file


def test_zizmor_finds_nothing_in_the_workflows() -> None:
    done = zizmor(ROOT / ".github" / "workflows")
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing_in_a_workflow_without_a_fault(tmp_path: Path) -> None:
    done = zizmor(planted(tmp_path, "name: planted", "name: good"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_zizmor_finds_each_fault(tmp_path: Path, fault: str) -> None:
    before, after, name = FAULTS[fault]
    done = zizmor(planted(tmp_path, before, after))
    assert done.returncode != 0
    assert f"[{name}]" in done.stdout


@with_go
def test_actionlint_finds_nothing_in_the_workflows() -> None:
    done = actionlint(*sorted((ROOT / ".github" / "workflows").glob("*.yml")))
    assert done.returncode == 0, done.stdout


@with_go
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("name: planted", "name: good", ""),
        ('echo "$TITLE"', STRANGER, "[expression]"),
        ('echo "$TITLE"', "echo $TITLE", "[shellcheck]"),
        ("ubuntu-24.04", "ubuntu-0.1", "[runner-label]"),
        ("contents: read", "contents: red", "[permissions]"),
        ("github.event.pull_request.title", "github.evnt.title", "[expression]"),
    ],
)
def test_actionlint_finds_each_fault(tmp_path: Path, before: str, after: str, said: str) -> None:
    done = actionlint(planted(tmp_path, before, after))
    assert (done.returncode == 0) is (said == ""), done.stdout + done.stderr
    assert said in done.stdout
