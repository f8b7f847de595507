"""Breaks `no-literal-secret` with a value that a preview does not know: only `up` can refuse it.

The network's id stands in for a generated secret: neither is known before it is made.
"""

import pulumi
import pulumi_docker as docker
from hardened import container

network = docker.Network(
    "network-data",
    name="nexus-policy-test-later",
    internal=True,
    options={"com.docker.network.bridge.inhibit_ipv4": "true"},
    ipam_configs=[{"subnet": "172.31.254.0/24", "gateway": "172.31.254.1"}],
)
container(
    "talker",
    name="nexus-policy-test-talker",
    command=["app", pulumi.Output.concat("--api-key=", network.id)],
)
