"""Which integration tests run beside which: half of each is waiting, so three lanes take little longer than one.

With `--numprocesses 3` a worker has a lane (tests/conftest.py hands `Lanes` to xdist).
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

from xdist.scheduler import LoadScopeScheduling

LOOKED_AT: Final = (
    "test_room",
    "test_up",
    "test_hardening",
    "test_secrets",
    "test_networks",
    "test_edge",
    "test_storage",
    "test_monitoring",
    "test_bad_input",
    "test_two_stacks",
    "test_ssh",
    "test_policies_preview",
    "test_report",
    "test_policy_json",
    "test_alerts",
    "test_docker_engine",
)
"""The modules that look at `test-dev`, and some that need no stack. Looking comes before breaking, and from the end
of test_monitoring the alert of test_alerts has time to fire."""
BROKEN: Final = ("test_downloads", "test_rider", "test_recovery")
"""The modules that break what they look at, which is `test3-dev`."""
OWN: Final = ("test_plain_pulumi", "test_changes", "test_vpn_choices")
"""The modules with stacks of their own. Modules of other folders go with them."""
LANES: Final = (LOOKED_AT, BROKEN, OWN)
ALONE: Final = "test_docker_engine"
"""Kills the Docker Engine, so nothing else may run. It comes last, or its lane would wait for the others before."""


class Lanes(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """One worker for each lane."""

    def _split_scope(self, nodeid: str) -> str:
        module = PurePath(nodeid.partition("::")[0]).stem
        return next((str(number) for number, lane in enumerate(LANES) if module in lane), str(LANES.index(OWN)))
