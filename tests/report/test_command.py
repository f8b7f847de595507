"""`scripts/run report preview`: whatever goes wrong, it is written where a reviewer sees it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import preview
from scripts.console import UserError
from scripts.report import __main__ as command

VIOLATION = {
    "policyEvent": {
        "policyName": "a-rule",
        "resourceUrn": "urn:pulumi:test::nexus::a:b:C::app",
        "message": "app: no",
        "enforcementLevel": "mandatory",
    }
}
ADVICE = {"policyEvent": {**VIOLATION["policyEvent"], "enforcementLevel": "advisory"}}
END = {"summaryEvent": {"resourceChanges": {"same": 3}, "result": "succeeded"}}
ERROR = {"diagnosticEvent": {"severity": "error", "message": "the host is away"}}
LAST = {"diagnosticEvent": {"severity": "error", "message": "preview failed"}}


def engine(folder: Path, status: int, said: str, *events: object) -> SimpleNamespace:
    """An engine whose CLI prints these events, says this on stderr and ends with this status."""
    lines = "".join(json.dumps(one) + "\n" for one in events)
    script = folder / "pulumi"
    write = f"sys.stdout.write({lines!r}); sys.stderr.write({said!r})"
    script.write_text(f"#!{sys.executable}\nimport sys\n{write}\nsys.exit({status})\n")
    script.chmod(0o755)
    return SimpleNamespace(paths=SimpleNamespace(root=folder), environment={"PATH": str(folder)})


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv(command.ALLOW, raising=False)
    return ["preview", "--stack", "test", "--folder", str(tmp_path / "out")]


def shown(folder: Path) -> str:
    comment, report = ((folder / "out" / name).read_text(encoding="utf-8") for name in ("comment.md", "report.md"))
    assert comment == report
    return comment


def test_a_mistake_before_the_preview_is_in_the_comment(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_given: argparse.Namespace) -> None:
        raise UserError("Pulumi.test.yaml: nexus:vpn: missing\nssh://me:" + "swordfish" + "@nas does not answer")

    monkeypatch.setattr(preview, "prepare", prepare)
    with pytest.raises(UserError, match="nexus:vpn: missing") as caught:
        command.main(arguments)
    assert "swordfish" not in str(caught.value) + shown(tmp_path)
    assert "Preview of stack test: failed" in shown(tmp_path)
    assert "Pulumi.test.yaml: nexus:vpn: missing" in shown(tmp_path)


@pytest.mark.parametrize(
    ("events", "explained"),
    [
        ([], False),
        ([END], False),
        ([LAST, END], False),
        ([ADVICE, END], False),
        ([ERROR, LAST, END], True),
        ([VIOLATION, LAST, END], True),
    ],
)
def test_what_the_cli_says_is_shown_where_nothing_else_explains_the_failure(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[object], explained: bool
) -> None:
    made = engine(tmp_path, 255, "error: the pack does not load", *events)
    monkeypatch.setattr(preview, "prepare", lambda _given: made)
    assert command.main(arguments) == 1
    assert ("the pack does not load" in shown(tmp_path)) is not explained
    if ADVICE in events:
        assert "Warning: a-rule" in shown(tmp_path)


def test_a_preview_that_is_no_events_is_in_the_comment_with_what_the_cli_says(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine(tmp_path, 1, "error: unknown flag", END)
    (tmp_path / "pulumi").write_text(
        (tmp_path / "pulumi").read_text().replace("write('", "write('usage: pulumi\\n", 1)
    )
    monkeypatch.setattr(preview, "prepare", lambda _given: made)
    with pytest.raises(UserError, match="line 1 is no event"):
        command.main(arguments)
    assert "unknown flag" in shown(tmp_path)


def test_a_preview_that_succeeds_says_nothing_of_the_cli(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine(tmp_path, 0, "warning: a new version", END)
    monkeypatch.setattr(preview, "prepare", lambda _given: made)
    assert command.main(arguments) == 0
    assert "new version" not in shown(tmp_path)
