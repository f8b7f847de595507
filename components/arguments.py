"""What a service is told: its arguments, each checked where it is written.

Safe values come for free; each way out is a typed field with a reason (`Privileges`), and privileged mode is not a
value that can be written. What does not belong here: what is made of it (service.py), and anything that is true of
one app only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, TypeAlias

import pulumi

from components.errors import PlatformError
from components.networks import OwnNetworks
from components.settings.schema import DriGpu, NvidiaGpu
from components.storage import Mount

if TYPE_CHECKING:
    from components.service import Service

CONFIG: Final = "/run/config"
"""Where a service finds its configuration files, read-only."""

SECRETS: Final = "/run/secrets"
"""Where a service finds its secret files, read-only, mode 0400, owned by its own user."""

MEMORY_AT_LEAST: Final = 6
"""Megabytes: the engine refuses a container with less."""

_CAPABILITY: Final = re.compile(r"CAP_[A-Z_]+")
_FILE: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _refuse(what: str, problems: Iterator[str]) -> None:
    """Raises PlatformError with every problem."""
    if found := "; ".join(problems):
        raise PlatformError(f"{what}: {found}")


def _twice(values: list[str]) -> list[str]:
    return sorted({value for value in values if values.count(value) > 1})


def _port_problem(name: str, port: int) -> Iterator[str]:
    if not 1 <= port <= 65535:
        yield f"{name} is {port}, a port is 1 to 65535"


def _absolute(path: str) -> bool:
    return path.startswith("/") and path == str(PurePosixPath(path)) and ".." not in PurePosixPath(path).parts


@dataclass(frozen=True, kw_only=True)
class User:
    """Numeric user and group of a container's processes."""

    uid: int
    gid: int

    def __post_init__(self) -> None:
        if self.uid < 0 or self.gid < 0:
            raise PlatformError(f"User({self}): a user and a group are 0 or more")

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


ROOT: Final = User(uid=0, gid=0)
NOBODY: Final = User(uid=65534, gid=65534)


@dataclass(frozen=True, kw_only=True)
class Privileges:
    """What a service needs beyond the default, and why. Each is an exception that a reviewer should see.

    Raises PlatformError for one that says no reason, or needs nothing.
    """

    why: str
    capabilities: tuple[str, ...] = ()
    """With the prefix CAP_: the provider reads them back so, and any other spelling is a diff on every refresh."""
    writable_root: bool = False
    tun: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse("Privileges", self._problems())

    def _problems(self) -> Iterator[str]:
        if not self.why.strip():
            yield "why is empty; write what the service does with them"
        if not (self.capabilities or self.writable_root or self.tun or self.sysctls):
            yield "nothing is asked for; leave them out"
        if wrong := [name for name in self.capabilities if not _CAPABILITY.fullmatch(name)]:
            yield f"capabilities has {', '.join(wrong)}; write names as CAP_NET_ADMIN is written"
        if twice := _twice([*self.capabilities]):
            yield f"capabilities has {', '.join(twice)} twice"


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """As Docker's HEALTHCHECK; times in seconds. `test` fails when the app is broken, not only when it is gone.

    Raises PlatformError for a check that Docker would not run, or not as it is written.
    """

    test: tuple[str, ...]
    interval: int = 10
    timeout: int = 5
    retries: int = 3
    start_period: int = 30

    def __post_init__(self) -> None:
        _refuse("HealthCheck", self._problems())

    def _problems(self) -> Iterator[str]:
        if self.test[:1] not in (("CMD",), ("CMD-SHELL",)) or not all(self.test[1:]) or len(self.test) < 2:
            yield 'test must be ("CMD", program, …) or ("CMD-SHELL", script)'
        elif self.test[0] == "CMD-SHELL" and len(self.test) > 2:
            yield "test has words behind the script, which Docker does not read"
        for name in ("interval", "timeout", "retries"):
            if getattr(self, name) < 1:
                yield f"{name} is {getattr(self, name)}, and Docker takes less than 1 for its own default"
        if self.start_period < 0:
            yield f"start_period is {self.start_period}, it must be 0 or more"

    @property
    def wait_timeout(self) -> int:
        """Seconds until a container that will never be healthy is given up: not less than Docker itself needs, and
        more than a small host that starts all of them at once."""
        return self.start_period + (self.retries + 1) * (self.interval + self.timeout) + 90


@dataclass(frozen=True, kw_only=True)
class EdgeSignIn:
    """The edge asks for a name and password before anything reaches the app."""


@dataclass(frozen=True, kw_only=True)
class OwnSignIn:
    """The app asks for a name and password itself; the edge lets everybody through to it."""


SignIn: TypeAlias = EdgeSignIn | OwnSignIn
"""Who asks a visitor for a name and password. Every page has one of these: there is none without."""


@dataclass(frozen=True, kw_only=True)
class Web:
    """A web page that the edge serves at <host>.<domain>."""

    host: str
    port: int
    sign_in: SignIn
    hidden_paths: tuple[str, ...] = ()
    """Paths that the edge refuses with all below them, in any case, since the app serves them to anyone."""
    prefixes: tuple[str, ...] = ()
    """Paths below which the app serves everything once more."""

    def __post_init__(self) -> None:
        _refuse("Web", self._problems())

    def _problems(self) -> Iterator[str]:
        if not _HOST.fullmatch(self.host):
            yield f"host is {self.host!r}, it must be one label of a host name in lower case"
        yield from _port_problem("port", self.port)
        if wrong := [path for path in self.hidden_paths if not _absolute(path)]:
            yield f"hidden_paths has {', '.join(map(repr, wrong))}; paths begin with / and do not end with it"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """A Prometheus endpoint on one of the service's monitoring addresses."""

    port: int
    path: str = "/metrics"
    of_containers: bool = False
    """Whether it measures containers, which it may know by their ids alone: the collector then names them."""

    def __post_init__(self) -> None:
        _refuse("Metrics", _address_problems(self.port, self.path))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """An HTTP address that the blackbox exporter asks, for an app without metrics of its own."""

    port: int
    path: str

    def __post_init__(self) -> None:
        _refuse("Probe", _address_problems(self.port, self.path))


def _address_problems(port: int, path: str) -> Iterator[str]:
    yield from _port_problem("port", port)
    if not path.startswith("/"):
        yield f"path is {path!r}, it must begin with /"


@dataclass(frozen=True, kw_only=True)
class Port:
    """A published port: host address and port, and the container's."""

    address: str
    external: int
    internal: int

    def __post_init__(self) -> None:
        _refuse("Port", self._problems())

    def _problems(self) -> Iterator[str]:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            yield f"address is {self.address!r}, it must be an IP address of the host"
        yield from _port_problem("external", self.external)
        yield from _port_problem("internal", self.internal)


@dataclass(frozen=True, kw_only=True)
class SharesNetworkOf:
    """The service has no network but the namespace of another one: it can reach what that one lets it reach."""

    service: Service


@dataclass(frozen=True, kw_only=True)
class HostNetwork:
    """The service is in the network namespace of the Docker host itself, for this reason."""

    why: str

    def __post_init__(self) -> None:
        if not self.why.strip():
            raise PlatformError("components/arguments.py: HostNetwork needs its reason")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The share of the host that a service may take: megabytes, to which swap is never added, and processors."""

    memory: int
    cpus: float

    def __post_init__(self) -> None:
        _refuse("Limits", self._problems())

    def _problems(self) -> Iterator[str]:
        if self.memory < MEMORY_AT_LEAST:
            yield f"memory is {self.memory}, the engine wants {MEMORY_AT_LEAST} megabytes or more"
        if not self.cpus > 0:
            yield f"cpus is {self.cpus}, it must be more than 0"


@dataclass(frozen=True, kw_only=True)
class Process:
    """What runs, and how it is stopped."""

    entrypoint: tuple[str, ...] | None = None
    """None: the image's own."""
    command: tuple[str, ...] = ()
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    stop_grace: int = 15
    """Seconds between SIGTERM and SIGKILL. The provider's default is none at all, which corrupts SQLite."""
    init: bool = True
    """Docker's init as process 1; False where the image brings its own."""

    def __post_init__(self) -> None:
        _refuse("Process", self._problems())

    def _problems(self) -> Iterator[str]:
        if self.stop_grace < 1:
            yield f"stop_grace is {self.stop_grace}, it must be 1 second or more"
        if self.entrypoint is not None and not (self.entrypoint and all(self.entrypoint)):
            yield "entrypoint has no word, or an empty one; leave it out for the image's own"
        if not all(self.command):
            yield "command has an empty word, which the provider refuses"
        if wrong := [name for name in self.env if not name or "=" in name]:
            yield f"env has the names {', '.join(map(repr, wrong))}"


@dataclass(frozen=True, kw_only=True)
class Files:
    """What the init container delivers before the service starts."""

    config: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Files under `config_at`, by relative path. Never a secret."""
    config_at: str = CONFIG
    """Another directory, for an image that looks for its files at a fixed place."""
    secrets: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)
    """Files under /run/secrets, by name, without a trailing newline."""

    def __post_init__(self) -> None:
        _refuse("Files", self._problems())

    def _problems(self) -> Iterator[str]:
        for kind, files in (("config", self.config), ("secrets", self.secrets)):
            for path, content in files.items():
                if not _FILE.fullmatch(path):
                    yield f"{kind} has the file {path!r}; write a relative path of letters, digits, dots and dashes"
                if content == "":
                    yield f"{kind} has the empty file {path!r}, which the provider refuses; leave it out"

    @property
    def targets(self) -> tuple[str, ...]:
        """The directories at which they are mounted."""
        return (*((self.config_at,) if self.config else ()), *((SECRETS,) if self.secrets else ()))


@dataclass(frozen=True, kw_only=True)
class Access:
    """What of the host a service may use beyond what each may."""

    privileges: Privileges | None = None
    gpu: DriGpu | NvidiaGpu | None = None
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _refuse("Access", self._problems())

    def _problems(self) -> Iterator[str]:
        if any(group < 0 for group in self.groups):
            yield f"groups has {min(self.groups)}, a group is 0 or more"


@dataclass(frozen=True, kw_only=True)
class Exposes:
    """What others find at a service: people, Prometheus, and whoever reaches the host."""

    web: Web | None = None
    metrics: Metrics | None = None
    probe: Probe | None = None
    ports: tuple[Port, ...] = ()

    def __post_init__(self) -> None:
        _refuse("Exposes", self._problems())

    def _problems(self) -> Iterator[str]:
        if ports := _twice([f"{port.address}:{port.external}" for port in self.ports]):
            yield f"ports has {', '.join(ports)} twice"


@dataclass(frozen=True, kw_only=True)
class ServiceArgs:
    """One service. `image` is a key of components/images.py.

    It and its parts raise PlatformError for what the engine would refuse, or take for something else than is written.
    """

    image: str
    user: User
    limits: Limits
    health: HealthCheck
    network: OwnNetworks | SharesNetworkOf | HostNetwork
    process: Process = field(default_factory=Process)
    files: Files = field(default_factory=Files)
    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=lambda: {"/tmp": "size=64m,mode=1777"})  # noqa: S108
    access: Access = field(default_factory=Access)
    exposes: Exposes = field(default_factory=Exposes)
    after: tuple[pulumi.Input[pulumi.Resource], ...] = ()
    """What must be there first without being mounted, called or shared."""

    def __post_init__(self) -> None:
        _refuse(f"ServiceArgs(image={self.image!r})", self._problems())

    def _problems(self) -> Iterator[str]:
        targets = [*(mount.target for mount in self.mounts), *self.tmpfs, *self.files.targets]
        if wrong := [target for target in targets if not _absolute(target) or target == "/"]:
            yield f"{', '.join(map(repr, wrong))} cannot be mounted at: write an absolute path without a / at its end"
        if twice := _twice(targets):
            yield f"two mounts at {', '.join(twice)}"
        if self.exposes.ports and not isinstance(self.network, OwnNetworks):
            yield "ports can be published by a service with networks of its own alone"
