"""Breaks `no-url-credentials`: a database's address with its password, in a label."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    labels=[{"label": "database", "value": "postgres://sonarr:" + "swordfish" + "-1@db:5432/sonarr"}],
)
