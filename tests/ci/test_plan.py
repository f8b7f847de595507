"""A deployment does what was reviewed, or nothing; and the engine is held to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts import wire
from scripts.ci import plan
from scripts.ci.__main__ import main
from scripts.console import UserError

VOLUME = "urn:pulumi:prod::nexus::nexus:index:Data$docker:index/volume:Volume::media"
APP = "urn:pulumi:prod::nexus::docker:index/container:Container::sonarr-container"


def step(op: str, urn: str, **more: object) -> dict[str, object]:
    return {"op": op, "urn": urn, **more}


def document(*steps: Mapping[str, object]) -> str:
    return json.dumps({"steps": steps, "changeSummary": {}, "duration": 1})


OLD = {"inputs": {"image": "z"}, "id": "1f", "protect": False}
UPDATE = step("update", APP, oldState=OLD, newState={"inputs": {"image": "a"}}, diffReasons=["image", "env"])


def parsed(*steps: Mapping[str, object], commit: str = "c0ffee") -> plan.Plan:
    return plan.parse(document(*steps), "prod", commit)


def test_what_changes_nothing_is_not_in_a_plan() -> None:
    assert parsed(step("same", APP), step("read", APP), step("refresh", VOLUME)).operations == ()


def test_a_plan_survives_its_file_and_has_no_value_in_it(tmp_path: Path) -> None:
    made = parsed(step("create", VOLUME, newState={"inputs": {"driver": "a-telling-value"}}))
    path = plan.write(made, tmp_path / "preview")
    assert plan.read(tmp_path / "preview") == made
    assert "a-telling-value" not in path.read_text()


def test_the_same_plan_in_another_order_is_the_same() -> None:
    one = parsed(UPDATE, step("delete", VOLUME))
    other = parsed(step("delete", VOLUME), {**UPDATE, "diffReasons": ["env", "image"]})
    plan.compare(one, other)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "now",
    [
        {**UPDATE, "op": "replace"},
        {**UPDATE, "newState": {"inputs": {"image": "b"}}},
        {**UPDATE, "newState": {"inputs": {"image": "a"}, "protect": True}},
        {**UPDATE, "oldState": {**OLD, "inputs": {"image": "y"}}},
        {**UPDATE, "oldState": {**OLD, "id": "2f"}},
        {**UPDATE, "oldState": {**OLD, "protect": True}},
        {**UPDATE, "diffReasons": ["image"]},
        {**UPDATE, "replaceReasons": ["image"]},
        {**UPDATE, "urn": VOLUME},
    ],
)
def test_any_other_operation_is_another_plan(now: Mapping[str, object]) -> None:
    with pytest.raises(UserError, match="not the one that was reviewed"):
        plan.compare(parsed(UPDATE), parsed(now))


def test_the_deletion_of_another_resource_with_the_same_name_is_another_plan() -> None:
    with pytest.raises(UserError, match="not the one that was reviewed"):
        plan.compare(
            parsed(step("delete", VOLUME, oldState={"inputs": {"driver": "local"}, "id": "media"})),
            parsed(step("delete", VOLUME, oldState={"inputs": {"driver": "nfs"}, "id": "media"})),
        )


def test_what_came_and_what_went_is_named() -> None:
    with pytest.raises(UserError) as caught:
        plan.compare(parsed(UPDATE), parsed(UPDATE, step("delete", VOLUME)))
    assert str(caught.value).splitlines()[1:] == ["  new:       delete docker:index/volume:Volume media"]
    with pytest.raises(UserError) as caught:
        plan.compare(parsed(UPDATE), parsed())
    assert str(caught.value).splitlines()[1:] == [
        "  no longer: update docker:index/container:Container sonarr-container"
    ]


def test_a_plan_is_for_one_stack_and_one_commit() -> None:
    with pytest.raises(UserError, match="commit"):
        plan.compare(parsed(UPDATE), parsed(UPDATE, commit="other"))
    with pytest.raises(UserError, match="stack prod"):
        plan.compare(parsed(UPDATE), plan.parse(document(UPDATE), "dev", "c0ffee"))


def test_events_give_the_plan_that_the_document_gives() -> None:
    secret = {wire.SIGNATURE: wire.SECRET, "ciphertext": "[secret]"}
    inputs: dict[str, object] = {"image": "a", "uploads": [{"content": secret}]}
    old = {"inputs": {"image": "z", "password": secret}, "id": "1f", "protect": True}
    metadata = {"urn": APP, "diffs": ["image"], "keys": ["image"], "new": {"inputs": inputs}, "old": old}
    events = [
        {"preludeEvent": {}},
        {"resourcePreEvent": {"metadata": {**metadata, "op": "create-replacement"}}},
        {"resourcePreEvent": {"metadata": {**metadata, "op": "replace", "logical": True}}},
        {"resourcePreEvent": {"metadata": {"urn": VOLUME, "op": "same", "logical": True}}},
        {"summaryEvent": {}},
    ]
    shown = {"image": "a", "uploads": [{"content": "[secret]"}]}
    by_events = plan.parse("\n".join(map(json.dumps, events)), "prod", "c0ffee")
    before = {"inputs": {"image": "z", "password": "[secret]"}, "id": "1f", "protect": True}
    assert by_events == parsed(
        step(
            "replace",
            APP,
            oldState=before,
            newState={"inputs": shown},
            diffReasons=["image"],
            replaceReasons=["image"],
        )
    )


def test_an_event_ends_where_its_line_does_and_not_at_another_separator() -> None:
    said = {"diagnosticEvent": {"message": "one\u0085two\u2028three"}}
    text = json.dumps(said, ensure_ascii=False) + '\n{"summaryEvent": {}}\n'
    assert plan.parse(text, "prod", "c").operations == ()


def test_events_without_an_end_are_no_plan() -> None:
    with pytest.raises(UserError, match="no events to the end"):
        plan.parse('{"preludeEvent": {}}\n{"resourcePreEvent": {}}', "prod", "c")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"steps": 1}', "not JSON"])
def test_what_is_no_preview_is_no_plan(text: str) -> None:
    with pytest.raises(UserError, match=r"^preview: is not"):
        plan.parse(text, "prod", "c")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stack": "a", "commit": "b", "operations": [1]}'])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / plan.FILE).write_text(text)
    with pytest.raises(UserError, match=r"plan\.json: is not a plan"):
        plan.read(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        plan.read(tmp_path / "elsewhere")


COMMAND = """\
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
name, *words = sys.argv[2:]
seen = {key: os.environ.get(key) for key in ("PULUMI_OPTION_PLAN", "PULUMI_EXPERIMENTAL", "PULUMI_OPTION_REFRESH")}
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([name, words, seen]) + "\\n")
answer = json.loads((folder / "answers.json").read_text())[name]
print(answer["out"])
if name == "scripts.up" and answer["status"] == 0:
    assert pathlib.Path(seen["PULUMI_OPTION_PLAN"]).read_text() == "the engine's plan"
for word in words:
    if word.startswith("--save-plan="):
        pathlib.Path(word.partition("=")[2]).write_text("the engine's plan")
sys.exit(answer["status"])
"""


class Fake:
    """The project's commands, played."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "command.py").write_text(COMMAND)
        for words in (
            ["init", "-q"],
            ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty"],
        ):
            subprocess.run(["git", *words], cwd=folder, check=True)
        self.commands = plan.Commands(root=folder, start=(sys.executable, str(folder / "command.py"), str(folder)))
        self.answers = {
            "scripts.preview": {"out": document(UPDATE), "status": 0},
            "scripts.engine": {"out": '{"deployment": {}}', "status": 0},
            "scripts.up": {"out": "up", "status": 0},
        }

    def deploy(self, reviewed: plan.Plan, backup: Path | None = None) -> int:
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        return plan.deploy(self.commands, "prod", reviewed, backup)

    @property
    def reviewed(self) -> plan.Plan:
        return parsed(UPDATE, commit=self.commands.commit())

    @property
    def called(self) -> list[str]:
        calls = self.folder / "calls"
        return [json.loads(line)[0] for line in calls.read_text().splitlines()] if calls.exists() else []


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_the_reviewed_plan_is_carried_out_with_the_state_kept_first(fake: Fake, tmp_path: Path) -> None:
    backup = tmp_path / "backup" / "state.json"
    assert fake.deploy(fake.reviewed, backup) == 0
    assert fake.called == ["scripts.preview", "scripts.engine", "scripts.up"]
    assert json.loads(backup.read_text()) == {"deployment": {}}
    assert backup.stat().st_mode & 0o077 == 0


def test_the_plan_and_what_carries_it_out_look_at_the_host(fake: Fake) -> None:
    assert fake.deploy(fake.reviewed) == 0
    preview, up = (json.loads(line) for line in (fake.folder / "calls").read_text().splitlines())
    assert "--refresh" in preview[1]
    assert up[2]["PULUMI_OPTION_REFRESH"] == "true"


def test_another_plan_changes_nothing(fake: Fake) -> None:
    fake.answers["scripts.preview"]["out"] = document(UPDATE, step("delete", VOLUME))
    backup = fake.folder / "backup" / "state.json"
    backup.parent.mkdir()
    backup.write_text("of an earlier run")
    with pytest.raises(UserError, match="review the new plan"):
        fake.deploy(fake.reviewed, backup)
    assert fake.called == ["scripts.preview"]
    assert not backup.exists()


def test_a_violation_changes_nothing_and_is_shown(fake: Fake) -> None:
    said = {"steps": [], "diagnostics": [{"severity": "error", "message": "no-raw-socket: …"}, {"severity": "info"}]}
    fake.answers["scripts.preview"] = {"out": json.dumps(said), "status": 255}
    with pytest.raises(UserError, match=r"(?s)preview failed \(status 255\).*no-raw-socket"):
        fake.deploy(fake.reviewed)
    assert fake.called == ["scripts.preview"]


def test_no_deployment_without_the_state_before(fake: Fake, tmp_path: Path) -> None:
    fake.answers["scripts.engine"]["status"] = 1
    with pytest.raises(UserError, match="engine failed"):
        fake.deploy(fake.reviewed, tmp_path / "state.json")
    assert fake.called == ["scripts.preview", "scripts.engine"]


def test_how_to_go_back_is_said_only_where_something_was_begun(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = tmp_path / "state.json"
    words = ["rollback", "--stack", "prod", "--commit", "c0ffee", "--backup", str(backup)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "nothing was changed" in said
    assert "revert" not in said
    fake.answers["scripts.up"]["status"] = 3
    fake.deploy(fake.reviewed, backup)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "git revert c0ffee" in said
    assert "nothing was changed" not in said


def test_a_failed_up_is_a_failed_deployment(fake: Fake) -> None:
    fake.answers["scripts.up"]["status"] = 3
    assert fake.deploy(fake.reviewed) == 3
