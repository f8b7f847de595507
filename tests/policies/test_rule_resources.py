"""Family `resources`: each limit and duty of a container left out or made void, in every spelling; what must pass."""

from __future__ import annotations

from typing import Final

import pytest

from policies.rules import resources
from tests.components.stacks import CHOICES
from tests.policies.harness import CONTAINER, SERVICE, TIMES, UNKNOWN, Json, Props, container, each, judge, rules_of
from tests.policies.harness import service as swarm
from tests.policies.platform import declared, judged

RULES: Final = frozenset(rule.name for rule in resources.RULES)


def check(*tests: Json, **times: Json) -> Props:
    """A health check."""
    return {"healthcheck": {"tests": list(tests), **TIMES, **times}}


def nproc(hard: Json) -> Props:
    """A limit of processes."""
    return {"ulimits": [{"name": "nproc", "soft": 1, "hard": hard}]}


BROKEN: Final[dict[str, list[Props]]] = {
    "memory-limit": [
        *each("memory", None, 0, -1, "0", "much", True),
        *each("memorySwap", None, -1, 1024, 0, "-1"),
    ],
    "cpu-limit": [
        *each("cpus", None, "", "0", "0.0", 0, "-1", "all"),
        {"cpus": None, "cpuQuota": 0, "cpuPeriod": 100000},
        {"cpus": None, "cpuQuota": -1, "cpuPeriod": 100000},
    ],
    "process-limit": [nproc(value) for value in (-1, 0, 1000000, None, "unlimited")]
    + each("ulimits", [{"name": "nproc", "soft": 1, "hard": 1}, {"name": "NPROC", "soft": -1, "hard": -1}])
    + each("ulimits", None, [], [{"name": "nofile", "soft": 1, "hard": 2}]),
    "log-rotation": [
        *each("logDriver", None, "none", "syslog", "gelf", ""),
        *each("logOpts",
                None, {}, {"max-size": "10m"}, {"max-file": "3"}, {"max-size": "0", "max-file": "3"},
                {"max-size": "-1", "max-file": "3"}, {"max-size": "10m", "max-file": "0"},
                {"max-size": "", "max-file": "3"}, {"max-size": "999999g", "max-file": "3"},
                {"max-size": "10m", "max-file": "999999"}, {"max-size": "512m", "max-file": "3"},
                {"max-size": "10m", "max-file": True}, {"max-size": "10 m m", "max-file": "1"}),
        {"logDriver": "local", "logOpts": {"max-size": "900g"}},
    ],
    "restart-policy": each("restart", None, "no", "on-failure", "", "Always ", "never"),
    "health-check": [
        *each("healthcheck", None, {}, [], {"tests": []}, {"tests": ["NONE"]}, {"tests": ["CMD"]}),
        *(
            check(*tests)
            for tests in (
                ("NONE", "curl"), ("CMD", "true"), ("CMD", "/bin/true"), ("CMD-SHELL", "exit 0"), ("CMD-SHELL", ":"),
                ("CMD-SHELL", "curl -f http://127.0.0.1/ || true"), ("CMD-SHELL", "curl http://127.0.0.1/; exit 0"),
                ("CMD-SHELL", "echo fine"), ("curl", "-f"), ("CMD", "sh", "-c", "exit 0"), ("CMD", "true", "x"),
                ("CMD-SHELL", "true", "curl -f http://127.0.0.1"), ("CMD", "/usr/bin/env", "A=b", "true"),
                ("CMD-SHELL", "exit 0 # curl"), ("CMD-SHELL", "curl -f http://127.0.0.1 | cat"),
                ("CMD-SHELL", "curl -f http://127.0.0.1 || (echo ill; exit 0)"), ("CMD", "sleep", "1"),
                ("CMD", "/bin/bash", "-ec", "curl -f http://127.0.0.1 || true"),
            )
        ),
        *(check("CMD", "app", **{key: None}) for key in ("interval", "timeout", "startPeriod", "retries")),
        check("CMD", "app", interval="0s"), check("CMD", "app", retries=0), check("CMD", "app", retries=1000000),
        check("CMD", "app", interval="8760h"), check("CMD", "app", timeout="often"),
        check("CMD", "app", startPeriod="16m"),
    ],
    "health-is-awaited": [{"wait": False}, {"wait": None}, {"mustRun": False}, {"mustRun": None}, {"wait": "no"},
                          {"start": False}, {"start": "false"}],
    "stop-grace": [
        *each("stopTimeout", None, 0, 5, -1, "x"),
        *each("destroyGraceSeconds", None, 0, 1),
        *each("stopSignal", "SIGKILL", "KILL", "9", "kill"),
    ],
    "init-process": [{"init": False, "entrypoints": ["/bin/sh"]}, {"init": None, "entrypoints": None}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "changes"), [(rule, changes) for rule, cases in BROKEN.items() for changes in cases], ids=str
)
def test_each_way_of_breaking_is_refused_by_that_rule_alone(rule: str, changes: Props) -> None:
    assert rules_of(judge(container(**changes))) == {rule}


def test_every_rule_is_broken() -> None:
    assert BROKEN.keys() == RULES


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": "512", "memorySwap": "512"},
        {"cpus": 1.5},
        {"cpus": None, "cpuQuota": 50000, "cpuPeriod": 100000},
        nproc(4096),
        nproc("512"),
        {"logDriver": "local", "logOpts": {"max-size": "1g", "max-file": "1"}},
        {"logOpts": {"max-size": "512K", "max-file": "10", "compress": "true"}},
        {"logOpts": {"max-size": "10000000", "max-file": 3.0}},
        {"logDriver": "local", "logOpts": None},
        {"cpus": None, "cpuQuota": 50000},
        {"start": True},
        {"stopSignal": "SIGINT"},
        check("CMD-SHELL", "echo ruok | nc -w 2 127.0.0.1 2181 | grep -q imok"),
        check("CMD-SHELL", "echo 'SELECT 1' | psql -U app || exit 1"),
        check("CMD-SHELL", "curl -f http://127.0.0.1/ && echo well"),
        check("CMD-SHELL", "if ! pidof app; then exit 1; fi; echo well"),
        check("CMD", "sh", "-c", "curl -fsS http://127.0.0.1/health"),
        check("CMD", "/usr/bin/env", "A=b", "app", "health"),
        {"restart": "always"},
        check("CMD-SHELL", "curl -fsS http://127.0.0.1/health | grep -qx Healthy"),
        check("CMD", "./healthcheck", "true"),
        {"init": False, "entrypoints": ["/usr/bin/catatonit", "--", "x"]},
        {"init": False, "entrypoints": ["/sbin/tini"]},
        *(
            {key: UNKNOWN}
            for key in ("memory", "memorySwap", "cpus", "ulimits", "logDriver", "logOpts", "restart", "healthcheck")
        ),
        *({key: UNKNOWN} for key in ("wait", "mustRun", "stopTimeout", "destroyGraceSeconds", "init")),
        check(UNKNOWN, "x"),
    ],
    ids=str,
)
def test_what_is_in_order_passes(changes: Props) -> None:
    assert judge(container(**changes)) == []


def test_a_one_shot_needs_limits_and_nothing_that_is_for_long_running_ones() -> None:
    short: Props = {
        "networkMode": "none",
        "networksAdvanced": None,
        "restart": "no",
        "mustRun": False,
        "wait": None,
        "healthcheck": None,
        "ulimits": None,
        "stopTimeout": None,
        "destroyGraceSeconds": None,
    }
    assert judge(container(**short)) == []
    for key, rule in (("memory", "memory-limit"), ("cpus", "cpu-limit"), ("logOpts", "log-rotation")):
        assert rules_of(judge(container(**short, **{key: None}))) == {rule}


def test_a_swarm_service_needs_limits() -> None:
    bare = swarm()
    assert {"memory-limit", "cpu-limit", "log-rotation"} <= rules_of(judge(bare, SERVICE))
    assert isinstance(bare["taskSpec"], dict)
    bare["taskSpec"]["resources"] = {"limits": {"memoryBytes": 1000000, "nanoCpus": 500000000}}
    bare["taskSpec"]["logDriver"] = {"name": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    assert rules_of(judge(bare, SERVICE)) & RULES == set()
    assert isinstance(bare["taskSpec"]["containerSpec"], dict)
    bare["taskSpec"]["containerSpec"]["healthcheck"] = {"tests": ["NONE"]}
    assert rules_of(judge(bare, SERVICE)) & RULES == {"health-check"}


KEYS: Final = (
    "memory", "memorySwap", "cpus", "cpuQuota", "ulimits", "logDriver", "logOpts", "restart", "healthcheck", "wait",
    "stopTimeout", "init", "entrypoints", "taskSpec",
)  # fmt: skip


@pytest.mark.parametrize(
    "junk", [None, 7, 1.5, True, "x", [], {}, [None], [[]], {"x": None}, [7, "y"], UNKNOWN], ids=str
)
def test_junk_raises_nothing(junk: Json) -> None:
    for key in KEYS:
        for kind in (CONTAINER, SERVICE):
            judge(container(**{key: junk}), kind, rules=resources.RULES)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_declared_platform_passes(choice: str) -> None:
    assert [one.message for one in judged(declared(choice), resources.RULES).violations] == []
