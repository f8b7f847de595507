"""Every setting of a stack, with its type, its safe default and its documentation.

The one module that reads ``pulumi.Config``. Plain settings become one frozen tree (`Settings`); secret
settings take a second road (`Secrets`) and never enter pydantic, whose errors and dumps would show them.
What does not belong here: defaults that are a matter of one service's own configuration (see its module).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
import functools
import ipaddress
import json
import os
import re
import unicodedata
import zoneinfo
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, NoReturn, get_args

import pulumi
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from components import commands, openvpn, reach, stackfile, tls
from components.stackfile import PROJECT as PROJECT

PLACEHOLDER: Final = "CHANGE-ME"
"""What a template has where only the owner knows the value. It is refused by key, with an example of the field."""


class SettingsError(pulumi.RunError):
    """A setting is wrong or missing: the message names the file, the key and what to do."""


def host_name(text: str) -> str:
    """A DNS name (RFC 1123), as browsers and certificates take it. Raises ValueError with what to write instead."""
    if "://" in text or "/" in text:
        raise ValueError("must be a name alone, such as media.example.org, without https:// and without a path")
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        pass
    else:
        raise ValueError("must be a name and not an address, such as media.example.org")
    labels = text.split(".")
    if not text.isascii():
        # Normalised and in lower case, its Punycode is the A-label of IDNA 2008 (RFC 5891).
        plain = [unicodedata.normalize("NFC", label).lower() for label in labels]
        coded = [one if one.isascii() else f"xn--{one.encode('punycode').decode()}" for one in plain]
        raise ValueError(f"must be written in ASCII: {'.'.join(coded)}" if _fits(coded) else _NAME_SHAPE)
    if text != text.lower() and _fits(text.lower().split(".")):
        raise ValueError(f"must be in lower case: {text.lower()}")
    if "_" in text:
        raise ValueError("must not have an underscore: browsers and certificates take no such name; write a dash")
    if long := [label for label in labels if len(label) > 63]:
        raise ValueError(f"must have at most 63 characters between two dots, and has {len(long[0])}")
    if not _fits(labels):
        raise ValueError(_NAME_SHAPE)
    if labels[-1].isdecimal():
        raise ValueError("must not end in a number: browsers take that for an address; such as media.example.org")
    return text


_NAME_SHAPE: Final = "must be a name of a-z, 0-9 and dashes, with single dots between, such as media.example.org"


def _fits(labels: Iterable[str]) -> bool:
    return all(len(one) < 64 and re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", one) for one in labels)


def _domain(text: str) -> str:
    """A name that leaves room for an app's before it: 253 characters in all, a label of 63, a dot."""
    if len(host_name(text)) > 189:
        raise ValueError(
            f"must have at most 189 characters, so that an app's name fits before it, and has {len(text)}"
        )
    return text


def is_local(domain: str) -> bool:
    """Whether a domain names this machine itself (RFC 6761), so that no public authority signs it."""
    return domain == "localhost" or domain.endswith(".localhost")


@functools.cache
def _time_zones() -> frozenset[str]:
    """The zones that this machine knows; none where it has no time zone data."""
    return frozenset(zoneinfo.available_timezones())


def _time_zone(text: str) -> str:
    known = _time_zones()
    # The shape alone where nothing is known: it is the containers that need the zone.
    if text in known or (not known and re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", text)):
        return text
    (near,) = difflib.get_close_matches(text, known, n=1) or ["Europe/Berlin"]
    raise ValueError(f"must be a time zone such as {near}: there is none of that name")


def _mail_address(text: str) -> str:
    name, at, host = text.rpartition("@")
    if not at or not re.fullmatch(r"[^\s@<>,;:\"()\[\]]+", name):
        raise ValueError("must be one address alone, such as admin@example.org")
    try:
        host_name(host.lower())
    except ValueError as error:
        raise ValueError(f"behind the @ it {error}") from None
    return text


def _host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not openvpn.is_port(port):
        raise ValueError("must be a host and a port, such as smtp.example.org:587")
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        try:
            host_name(host.lower())
        except ValueError as error:
            raise ValueError(f"before the port it {error}") from None
    else:
        if ":" in host and not host.startswith("["):
            raise ValueError("must have an IPv6 address in brackets, such as [2001:db8::1]:587")
    return text


_HOURS: Final = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}


def _retention(text: str) -> str:
    found = re.fullmatch(r"([0-9]+)([hdwy])", text)
    # Prometheus takes 0 for "not set", and a duration of more than 292 years overflows.
    if not found or not 1 <= int(found[1]) * _HOURS[found[2]] <= 100 * _HOURS["y"]:
        raise ValueError("must be a whole number and h, d, w or y, such as 15d, from 1h to 100y")
    return text


def _host_path(path: PurePosixPath) -> PurePosixPath:
    """An absolute path on the Docker host, at least two levels deep."""
    text = str(path)
    if not text.isprintable():
        raise ValueError("must be a path on one line, without control characters")
    if not path.is_absolute() or text.startswith("//") or ".." in path.parts or len(path.parts) < 3:
        raise ValueError("must be an absolute path at least two levels deep, such as /srv/media")
    return path


def _mirror(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?", text):
        raise ValueError("must be a registry and a path, such as registry.lan:5000/cache, without https://")
    return text


def _gpus(text: str) -> str:
    if not re.fullmatch(r"all|[1-9]\d*|device=[^\s,]+(,[^\s,]+)*", text):
        raise ValueError("must be all, a count such as 1, or devices such as device=0,2")
    return text


class _Section(BaseModel):
    """A frozen object of the stack file; keys are kebab-case and unknown ones are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,  # for Python; a file is read by its own names only (`parse`)
        allow_inf_nan=False,
    )


class Docker(_Section):
    """``nexus:docker``: which Docker Engine the stack lives on."""

    host: str = Field(
        reach.DEFAULT,
        description="The Docker Engine: unix:///path on this machine, or ssh://user@host of another one (with :port "
        "and the socket's /path where they are not the usual ones). DOCKER_HOST and the like in the shell count "
        "for nothing.",
    )
    ssh_options: tuple[str, ...] = Field(
        (),
        description="Options for `ssh` to an ssh:// host, one word each, such as [-F, /home/me/nexus.ssh]. What "
        "~/.ssh/config says holds as well. Nobody is asked anything: the key needs an agent or no passphrase, and "
        "the host's key has to be known (`ssh user@host true` once).",
    )
    socket_gid: int | None = Field(
        None,
        ge=0,
        description="Numeric group of the engine's socket on that host. Left out: read from the socket itself, "
        "which is possible on a unix:// host only.",
    )

    image_store: Literal["overlay2", "containerd"] | None = Field(
        None,
        description="How that engine stores images: overlay2 for each of its own drivers, or containerd (new "
        "installations of Docker 29 and later). Left out: what the engine says; one that says otherwise is refused.",
    )

    @field_validator("host")
    @classmethod
    def _reachable(cls, host: str) -> str:
        reach.check(host)
        return host

    @model_validator(mode="after")
    def _options_have_a_use(self) -> Docker:
        if self.ssh_options and not reach.is_ssh(self.host):
            raise ValueError("ssh-options are for a host of the form ssh://user@host")
        return self

    @property
    def local_socket(self) -> Path | None:
        """The socket's path where the engine is on this machine, else None."""
        return None if reach.is_ssh(self.host) else Path(self.host.removeprefix("unix://"))


class Images(_Section):
    """``nexus:images``: where images come from (see components/images.py)."""

    lock: str | None = Field(
        None, description="A lock file of image references to use instead of the pins; `make up` sets it."
    )
    mirror: Annotated[str, AfterValidator(_mirror)] | None = Field(
        None,
        description="A registry, with an optional path, that mirrors the pinned images: registry.lan:5000/cache. The "
        "policy rule image-registry has to list it (policies/config.yaml).",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Images:
        if self.lock and self.mirror:
            raise ValueError("lock and mirror exclude each other: remove one of them")
        return self


class Apps(_Section):
    """``nexus:apps``: what every app runs as."""

    uid: int = Field(1000, ge=1, le=65533, description="Numeric user of the apps and of the files under /data.")
    gid: int = Field(1000, ge=1, le=65533, description="Numeric group of the apps and of the files under /data.")
    timezone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "Etc/UTC", description="Time zone of every container, such as Europe/Berlin."
    )


_PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


class Networks(_Section):
    """``nexus:networks``: the addresses that the stack's networks are cut from."""

    pool: ipaddress.IPv4Network = Field(
        ipaddress.IPv4Network("172.31.240.0/20"),
        description="A private IPv4 range, /20 or larger, that nothing else on the host uses; each network "
        "takes one /24 of it. Two stacks on one host need two ranges.",
    )

    @field_validator("pool")
    @classmethod
    def _roomy_and_private(cls, pool: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if pool.prefixlen > 20:
            raise ValueError(f"must be /20 or larger (a smaller prefix number), got /{pool.prefixlen}")
        if not any(pool.subnet_of(private) for private in _PRIVATE):
            raise ValueError("must be a private range (RFC 1918), such as 172.31.240.0/20")
        return pool


class Storage(_Section):
    """``nexus:storage``: where media, downloads and the apps' data lie."""

    data: Annotated[PurePosixPath, AfterValidator(_host_path)] | None = Field(
        None,
        examples=["/srv/media"],
        description="Absolute path on the Docker host of the one tree for media and downloads (hardlinks need one "
        "file system). Left out: a named Docker volume. The path has to be the apps' user's; one of root's is given "
        "to it, with what in it is root's. Another path moves nothing: copy the files. From the volume to a path, "
        "the preview first asks to unprotect the volume, which stays.",
    )
    min_free_gb: int = Field(
        10,
        ge=1,
        description="Gigabytes that must be free where Docker keeps its data before anything is changed. The images "
        "take about 5, and Jellyfin itself does not start with less than 2 GiB.",
    )


class Edge(_Section):
    """``nexus:edge``: the only published ports and the names behind them."""

    domain: Annotated[str, AfterValidator(_domain)] = Field(
        "localhost",
        examples=["media.example.org"],
        description="Apps answer at <app>.<domain>. *.localhost resolves to this machine by itself (RFC 6761).",
    )
    bind_address: ipaddress.IPv4Address = Field(
        ipaddress.IPv4Address("127.0.0.1"),
        description="IPv4 address of the host that publishes the two ports; 0.0.0.0 opens them to the network. "
        "No IPv6: the stack's networks have none, so that every client would show to the apps as a neighbour.",
    )
    http_port: int = Field(80, ge=1, le=65535, description="Host port of HTTP; it only redirects to HTTPS.")
    https_port: int = Field(443, ge=1, le=65535, description="Host port of HTTPS.")

    @field_validator("bind_address", mode="before")
    @classmethod
    def _written_out(cls, address: Any) -> Any:
        if isinstance(address, int):
            raise ValueError("must be an address such as 127.0.0.1")
        if ":" in str(address):
            raise ValueError(
                "must be an IPv4 address such as 0.0.0.0: over IPv6 every client shows to the apps as the network's "
                "gateway, a neighbour in the house"
            )
        return address

    @model_validator(mode="after")
    def _two_ports(self) -> Edge:
        if self.http_port == self.https_port:
            raise ValueError("http-port and https-port must differ")
        return self

    def url(self, app: str) -> str:
        """The address of an app, such as https://sonarr.localhost."""
        port = "" if self.https_port == 443 else f":{self.https_port}"
        return f"https://{app}.{self.domain}{port}"


class NoGpu(_Section):
    """``mode: none``: transcoding on the CPU."""

    mode: Literal["none"] = "none"


class DriGpu(_Section):
    """``mode: dri``: an Intel or AMD GPU by VA-API or Quick Sync."""

    mode: Literal["dri"]
    device: PurePosixPath = Field(
        PurePosixPath("/dev/dri/renderD128"), description="The render node on the Docker host."
    )
    render_gid: int = Field(
        ge=0,
        description="Numeric group that owns the render node on the host: `stat -c %g /dev/dri/renderD128`. "
        "Group names mean nothing inside an image.",
    )

    @field_validator("device")
    @classmethod
    def _a_device(cls, path: PurePosixPath) -> PurePosixPath:
        if path.parts[:2] != ("/", "dev") or ".." in path.parts:
            raise ValueError("must be a path under /dev, such as /dev/dri/renderD128")
        return path


class NvidiaGpu(_Section):
    """``mode: nvidia``: an NVIDIA GPU; the host needs the NVIDIA Container Toolkit."""

    mode: Literal["nvidia"]
    gpus: Annotated[str, AfterValidator(_gpus)] = Field(
        "all",
        description="As docker run --gpus: all, a count, or device=0,2.",
    )


Gpu = Annotated[NoGpu | DriGpu | NvidiaGpu, Field(discriminator="mode")]


class Jellyfin(_Section):
    """``nexus:jellyfin``: the media server."""

    gpu: Gpu = Field(NoGpu(), description="none, dri (device, render-gid) or nvidia (gpus).")
    cpus: float = Field(
        2.0,
        gt=0,
        description="How many processors it may use, such as 1.5; the engine refuses more than the host has.",
    )
    transcode_mb: int = Field(
        4096,
        ge=64,
        description="Megabytes of the in-memory transcode directory. It counts towards the container's memory.",
    )


class EmbeddedVpn(_Section):
    """``type: embedded``: a WireGuard peer inside the stack plays the provider. For dev: no account needed,
    and no privacy gained."""

    type: Literal["embedded"]


def _country(text: str) -> str:
    if not text.strip() or "," in text:
        raise ValueError("must be the name of one country; several are several items of the list")
    return text.strip()


Country = Annotated[str, AfterValidator(_country)]

_COUNTRIES: Final = (
    "Countries, in the words of gluetun's list of the provider's servers (`docker run --rm qmcgaw/gluetun "
    "format-servers -mullvad` prints it); left out: any. Nothing but gluetun has that list: where none of them is on "
    "it, the VPN container does not start, and its log says so."
)


def _answers(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        address = None
    if address is None or not openvpn.is_port(port) or int(port) == 443:
        raise ValueError("must be an IPv4 address and a TCP port that is not 443, such as 10.64.0.1:9998")
    return f"{address}:{int(port)}"


HealthTarget = Annotated[str, AfterValidator(_answers)]

_HEALTH: Final = (
    "For `custom` alone, where the server does not lead to the internet: an IPv4 address behind the tunnel that "
    "answers a ping, and a TCP port of it that answers. Left out: gluetun asks cloudflare.com, github.com, 1.1.1.1 "
    "and 8.8.8.8 whether the tunnel is whole."
)


def _fits_provider(provider: str, countries: tuple[str, ...], health_target: str | None) -> None:
    if health_target is not None and provider != "custom":
        raise ValueError("health-target: only for provider custom")
    # By what each provider's updater writes into gluetun's list (internal/provider/*/updater).
    without = ("custom", "giganews", "perfect privacy", "private internet access", "vyprvpn", "windscribe")
    if countries and provider in without:
        raise ValueError(f"gluetun knows no countries of {provider}: leave countries out")


def _is_wireguard_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.removesuffix("\n"), validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


class WireGuardVpn(_Section):
    """``type: wireguard``: a provider that gluetun speaks WireGuard with, or `custom`: a server of your own."""

    type: Literal["wireguard"]
    # gluetun v3.41.1, internal/configuration/settings/provider.go
    provider: Literal[
        "airvpn",
        "custom",
        "fastestvpn",
        "ivpn",
        "mullvad",
        "nordvpn",
        "protonvpn",
        "surfshark",
        "windscribe",
    ] = Field(examples=["mullvad"], description="Who runs the server.")
    countries: tuple[Country, ...] = Field((), description=_COUNTRIES)
    addresses: str | None = Field(
        None,
        examples=["10.64.0.2/32"],
        description="The IPv4 address that your provider gave you inside the tunnel: what follows Address in its "
        "file, up to the comma. Needed but for nordvpn and protonvpn, where all have the same.",
    )
    endpoint_ip: ipaddress.IPv4Address | None = Field(
        None, description="The server's address, for `custom` alone: not a name, and not the Docker host's own."
    )
    endpoint_port: int | None = Field(None, ge=1, le=65535, description="The server's port, for `custom` alone.")
    public_key: str | None = Field(None, description="The server's public key, for `custom` alone.")
    health_target: HealthTarget | None = Field(None, description=_HEALTH)

    @field_validator("addresses")
    @classmethod
    def _in_the_tunnel(cls, addresses: str | None) -> str | None:
        if addresses is None:
            return None
        given = [part.strip() for part in addresses.split(",")]
        if any(":" in part for part in given):
            raise ValueError(
                "has an IPv6 address, and the stack's networks have no IPv6 (gluetun then does not start): write the "
                "IPv4 address alone, such as 10.64.0.2/32"
            )
        try:
            return ",".join(str(ipaddress.IPv4Interface(part)) for part in given)
        except ValueError:
            raise ValueError("must be an IPv4 address, such as 10.64.0.2/32") from None

    @field_validator("endpoint_ip")
    @classmethod
    def _of_a_server(cls, address: ipaddress.IPv4Address | None) -> ipaddress.IPv4Address | None:
        if address is not None and (
            address.is_unspecified or address.is_loopback or address.is_multicast or address.is_reserved
        ):
            raise ValueError("must be the address of another machine: in a container, loopback is the container")
        return address

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, key: str | None) -> str | None:
        if key is not None and not _is_wireguard_key(key):
            raise ValueError("must be a WireGuard public key: 44 characters of base64, as `wg pubkey` prints it")
        return key

    @model_validator(mode="after")
    def _is_whole(self) -> WireGuardVpn:
        given = {
            "endpoint-ip": self.endpoint_ip,
            "endpoint-port": self.endpoint_port,
            "public-key": self.public_key,
        }
        if self.provider == "custom" and (missing := [key for key, value in given.items() if value is None]):
            raise ValueError(f"provider custom also needs {', '.join(missing)}")
        if self.provider != "custom" and (extra := [key for key, value in given.items() if value is not None]):
            raise ValueError(f"{', '.join(extra)}: only for provider custom")
        if self.addresses is None and self.provider not in ("nordvpn", "protonvpn"):
            raise ValueError(
                f"provider {self.provider} also needs addresses: the IPv4 address inside the tunnel, such as "
                "10.64.0.2/32, from the file that the provider gave you"
            )
        _fits_provider(self.provider, self.countries, self.health_target)
        return self


class OpenVpn(_Section):
    """``type: openvpn``: a provider of gluetun's list, by user name and password, or `custom`: a file of your own,
    the secret `openvpn-config`."""

    type: Literal["openvpn"]
    # gluetun v3.41.1, internal/constants/providers, without the four of `_by_password`
    provider: Literal[
        "custom",
        "expressvpn",
        "fastestvpn",
        "giganews",
        "hidemyass",
        "ipvanish",
        "ivpn",
        "mullvad",
        "nordvpn",
        "perfect privacy",
        "privado",
        "private internet access",
        "privatevpn",
        "protonvpn",
        "purevpn",
        "slickvpn",
        "surfshark",
        "torguard",
        "vyprvpn",
        "windscribe",
    ] = Field(
        description="Who runs the server. airvpn, cyberghost, vpn unlimited and vpnsecure ask for a certificate of "
        "yours: take `custom`, with the file that they give you."
    )
    countries: tuple[Country, ...] = Field((), description=_COUNTRIES)
    health_target: HealthTarget | None = Field(None, description=_HEALTH)

    @field_validator("provider", mode="before")
    @classmethod
    def _by_password(cls, provider: object) -> object:
        # internal/configuration/settings/openvpn.go
        if provider in ("airvpn", "cyberghost", "vpn unlimited", "vpnsecure"):
            raise ValueError(
                "this provider asks for a certificate of yours: take provider custom, and store the .ovpn file that "
                "it gives you as the secret openvpn-config"
            )
        return provider

    @model_validator(mode="after")
    def _is_whole(self) -> OpenVpn:
        _fits_provider(self.provider, self.countries, self.health_target)
        return self


Vpn = Annotated[EmbeddedVpn | WireGuardVpn | OpenVpn, Field(discriminator="type")]


class NoReceiver(_Section):
    """``type: none``: alerts stay in Alertmanager."""

    type: Literal["none"] = "none"


class WebhookReceiver(_Section):
    """``type: webhook``: alerts are posted to the URL in the secret `alert-webhook-url`."""

    type: Literal["webhook"]


class EmailReceiver(_Section):
    """``type: email``: alerts are mailed; the password is the secret `smtp-password`."""

    type: Literal["email"]
    to: Annotated[str, AfterValidator(_mail_address)] = Field(description="Who gets the alerts.")
    sender: Annotated[str, AfterValidator(_mail_address)] = Field(description="The From address.")
    smarthost: Annotated[str, AfterValidator(_host_and_port)] = Field(
        description="SMTP server, host:port, with STARTTLS; not on the Docker host, which containers do not reach."
    )
    username: str = Field(description="User name at the SMTP server.")


Receiver = Annotated[NoReceiver | WebhookReceiver | EmailReceiver, Field(discriminator="type")]


class Monitoring(_Section):
    """``nexus:monitoring``: metrics and alerts."""

    retention: Annotated[str, AfterValidator(_retention)] = Field(
        "15d", description="How long Prometheus keeps samples: 15d, 8w."
    )
    receiver: Receiver = Field(NoReceiver(), description="none, webhook or email.")


class Settings(_Section):
    """The whole of a stack file, without its secrets. Each field is one key: ``nexus:<field>``."""

    docker: Docker = Field(Docker(), description="Which Docker Engine the stack lives on.")
    images: Images = Field(Images(), description="Where images come from; left out: the pinned registries.")
    apps: Apps = Field(Apps(), description="What every app runs as.")
    networks: Networks = Field(Networks(), description="The addresses of the stack's networks.")
    storage: Storage = Field(Storage(), description="Where media, downloads and the apps' data lie.")
    edge: Edge = Field(Edge(), description="The published ports and the names behind them.")
    jellyfin: Jellyfin = Field(Jellyfin(), description="The media server.")
    vpn: Vpn = Field(description="The VPN that downloads go through.")
    monitoring: Monitoring = Field(Monitoring(), description="Metrics and alerts.")

    @model_validator(mode="after")
    def _tunnel_beside_the_pool(self) -> Settings:
        if isinstance(self.vpn, WireGuardVpn):
            given = [ipaddress.IPv4Interface(one).ip for one in (self.vpn.addresses or "").split(",") if one]
            for key, found in (("addresses", given), ("endpoint-ip", [self.vpn.endpoint_ip])):
                if any(one in self.networks.pool for one in found if one is not None):
                    raise ValueError(
                        f"vpn.{key}: lies in networks.pool, which is for the stack's own: set another pool"
                    )
        return self


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """A secret setting: its key in the stack file, what it is, and what is wrong with a value, if that can be told.

    `sample` makes up a value that nothing is wrong with.
    """

    key: str
    what: str
    fault: Callable[[str], str | None] = lambda _: None
    sample: str = "{}"
    file: bool = False
    """Whether it has lines: at its prompt the CLI takes the first one alone, so it is to be read from a file."""


def _url_fault(text: str) -> str | None:
    good = re.fullmatch(r"https?://[^\s/?#]+(?:[/?#]\S*)?", text)
    return None if good else "must be an address that begins with https:// or http://, without spaces"


def _pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\n{{}}\n-----END {kind}-----"


def _no_pem(text: str, kind: str) -> str | None:
    found = re.search(rf"-----BEGIN ([A-Z ]*{kind})-----\s[\s\S]+?-----END \1-----", text)
    return None if found else f"is not whole PEM text, from its line BEGIN {kind} to its line END"


def _no_wireguard_key(text: str) -> str | None:
    if _is_wireguard_key(text):
        return None
    return "is no WireGuard key: 44 characters of base64, as `wg genkey` prints them (nordvpn: not the access token)"


_SAMPLE_KEY: Final = "{:A<43.43}="

TLS_CERTIFICATE: Final = SecretKey(
    key="tls-certificate",
    what="PEM certificate chain for *.<domain>; on localhost domains not needed",
    fault=lambda text: _no_pem(text, "CERTIFICATE"),
    sample=_pem("CERTIFICATE"),
    file=True,
)
TLS_KEY: Final = SecretKey(
    key="tls-key",
    what="PEM private key of that certificate",
    fault=lambda text: _no_pem(text, "PRIVATE KEY"),
    sample=_pem("PRIVATE KEY"),
    file=True,
)
WIREGUARD_PRIVATE_KEY: Final = SecretKey(
    key="wireguard-private-key",
    what="your WireGuard private key",
    fault=_no_wireguard_key,
    sample=_SAMPLE_KEY,
)
WIREGUARD_PRESHARED_KEY: Final = SecretKey(
    key="wireguard-preshared-key",
    what="WireGuard preshared key: airvpn's always, others' if there is one",
    fault=_no_wireguard_key,
    sample=_SAMPLE_KEY,
)
OPENVPN_USER: Final = SecretKey(key="openvpn-user", what="OpenVPN user name; of custom, if the server asks for one")
OPENVPN_PASSWORD: Final = SecretKey(key="openvpn-password", what="OpenVPN password, with the user name")
OPENVPN_CONFIG: Final = SecretKey(
    key="openvpn-config",
    what="your .ovpn file for provider custom, with certificates and keys inside it",
    file=True,
    fault=openvpn.problem,
    sample="remote 198.51.100.7 1194 udp\n# {}",
)
ALERT_WEBHOOK_URL: Final = SecretKey(
    key="alert-webhook-url",
    what="URL that alerts are posted to; not on the Docker host itself, which containers do not reach",
    fault=_url_fault,
    sample="https://{}.invalid/",
)
SMTP_PASSWORD: Final = SecretKey(key="smtp-password", what="password at the SMTP server")

SECRET_KEYS: Final = (
    TLS_CERTIFICATE,
    TLS_KEY,
    WIREGUARD_PRIVATE_KEY,
    WIREGUARD_PRESHARED_KEY,
    OPENVPN_USER,
    OPENVPN_PASSWORD,
    OPENVPN_CONFIG,
    ALERT_WEBHOOK_URL,
    SMTP_PASSWORD,
)


def required_secrets(settings: Settings, given: Collection[str] = ()) -> tuple[SecretKey, ...]:
    """The secret settings that this choice of settings, with the keys in `given` set, cannot do without."""
    pair = (TLS_CERTIFICATE, TLS_KEY)
    # Where no authority signs a name, the edge has a certificate of its own making.
    needed = not is_local(settings.edge.domain) or any(one.key in given for one in pair)
    keys = [*pair] if needed else []
    match settings.vpn:
        case WireGuardVpn(provider="airvpn"):
            keys += [WIREGUARD_PRIVATE_KEY, WIREGUARD_PRESHARED_KEY]
        case WireGuardVpn():
            keys.append(WIREGUARD_PRIVATE_KEY)
        case OpenVpn(provider="custom"):
            keys.append(OPENVPN_CONFIG)
        case OpenVpn():
            keys += [OPENVPN_USER, OPENVPN_PASSWORD]
        case EmbeddedVpn():
            pass
    match settings.monitoring.receiver:
        case WebhookReceiver():
            keys.append(ALERT_WEBHOOK_URL)
        case EmailReceiver():
            keys.append(SMTP_PASSWORD)
        case NoReceiver():
            pass
    return tuple(keys)


@dataclass(frozen=True)
class Secrets:
    """The road of secret settings: each leaves as a secret Output and in no other form."""

    stack: str

    def require(self, secret: SecretKey) -> pulumi.Output[str]:
        """The secret's value. `load` has checked that it is set and encrypted."""
        return pulumi.Config(PROJECT).require_secret(secret.key)

    def get(self, secret: SecretKey) -> pulumi.Output[str] | None:
        """The secret's value, or None where it is not set."""
        return pulumi.Config(PROJECT).get_secret(secret.key)


def parse(values: Mapping[str, Any], file: str) -> Settings:
    """Settings from the keys of a stack file (without the ``nexus:`` prefix; objects as parsed or as JSON text).

    Raises SettingsError with one line for each mistake: file, key, what is wrong; never the value given.
    """
    settings, problems = _parsed(values)
    if settings is None or problems:
        _refuse(file, problems)
    return settings


def _parsed(values: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """The settings, or None, and a line for each mistake; beside settings these are placeholders alone."""
    problems: list[str] = []
    tree: dict[str, Any] = {}
    for key, value in values.items():
        try:
            tree[key] = _object(value)
        except ValueError as error:
            problems.append(f"{PROJECT}:{key}: {error}")
    settings = None
    try:
        settings = Settings.model_validate(filled(tree), by_alias=True, by_name=False)
    except ValidationError as error:
        # What is kept of the error must not be the error itself, which knows what was given.
        problems += [_explain(details) for details in error.errors(include_input=False, include_url=False)]
    # pydantic takes true for 1; no setting is a switch.
    for switch in (f"{PROJECT}:{key}:" for key in _switches(tree)):
        if not any(problem.startswith(switch) for problem in problems):
            problems.append(f"{switch} must not be true or false")
    settings = None if problems else settings
    for path, field in placeholders(tree):
        problems.append(
            f"{PROJECT}:{'.'.join(path)}: is still the template's {PLACEHOLDER}: write your own, such as "
            f"{_example(field)}. {field.description}"
        )
    return settings, problems


def placeholders(values: Mapping[str, Any]) -> tuple[tuple[tuple[str, ...], FieldInfo], ...]:
    """The keys, from the section down, that still have a template's placeholder, with their fields. The sections may
    have their namespace."""
    return tuple(_left(_objects(values), (Settings,)))


def _objects(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what is JSON text of an object as one; what cannot be read is left for `parse` to refuse."""
    tree = dict(values)
    for key, value in values.items():
        with contextlib.suppress(ValueError):
            tree[key] = _object(value)
    return tree


def _left(
    tree: Mapping[str, Any], models: Sequence[type[BaseModel]], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    # Of a choice, the form that is chosen.
    chosen = [model for model in models if any(isinstance(one, str) and one in _tags(model) for one in tree.values())]
    for key, value in tree.items():
        fields = (
            info
            for model in chosen or models
            for name, info in model.model_fields.items()
            if (info.alias or name) == key.removeprefix(f"{PROJECT}:")
        )
        field = next(fields, None)
        if field is not None and isinstance(value, Mapping):
            yield from _left(value, _models(field.annotation), (*above, key))
        elif field is not None and PLACEHOLDER in (json.dumps(value) if isinstance(value, list) else str(value)):
            yield (*above, key), field


def _example(field: FieldInfo) -> Any:
    return field.examples[0] if field.examples else PLACEHOLDER


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with each placeholder's place taken by the example of its field."""
    tree = _objects(values)
    for path, field in placeholders(tree):
        branch = tree
        for key in path[:-1]:
            branch[key] = dict(branch[key])
            branch = branch[key]
        branch[path[-1]] = _example(field)
    return tree


def _switches(tree: Any, path: str = "") -> Iterator[str]:
    """The keys whose value is true or false."""
    if isinstance(tree, bool):
        yield path
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _switches(value, f"{path}.{key}" if path else str(key))


def check(config: Mapping[str, Any], encrypted: Collection[str], stack: str, file: str) -> Settings:
    """The plain settings in a stack's whole configuration: keys with their namespaces, and which hold a secret.

    Raises SettingsError for keys that are not this project's, plain settings that were stored as secrets (they would
    reach state and containers in clear), secrets in clear, and as `parse` does.
    """
    settings, problems = _checked(config, encrypted, stack)
    if settings is None or problems:
        _refuse(file, problems)
    return settings


def _checked(config: Mapping[str, Any], encrypted: Collection[str], stack: str) -> tuple[Settings | None, list[str]]:
    """As `_parsed`, of the whole configuration."""
    prefix = f"{PROJECT}:"
    secret = {f"{prefix}{one.key}" for one in SECRET_KEYS}
    sections = {f"{prefix}{field.alias or name}" for name, field in Settings.model_fields.items()}
    problems: list[str] = []
    for key in config:
        space, _, name = key.partition(":")
        if space not in (PROJECT, "pulumi"):
            ours = f"{prefix}{name}" if f"{prefix}{name}" in sections | secret else f"{prefix}<setting>"
            there = f"{prefix}docker.{name}" if space == "docker" else ours
            problems.append(f"{key}: no such setting, and nothing would read it; write {there} (docs/settings.md)")
        elif key in secret - set(encrypted):
            problems.append(
                f"{key}: is a secret but stored in clear; run `{commands.config_set(stack, f'--secret {key}')}` with "
                "it, and count the old value as known to others"
            )
    plain = {
        key.removeprefix(prefix): value
        for key, value in config.items()
        if key.startswith(prefix) and key not in secret
    }
    settings, mistakes = _parsed(plain)
    for key in sorted(sections & set(encrypted) & config.keys()):
        about = [one for one in mistakes if one.startswith((f"{key}.", f"{key}:"))]
        mistakes = [one for one in mistakes if one not in about]
        # A mistyped key below is unknown first of all; `secure` stands for the value in the stack file.
        unknown = [one for one in about if ": no such setting" in one and not one.startswith(f"{key}.secure:")]
        problems += unknown or [
            f"{key}: is stored as a secret but is a plain setting; set it again without --secret (secret settings "
            "have keys of their own)"
        ]
    return None if problems else settings, [*problems, *mistakes]


def load(stack: str) -> tuple[Settings, Secrets]:
    """The settings of the stack being run, from the engine's configuration.

    Raises SettingsError as `check` does, for secrets that are missing or cannot be right, and for what stands in the
    stack file otherwise than the engine has read it.
    """
    file = f"Pulumi.{stack}.yaml"
    # What the engine hands over has lost how it was written: 01000 is 512.
    written = Path(os.environ.get("PULUMI_OPTION_CONFIG_FILE") or file)
    if written.is_file():
        try:
            stackfile.read(written)
        except stackfile.StackFileError as error:
            raise SettingsError(str(error)) from error
    config = _all_config()
    settings, problems = _checked(config, _secret_config_keys(), stack)
    if settings is not None:
        problems += _secret_problems(settings, config, stack)
    if settings is None or problems:
        _refuse(file, problems)
    return settings, Secrets(stack)


def _secret_problems(settings: Settings, config: Mapping[str, str], stack: str) -> Iterator[str]:
    """A line for each secret setting that is missing or cannot be right."""
    have = {key.removeprefix(f"{PROJECT}:") for key in config}
    needed = [*required_secrets(settings, have)]
    if isinstance(settings.vpn, OpenVpn) and settings.vpn.provider == "custom":
        # A server that asks for a user name asks for a password, too.
        pair = (OPENVPN_USER, OPENVPN_PASSWORD)
        asked = openvpn.asks_for_user(config.get(f"{PROJECT}:{OPENVPN_CONFIG.key}", ""))
        needed += pair if asked or any(one.key in have for one in pair) else ()
    for secret in SECRET_KEYS:
        key = f"{PROJECT}:{secret.key}"
        command = f"run `{commands.config_set(stack, f'--secret {key}')}{' < FILE' if secret.file else ''}`"
        if key not in config:
            if secret in needed:
                yield f"{key}: missing ({secret.what}); {command}"
        elif not config[key].strip():
            yield f"{key}: is empty; {command} with it"
        elif _is_sealed(config[key]):
            continue
        elif fault := secret.fault(config[key]) or _tls_fault(secret, settings, config):
            yield f"{key}: {fault}; {command} with it"


def _tls_fault(secret: SecretKey, settings: Settings, config: Mapping[str, str]) -> str | None:
    """What is wrong with certificate or key beside the other and the domain."""
    chain = config.get(f"{PROJECT}:{TLS_CERTIFICATE.key}", "")
    if secret is TLS_CERTIFICATE:
        return tls.certificate_problem(chain, settings.edge.domain)
    return tls.key_problem(chain, config[f"{PROJECT}:{TLS_KEY.key}"]) if secret is TLS_KEY else None


def _is_sealed(text: str) -> bool:
    """Whether a value is one that the scripts have no key for: as it stands in the stack file."""
    return text.startswith('{"secure": ')


def _refuse(file: str, problems: Iterable[str]) -> NoReturn:
    raise SettingsError("\n".join(f"{file}: {problem}" for problem in problems))


def _explain(details: Mapping[str, Any]) -> str:
    keys, place = _locate(details["loc"])
    key = PROJECT + ":" + ".".join(keys)
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return f"{key}: no such setting; allowed are {', '.join(_keys(place))}"
        case "missing":
            return f"{key}: missing"
        case "model_type" | "model_attributes_type":
            return f"{key}: must be an object with the keys {', '.join(_keys(place))}"
        case "union_tag_not_found":
            return f"{key}.{context['discriminator'].strip(chr(39))}: missing"
        case "union_tag_invalid":
            return f"{key}.{context['discriminator'].strip(chr(39))}: must be one of {context['expected_tags']}"
        case "tuple_type":
            return f"{key}: must be a list"
        case "path_type":
            return f"{key}: must be a path"
        case _:
            # What is wrong between two sections is the whole file's, and names its key itself.
            return f"{key}{': ' if keys else ''}{details['msg'].removeprefix('Value error, ')}"


def _locate(location: tuple[str | int, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys that lead to a mistake, and the models it may be in.

    pydantic's location has the tag of each discriminated union as well, which is no key of the file.
    """
    keys: list[str] = []
    models: list[type[BaseModel]] = [Settings]
    for part in location:
        tagged = [model for model in models if part in _tags(model)] if len(models) > 1 else []
        if tagged:
            models = tagged
            continue
        keys.append(str(part))
        fields = [
            field for model in models for name, field in model.model_fields.items() if (field.alias or name) == part
        ]
        if fields:
            models = [model for field in fields for model in _models(field.annotation)] or models
    return keys, models


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """What a model of a discriminated union is told apart by: the values of its first field that is a Literal."""
    return next(
        (get_args(field.annotation) for field in model.model_fields.values() if get_args(field.annotation)), ()
    )


def _keys(models: list[type[BaseModel]]) -> list[str]:
    """The keys of these models; of the whole file with its secret ones."""
    names = {field.alias or name for model in models for name, field in model.model_fields.items()}
    secrets = {secret.key for secret in SECRET_KEYS} if models == [Settings] else set()
    return [*sorted(names), *sorted(secrets)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _object(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value, object_pairs_hook=_once)
        except json.JSONDecodeError:
            return value
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice} stands twice")
    return found


def _all_config() -> dict[str, Any]:
    # pulumi.Config can read a key but not list them, and an unknown key must be refused: the engine hands all of
    # them over in PULUMI_CONFIG (sdk/python runtime/config.py); set_all_config is what tests use.
    from pulumi.runtime import config as runtime

    return {**json.loads(os.environ.get("PULUMI_CONFIG", "{}")), **runtime.CONFIG.get()}


def _secret_config_keys() -> set[str]:
    from pulumi.runtime import config as runtime

    return set(json.loads(os.environ.get("PULUMI_CONFIG_SECRET_KEYS", "[]"))) | runtime._SECRET_KEYS.get()
