"""Breaks `no-engine-socket`: a container that sees the directory of the socket, read-only or not."""

from hardened import container

container(
    "peeper",
    name="nexus-policy-test-peeper",
    mounts=[{"type": "bind", "source": "/var/run/../run/", "target": "/host/run", "read_only": True}],
)
