"""Breaks `no-privileged-container`: a container with every right there is."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    privileged=True,
)
