"""policies/config.yaml: each mistake in it is one message with file and key, and the pack does not start with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import pytest
from pulumi_policy import EnforcementLevel, Severity

from policies import config
from policies.config import DEVELOPMENT, ConfigError, configure, matrix, read
from policies.rules import RULES
from policies.rules.exemptions import exemptions
from policies.rules.rule import Config, Finding, Resource, Rule

PACK: Final = Path(config.__file__).parent
TODAY: Final = date(2026, 3, 1)
GOOD: Final = "development-stacks: [dev, test]\n"
LINE: Final = """\
exemptions:
  - {rule: %s, resource: web, reason: "the paint shop is closed", until: %s}
"""


def nothing(_resource: Resource, _config: Config) -> Iterator[Finding]:
    """Objects to nothing."""
    yield from ()


def rule(name: str, **settings: dict[str, object]) -> Rule:
    """A rule with these settings: schemas by key, where `_` stands for a dash."""
    return Rule(
        name=name,
        description="Nothing is painted red, because nobody could tell it from a fire.",
        remediation="Paint it green.",
        severity=Severity.LOW,
        validate=nothing,
        settings={key.replace("_", "-"): schema for key, schema in settings.items()},
    )


PAINTS: Final[dict[str, object]] = {"type": "array", "items": {"type": "string"}, "default": ["green"]}
PAINT: Final = rule(
    "no-red-paint",
    paints=PAINTS,
    coats={"type": "object", "default": {}},
)
NAILS: Final = rule("no-rusty-nails", development_stacks={**PAINTS, "default": []})
TWO: Final = (PAINT, NAILS)


def written(folder: Path, text: str) -> Path:
    """A configuration file, as the pack has it."""
    path = folder / "policies" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def given(folder: Path, text: str, stack: str = "prod") -> config.PackConfig:
    """What the two rules are given by a file with this text."""
    return configure(read(written(folder, text)), TWO, stack)


class TestGood:
    def test_each_rule_gets_what_is_its_own(self, tmp_path: Path) -> None:
        text = GOOD + LINE % ("no-red-paint", "2026-09-01") + "settings: {no-red-paint: {coats: {door: 3}}}\n"
        found = given(tmp_path, text)
        entry = {"resource": "web", "reason": "the paint shop is closed", "until": "2026-09-01"}
        assert found.rules == {
            "no-red-paint": {"coats": {"door": 3}, "exemptions": [entry]},
            "no-rusty-nails": {DEVELOPMENT: ["dev", "test"]},
        }
        assert found.advisory == frozenset()

    def test_what_narrows_an_exemption_is_handed_on(self, tmp_path: Path) -> None:
        line = (
            "{rule: no-red-paint, resource: web, property: paint, image: a/b, reason: is repainted soon, until: %s}"
        )
        (entry,) = exemptions(given(tmp_path, GOOD + f"exemptions: [{line % '2026-09-01'}]").rules["no-red-paint"])
        assert (entry.only, entry.image) == ("paint", "a/b")

    def test_advice_is_for_one_stack_alone(self, tmp_path: Path) -> None:
        file = read(written(tmp_path, GOOD + "advisory: {dev: [no-red-paint]}\n"))
        assert configure(file, TWO, "dev").advisory == {"no-red-paint"}
        assert configure(file, TWO, "test").advisory == frozenset()
        assert configure(file, TWO, "dev").levels == {"no-red-paint": "advisory"}
        assert configure(file, TWO, "test").levels == {}

    def test_the_pack_starts_as_strict_on_every_stack(self, tmp_path: Path) -> None:
        # It starts before it is told for which one: what differs comes by --policy-pack-config.
        text = GOOD + "advisory: {dev: [no-rusty-nails]}\n"
        file = read(written(tmp_path, text))
        initial = configure(file, TWO, "dev").initial(TWO)
        assert initial["no-red-paint"] == {"enforcementLevel": EnforcementLevel.MANDATORY}
        assert initial["no-rusty-nails"] == {
            DEVELOPMENT: ["dev", "test"],
            "enforcementLevel": EnforcementLevel.MANDATORY,
        }

    @pytest.mark.parametrize(
        ("days", "said"),
        [
            (-1, "review was due by 2026-02-28; look at it again, give it a new day or take it out"),
            (0, ""),
            (config.LONGEST.days, ""),
            (config.LONGEST.days + 1, "until must be 2027-04-05 or before"),
        ],
    )
    def test_a_day_is_near_and_not_past(self, tmp_path: Path, days: int, said: str) -> None:
        text = GOOD + LINE % ("no-red-paint", TODAY + timedelta(days=days))
        # Whatever the day, the pack starts: no date and no clock stops a deployment.
        assert given(tmp_path, text).rules["no-red-paint"]["exemptions"]
        lines = list(config.late(read(tmp_path / "policies" / "config.yaml"), TODAY))
        assert [line.partition(said)[1] for line in lines] == ([said] if said else [])
        assert all(line.startswith("policies/config.yaml: exemptions.0 (no-red-paint, web): ") for line in lines)

    def test_a_key_may_be_empty(self, tmp_path: Path) -> None:
        assert given(tmp_path, GOOD + "exemptions:\nsettings:\nadvisory:\n") == given(tmp_path / "policies", GOOD)

    @pytest.mark.parametrize("stack", ["dev", "prod", ""])
    def test_the_packs_own_is_good(self, stack: str) -> None:
        found = configure(read(), RULES, stack)
        assert found.rules.keys() == {one.name for one in RULES}


BAD: Final = (
    ("nothing", "", "the file: must be an object"),
    ("list", "- 1", "the file: must be an object"),
    ("no-yaml", "development-stacks: [dev", "while parsing"),
    ("not-text", "development-stacks: \x07", "is not YAML: special characters are not allowed"),
    ("twice", GOOD + GOOD, "the key development-stacks stands twice"),
    ("missing-key", "settings: {}", "development-stacks: missing"),
    ("unknown-key", GOOD + "exceptions: []", "exceptions: no such key"),
    ("exemption-key", GOOD + "exemptions: [{rule: a, why: b}]", "exemptions.0.why: no such key"),
    ("no-resource", GOOD + "exemptions: [{rule: a}]", "exemptions.0.resource: missing"),
    ("no-reason", GOOD + "exemptions: [{rule: a, resource: web}]", "exemptions.0.reason: missing"),
    ("no-until", GOOD + "exemptions: [{rule: a, resource: web}]", "exemptions.0.until: missing"),
    (
        "short-reason",
        GOOD + LINE.replace("the paint shop is closed", "because    ") % ("no-red-paint", "2026-09-01"),
        "exemptions.0.reason: String should have at least 10",
    ),
    ("no-day", GOOD + LINE % ("no-red-paint", "2026-02-30"), "day"),
    (
        "words-for-a-day",
        GOOD + LINE % ("no-red-paint", "next year"),
        "exemptions.0.until: Input should be a valid date",
    ),
    (
        "number-for-a-day",
        GOOD + LINE % ("no-red-paint", "20260901"),
        "exemptions.0.until: Input should be a valid date",
    ),
    (
        "unknown-rule",
        GOOD + LINE % ("no-blue-paint", "2026-09-01"),
        "exemptions.0.rule: there is no rule no-blue-paint",
    ),
    ("settings-rule", GOOD + "settings: {no-blue-paint: {}}", "settings: there is no rule no-blue-paint"),
    ("setting", GOOD + "settings: {no-red-paint: {tins: 1}}", "settings.no-red-paint.tins: that rule has no such"),
    (
        "setting-of-the-file",
        GOOD + "settings: {no-rusty-nails: {development-stacks: [prod]}}",
        "settings.no-rusty-nails.development-stacks: that rule has no such",
    ),
    (
        "exemptions-as-a-setting",
        GOOD + "settings: {no-red-paint: {exemptions: []}}",
        "settings.no-red-paint.exemptions: that rule has no such",
    ),
    (
        "type",
        GOOD + "settings: {no-red-paint: {coats: many}}",
        "settings.no-red-paint.coats: must be of type object",
    ),
    (
        "item",
        GOOD + "settings: {no-red-paint: {paints: [a, 1]}}",
        "no-red-paint.paints: item 1 must be of type string",
    ),
    ("advice-stack", GOOD + "advisory: {prod: [no-red-paint]}", "advisory.prod: not one of development-stacks"),
    ("remediate", GOOD + "remediate: {dev: [no-red-paint]}", "remediate: no such key"),
    ("advice-rule", GOOD + "advisory: {dev: [no-blue-paint]}", "advisory.dev: there is no rule no-blue-paint"),
)


@pytest.mark.parametrize(("text", "said"), [one[1:] for one in BAD], ids=[one[0] for one in BAD])
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("policies/config.yaml: ") for line in lines)
    assert any(said in line for line in lines), lines
    assert not any("pydantic" in line for line in lines)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        given(tmp_path, GOOD + "advisory: {prod: [no-blue-paint]}\nsettings: {a: {}, b: {}}\n")
    assert len(str(caught.value).splitlines()) == 4


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policies/config\.yaml: .*No such file"):
        read(tmp_path / "policies" / "config.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network-apps: [web]\n", "network-apps: must be an object"),
        ("network-apps: {web: maybe}\n", "network-apps.web: Input should be 'answers' or 'connects'"),
        ("network-apps: {web: answers}\nnetwork-apps: {}\n", "the key network-apps stands twice"),
        ("network-apps: {web: answers, web: connects}\n", "web stands twice"),
        ("network-apps: {", "is not YAML"),
        ("", "the file: must be an object"),
        ("[]", "the file: must be an object"),
        ("{}", "should have at least 1 item"),
        (None, "No such file"),
    ],
    ids=str,
)
def test_a_matrix_that_is_none(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "policies" / "matrix.yaml"
    path.parent.mkdir()
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^policies/matrix\.yaml: .*; run `make docs`, which writes it$") as caught:
        matrix(path)
    assert said in str(caught.value)


def test_the_matrix_is_set_in_its_own_file(tmp_path: Path) -> None:
    table = rule("no-stranger", table={"type": "object", "default": {}})
    assert configure(read(written(tmp_path, GOOD)), [table]).rules["no-stranger"] == {"table": matrix()}
    file = read(written(tmp_path / "other", GOOD + "settings: {no-stranger: {table: {}}}\n"))
    with pytest.raises(ConfigError, match=r"settings\.no-stranger\.table: that rule has no such setting"):
        configure(file, [table])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + LINE % ("no-blue-paint", "2026-09-01"), "exemptions.0.rule: there is no rule no-blue-paint"),
        ("development-stacks: [dev", "policies/config.yaml: is not YAML: line 1: while parsing"),
    ],
    ids=["unknown-rule", "no-yaml"],
)
def test_the_pack_does_not_start(tmp_path: Path, text: str, said: str) -> None:
    copy = tmp_path / "policies"
    for folder in (PACK, PACK.parent / "components"):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "config.yaml").write_text(text, encoding="utf-8")
    # The way the language host does it, see test_pack.py.
    done = subprocess.run(
        [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:0", str(copy)],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == "", "a port was told: the pack runs"
    assert "the policy pack does not start:" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
