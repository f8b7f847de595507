"""Where data lives: one /data tree for media and downloads, and a volume for each app's own data.

Volumes are made here and not under the app that uses them, because `protect` is inherited: an app must stay
replaceable while its data must not be deleted by anything but a person.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import pulumi
import pulumi_docker as docker

from components.names import physical
from components.settings.schema import Storage as StorageSettings

DATA: Final = "/data"
"""Where every app sees the tree. One mount, one file system: a finished download is hardlinked into the library."""

TREE: Final = ("media/movies", "media/tv", "media/music", "torrents")
"""The directories of a new tree (TRaSH guides' layout)."""


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """A named volume at `target`."""

    volume: docker.Volume
    target: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class BindMount:
    """A path of the Docker host at `target`. Read-only unless it is the data tree."""

    source: str
    target: str
    read_only: bool = True


Mount = VolumeMount | BindMount


def mount_args(mount: Mount) -> docker.ContainerMountArgs:
    """The provider's form. `mounts` and not `volumes`: a missing host path is an error instead of an empty
    directory owned by root, and a refresh reads them back."""
    match mount:
        case VolumeMount():
            return docker.ContainerMountArgs(
                type="volume", source=mount.volume.name, target=mount.target, read_only=mount.read_only
            )
        case BindMount():
            return docker.ContainerMountArgs(
                type="bind", source=mount.source, target=mount.target, read_only=mount.read_only
            )


def handed_over(directory: str, owner: str) -> str:
    """A line of shell that gives a volume to `owner` (uid:gid) with all that is in it, where its top directory or
    something next to that is another's: nothing is walked that is right. The top comes last, so that what was
    interrupted is taken up again."""
    uid, gid = owner.split(":")
    other = f"'(' ! -user {uid} -o ! -group {gid} ')'"
    give = f"find {directory} -mindepth 1 {other} -print0 | xargs -0r chown -h {owner} && chown {owner} {directory}"
    return f'[ -z "$(find {directory} -maxdepth 1 {other})" ] || {{ {give}; }}'


class Storage(pulumi.ComponentResource):
    """The data tree and the apps' volumes. What is kept is protected and stays on the host after `destroy`."""

    def __init__(self, settings: StorageSettings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nexus:storage:Storage", "storage", {}, opts)
        self.path: PurePosixPath | None = settings.data
        self._tree = None if self.path else self._volume("data", keep=True)
        self.register_outputs({})

    def data(self, *, read_only: bool = False) -> Mount:
        """The tree, for an app."""
        if self._tree is not None:
            return VolumeMount(volume=self._tree, target=DATA, read_only=read_only)
        return BindMount(source=str(self.path), target=DATA, read_only=read_only)

    def prepared(self, owner: str) -> str:
        """A shell script that makes the tree and gives it to `owner` (uid:gid). What is right is left alone, since
        a share may refuse root even that. A path of the host that is neither theirs nor root's may have other users:
        it is refused, and the message says what to do."""
        if self.path is None:
            given = handed_over(DATA, owner)
        else:
            given = f"""case $(stat -c %u:%g {DATA}) in
{owner}) ;;
0:*) find {DATA} -mindepth 1 -user 0 -print0 | xargs -0r chown -h {owner} && chown {owner} {DATA} ;;
*) echo {shlex.quote(str(self.path))} "belongs to $(stat -c %u:%g {DATA}) and the apps run as {owner}:" \\
"set nexus:apps.uid and nexus:apps.gid to those, or hand it over with chown -R {owner}" >&2; exit 1 ;;
esac"""
        paths = {str(part) for path in TREE for part in (PurePosixPath(path), *PurePosixPath(path).parents[:-1])}
        return f"""{given}
cd {DATA}
for folder in {" ".join(sorted(paths))}; do
[ -d $folder ] || mkdir $folder
[ "$(stat -c %u:%g $folder)" = {owner} ] || chown {owner} $folder
done"""

    def volume(self, service: str, use: str, target: str, *, keep: bool = True) -> VolumeMount:
        """A volume of one app, such as sonarr's config. `keep`: protected, and retained when it is removed from
        the program; what can be made again (caches) is not kept."""
        return VolumeMount(volume=self._volume(f"{service}-{use}", keep=keep), target=target)

    def where(self) -> str:
        """For people: where the data lies."""
        tree = str(self.path) if self.path else f"Docker volume {physical('data')}"
        return f"media and downloads: {tree}; the apps' own data: Docker volumes {physical('<app>-…')}"

    def _volume(self, name: str, *, keep: bool) -> docker.Volume:
        return docker.Volume(
            f"volume-{name}",
            # No labels: editing one replaces the volume, and with it the data (terraform-provider-docker,
            # resource_docker_volume.go).
            name=physical(name),
            opts=pulumi.ResourceOptions(parent=self, protect=keep, retain_on_delete=keep),
        )
