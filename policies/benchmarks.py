"""Public benchmarks, item by item, as benchmarks.yaml has them. Which rule covers what, the rule says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from policies.rules.rule import Rule


@dataclass(frozen=True)
class Item:
    """One item. `reason` says why no rule covers it; empty where rules do."""

    id: str
    title: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark: its name with its version, where it is published, and its items in order."""

    name: str
    url: str
    items: tuple[Item, ...]


def _read() -> tuple[Benchmark, ...]:
    tree = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return tuple(
        Benchmark(name=one["name"], url=one["url"], items=tuple(Item(*item) for item in one["items"])) for one in tree
    )


BENCHMARKS: Final = _read()


def covering(item: Item, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules that name an item."""
    return tuple(rule for rule in rules if item.id in rule.benchmarks)
