"""Breaks `every-service-is-scraped`: an Alertmanager that Prometheus tells of alerts and does not scrape."""

import json

import pulumi_docker as docker

HARDENED = {
    "user": "65534:65534",
    "read_only": True,
    "capabilities": {"drops": ["ALL"]},
    "security_opts": ["no-new-privileges:true"],
    "init": True,
    "memory": 64,
    "memory_swap": 64,
    "cpus": "0.5",
    "ulimits": [{"name": "nproc", "soft": 64, "hard": 64}],
    "log_driver": "json-file",
    "log_opts": {"max-file": "3", "max-size": "10m"},
    "restart": "unless-stopped",
    "healthcheck": {
        "tests": ["CMD", "./healthcheck"],
        "interval": "10s",
        "timeout": "5s",
        "start_period": "10s",
        "retries": 3,
    },
    "wait": True,
    "must_run": True,
    "stop_timeout": 15,
    "destroy_grace_seconds": 15,
}
BUSYBOX = "docker.io/library/busybox:1.37@sha256:bdf57e528e45e4433820e045b29b4597825a1c9e38353532d90a01445013f82e"

monitoring = docker.Network("network-monitoring", name="nexus-policy-test-monitoring", internal=True)
files = docker.Volume("prometheus-config-files", name="nexus-policy-test-prometheus-config-files")
configuration = {
    "rule_files": ["/run/config/alerts.yml"],
    "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]},
    "scrape_configs": [{"job_name": "prometheus", "static_configs": [{"targets": ["localhost:9090"]}]}],
}
alerts = {"groups": [{"name": "all", "rules": [{"alert": "TargetDown", "expr": "up == 0"}]}]}
docker.Container(
    "prometheus-seed",
    name="nexus-policy-test-prometheus-seed",
    image=BUSYBOX,
    command=["true"],
    network_mode="none",
    mounts=[{"type": "volume", "source": files.name, "target": "/run/config"}],
    uploads=[
        {"file": "/run/config/prometheus.yml", "content": json.dumps(configuration), "permissions": "0400"},
        {"file": "/run/config/alerts.yml", "content": json.dumps(alerts), "permissions": "0400"},
    ],
    capabilities={"drops": ["ALL"]},
    security_opts=["no-new-privileges:true"],
    init=True,
    memory=64,
    memory_swap=64,
    cpus="0.5",
    log_driver="json-file",
    log_opts={"max-file": "1", "max-size": "1m"},
    restart="no",
    start=False,
    must_run=False,
)
for name, mounts in (
    ("prometheus", [{"type": "volume", "source": files.name, "target": "/run/config", "read_only": True}]),
    ("alertmanager", []),
):
    docker.Container(
        f"{name}-container",
        name=f"nexus-policy-test-{name}",
        image=BUSYBOX,
        hostname=name,
        networks_advanced=[{"name": monitoring.name, "aliases": [name]}],
        mounts=mounts,
        **HARDENED,
    )
