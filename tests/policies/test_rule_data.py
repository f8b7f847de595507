"""Family `data`: protection, file systems, volumes and backups, broken in one way at a time."""

from __future__ import annotations

import dataclasses

import pytest

from policies.config import configure, read
from policies.rules import RULES as ALL
from policies.rules import closed, data
from policies.rules.props import UNKNOWN as PLAIN_UNKNOWN
from policies.rules.rule import Stack
from policies.validation import validate as validate_stack
from tests.policies.harness import VOLUME, Props, places
from tests.policies.platform import changed, declared, validated


def unprotected(name: str) -> Stack:
    """The declared platform with one resource that is not protected."""
    stack = declared("dev")
    assert any(one.name == name for one in stack.resources)
    left = (dataclasses.replace(one, protect=False) if one.name == name else one for one in stack.resources)
    return Stack(name=stack.name, resources=tuple(left))


def told(stack: Stack) -> set[tuple[str, str]]:
    """Rules and resources of what is refused."""
    return {(one.rule, one.resource.name if one.resource else "") for one in validated(stack, data.RULES).violations}


@pytest.mark.parametrize(
    "name",
    sorted(
        one.name for one in declared("dev").resources if one.type.startswith("random:") or one.name == "volume-data"
    ),
)
def test_what_cannot_be_made_again_is_protected(name: str) -> None:
    assert told(unprotected(name)) == {("protected-data", name)}


@pytest.mark.parametrize("name", ["volume-jellyfin-cache", "traefik-config-files", "sonarr-secrets-files"])
def test_what_can_be_made_again_need_not_be(name: str) -> None:
    assert told(unprotected(name)) == set()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"driver": "rclone"}, ["driver"]),
        ({"driverOpts": {"type": "nfs", "o": "addr=192.0.2.1"}}, ["driverOpts"]),
        ({}, []),
    ],
)
def test_a_volume_is_the_engines_own(changes: Props, place: list[str]) -> None:
    found = places({"name": "x", **changes}, VOLUME, name="volume-sonarr-config", rules=closed.RULES)
    assert sorted(found.get("known-inputs", [])) == place


MEDIA, OWN, OTHERS = (
    one.props["name"]
    for name in ("volume-data", "volume-sonarr-config", "radarr-secrets-files")
    for one in declared("dev").of("Volume")
    if one.name == name
)


@pytest.mark.parametrize(
    ("mount", "good"),
    [
        ({"source": OWN}, True),
        ({"source": MEDIA, "target": "/data"}, True),
        ({"source": PLAIN_UNKNOWN}, True),
        ({"source": "somewhere-else"}, False),
        ({}, False),
        ({"source": MEDIA}, False),
        ({"source": MEDIA, "target": "/data/../x"}, False),
        ({"source": OTHERS, "readOnly": True}, False),
    ],
)
def test_what_a_service_mounts(mount: Props, good: bool) -> None:
    mounts = [{"type": "volume", "target": "/config", **mount}]
    found = told(changed(declared("dev"), "sonarr-container", mounts=mounts))
    assert found == (set() if good else {("declared-volumes", "sonarr-container")})


def test_a_volume_that_is_gone_from_the_stack_is_missed() -> None:
    left = tuple(one for one in declared("dev").resources if one.name != "volume-sonarr-config")
    assert ("declared-volumes", "sonarr-container") in told(Stack(name="dev", resources=left))


def test_names_that_are_not_known_yet_are_checked_by_up() -> None:
    assert told(changed(declared("dev"), "volume-sonarr-config", name=PLAIN_UNKNOWN)) == set()


def test_what_no_backup_has_is_a_warning() -> None:
    (warning,) = validate_stack(declared("dev"), ALL, configure(read(), ALL, "dev")).warnings
    assert warning.rule == "backup-set"
    file = read()
    backed_up = file.model_copy(update={"settings": {**file.settings, "backup-set": {"backed-up": ["volume-*"]}}})
    assert validate_stack(declared("dev"), ALL, configure(backed_up, ALL, "dev")).warnings == ()
