"""A small stack for the previews of the tests: as it is (`base`), and changed in one way by the variable SCENARIO."""

import os

import pulumi
import pulumi_docker as docker
import pulumi_random as random

SCENARIO = os.environ.get("SCENARIO", "base")
IMAGE = os.environ["IMAGE"]
PREFIX = "nexus-report-test"


def app(name: str, network: docker.Network, **more: object) -> docker.Container:
    """A hardened container that is never started."""
    given: dict[str, object] = {
        "name": f"{PREFIX}-{name}",
        "image": IMAGE,
        "command": ["sleep", "1d"],
        "envs": ["LOG_LEVEL=info"],
        "user": "65534:65534",
        "networks_advanced": [{"name": network.name, "aliases": [name]}],
        "read_only": True,
        "capabilities": {"drops": ["ALL"]},
        "security_opts": ["no-new-privileges:true"],
        "init": True,
        "memory": 64,
        "memory_swap": 64,
        "cpus": "0.5",
        "log_driver": "json-file",
        "log_opts": {"max-file": "3", "max-size": "10m"},
        "start": False,
        "must_run": False,
    }
    options = pulumi.ResourceOptions(delete_before_replace=True)
    return docker.Container(f"{name}-container", **{**given, **more}, opts=options)


if SCENARIO == "failing":
    raise pulumi.RunError("Pulumi.test.yaml: nexus:vpn: missing")

network = docker.Network(
    "network-apps",
    name=f"{PREFIX}-apps",
    internal=True,
    driver="bridge",
    labels=[{"label": "colour", "value": "green" if SCENARIO == "replaced-network" else "blue"}],
    ipam_configs=[{"subnet": "172.31.206.0/24", "gateway": "172.31.206.1"}],
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)
if SCENARIO != "deleted-volume":
    docker.Volume("volume-sonarr-config", name=f"{PREFIX}-sonarr-config")
password = random.RandomPassword("admin-password", length=20)
app(
    "sonarr",
    network,
    **(
        {"envs": ["LOG_LEVEL=debug", pulumi.Output.concat("API_KEY=", password.result)]}
        if SCENARIO == "env-change"
        else {}
    ),
    **({"privileged": True} if SCENARIO == "violation" else {}),
    **({"log_opts": {"max-size": "10m"}, "security_opts": []} if SCENARIO == "mended" else {}),
)
app("traefik", network)
if SCENARIO == "new-app":
    app("radarr", network, envs=["NOTE=`|<b>@everyone</b>|` ![x](https://example.org/x.png)"])
if SCENARIO == "many":
    for number in range(200):
        docker.Volume(f"many-{number:03}-config-files", name=f"{PREFIX}-many-{number:03}")
