"""Breaks `no-literal-secret`: a password in the environment."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    envs=["TZ=UTC", "ADMIN_PASSWORD=" + "swordfish" + "-1"],
)
