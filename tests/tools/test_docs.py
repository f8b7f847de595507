"""scripts/run docs: what it writes is what rules, settings and program say today; the pages are well-formed."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import pulumi_docker as docker
import pytest
from pydantic import BaseModel

from components.settings.schema import Settings
from components.settings.secret import SECRET_KEYS
from policies import config as pack
from policies.benchmarks import BENCHMARKS, Item, covering
from policies.rules import FAMILIES, RULES
from policies.rules.rule import Rule
from scripts.console import UserError
from scripts.paths import ROOT
from tools import docs

ITEMS: Final = tuple(item for benchmark in BENCHMARKS for item in benchmark.items)


@pytest.mark.parametrize("name", docs.FILES)
def test_the_files_are_current(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == docs.FILES[name](), "run `make docs`"


def test_what_is_not_current_is_named_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "FILES", {"docs/policies.md": lambda: "a\n", "docs/settings.md": lambda: "b\n"})
    page, other = tmp_path / "docs" / "policies.md", tmp_path / "docs" / "settings.md"
    with pytest.raises(UserError, match=r"not current: docs/policies\.md, docs/settings\.md; run `make docs`"):
        docs.main(["--check"])
    assert not page.exists()
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    page.write_text(page.read_text(encoding="utf-8") + "by hand\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"not current: docs/policies\.md; run"):
        docs.main(["--check"])
    before = other.stat().st_mtime_ns
    assert docs.main([]) == 0
    assert page.read_text(encoding="utf-8") == "a\n"
    assert other.stat().st_mtime_ns == before, "what is current is let alone"


def test_a_changed_rule_makes_the_page_old(monkeypatch: pytest.MonkeyPatch) -> None:
    first = RULES[0]
    changed = dataclasses.replace(first, remediation="Do something else.")
    family, rules = next(iter(FAMILIES.items()))
    monkeypatch.setitem(FAMILIES, family, (changed, *rules[1:]))
    assert docs.policies() != (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")


def test_a_service_on_another_network_makes_the_matrix_old(monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Callable[..., docker.Container] = docker.Container

    def other(resource_name: str, **arguments: object) -> docker.Container:
        if resource_name == "sonarr-container":
            arguments["networks_advanced"] = cast("list[object]", arguments["networks_advanced"])[:1]
        return whole(resource_name, **arguments)

    monkeypatch.setattr(docker, "Container", other)
    before = (ROOT / "policies" / "matrix.yaml").read_text(encoding="utf-8").splitlines()
    assert list(difflib.ndiff(before, docs.matrix().splitlines())) == [
        f"{'-' if number == before.index('  sonarr-container: connects') else ' '} {line}"
        for number, line in enumerate(before)
    ], "one line for one membership"


def test_every_rule_has_its_anchor_once() -> None:
    headings = re.findall(r"^## (\S+)$", docs.policies(), flags=re.MULTILINE)
    assert headings == [rule.name for rule in RULES]
    for rule in RULES:
        assert rule.url == f"docs/policies.md#{rule.name}"


@pytest.mark.parametrize("name", docs.PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = docs.PAGES[name]()
    titles = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)]+)\)", page):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (ROOT / name).parent.joinpath(target).resolve().is_file(), target


@pytest.mark.parametrize("name", docs.PAGES)
def test_every_table_is_whole(name: str) -> None:
    rows = [line for line in docs.PAGES[name]().splitlines() if line.startswith("|")]
    assert rows
    width = 0
    for row in rows:
        cells = len(re.findall(r"(?<!\\)\|", row)) - 1
        if re.fullmatch(r"[| -]+", row) or width == 0:
            width = cells
        if not re.match(r"\| (?:Key|Setting|Item|Family) \|", row):
            assert cells == width, row
        else:
            width = cells
        assert not re.search(r"<\w", re.sub(r"`[^`]*`", "", row)), f"is markup: {row}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_explains_itself_and_has_tests(family: str) -> None:
    assert len(docs.docstring(family)) > 100
    assert docs.tests_of(family), f"tests/policies/test_rule_{family}.py is missing"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_describes_its_settings(rule: Rule) -> None:
    for key, schema in rule.settings.items():
        assert schema.get("type"), key
        assert schema.get("description"), key
        assert "default" in schema, key


def models() -> list[type[BaseModel]]:
    """Every model of the two configuration files."""
    found: list[type[BaseModel]] = []
    left: list[type[BaseModel]] = [Settings, pack.File, pack.ExemptionLine]
    while left:
        model = left.pop()
        found.append(model)
        left += [inner for info in model.model_fields.values() for inner in docs.models(info.annotation)]
    return found


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_a_setting_is_described(model: type[BaseModel]) -> None:
    page = docs.settings_page()
    for name, info in model.model_fields.items():
        key = info.alias or name
        # What tells the forms of an object apart is described where the form is chosen.
        assert info.description or key in ("type", "mode"), f"{model.__name__}.{name} has no description"
        if model is Settings:
            assert f"\n## nexus:{key}\n" in page
        else:
            assert f"\n| `{key}` | " in page


def test_every_secret_setting_is_there() -> None:
    for one in SECRET_KEYS:
        assert f"| `nexus:{one.key}` | " in docs.settings_page()


class TestBenchmarks:
    def test_items_are_told_apart(self) -> None:
        assert len({item.id for item in ITEMS}) == len(ITEMS)
        assert all(item.title for item in ITEMS)

    def test_every_item_of_the_parts_about_containers_is_there(self) -> None:
        names = {item.id for item in ITEMS}
        assert names >= {f"CIS 4.{number}" for number in range(1, 13)}
        assert names >= {f"CIS 5.{number}" for number in range(1, 33)}
        assert {name for name in names if name.startswith("OWASP")} == {f"OWASP {number}" for number in range(14)}

    @pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
    def test_an_item_has_rules_or_a_reason(self, item: Item) -> None:
        assert self.fault(item, RULES) == ""

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
    def test_a_rule_names_items_that_there_are(self, rule: Rule) -> None:
        assert set(rule.benchmarks) <= {item.id for item in ITEMS}
        assert len(set(rule.benchmarks)) == len(rule.benchmarks)

    def test_both_and_neither_are_found(self) -> None:
        one = RULES[0]
        covered = Item(id="X 1", title="x")
        rule = dataclasses.replace(one, benchmarks=("X 1",))
        assert self.fault(covered, [rule]) == ""
        assert self.fault(covered, [one]) == "X 1: no rule, and no reason for that"
        exempt = dataclasses.replace(covered, reason="because")
        assert self.fault(exempt, [one]) == ""
        assert self.fault(exempt, [rule]) == "X 1: has a reason for no rule, and rules"

    @staticmethod
    def fault(item: Item, rules: list[Rule] | tuple[Rule, ...]) -> str:
        """What is wrong with an item; empty where nothing is."""
        match bool(covering(item, rules)), bool(item.reason):
            case True, True:
                return f"{item.id}: has a reason for no rule, and rules"
            case False, False:
                return f"{item.id}: no rule, and no reason for that"
        return ""

    def test_the_table_shows_rules_and_tests(self) -> None:
        (row,) = re.findall(r"^\| CIS 5\.32 \|.*$", docs.policies(), flags=re.MULTILINE)
        assert "[no-engine-socket](#no-engine-socket)" in row
        assert "[test_rule_sockets.py](../tests/policies/test_rule_sockets.py)" in row
        (row,) = re.findall(r"^\| CIS 5\.23 \|.*$", docs.policies(), flags=re.MULTILINE)
        reason = next(item.reason for item in ITEMS if item.id == "CIS 5.23")
        assert row.endswith(f"| - | {reason} |")
