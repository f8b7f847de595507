"""`scripts/run policy` on what the engine itself writes: a preview and a state, with no passphrase around.

The program's container is a component with a container's type and inputs, so that it needs no Docker. The platform's
preview asks this machine's Docker Engine, by an `ssh` of this test's own that gets to the engine and to nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from components.settings.secret import SECRET_KEYS
from policies.rules import RULES
from tests.components.stacks import stack_file
from tests.integration.stacks import DOCKER_HOST, ROOT

pytestmark = pytest.mark.integration

PROGRAM: Final = ROOT / "tests" / "policies" / "programs" / "checked-as-json"
SECRET: Final = "swordfish-of-the-sea"
TOLD: Final = (
    "Container web: mounts[0].source is a container engine's socket",
    "Container web: envs[1] holds a Pulumi secret",
    "Container web: labels[0].value (password) holds a Pulumi secret",
)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The project's toolchain, with a backend of its own."""

    environment: dict[str, str]

    def run(self, folder: Path, command: str, *arguments: str, given: str = "") -> str:
        """What a command of the engine prints on stdout; `given` on its stdin."""
        done = subprocess.run(
            ["pulumi", *command.split(), *arguments, "--non-interactive", "--color", "never"],
            cwd=folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """The engine, without what an environment says of stacks and passphrases."""
    found = subprocess.run(
        ["bash", "-c", ". scripts/env.sh && command -v pulumi >&2 && env -0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        message = "needs the Pulumi engine; run `scripts/setup`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    environment = dict(entry.split("=", 1) for entry in found.stdout.split("\0") if entry)
    for name in ("PULUMI_STACK", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        environment.pop(name, None)
    backend = tmp_path / "backend"
    backend.mkdir()
    environment |= {"PULUMI_BACKEND_URL": f"file://{backend}", "PULUMI_CONFIG_PASSPHRASE": "of this test only"}
    return Engine(environment=environment)


@pytest.fixture
def program(engine: Engine, tmp_path: Path) -> Path:
    """The program as a project with a stack `dev`."""
    folder = tmp_path / "toy"
    shutil.copytree(PROGRAM, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "Pulumi.yaml").write_text(
        f"name: toy\nruntime: {{name: python, options: {{virtualenv: {json.dumps(str(ROOT / '.venv'))}}}}}\n",
        encoding="utf-8",
    )
    engine.run(folder, "stack init dev")
    engine.run(folder, f"config set --secret toy:key {SECRET}")
    return folder


def policy(option: str, text: str) -> subprocess.CompletedProcess[str]:
    """The command on a file on its stdin, in an environment that could open nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    return subprocess.run(
        [ROOT / "scripts" / "run", "policy", option, "-"],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def validated(option: str, text: str) -> str:
    """What the command says of the program."""
    done = policy(option, text)
    assert done.returncode == 1, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    for line in TOLD:
        assert line in done.stdout
    return done.stdout


def test_a_program_is_checked(engine: Engine, program: Path) -> None:
    assert " 3 resources checked" in validated("--preview", engine.run(program, "preview --json"))

    engine.run(program, "up --yes --skip-preview")
    state, clear = engine.run(program, "stack export"), engine.run(program, "stack export --show-secrets")
    assert SECRET not in state
    assert SECRET in clear
    for text in (state, clear):
        assert " 4 resources checked" in validated("--state", text)

    engine.run(program, "config set toy:region south")
    partial = validated("--preview", engine.run(program, "preview --json"))
    assert "2 unchanged resources not in this preview" in partial
    assert " 1 resource checked" in partial
    assert " 3 resources checked" in validated("--preview", engine.run(program, "preview --json --show-sames"))


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_platform_passes(engine: Engine, tmp_path: Path, stack: str) -> None:
    """As the engine hands it to rules: with the provider's own defaults, and with what only an update will know."""
    template = ROOT / f"Pulumi.{stack}.yaml"
    before = template.read_bytes()
    # Elsewhere by its address, so that paths and devices of this machine say nothing; with ports and a pool that no
    # stack of this engine has.
    config = stack_file(stack)
    config |= {
        "nexus:docker": {"host": "ssh://nexus@media.invalid", "socket-gid": 998},
        "nexus:networks": {"pool": "10.213.0.0/16"},
        "nexus:edge": {**config.get("nexus:edge", {}), "http-port": 44080, "https-port": 44443},  # type: ignore[dict-item]
    }
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        f"#!/bin/sh\ncase $* in *dial-stdio) exec docker --host {DOCKER_HOST} system dial-stdio ;; esac\nexit 1\n"
    )
    ssh.chmod(0o755)
    engine.environment["PATH"] = f"{ssh.parent}:{engine.environment['PATH']}"
    file = tmp_path / f"Pulumi.{stack}.yaml"
    file.write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
    # `stack init` writes a file beside Pulumi.yaml, which must not be the checkout's.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(ROOT / "Pulumi.yaml", elsewhere)
    engine.run(elsewhere, f"stack init {stack}")
    engine.environment.update(PULUMI_STACK=stack, PULUMI_OPTION_CONFIG_FILE=str(file))
    for secret in SECRET_KEYS:
        value = secret.sample.format(SECRET.replace("-", ""))
        engine.run(ROOT, f"config set --secret nexus:{secret.key}", given=value)
    done = policy("--preview", engine.run(ROOT, "preview --json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"policy: stack {stack}: {len(RULES)} rules run, " in done.stdout
    assert int(re.findall(r", (\d+) resources checked: 0 violations", done.stdout)[0]) > 80
    assert template.read_bytes() == before
