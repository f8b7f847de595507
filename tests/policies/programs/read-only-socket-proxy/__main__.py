"""Breaks `read-only-socket-proxy`: a proxy that lets its consumer start containers."""

import pulumi_docker as docker

docker.Container(
    "proxy",
    name="nexus-policy-test-proxy",
    image="docker.io/wollomatic/socket-proxy:1.13.1@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
    command=["-listenip=0.0.0.0", "-allowfrom=talker", "-allowPOST=/swordfish/containers/.*/start"],
    user="65534:65534",
    network_mode="none",
    read_only=True,
    capabilities={"drops": ["ALL"]},
    security_opts=["no-new-privileges:true"],
    init=True,
    memory=64,
    memory_swap=64,
    cpus="0.5",
    ulimits=[{"name": "nproc", "soft": 64, "hard": 64}],
    log_driver="json-file",
    log_opts={"max-file": "3", "max-size": "10m"},
    restart="unless-stopped",
    wait=True,
    must_run=True,
    healthcheck={
        "tests": ["CMD", "test", "-e", "/tmp"],
        "interval": "10s",
        "timeout": "5s",
        "start_period": "10s",
        "retries": 3,
    },
    stop_timeout=15,
    destroy_grace_seconds=15,
)
