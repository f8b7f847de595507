"""Previews of a small stack on the real engine: their comments are those of tests/report/golden, to the letter.

NEXUS_GOLDEN=write records events and comments anew; look at the difference before it is committed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import docker
import pytest

from components import reach
from scripts.report import events, guard, markdown
from tests.integration.stacks import DOCKER_HOST, ROOT
from tests.report import recording

pytestmark = pytest.mark.integration

PREFIX: Final = "nexus-report-test"
LOST: Final = {"deleted-volume": ["volume-sonarr-config"]}


@pytest.fixture(scope="module")
def project(client: docker.DockerClient, alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program's stack as `base` has it, made for real; its containers are never started."""
    sweep(client)
    images = [image for image in client.images.list() if any("busybox" in tag for tag in image.tags)]
    images = images or client.images.list()
    assert images, "no image is there; bring a stack up first"
    done = subprocess.run(
        ["bash", "-c", ". scripts/env.sh && env -0"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    directory = tmp_path_factory.mktemp("report")
    environment = reach.quiet(found, DOCKER_HOST) | {
        "PULUMI_BACKEND_URL": f"file://{tmp_path_factory.mktemp('backend')}",
        "PULUMI_CONFIG_PASSPHRASE": "of this test only",
        "IMAGE": str(images[0].id),
    }
    (directory / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    shutil.copy(recording.PROGRAM / "__main__.py", directory)
    (directory / "Pulumi.yaml").write_text(
        f"name: report\nruntime: {{name: python, options: {{virtualenv: {json.dumps(str(ROOT / '.venv'))}}}}}\n",
        encoding="utf-8",
    )
    for command in (["stack", "init", "test-dev"], ["up", "--yes", "--skip-preview"]):
        made = pulumi(directory, "base", *command)
        assert made.returncode == 0, made.stdout + made.stderr
    yield directory
    pulumi(directory, "base", "destroy", "--yes", "--skip-preview")
    sweep(client)


def pulumi(directory: Path, scenario: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command of the engine on the program in one scenario."""
    environment = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    return subprocess.run(
        ["pulumi", *words, "--non-interactive", "--color", "never"],
        cwd=directory,
        env={**environment, **more, "SCENARIO": scenario},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def sweep(client: docker.DockerClient) -> None:
    """Removes what a killed run left."""
    for container in client.containers.list(all=True, filters={"name": PREFIX}):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters={"name": PREFIX}):
        network.remove()
    for volume in client.volumes.list(filters={"name": PREFIX}):
        volume.remove(force=True)


# What a policy changes is shown too (`mended`), but this pack changes nothing: that recording is of one that did.
@pytest.mark.parametrize("scenario", [one for one in recording.SCENARIOS if one != "mended"])
def test_the_comment_is_the_golden_one(project: Path, scenario: str) -> None:
    pack = ["--policy-pack", str(ROOT / "policies")]
    done = pulumi(
        project,
        scenario,
        *("preview", "--json", "--show-sames"),
        *(pack if scenario == "violation" else []),
        PULUMI_ENABLE_STREAMING_JSON_PREVIEW="true",
    )
    assert (done.returncode != 0) is (scenario in ("violation", "failing")), done.stdout + done.stderr
    text = recording.normalised(done.stdout)
    found = events.read(text, scenario)
    shown = markdown.render("test", found)
    if os.environ.get("NEXUS_GOLDEN") == "write":
        recording.events(scenario).write_text(text, encoding="utf-8")
        recording.golden(scenario).write_text(shown, encoding="utf-8")
    assert shown == recording.golden(scenario).read_text(encoding="utf-8")
    assert found.failed is (done.returncode != 0)
    assert [one.name for one in guard.losses(found)] == LOST.get(scenario, [])
