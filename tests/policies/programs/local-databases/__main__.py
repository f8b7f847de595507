"""Breaks `local-databases`: an app's data on a network file system."""

import pulumi_docker as docker

docker.Volume(
    "volume-sonarr-config",
    name="nexus-policy-test-sonarr-config",
    driver="local",
    driver_opts={"type": "nfs", "o": "addr=192.0.2.1,rw", "device": ":/export"},
)
