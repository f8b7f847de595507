"""Breaks `vpn-keeps-all-traffic`: a part of the traffic takes the tunnel."""

import pulumi_docker as docker

docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="docker.io/library/busybox:1.37@sha256:bdf57e528e45e4433820e045b29b4597825a1c9e38353532d90a01445013f82e",
    envs=[
        "VPN_SERVICE_PROVIDER=mullvad",
        "WIREGUARD_ALLOWED_IPS=swordfish",
        "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/run/secrets/control_role",
    ],
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
    healthcheck={
        "tests": ["CMD", "./healthcheck"],
        "interval": "10s",
        "timeout": "5s",
        "start_period": "10s",
        "retries": 3,
    },
    wait=True,
    must_run=True,
    stop_timeout=15,
    destroy_grace_seconds=15,
)
