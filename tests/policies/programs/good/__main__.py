"""Breaks no rule, in the ways of NEXUS: secret files, a seeder's uploads, the socket proxy, unknown values."""

import pulumi
import pulumi_docker as docker

secrets = docker.Volume("secrets", name="nexus-policy-test-secrets")
docker.Container(
    "seeder",
    name="nexus-policy-test-seeder",
    image="busybox:1.37",
    start=False,
    must_run=False,
    network_mode="none",
    uploads=[
        {
            "file": "/run/secrets/api_key",
            "content": pulumi.Output.secret("swordfish" + "-1"),
            "permissions": "0400",
            "owner": "1000",
            "group": "1000",
        }
    ],
    volumes=[{"volume_name": secrets.name, "container_path": "/run/secrets"}],
)
network = docker.Network("later", name="nexus-policy-test-later", internal=True)
docker.Container(
    "sonarr",
    name="nexus-policy-test-sonarr",
    image="sha256:" + "4f" * 32,
    entrypoints=["/bin/sh", "-c", 'export SONARR__AUTH__APIKEY="$(</run/secrets/api_key)"; exec /entrypoint.sh'],
    envs=["SONARR__AUTH__METHOD=External", pulumi.Output.concat("NETWORK=", network.id)],
    labels=[{"label": "nexus.seed", "value": "9d" * 32}],
    volumes=[{"volume_name": secrets.name, "container_path": "/run/secrets", "read_only": True}],
    networks_advanced=[{"name": network.name}],
)
docker.Container(
    "cadvisor-socket-proxy-container",
    name="nexus-policy-test-proxy",
    image="docker.io/wollomatic/socket-proxy:1.13.1",
    command=["-listenip=0.0.0.0", "-allowGET=/v1\\..{1,2}/(version|containers/.*|events.*)", "-loglevel=info"],
    mounts=[
        {
            "type": "bind",
            "source": "/var/run/docker.sock",
            "target": "/var/run/docker.sock",
            "read_only": True,
        }
    ],
)
