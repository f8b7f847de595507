"""One long-running container, hardened by default: the only caller of docker.Container.

Safe values come for free: no capabilities, no new privileges, a read-only root, a user that is not root, limits,
log rotation, a health check that is waited for. Each way out is a typed field with a reason (`Privileges`);
privileged mode is not a value that can be written. What does not belong here: anything
that is true of one app only.
"""

from __future__ import annotations

import inspect
import ipaddress
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, TypeAlias, final

import pulumi
import pulumi_docker as docker

from components.errors import PlatformError
from components.names import LABEL_OWN, LABEL_SEED, labels, physical
from components.networks import OwnNetworks
from components.settings.schema import DriGpu, NvidiaGpu
from components.storage import DATA, Mount, VolumeMount, handed_over, mount_args

if TYPE_CHECKING:
    from components.dockerhost import DockerHost

CONFIG: Final = "/run/config"
"""Where a service finds its configuration files, read-only."""

SECRETS: Final = "/run/secrets"
"""Where a service finds its secret files, read-only, mode 0400, owned by its own user."""

PROCESSES: Final = 4096
"""RLIMIT_NPROC of each service. The provider has no pids limit, and the kernel counts this one for each user of
the host, so it is a bound on a runaway and not a share (docs/adr/0006)."""

IMAGE_TIMEOUT: Final = "30m"

MEMORY_AT_LEAST: Final = 6
"""Megabytes: the engine refuses a container with less."""

UPDATED: Final = frozenset(
    {
        # Sent to the engine while the container runs (resource_docker_container_funcs.go, Update).
        "memory",
        "memory_swap",
        "restart",
        # The provider's own, which the engine never has.
        "attach",
        "destroy_grace_seconds",
        "logs",
        "must_run",
        "wait",
        "wait_timeout",
    }
)
"""Inputs of a container that the provider can change where it is."""

REPLACING: Final = tuple(sorted(inspect.signature(docker.ContainerArgs).parameters.keys() - UPDATED))
"""All other inputs. The provider takes some of them (tmpfs, init, the fields of mounts and healthcheck, and whatever
comes with its next version) for updates in place and then never sends them to the engine."""

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
        """Seconds until a container that will never be healthy is given up: not less than Docker itself needs."""
        return self.start_period + (self.retries + 1) * (self.interval + self.timeout) + 30


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
            raise PlatformError("components/service.py: HostNetwork needs its reason")


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


class ImageStore(pulumi.ComponentResource):
    """Pulls each image once, however many services use it. Images stay on the host after `destroy`."""

    def __init__(self, references: Mapping[str, str], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nexus:service:ImageStore", "images", {}, opts)
        self._references = references
        self._pulled: dict[str, docker.RemoteImage] = {}
        self.register_outputs({})

    def id_of(self, key: str) -> pulumi.Output[str]:
        """The image's id: a container made from it is replaced when the pin changes.

        Raises PlatformError for a key that is none of the images.
        """
        if key not in self._references:
            raise PlatformError(f"there is no image {key!r}; add a pin to PINS in components/images.py")
        if key not in self._pulled:
            self._pulled[key] = docker.RemoteImage(
                f"image-{key}",
                name=self._references[key],
                keep_locally=True,
                opts=pulumi.ResourceOptions(
                    parent=self, custom_timeouts=pulumi.CustomTimeouts(create=IMAGE_TIMEOUT, update=IMAGE_TIMEOUT)
                ),
            )
        return self._pulled[key].image_id


@final
class Service(pulumi.ComponentResource):
    """One app as a container, and the init container that fills its volumes before it starts.

    `container` carries the id on which others depend.
    """

    def __init__(
        self, name: str, args: ServiceArgs, host: DockerHost, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("nexus:service:Service", name, {}, opts)
        self.name = name
        self.args = args
        self.host = host
        self.container = self._container(self._init_container())
        self.register_outputs({})

    @property
    def address(self) -> str:
        """The name other services reach it by: its own, or that of the service whose network it shares."""
        return self._met()[0]

    @property
    def networks(self) -> OwnNetworks:
        """The networks on which other services meet it: its own, or those of the service whose network it shares."""
        return self._met()[1]

    def _met(self) -> tuple[str, OwnNetworks]:
        match self.args.network:
            case OwnNetworks() as own:
                return self.name, own
            case SharesNetworkOf(service=target):
                return target._met()
            case HostNetwork():
                raise PlatformError(
                    f"components/service.py: {self.name} is on no network of the stack: nothing reaches it"
                )

    def _init_container(self) -> pulumi.Output[docker.Container] | None:
        """A one-shot container that the provider fills through `uploads`, which a read-only container refuses.
        Then it takes away the files that are no longer declared, and gives the app's volumes to the app's user."""
        args = self.args
        self._delivered: list[VolumeMount] = []
        uploads: list[docker.ContainerUploadArgs] = []
        for use, target, files in (
            ("config", args.files.config_at, args.files.config),
            ("secrets", SECRETS, args.files.secrets),
        ):
            if not files:
                continue
            volume = docker.Volume(
                f"{self.name}-{use}-files",
                name=physical(f"{self.name}-{use}-files"),
                opts=pulumi.ResourceOptions(parent=self),
            )
            self._delivered.append(VolumeMount(volume=volume, target=target))
            uploads += [
                docker.ContainerUploadArgs(
                    file=f"{target}/{path}",
                    content=_not_empty(f"{self.name}: {target}/{path}", content),
                    permissions="0400",
                    owner=str(args.user.uid),
                    group=str(args.user.gid),
                )
                for path, content in sorted(files.items())
            ]
        owned = [mount for mount in args.mounts if isinstance(mount, VolumeMount) and mount.target != DATA]
        if not self._delivered and not owned:
            return None
        return one_shot(
            self.name,
            self.host,
            mounts=[*self._delivered, *owned],
            uploads=uploads,
            script="\n".join(
                [
                    *_tidied([mount.target for mount in self._delivered], [str(upload.file) for upload in uploads]),
                    # A file in it, because the engine gives an empty volume the owner of the image's directory,
                    # each time a container is created on it.
                    *(f"[ -e {mount.target}/.nexus ] || touch {mount.target}/.nexus" for mount in owned),
                    *(handed_over(mount.target, str(args.user)) for mount in owned),
                ]
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _container(self, init: pulumi.Output[docker.Container] | None) -> docker.Container:
        args, host, privileges = self.args, self.host, self.args.access.privileges
        mounts = [
            *args.mounts,
            *(VolumeMount(volume=mount.volume, target=mount.target, read_only=True) for mount in self._delivered),
        ]
        devices = ["/dev/net/tun"] if privileges and privileges.tun else []
        groups = [*args.access.groups]
        if isinstance(args.access.gpu, DriGpu):
            devices.append(str(args.access.gpu.device))
            groups.append(args.access.gpu.render_gid)
        marks: dict[str, pulumi.Input[str]] = dict(labels(self.name, "service"))
        if init is not None:
            # A changed file replaces the init container, and its id here the app, which then reads the new file.
            marks[LABEL_SEED] = init.apply(lambda ended: ended.id)
        # Where one is taken away, the provider keeps the old one for the image's own: this label replaces the app.
        if own := [name for name in ("entrypoint", "command") if getattr(args.process, name)]:
            marks[LABEL_OWN] = " ".join(own)
        network_mode, attachments = self._network()
        env: dict[str, pulumi.Input[str]] = {"TZ": host.timezone, **args.process.env}
        return docker.Container(
            f"{self.name}-container",
            name=physical(self.name),
            # An app that calls itself by its host's name (Jellyfin) keeps it when its container is replaced. Not the
            # bare name, which Docker would resolve on each of the app's networks, with `egress` first, where nobody
            # reaches it; nor one with a dot, which libc takes for a domain to look names up in. Who has no network of
            # its own takes the name of what it is in.
            hostname=f"{pulumi.get_project()}-{self.name}" if attachments else None,
            image=host.images.id_of(args.image),
            user=str(args.user),
            entrypoints=list(args.process.entrypoint) if args.process.entrypoint else None,
            command=list(args.process.command) or None,
            # One Output an element: a secret in one would otherwise mask them all in a diff.
            envs=[pulumi.Output.concat(key, "=", value) for key, value in sorted(env.items())],
            labels=[docker.ContainerLabelArgs(label=key, value=value) for key, value in sorted(marks.items())],
            network_mode=network_mode,
            networks_advanced=attachments,
            ports=[
                docker.ContainerPortArgs(
                    ip=port.address, external=port.external, internal=port.internal, protocol="tcp"
                )
                for port in sorted(args.exposes.ports, key=lambda port: port.internal)
            ]
            or None,
            mounts=[mount_args(mount) for mount in sorted(mounts, key=lambda mount: mount.target)] or None,
            tmpfs=dict(args.tmpfs) or None,
            read_only=not (privileges and privileges.writable_root),
            capabilities=docker.ContainerCapabilitiesArgs(
                drops=["ALL"], adds=list(privileges.capabilities) or None if privileges else None
            ),
            security_opts=["no-new-privileges:true"],
            devices=[
                docker.ContainerDeviceArgs(host_path=path, container_path=path, permissions="rwm") for path in devices
            ]
            or None,
            gpus=args.access.gpu.gpus if isinstance(args.access.gpu, NvidiaGpu) else None,
            group_adds=[str(group) for group in groups] or None,
            sysctls=dict(privileges.sysctls) or None if privileges else None,
            init=args.process.init,
            memory=args.limits.memory,
            memory_swap=args.limits.memory,
            # As the engine hands it back: "1.0" and not "1", which would be a change.
            cpus=str(args.limits.cpus),
            ulimits=[docker.ContainerUlimitArgs(name="nproc", soft=PROCESSES, hard=PROCESSES)],
            log_driver="json-file",
            log_opts={"max-file": "3", "max-size": "10m"},
            restart="unless-stopped",
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=list(args.health.test),
                interval=duration(args.health.interval),
                timeout=duration(args.health.timeout),
                retries=args.health.retries,
                start_period=duration(args.health.start_period),
            ),
            wait=True,
            wait_timeout=args.health.wait_timeout,
            stop_timeout=args.process.stop_grace,
            destroy_grace_seconds=args.process.stop_grace,
            must_run=True,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*args.after, *self._wall()],
                # The name can be taken once only. The provider asks for this where a property changed, but the engine
                # does not ask the provider when it replaces what a failed creation left.
                delete_before_replace=True,
                replace_on_changes=list(REPLACING),
            ),
        )

    def _wall(self) -> list[pulumi.Resource]:
        network = self.args.network
        out = isinstance(network, OwnNetworks) and network.lead_out
        return [self.host.wall] if self.host.wall is not None and out else []

    def _network(
        self,
    ) -> tuple[pulumi.Input[str] | None, list[docker.ContainerNetworksAdvancedArgs] | None]:
        match self.args.network:
            case OwnNetworks() as own:
                return None, self.host.networks.attachments(self.name, own)
            case SharesNetworkOf(service=target):
                # By id: the engine stores the id, and a replaced target must replace its riders.
                return pulumi.Output.concat("container:", target.container.id), None
            case HostNetwork():
                return "host", None


def one_shot(
    name: str,
    host: DockerHost,
    *,
    mounts: list[VolumeMount] | list[Mount],
    uploads: list[docker.ContainerUploadArgs] | None = None,
    script: str,
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[docker.Container]:
    """A container without a network that fills volumes: by `uploads`, then by `script` run as root with just the
    capabilities to make and hand over files. It runs again where any of that, or a mount, has changed.

    The container once it has ended well; a run of the program in which it has not, fails.
    """
    container = docker.Container(
        f"{name}-seed",
        name=physical(f"{name}-seed"),
        image=host.images.id_of("busybox"),
        command=["sh", "-ec", script],
        # No `user`, which is root in this image: with one, the engine gives it every uploaded file.
        labels=[
            docker.ContainerLabelArgs(label=key, value=value) for key, value in sorted(labels(name, "seed").items())
        ],
        network_mode="none",
        mounts=[mount_args(mount) for mount in sorted(mounts, key=lambda mount: mount.target)],
        uploads=uploads or None,
        capabilities=docker.ContainerCapabilitiesArgs(
            drops=["ALL"], adds=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]
        ),
        security_opts=["no-new-privileges:true"],
        init=True,
        memory=64,
        memory_swap=64,
        cpus="0.5",
        log_driver="json-file",
        log_opts={"max-file": "1", "max-size": "1m"},
        restart="no",
        # Waited for until it ends, and what it said is kept.
        attach=True,
        logs=True,
        must_run=False,
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(delete_before_replace=True, replace_on_changes=list(REPLACING))
        ),
    )

    def ended(result: list[object]) -> docker.Container:
        code, logs, called = result
        # Nothing where no engine is behind the program (scripts/declared.py).
        if code:
            said = str(logs or "").strip().splitlines()[-3:]
            raise pulumi.RunError(
                f"{called} ended with status {code}: {' / '.join(said) or 'it said nothing'}\n`docker logs {called}` "
                f"has the rest. Mend the cause, then run `make up`; or `docker rm {called}` and `pulumi up --refresh`"
            )
        return container

    return pulumi.Output.all(container.exit_code, container.container_logs, container.name).apply(ended)


def _not_empty(what: str, content: pulumi.Input[str]) -> pulumi.Input[str]:
    """A file's content. A run of the program fails where it turns out to be empty: the provider's refusal names no
    file."""

    def checked(text: str) -> str:
        if not text:
            raise pulumi.RunError(f"{what} would be empty: set what it is made from, or leave the file out")
        return text

    # What is text already has been looked at (ServiceArgs).
    return content.apply(checked) if isinstance(content, pulumi.Output) else content


def _tidied(directories: list[str], files: list[str]) -> Iterator[str]:
    """Lines of shell that remove whatever is in `directories` and is not one of `files`."""
    if directories:
        where, keep = " ".join(directories), " ".join(f"! -path {shlex.quote(file)}" for file in files)
        yield f"find {where} ! -type d {keep} -print0 | xargs -0r rm -f"
        yield f"find {where} -depth -mindepth 1 -type d -empty -exec rmdir {{}} ';'"


def duration(seconds: int) -> str:
    """Seconds as Go prints a duration (90 is 1m30s): the engine hands health check times back in that form, and
    any other spelling is a diff on every refresh."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"
