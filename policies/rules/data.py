"""Family `data`: what cannot be made again is not lost by a slip, and is written by whom it belongs to.

A volume holds data unless it is on the list of those that can be made again. Checked is `protect`, which keeps a
resource from being deleted; `retainOnDelete` is not shown to a policy, so that is tested in the program
(tests/components). That a volume is the engine's own local one, and none on a network, where SQLite breaks, is
`known-inputs`: it has no input but a name. Not seen from here: whether a path of the host is a network file system.
"""

import posixpath
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from pulumi_policy import EnforcementLevel, Severity

from policies.rules.containers import items, table, text_of, texts
from policies.rules.props import UNKNOWN, Value
from policies.rules.rule import DOCKER, Config, Finding, Resource, Rule, Stack, texts_setting

DISPOSABLE: Final = ("*-config-files", "*-secrets-files", "volume-*-cache")
"""Volumes that an init container fills or an app can fill again."""

FILLED: Final = ("-config-files", "-secrets-files")
"""How the logical names of the volumes end that a service's init container fills (components/service.py)."""


def _matches(name: str, patterns: Value) -> bool:
    return any(fnmatchcase(name, one) for one in texts(patterns))


def _protected(resource: Resource, config: Config) -> Iterator[Finding]:
    secret = resource.type.startswith("random:")
    holds = resource.kind == "Volume" and not _matches(resource.name, config.get("disposable"))
    if (secret or holds) and not resource.protect:
        yield Finding(
            path=(),
            problem="can be deleted or replaced with one command, and what it holds with it",
            advice="Declare it with `protect`; what can be made again is on the list in this rule's settings",
        )


def _mounted(stack: Stack, config: Config) -> Iterator[Finding]:
    """The volumes by name: each is one of the stack's, mounted where and by whom it may be."""
    volumes = stack.of("Volume")
    if any(not isinstance(one.props.get("name"), str) for one in volumes):
        return  # a preview that does not know the names yet
    logical = {str(one.props["name"]): one.name for one in volumes}
    for one in stack.of("Container"):
        for index, mount in enumerate(map(table, items(one.props.get("mounts")))):
            source, target = mount.get("source"), text_of(mount.get("target"))
            if mount.get("type") != "volume" or source is UNKNOWN:
                continue
            name = logical.get(text_of(source))
            problem, advice = "", "Declare a docker.Volume, and mount that by its name"
            if name is None:
                problem = "is a volume that the stack does not declare, so that nothing protects what is in it"
            elif _matches(name, config.get("media")) and posixpath.normpath(target).split("/")[:2] != ["", "data"]:
                problem = "has the volume for media where an app keeps its own data"
                advice = "Mount it at /data, and give the app a volume of its own"
            elif not _is_own(one.name, name):
                problem = "is a volume of files that are another service's"
                advice = "Take it out; what both need is given to each"
            if problem:
                yield Finding(path=("mounts", index, "source"), problem=problem, advice=advice, resource=one)


def _is_own(container: str, volume: str) -> bool:
    """Whether a volume is none of files, or of this service, whose init container fills it."""
    owners = [volume.removesuffix(end) for end in FILLED if volume.endswith(end)]
    return all(container in (f"{one}-seed", f"{one}-container") for one in owners)


def _backed_up(stack: Stack, config: Config) -> Iterator[Finding]:
    volumes = sorted(stack.of("Volume"), key=lambda one: one.name)  # the engine's order is another each time
    outside = [one for one in volumes if one.protect and not _matches(one.name, config.get("backed-up"))]
    if outside:
        yield Finding(
            path=(),
            problem=f"is in no backup set, nor are {len(outside) - 1} other volumes with data",
            advice="Add them to a backup, and to `backed-up` in this rule's settings",
            resource=outside[0],
        )


RULES: Final = (
    Rule(
        name="protected-data",
        description="Volumes with data and generated secrets are protected: no slip of a program can delete them.",
        remediation="Declare the resource with `protect=True`.",
        severity=Severity.CRITICAL,
        validate=_protected,
        types=(*DOCKER, "random:"),
        settings={
            "disposable": texts_setting(
                "Volumes that can be made again, as patterns of logical names.", list(DISPOSABLE)
            )
        },
    ),
    Rule(
        name="declared-volumes",
        description=(
            "Each volume is one that the stack declares, the one for media is mounted as such alone, and the files "
            "of a service are its own init container's to write."
        ),
        remediation="Declare a docker.Volume, protected where it holds data, and mount it by its name.",
        severity=Severity.HIGH,
        validate_stack=_mounted,
        settings={"media": texts_setting("Volumes of media, as patterns of logical names.", ["volume-data"])},
    ),
    Rule(
        name="backup-set",
        description="Everything with state is in a backup set. It warns only, until there are backups.",
        remediation="Add the volume to a backup, and to `backed-up` in this rule's settings.",
        severity=Severity.MEDIUM,
        validate_stack=_backed_up,
        settings={"backed-up": texts_setting("Volumes that a backup has, as patterns of logical names.")},
        level=EnforcementLevel.ADVISORY,
    ),
)
