"""Breaks `known-inputs`: a Swarm service, with the engine's socket itself."""

import pulumi_docker as docker

docker.Service(
    "swarmer",
    name="nexus-policy-test-swarmer",
    task_spec={
        "container_spec": {
            "image": "busybox:1.37",
            "mounts": [{"type": "bind", "source": "/run/docker.sock", "target": "/var/run/docker.sock"}],
        }
    },
)
