"""Each rule of test_workflows.py shown to object: a fault is planted in a copy of the workflows, its test fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.ci import test_workflows as rules

CHECKOUT: Final = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
PUBLISHER: Final = "someone/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
OTHER: Final = "actions/checkout@0000000000000000000000000000000000000000 # v7.0.2"
SECRET: Final = "PULL: ${{ secrets.DEPLOY_SSH_KEY }}"
PULL: Final = "PULL: ${{ github.event.pull_request.number }}"
SAME: Final = "if: github.event.pull_request.head.repo.full_name == github.repository\n    runs-on: ${{"
REVOKE: Final = "if: always()\n        run: python3 -m scripts.ci access --revoke"
TITLE: Final = 'echo "${{ github.event.pull_request.title }}"'

Rule = Callable[..., None]

FAULTS: Final[list[tuple[str, str, str, Rule]]] = [
    ("check", CHECKOUT, "actions/checkout@v7", rules.test_actions_are_pinned_by_commit_with_the_version_beside),
    ("check", CHECKOUT, PUBLISHER, rules.test_actions_are_pinned_by_commit_with_the_version_beside),
    ("check", CHECKOUT, OTHER, rules.test_one_action_has_one_version_everywhere),
    (
        "preview",
        "  pull_request:",
        "  pull_request_target:",
        rules.test_no_workflow_is_triggered_by_what_a_fork_controls_with_our_rights,
    ),
    ("drift", "permissions: {}", "permissions: write-all", rules.test_permissions_are_none_unless_a_job_says_which),
    ("deploy", "contents: read", "contents: write", rules.test_permissions_are_none_unless_a_job_says_which),
    ("check", "contents: read", "id-token: write", rules.test_permissions_are_none_unless_a_job_says_which),
    ("preview", PULL, SECRET, rules.test_secrets_are_where_the_program_runs_and_nowhere_else),
    ("check", 'CI: "true"', "CI: ${{ secrets.X }}", rules.test_secrets_are_where_the_program_runs_and_nowhere_else),
    (
        "drift",
        "STACK: ${{ matrix.stack }}",
        "STACK: ${{ secrets.STACK }}",
        rules.test_a_secret_is_given_to_one_step_by_name,
    ),
    ("preview", "secrets.AWS_ACCESS_KEY_ID", "secrets.OTHER", rules.test_a_secret_is_given_to_one_step_by_name),
    ("preview", SAME, "runs-on: ${{", rules.test_no_job_of_a_fork_has_a_secret),
    (
        "deploy",
        "environment: ${{ matrix.stack }}",
        "environment: plan-${{ matrix.stack }}",
        rules.test_what_has_a_stacks_secrets_is_bound_to_its_own_kind_of_environment,
    ),
    (
        "drift",
        "environment: plan-",
        "environment: preview-",
        rules.test_what_has_a_stacks_secrets_is_bound_to_its_own_kind_of_environment,
    ),
    (
        "preview",
        "environment: preview-",
        "environment: plan-",
        rules.test_what_has_a_stacks_secrets_is_bound_to_its_own_kind_of_environment,
    ),
    (
        "drift",
        "if: github.ref == 'refs/heads/main'",
        "if: always()",
        rules.test_what_has_an_environment_of_main_runs_on_main_only,
    ),
    ("check", "run: scripts/setup", f"run: {TITLE}", rules.test_no_expression_is_pasted_into_a_shell),
    (
        "deploy",
        "persist-credentials: false",
        "persist-credentials: true",
        rules.test_credentials_of_a_checkout_do_not_stay,
    ),
    (
        "drift",
        "timeout-minutes: 30",
        "timeout-minutes: 300",
        rules.test_every_job_has_an_end_and_a_pinned_kind_of_runner,
    ),
    ("check", "ubuntu-24.04", "ubuntu-latest", rules.test_every_job_has_an_end_and_a_pinned_kind_of_runner),
    (
        "deploy",
        "group: deploy-${{ matrix.stack }}\n      cancel-in-progress: false",
        "group: deploy-${{ matrix.stack }}\n      cancel-in-progress: true",
        rules.test_a_deployment_is_never_cancelled_and_a_preview_gives_way,
    ),
    (
        "deploy",
        "needs: [stacks, plan]",
        "needs: [stacks]",
        rules.test_a_deployment_follows_its_plan_and_is_followed_by_the_smoke_test,
    ),
    (
        "deploy",
        '--commit "$GITHUB_SHA" --branch',
        "--branch",
        rules.test_a_deployment_follows_its_plan_and_is_followed_by_the_smoke_test,
    ),
    (
        "deploy",
        "if: failure() || cancelled()",
        "if: failure()",
        rules.test_a_deployment_follows_its_plan_and_is_followed_by_the_smoke_test,
    ),
    ("deploy", "PULUMI_OPTION_REFRESH=true ", "", rules.test_the_plan_of_a_deployment_looks_at_the_host),
    ("drift", REVOKE, REVOKE.replace("always()", "success()"), rules.test_access_is_taken_away_whatever_happens),
    (
        "drift",
        "secrets.NEXUS_BACKEND_URL",
        "vars.NEXUS_BACKEND_URL",
        rules.test_the_engine_gets_the_same_variables_everywhere,
    ),
    ("preview", "'allow-data-loss')", "'bug')", rules.test_the_label_is_the_guards_only_way_out),
    ("preview", "github.event.action != 'synchronize' && ", "", rules.test_the_label_is_the_guards_only_way_out),
    (
        "preview",
        "pull_request.base.sha }}\n      - env",
        "pull_request.head.sha }}\n      - env",
        rules.test_a_push_takes_the_label_away_by_the_scripts_of_the_base,
    ),
    ("preview", "labeled, unlabeled", "labeled", rules.test_the_label_is_the_guards_only_way_out),
    ("preview", "!cancelled()", "success()", rules.test_the_comment_is_posted_whether_the_preview_succeeded_or_not),
    (
        "preview",
        "pull_request.base.sha }}\n      - uses",
        "pull_request.head.sha }}\n      - uses",
        rules.test_the_comment_is_posted_whether_the_preview_succeeded_or_not,
    ),
    ("preview", "preview/report.md\n  ", "preview\n  ", rules.test_what_is_kept_of_a_preview_is_what_may_be_read),
    ("deploy", "preview/plan.json", "preview/*", rules.test_what_is_kept_of_a_preview_is_what_may_be_read),
    ("deploy", "cat preview/report.md", "cat preview/x", rules.test_the_summary_has_what_the_comment_leaves_out),
]


@pytest.mark.parametrize(
    ("name", "before", "after", "rule"), FAULTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_planted_fault_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: str, after: str, rule: Rule
) -> None:
    folder = tmp_path / "workflows"
    folder.mkdir()
    for path in rules.FILES:
        text = path.read_text(encoding="utf-8")
        if path.stem == name:
            assert before in text
            text = text.replace(before, after, 1)
        (folder / path.name).write_text(text, encoding="utf-8")
    use(monkeypatch, folder)
    arguments = [folder / f"{name}.yml"] if "path" in rule.__code__.co_varnames[: rule.__code__.co_argcount] else []
    with pytest.raises(AssertionError):
        rule(*arguments)


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Puts these workflows in the place of the project's, for the rules."""
    flows = {path.stem: rules.load(path) for path in sorted(folder.iterdir())}
    jobs = [(name, key, job) for name, flow in flows.items() for key, job in flow["jobs"].items()]
    steps = [(name, key, step) for name, key, job in jobs for step in job["steps"]]
    for attribute, value in {"WORKFLOWS": flows, "JOBS": jobs, "STEPS": steps}.items():
        monkeypatch.setattr(rules, attribute, value)


def test_the_copy_itself_is_refused_by_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in rules.FILES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    use(monkeypatch, tmp_path)
    for _, _, _, rule in FAULTS:
        if rule.__code__.co_argcount == 0:
            rule()
