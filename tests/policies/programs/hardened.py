"""A container that breaks no rule, for the programs beside it: each says only what it does otherwise."""

import pulumi_docker as docker

_GOOD = {
    "image": "docker.io/library/busybox:1.37@sha256:bdf57e528e45e4433820e045b29b4597825a1c9e38353532d90a01445013f82e",
    "network_mode": "none",
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
    "wait": True,
    "must_run": True,
    "healthcheck": {
        "tests": ["CMD", "test", "-e", "/tmp"],
        "interval": "10s",
        "timeout": "5s",
        "start_period": "10s",
        "retries": 3,
    },
    "stop_timeout": 15,
    "destroy_grace_seconds": 15,
}


def container(resource: str, **otherwise: object) -> docker.Container:
    """A hardened container without a network. An input of None is left out."""
    return docker.Container(resource, **{**_GOOD, **otherwise})
