"""The host's own firewall against the stack: what Docker's options leave open of the host is closed here.

The gateway of a network with a way out is the host, and whatever listens on it would answer a container. One chain,
of this stack's name, sees what comes from this stack's addresses and nothing else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pulumi

from components.arguments import (
    CONFIG,
    ROOT,
    Access,
    Files,
    HealthCheck,
    HostNetwork,
    Limits,
    Privileges,
    Process,
    ServiceArgs,
)
from components.dockerhost import DockerHost
from components.service import Service

SCRIPT: Final = Path(__file__).parent.parent / "config" / "firewall" / "firewall.sh"

_LONGEST: Final = 28
"""Letters of a chain's name (linux/netfilter/x_tables.h, XT_EXTENSION_MAXNAMELEN)."""


def chain(stack: str) -> str:
    """The name of a stack's chain, such as nexus-dev; a long one is cut and told apart by its hash."""
    name = f"{pulumi.get_project()}-{stack}"
    return name if len(name) <= _LONGEST else f"{name[:19]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def firewall(host: DockerHost, opts: pulumi.ResourceOptions | None = None) -> Service:
    """Keeps its rules in the host's tables for as long as it runs, and takes them along when it is stopped."""
    script = f"{CONFIG}/{SCRIPT.name}"
    return Service(
        "firewall",
        ServiceArgs(
            image="wireguard",
            user=ROOT,
            limits=Limits(memory=32, cpus=0.5),
            health=HealthCheck(test=("CMD", "/bin/sh", script, "check"), interval=3, start_period=20),
            network=HostNetwork(why="the rules that keep containers from the host are the host's"),
            process=Process(
                entrypoint=("/bin/sh", script),
                env={
                    "CHAIN": chain(pulumi.get_stack()),
                    "OPEN": " ".join(map(str, host.networks.open)),
                    "POOL": str(host.networks.pool),
                },
            ),
            files=Files(config={SCRIPT.name: SCRIPT.read_text()}),
            tmpfs={},
            access=Access(
                privileges=Privileges(why="writes the rules of a firewall", capabilities=("CAP_NET_ADMIN",)),
            ),
        ),
        host,
        opts,
    )
