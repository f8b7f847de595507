"""Breaks `known-inputs`: a volume whose driver binds the directory of the engine's socket."""

import pulumi_docker as docker

docker.Volume(
    "disguise",
    name="nexus-policy-test-disguise",
    driver="local",
    driver_opts={"type": "none", "o": "bind", "device": "/var/run"},
)
