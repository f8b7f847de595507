"""What a component sees of the settings: its own sections. Only who puts the platform together has them all."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

COMPONENTS: Final = Path(__file__).parent.parent.parent / "components"
WHOLE: Final = {
    "platform": "hands each section to whom it belongs",
    "host": "compares what is wished with what the host has",
}
"""Modules that have all settings, besides those of components/settings, and why."""


def sees_all(source: str) -> bool:
    """Whether a module names the class that holds every section, imported by name or through its module."""
    return any(
        (isinstance(node, ast.ImportFrom) and "Settings" in {one.name for one in node.names})
        or (isinstance(node, ast.Attribute) and node.attr == "Settings")
        for node in ast.walk(ast.parse(source))
    )


@pytest.mark.parametrize("path", sorted(COMPONENTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_component_sees_its_own_sections(path: Path) -> None:
    assert sees_all(path.read_text(encoding="utf-8")) == (path.stem in WHOLE)


@pytest.mark.parametrize(
    "source", ["from components.settings.schema import Settings\n", "x: schema.Settings\n", "x = all.Settings()\n"]
)
def test_who_sees_them_all_is_noticed(source: str) -> None:
    assert sees_all(source)
