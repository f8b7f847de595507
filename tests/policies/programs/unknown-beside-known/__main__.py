"""Breaks `no-engine-socket` and `no-literal-secret` in the midst of values that a preview does not know."""

import pulumi
import pulumi_docker as docker

network = docker.Network("later", name="nexus-policy-test-later")
docker.Container(
    "peeper",
    name="nexus-policy-test-peeper",
    image=network.id,
    network_mode=network.name,
    envs=[pulumi.Output.concat("A=", network.id), "ADMIN_PASSWORD=" + "swordfish" + "-1"],
    command=["app", network.id, "--token=" + "swordfish" + "-1"],
    labels=[{"label": "later", "value": network.id}],
    mounts=[
        {"type": "bind", "source": network.id.apply(lambda name: f"/srv/{name}"), "target": "/a"},
        {"type": "bind", "source": "/run", "target": network.id},
    ],
)
