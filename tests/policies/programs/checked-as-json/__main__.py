"""Breaks rules with known values and with secrets, and needs no Docker: tests/scripts/checked has its JSON."""

import pulumi
import pulumi_random as random

config = pulumi.Config("toy")
given = config.require_secret("key")
password = random.RandomPassword("password", length=20)


class Container(pulumi.ComponentResource):
    """A component with a container's type and inputs: the engine keeps it in its state, and no Docker is needed."""

    def __init__(self, logical: str, **inputs: pulumi.Input[object]) -> None:
        super().__init__("docker:index/container:Container", logical, inputs)


Container(
    "web",
    name="toy-web",
    image="sha256:" + "4f" * 32,
    envs=["LOG_LEVEL=info", pulumi.Output.concat("API_KEY=", given), "REGION=" + config.get("region", "north")],
    labels=[{"label": "password", "value": password.result}],
    mounts=[{"type": "bind", "source": "/run/docker.sock", "target": "/run/docker.sock"}],
    uploads=[{"file": "/run/secrets/key", "content": given}],
)
Container("quiet", name="toy-quiet", image="sha256:" + "4f" * 32, envs=["LOG_LEVEL=info"])
