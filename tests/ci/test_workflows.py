"""What a workflow may do, whatever it says: pinned actions, least permissions, no secret near a fork, no text of a
stranger in a shell; and every script it calls is there, with the options it is called with."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scripts.ci import access
from scripts.ci.__main__ import DRIFT, MARKER, build

ROOT: Final = Path(__file__).resolve().parents[2]
FILES: Final = sorted((ROOT / ".github" / "workflows").iterdir())
Tree = Mapping[str, Any]

WITH_SECRETS: Final = frozenset({("preview", "preview"), ("deploy", "plan"), ("deploy", "deploy"), ("drift", "look")})
"""The jobs that run the program against a stack: only they have secrets, each in an environment of the stack's."""

ENVIRONMENTS: Final = {
    ("preview", "preview"): "preview-${{ matrix.stack }}",
    ("deploy", "plan"): "plan-${{ matrix.stack }}",
    ("drift", "look"): "plan-${{ matrix.stack }}",
    ("deploy", "deploy"): "${{ matrix.stack }}",
}

WRITING: Final = {
    ("preview", "comment"): {"pull-requests": "write"},
    ("preview", "label"): {"pull-requests": "write"},
    ("drift", "issue"): {"issues": "write"},
}
"""The jobs that may change anything at the forge: none of them has a secret."""


def load(path: Path) -> Tree:
    # BaseLoader: `on` stays a word.
    tree: Tree = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return tree


WORKFLOWS: Final = {path.stem: load(path) for path in FILES}
JOBS: Final = [(name, key, job) for name, flow in WORKFLOWS.items() for key, job in flow["jobs"].items()]
STEPS: Final = [(name, key, step) for name, key, job in JOBS for step in job["steps"]]


def text_of(value: object) -> str:
    return yaml.safe_dump(value, width=10_000)


def test_the_workflows_are_these() -> None:
    assert [path.name for path in FILES] == ["check.yml", "deploy.yml", "drift.yml", "preview.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_the_version_beside(path: Path) -> None:
    lines = [line.strip().removeprefix("- ") for line in path.read_text(encoding="utf-8").splitlines()]
    used = [line for line in lines if line.startswith("uses:")]
    assert used
    for line in used:
        found = re.fullmatch(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
        assert found, line
        assert found[1].startswith("actions/"), "another publisher needs a review of its own"


def test_one_action_has_one_version_everywhere() -> None:
    used = {step["uses"] for _, _, step in STEPS if "uses" in step}
    assert len({one.partition("@")[0] for one in used}) == len(used), used


def test_no_workflow_is_triggered_by_what_a_fork_controls_with_our_rights() -> None:
    for flow in WORKFLOWS.values():
        events = set(flow["on"])
        assert events <= {"push", "pull_request", "schedule", "workflow_dispatch"}


def test_permissions_are_none_unless_a_job_says_which() -> None:
    for flow in WORKFLOWS.values():
        assert flow["permissions"] == {}
    for name, key, job in JOBS:
        writes = {what: how for what, how in job["permissions"].items() if how != "read"}
        assert writes == WRITING.get((name, key), {}), (name, key)
        assert set(job["permissions"]) <= {"contents", "pull-requests", "issues"}


def test_secrets_are_where_the_program_runs_and_nowhere_else() -> None:
    having = {(name, key) for name, key, job in JOBS if re.search(r"\bsecrets\b", text_of(job))}
    assert having == WITH_SECRETS
    assert not having & WRITING.keys()
    for name, flow in WORKFLOWS.items():
        assert "secrets" not in text_of({key: value for key, value in flow.items() if key != "jobs"}), name


def test_a_secret_is_given_to_one_step_by_name() -> None:
    for name, key, job in JOBS:
        outside = {what: value for what, value in job.items() if what != "steps"}
        assert "secrets" not in text_of(outside), (name, key)
        for step in job["steps"]:
            elsewhere = {what: value for what, value in step.items() if what != "env"}
            assert "secrets" not in text_of(elsewhere), step
            for variable, value in step.get("env", {}).items():
                if "secrets" in value:
                    assert value == f"${{{{ secrets.{variable} }}}}"


def test_no_job_of_a_fork_has_a_secret() -> None:
    same = "github.event.pull_request.head.repo.full_name == github.repository"
    for name, key, job in JOBS:
        if (name, key) in WITH_SECRETS and "pull_request" in WORKFLOWS[name]["on"]:
            assert job.get("if") == same
    assert "pull_request" in WORKFLOWS["check"]["on"]
    assert "secrets" not in (ROOT / ".github/workflows/check.yml").read_text(encoding="utf-8")


def test_what_has_a_stacks_secrets_is_bound_to_its_own_kind_of_environment() -> None:
    """What strangers to `main` wrote runs where reviewers are asked; the nightly look where nobody is."""
    for name, key, job in JOBS:
        assert job.get("environment") == ENVIRONMENTS.get((name, key)), (name, key)
    assert {key for key, kind in ENVIRONMENTS.items() if kind.startswith("preview-")} == {("preview", "preview")}


def test_what_has_an_environment_of_main_runs_on_main_only() -> None:
    for name, _ in WITH_SECRETS - {("preview", "preview")}:
        jobs = WORKFLOWS[name]["jobs"]
        assert jobs["stacks"]["if"] == "github.ref == 'refs/heads/main'"
        for key, job in jobs.items():
            assert key == "stacks" or "stacks" in job["needs"]


def test_no_expression_is_pasted_into_a_shell() -> None:
    for _, _, step in STEPS:
        assert "${{" not in step.get("run", ""), step


def test_credentials_of_a_checkout_do_not_stay() -> None:
    checkouts = [step for _, _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    for step in checkouts:
        assert step["with"]["persist-credentials"] == "false"


def test_every_job_has_an_end_and_a_pinned_kind_of_runner() -> None:
    for name, key, job in JOBS:
        assert 0 < int(job["timeout-minutes"]) <= 90, (name, key)
        assert re.fullmatch(
            r"ubuntu-24\.04|\$\{\{ vars\.(PREVIEW|DEPLOY)_RUNNER \|\| 'ubuntu-24\.04' \}\}", job["runs-on"]
        ), (name, key)


def test_a_deployment_is_never_cancelled_and_a_preview_gives_way() -> None:
    assert WORKFLOWS["deploy"]["jobs"]["deploy"]["concurrency"] == {
        "group": "deploy-${{ matrix.stack }}",
        "cancel-in-progress": "false",
    }
    assert WORKFLOWS["preview"]["concurrency"]["cancel-in-progress"] == "true"
    assert "github.event.pull_request.number" in WORKFLOWS["preview"]["concurrency"]["group"]


def test_a_deployment_follows_its_plan_and_is_followed_by_the_smoke_test() -> None:
    job = WORKFLOWS["deploy"]["jobs"]["deploy"]
    assert "plan" in job["needs"]
    called = [step.get("run", "") for step in job["steps"]]
    newest, setup, deploy, smoke, rollback = (
        next(at for at, run in enumerate(called) if name in run)
        for name in ("ci newest", "scripts/setup", "ci deploy", "ci smoke", "ci rollback")
    )
    # Within the job, so that no other deployment of the stack comes between.
    assert newest < setup < deploy < smoke < rollback
    assert called[newest].endswith('newest --commit "$GITHUB_SHA" --branch "$GITHUB_REF_NAME"')
    assert job["steps"][rollback]["if"] == "failure() || cancelled()"
    assert "--backup backup/state.json" in called[deploy]
    assert "--backup backup/state.json" in called[rollback]
    assert "continue-on-error" not in text_of(job)


def test_the_plan_of_a_deployment_looks_at_the_host() -> None:
    """`ci plan` and `ci deploy` always do (test_plan.py); what is rendered for the reviewer is told to."""
    (made,) = [
        step["run"]
        for step in WORKFLOWS["deploy"]["jobs"]["plan"]["steps"]
        if "run report preview" in step.get("run", "")
    ]
    assert "PULUMI_OPTION_REFRESH=true scripts/run report preview" in made
    assert "--preview preview/preview.json" in made


def test_access_is_taken_away_whatever_happens() -> None:
    for name, key in WITH_SECRETS:
        steps = WORKFLOWS[name]["jobs"][key]["steps"]
        assert steps[-1]["run"] == "python3 -m scripts.ci access --revoke"
        assert steps[-1]["if"] == "always()"
        (given,) = [step["env"] for step in steps if step.get("run") == "python3 -m scripts.ci access"]
        assert set(given) == {access.KEY, access.KNOWN}


def test_the_engine_gets_the_same_variables_everywhere() -> None:
    given = [
        {variable: value for variable, value in step["env"].items() if variable != "NEXUS_ALLOW_DATA_LOSS"}
        for name, key, step in STEPS
        if "NEXUS_BACKEND_URL" in step.get("env", {})
    ]
    assert len(given) >= len(WITH_SECRETS)
    assert all(one == given[0] for one in given)


def test_the_label_is_the_guards_only_way_out() -> None:
    (one,) = [
        step["env"] for name, _, step in STEPS if name == "preview" and "NEXUS_ALLOW_DATA_LOSS" in step.get("env", {})
    ]
    assert one["NEXUS_ALLOW_DATA_LOSS"] == (
        "${{ github.event.action != 'synchronize' && "
        "contains(github.event.pull_request.labels.*.name, 'allow-data-loss') }}"
    )
    assert {"labeled", "unlabeled"} <= set(WORKFLOWS["preview"]["on"]["pull_request"]["types"])


def test_a_push_takes_the_label_away_by_the_scripts_of_the_base() -> None:
    job = WORKFLOWS["preview"]["jobs"]["label"]
    assert job["if"] == (
        "github.event.action == 'synchronize' && "
        "contains(github.event.pull_request.labels.*.name, 'allow-data-loss') && "
        "github.event.pull_request.head.repo.full_name == github.repository"
    )
    checkout, step = job["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert step["run"].endswith("--label allow-data-loss")


def test_the_comment_is_posted_whether_the_preview_succeeded_or_not() -> None:
    job = WORKFLOWS["preview"]["jobs"]["comment"]
    assert job["if"] == "!cancelled() && needs.stacks.result == 'success'"
    (checkout,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert "scripts/setup" not in text_of(job)
    assert WORKFLOWS["preview"]["jobs"]["gate"]["if"] == "always()"


def test_what_is_kept_of_a_preview_is_what_may_be_read() -> None:
    kept = {
        (name, step["with"]["name"].partition("-")[0]): step["with"]["path"].split()
        for name, _, step in STEPS
        if step.get("uses", "").startswith("actions/upload-artifact@")
    }
    assert kept[("preview", "preview")] == ["preview/comment.md", "preview/report.md"]
    assert kept[("deploy", "plan")] == ["preview/comment.md", "preview/report.md", "preview/plan.json"]


def test_the_summary_has_what_the_comment_leaves_out() -> None:
    shown = [step["run"] for _, _, step in STEPS if step.get("name", "").startswith("summary")]
    assert len(shown) == 2
    for one in shown:
        assert 'cat preview/report.md >>"$GITHUB_STEP_SUMMARY"' in one


@pytest.mark.parametrize(
    ("result", "status"), [("success", 0), ("failure", 1), ("cancelled", 1), ("skipped", 1), ("", 1)]
)
def test_the_gate_lets_pass_what_was_previewed_and_nothing_else(result: str, status: int) -> None:
    (step,) = WORKFLOWS["preview"]["jobs"]["gate"]["steps"]
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        env={**os.environ, "RESULT": result},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stdout


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every call of a script of ours, with where it stands."""
    for name, key, step in STEPS:
        for line in step.get("run", "").splitlines():
            for part in re.split(r"\|\||&&|\||;|\$\(|\)|>>", line):
                words = part.replace('"', " ").split()
                while words and re.fullmatch(r"sudo|then|\w+=\S*|if|do|!|\[", words[0]):
                    words = words[1:]
                if words and (words[0].startswith(("scripts/", ".ci/")) or words[:2] == ["python3", "-m"]):
                    yield f"{name}.{key}", words


CALLS: Final = list(commands())


def test_the_calls_are_found() -> None:
    assert len(CALLS) >= 25
    assert {words[0] for _, words in CALLS} == {"scripts/setup", "scripts/test", "scripts/run", ".ci/run", "python3"}


@pytest.mark.parametrize(("where", "words"), CALLS, ids=lambda value: value if isinstance(value, str) else value[-1])
def test_every_call_is_one_that_the_script_takes(where: str, words: list[str]) -> None:
    program, *rest = words
    if program == "python3":
        assert rest[:2] == ["-m", "scripts.ci"]
        build().parse_args(["7" if word == "$PULL" else word for word in rest[2:]])
        return
    assert os.access(ROOT / program, os.X_OK)
    if program == "scripts/run" and rest[0] == "ci":
        build().parse_args(rest[1:])
    elif program == "scripts/run":
        package = (ROOT / "scripts" / rest[0]).is_dir()
        module = importlib.import_module(f"scripts.{rest[0]}.__main__" if package else f"scripts.{rest[0]}")
        assert callable(module.main)
        shown = help_of(module.main, *(word for word in rest[1:2] if not word.startswith("-")))
        for option in (word for word in rest[1:] if word.startswith("--")):
            assert option.partition("=")[0] in shown, (where, option)
    elif program == "scripts/test":
        assert set(rest) <= {"--fast", "--lint"}
    else:
        assert rest == []


def help_of(main: Callable[[Sequence[str]], int], *command: str) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return shown.getvalue()


def test_what_runs_without_setup_needs_no_package() -> None:
    """The jobs that post have Python's own library and nothing else; -S leaves out site-packages."""
    for words in (
        ["--help"],
        ["stacks", "--also", "dev"],
        ["access", "--help"],
        ["rollback", "--stack", "a", "--commit", "b", "--backup", "c"],
    ):
        done = subprocess.run(
            ["python3", "-S", "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = {words!r}; "
             "import runpy; runpy.run_module('scripts.ci', run_name='__main__')"],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_a_marker_names_its_stack_and_no_other() -> None:
    for marker in (MARKER, DRIFT):
        texts = [f"<!-- {marker.format(stack=stack)} -->" for stack in ("dev", "dev-two", "de")]
        assert not [(one, other) for one in texts for other in texts if one != other and one in other]
