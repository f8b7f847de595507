"""Family `data`: protection, file systems and backups, broken in one way at a time; and what must pass."""

from __future__ import annotations

import dataclasses
from typing import Final

import pytest

from policies.config import configure, read
from policies.judge import judge as judge_stack
from policies.rules import RULES as ALL
from policies.rules import data
from policies.rules.props import UNKNOWN as PLAIN_UNKNOWN
from policies.rules.rule import Stack
from tests.components.stacks import CHOICES
from tests.policies.harness import CONTAINER, UNKNOWN, VOLUME, Json, Props, container, judge, rules_of, volume
from tests.policies.platform import changed, declared, judged

RULES: Final = frozenset(rule.name for rule in data.RULES)


def unprotected(name: str) -> Stack:
    """The declared platform with one resource that is not protected."""
    stack = declared("dev")
    assert any(one.name == name for one in stack.resources)
    left = (dataclasses.replace(one, protect=False) if one.name == name else one for one in stack.resources)
    return Stack(name=stack.name, resources=tuple(left))


@pytest.mark.parametrize(
    "name",
    sorted(
        one.name for one in declared("dev").resources if one.type.startswith("random:") or one.name == "volume-data"
    ),
)
def test_what_cannot_be_made_again_is_protected(name: str) -> None:
    assert [one.rule for one in judged(unprotected(name), data.RULES).violations] == ["protected-data"]


@pytest.mark.parametrize("name", ["volume-jellyfin-cache", "traefik-config-files", "sonarr-secrets-files"])
def test_what_can_be_made_again_need_not_be(name: str) -> None:
    assert judged(unprotected(name), data.RULES).violations == ()


@pytest.mark.parametrize("choice", CHOICES)
def test_the_declared_platform_passes(choice: str) -> None:
    assert [one.message for one in judged(declared(choice), data.RULES).violations] == []


NETWORKED: Final[list[Props]] = [
    {"driver": "rclone"},
    {"driver": "vieux/sshfs"},
    {"driverOpts": {"type": "nfs", "o": "addr=192.0.2.1,rw", "device": ":/export"}},
    {"driverOpts": {"type": "NFS4", "device": ":/export"}},
    {"driverOpts": {"type": "cifs", "o": "username=x", "device": "//nas/share"}},
    {"driverOpts": {"type": "none", "o": "bind,addr=192.0.2.1", "device": "/x"}},
    {"driverOpts": {"type": "fuse.sshfs", "device": "me@nas:/x"}},
]


@pytest.mark.parametrize("changes", NETWORKED, ids=str)
def test_databases_lie_on_no_network_file_system(changes: Props) -> None:
    wrong = rules_of(judge(volume(**changes), VOLUME, name="volume-sonarr-config"))
    assert wrong & RULES == {"local-databases", "protected-data"}
    media = rules_of(judge(volume(**changes), VOLUME, name="volume-data"))
    assert media & RULES == {"protected-data"}


@pytest.mark.parametrize(
    "changes",
    [
        {
            "mounts": [
                {"type": "volume", "source": "x", "target": "/config", "volumeOptions": {"driverName": "rclone"}}
            ]
        },
        {
            "mounts": [
                {"type": "volume", "source": "x", "target": "/x", "volumeOptions": {"driverOptions": {"o": "x"}}}
            ]
        },
        {"mounts": [{"type": "volume", "target": "/config"}]},
        {"mounts": [{"type": "Volume", "source": " ", "target": "/config"}]},
        {"volumes": [{"containerPath": "/config"}]},
        {"volumes": [":/config"]},
    ],
    ids=str,
)
def test_no_mount_makes_a_volume(changes: Props) -> None:
    assert rules_of(judge(container(**changes))) == {"named-volumes"}


@pytest.mark.parametrize(
    "changes",
    [
        {"mounts": [{"type": "volume", "source": UNKNOWN, "target": "/config"}]},
        {"mounts": [{"type": "volume", "source": "x", "target": "/x", "volumeOptions": {"noCopy": True}}]},
        {"volumes": [{"volumeName": UNKNOWN, "containerPath": "/config"}]},
        {"volumes": [UNKNOWN]},
        {"mounts": [UNKNOWN]},
        {"mounts": [{"type": UNKNOWN, "source": UNKNOWN, "target": "/x"}]},
    ],
    ids=str,
)
def test_a_volume_by_its_name_passes(changes: Props) -> None:
    assert judge(container(**changes)) == []


def mounting(**mount: object) -> Stack:
    """The declared platform, where Sonarr mounts this and nothing else."""
    return changed(declared("dev"), "sonarr-container", mounts=[{"type": "volume", "target": "/config", **mount}])


def test_each_volume_is_one_of_the_stacks() -> None:
    named = {one.name: one.props["name"] for one in declared("dev").of("Volume")}
    media, own = named["volume-data"], named["volume-sonarr-config"]
    assert isinstance(media, str)
    assert isinstance(own, str)
    refused = [mounting(source="somewhere-else"), mounting(source=media), mounting(source=media, target="/data/../x")]
    for stack in refused:
        assert [one.rule for one in judged(stack, data.RULES).violations] == ["declared-volumes"]
    for stack in (mounting(source=own), mounting(source=media, target="/data"), mounting(source=PLAIN_UNKNOWN)):
        assert judged(stack, data.RULES).violations == ()


def test_a_volume_that_is_gone_from_the_stack_is_missed() -> None:
    stack = declared("dev")
    left = Stack(name="dev", resources=tuple(one for one in stack.resources if one.name != "volume-sonarr-config"))
    assert "declared-volumes" in [one.rule for one in judged(left, data.RULES).violations]


@pytest.mark.parametrize("changes", [{}, {"driver": None}, {"driver": UNKNOWN}, {"driverOpts": UNKNOWN}], ids=str)
def test_a_local_volume_passes(changes: Props) -> None:
    found = rules_of(judge(volume(**({"driverOpts": None} | changes)), VOLUME, name="volume-sonarr-config"))
    assert found & RULES == {"protected-data"}  # the harness's volume is not protected


def test_what_no_backup_has_is_a_warning() -> None:
    (warning,) = judged(declared("dev")).warnings
    assert warning.rule == "backup-set"
    assert "8 other volumes" in warning.message
    file = read()
    backed_up = file.model_copy(update={"settings": {**file.settings, "backup-set": {"backed-up": ["volume-*"]}}})
    assert judge_stack(declared("dev"), ALL, configure(backed_up, ALL, "dev")).warnings == ()


@pytest.mark.parametrize(
    "junk", [None, 7, 1.5, True, "x", [], {}, [None], [[]], {"x": None}, [7, "y"], UNKNOWN], ids=str
)
def test_junk_raises_nothing(junk: Json) -> None:
    for key in ("driver", "driverOpts", "mounts", "name"):
        for kind in (CONTAINER, VOLUME):
            judge(container(**{key: junk}), kind, rules=data.RULES)
        judged(changed(declared("dev"), "volume-data", **{key: junk}), data.RULES)
