"""Family `data`: what cannot be made again is not lost by a slip, and lies where a database can live.

A volume holds data unless it is on the list of those that can be made again. Judged is `protect`, which keeps a
resource from being deleted; `retainOnDelete` is not shown to a policy, so that is tested in the program
(tests/components). Not seen from here: whether a path of the host is a network file system.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from pulumi_policy import EnforcementLevel, Severity

from policies.rules.containers import items, known, mounts, specs, table
from policies.rules.paths import NETWORKED, clean
from policies.rules.props import Value
from policies.rules.rule import DOCKER, Config, Finding, Resource, Rule, Stack, texts_setting

DISPOSABLE: Final = ("*-config-files", "*-secrets-files", "volume-*-cache")
"""Volumes that a seed fills or an app can fill again."""


def _matches(name: str, patterns: Value) -> bool:
    return any(isinstance(one, str) and fnmatchcase(name, one) for one in items(patterns))


def _protected(resource: Resource, config: Config) -> Iterator[Finding]:
    secret = resource.type.startswith("random:")
    holds = resource.kind == "Volume" and not _matches(resource.name, config.get("disposable"))
    if (secret or holds) and not resource.protect:
        yield Finding(
            path=(),
            problem="can be deleted or replaced with one command, and what it holds with it",
            remedy="Declare it with `protect`; what can be made again is on the list in this rule's settings",
        )


_REMEDY: Final = "Use a local volume; the media tree alone may lie elsewhere"
_PROBLEM: Final = "is a network file system, on which the databases of apps break"


def _local(resource: Resource, config: Config) -> Iterator[Finding]:
    if resource.kind == "Volume" and not _matches(resource.name, config.get("media")):
        driver = resource.props.get("driver")
        if known(driver) and driver not in (None, "", "local"):
            yield Finding(path=("driver",), problem=_PROBLEM, remedy=_REMEDY)
        options = table(resource.props.get("driverOpts"))
        kind, flags = options.get("type"), options.get("o")
        remote = isinstance(kind, str) and NETWORKED.fullmatch(kind.strip())
        if remote or (isinstance(flags, str) and re.search(r"(?:^|,)\s*(?:addr|username)\s*=", flags)):
            yield Finding(path=("driverOpts",), problem=_PROBLEM, remedy=_REMEDY)


def _declared(resource: Resource, _config: Config) -> Iterator[Finding]:
    """The mounts of one container that make a volume by themselves."""
    for spec in specs(resource):
        for mount in mounts(spec):
            if any(mount.options.get(key) for key in ("driverName", "driverOptions")):
                yield Finding(
                    path=(*mount.path[:-1], "volumeOptions"),
                    problem="makes a volume in a way of its own, which no rule about volumes sees",
                    remedy="Declare a docker.Volume, and mount that by its name",
                )
            elif mount.kind == "volume" and not mount.source.strip() and not mount.unknown:
                yield Finding(
                    path=mount.path,
                    problem="is a volume without a name: what is in it is lost with the container",
                    remedy="Declare a docker.Volume, and mount that by its name",
                )


def _mounted(stack: Stack, config: Config) -> Iterator[Finding]:
    """The volumes by name: each is one of the stack's, and media alone lie on the volume for media."""
    volumes = stack.of("Volume")
    if any(not isinstance(one.props.get("name"), str) for one in volumes):
        return  # a preview that does not know the names yet
    logical = {str(one.props["name"]): one.name for one in volumes}
    for one in stack.of("Container"):
        for mount in (mount for spec in specs(one) for mount in mounts(spec)):
            if mount.kind != "volume" or not mount.source:
                continue
            name = logical.get(mount.source)
            if name is None:
                yield Finding(
                    path=mount.path,
                    problem="is a volume that the stack does not declare, so that nothing protects what is in it",
                    remedy="Declare a docker.Volume, and mount that by its name",
                    resource=one,
                )
            elif _matches(name, config.get("media")) and (clean(mount.target, links=False) or ())[:1] != ("data",):
                yield Finding(
                    path=mount.path,
                    problem="has the volume for media where an app keeps its own data",
                    remedy="Mount it at /data or below, and give the app a volume of its own",
                    resource=one,
                )


def _backed_up(stack: Stack, config: Config) -> Iterator[Finding]:
    volumes = sorted(stack.of("Volume"), key=lambda one: one.name)  # the engine's order is another each time
    outside = [one for one in volumes if one.protect and not _matches(one.name, config.get("backed-up"))]
    if outside:
        yield Finding(
            path=(),
            problem=f"is in no backup set, nor are {len(outside) - 1} other volumes with data",
            remedy="Add them to a backup, and to `backed-up` in this rule's settings",
            resource=outside[0],
        )


RULES: Final = (
    Rule(
        name="protected-data",
        description="Volumes with data and generated secrets are protected: no slip of a program can delete them.",
        remediation="Declare the resource with `protect=True`.",
        severity=Severity.CRITICAL,
        judge=_protected,
        types=(*DOCKER, "random:"),
        settings={
            "disposable": texts_setting(
                "Volumes that can be made again, as patterns of logical names.", list(DISPOSABLE)
            )
        },
    ),
    Rule(
        name="local-databases",
        description="What apps keep in databases lies on a local file system: SQLite breaks on a network's.",
        remediation="Use a local volume. The media tree alone may be of another kind.",
        severity=Severity.HIGH,
        judge=_local,
        settings={"media": texts_setting("Volumes of media, as patterns of logical names.", ["volume-data"])},
    ),
    Rule(
        name="named-volumes",
        description="What a container mounts is a declared volume or a host path: no volume is made by a mount.",
        remediation="Declare a docker.Volume, protected where it holds data, and mount it by its name.",
        severity=Severity.HIGH,
        judge=_declared,
    ),
    Rule(
        name="declared-volumes",
        description="Each volume is one that the stack declares, and the one for media is mounted as such alone.",
        remediation="Declare a docker.Volume, protected where it holds data, and mount it by its name.",
        severity=Severity.HIGH,
        judge_stack=_mounted,
        settings={"media": texts_setting("Volumes of media, as patterns of logical names.", ["volume-data"])},
    ),
    Rule(
        name="backup-set",
        description="Everything with state is in a backup set. It warns only, until there are backups.",
        remediation="Add the volume to a backup, and to `backed-up` in this rule's settings.",
        severity=Severity.MEDIUM,
        judge_stack=_backed_up,
        settings={"backed-up": texts_setting("Volumes that a backup has, as patterns of logical names.")},
        level=EnforcementLevel.ADVISORY,
    ),
)
