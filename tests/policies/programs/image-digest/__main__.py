"""Breaks `image-digest`: an image by its tag alone."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    image="docker.io/library/busybox:1.37",
)
