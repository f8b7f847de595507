"""One long-running container, hardened by default, and the init container that fills its volumes.

No capabilities, no new privileges, a read-only root, a user that is not root, limits, log rotation, a health check
that is waited for: a service has them without asking, and gives one up by an argument with a reason (arguments.py).
What does not belong here: anything that is true of one app only.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, final

import pulumi
import pulumi_docker as docker

from components.arguments import SECRETS, HostNetwork, ServiceArgs, SharesNetworkOf
from components.errors import PlatformError
from components.job import one_shot
from components.names import LABEL_OWN, LABEL_SEED, labels, physical
from components.networks import OwnNetworks
from components.provider import REPLACING, duration
from components.settings.schema import DriGpu, NvidiaGpu
from components.storage import DATA, VolumeMount, handed_over, mount_args

if TYPE_CHECKING:
    from components.dockerhost import DockerHost

START_INTERVAL: Final = 2
"""Seconds between the health checks of a container that starts, on an engine that has such an interval. Others first
look after the ordinary one."""
PROCESSES: Final = 4096
"""RLIMIT_NPROC of each service. The provider has no pids limit, and the kernel counts this one for each user of
the host, so it is a bound on a runaway and not a share (docs/adr/0006)."""

IMAGE_TIMEOUT: Final = "2h"
"""For one image. They are pulled at once, and share a line that may take an hour and more for all of them."""


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
                start_interval=duration(START_INTERVAL) if self.host.engine.checks_start_sooner else None,
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
