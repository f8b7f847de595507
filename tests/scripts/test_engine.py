"""scripts/engine.py: the CLI is given the right stack and files, and its state is read as it is written."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from components import reach
from policies import config as pack
from scripts import engine as module
from scripts import stack
from scripts.console import UserError
from scripts.engine import CONTAINER, Engine, parse, wrapped
from scripts.paths import Paths
from scripts.stack import StackFiles
from tests.scripts.conftest import SALT

EXPORT = {
    "version": 3,
    "deployment": {
        "secrets_providers": {"type": "passphrase", "state": {"salt": SALT}},
        "resources": [
            {
                "urn": "urn:pulumi:dev::nexus::pulumi:pulumi:Stack::nexus-dev",
                "type": "pulumi:pulumi:Stack",
                "outputs": {"urls": {"sonarr": "https://sonarr.localhost"}},
            },
            {
                "urn": f"urn:pulumi:dev::nexus::{CONTAINER}::sonarr",
                "type": CONTAINER,
                "id": "abc",
                "protect": True,
            },
            {
                "urn": f"urn:pulumi:dev::nexus::{CONTAINER}::radarr",
                "type": CONTAINER,
                "id": "def",
                "pendingReplacement": True,
            },
        ],
        "pending_operations": [
            {
                "type": "creating",
                "resource": {
                    "urn": f"urn:pulumi:dev::nexus::{CONTAINER}::prowlarr",
                    "inputs": {"name": "nexus-dev-p"},
                },
            }
        ],
    },
}


def log(paths: Paths) -> list[dict[str, object]]:
    """What the stand-in for the CLI was called with."""
    file = Path(paths.environment["FAKE_LOG"])
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def test_a_state_is_read_from_its_export() -> None:
    state = parse(json.dumps(EXPORT))
    assert state.ids(CONTAINER) == {"abc", "def"}
    assert [resource.name for resource in state.of(CONTAINER)] == ["sonarr", "radarr"]
    assert [(resource.protect, resource.deleted) for resource in state.of(CONTAINER)] == [
        (True, False),
        (False, True),
    ]
    assert state.outputs == {"urls": {"sonarr": "https://sonarr.localhost"}}
    assert [str(operation) for operation in state.pending] == ["creating prowlarr"]
    assert state.interrupted == {"nexus-dev-p"}
    assert state.salt == SALT


def test_a_new_stacks_state_is_empty() -> None:
    state = parse('{"version": 3, "deployment": {"manifest": {}}}')
    assert (state.resources, state.pending, state.outputs, state.salt) == ((), (), {}, None)


def test_a_stack_is_made_outside_the_checkout(paths: Paths, files: StackFiles) -> None:
    engine = Engine(paths=paths, files=files)
    before = {path.name: path.read_bytes() for path in paths.root.iterdir()}
    assert not engine.exists()
    engine.ensure()
    assert engine.exists()
    assert {path.name: path.read_bytes() for path in paths.root.iterdir()} == before
    assert stack.read(files.config)["encryptionsalt"] == SALT
    (call,) = log(paths)
    assert call["words"] == ["stack", "init", "dev", "--no-select"]
    assert not str(call["cwd"]).startswith(str(paths.root))
    engine.ensure()
    assert len(log(paths)) == 1


def in_a_workflow(paths: Paths, **more: str) -> Paths:
    return replace(paths, environment={**paths.environment, "CI": "true", "GITHUB_ACTIONS": "true", **more})


@pytest.mark.parametrize("given", [{}, {"NEXUS_BACKEND_URL": ""}])
def test_a_workflow_run_takes_no_empty_state_for_a_teams(
    paths: Paths, files: StackFiles, given: dict[str, str]
) -> None:
    """A secret that is not set is an empty variable."""
    theirs = replace(files, shared=True)
    with pytest.raises(UserError, match=r"NEXUS_BACKEND_URL: is not set, and stack dev is a team's"):
        Engine(paths=in_a_workflow(paths, **given), files=theirs).ensure()
    assert log(paths) == []
    # What is no team's has no other state; and elsewhere a team's state may be in files.
    Engine(paths=in_a_workflow(paths, **given), files=files).ensure()
    Engine(paths=paths, files=theirs).ensure()


def test_a_workflow_run_makes_no_stack_in_a_teams_backend(paths: Paths, files: StackFiles) -> None:
    there = in_a_workflow(paths, NEXUS_BACKEND_URL=paths.environment["PULUMI_BACKEND_URL"])
    for shared in (True, False):
        with pytest.raises(UserError, match=r"does not know it.*`scripts/pulumi -s dev stack`"):
            Engine(paths=there, files=replace(files, shared=shared)).ensure()
    assert log(paths) == []
    Engine(paths=paths, files=files).ensure()
    Engine(paths=there, files=replace(files, shared=True)).ensure()


def test_a_lost_stack_file_takes_its_encryption_from_the_state(engine: Engine, paths: Paths) -> None:
    (paths.state / "backend/.pulumi/stacks/nexus/dev.json").write_text(json.dumps(EXPORT), encoding="utf-8")
    engine.files.config.unlink()
    again = module.open_stack(paths, "dev")
    assert stack.read(again.files.config)["encryptionsalt"] == SALT


def test_other_levels_of_the_policies_reach_the_engine(
    engine: Engine, paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "PULUMI_OPTION_POLICY_PACK_CONFIG" not in module.open_stack(paths, "dev").environment
    file = tmp_path / "config.yaml"
    file.write_text(
        "development-stacks: [dev]\nadvisory: {dev: [memory-limit]}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(pack, "FILE", file)
    given = module.open_stack(paths, "dev").environment["PULUMI_OPTION_POLICY_PACK_CONFIG"]
    levels = json.loads(Path(given).read_text(encoding="utf-8"))
    assert levels == {"memory-limit": "advisory"}
    shared = replace(engine.files, shared=True, directory=tmp_path / "nobody" / "was-here")
    assert module._levels(shared) == tmp_path / "nobody" / "was-here" / "policy-levels.json"


def test_a_mistake_in_the_packs_configuration_is_said_before_anything_runs(
    engine: Engine, paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "policies" / "config.yaml"
    file.parent.mkdir()
    file.write_text("development-stacks: [dev]\nadvisory: {dev: [no-such-rule]}\n", encoding="utf-8")
    monkeypatch.setattr(pack, "FILE", file)
    with pytest.raises(UserError, match=r"policies/config\.yaml: advisory\.dev: there is no rule no-such-rule"):
        module.open_stack(paths, "dev")


def test_a_command_that_fails_is_named_with_its_complaint(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"pulumi dance failed \(status 1\):\nno such command"):
        engine.output("dance")


def test_locks_are_looked_for_where_the_backend_puts_them(engine: Engine, paths: Paths) -> None:
    folder = paths.state / "backend/.pulumi/locks/organization/nexus/dev"
    folder.mkdir(parents=True)
    (folder / "1.json").touch()
    (folder / "1.json.attrs").touch()
    assert [path.name for path in engine.locks()] == ["1.json"]
    remote = replace(engine, paths=replace(paths, environment={**paths.environment, "PULUMI_BACKEND_URL": "s3://x"}))
    assert list(remote.locks()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["preview"], ("dev", None, ["preview"])),
        (["-s", "prod", "preview"], ("prod", None, ["preview"])),
        (["preview", "--stack=prod", "--diff"], ("prod", None, ["preview", "--diff"])),
        (["config", "get", "nexus:vpn", "--stack", "t"], ("t", None, ["config", "get", "nexus:vpn"])),
        (["--stack-file", "/x/y.yaml", "preview"], ("dev", Path("/x/y.yaml"), ["preview"])),
        (["version"], (None, None, ["version"])),
        (["stack", "ls"], (None, None, ["stack", "ls"])),
        (["stack", "output"], ("dev", None, ["stack", "output"])),
        (["up", "--help"], (None, None, ["up", "--help"])),
    ],
)
def test_the_wrapper_finds_the_stack(
    paths: Paths, arguments: list[str], expected: tuple[str | None, Path | None, list[str]]
) -> None:
    assert wrapped(arguments, "dev") == expected


def test_the_wrapper_wants_a_value_for_its_options() -> None:
    with pytest.raises(UserError, match="--stack: needs a value"):
        wrapped(["preview", "--stack"], "dev")


def test_pulumi_never_sees_a_secret_on_its_command_line(engine: Engine, paths: Paths) -> None:
    engine.output("config", "set", "--secret", "nexus:smtp-password", given="hunter2\n")
    assert stack.values(engine.files)["nexus:smtp-password"] == {"secure": "2retnuh"}
    assert "hunter2" not in json.dumps(log(paths))


def test_a_run_shows_each_line_and_gives_its_status(engine: Engine) -> None:
    lines: list[str] = []
    assert engine.stream("dance", show=lines.append) == 1
    assert lines == ["no such command"]


@pytest.mark.parametrize(("processors", "at_a_time"), [(None, 16), (2, 16), (8, 32)])
def test_many_containers_are_waited_for_at_once(
    engine: Engine, paths: Paths, monkeypatch: pytest.MonkeyPatch, processors: int | None, at_a_time: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    engine.stream("dance", "--yes")
    assert log(paths)[-1]["words"] == ["dance", f"--parallel={at_a_time}", "--yes"]


def test_over_ssh_no_more_connections_are_made_at_once_than_sshd_takes(engine: Engine, paths: Paths) -> None:
    for given in ({"host": "ssh://me@nas"}, '{"host": "ssh://me@nas"}'):
        stack.set_value(engine.files, "nexus:docker", given)
        engine.stream("dance", "--yes")
        assert log(paths)[-1]["words"] == ["dance", f"--parallel={reach.SSH_PARALLEL}", "--yes"]


def test_what_a_shell_says_of_an_engine_is_told_to_count_for_nothing(
    paths: Paths, files: StackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    module.open_stack(paths, files.stack)
    assert "count for nothing" not in capsys.readouterr().err
    paths.environment.update(DOCKER_CONTEXT="elsewhere")  # type: ignore[attr-defined]
    module.open_stack(paths, files.stack)
    told = capsys.readouterr().err
    assert "DOCKER_CONTEXT of your shell count for nothing" in told
    assert "elsewhere" not in told


def test_the_stand_in_for_the_cli_is_what_runs(paths: Paths) -> None:
    """Else the tests above would pass for another reason."""
    done = subprocess.run(
        ["pulumi", "x"], env=dict(paths.environment) | {"PULUMI_STACK": "x"}, capture_output=True, check=False
    )
    assert done.stderr == b"no such command\n"
