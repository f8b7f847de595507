"""Each relative link of the documentation leads to a file, and each anchor to a heading of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
_LINK: Final = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
_FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> list[str]:
    """The Markdown files of the repository, but what tests record."""
    done = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split() if not name.startswith("tests/")]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def astray(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for path, anchor in _LINK.findall(_FENCED.sub("", text)):
        target = page.parent / path if path else page
        if not target.exists():
            found.append(path)
        elif anchor and anchor not in anchors(target.read_text()):
            found.append(f"{path}#{anchor}")
    return found


@pytest.mark.parametrize("name", pages())
def test_links_lead_somewhere(name: str) -> None:
    assert astray(ROOT / name, (ROOT / name).read_text()) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One two\n[a](a.md#one-two) [b](a.md#three) [c](gone.md#x) [d](https://x/y) [e](#one-two)\n")
    assert astray(page, page.read_text()) == ["a.md#three", "gone.md"]
