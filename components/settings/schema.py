"""The plain settings: each section of the stack file with its types, ranges, defaults and documentation."""

from __future__ import annotations

import ipaddress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from components import reach
from components.settings import values


class Section(BaseModel):
    """A frozen object of the stack file; keys are kebab-case and unknown ones are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,  # for Python; a file is read by its own names only (`parse`)
        allow_inf_nan=False,
    )


class Docker(Section):
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


class Images(Section):
    """``nexus:images``: where images come from (see components/images.py)."""

    lock: str | None = Field(
        None, description="A lock file of image references to use instead of the pins; `make up` sets it."
    )
    mirror: Annotated[str, AfterValidator(values.mirror)] | None = Field(
        None,
        description="A registry, with an optional path, that mirrors the pinned images: registry.lan:5000/cache. The "
        "policy rule image-registry has to list it (policies/config.yaml).",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Images:
        if self.lock and self.mirror:
            raise ValueError("lock and mirror exclude each other: remove one of them")
        return self


class Apps(Section):
    """``nexus:apps``: what every app runs as."""

    uid: int = Field(1000, ge=1, le=65533, description="Numeric user of the apps and of the files under /data.")
    gid: int = Field(1000, ge=1, le=65533, description="Numeric group of the apps and of the files under /data.")
    timezone: Annotated[str, AfterValidator(values.time_zone)] = Field(
        "Etc/UTC", description="Time zone of every container, such as Europe/Berlin."
    )


_PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


class Networks(Section):
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


class Storage(Section):
    """``nexus:storage``: where media, downloads and the apps' data lie."""

    data: Annotated[PurePosixPath, AfterValidator(values.host_path)] | None = Field(
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


class Edge(Section):
    """``nexus:edge``: the only published ports and the names behind them."""

    domain: Annotated[str, AfterValidator(values.domain)] = Field(
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


class NoGpu(Section):
    """``mode: none``: transcoding on the CPU."""

    mode: Literal["none"] = "none"


class DriGpu(Section):
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


class NvidiaGpu(Section):
    """``mode: nvidia``: an NVIDIA GPU; the host needs the NVIDIA Container Toolkit."""

    mode: Literal["nvidia"]
    gpus: Annotated[str, AfterValidator(values.gpus)] = Field(
        "all",
        description="As docker run --gpus: all, a count, or device=0,2.",
    )


Gpu = Annotated[NoGpu | DriGpu | NvidiaGpu, Field(discriminator="mode")]


class Jellyfin(Section):
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


class EmbeddedVpn(Section):
    """``type: embedded``: a WireGuard peer inside the stack plays the provider. For dev: no account needed,
    and no privacy gained."""

    type: Literal["embedded"]


Country = Annotated[str, AfterValidator(values.country)]

_COUNTRIES: Final = (
    "Countries, in the words of gluetun's list of the provider's servers (`docker run --rm qmcgaw/gluetun "
    "format-servers -mullvad` prints it); left out: any. Nothing but gluetun has that list: where none of them is on "
    "it, the VPN container does not start, and its log says so."
)


HealthTarget = Annotated[str, AfterValidator(values.health_target)]

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


class WireGuardVpn(Section):
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
        if key is not None and not values.is_wireguard_key(key):
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


class OpenVpn(Section):
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


class NoReceiver(Section):
    """``type: none``: alerts stay in Alertmanager."""

    type: Literal["none"] = "none"


class WebhookReceiver(Section):
    """``type: webhook``: alerts are posted to the URL in the secret `alert-webhook-url`."""

    type: Literal["webhook"]


class EmailReceiver(Section):
    """``type: email``: alerts are mailed; the password is the secret `smtp-password`."""

    type: Literal["email"]
    to: Annotated[str, AfterValidator(values.mail_address)] = Field(description="Who gets the alerts.")
    sender: Annotated[str, AfterValidator(values.mail_address)] = Field(description="The From address.")
    smarthost: Annotated[str, AfterValidator(values.host_and_port)] = Field(
        description="SMTP server, host:port, with STARTTLS; not on the Docker host, which containers do not reach."
    )
    username: str = Field(description="User name at the SMTP server.")


Receiver = Annotated[NoReceiver | WebhookReceiver | EmailReceiver, Field(discriminator="type")]


class Monitoring(Section):
    """``nexus:monitoring``: metrics and alerts."""

    retention: Annotated[str, AfterValidator(values.retention)] = Field(
        "15d", description="How long Prometheus keeps samples: 15d, 8w."
    )
    receiver: Receiver = Field(NoReceiver(), description="none, webhook or email.")


class Settings(Section):
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


def tags_of(model: type[BaseModel]) -> tuple[Any, ...]:
    """What a model of a discriminated union is told apart by: the values of its first field that is a Literal."""
    return next(
        (get_args(field.annotation) for field in model.model_fields.values() if get_args(field.annotation)), ()
    )


def models_of(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_of(part)]
