"""One comment a stack and one issue a stack, whatever else is there; and nobody else's is touched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.ci import github, plan
from scripts.ci.__main__ import main
from scripts.console import UserError
from tests.ci.conftest import REPOSITORY, TOKEN, FakeGitHub, comment, issue

MARK = "nexus-preview stack=dev"
DRIFT = "nexus-drift stack=prod"


def test_a_comment_is_made_once_and_then_edited_in_place(fake: FakeGitHub) -> None:
    first = fake.api.comment(7, MARK, "one")
    second = fake.api.comment(7, MARK, "two")
    assert first == second
    assert [one["body"] for one in fake.comments] == [f"<!-- {MARK} -->\ntwo"]
    assert [(method, place) for method, place, _ in fake.changes] == [
        ("POST", "issues/7/comments"),
        ("PATCH", "issues/comments/1000"),
    ]


def test_a_text_that_carries_its_marker_gets_no_second_one(fake: FakeGitHub) -> None:
    fake.api.comment(7, MARK, f"<!-- {MARK} -->\nshown")
    assert fake.comments[0]["body"] == f"<!-- {MARK} -->\nshown"


def test_each_stack_has_its_own_comment(fake: FakeGitHub) -> None:
    fake.api.comment(7, MARK, "dev")
    fake.api.comment(7, "nexus-preview stack=dev-two", "dev-two")
    assert len(fake.comments) == 2


def test_a_comment_of_somebody_else_with_our_marker_is_left_alone(fake: FakeGitHub) -> None:
    fake.comments.append(comment(1, f"<!-- {MARK} -->\nmine", author="mallory"))
    fake.api.comment(7, MARK, "ours")
    assert fake.comments[0]["body"] == f"<!-- {MARK} -->\nmine"
    assert len(fake.comments) == 2


def test_a_marker_within_a_text_counts_for_nothing(fake: FakeGitHub) -> None:
    """A value in dev's preview is prod's marker: prod still gets a comment of its own, and dev's stays."""
    shown = f"dev\n<!-- {DRIFT} -->"
    fake.api.comment(7, MARK, shown)
    fake.api.comment(7, DRIFT, "prod")
    assert [one["body"] for one in fake.comments] == [f"<!-- {MARK} -->\n{shown}", f"<!-- {DRIFT} -->\nprod"]
    fake.api.comment(8, DRIFT, f"value\n<!-- {DRIFT} -->")
    assert str(fake.comments[-1]["body"]).startswith(f"<!-- {DRIFT} -->\n")


def test_our_comment_is_found_behind_a_hundred_others(fake: FakeGitHub) -> None:
    fake.comments += [comment(number, "talk", author="someone") for number in range(250)]
    fake.comments.append(comment(999, f"<!-- {MARK} -->\nold"))
    fake.api.comment(7, MARK, "new")
    assert fake.comments[-1]["body"] == f"<!-- {MARK} -->\nnew"
    assert len(fake.comments) == 251


def test_a_text_longer_than_github_takes_is_refused_before_it_is_sent(fake: FakeGitHub) -> None:
    with pytest.raises(UserError, match="65536"):
        fake.api.comment(7, MARK, "x" * github.LIMIT)
    assert fake.changes == []


def test_a_refusal_names_what_was_refused_and_not_the_token(fake: FakeGitHub) -> None:
    fake.refuse = 403
    with pytest.raises(UserError, match=r"GET issues/7/comments \(status 403\).*permissions") as caught:
        fake.api.comment(7, MARK, "x")
    assert TOKEN not in str(caught.value)


def test_an_issue_is_opened_edited_and_closed(fake: FakeGitHub) -> None:
    fake.api.issue(DRIFT, "Drift", "one")
    fake.api.issue(DRIFT, "Drift, more", "two")
    assert [(one["title"], one["body"]) for one in fake.issues] == [("Drift, more", f"<!-- {DRIFT} -->\ntwo")]
    assert fake.api.close(DRIFT, "gone") == "https://github.test/i/1"
    assert fake.issues[0]["state"] == "closed"
    assert fake.comments[-1]["body"] == "gone"


def test_a_closed_issue_stays_closed_and_a_new_one_is_opened(fake: FakeGitHub) -> None:
    fake.issues.append(issue(1, f"<!-- {DRIFT} -->", state="closed"))
    fake.api.issue(DRIFT, "Drift", "again")
    assert [one["state"] for one in fake.issues] == ["closed", "open"]


def test_nothing_is_closed_where_nothing_of_ours_is_open(fake: FakeGitHub) -> None:
    fake.issues.append(issue(1, f"<!-- {DRIFT} -->", author="mallory"))
    fake.issues.append(issue(2, f"<!-- {DRIFT} -->") | {"pull_request": {}})
    assert fake.api.close(DRIFT, "gone") == ""
    assert fake.changes == []


HOME = {"full_name": REPOSITORY, "default_branch": "main"}
LABELLED = {
    "merged_at": "2026-01-01",
    "labels": [{"name": "allow-data-loss"}],
    "base": {"ref": "main", "repo": HOME},
    "head": {"ref": "change", "repo": HOME},
}


@pytest.mark.parametrize(
    ("pull", "expected"),
    [
        (LABELLED, True),
        ({**LABELLED, "labels": [{"name": "bug"}]}, False),
        ({**LABELLED, "labels": None}, False),
        ({**LABELLED, "merged_at": None}, False),
        ({**LABELLED, "base": {"ref": "topic", "repo": HOME}}, False),
        ({**LABELLED, "base": {"ref": "main", "repo": {**HOME, "full_name": "upstream/nexus"}}}, False),
        ({**LABELLED, "head": {"ref": "main", "repo": {**HOME, "full_name": "fork/nexus"}}}, False),
        ({**LABELLED, "head": {"ref": "main", "repo": None}}, False),
    ],
)
def test_only_what_was_merged_into_the_default_branch_gives_its_label_to_a_commit(
    fake: FakeGitHub, pull: dict[str, object], expected: bool
) -> None:
    fake.pulls.append(pull)
    assert fake.api.has_label("abc", "allow-data-loss") is expected


def test_a_label_is_taken_away_and_no_other(fake: FakeGitHub) -> None:
    fake.labels += [{"name": "bug"}, {"name": "allow-data-loss"}]
    assert fake.api.unlabel(7, "allow-data-loss")
    assert fake.labels == [{"name": "bug"}]
    assert not fake.api.unlabel(7, "allow-data-loss")
    assert [(method, place) for method, place, _ in fake.changes] == [("DELETE", "issues/7/labels/allow-data-loss")]


@pytest.fixture
def run(fake: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> FakeGitHub:
    for name, value in {
        "GITHUB_API_URL": fake.url,
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_SERVER_URL": "https://github.test",
        "GITHUB_RUN_ID": "42",
    }.items():
        monkeypatch.setenv(name, value)
    return fake


def test_a_preview_without_a_text_is_posted_as_one_that_failed(run: FakeGitHub, tmp_path: Path) -> None:
    assert main(["comment", "--stack", "dev", "--folder", str(tmp_path), "--pull", "7"]) == 0
    (body,) = [str(one["body"]) for one in run.comments]
    assert "did not come to an end" in body
    assert f"https://github.test/{REPOSITORY}/actions/runs/42" in body
    (tmp_path / "comment.md").write_text("### all is well\n", encoding="utf-8")
    assert main(["comment", "--stack", "dev", "--folder", str(tmp_path), "--pull", "7"]) == 0
    assert [one["body"] for one in run.comments] == [f"<!-- {MARK} -->\n### all is well\n"]


def test_drift_opens_the_issue_and_no_drift_closes_it(run: FakeGitHub, tmp_path: Path) -> None:
    words = ["issue", "--stack", "prod", "--folder", str(tmp_path)]
    changed = plan.Operation(urn="urn:pulumi:prod::nexus::docker:index/volume:Volume::media", op="create", digest="d")
    plan.write(plan.Plan(stack="prod", commit="c", operations=(changed,)), tmp_path)
    assert main(words) == 0
    assert main(words) == 0
    (one,) = run.issues
    assert "create docker:index/volume:Volume media" in str(one["body"])
    plan.write(plan.Plan(stack="prod", commit="c", operations=()), tmp_path)
    assert main(words) == 0
    assert run.issues[0]["state"] == "closed"


def test_a_look_that_failed_closes_nothing(run: FakeGitHub, tmp_path: Path) -> None:
    run.issues.append(issue(1, f"<!-- {DRIFT} -->\nbefore"))
    assert main(["issue", "--stack", "prod", "--folder", str(tmp_path)]) == 0
    assert run.issues[0]["state"] == "open"
    assert re.search("could not be looked at", str(run.issues[0]["title"]))


def test_a_long_list_of_drift_says_that_it_was_cut_and_fits(run: FakeGitHub, tmp_path: Path) -> None:
    name = "urn:pulumi:prod::nexus::docker:index/volume:Volume::media-"
    changed = tuple(plan.Operation(urn=f"{name}{at:03}", op="create", digest="d") for at in range(103))
    plan.write(plan.Plan(stack="prod", commit="c", operations=changed), tmp_path)
    assert main(["issue", "--stack", "prod", "--folder", str(tmp_path)]) == 0
    body = str(run.issues[0]["body"])
    assert body.count("Volume media-") == 100
    assert "103 things" in body
    assert "and 3 more, which are not listed" in body
    assert "workflow `deploy`" in body


def test_label_prints_a_word_for_the_workflow(run: FakeGitHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--commit", "abc", "--label", "allow-data-loss"]) == 0
    assert capsys.readouterr().out == "false\n"


def test_an_older_commit_than_the_branchs_is_refused(run: FakeGitHub) -> None:
    run.tips = {"main": "b" * 40}
    assert main(["newest", "--commit", "b" * 40, "--branch", "main"]) == 0
    with pytest.raises(UserError, match="main is at bbbbbbbbbbbb by now, and this run is for aaaaaaaaaaaa: nothing"):
        main(["newest", "--commit", "a" * 40, "--branch", "main"])


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("GITHUB_TOKEN", "", "GITHUB_TOKEN: must be set"),
        ("GITHUB_REPOSITORY", "someone", "owner/name"),
        ("GITHUB_API_URL", "http://evil.test", "https://"),
        ("GITHUB_API_URL", "file:///etc/passwd", "https://"),
    ],
)
def test_a_wrong_variable_is_named(
    run: FakeGitHub, monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=complaint):
        github.from_environment()
