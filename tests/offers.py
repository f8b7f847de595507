"""What each service of a stack offers and keeps, from tests/platform.yaml: what tests hold the real thing against.

That the file is what the program declares on the dev stack is itself tested (tests/tools/test_docs.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

_FILE: Final = yaml.safe_load(Path(__file__).with_name("platform.yaml").read_text(encoding="utf-8"))

SERVICES: Final[Mapping[str, Mapping[str, Any]]] = _FILE["services"]
"""All of the dev stack's, by name."""

PAGES: Final = {name: one["page"] for name, one in SERVICES.items() if "page" in one}
"""The web pages."""

SCRAPED: Final[Mapping[str, str]] = {name: one["metrics"] for name, one in SERVICES.items() if "metrics" in one}
"""The address of each that Prometheus scrapes."""

PROBED: Final[Mapping[str, str]] = {name: one["probe"] for name, one in SERVICES.items() if "probe" in one}
"""The URL of each that is probed."""

KEPT: Final = {*_FILE["shared"], *(volume for one in SERVICES.values() for volume in one.get("keeps", ()))}
"""The volumes that only a person deletes."""
