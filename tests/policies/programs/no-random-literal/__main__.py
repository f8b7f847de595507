"""Breaks `no-random-literal`: random text under a name that says nothing."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    envs=["REMOTE=" + "swordfish" + "-1-Zt8kQ2vXr5Lm" + "N9wJh3Pd7Bc4"],
)
