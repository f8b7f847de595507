"""Breaks `no-dev-bypass` on a stack that is none of development: a log level, in an argument."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    command=["httpd", "-f", "--log.level", "swordfish,debug"],
)
