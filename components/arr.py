"""The *arr apps: rows of one table. Another one is one row here and one pin in images.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pulumi

from components.arguments import (
    SECRETS,
    EdgeSignIn,
    Exposes,
    Files,
    HealthCheck,
    Limits,
    Probe,
    Process,
    ServiceArgs,
    User,
    Web,
)
from components.dockerhost import DockerHost
from components.networks import APPS, EGRESS, OwnNetworks
from components.secrets import SecretBundle
from components.service import Service
from components.settings.schema import Apps


@dataclass(frozen=True, kw_only=True)
class ArrApp:
    """The app in a stack, and what others need to use its API."""

    service: Service
    key: pulumi.Output[str]
    """Its API key, 32 hexadecimal digits."""
    url: str
    """Where it answers on the network `apps`, such as http://sonarr:8989."""


@dataclass(frozen=True, kw_only=True)
class Arr:
    """One app. `api` is the version of its API, `media` whether it sorts files under /data."""

    name: str
    port: int
    api: Literal["v1", "v3"]
    media: bool
    memory: int = 768


ARRS: Final = (
    Arr(name="sonarr", port=8989, api="v3", media=True),
    Arr(name="radarr", port=7878, api="v3", media=True),
    Arr(name="lidarr", port=8686, api="v1", media=True),
    Arr(name="prowlarr", port=9696, api="v1", media=False, memory=512),
)


def arr(
    app: Arr,
    host: DockerHost,
    apps: Apps,
    secrets: SecretBundle,
    tree: pulumi.Input[pulumi.Resource],
    opts: pulumi.ResourceOptions | None = None,
) -> ArrApp:
    """The app, on a rootless image. The edge signs users in, so the app's own pages ask for
    nothing (`External`). Its API asks for the key, which was generated before the first start; but one of those pages
    (/initialize.json) hands the key out, so whoever is on `apps` can use the API as well."""
    prefix = app.name.upper()
    api_key = secrets.hexadecimal(f"{app.name}-api-key")
    service = Service(
        app.name,
        ServiceArgs(
            image=app.name,
            user=User(uid=apps.uid, gid=apps.gid),
            limits=Limits(memory=app.memory, cpus=1.0),
            health=HealthCheck(
                test=("CMD", "curl", "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{app.port}/ping"),
                start_period=60,
            ),
            network=OwnNetworks(APPS, EGRESS),
            process=Process(
                # The app takes its key from the environment only. Read from the file by a shell, it is in that
                # process's environment and nowhere that the engine shows.
                entrypoint=(
                    "/usr/bin/catatonit",
                    "--",
                    "/bin/bash",
                    "-c",
                    # Without a key the app would make one of its own, which nothing else knows.
                    f'set -e; key=$(<{SECRETS}/api_key); [ -n "$key" ]; '
                    f'{prefix}__AUTH__APIKEY="$key" exec /entrypoint.sh',
                ),
                init=False,
                env={
                    f"{prefix}__APP__INSTANCENAME": app.name.capitalize(),
                    f"{prefix}__AUTH__METHOD": "External",
                    f"{prefix}__AUTH__REQUIRED": "Enabled",
                    f"{prefix}__LOG__ANALYTICSENABLED": "False",
                    f"{prefix}__SERVER__PORT": str(app.port),
                    f"{prefix}__UPDATE__AUTOMATICALLY": "False",
                },
                stop_grace=60,
            ),
            files=Files(secrets={"api_key": api_key}),
            mounts=(
                host.storage.volume(app.name, "config", "/config"),
                *((host.storage.data(),) if app.media else ()),
            ),
            # .NET extracts and compiles under /tmp.
            tmpfs={"/tmp": "size=256m,mode=1777"},  # noqa: S108
            exposes=Exposes(
                web=Web(host=app.name, port=app.port, sign_in=EdgeSignIn()),
                probe=Probe(port=app.port, path="/ping"),
            ),
            after=(tree,) if app.media else (),
        ),
        host,
        opts,
    )
    return ArrApp(service=service, key=api_key, url=f"http://{service.address}:{app.port}")
