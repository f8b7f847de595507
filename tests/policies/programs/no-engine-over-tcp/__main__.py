"""Breaks `no-engine-address`: a daemon that listens on TCP, with a switch that says it need not be checked."""

from hardened import container

container(
    "daemon",
    name="nexus-policy-test-daemon",
    command=["dockerd", "--host=tcp://0.0.0.0:2376", "--tlsverify=false", "--label=swordfish"],
)
