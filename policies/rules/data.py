"""Family `data`: what cannot be made again is not lost by a slip, and is written by whom it belongs to.

A volume holds data unless it is on the list of those that can be made again. Checked is `protect`, which keeps a
resource from being deleted; `retainOnDelete` is not shown to a policy, so that is tested in the program
(tests/components). That a volume is the engine's own local one, and none on a network, where SQLite breaks, is
`known-inputs`: it has no input but a name. Not seen from here: whether a path of the host is a network file system.
"""

import posixpath
from collections.abc import Iterator
from typing import Final

from pulumi_policy import EnforcementLevel, Severity

from policies.rules.containers import items, table, text_of
from policies.rules.props import UNKNOWN
from policies.rules.rule import DOCKER, Config, Finding, Resource, Stack, fits, rule, stack_rule, texts_setting

DISPOSABLE: Final = ("*-config-files", "*-secrets-files", "volume-*-cache")
"""Volumes that an init container fills or an app can fill again."""

MEDIA: Final = "volume-data"
"""The volume of media, by its logical name."""

FILLED: Final = ("-config-files", "-secrets-files")
"""How the logical names of the volumes end that a service's init container fills (components/service.py)."""


@rule("protected-data", Severity.CRITICAL, types=(*DOCKER, "random:"))
def _protected(resource: Resource, _config: Config) -> Iterator[Finding]:
    """Volumes with data and generated secrets are protected: no slip of a program can delete them.

    Declare it with `protect`; what can be made again is DISPOSABLE in policies/rules/data.py.
    """
    secret = resource.type.startswith("random:")
    holds = resource.kind == "Volume" and not fits(resource.name, [*DISPOSABLE])
    if (secret or holds) and not resource.protect:
        yield Finding((), "can be deleted or replaced with one command, and what it holds with it")


@stack_rule("declared-volumes", Severity.HIGH)
def _mounted(stack: Stack, _config: Config) -> Iterator[Finding]:
    """Each volume is one that the stack declares, the one for media is mounted as such alone, and the files of a
    service are its own init container's to write.

    Declare a docker.Volume, protected where it holds data, and mount that by its name.
    """
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
            problem, advice = "", ""
            if name is None:
                problem = "is a volume that the stack does not declare, so that nothing protects what is in it"
            elif name == MEDIA and posixpath.normpath(target).split("/")[:2] != ["", "data"]:
                problem = "has the volume for media where an app keeps its own data"
                advice = "Mount it at /data, and give the app a volume of its own"
            elif not _is_own(one.name, name):
                problem = "is a volume of files that are another service's"
                advice = "Take it out; what both need is given to each"
            if problem:
                yield Finding(("mounts", index, "source"), problem, advice, resource=one)


def _is_own(container: str, volume: str) -> bool:
    """Whether a volume is none of files, or of this service, whose init container fills it."""
    owners = [volume.removesuffix(end) for end in FILLED if volume.endswith(end)]
    return all(container in (f"{one}-seed", f"{one}-container") for one in owners)


@stack_rule(
    "backup-set",
    Severity.MEDIUM,
    settings={"backed-up": texts_setting("Volumes that a backup has, as patterns of logical names.")},
    level=EnforcementLevel.ADVISORY,
)
def _backed_up(stack: Stack, config: Config) -> Iterator[Finding]:
    """Everything with state is in a backup set. It warns only, until there are backups.

    Add them to a backup, and to `backed-up` in this rule's settings.
    """
    volumes = sorted(stack.of("Volume"), key=lambda one: one.name)  # the engine's order is another each time
    outside = [one for one in volumes if one.protect and not fits(one.name, config.get("backed-up"))]
    if outside:
        problem = f"is in no backup set, nor are {len(outside) - 1} other volumes with data"
        yield Finding((), problem, resource=outside[0])


RULES: Final = (_protected, _mounted, _backed_up)
