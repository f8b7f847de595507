"""Jellyfin, the media server, with its GPU."""

from __future__ import annotations

from typing import Final

import pulumi

from components.arguments import (
    CONFIG,
    Access,
    Exposes,
    Files,
    HealthCheck,
    Limits,
    Metrics,
    OwnSignIn,
    Process,
    ServiceArgs,
    User,
    Web,
)
from components.dockerhost import DockerHost
from components.networks import APPS, EGRESS, SCRAPE_JELLYFIN, OwnNetworks
from components.service import Service
from components.settings.schema import Apps, Jellyfin, NoGpu

PORT: Final = 8096

# Jellyfin rewrites these files, so they are seeds for a first start and not kept equal afterwards, but for the one
# address whose X-Forwarded-For it believes: that is the program's to say.
_SYSTEM: Final = """<?xml version="1.0" encoding="utf-8"?>
<ServerConfiguration>
  <EnableMetrics>true</EnableMetrics>
</ServerConfiguration>
"""

_NETWORK: Final = """<?xml version="1.0" encoding="utf-8"?>
<NetworkConfiguration>
{proxies}
</NetworkConfiguration>
"""

_PROXIES: Final = "<KnownProxies><string>{address}</string></KnownProxies>"

_START: Final = (
    "mkdir -p /config/config && for file in system network; do "
    f"[ -e /config/config/$file.xml ] || cp {CONFIG}/$file.xml /config/config/$file.xml && "
    "chmod 600 /config/config/$file.xml; done && "
    "sed -z -i -e 's|\\s*<KnownProxies */>||; s|\\s*<KnownProxies>.*</KnownProxies>||' "
    "-e 's|\\s*</NetworkConfiguration>|\\n{proxies}&|' /config/config/network.xml && exec /jellyfin/jellyfin"
)


def jellyfin(
    host: DockerHost,
    settings: Jellyfin,
    apps: Apps,
    url: str,
    proxy: str,
    tree: pulumi.Input[pulumi.Resource],
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """Jellyfin at `url`, behind the reverse proxy at the address `proxy`. It keeps its own sign-in: its apps for
    phones and televisions cannot follow a redirect to another one. Media is read-only to it."""
    proxies = _PROXIES.format(address=proxy)
    return Service(
        "jellyfin",
        ServiceArgs(
            image="jellyfin",
            user=User(uid=apps.uid, gid=apps.gid),
            limits=Limits(
                # The transcode directory is memory, and Docker counts it as the container's.
                memory=1536 + settings.transcode_mb,
                cpus=settings.cpus,
            ),
            # /health answers 200 with the body `Degraded` while it migrates: the body is the answer.
            health=HealthCheck(
                test=("CMD-SHELL", f"curl -fsS http://127.0.0.1:{PORT}/health | grep -qx Healthy"),
                start_period=120,
            ),
            network=OwnNetworks(APPS, EGRESS, SCRAPE_JELLYFIN),
            process=Process(
                entrypoint=("/bin/sh", "-c", _START.format(proxies=proxies)),
                env={
                    "DOTNET_EnableDiagnostics": "0",  # the diagnostics socket needs a writable root
                    "JELLYFIN_PublishedServerUrl": url,
                },
                stop_grace=60,
            ),
            files=Files(
                config={
                    "system.xml": _SYSTEM,
                    "network.xml": _NETWORK.format(proxies=proxies),
                },
            ),
            mounts=(
                host.storage.volume("jellyfin", "config", "/config"),
                host.storage.volume("jellyfin", "cache", "/cache", keep=False),
                host.storage.data(read_only=True),
            ),
            tmpfs={
                "/tmp": "size=256m,mode=1777",  # noqa: S108
                "/cache/transcodes": f"size={settings.transcode_mb}m,mode=0700,uid={apps.uid},gid={apps.gid}",
            },
            access=Access(gpu=None if isinstance(settings.gpu, NoGpu) else settings.gpu),
            exposes=Exposes(
                web=Web(
                    host="jellyfin",
                    port=PORT,
                    sign_in=OwnSignIn(),
                    hidden_paths=("/metrics", "/health"),
                    prefixes=("/emby", "/mediabrowser"),  # until Jellyfin 12, for old clients
                ),
                metrics=Metrics(port=PORT),
            ),
            after=(tree,),
        ),
        host,
        opts,
    )
