"""The reviewed plan on the real engine: carried out, refused where it is another one, and kept to by `up` itself.

A program of a few random numbers, or of things on a host of the test's own (host.py), stands for the platform, so no
Docker is needed; the plan, the comparison, the variables and the engine are the real ones. `scripts.up` is not: it
asks for a Docker Engine. What it starts of the engine is what stands here in its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from scripts.ci import plan
from scripts.console import UserError
from tests.ci import host as hosts

pytestmark = pytest.mark.integration

ROOT: Final = Path(__file__).resolve().parents[2]

PROGRAM: Final = """\
import os
import pathlib
import pulumi
import pulumi_random

password = pulumi_random.RandomPassword("password", length=20)
wanted = int(pathlib.Path("wanted").read_text())
# More than was planned, but only while `up` runs.
if pathlib.Path("greedy").exists() and "PULUMI_OPTION_PLAN" in os.environ:
    wanted += 1
for number in range(wanted):
    pulumi_random.RandomId(f"id-{number}", byte_length=4, keepers={"password": password.result})
pulumi.export("password", password.result)
"""

# What `scripts/run` would start, for a project that is not the platform.
COMMANDS: Final = """\
import subprocess, sys
name, *words = sys.argv[1:]
asked = {
    "scripts.preview": ["preview", *words],
    "scripts.engine": ["stack", "export", *words[:2]],
    "scripts.up": ["up", "--yes", "--skip-preview", "--suppress-outputs", *words],
}[name]
sys.exit(subprocess.run(["pulumi", *asked, "--non-interactive"]).returncode)
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A checkout with the program, and a stack of it."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def commands(self) -> plan.Commands:
        return plan.Commands(root=self.folder, start=(sys.executable, str(self.folder / "commands.py")))

    def pulumi(self, *words: str) -> str:
        return subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def reviewed(self) -> plan.Plan:
        return plan.parse(self.commands.preview("prod"), "prod", self.commands.commit())

    def want(self, number: int) -> None:
        (self.folder / "wanted").write_text(str(number))

    @property
    def names(self) -> set[str]:
        resources = json.loads(self.pulumi("stack", "export"))["deployment"].get("resources", [])
        return {one["urn"].rpartition("::")[2] for one in resources if one["type"].startswith("random:")}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = subprocess.run(
        ["bash", "-c", ". scripts/env.sh && command -v pulumi >&2 && env -0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if found.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail("the engine is not installed; run `scripts/setup`")
        pytest.skip("needs the Pulumi engine; run `scripts/setup`")
    environment = dict(entry.split("=", 1) for entry in found.stdout.split("\0") if entry)
    backend = tmp_path / "backend"
    backend.mkdir()
    environment |= {"PULUMI_BACKEND_URL": f"file://{backend}", "PULUMI_CONFIG_PASSPHRASE": "of this test only"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "__main__.py").write_text(PROGRAM)
    (folder / "commands.py").write_text(COMMANDS)
    (folder / "Pulumi.yaml").write_text(
        f"name: plan-test\nruntime: {{name: python, options: {{virtualenv: {json.dumps(str(ROOT / '.venv'))}}}}}\n"
    )
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    made = Project(folder=folder, environment=environment)
    made.pulumi("stack", "init", "prod")
    made.want(2)
    return made


def test_the_reviewed_plan_is_what_happens(project: Project, tmp_path: Path) -> None:
    backup = tmp_path / "state.json"
    for wanted, expected in ((2, {"password", "id-0", "id-1"}), (1, {"password", "id-0"})):
        project.want(wanted)
        reviewed = project.reviewed()
        assert plan.deploy(project.commands, "prod", reviewed, backup) == 0
        assert project.names == expected
        assert project.reviewed().operations == ()
    # The state before the last deployment, with what it deleted, and no secret in clear.
    kept = backup.read_text()
    assert "id-1" in kept
    assert project.pulumi("stack", "output", "password", "--show-secrets").strip() not in kept


def test_the_events_of_a_preview_give_the_same_plan(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pulumi("up", "--yes", "--skip-preview")
    (project.folder / "__main__.py").write_text(PROGRAM.replace("length=20", "length=21"))
    project.want(1)
    document = project.reviewed()
    monkeypatch.setenv("PULUMI_ENABLE_STREAMING_JSON_PREVIEW", "true")
    assert project.reviewed() == document
    assert [one.op for one in document.operations] == ["replace", "delete", "replace"]


def test_a_stack_that_has_changed_since_the_review_is_left_alone(project: Project) -> None:
    project.want(3)
    reviewed = project.reviewed()
    project.want(1)
    project.pulumi("up", "--yes", "--skip-preview")
    project.want(3)
    before = project.pulumi("stack", "export")
    with pytest.raises(UserError, match="not the one that was reviewed") as caught:
        plan.deploy(project.commands, "prod", reviewed, None)
    assert "no longer: create random:index/randomId:RandomId id-0" in str(caught.value)
    assert project.pulumi("stack", "export") == before


def test_up_is_held_to_the_plan_by_the_engine(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    reviewed = project.reviewed()
    (project.folder / "greedy").touch()
    assert plan.deploy(project.commands, "prod", reviewed, None) != 0
    assert "create is not allowed by the plan" in capfd.readouterr().out
    assert "id-2" not in project.names


@pytest.fixture
def host(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[hosts.Host]:
    """A host with three things on it, as the program says."""
    made = hosts.Host()
    with hosts.serve(made) as where:
        monkeypatch.setenv("PULUMI_DEBUG_PROVIDERS", where)
        (project.folder / "__main__.py").write_text(hosts.PROGRAM)
        (project.folder / "wanted").write_text("changed=1 removed=1 same=1")
        assert plan.deploy(project.commands, "prod", project.reviewed(), None) == 0
        yield made


def test_what_was_changed_on_the_host_is_planned_and_put_right(
    project: Project, host: hosts.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_declared = dict(host.things)
    host.things["changed"] = "2"
    del host.things["removed"]
    reviewed = project.reviewed()
    assert [str(one) for one in reviewed.operations] == [
        "update host:index:Thing changed",
        "create host:index:Thing removed",
    ]
    with monkeypatch.context() as patch:
        patch.setenv("PULUMI_ENABLE_STREAMING_JSON_PREVIEW", "true")
        assert project.reviewed() == reviewed
    assert plan.deploy(project.commands, "prod", reviewed, None) == 0
    assert host.things == as_declared
    assert project.reviewed().operations == ()


def test_what_the_host_became_after_the_review_is_not_overwritten(project: Project, host: hosts.Host) -> None:
    host.things["changed"] = "2"
    reviewed = project.reviewed()
    host.things["changed"] = "3"
    with pytest.raises(UserError, match="not the one that was reviewed"):
        plan.deploy(project.commands, "prod", reviewed, None)
    assert host.things["changed"] == "3"
