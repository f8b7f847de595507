"""A container that does one thing and ends: the init containers of services, and whatever else runs once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pulumi_docker as docker

from components.names import labels, physical
from components.provider import REPLACING
from components.storage import Mount, VolumeMount, mount_args

if TYPE_CHECKING:
    from components.dockerhost import DockerHost


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
