"""Previews of the small program on the real engine, without what differs from run to run.

`normalised` keeps the events that the renderer reads and takes out: sequence, time, the checkout's path, image ids.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).parent
PROGRAM: Final = ROOT / "tests" / "policies" / "programs" / "previewed"
SCENARIOS: Final = (
    "nothing",
    "env-change",
    "new-app",
    "replaced-network",
    "deleted-volume",
    "violation",
    "mended",
    "failing",
    "many",
)
_KEPT: Final = ("resourcePreEvent", "policyEvent", "policyRemediationEvent", "diagnosticEvent", "summaryEvent")


def normalised(text: str) -> str:
    """A preview's events, each on a line, the same for each run of the same preview."""
    lines: list[str] = []
    for line in text.splitlines():
        event = {key: value for key, value in json.loads(line).items() if key in _KEPT}
        if event.get("diagnosticEvent", {"severity": "error"})["severity"] != "error":
            continue
        if "summaryEvent" in event:
            event["summaryEvent"].pop("durationSeconds", None)
            event["summaryEvent"].pop("PolicyPacks", None)
        for side in ("old", "new"):
            state = (event.get("resourcePreEvent", {}).get("metadata", {}) or {}).get(side) or {}
            for key in ("outputs", "id", "initErrors"):
                state.pop(key, None)
        if event:
            lines.append(json.dumps(event, sort_keys=True))
    whole = "\n".join(sorted(lines, key=lambda line: ("summaryEvent" in line, line))) + "\n"
    return re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, whole.replace(str(ROOT), "/checkout"))


def events(scenario: str) -> Path:
    """Where the recorded events of a scenario are."""
    return HERE / "events" / f"{scenario}.jsonl"


def golden(scenario: str) -> Path:
    """Where the comment of a scenario is, as it must be."""
    return HERE / "golden" / f"{scenario}.md"
