"""Breaks `no-default-bridge`: a container that names no network."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    network_mode=None,
)
