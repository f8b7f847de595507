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

from policies.rules.containers import items, known, specs, table
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


_NETWORKED: Final = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|sshfs|fuse\.\S+|ceph|glusterfs|9p|davfs\d?|rclone", re.I)
_REMEDY: Final = "Use a local volume; the media tree alone may lie elsewhere"
_PROBLEM: Final = "is a network file system, on which the databases of apps break"


def _local(resource: Resource, config: Config) -> Iterator[Finding]:
    if resource.kind == "Volume" and not _matches(resource.name, config.get("media")):
        driver = resource.props.get("driver")
        if known(driver) and driver not in (None, "", "local"):
            yield Finding(path=("driver",), problem=_PROBLEM, remedy=_REMEDY)
        options = table(resource.props.get("driverOpts"))
        kind, flags = options.get("type"), options.get("o")
        remote = isinstance(kind, str) and _NETWORKED.fullmatch(kind.strip())
        if remote or (isinstance(flags, str) and re.search(r"(?:^|,)\s*(?:addr|username)\s*=", flags)):
            yield Finding(path=("driverOpts",), problem=_PROBLEM, remedy=_REMEDY)
    for spec in specs(resource):
        for index, item in enumerate(items(spec.props.get("mounts"))):
            mount = table(item)
            driver = table(mount.get("volumeOptions")).get("driverName")
            if isinstance(driver, str) and driver not in ("", "local") and mount.get("target") != "/data":
                yield Finding(
                    path=(*spec.path, "mounts", index, "volumeOptions", "driverName"),
                    problem=_PROBLEM,
                    remedy=_REMEDY,
                )


def _backed_up(stack: Stack, config: Config) -> Iterator[Finding]:
    outside = [one for one in stack.of("Volume") if one.protect and not _matches(one.name, config.get("backed-up"))]
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
        name="backup-set",
        description="Everything with state is in a backup set. It warns only, until there are backups.",
        remediation="Add the volume to a backup, and to `backed-up` in this rule's settings.",
        severity=Severity.MEDIUM,
        judge_stack=_backed_up,
        settings={"backed-up": texts_setting("Volumes that a backup has, as patterns of logical names.")},
        level=EnforcementLevel.ADVISORY,
    ),
)
