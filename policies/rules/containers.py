"""What the rules about containers have in common: one-shots, both forms of a container, and what it mounts.

No rule belongs here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from policies.rules.props import UNKNOWN, Path, Value, canonical
from policies.rules.rule import Resource

_SWARM: Final = ("taskSpec", "containerSpec")


def one_shot(props: Mapping[str, Value]) -> bool:
    """Whether a container fills volumes and ends: without a network, never restarted, not expected to run."""
    return props.get("networkMode") == "none" and props.get("restart") == "no" and props.get("mustRun") is False


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A container as a resource declares it: `docker.Container` itself, or the specification in a Swarm service.

    `path` leads to `props`; `swarm` says which of both it is.
    """

    path: Path
    props: Mapping[str, Value]
    swarm: bool

    @property
    def short(self) -> bool:
        """Whether it is a one-shot."""
        return not self.swarm and one_shot(self.props)


def specs(resource: Resource) -> Iterator[Spec]:
    """The container that a resource declares, if it declares one."""
    if resource.kind == "Container":
        yield Spec(path=(), props=resource.props, swarm=False)
    elif resource.kind == "Service":
        inner = table(table(resource.props.get(_SWARM[0])).get(_SWARM[1]))
        if inner:
            yield Spec(path=_SWARM, props=inner, swarm=True)


def table(value: Value) -> Mapping[str, Value]:
    """An object, also where it is the one item of a list (the provider's older form); empty for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else {}


def text_of(value: Value) -> str:
    """A text; empty for anything else."""
    return value if isinstance(value, str) else ""


def items(value: Value) -> list[Value]:
    """A list; a single object or text counts as a list of one, anything else as none."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict | str) and value != {} else []


def on(value: Value) -> bool:
    """Whether a switch is on, in any spelling. An unknown one is not, as yet."""
    if isinstance(value, str):
        return value.strip().casefold() in {"true", "1", "yes", "on", "t", "y"}
    return value is True or (isinstance(value, int | float) and not isinstance(value, bool) and value != 0)


def number(value: Value) -> float | None:
    """A number, also where it is written as text; None for anything else, and for what is unknown."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.strip())
        except ValueError:
            return None
    return None


def known(value: Value) -> bool:
    """Whether a value is there to be judged: an unknown one is skipped in a preview and judged by `up`."""
    return value is not UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """One mount, in whichever form it was declared. `source` is a host path, a volume's name, or empty.

    `options` are those of a volume that the mount itself makes; `unknown`: the source is known only at an update.
    """

    path: Path
    source: str
    target: str
    kind: str
    propagation: str
    read_only: Value = None
    options: Mapping[str, Value] = field(default_factory=dict)
    unknown: bool = False


def mounts(spec: Spec) -> Iterator[Mounted]:
    """What a container mounts: `mounts` of both forms, and `volumes` as objects or as `source:target`."""
    for index, item in enumerate(items(spec.props.get("mounts"))):
        entry = table(item)
        yield Mounted(
            path=(*spec.path, "mounts", index, "source"),
            source=text_of(entry.get("source")),
            target=text_of(entry.get("target")),
            kind=text_of(entry.get("type")).strip().casefold(),
            propagation=text_of(table(entry.get("bindOptions")).get("propagation")).strip().casefold(),
            read_only=UNKNOWN if item is UNKNOWN else entry.get("readOnly"),
            options=table(entry.get("volumeOptions")),
            unknown=UNKNOWN in (item, entry.get("source"), entry.get("type")),
        )
    for index, item in enumerate(items(spec.props.get("volumes"))):
        if isinstance(item, str):
            source, _, rest = item.partition(":")
            target, _, flags = rest.partition(":")
            found = [flag for flag in flags.casefold().split(",") if canonical(flag) in _PROPAGATIONS]
            yield Mounted(
                path=(*spec.path, "volumes", index),
                source=source,
                target=target,
                kind="bind" if source.startswith(("/", "~", ".")) else "volume",
                propagation=found[0] if found else "",
                read_only="ro" in flags.casefold().split(","),
            )
            continue
        entry = table(item)
        key = "hostPath" if entry.get("hostPath") else "volumeName"
        source = text_of(entry.get(key))
        yield Mounted(
            path=(*spec.path, "volumes", index, key),
            source=source,
            target=text_of(entry.get("containerPath")),
            kind="bind" if key == "hostPath" or source.startswith("/") else "volume",
            propagation="",
            read_only=UNKNOWN if item is UNKNOWN else entry.get("readOnly"),
            unknown=UNKNOWN in (item, entry.get("hostPath"), entry.get("volumeName"), entry.get("fromContainer")),
        )


_PROPAGATIONS: Final = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})
