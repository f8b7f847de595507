"""Breaks `no-url-credentials`: a database's address with its password, in a label."""

import pulumi_docker as docker

docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="busybox:1.37",
    labels=[{"label": "database", "value": "postgres://sonarr:" + "swordfish" + "-1@db:5432/sonarr"}],
)
