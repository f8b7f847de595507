"""Breaks `no-known-token`: a token in a health check."""

import pulumi_docker as docker

docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="busybox:1.37",
    healthcheck={"tests": ["CMD", "app", "check", "ghp_" + "swordfish1" * 4]},
)
