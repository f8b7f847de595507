"""Breaks `no-engine-socket`: a container that sees the directory of the socket, read-only or not."""

import pulumi_docker as docker

docker.Container(
    "peeper",
    name="nexus-policy-test-peeper",
    image="busybox:1.37",
    mounts=[{"type": "bind", "source": "/var/run/../run/", "target": "/host/run", "read_only": True}],
)
