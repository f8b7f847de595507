"""Breaks `no-random-literal`: random text under a name that says nothing."""

import pulumi_docker as docker

docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="busybox:1.37",
    envs=["REMOTE=" + "swordfish" + "-1-Zt8kQ2vXr5Lm" + "N9wJh3Pd7Bc4"],
)
