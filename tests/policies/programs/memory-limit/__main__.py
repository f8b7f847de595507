"""Breaks `memory-limit`: a container that may take all memory."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    memory=None,
    memory_swap=None,
)
