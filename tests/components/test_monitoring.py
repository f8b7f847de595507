"""Scrape targets are made from the services; rules, dashboards and receivers are whole."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import monitoring
from components.arguments import Metrics, Probe, ServiceArgs, SharesNetworkOf
from components.dockerhost import DockerHost
from components.errors import PlatformError
from components.networks import APPS, DATA, EGRESS, MONITORING, Network, OwnNetworks
from components.service import Service
from policies import config
from tests.components.stacks import CHOICES, GOOD, ROOT, built, declare
from tests.offers import PROBED, SCRAPED
from tests.services import changed

UNWATCHED: Any = config.read().settings["every-service-is-scraped"]["unscraped"]
"""Services that nothing scrapes and nothing probes, and why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A scrape job: its targets by service, and the rest of it."""

    targets: dict[str, str]
    path: str
    whole: dict[str, object]


def parse(text: str) -> dict[str, Job]:
    """The jobs of a Prometheus configuration, by name."""
    jobs = yaml.safe_load(text)["scrape_configs"]
    assert len({job["job_name"] for job in jobs}) == len(jobs), "two jobs of one name"
    return {
        job["job_name"]: Job(
            targets={
                group.get("labels", {}).get("service", job["job_name"]): target
                for group in job["static_configs"]
                for target in group["targets"]
            },
            path=job.get("metrics_path", "/metrics"),
            whole=job,
        )
        for job in jobs
    }


def address_of(choice: str, service: str, network: str) -> str:
    """The fixed address of a service on one of its networks."""
    attached = {str(item["name"]): item for item in built(choice).service(service).tables("networksAdvanced")}
    return str(attached[f"nexus-test-{network}"]["ipv4Address"])


def jobs(**services: ServiceArgs) -> dict[str, Job]:
    """The jobs for these services."""
    made: list[str] = []

    def program(host: DockerHost) -> None:
        made.append(monitoring.prometheus_configuration([Service(*one, host) for one in services.items()]))

    declare(program)
    return parse(made[0])


METRICS = changed(GOOD, metrics=Metrics(port=1234, path="/stats"))
PROBE = changed(GOOD, probe=Probe(port=1234, path="/alive"))


def on(args: ServiceArgs, *networks: Network) -> ServiceArgs:
    """The same on other networks."""
    return dataclasses.replace(args, network=OwnNetworks(*networks))


class TestTargets:
    def test_metrics_are_scraped(self) -> None:
        job = jobs(newcomer=on(METRICS, MONITORING))["newcomer"]
        assert job.targets == {"newcomer": "newcomer:1234"}
        assert job.path == "/stats"

    def test_probes_are_asked_through_the_blackbox_exporter(self) -> None:
        job = jobs(newcomer=on(PROBE, APPS), sonarr=PROBE)["probe"]
        assert job.targets == {"newcomer": "http://newcomer:1234/alive", "sonarr": "http://sonarr:1234/alive"}
        assert job.path == "/probe"
        assert job.whole["params"] == {"module": ["http_2xx"]}
        assert job.whole["relabel_configs"] == [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": "blackbox-exporter:9115"},
        ]

    def test_neither_is_neither(self) -> None:
        made = jobs(sonarr=GOOD)
        assert made.keys() == {"prometheus", "probe"}
        assert made["probe"].targets == {}

    def test_metrics_out_of_reach_are_refused(self) -> None:
        with pytest.raises(
            PlatformError,
            match=r"newcomer has metrics but shares no network with prometheus: add one of monitoring, .* to its",
        ):
            jobs(newcomer=on(METRICS, APPS, EGRESS))

    def test_a_probe_out_of_reach_is_refused(self) -> None:
        with pytest.raises(
            PlatformError,
            match=r"newcomer is probed but shares no network with blackbox-exporter: add one of apps, exporters to",
        ):
            jobs(newcomer=on(PROBE, DATA, EGRESS))

    def test_a_rider_is_probed_at_what_it_rides(self) -> None:
        made: list[str] = []

        def program(host: DockerHost) -> None:
            carrier = Service("vpn", GOOD, host)
            rider = Service("rider", dataclasses.replace(PROBE, network=SharesNetworkOf(service=carrier)), host)
            made.append(monitoring.prometheus_configuration([rider]))

        declare(program)
        assert parse(made[0])["probe"].targets == {"rider": "http://vpn:1234/alive"}


class TestOfAStack:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_scrapes_and_probes_every_service(self, choice: str) -> None:
        stack = built(choice)
        made = parse(stack.seed("prometheus").files["/run/config/prometheus.yml"])
        probes = made.pop("probe")
        assert {name: job.targets[name] for name, job in made.items()} == SCRAPED
        assert all(len(job.targets) == 1 for job in made.values())
        assert probes.targets == PROBED
        assert stack.of("Service").keys() - SCRAPED.keys() - PROBED.keys() <= UNWATCHED.keys()
        assert not UNWATCHED.keys() & (SCRAPED.keys() | PROBED.keys())

    @pytest.mark.parametrize(
        ("service", "network", "port"), [("prometheus", "monitoring", 9090), ("blackbox-exporter", "exporters", 9115)]
    )
    @pytest.mark.parametrize("choice", CHOICES)
    def test_what_is_silent_elsewhere_listens_at_its_address(
        self, choice: str, service: str, network: str, port: int
    ) -> None:
        container = built(choice).service(service)
        listens = f"{address_of(choice, service, network)}:{port}"
        assert container.texts("command").count(f"--web.listen-address={listens}") == 1
        asked = container.table("healthcheck")["tests"]
        assert isinstance(asked, list)
        assert asked[-1] == f"http://{listens}/-/healthy"

    def test_the_probes_module_exists(self) -> None:
        stack = built("dev")
        modules = yaml.safe_load(stack.seed("blackbox-exporter").files["/run/config/blackbox.yml"])["modules"]
        made = parse(stack.seed("prometheus").files["/run/config/prometheus.yml"])
        assert made["probe"].whole["params"] == {"module": list(modules)}

    def test_alerts_go_to_the_alertmanager(self) -> None:
        stack = built("dev")
        whole = yaml.safe_load(stack.seed("prometheus").files["/run/config/prometheus.yml"])
        assert whole["alerting"] == {
            "alertmanagers": [{"static_configs": [{"targets": [SCRAPED["alertmanager"]]}]}],
        }
        assert whole["rule_files"] == ["/run/config/alerts.yml"]

    def test_retention_is_the_setting(self) -> None:
        flags = {choice: built(choice).service("prometheus").texts("command") for choice in ("dev", "prod")}
        assert "--storage.tsdb.retention.time=15d" in flags["dev"]
        assert "--storage.tsdb.retention.time=60d" in flags["prod"]

    def test_the_socket_proxy_answers_its_consumer_four_read_calls(self) -> None:
        flags = built("dev").service("cadvisor-socket-proxy").texts("command")
        assert "-allowfrom=cadvisor" in flags
        (allowed,) = (flag.removeprefix("-allowGET=") for flag in flags if flag.startswith("-allowGET="))
        identity = "0f" * 32
        for path in ("/version", "/info", "/containers/json", f"/containers/{identity}/json"):
            assert re.fullmatch(allowed, f"/v1.41{path}")
        for path in (
            f"/containers/{identity}/logs",
            f"/containers/{identity}/archive",
            f"/containers/{identity}/export",
            "/containers/nexus-dev-vpn/json",
            "/images/json",
            "/secrets",
            "/volumes",
            "/containers/json/../../secrets",
        ):
            assert not re.fullmatch(allowed, path)
            assert not re.fullmatch(allowed, f"/v1.41{path}")
        methods = {flag.split("=")[0] for flag in flags if flag.startswith("-allow")}
        assert methods == {"-allowfrom", "-allowGET", "-allowHEAD", "-allowhealthcheck"}

    @pytest.mark.parametrize(
        ("choice", "layers"),
        [
            ("dev", {"/var/lib/docker/image/overlay2/layerdb"}),
            ("containerd", set()),
            ("rootless", {"/home/nexus/.local/share/docker/image/fuse-overlayfs/layerdb"}),
        ],
    )
    def test_cadvisor_reads_layers_where_the_engine_has_them(self, choice: str, layers: set[str]) -> None:
        mounts = built(choice).service("cadvisor").mounts
        assert {path for path in mounts if path.endswith("/layerdb")} == layers
        assert all(mounts[path]["source"] == path for path in layers)

    def test_prometheus_names_the_containers_that_cadvisor_does_not(self) -> None:
        stack = built("containerd")
        jobs = parse(stack.seed("prometheus").files["/run/config/prometheus.yml"])
        rules = jobs["cadvisor"].whole["metric_relabel_configs"]
        assert isinstance(rules, list)
        found = {
            rule["regex"].strip(".*"): (rule["source_labels"], rule["target_label"], rule["replacement"])
            for rule in rules
        }
        # Its own id is not to be had before it is made.
        assert found == {
            f"{name}-container-id": (["id"], "name", f"nexus-test-{name}")
            for name in stack.of("Service").keys() - {"prometheus"}
        }
        assert "--raw_cgroup_prefix_whitelist=/docker/,/system.slice/docker-,/user.slice/" in stack.service(
            "cadvisor"
        ).texts("command")

    def test_elsewhere_cadvisor_names_them(self) -> None:
        stack = built("dev")
        jobs = parse(stack.seed("prometheus").files["/run/config/prometheus.yml"])
        assert "metric_relabel_configs" not in jobs["cadvisor"].whole
        assert not any("raw_cgroup" in flag for flag in stack.service("cadvisor").texts("command"))


PROMETHEUS = ROOT / "config" / "prometheus"
RULES = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
RULE_TESTS = [
    case
    for test in yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    for case in test["alert_rule_test"]
]


class TestAlerts:
    def test_there_are_five_or_more_of_different_names(self) -> None:
        assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 5

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
    def test_each_is_whole(self, rule: dict[str, dict[str, str]]) -> None:
        assert rule["expr"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
    def test_each_is_tested_firing_and_silent(self, rule: dict[str, str]) -> None:
        # By promtool, which runs where there is one (tests/integration).
        cases = [case for case in RULE_TESTS if case["alertname"] == rule["alert"]]
        assert any(case["exp_alerts"] for case in cases), "never seen firing"
        assert any(not case["exp_alerts"] for case in cases), "never seen silent"

    def test_every_tested_one_exists(self) -> None:
        assert {case["alertname"] for case in RULE_TESTS} == {rule["alert"] for rule in RULES}

    def test_are_delivered_as_they_are(self) -> None:
        delivered = built("dev").seed("prometheus").files["/run/config/alerts.yml"]
        assert delivered == (PROMETHEUS / "alerts.yml").read_text()


DASHBOARDS = sorted((ROOT / "config" / "grafana" / "dashboards").glob("*.json"))


class TestDashboards:
    def source(self) -> dict[str, object]:
        """The one data source that is provisioned."""
        files = built("dev").seed("grafana").files
        (source,) = json.loads(files["/run/config/provisioning/datasources/prometheus.yaml"])["datasources"]
        assert isinstance(source, dict)
        return source

    def test_there_is_one(self) -> None:
        assert DASHBOARDS

    def test_the_data_source_is_prometheus(self) -> None:
        assert self.source()["url"] == "http://prometheus:9090"
        assert self.source()["type"] == "prometheus"

    @pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
    def test_every_panel_asks_the_data_source(self, path: Path) -> None:
        dashboard = json.loads(path.read_text())
        wanted = {"type": self.source()["type"], "uid": self.source()["uid"]}
        assert dashboard["title"]
        assert dashboard["uid"]
        panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
        assert panels
        for panel in panels:
            assert panel["title"]
            assert panel["datasource"] == wanted
            assert panel["targets"]
            for target in panel["targets"]:
                assert target["expr"]
                assert target.get("datasource", wanted) == wanted
        identities = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(identities)) == len(identities)

    def test_are_delivered_where_grafana_looks(self) -> None:
        files = built("dev").seed("grafana").files
        (provider,) = json.loads(files["/run/config/provisioning/dashboards/nexus.yaml"])["providers"]
        folder = provider["options"]["path"]
        assert {path for path in files if path.startswith(f"{folder}/")} == {
            f"{folder}/{path.name}" for path in DASHBOARDS
        }
        assert built("dev").service("grafana").env["GF_PATHS_PROVISIONING"] == "/run/config/provisioning"

    def test_grafana_fetches_nothing(self) -> None:
        env = built("dev").service("grafana").env
        assert env["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
        assert env["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
        assert env["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


class TestReceivers:
    def receiver(self, choice: str) -> tuple[dict[str, object], dict[str, str]]:
        """The receiver that the route ends at, and the secret files."""
        files = built(choice).seed("alertmanager").files
        whole = yaml.safe_load(files.pop("/run/config/alertmanager.yml"))
        (receiver,) = whole["receivers"]
        assert isinstance(receiver, dict)
        assert whole["route"]["receiver"] == receiver["name"]
        return {key: value for key, value in receiver.items() if key != "name"}, files

    def test_none(self) -> None:
        assert self.receiver("dev") == ({}, {})

    @pytest.mark.parametrize("choice", ["wireguard-mullvad", "prod"])
    def test_webhook(self, choice: str) -> None:
        receiver, files = self.receiver(choice)
        assert receiver == {"webhook_configs": [{"url_file": "/run/secrets/webhook_url"}]}
        assert files == {"/run/secrets/webhook_url": CHOICES[choice].secrets["nexus:alert-webhook-url"]}

    def test_email(self) -> None:
        receiver, files = self.receiver("email")
        assert receiver == {
            "email_configs": [
                {
                    "to": "admin@example.org",
                    "from": "nexus@example.org",
                    "smarthost": "smtp.example.org:587",
                    "auth_username": "nexus",
                    "auth_password_file": "/run/secrets/smtp_password",
                }
            ]
        }
        assert files == {"/run/secrets/smtp_password": CHOICES["email"].secrets["nexus:smtp-password"]}
