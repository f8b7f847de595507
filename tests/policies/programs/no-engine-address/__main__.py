"""Breaks `no-engine-address`: a container is told where an engine's API is."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    envs=["TZ=UTC", "DOCKER_HOST=tcp://" + "swordfish:2375"],
)
