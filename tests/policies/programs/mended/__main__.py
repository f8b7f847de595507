"""Breaks `log-rotation` and `no-new-privileges`, which can be mended, with a secret and an unknown value beside them."""

import pulumi
import pulumi_docker as docker
from hardened import container

network = docker.Network(
    "network-apps",
    name="nexus-policy-test-apps",
    internal=True,
    options={"com.docker.network.bridge.inhibit_ipv4": "true"},
    ipam_configs=[{"subnet": "172.31.253.0/24", "gateway": "172.31.253.1"}],
)
container(
    "talker",
    name="nexus-policy-test-talker",
    uploads=[{"file": "/run/secrets/api_key", "permissions": "0400", "content": pulumi.Output.secret("swordfish" + "-1")}],
    labels=[{"label": "nexus.network", "value": network.id}],
    security_opts=["no-new-privileges:false", "apparmor=docker-default"],
    log_opts={"max-size": "5m", "compress": "true"},
)
