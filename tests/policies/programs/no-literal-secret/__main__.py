"""Breaks `no-literal-secret`: a password in the environment."""

import pulumi_docker as docker

docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="busybox:1.37",
    envs=["TZ=UTC", "ADMIN_PASSWORD=" + "swordfish" + "-1"],
)
