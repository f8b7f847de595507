"""What the lab's images are: name, what is inside, what they are made from.

What does not belong here: how they are made (`build`), and which images the platform uses (`components.images`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final, Literal

from components.arr import ARRS, Arr
from components.images import PINS

REGISTRY: Final = "localhost:5790"
LABEL: Final = "org.nexus-media.lab"

Binary = Literal["traefik", "cadvisor", "nexus-standin"]

# Images for parts of the platform that are still to come, under the names they have upstream.
_NOT_YET_PINNED: Final = {
    "postgres": "docker.io/library/postgres:17.11-bookworm",
    "valkey": "docker.io/valkey/valkey:9.1.1-alpine",
    "restic": "docker.io/restic/restic:0.19.1",
}


@dataclass(frozen=True, kw_only=True)
class LabImage:
    """One image of the lab.

    `folder` is its build context under containers/. `version` says where to read what is really inside:
    ``deb:PACKAGE`` of the root file system, ``module:FOLDER MODULE`` of a go.mod, ``plays:APP`` of the stand-ins,
    ``plays-pin:`` what the platform pins.
    """

    key: str
    folder: str
    kind: Literal["real", "stand-in"]
    version: str
    note: str
    binaries: tuple[Binary, ...] = ()
    arguments: tuple[str, ...] = ()
    on_base: bool = True

    @property
    def repository(self) -> str:
        """The image's name in the lab's registry: upstream's, but for the host."""
        return f"{REGISTRY}/{self._upstream.partition('/')[2].rpartition(':')[0]}"

    @property
    def name(self) -> str:
        """Repository and upstream's tag."""
        return f"{self.repository}:{self.tag}"

    @property
    def tag(self) -> str:
        """Upstream's tag."""
        return self._upstream.rpartition(":")[2]

    @property
    def _upstream(self) -> str:
        return (_NOT_YET_PINNED | dict(PINS))[self.key].partition("@")[0]


def _real(key: str, version: str, note: str, *binaries: Binary) -> LabImage:
    return LabImage(key=key, folder=key, kind="real", version=version, note=note, binaries=binaries)


def _stand_in(key: str, does: str, *, on_base: bool = True) -> LabImage:
    return LabImage(
        key=key,
        folder=key,
        kind="stand-in",
        version=f"plays:{key}",
        note=f"Stand-in of this project (lab/standins), not the real server: {does}",
        binaries=("nexus-standin",),
        on_base=on_base,
    )


def _arr(app: Arr) -> LabImage:
    """A row of the platform's own table: the stand-in reads from a file what it plays (lab/standins/arr.go)."""
    return replace(
        _stand_in(app.name, "/ping and the parts of the published API that the platform calls"),
        folder="arr",
        version="plays-pin:",
        arguments=(f"APP={app.name.capitalize()}", f"KIND={kind(app)}"),
    )


def kind(app: Arr) -> str:
    """What the stand-in for a *arr server has to know of it, as JSON."""
    version = PINS[app.name].partition("@")[0].rpartition(":")[2]
    known = {"name": app.name.capitalize(), "version": version, "api": f"/api/{app.api}"}
    return json.dumps({**known, "port": app.port})


IMAGES: Final = (
    _real("prometheus", "deb:prometheus", "Debian's Prometheus 2.53, older than the pinned one"),
    _real("alertmanager", "deb:prometheus-alertmanager", "Debian's package, older than the pinned one"),
    _real("node-exporter", "deb:prometheus-node-exporter", "Debian's package, older than the pinned one"),
    _real("blackbox-exporter", "deb:prometheus-blackbox-exporter", "Debian's package, older than the pinned one"),
    _real("qbittorrent", "deb:qbittorrent-nox", "Debian's package, older than the pinned one: no API keys"),
    _real("wireguard", "deb:wireguard-go", "Debian's wireguard-tools, and wireguard-go, which upstream has not"),
    _real("busybox", "deb:busybox-static", "Debian's busybox-static"),
    *map(_arr, ARRS),
    _stand_in("jellyfin", "health, metrics, the set-up calls; it plays no media"),
    _stand_in("gluetun", "settings, firewall, health, control; around Debian's wireguard-go and openvpn"),
    _stand_in("grafana", "health, metrics, login and provisioning; it draws no dashboards"),
    _stand_in("socket-proxy", "the same options, filtering by method and path", on_base=False),
    _real("restic", "deb:restic", "Debian's restic, older than upstream's"),
    _real("postgres", "deb:postgresql-17", "Debian's PostgreSQL 17"),
    _real("valkey", "deb:valkey-server", "Debian's Valkey 8, older than the name says"),
    _real(
        "cadvisor",
        "module:cadvisor github.com/google/cadvisor",
        "The real cAdvisor library under a main of this project",
        "cadvisor",
    ),
    _real(
        "traefik",
        "module:traefik github.com/traefik/traefik/v3",
        "Traefik compiled from its Go module, older than the pinned one, with three of lego's DNS providers",
        "traefik",
    ),
)
