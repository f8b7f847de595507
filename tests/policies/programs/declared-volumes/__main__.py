"""Breaks `declared-volumes`: a container writes to the volume from which the VPN takes its firewall's rules."""

import pulumi_docker as docker
from hardened import container

rules = docker.Volume("vpn-config-files", name="nexus-policy-test-vpn-config-files")
for name, read_only in (("vpn", True), ("other", False)):
    container(
        f"{name}-container",
        name=f"nexus-policy-test-{name}",
        mounts=[{"type": "volume", "source": rules.name, "target": "/iptables", "read_only": read_only}],
    )
