"""Breaks `no-literal-secret` with a value that a preview does not know: only `up` can refuse it.

The network's id stands in for a generated secret: neither is known before it is made.
"""

import pulumi
import pulumi_docker as docker

network = docker.Network("later", name="nexus-policy-test-later")
docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="busybox:1.37",
    envs=["TZ=UTC", pulumi.Output.concat("API_KEY=", network.id)],
)
