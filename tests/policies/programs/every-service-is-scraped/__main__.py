"""Breaks `every-service-is-scraped`: an Alertmanager that Prometheus tells of alerts and does not scrape."""

import json

import pulumi_docker as docker
from hardened import container

monitoring = docker.Network("network-monitoring", name="nexus-policy-test-monitoring", internal=True)
files = docker.Volume("prometheus-config-files", name="nexus-policy-test-prometheus-config-files")
configuration = {
    "rule_files": ["/run/config/alerts.yml"],
    "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]},
    "scrape_configs": [{"job_name": "prometheus", "static_configs": [{"targets": ["localhost:9090"]}]}],
}
alerts = {"groups": [{"name": "all", "rules": [{"alert": "TargetDown", "expr": "up == 0"}]}]}
container(
    "prometheus-seed",
    name="nexus-policy-test-prometheus-seed",
    command=["true"],
    mounts=[{"type": "volume", "source": files.name, "target": "/run/config"}],
    uploads=[
        {"file": "/run/config/prometheus.yml", "content": json.dumps(configuration), "permissions": "0400"},
        {"file": "/run/config/alerts.yml", "content": json.dumps(alerts), "permissions": "0400"},
    ],
    restart="no",
    must_run=False,
    wait=None,
    healthcheck=None,
)
for name, otherwise in (
    (
        "prometheus",
        {
            "command": ["--config.file=/run/config/prometheus.yml"],
            "mounts": [{"type": "volume", "source": files.name, "target": "/run/config", "read_only": True}],
        },
    ),
    ("alertmanager", {}),
):
    container(
        f"{name}-container",
        name=f"nexus-policy-test-{name}",
        hostname=name,
        network_mode=None,
        networks_advanced=[{"name": monitoring.name, "aliases": [name]}],
        **otherwise,
    )
