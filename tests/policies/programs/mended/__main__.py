"""Breaks `log-rotation` and `no-new-privileges`, which can be mended, with a secret and an unknown value beside them."""

import pulumi
import pulumi_docker as docker

network = docker.Network(
    "network-apps",
    name="nexus-policy-test-apps",
    internal=True,
    ipam_configs=[{"subnet": "172.31.253.0/24", "gateway": "172.31.253.1"}],
)
docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="docker.io/library/busybox:1.37@sha256:bdf57e528e45e4433820e045b29b4597825a1c9e38353532d90a01445013f82e",
    uploads=[{"file": "/run/secrets/api_key", "permissions": "0400", "content": pulumi.Output.secret("swordfish" + "-1")}],
    labels=[{"label": "nexus.network", "value": network.id}],
    healthcheck={
        "tests": ["CMD", "./healthcheck"],
        "interval": "10s",
        "timeout": "5s",
        "start_period": "10s",
        "retries": 3,
    },
    user="65534:65534",
    network_mode="none",
    read_only=True,
    capabilities={"drops": ["ALL"]},
    security_opts=["no-new-privileges:false", "apparmor=docker-default"],
    init=True,
    memory=64,
    memory_swap=64,
    cpus="0.5",
    ulimits=[{"name": "nproc", "soft": 64, "hard": 64}],
    log_driver="json-file",
    log_opts={"max-size": "5m", "compress": "true"},
    restart="unless-stopped",
    wait=True,
    must_run=True,
    stop_timeout=15,
    destroy_grace_seconds=15,
)
