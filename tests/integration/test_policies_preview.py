"""The policy pack on the real engine: `preview` and `up` refuse what a rule forbids, and let everything else pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import docker
import pytest

from components import reach
from policies import config as pack
from policies.rules import POLICIES
from policies.rules import RULES as RULES_OF_THE_PACK
from tests.integration.stacks import DOCKER_HOST, ROOT

pytestmark = pytest.mark.integration

PROGRAMS: Final = ROOT / "tests" / "policies" / "programs"
PREFIX: Final = "nexus-policy-test-"
OURS: Final[dict[str, str | list[str] | bool]] = {"name": PREFIX}
LITERAL: Final = "swordfish"
"""Part of every value that the programs write out: no message may hold it."""

RULES: Final = frozenset(policy.name for policy in POLICIES)
BROKEN: Final = (
    # program, resource, property, rule
    ("no-engine-socket", "peeper", "mounts[0].source", "no-engine-socket"),
    ("no-engine-socket-by-volume", "disguise", "driver", "known-inputs"),
    ("no-engine-socket-by-service", "swarmer", "is a docker:index/service:Service:", "known-inputs"),
    ("no-engine-over-tcp", "daemon", "command[1]", "no-engine-address"),
    ("no-engine-address", "talker", "envs[1] (DOCKER_HOST)", "no-engine-address"),
    ("read-only-socket-proxy", "proxy", "command[2] (allowPOST)", "read-only-socket-proxy"),
    ("private-socket-proxy", "proxy", "command[1] (allowfrom)", "read-only-socket-proxy"),
    ("no-literal-secret", "talker", "envs[1] (ADMIN_PASSWORD)", "no-literal-secret"),
    ("no-literal-secret-in-a-file", "talker", "uploads[0].content[2]", "no-literal-secret"),
    ("no-dev-bypass", "talker", "command[2] (log.level)", "no-dev-bypass"),
    ("no-privileged-container", "talker", "privileged", "no-privileged-container"),
    ("image-digest", "talker", "image", "image-digest"),
    ("memory-limit", "talker", "memory", "memory-limit"),
    ("no-default-bridge", "talker", "networkMode", "no-default-bridge"),  # filled in by the provider
    ("internal-network", "network-apps", "internal", "internal-network"),
    ("vpn-keeps-all-traffic", "vpn-container", "envs[1] (FIREWALL_OUTBOUND_SUBNETS)", "vpn-keeps-all-traffic"),
)
TOGETHER: Final = """
import runpy
import hardened

whole = hardened.container


def of(program):
    def container(resource, **given):
        return whole(resource if resource.endswith("-container") else f"{{program}}.{{resource}}", **given)

    return container


for program in {names}:
    hardened.container = of(program)
    runpy.run_path(f"{{program}}.py")
"""
"""Runs the programs one after the other. A container's logical name tells whose it is, where no rule goes by it."""


@pytest.fixture(scope="module")
def environment(client: docker.DockerClient, alone: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The project's toolchain, with a backend of its own; nothing left of a run that was killed."""
    for network in client.networks.list(filters=OURS):
        network.remove()
    done = subprocess.run(
        ["bash", "-c", ". scripts/env.sh && command -v pulumi >&2 && env -0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = "the policy pack's integration tests need the Pulumi engine; run `scripts/setup`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    backend = tmp_path_factory.mktemp("backend")
    own = {"PULUMI_BACKEND_URL": f"file://{backend}", "PULUMI_CONFIG_PASSPHRASE": "of this test only"}
    return reach.quiet(found, DOCKER_HOST) | own


@dataclass(frozen=True, kw_only=True)
class Program:
    """A copy of a program, as a project with a stack: the checkout stays as it is."""

    directory: Path
    environment: dict[str, str]

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """`pulumi COMMAND`, stdout and stderr in one."""
        return subprocess.run(
            ["pulumi", *command.split(), *options, "--non-interactive", "--color", "never"],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )

    def checked(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """The same under the project's policy pack."""
        return self.run(command, "--policy-pack", str(ROOT / "policies"), *options)


@contextmanager
def made(directory: Path, name: str, stack: str, environment: dict[str, str]) -> Iterator[Program]:
    """The program in a directory as a project with a stack. The project's name is part of the backend's paths."""
    shutil.copy(PROGRAMS / "hardened.py", directory)
    (directory / "Pulumi.yaml").write_text(
        f"name: policy-test-{name}\n"
        f"runtime: {{name: python, options: {{virtualenv: {json.dumps(str(ROOT / '.venv'))}}}}}\n",
        encoding="utf-8",
    )
    program = Program(directory=directory, environment=environment)
    started = program.run(f"stack init {stack}")
    assert started.returncode == 0, started.stdout
    yield program
    gone = program.run("destroy", "--yes", "--skip-preview", "--remove")
    assert gone.returncode == 0, gone.stdout


@pytest.fixture
def project(environment: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    """The program that the test's parameter names."""
    directory = tmp_path / "program"
    shutil.copytree(PROGRAMS / request.param, directory, ignore=shutil.ignore_patterns("__pycache__"))
    with made(directory, request.param, "test-dev", environment) as program:
        yield program


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What `preview` and then `up` said of all programs in BROKEN together, and what `up` left on the engine."""

    preview: subprocess.CompletedProcess[str]
    up: subprocess.CompletedProcess[str]
    left: list[str]


@pytest.fixture(scope="module")
def together(
    environment: dict[str, str], client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Refused:
    """One stack of all the programs that break a rule each: the engine asks the pack about each resource by itself.
    The stack is none of development, where some rules are silent."""
    directory = tmp_path_factory.mktemp("together")
    names = [name for name, *_ in BROKEN]
    for name in names:
        shutil.copy(PROGRAMS / name / "__main__.py", directory / f"{name}.py")
    (directory / "__main__.py").write_text(TOGETHER.format(names=names), encoding="utf-8")
    with made(directory, "together", "staging", environment) as program:
        preview = program.checked("preview")
        up = program.checked("up", "--yes", "--skip-preview")
        return Refused(preview=preview, up=up, left=leftovers(client))


def leftovers(client: docker.DockerClient) -> list[str]:
    """What of these programs exists on the Docker Engine."""
    return [
        str(found.name)
        for kind in (
            client.containers.list(all=True, filters=OURS),
            client.networks.list(filters=OURS),
            client.volumes.list(filters=OURS),
        )
        for found in kind
    ]


def violations(output: str) -> list[str]:
    """The lines of the engine's report that name a rule: `- [mandatory] [severity: …]  RULE  (TYPE: RESOURCE)`."""
    return [line.strip() for line in output.splitlines() if line.strip().startswith("- [mandatory]")]


def advised(output: str) -> list[str]:
    """Rules that could not be run to the end show as advice."""
    return [line for line in output.splitlines() if "[advisory]" in line or "can't run policy" in line]


@pytest.mark.parametrize(("program", "resource", "place", "rule"), BROKEN, ids=[program for program, *_ in BROKEN])
def test_preview_refuses(together: Refused, program: str, resource: str, place: str, rule: str) -> None:
    own = "hardened" in (PROGRAMS / program / "__main__.py").read_text() and not resource.endswith("-container")
    shown = f"{program}.{resource}" if own else resource
    assert [line for line in violations(together.preview.stdout) if f" {rule} " in line and f": {shown})" in line]
    assert f"{shown}: {place} " in together.preview.stdout


def test_up_refuses_and_makes_nothing(together: Refused) -> None:
    assert violations(together.up.stdout)
    assert together.left == []


@pytest.mark.parametrize("command", ["preview", "up"])
def test_a_refusal_tells_no_value_and_all_rules_were_run(together: Refused, command: str) -> None:
    done = together.preview if command == "preview" else together.up
    assert done.returncode != 0, done.stdout
    assert not advised(done.stdout)
    assert LITERAL not in done.stdout


@pytest.mark.parametrize("project", ["memory-limit"], indirect=True)
def test_a_rule_only_warns_where_the_file_says_so(project: Program, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("development-stacks: [test]\nadvisory: {test: [memory-limit]}\n", encoding="utf-8")
    levels = tmp_path / "levels.json"
    for stack, status in (("test", 0), ("prod", 255)):
        settings = pack.configure(pack.read(file), RULES_OF_THE_PACK, stack)
        levels.write_text(json.dumps(settings.levels), encoding="utf-8")
        done = project.checked("preview", "--policy-pack-config", str(levels))
        assert (done.returncode != 0) is (status != 0), done.stdout
        assert " memory-limit " in done.stdout
        assert bool(advised(done.stdout)) is (status == 0)


@pytest.mark.parametrize(
    ("project", "rule", "message"),
    [
        (
            "every-service-is-scraped",
            "every-service-is-scraped",
            "alertmanager-container: name is neither scraped nor probed",
        ),
        (
            "declared-volumes",
            "declared-volumes",
            "other-container: mounts[0].source is a volume of files that are another service's",
        ),
    ],
    indirect=["project"],
)
def test_a_rule_of_the_whole_stack_refuses(
    project: Program, rule: str, message: str, client: docker.DockerClient
) -> None:
    # Not with --skip-preview: the engine checks a whole stack when the last of it is made.
    for command in (["preview"], ["up", "--yes"]):
        done = project.checked(*command)
        assert done.returncode != 0, done.stdout
        (line,) = [line for line in violations(done.stdout) if f" {rule} " in line]
        assert line.endswith(f": {message.partition(':')[0]})")
        assert message in done.stdout
        assert not advised(done.stdout)
        assert leftovers(client) == []


@pytest.mark.parametrize("project", ["unknown-beside-known"], indirect=True)
def test_unknown_values_hide_nothing(project: Program) -> None:
    done = project.checked("preview")
    assert done.returncode != 0, done.stdout
    assert not advised(done.stdout)
    for place in ("mounts[1].source", "envs[1] (ADMIN_PASSWORD)", "command[2]"):
        assert f"peeper: {place} " in done.stdout
    refused = {rule for rule in RULES if any(f" {rule} " in line for line in violations(done.stdout))}
    assert refused >= {"no-engine-socket", "no-literal-secret"}
    assert LITERAL not in done.stdout


@pytest.mark.parametrize("project", ["known-only-at-up"], indirect=True)
def test_what_a_preview_cannot_know_is_refused_by_up(project: Program, client: docker.DockerClient) -> None:
    seen = project.checked("preview")
    assert seen.returncode == 0, seen.stdout
    assert not violations(seen.stdout)
    done = project.checked("up", "--yes", "--skip-preview")
    assert done.returncode != 0, done.stdout
    (line,) = violations(done.stdout)
    assert " no-literal-secret " in line
    assert "talker: command[1] " in done.stdout
    assert leftovers(client) == [f"{PREFIX}later"]  # made before the container was refused


@pytest.mark.parametrize("project", ["good"], indirect=True)
def test_a_good_program_passes(project: Program, tmp_path: Path) -> None:
    done = project.checked("preview")
    assert done.returncode == 0, done.stdout
    assert not violations(done.stdout)
    assert not advised(done.stdout)
    assert "nexus@" in done.stdout, "the pack did not run"

    settings = tmp_path / "config.json"
    settings.write_text(json.dumps({"no-engine-socket": {"exemptions": []}}), encoding="utf-8")
    strict = project.checked("preview", "--policy-pack-config", str(settings))
    assert strict.returncode != 0, strict.stdout
    assert "cadvisor-socket-proxy-container: mounts[0].source " in strict.stdout

    entry = {"resource": "cadvisor-socket-proxy-container", "until": "2999-01-01"}
    settings.write_text(json.dumps({"no-engine-socket": {"exemptions": [entry]}}), encoding="utf-8")
    refused = project.checked("preview", "--policy-pack-config", str(settings))
    assert refused.returncode != 0, refused.stdout
    assert "reason is required" in refused.stdout


@pytest.mark.parametrize("project", ["good"], indirect=True)
def test_an_exemption_whose_review_is_overdue_warns_and_holds(project: Program, tmp_path: Path) -> None:
    proxy = "cadvisor-socket-proxy-container"
    reviews = [{"rule": "no-engine-socket", "resource": proxy, "until": "2020-01-01"}]
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps({"exemption-review": {"reviews": reviews}}), encoding="utf-8")
    done = project.checked("preview", "--policy-pack-config", str(settings))
    assert done.returncode == 0, done.stdout
    assert not violations(done.stdout)
    (line,) = advised(done.stdout)
    assert " exemption-review " in line
    assert (
        f"{proxy}: exemptions[0] (no-engine-socket) is an exemption whose review was due by 2020-01-01" in done.stdout
    )
