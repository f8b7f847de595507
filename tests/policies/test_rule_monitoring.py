"""Family `monitoring`: the generated prometheus.yml with one thing changed, and the stack around it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import pytest
import yaml

from policies.rules import edge
from policies.rules.monitoring import RULES
from policies.rules.props import UNKNOWN
from policies.rules.rule import Stack
from tests.policies.harness import declared_inputs, places
from tests.policies.platform import changed, declared, validated

INIT: Final = "prometheus-seed"
UPLOADS: Final[list[Any]] = declared_inputs(INIT)["uploads"]  # type: ignore[assignment]
AT: Final = next(index for index, one in enumerate(UPLOADS) if str(one["file"]).endswith("prometheus.yml"))
Change = Callable[[dict[str, Any]], object]


def with_change(change: Change) -> list[Any]:
    tree = copy.deepcopy(yaml.safe_load(UPLOADS[AT]["content"]))
    change(tree)
    return [{**one, "content": yaml.safe_dump(tree)} if index == AT else one for index, one in enumerate(UPLOADS)]


def told(stack: Stack) -> dict[str, set[str]]:
    """By rule, what is said of which resource and property."""
    found: dict[str, set[str]] = {}
    for one in validated(stack, RULES).violations:
        found.setdefault(one.rule, set()).add(one.message.partition(". ")[0])
    return found


def job(tree: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in tree["scrape_configs"] if one["job_name"] == name)
    assert isinstance(found, dict)
    return found


def targets(name: str, *addresses: str, **labels: str) -> Change:
    group: dict[str, Any] = {"targets": [*addresses], **({"labels": labels} if labels else {})}
    return lambda tree: job(tree, name).update(static_configs=[group])


UNWATCHED: Final = "is neither scraped nor probed: nobody is told when it fails"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (targets("jellyfin", "elsewhere:80"), "names a target, or a service, that is none of this stack"),
        (targets("jellyfin", "jellyfin:80", service="x"), "names a target, or a service, that is none of this stack"),
        (targets("jellyfin", "sonarr:80"), "names a target that shares no network with what asks it"),
        (
            lambda tree: job(tree, "probe")["relabel_configs"][-1].update(replacement="gone:9115"),
            "is asked by what is no service of this stack",
        ),
        (lambda tree: tree["scrape_configs"].remove(job(tree, "jellyfin")), f"jellyfin-container: name {UNWATCHED}"),
        (targets("jellyfin"), f"jellyfin-container: name {UNWATCHED}"),
    ],
)
def test_every_service_is_scraped(change: Change, problem: str) -> None:
    found = told(changed(declared("dev"), INIT, uploads=with_change(change)))
    assert set(found) == {"every-service-is-scraped"}
    assert any(problem in one for one in found["every-service-is-scraped"])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda tree: tree["alerting"].update(alertmanagers=[]), "alerting"),
        (
            lambda tree: tree["alerting"].update(alertmanagers=[{"static_configs": [{"targets": ["sonarr:80"]}]}]),
            "alerting",
        ),
        (lambda tree: tree.update(rule_files=[]), "rule_files"),
        (lambda tree: tree["rule_files"].append("/run/config/gone.yml"), "rule_files"),
        (lambda tree: tree.update(rule_files=["/run/config/prometheus.yml"]), "rule_files"),
    ],
)
def test_alerts_reach_somebody(change: Change, place: str) -> None:
    (said,) = told(changed(declared("dev"), INIT, uploads=with_change(change)))["alerts-reach-alertmanager"]
    assert said.startswith(f"{INIT}: uploads[{AT}].content.{place} ")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: job(tree, "jellyfin").update(static_configs=[], docker_sd_configs=[{}]),
        lambda tree: job(tree, "jellyfin").update(basic_auth={"password": "x"}),
        lambda tree: tree.update(remote_write=[{"url": "http://x"}]),
        lambda tree: tree.pop("alerting"),
        lambda tree: tree.update(scrape_config_files=["/data/*.yml"]),
    ],
)
def test_what_the_program_does_not_generate_is_refused(change: Change) -> None:
    found = places(declared_inputs(INIT, uploads=with_change(change)), name=INIT, rules=edge.RULES)
    assert list(found) == ["known-configuration"]


def test_prometheus_starts_with_the_file() -> None:
    found = told(changed(declared("dev"), "prometheus-container", command=["--config.file=/data/x.yml"]))
    assert {one.split(" ", 2)[1] for one in found["every-service-is-scraped"]} == {"command"}


def test_a_platform_is_watched() -> None:
    left = Stack(name="dev", resources=tuple(one for one in declared("dev").resources if one.name != INIT))
    (said,) = told(left)["every-service-is-scraped"]
    assert "is not watched: no init container writes a prometheus.yml" in said


def test_what_only_an_update_knows_is_let_be() -> None:
    unknown = [{**one, "content": UNKNOWN} for one in UPLOADS]
    assert told(changed(declared("dev"), INIT, uploads=unknown)) == {}
    assert told(changed(declared("dev"), INIT, uploads=UNKNOWN)) == {}
    assert told(changed(declared("dev"), "jellyfin-container", networksAdvanced=UNKNOWN)) == {}
