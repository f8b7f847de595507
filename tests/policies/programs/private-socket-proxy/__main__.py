"""Breaks `read-only-socket-proxy`: a proxy that lets everybody in."""

from hardened import container

container(
    "proxy",
    name="nexus-policy-test-proxy",
    image="docker.io/wollomatic/socket-proxy:1.13.1@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
    command=["-listenip=0.0.0.0", "-allowfrom=0.0.0.0/0", "-allowGET=/version", "-loglevel=info"],
)
