"""Breaks no rule, in the ways of NEXUS: secret files, a seeder's uploads, the socket proxy, unknown values."""

import pulumi
import pulumi_docker as docker
from hardened import container

DIGEST = "@sha256:" + "4f" * 32


def network(row: str, subnet: str) -> docker.Network:
    return docker.Network(
        f"network-{row}",
        name=f"nexus-policy-test-{row}",
        internal=True,
        options={"com.docker.network.bridge.inhibit_ipv4": "true"},
        ipam_configs=[{"subnet": f"{subnet}.0/24", "gateway": f"{subnet}.1"}],
    )


monitoring = network("monitoring", "172.31.253")
dashboards = network("dashboards", "172.31.252")
exporters = network("exporters", "172.31.251")
socket = network("socket-cadvisor", "172.31.254")
secrets = docker.Volume("grafana-secrets-files", name="nexus-policy-test-secrets-files")
container(
    "grafana-seed",
    name="nexus-policy-test-grafana-seed",
    image="docker.io/library/busybox:1.37" + DIGEST,
    must_run=False,
    restart="no",
    wait=None,
    healthcheck=None,
    uploads=[
        {
            "file": "/run/secrets/api_key",
            "content": pulumi.Output.secret("swordfish" + "-1"),
            "permissions": "0400",
        },
        {"file": "/run/config/app.yml", "content": "key_file: /run/secrets/api_key\n", "permissions": "0400"},
    ],
    mounts=[{"type": "volume", "source": secrets.name, "target": "/run/secrets", "read_only": False}],
)
container(
    "grafana-container",
    name="nexus-policy-test-grafana",
    image="sha256:" + "4f" * 32,
    entrypoints=["/bin/sh", "-c", 'export GF_SECRET_KEY="$(</run/secrets/api_key)"; exec /run.sh'],
    envs=["TZ=Etc/UTC", pulumi.Output.concat("GF_SERVER_ROOT_URL=", monitoring.id)],
    labels=[{"label": "nexus.seed", "value": "9d" * 32}],
    mounts=[{"type": "volume", "source": secrets.name, "target": "/run/secrets", "read_only": True}],
    networks_advanced=[{"name": one.name, "aliases": ["grafana"]} for one in (monitoring, dashboards)],
    network_mode=None,
)
container(
    "cadvisor-socket-proxy-container",
    name="nexus-policy-test-cadvisor-socket-proxy",
    image="docker.io/wollomatic/socket-proxy:1.13.1" + DIGEST,
    command=[
        "-listenip=0.0.0.0",
        "-allowfrom=cadvisor",
        "-allowGET=(/v1\\.[0-9]+)?/(_ping|version|info|containers/json|containers/[0-9a-f]{64}/json)",
        "-allowHEAD=/_ping",
        "-loglevel=info",
    ],
    mounts=[
        {
            "type": "bind",
            "source": "/var/run/docker.sock",
            "target": "/var/run/docker.sock",
            "read_only": True,
        }
    ],
    networks_advanced=[{"name": socket.name, "aliases": ["cadvisor-socket-proxy"]}],
    network_mode=None,
)
container(
    "cadvisor-container",
    name="nexus-policy-test-cadvisor",
    image="ghcr.io/google/cadvisor:v0.60.6" + DIGEST,
    command=["--docker=tcp://cadvisor-socket-proxy:2375", "--docker_only=true"],
    networks_advanced=[{"name": one.name, "aliases": ["cadvisor"]} for one in (exporters, socket)],
    network_mode=None,
)
