"""The comment of a preview: golden ones from the engine's recorded events, and what a stranger may not do in one."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Final

import pytest

from scripts.console import UserError
from scripts.report import __main__ as command
from scripts.report import events, guard, markdown
from scripts.report.events import Change, Preview, Violation
from scripts.wire import MASK, SIGNATURE, Json, Table
from tests.report import recording

CONTAINER: Final = "docker:index/container:Container"
VOLUME: Final = "docker:index/volume:Volume"
NASTY: Final = "`|<b>@everyone</b>|` ![x](https://example.org/x.png)\n</details>\n# title"


def change(
    op: str = "update",
    name: str = "sonarr-container",
    kind: str = CONTAINER,
    *,
    protected: bool = False,
    **more: Json,
) -> Change:
    """One change of one property, `envs`, unless `more` says so."""
    old, new = more.get("old", {"envs": ["A=1"]}), more.get("new", {"envs": ["A=2"]})
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    return Change(
        op=op,
        urn=f"urn:pulumi:test::nexus::nexus:service:Service${kind}::{name}",
        old=old,
        new=new,
        diffs={"envs[0]": "update"},
        protected=protected,
    )


def recorded(scenario: str) -> Preview:
    """The preview that the engine made of a scenario."""
    return events.read(recording.events(scenario).read_text(encoding="utf-8"), scenario)


@pytest.mark.parametrize("scenario", recording.SCENARIOS)
def test_the_comment_is_the_golden_one(scenario: str) -> None:
    assert markdown.render("test", recorded(scenario)) == recording.golden(scenario).read_text(encoding="utf-8")


def test_a_replacement_is_one_change_and_not_three() -> None:
    found = recorded("replaced-network")
    assert [(one.op, one.name) for one in found.changes] == [
        ("replace", "network-apps"),
        ("replace", "sonarr-container"),
        ("replace", "traefik-container"),
    ]


def test_a_violation_is_told_with_rule_resource_and_advice() -> None:
    found = recorded("violation")
    assert found.failed
    assert ("no-privileged-container", "sonarr-container") in {(one.rule, one.resource) for one in found.violations}
    shown = markdown.render("test", found)
    assert "Refused: no-privileged-container" in shown
    assert "add the one capability or device that is needed." in shown


def test_what_a_failing_program_says_is_shown() -> None:
    found = recorded("failing")
    assert found.failed
    assert "nexus:vpn: missing" in markdown.render("test", found)


def test_events_that_end_early_are_a_failure() -> None:
    text = recording.events("nothing").read_text(encoding="utf-8")
    cut = "\n".join(line for line in text.splitlines() if "summaryEvent" not in line)
    assert not events.read(text, "x").failed
    assert events.read(cut, "x").failed


def test_what_are_no_events_is_named() -> None:
    with pytest.raises(UserError, match=r"preview\.json: line 2 is no event"):
        events.read('{"sequence": 1}\nPreviewing update\n', "preview.json")


def test_an_event_ends_where_its_line_does_and_not_at_another_separator() -> None:
    said = {"diagnosticEvent": {"severity": "error", "message": "one\u0085two\u2028three"}}
    found = events.read(json.dumps(said, ensure_ascii=False) + "\n", "x")
    assert found.errors == ("one\u0085two\u2028three",)


@pytest.mark.parametrize("limit", [400, 1000, 5000, 20_000])
def test_a_long_one_is_cut_between_its_parts(limit: int) -> None:
    shown = markdown.render("test", recorded("many"), limit=limit)
    assert len(shown) <= limit
    assert "are left out here" in shown
    assert shown.count("<details>") == shown.count("</details>")
    assert shown.count("```") % 2 == 0


def test_a_secret_is_never_shown() -> None:
    wrapped: Table = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:swordfish"}
    shapes: list[Json] = [wrapped, [wrapped], {"key": wrapped}, "PASSWORD=swordfish", "postgres://me:swordfish@db/x"]
    for value in shapes:
        shown = markdown.render("test", Preview(changes=(change(new={"envs": [value]}),)))
        assert MASK in shown
        assert "swordfish" not in shown
    named = change("create", new={"password": "swordfish"})
    assert "swordfish" not in markdown.render("test", Preview(changes=(named,)))
    whole = change(old={"envs": wrapped}, new={"envs": wrapped})
    assert MASK in markdown.render("test", Preview(changes=(whole,)))


WRAPPED: Final[Table] = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:x"}
PLAIN: Final = "correct horse battery"
BECAME: Final[dict[str, tuple[Json, Json, str]]] = {
    # before, after, path
    "the whole property": ([f"A={PLAIN}"], WRAPPED, "it"),
    "a member": ([f"A={PLAIN}"], [WRAPPED], "it[0]"),
    "a member, and one more before it": ([f"A={PLAIN}"], ["B=1", WRAPPED], "it[0]"),
    "a member, and its neighbour goes": (["B=1", f"A={PLAIN}"], [WRAPPED], "it[1]"),
    "a member that moves": (["B=1", f"A={PLAIN}"], [WRAPPED, "B=1"], "it[1]"),
    "a member of an object": ({"a": PLAIN, "b": 1}, {"a": WRAPPED, "b": 2}, "it.a"),
    "a file": (
        [{"file": "/a", "content": PLAIN}, {"file": "/b", "content": "x"}],
        [{"file": "/b", "content": "x"}, {"file": "/a", "content": WRAPPED}],
        "it[0].content",
    ),
    "a label": ([{"label": "x", "value": PLAIN}], [{"label": "x", "value": WRAPPED}], "it[0].value"),
    "a word": (["run", PLAIN, "-v"], ["run", WRAPPED, "-v"], "it[1]"),
    "a line of a text": (f"a: 1\nmotto: {PLAIN}\n", "a: 1\npassword: swordfish\n", "it"),
    "a text": (PLAIN, WRAPPED, "it"),
    "a number": (77310, WRAPPED, "it"),
    "a list that was a text": (PLAIN, ["--x", WRAPPED], "it"),
}


@pytest.mark.parametrize("case", BECAME)
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("kind", ["update", "delete", "add"])
def test_what_becomes_a_secret_is_hidden_on_both_sides(case: str, back: bool, kind: str) -> None:
    before, after, path = BECAME[case]
    old, new = ({"it": after}, {"it": before}) if back else ({"it": before}, {"it": after})
    for where in ("it", path):
        one = replace(change(old=old, new=new), diffs={where: kind})
        shown = markdown.render("test", Preview(changes=(one,)))
        assert PLAIN not in shown
        assert "77310" not in shown


def test_what_was_a_secret_before_hides_nothing_else() -> None:
    cases: list[tuple[Json, Json]] = [
        (["A=1", WRAPPED], ["A=2", WRAPPED]),
        ("a: A=1\npassword: swordfish\n", "a: A=2\npassword: swordfish\n"),
        ([{"file": "A=1", "content": WRAPPED}], [{"file": "A=2", "content": WRAPPED}]),
    ]
    for old, new in cases:
        one = replace(change(old={"it": old}, new={"it": new}), diffs={"it": "update"})
        shown = markdown.render("test", Preview(changes=(one,)))
        assert "A=1" in shown
        assert "A=2" in shown
    one = replace(change(old={"it": ["A=x", "B=1"]}, new={"it": [WRAPPED, "B=1"]}), diffs={"it": "update"})
    assert "B=1" in markdown.render("test", Preview(changes=(one,)))


def test_what_is_said_beside_a_value_hides_it() -> None:
    for one in (
        Change(
            op="update",
            urn=f"urn:pulumi:test::nexus::{CONTAINER}::a",
            old={
                "labels": [{"label": "db.password", "value": "swordfish"}],
                "command": ["app", "--password", "swordfish"],
            },
            new={
                "labels": [{"label": "db.password", "value": "swordfish2"}],
                "command": ["app", "--password", "swordfish2"],
            },
            diffs={"labels[0].value": "update", "command[2]": "update"},
            protected=False,
        ),
        change("create", new={"labels": [{"label": "db.password", "value": "swordfish"}]}),
    ):
        shown = markdown.render("test", Preview(changes=(one,)))
        assert "swordfish" not in shown
        assert MASK in shown


def test_messages_are_masked_too() -> None:
    said = "connecting postgres://me:" + "swordfish" + "@db/x failed"
    violation = Violation(rule="a-rule", resource="a", message=f"a: {said}", level="mandatory", severity="high")
    shown = markdown.render("test", Preview(errors=(said,), violations=(violation,), failed=True))
    assert "swordfish" not in shown
    assert shown.count("connecting") == 2


def details(path: str, old: Json, new: Json) -> str:
    """How one changed property is shown."""
    one = replace(change(old={path: old}, new={path: new}), diffs={path: "update"})
    found = re.search(r"(?s)```diff\n(.*?)\n```", markdown.render("test", Preview(changes=(one,))))
    assert found
    return found[1]


def test_a_long_value_is_shown_where_it_changed() -> None:
    minus, plus = details("command", "a " * 500 + "old" + " b" * 500, "a " * 500 + "new" + " b" * 500).split("\n")
    assert "old b" in minus
    assert "new b" in plus
    assert max(len(minus), len(plus)) < markdown.VALUE + 30
    minus, plus = details("command", "a " * 500, "a " * 500 + "more").split("\n")
    assert minus != plus
    assert "more" in plus


def test_a_text_is_shown_by_the_lines_that_changed() -> None:
    old = "\n".join(f"line {number}" for number in range(100))
    shown = details("content", old, old.replace("line 50", "password = swordfish").replace("line 70", "other"))
    assert shown.split("\n") == [
        "! content: some lines",
        "    | line 48",
        "    | line 49",
        f"-   | {MASK}",
        f"+   | password = {MASK}",
        "    | line 51",
        "    | line 52",
        "    ⋮",
        "    | line 68",
        "    | line 69",
        "-   | line 70",
        "+   | other",
        "    | line 71",
        "    | line 72",
    ]
    assert len(details("content", old, "none\n").split("\n")) == markdown.LINES + 2
    long = "a " * 500
    assert "old" in details("content", f"{long}old\n", f"{long}new\n")
    assert details("content", "a\npassword = one", "a\npassword = two").count("\n") == 1


def test_a_key_or_a_value_cannot_look_like_another_line() -> None:
    nasty = "a\n- privileged: true\u2028\u202e"
    for one in (
        change("create", new={nasty: nasty}),
        replace(change(old={nasty: 1}, new={nasty: 2}), diffs={nasty: "update"}),
        replace(change(old={"a": "1\n2"}, new={"a": "1\n privileged: true"}), diffs={"a": "update"}),
    ):
        shown = markdown.render("test", Preview(changes=(one,)))
        assert not re.search(r"(?m)^[-+]? *privileged: true", shown)
        assert "\u2028" not in shown
        assert "\u202e" not in shown


def test_a_mention_or_an_issue_is_none_after_its_references_were_read() -> None:
    for nasty, broken in (("@everyone", "@\u200beveryone"), ("a#12", "a#\u200b12"), ("GH-12", "GH-\u200b12")):
        found = Preview(changes=(change("delete", nasty, VOLUME),))
        shown = html.unescape(markdown.render(nasty, found))
        assert broken in shown
        assert nasty not in shown


def test_nothing_in_a_comment_is_the_posters_marker() -> None:
    marker = "<!-- nexus-preview stack=prod -->"
    found = Preview(changes=(change("create", marker, new={marker: marker}),), errors=(marker,), failed=True)
    assert "<!--" not in markdown.render(marker, found)


def test_the_label_did_not_allow_what_failed() -> None:
    lost = change("delete", "volume-data", VOLUME, protected=True)
    assert "was allowed by the label" in markdown.render("test", Preview(changes=(lost,)), allowed=True)
    shown = markdown.render("test", Preview(changes=(lost,), failed=True), allowed=True)
    assert "was allowed" not in shown
    assert "has to be released first" in shown


def test_only_what_is_too_big_is_left_out() -> None:
    found = Preview(errors=("x" * 19_000, "the small one"), changes=(change(),), failed=True)
    shown = markdown.render("test", found, limit=3000)
    assert "xxx" not in shown
    assert "the small one" in shown
    assert "A=2" in shown
    assert "1 of 5 parts are left out here" in shown


def test_lists_are_cut_between_their_rows() -> None:
    found = Preview(changes=tuple(change("delete", f"volume-{number}", VOLUME) for number in range(300)))
    shown = markdown.render("test", found, limit=6000)
    assert len(shown.encode()) <= 6000
    rows = re.findall(r"(?m)^- .*$", shown)
    assert 50 < len(rows) < 300
    assert rows[-1] == f"- … and {300 - len(rows) + 1} more"
    wide = markdown.render(
        "test", replace(found, changes=tuple(replace(one, op="update") for one in found.changes)), limit=6000
    )
    assert wide.count("<details>") == wide.count("</details>") > 0
    assert re.search(r"(?m)^\| … \| and \d+ more \| \| \|$", wide)


def test_the_limit_is_of_bytes() -> None:
    found = Preview(changes=tuple(change(name=f"größe-…-{number}") for number in range(300)))
    assert len(markdown.render("test", found, limit=9000).encode()) <= 9000


def test_names_and_messages_are_no_markup() -> None:
    found = Preview(
        changes=(change("delete", NASTY, VOLUME),),
        violations=(Violation(rule=NASTY, resource=NASTY, message=NASTY, level="mandatory", severity=NASTY),),
        failed=True,
    )
    shown = markdown.render(NASTY, found)
    own = shown.replace("<details>", "").replace("</details>", "").replace("<summary>", "").replace("</summary>", "")
    fenced = re.sub(r"(?s)```.*?```", "", own)
    assert "@everyone" not in fenced
    assert "<b>" not in fenced
    assert "](" not in fenced
    assert "\n# title" not in fenced


def test_a_fence_is_longer_than_what_is_in_it() -> None:
    shown = markdown.render("test", Preview(changes=(change("create", new={"envs": ["`````"]}),)))
    assert "``````diff" in shown
    error = markdown.render("test", Preview(errors=("```\n@everyone",), failed=True))
    assert "````text\n```\n@everyone\n````" in error


@pytest.mark.parametrize(
    ("one", "lost"),
    [
        (change("delete", "volume-data", VOLUME), True),
        (change("replace", "volume-sonarr-config", VOLUME), True),
        (change("update", "volume-data", VOLUME), False),
        (change("create", "volume-data", VOLUME), False),
        (change("delete", "traefik-config-files", VOLUME), False),
        (change("delete", "volume-jellyfin-cache", VOLUME), False),
        (change("replace", "admin-password", "random:index/randomPassword:RandomPassword"), True),
        (change("replace", "sonarr-container"), False),
        (change("replace", "sonarr-container", protected=True), True),
    ],
)
def test_the_guard_knows_what_cannot_be_made_again(
    one: Change, lost: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Preview(changes=(one,))
    assert (guard.losses(found) == (one,)) is lost
    monkeypatch.delenv(command.ALLOW, raising=False)
    assert command.exit_status(found) == int(lost)
    assert (one.name in capsys.readouterr().err) is lost
    for value, passes in (("true", True), ("", False), ("1", False), ("false", False)):
        monkeypatch.setenv(command.ALLOW, value)
        assert command.exit_status(found) == int(lost and not passes)


def test_what_holds_state_stands_first() -> None:
    found = Preview(changes=(change("replace", "a-container"), change("delete", "volume-data", VOLUME)))
    shown = markdown.render("test", found)
    assert shown.index("Data would be lost") < shown.index("Down for a moment")
    table = shown[shown.index("| | resource") :]
    assert table.index("volume&#45;data" if "volume&#45;data" in table else "volume-data") < table.index(
        "a-container"
    )


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("mounts[0].source", ["mounts", 0, "source"]),
        ('labels["a.b"].value', ["labels", "a.b", "value"]),
        ("image", ["image"]),
        ("tmpfs[/tmp]", ["tmpfs", "/tmp"]),
        ("tmpfs[²]", ["tmpfs", "²"]),
        ("tmpfs[" + "9" * 5000 + "]", ["tmpfs", "9" * 5000]),
    ],
)
def test_a_property_path_in_its_parts(path: str, parts: list[str | int]) -> None:
    assert events.parts(path) == parts


def test_render_writes_what_was_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["render", "--events", str(recording.events("violation")), "--stack", "test"]
    assert command.main(arguments) == 1
    assert capsys.readouterr().out == recording.golden("violation").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"nowhere\.json: No such file"):
        command.main(["render", "--events", "/nowhere.json", "--stack", "test"])


def test_the_recorded_events_hold_no_machine() -> None:
    for scenario in recording.SCENARIOS:
        text = recording.events(scenario).read_text(encoding="utf-8")
        assert str(recording.ROOT) not in text
        for line in text.splitlines():
            assert "timestamp" not in json.loads(line)
