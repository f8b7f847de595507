"""Every image of the platform, pinned as registry/path:tag@digest, and where the references come from.

The tag says what is meant, the digest of the multi-architecture index says what is pulled. What does not belong here:
pulling (`service.ImageStore`), and which service uses which image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from components.errors import PlatformError

# Renovate reads the comment above each pin; depName is the reference without tag and digest.
PINS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # renovate: datasource=docker depName=docker.io/library/traefik
        "traefik": "docker.io/library/traefik:v3.7.13"
        "@sha256:24841fe2de7304c149343d877d2923b4c8800a38ba015dea9174c23b20e344a0",
        # renovate: datasource=docker depName=docker.io/jellyfin/jellyfin
        "jellyfin": "docker.io/jellyfin/jellyfin:10.11.11"
        "@sha256:aefb67e6a7ff1debdd154a78a7bbb780fd0c873d8639210a7f6a2016ad2b35db",
        # renovate: datasource=docker depName=ghcr.io/home-operations/sonarr
        "sonarr": "ghcr.io/home-operations/sonarr:4.0.19.3001"
        "@sha256:2fef93accb445aeb1773e454825ac903f7d66d9addfe045d56fff69ba8181c82",
        # renovate: datasource=docker depName=ghcr.io/home-operations/radarr
        "radarr": "ghcr.io/home-operations/radarr:6.4.1.10545"
        "@sha256:260469d707617f4b5be1cd11a40be7e4889c63c5e7cdbc6a429626dc05863b6b",
        # renovate: datasource=docker depName=ghcr.io/home-operations/lidarr
        "lidarr": "ghcr.io/home-operations/lidarr:3.1.2.4902"
        "@sha256:dab0e07502a34436fc50c3e789388f0a29f8cbf681fb7a02ed703ad7c368a22c",
        # renovate: datasource=docker depName=ghcr.io/home-operations/prowlarr
        "prowlarr": "ghcr.io/home-operations/prowlarr:2.6.1.5509"
        "@sha256:ce5d6bdd5be6529f503df77aa9d2bad20239031d7c660406e8fb1c6d621dd020",
        # renovate: datasource=docker depName=ghcr.io/home-operations/qbittorrent
        "qbittorrent": "ghcr.io/home-operations/qbittorrent:5.2.3"
        "@sha256:4fcf15b7f265c2c8d7bc2a7e13240a07e0593c326f3cf3b5b9bb69eec5b79299",
        # renovate: datasource=docker depName=docker.io/qmcgaw/gluetun
        "gluetun": "docker.io/qmcgaw/gluetun:v3.41.1"
        "@sha256:1a5bf4b4820a879cdf8d93d7ef0d2d963af56670c9ebff8981860b6804ebc8ab",
        # renovate: datasource=docker depName=lscr.io/linuxserver/wireguard
        "wireguard": "lscr.io/linuxserver/wireguard:1.0.20260223-r0-ls124"
        "@sha256:216ca1ce9da7bfe26fb752111d952487804bd18933bbd4794970d424bf8adfe9",
        # renovate: datasource=docker depName=docker.io/library/busybox
        "busybox": "docker.io/library/busybox:1.37"
        "@sha256:bdf57e528e45e4433820e045b29b4597825a1c9e38353532d90a01445013f82e",
        # renovate: datasource=docker depName=docker.io/prom/prometheus
        "prometheus": "docker.io/prom/prometheus:v3.15.0"
        "@sha256:efd719c99d83b060d9daefdcf00360461adf279f45ef5391f8d111892118753e",
        # renovate: datasource=docker depName=docker.io/prom/alertmanager
        "alertmanager": "docker.io/prom/alertmanager:v0.34.1"
        "@sha256:e9733bafb1bdef9b00e25a21f8f99dc26a22224bf16641ad754d1649f4c3357a",
        # renovate: datasource=docker depName=docker.io/prom/node-exporter
        "node-exporter": "docker.io/prom/node-exporter:v1.12.1"
        "@sha256:1b4e4438faca4dd7e001dd445d161a4a2091b0fededa84093b3a8dfeae1f1be0",
        # renovate: datasource=docker depName=docker.io/prom/blackbox-exporter
        "blackbox-exporter": "docker.io/prom/blackbox-exporter:v0.28.0"
        "@sha256:e753ff9f3fc458d02cca5eddab5a77e1c175eee484a8925ac7d524f04366c2fc",
        # renovate: datasource=docker depName=ghcr.io/google/cadvisor
        "cadvisor": "ghcr.io/google/cadvisor:v0.60.6"
        "@sha256:b8e7d1093144fd088f425ff003d75a4aa405de075db78dae3bc563730b1bd07a",
        # renovate: datasource=docker depName=docker.io/grafana/grafana
        "grafana": "docker.io/grafana/grafana:13.2.3"
        "@sha256:b28bae15e219c998fb0e0424ed724930cc61b1f61fb404d47c862f9a23f9e572",
        # renovate: datasource=docker depName=docker.io/wollomatic/socket-proxy
        "socket-proxy": "docker.io/wollomatic/socket-proxy:1.13.1"
        "@sha256:3935b709275e4ec35d6ed5a5c4a1f0d01ed31eec5e7234efc3357ecd47689002",
    }
)

_PINNED: Final = re.compile(r"\S+@sha256:[0-9a-f]{64}")
_ADVICE: Final = "run `make up`, which writes it anew, or remove nexus:images.lock to use the pinned images"


class ImageLockError(PlatformError):
    """The image references cannot be had from the lock: the message names the file, the key and what to do."""


def resolve(lock: Path | None, mirror: str | None) -> Mapping[str, str]:
    """The full reference to pull for each key of `PINS`.

    Neither argument: the pins themselves.

    `mirror` (``registry.lan:5000`` or ``registry.lan/cache``) takes the place of every pin's registry, whichever that
    is; path, tag and digest stay, as pull-through caches expect: ``docker.io/library/traefik`` becomes
    ``<mirror>/library/traefik``, ``ghcr.io/google/cadvisor`` becomes ``<mirror>/google/cadvisor`` and
    ``lscr.io/linuxserver/wireguard`` becomes ``<mirror>/linuxserver/wireguard``. The mirror has to answer for all
    three registries under one name. It needs no trust: the digest decides what is accepted.

    `lock` is a JSON file, ``{"images": {key: {"ref": reference}}}``, which must have a reference with a digest for
    every key; what else it holds is not read.

    Raises `ImageLockError` if the lock is missing, malformed or incomplete, or if both arguments are given.
    """
    if lock is not None and mirror is not None:
        raise ImageLockError(
            f"nexus:images.lock ({lock}) and nexus:images.mirror ({mirror}) exclude each other: remove one of them"
        )
    if lock is not None:
        images = _images(lock)
        return {key: _locked(lock, images, key) for key in PINS}
    if mirror is not None:
        return {key: f"{mirror.rstrip('/')}/{pin.partition('/')[2]}" for key, pin in PINS.items()}
    return PINS


def _images(lock: Path) -> dict[str, object]:
    """The object under "images" of the lock file."""
    try:
        content: object = json.loads(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ImageLockError(f"{lock}: there is no such file of image references: {_ADVICE}") from None
    except OSError as error:
        raise ImageLockError(f"{lock}: cannot be read ({error.strerror}): {_ADVICE}") from error
    except ValueError as error:
        raise ImageLockError(f"{lock}: is not JSON ({error}): {_ADVICE}") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, dict):
        raise ImageLockError(f"{lock}: key images: is not an object of image references: {_ADVICE}")
    return images


def _locked(lock: Path, images: Mapping[str, object], key: str) -> str:
    """The reference of one image, refused if it does not say by digest what is to be pulled."""
    where = f"{lock}: key images.{key}"
    if key not in images:
        raise ImageLockError(f"{where}: is missing: {_ADVICE}")
    entry = images[key]
    reference = entry.get("ref") if isinstance(entry, dict) else None
    if not isinstance(reference, str):
        raise ImageLockError(f"{where}.ref: is not a reference in text form: {_ADVICE}")
    if _PINNED.fullmatch(reference) is None:
        raise ImageLockError(f"{where}.ref: {reference!r} does not end in a digest (@sha256:<64 hex>): {_ADVICE}")
    return reference
