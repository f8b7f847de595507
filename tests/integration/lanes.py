"""Which integration tests run beside which: most of each is waiting, so two lanes take little longer than one.

With `--numprocesses 2` a worker has a lane (tests/conftest.py hands `Lanes` to xdist).
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

from xdist.scheduler import LoadScopeScheduling

LANES: Final = (
    (
        "test_room",
        "test_up",
        "test_hardening",
        "test_secrets",
        "test_networks",
        "test_edge",
        "test_storage",
        "test_downloads",
        "test_rider",
        "test_monitoring",
        "test_bad_input",
        "test_alerts",
        "test_two_stacks",
        "test_recovery",
        "test_ssh",
    ),
    (
        "test_policies_preview",
        "test_report",
        "test_policy_json",
        "test_plain_pulumi",
        "test_changes",
        "test_vpn_choices",
    ),
)
"""The modules that need `test-dev`, one after the other, and those that do without. Looking comes before breaking,
and while test_bad_input runs, the alert of test_alerts has time to fire."""
ALONE: Final = "test_recovery"
"""Kills the Docker Engine, so nothing else may run."""


class Lanes(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """One worker for each lane. Modules of other folders need no `test-dev`."""

    def _split_scope(self, nodeid: str) -> str:
        module = PurePath(nodeid.partition("::")[0]).stem
        return "test-dev" if module in LANES[0] else "without"
