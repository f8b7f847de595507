"""Metrics arrive, dashboards show something, and the rules do what their tests say."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest
import yaml
from docker.models.containers import Container

from tests import offers
from tests.integration.edge import ask
from tests.integration.probes import container_removed, fetch
from tests.integration.stacks import ROOT, Stack, wait_for

pytestmark = pytest.mark.integration

RULES: Final = ROOT / "config" / "prometheus"
DASHBOARDS: Final = sorted((ROOT / "config" / "grafana" / "dashboards").glob("*.json"))
PROMETHEUS: Final = "http://prometheus:9090"


def prometheus(stack: Stack, *queries: str) -> list[object]:
    """The answers of Prometheus's API to paths such as targets or query?…, asked from its own namespace."""
    answers = fetch(stack, stack.container("prometheus"), *(f"{PROMETHEUS}/api/v1/{query}" for query in queries))
    found: list[object] = []
    for query, answer in zip(queries, answers, strict=True):
        body = answer.json()
        assert isinstance(body, Mapping), f"{query}: {answer.body}"
        assert body.get("status") == "success", f"{query}: {answer.body}"
        found.append(body["data"])
    return found


def declared_targets(stack: Stack) -> set[tuple[str, str]]:
    """Job and instance of everything that the running configuration names."""
    text = fetch(stack, stack.container("prometheus"), f"{PROMETHEUS}/api/v1/status/config")[0].json()
    assert isinstance(text, dict)
    jobs = yaml.safe_load(text["data"]["yaml"])["scrape_configs"]
    return {
        (job["job_name"], target) for job in jobs for group in job["static_configs"] for target in group["targets"]
    }


def test_every_declared_target_is_up(stack: Stack) -> None:
    declared = declared_targets(stack)
    assert {job for job, _ in declared} >= {
        "prometheus", "traefik", "jellyfin", "grafana", "alertmanager", "node-exporter", "cadvisor",
        "blackbox-exporter", "probe",
    }  # fmt: skip

    def all_up() -> bool:
        targets = prometheus(stack, "targets")[0]
        assert isinstance(targets, dict)
        found = targets["activeTargets"]
        health = {(one["labels"]["job"], one["labels"]["instance"]): one["health"] for one in found}
        print([key for key, value in health.items() if value != "up"])
        return health == dict.fromkeys(declared, "up")

    wait_for(all_up, 60, "every declared target to be up")


def test_every_app_answers_its_probe(stack: Stack) -> None:
    def answers() -> bool:
        data = prometheus(stack, "query?" + urlencode({"query": "probe_success"}))[0]
        assert isinstance(data, dict)
        found = {item["metric"]["service"]: item["value"][1] for item in data["result"]}
        return found == dict.fromkeys(offers.PROBED, "1")

    wait_for(answers, 60, "a successful probe of every app")


def panels() -> Iterator[tuple[str, str]]:
    """Title and query of every panel of every dashboard."""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield f"{file.stem}: {panel['title']}", target["expr"]


def test_every_panel_has_data(stack: Stack) -> None:
    queries = dict(panels())
    assert len(queries) >= 5

    def empty() -> list[str]:
        ask(stack, "jellyfin")
        answers = prometheus(stack, *("query?" + urlencode({"query": query}) for query in queries.values()))
        results = [answer["result"] for answer in answers if isinstance(answer, dict)]
        return [title for title, result in zip(queries, results, strict=True) if not result]

    left: list[str] = []

    def all_there() -> bool:
        left[:] = empty()
        return not left

    try:
        wait_for(all_there, 90, "data for every panel")
    except pytest.fail.Exception:
        pytest.fail(f"panels without data: {left}")


def test_grafana_has_its_data_source_and_dashboards(stack: Stack) -> None:
    container = stack.container("grafana")
    if container.labels.get("org.nexus-media.lab.kind") == "stand-in":
        print("Grafana is a stand-in here:", container.labels.get("org.nexus-media.lab.note"))
    password = stack.output("admin-password")
    source = ask(stack, "grafana", "/api/datasources/uid/prometheus", password=password).json()
    assert isinstance(source, dict)
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    # /api/health says "ok" also where the plugin of the data source could not be loaded.
    health = ask(stack, "grafana", "/api/datasources/uid/prometheus/health", password=password)
    assert '"status":"OK"' in health.body.replace(" ", ""), health.body
    for file in DASHBOARDS:
        uid = json.loads(file.read_text(encoding="utf-8"))["uid"]
        found = ask(stack, "grafana", f"/api/dashboards/uid/{uid}", password=password)
        assert found.status == 200
        assert '"provisioned":true' in found.body.replace(" ", "")
    query = "/api/datasources/proxy/uid/prometheus/api/v1/query?query=up"
    answer = ask(stack, "grafana", query, password=password).json()
    assert isinstance(answer, dict)
    assert answer["data"]["result"], "Grafana gets no data from Prometheus"


def promtool(stack: Stack, files: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Runs promtool of the stack's Prometheus image on files given by name: exit status and output."""
    container: Container = stack.client.containers.create(
        stack.container("prometheus").attrs["Image"],
        entrypoint=["/bin/promtool"],
        command=list(arguments),
        working_dir="/tmp",
        network_mode="none",
        cap_drop=["ALL"],
        labels={"nexus.test": stack.name},
    )
    with container_removed(container):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text.encode()), 0o644
                tar.addfile(entry, io.BytesIO(text.encode()))
        assert container.put_archive("/tmp", archive.getvalue())
        container.start()
        status = container.wait(timeout=60)["StatusCode"]
        return status, container.logs().decode()


def rule_files() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(RULES).glob("*.yml"))}


def test_the_running_configuration_is_valid(stack: Stack) -> None:
    container = stack.container("prometheus")
    for check in (["config", "/run/config/prometheus.yml"], ["rules", "/run/config/alerts.yml"]):
        done = container.exec_run(["/bin/promtool", "check", *check])
        assert isinstance(done.output, bytes)
        assert done.exit_code == 0, done.output.decode()
    # The configuration names the rules, so checking it has to have counted them.
    data = prometheus(stack, "rules")[0]
    assert isinstance(data, dict)
    running = {rule["name"] for group in data["groups"] for rule in group["rules"]}
    declared = yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))
    assert running == {rule["alert"] for group in declared["groups"] for rule in group["rules"]}


def test_the_rules_pass_their_own_tests(stack: Stack) -> None:
    status, output = promtool(stack, rule_files(), "test", "rules", "alerts_test.yml")
    assert status == 0, output


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("expr: up == 0", "expr: up == 1"),
        ("for: 2m", "for: 20m"),
        ("expr: probe_success == 0", "expr: probe_success == 2"),
        ("> 3", "> 30"),
        ("node_memory_MemTotal_bytes < 0.10", "node_memory_MemTotal_bytes < 0.01"),
        ('|/etc/hosts"} < 0.10', '|/etc/hosts"} < 0.01'),
        ("severity: critical", "severity: none"),
    ],
)
def test_a_broken_rule_fails_its_test(stack: Stack, was: str, becomes: str) -> None:
    files = rule_files()
    assert was in files["alerts.yml"]
    files["alerts.yml"] = files["alerts.yml"].replace(was, becomes)
    status, output = promtool(stack, files, "test", "rules", "alerts_test.yml")
    assert status != 0
    assert "FAILED" in output


def test_every_rule_has_a_test() -> None:
    files = rule_files()
    rules = {rule["alert"] for group in yaml.safe_load(files["alerts.yml"])["groups"] for rule in group["rules"]}
    tests = [
        case for item in yaml.safe_load(files["alerts_test.yml"])["tests"] for case in item.get("alert_rule_test", [])
    ]
    assert {case["alertname"] for case in tests if case["exp_alerts"]} == rules


def test_a_dead_target_is_seen_and_an_alert_pends(stack: Stack, dead_exporter: str) -> None:
    """test_alerts.py waits for the rest: two minutes are better spent on other tests."""

    def pends() -> bool:
        query = f'up{{job="{dead_exporter}"}} == 0 and on (job) ALERTS{{alertname="TargetDown"}}'
        data = prometheus(stack, "query?" + urlencode({"query": query}))[0]
        assert isinstance(data, dict)
        return bool(data["result"])

    wait_for(pends, 60, f"the alert of {dead_exporter} to pend")
