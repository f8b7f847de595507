"""Breaks `no-known-token`: a token in a health check."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    healthcheck={
        "tests": ["CMD", "app", "check", "ghp_" + "swordfish1" * 4],
        "interval": "10s",
        "timeout": "5s",
        "start_period": "10s",
        "retries": 3,
    },
)
