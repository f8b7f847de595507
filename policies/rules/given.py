"""Which files a container has, by their paths in it: an upload of its own, or one into a volume that it mounts there.

What is in the image or on the host, and what an app writes, is not seen. No rule belongs here.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policies.rules.configuration import File, UnreadableError, files, member, texts
from policies.rules.containers import mounts, specs, text_of
from policies.rules.props import UNKNOWN, Value, walk
from policies.rules.rule import Resource, Stack
from policies.rules.runners import Runner, runners


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file with settings, and the resource that carries it."""

    resource: Resource
    file: File
    data: Value


@dataclass(frozen=True, kw_only=True)
class _Mount:
    target: str
    volume: str
    """Empty where it is none of the stack's volumes."""
    below: str
    """The directory of the volume that is mounted, where that is not all of it."""


def clean(path: str) -> str:
    """A path without its detours; empty for none."""
    return posixpath.normpath(path.strip()) if path.strip() else ""


def _within(path: str, directory: str) -> str | None:
    """The rest of a path below a directory; None where it is not below it."""
    start = directory.rstrip("/") + "/"
    return path[len(start) :] if path.startswith(start) else None


def _mounts(resource: Resource) -> tuple[tuple[_Mount, ...], bool]:
    """What a resource mounts, and whether all of it is known."""
    return resource.once(_mounted), all(resource.once(_knows_mounts))


def _knows_mounts(resource: Resource) -> Iterator[bool]:
    for spec in specs(resource):
        for key in ("mounts", "volumes"):
            yield not any(one.value is UNKNOWN for one in walk({key: spec.props.get(key)}))


def _mounted(resource: Resource) -> Iterator[_Mount]:
    for spec in specs(resource):
        for one in mounts(spec):
            below = text_of(member(dict(one.options), "subpath"))
            volume = one.source if one.kind != "bind" else ""
            yield _Mount(target=clean(one.target), volume=volume, below=clean(f"/{below}"))


def _mount_of(path: str, mounted: Iterable[_Mount]) -> _Mount | None:
    """The mount that a path lies in: the innermost one."""
    around = [one for one in mounted if one.target and (path == one.target or _within(path, one.target) is not None)]
    return max(around, key=lambda one: len(one.target), default=None)


class Given:
    """The files that the stack gives one of its containers, by their paths in it.

    `whole` is False where some are not known.
    """

    def __init__(self, stack: Stack, owner: Resource) -> None:
        self.mounts, self.whole = _mounts(owner)
        self.at: dict[str, list[tuple[Resource, File]]] = {}
        volumes = {one.volume for one in self.mounts if one.volume}
        for carrier in stack.of("Container"):
            mounted, known = _mounts(carrier)
            own = carrier is owner
            if not own and not any(one.volume in volumes for one in mounted) and known:
                continue
            if member(carrier.props, "uploads") is UNKNOWN:
                self.whole = False
            for file in files(carrier):
                if file.name is UNKNOWN:
                    self.whole = False
                for path in (clean(text_of(file.name)),) if own else self._seen(clean(text_of(file.name)), mounted):
                    self.at.setdefault(path, []).append((carrier, file))

    def _seen(self, path: str, mounted: Iterable[_Mount]) -> Iterator[str]:
        """Where the owner sees what a carrier writes to a path."""
        of_carrier = _mount_of(path, mounted)
        if of_carrier is None or not of_carrier.volume:
            return
        place = posixpath.join(of_carrier.below, path[len(of_carrier.target) :].lstrip("/"))
        for one in self.mounts:
            rest = _within(place, one.below)
            if one.volume == of_carrier.volume and rest is not None:
                seen = posixpath.join(one.target, rest)
                if _mount_of(seen, self.mounts) is one:
                    yield seen

    def read(self, path: str) -> Iterator[Document]:
        """What can be read at a path. The data of what only an update will know is UNKNOWN."""
        for resource, file in self.at.get(path, ()):
            try:
                data = file.document()
            except UnreadableError:
                continue  # that is a finding of its own
            yield Document(resource=resource, file=file, data=data)

    def documents(self) -> Iterator[Document]:
        """Every document of settings that can be read."""
        return (one for path in self.at for one in self.read(path) if isinstance(one.data, dict))

    def below(self, directory: str) -> list[str] | None:
        """The paths of settings below a directory; None where other files may be there than the stack's."""
        filled = [path for path in self.at if _within(path, directory) is not None]
        outer = _mount_of(directory, self.mounts)
        inner = [one for one in self.mounts if _within(one.target, directory) is not None]
        for mount in (*([outer] if outer else []), *inner):
            if not mount.volume or not any(_mount_of(path, self.mounts) is mount for path in self.at):
                return None
        return [path for path in filled if any(file.structured for _, file in self.at[path])]


def givens(stack: Stack) -> tuple[tuple[Runner, Given], ...]:
    """The files of everything that keeps running."""
    return stack.once(_givens)


def _givens(stack: Stack) -> Iterator[tuple[Runner, Given]]:
    return ((one, Given(stack, one.resource)) for one in runners(stack))


def started_with(resource: Resource) -> tuple[list[str], bool]:
    """The words that a container is started with, as far as they are known, and whether all are.

    Entry point and arguments that are left to the image are not known in the preview of a new container.
    """
    found: list[str] = []
    whole = True
    for spec in specs(resource):
        for key in ("commands", "args") if spec.swarm else ("entrypoints", "command"):
            value = spec.props.get(key)
            whole = whole and value is not UNKNOWN and not (isinstance(value, list) and UNKNOWN in value)
            found += texts(value)
    return found, whole
