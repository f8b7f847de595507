"""The map of the platform: which component gets which network, secret and volume. Components meet only here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pulumi

from components import downloads, edge, images, monitoring
from components.arr import ARRS, arr
from components.firewall import firewall
from components.host import Engine
from components.jellyfin import jellyfin
from components.networks import SOCKET_CADVISOR, SOCKET_GUARD, Networks
from components.secrets import ADMIN_USER, SecretBundle
from components.service import ImageStore, Service, Site, one_shot
from components.settings import EmbeddedVpn, Secrets, Settings
from components.storage import Storage


class Platform(pulumi.ComponentResource):
    """The whole stack on one Docker host. Give it its providers: `ResourceOptions(providers=[docker, random])`."""

    def __init__(
        self, settings: Settings, given: Secrets, engine: Engine, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("nexus:platform:Platform", "platform", {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        lock = Path(settings.images.lock) if settings.images.lock else None
        site = Site(
            settings=settings,
            images=ImageStore(images.resolve(lock, settings.images.mirror), child),
            networks=Networks(settings.networks.pool, child),
        )
        storage = Storage(settings.storage, child)
        secrets = SecretBundle(child)
        tree = one_shot(
            "data",
            site,
            mounts=[storage.data()],
            script=storage.prepared(f"{settings.apps.uid}:{settings.apps.gid}"),
            opts=child,
        )

        wall = firewall(site, child)
        site = replace(site, wall=wall.container)
        proxy = str(site.networks.address(edge.ON_APPS))
        media = jellyfin(site, storage, proxy, tree, child)
        arrs = [arr(app, site, storage, secrets, tree, child) for app in ARRS]
        keys = downloads.vpn_keys(secrets)
        peer = downloads.vpn_peer(site, keys, child) if isinstance(settings.vpn, EmbeddedVpn) else None
        vpn = downloads.vpn(site, keys, given, peer, child)
        downloader = downloads.qbittorrent(site, storage, secrets, vpn, proxy, tree, child)
        guard_proxy = monitoring.socket_proxy(
            site, engine, downloads.GUARD, downloads.guard_calls(), SOCKET_GUARD, child
        )
        guard = downloads.guard(site, guard_proxy, child)
        names_proxy = monitoring.socket_proxy(
            site, engine, monitoring.CADVISOR, monitoring.CADVISOR_CALLS, SOCKET_CADVISOR, child
        )
        observers = [
            monitoring.node_exporter(site, storage, child),
            monitoring.cadvisor(site, engine, names_proxy, child),
            monitoring.blackbox_exporter(site, child),
            monitoring.alertmanager(site, storage, given, child),
            monitoring.grafana(site, storage, secrets, child),
        ]
        services: list[Service] = [media, *arrs, vpn, downloader, *observers]
        traefik = edge.edge(site, services, secrets, given, child)
        helpers = [names_proxy, guard_proxy, guard, wall, *([peer] if peer else [])]
        monitoring.prometheus(site, storage, engine, [*services, *helpers, traefik], child)

        self.outputs: dict[str, pulumi.Input[object]] = {
            "urls": edge.urls(settings.edge, services),
            "admin-user": ADMIN_USER,
            "admin-password": secrets.admin_password,
            "data": storage.where(),
        }
        self.register_outputs({})
