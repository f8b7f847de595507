"""Breaks `internal-network`: a network with a way out that nobody meant it to have."""

import pulumi_docker as docker

docker.Network(
    "network-apps",
    name="nexus-policy-test-apps",
    driver="bridge",
    internal=False,
    options={"com.docker.network.bridge.inhibit_ipv4": "true"},
    ipam_configs=[{"subnet": "172.31.207.0/24", "gateway": "172.31.207.1"}],
)
