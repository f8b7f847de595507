"""Every setting of a stack, with its type, its safe default and its documentation.

The one module that reads ``pulumi.Config``. Plain settings become one frozen tree (`Settings`); secret
settings take a second road (`Secrets`) and never enter pydantic, whose errors and dumps would show them.
What does not belong here: defaults that are a matter of one service's own configuration (see its module).
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, NoReturn, get_args

import pulumi
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyAddress,
    ValidationError,
    field_validator,
    model_validator,
)

PROJECT: Final = "nexus"


class SettingsError(pulumi.RunError):
    """A setting is wrong or missing: the message names the file, the key and what to do."""


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


class DockerHost(_Section):
    """``nexus:docker``: which Docker Engine the stack lives on."""

    host: str = Field(
        "unix:///var/run/docker.sock",
        pattern=r"^(unix:///|ssh://|tcp://)\S+$",
        description="The Docker Engine, as in DOCKER_HOST: unix:///path, ssh://user@host or tcp://host:port.",
    )
    socket_gid: int | None = Field(
        None,
        ge=0,
        description="Numeric group of the engine's socket on that host. Left out: read from the socket itself, "
        "which is possible on a unix:// host only.",
    )

    image_store: Literal["overlay2", "containerd"] = Field(
        "overlay2",
        description="How that engine stores images: `docker info -f '{{.Driver}}'` says overlay2, or overlayfs where "
        "it is containerd (new installations of Docker 29 and later). With containerd, cAdvisor cannot name "
        "containers (it would need containerd's own socket).",
    )

    @property
    def local_socket(self) -> Path | None:
        """The socket's path where the engine is on this machine, else None."""
        return Path(self.host.removeprefix("unix://")) if self.host.startswith("unix://") else None


class Images(_Section):
    """``nexus:images``: where images come from (see components/images.py)."""

    lock: str | None = Field(
        None, description="A lock file of image references to use instead of the pins; `make up` sets it."
    )
    mirror: str | None = Field(
        None,
        pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?$",
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
    timezone: str = Field(
        "Etc/UTC",
        pattern=r"^[A-Za-z_]+(/[A-Za-z0-9_+-]+)*$",
        description="Time zone of every container, such as Europe/Berlin.",
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

    data: PurePosixPath | None = Field(
        None,
        description="Absolute path on the Docker host of the one tree for media and downloads (hardlinks need one "
        "file system). Left out: a named Docker volume. The path has to be the apps' user's; one of root's is given "
        "to it, with what in it is root's. Another path moves nothing: copy the files. From the volume to a path, "
        "the preview first asks to unprotect the volume, which stays.",
    )
    min_free_gb: int = Field(
        5,
        ge=1,
        description="Gigabytes that must be free where Docker keeps its data before anything is changed.",
    )

    @field_validator("data")
    @classmethod
    def _absolute(cls, path: PurePosixPath | None) -> PurePosixPath | None:
        if path is not None and (not path.is_absolute() or ".." in path.parts or len(path.parts) < 3):
            raise ValueError("must be an absolute path at least two levels deep, such as /srv/media")
        return path


class Edge(_Section):
    """``nexus:edge``: the only published ports and the names behind them."""

    domain: str = Field(
        "localhost",
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        description="Apps answer at <app>.<domain>. *.localhost resolves to this machine by itself (RFC 6761).",
    )
    bind_address: IPvAnyAddress = Field(
        ipaddress.IPv4Address("127.0.0.1"),
        description="Host address the two ports are published on; 0.0.0.0 opens them to the network.",
    )
    http_port: int = Field(80, ge=1, le=65535, description="Host port of HTTP; it only redirects to HTTPS.")
    https_port: int = Field(443, ge=1, le=65535, description="Host port of HTTPS.")

    @field_validator("bind_address", mode="before")
    @classmethod
    def _written_out(cls, address: Any) -> Any:
        if isinstance(address, int):
            raise ValueError("must be an address such as 127.0.0.1")
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
    gpus: str = Field(
        "all",
        pattern=r"^(all|device=\S+|\d+)$",
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


class WireGuardVpn(_Section):
    """``type: wireguard``: a commercial provider of gluetun's list, or `custom`."""

    type: Literal["wireguard"]
    provider: str = Field(
        pattern=r"^[a-z0-9][a-z0-9 ]*$",
        description="gluetun's VPN_SERVICE_PROVIDER: mullvad, protonvpn, custom, …",
    )
    countries: tuple[str, ...] = Field((), description="gluetun's SERVER_COUNTRIES; left out: any.")
    addresses: str | None = Field(
        None,
        description="WIREGUARD_ADDRESSES: the tunnel address your provider gave you, such as 10.64.0.2/32.",
    )
    endpoint_ip: ipaddress.IPv4Address | None = Field(
        None, description="WIREGUARD_ENDPOINT_IP, for `custom` only: an address, not a name."
    )
    endpoint_port: int | None = Field(None, ge=1, le=65535, description="WIREGUARD_ENDPOINT_PORT, for `custom` only.")
    public_key: str | None = Field(
        None,
        min_length=44,
        max_length=44,
        description="WIREGUARD_PUBLIC_KEY of the server, for `custom` only.",
    )

    @model_validator(mode="after")
    def _custom_is_whole(self) -> WireGuardVpn:
        given = {
            "endpoint-ip": self.endpoint_ip,
            "endpoint-port": self.endpoint_port,
            "public-key": self.public_key,
        }
        if self.provider == "custom" and (missing := [key for key, value in given.items() if value is None]):
            raise ValueError(f"provider custom also needs {', '.join(missing)}")
        if self.provider != "custom" and (extra := [key for key, value in given.items() if value is not None]):
            raise ValueError(f"{', '.join(extra)}: only for provider custom")
        return self


class OpenVpn(_Section):
    """``type: openvpn``: a commercial provider of gluetun's list, by user name and password."""

    type: Literal["openvpn"]
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9 ]*$", description="gluetun's VPN_SERVICE_PROVIDER.")
    countries: tuple[str, ...] = Field((), description="gluetun's SERVER_COUNTRIES; left out: any.")


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
    to: str = Field(pattern=r"^\S+@\S+$", description="Who gets the alerts.")
    sender: str = Field(pattern=r"^\S+@\S+$", description="The From address.")
    smarthost: str = Field(pattern=r"^\S+:\d+$", description="SMTP server, host:port, with STARTTLS.")
    username: str = Field(description="User name at the SMTP server.")


Receiver = Annotated[NoReceiver | WebhookReceiver | EmailReceiver, Field(discriminator="type")]


class Monitoring(_Section):
    """``nexus:monitoring``: metrics and alerts."""

    retention: str = Field("15d", pattern=r"^\d+[hdwy]$", description="How long Prometheus keeps samples: 15d, 8w.")
    receiver: Receiver = Field(NoReceiver(), description="none, webhook or email.")


class Settings(_Section):
    """The whole of a stack file, without its secrets. Each field is one key: ``nexus:<field>``."""

    docker: DockerHost = Field(DockerHost(), description="The Docker Engine: host, socket-gid.")
    images: Images = Field(Images(), description="Image source: lock or mirror; neither: the pinned registries.")
    apps: Apps = Field(Apps(), description="uid, gid and timezone of the apps.")
    networks: Networks = Field(Networks(), description="pool: the private range of the stack's networks.")
    storage: Storage = Field(Storage(), description="data, min-free-gb.")
    edge: Edge = Field(Edge(), description="domain, bind-address, http-port, https-port.")
    jellyfin: Jellyfin = Field(Jellyfin(), description="gpu, cpus, transcode-mb.")
    vpn: Vpn = Field(description="type: embedded, wireguard or openvpn; the latter two with a provider.")
    monitoring: Monitoring = Field(Monitoring(), description="retention, receiver.")


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """A secret setting: its key in the stack file, and what it is."""

    key: str
    what: str


TLS_CERTIFICATE: Final = SecretKey(key="tls-certificate", what="PEM certificate chain for *.<domain>")
TLS_KEY: Final = SecretKey(key="tls-key", what="PEM private key of that certificate")
WIREGUARD_PRIVATE_KEY: Final = SecretKey(key="wireguard-private-key", what="your WireGuard private key")
WIREGUARD_PRESHARED_KEY: Final = SecretKey(key="wireguard-preshared-key", what="WireGuard preshared key, if any")
OPENVPN_USER: Final = SecretKey(key="openvpn-user", what="OpenVPN user name")
OPENVPN_PASSWORD: Final = SecretKey(key="openvpn-password", what="OpenVPN password")
ALERT_WEBHOOK_URL: Final = SecretKey(key="alert-webhook-url", what="URL that alerts are posted to")
SMTP_PASSWORD: Final = SecretKey(key="smtp-password", what="password at the SMTP server")

SECRET_KEYS: Final = (
    TLS_CERTIFICATE,
    TLS_KEY,
    WIREGUARD_PRIVATE_KEY,
    WIREGUARD_PRESHARED_KEY,
    OPENVPN_USER,
    OPENVPN_PASSWORD,
    ALERT_WEBHOOK_URL,
    SMTP_PASSWORD,
)


def required_secrets(settings: Settings) -> tuple[SecretKey, ...]:
    """The secret settings that this choice of settings cannot do without."""
    keys = [TLS_CERTIFICATE, TLS_KEY]
    match settings.vpn:
        case WireGuardVpn():
            keys.append(WIREGUARD_PRIVATE_KEY)
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
    tree = {key: _object(value) for key, value in values.items()}
    problems: list[str] = []
    settings = None
    try:
        settings = Settings.model_validate(tree, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = [_explain(details) for details in error.errors(include_input=False, include_url=False)]
    # pydantic takes true for 1; no setting is a switch.
    for switch in (f"{PROJECT}:{key}:" for key in _switches(tree)):
        if not any(problem.startswith(switch) for problem in problems):
            problems.append(f"{switch} must not be true or false")
    if settings is None or problems:
        # Outside the handler: the ValidationError knows what was given, and must not travel with ours.
        _refuse(file, problems)
    return settings


def _switches(tree: Any, path: str = "") -> Iterator[str]:
    """The keys whose value is true or false."""
    if isinstance(tree, bool):
        yield path
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _switches(value, f"{path}.{key}" if path else str(key))


def load(stack: str) -> tuple[Settings, Secrets]:
    """The settings of the stack being run, from the engine's configuration.

    Raises SettingsError for unknown keys, wrong types, secrets that are missing or stored in clear, and plain
    settings that were stored as secrets (they would reach state and containers in clear).
    """
    file = f"Pulumi.{stack}.yaml"
    prefix = f"{PROJECT}:"
    config = {key.removeprefix(prefix): value for key, value in _all_config().items() if key.startswith(prefix)}
    encrypted = {key.removeprefix(prefix) for key in _secret_config_keys() if key.startswith(prefix)}
    secret_names = {secret.key for secret in SECRET_KEYS}
    plain = {field.alias or name for name, field in Settings.model_fields.items()}
    if stray := sorted(encrypted & config.keys() & plain):
        _refuse(
            file,
            (
                f"{prefix}{key}: is stored as a secret but is a plain setting; set it again without "
                "--secret (secret settings have keys of their own)"
                for key in stray
            ),
        )
    if clear := sorted((config.keys() & secret_names) - encrypted):
        _refuse(
            file,
            (
                f"{prefix}{key}: is a secret but stored in clear; run `scripts/pulumi config set --secret "
                f"{prefix}{key}` with it, and count the old value as known to others"
                for key in clear
            ),
        )
    settings = parse({key: value for key, value in config.items() if key not in secret_names}, file)
    missing = [secret for secret in required_secrets(settings) if secret.key not in config]
    if missing:
        _refuse(
            file,
            (
                f"{prefix}{secret.key}: missing ({secret.what}); run `scripts/pulumi -s {stack} config set "
                f"--secret {prefix}{secret.key}`"
                for secret in missing
            ),
        )
    return settings, Secrets(stack)


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
            return f"{key}: {details['msg'].removeprefix('Value error, ')}"


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
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _all_config() -> dict[str, Any]:
    # pulumi.Config can read a key but not list them, and an unknown key must be refused: the engine hands all of
    # them over in PULUMI_CONFIG (sdk/python runtime/config.py); set_all_config is what tests use.
    from pulumi.runtime import config as runtime

    return {**json.loads(os.environ.get("PULUMI_CONFIG", "{}")), **runtime.CONFIG.get()}


def _secret_config_keys() -> set[str]:
    from pulumi.runtime import config as runtime

    return set(json.loads(os.environ.get("PULUMI_CONFIG_SECRET_KEYS", "[]"))) | runtime._SECRET_KEYS.get()
