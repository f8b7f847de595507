"""The map of the platform: which component gets which network, secret and volume. Components meet only here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pulumi

from components import downloads, edge, host, images, monitoring
from components.arr import ARRS, arr
from components.dockerhost import DockerHost, Socket
from components.firewall import firewall
from components.host import Engine
from components.jellyfin import jellyfin
from components.job import one_shot
from components.networks import SOCKET_CADVISOR, SOCKET_GUARD, Networks
from components.secrets import ADMIN_USER, SecretBundle
from components.service import ImageStore, Service
from components.settings.schema import EmbeddedVpn, Settings
from components.settings.secret import Secrets
from components.storage import Storage


class Platform(pulumi.ComponentResource):
    """The whole stack on one Docker host. Give it its providers: `ResourceOptions(providers=[docker, random])`."""

    def __init__(
        self, settings: Settings, given: Secrets, engine: Engine, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("nexus:platform:Platform", "platform", {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        lock = Path(settings.images.lock) if settings.images.lock else None
        apps = settings.apps
        docker_host = DockerHost(
            engine=engine,
            images=ImageStore(images.resolve(lock, settings.images.mirror), child),
            networks=Networks(settings.networks.pool, child),
            storage=Storage(settings.storage, child),
            socket=Socket(path=host.socket_path(settings, engine), gid=host.socket_gid(settings, engine)),
            timezone=apps.timezone,
        )
        storage = docker_host.storage
        secrets = SecretBundle(child)
        tree = one_shot(
            "data",
            docker_host,
            mounts=[storage.data()],
            script=storage.prepared(f"{apps.uid}:{apps.gid}"),
            opts=child,
        )

        wall = firewall(docker_host, child)
        docker_host = replace(docker_host, wall=wall.container)
        proxy = str(docker_host.networks.address(edge.ON_APPS))
        media = jellyfin(docker_host, settings.jellyfin, apps, settings.edge.url("jellyfin"), proxy, tree, child)
        arrs = [arr(app, docker_host, apps, secrets, tree, child).service for app in ARRS]
        keys = downloads.vpn_keys(secrets)
        peer = downloads.vpn_peer(docker_host, keys, child) if isinstance(settings.vpn, EmbeddedVpn) else None
        vpn = downloads.vpn(docker_host, settings.vpn, keys, given, peer, child)
        downloader = downloads.qbittorrent(docker_host, apps, secrets, vpn, proxy, tree, child)
        guard_proxy = monitoring.socket_proxy(
            docker_host, downloads.GUARD, downloads.guard_calls(), SOCKET_GUARD, child
        )
        guard = downloads.guard(docker_host, guard_proxy, child)
        names_proxy = monitoring.socket_proxy(
            docker_host, monitoring.CADVISOR, monitoring.CADVISOR_CALLS, SOCKET_CADVISOR, child
        )
        observers = [
            monitoring.node_exporter(docker_host, child),
            monitoring.cadvisor(docker_host, names_proxy, child),
            monitoring.blackbox_exporter(docker_host, child),
            monitoring.alertmanager(docker_host, settings.monitoring.receiver, given, child),
            monitoring.grafana(docker_host, settings.edge.url("grafana"), secrets, child),
        ]
        services: list[Service] = [media, *arrs, vpn, downloader, *observers]
        traefik = edge.edge(docker_host, settings.edge, services, secrets, given, child)
        helpers = [names_proxy, guard_proxy, guard, wall, *([peer] if peer else [])]
        monitoring.prometheus(docker_host, settings.monitoring.retention, [*services, *helpers, traefik], child)

        self.outputs: dict[str, pulumi.Input[object]] = {
            "urls": edge.urls(settings.edge, services),
            "admin-user": ADMIN_USER,
            "admin-password": secrets.admin_password,
            "data": storage.where(),
        }
        self.register_outputs({})
