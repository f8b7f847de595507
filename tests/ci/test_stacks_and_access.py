"""Which stacks the workflows are for, and what a run's access by ssh writes and takes away."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from scripts import stack
from scripts.ci import access, stacks
from scripts.console import UserError

FILES = {
    "dev": "config: {}\n",
    "prod": "encryptionsalt: v1:abc:def\nconfig: {}\n",
    "site": "secretsprovider: awskms://key\nconfig: {}\n",
    "quoted": "# encryptionsalt: not yet\nconfig:\n  encryptionsalt: nested\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"Pulumi.{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "Pulumi.yaml").write_text("name: nexus\nencryptionsalt: no\n", encoding="utf-8")
    (tmp_path / "Pulumi.Odd $(name).yaml").write_text("encryptionsalt: x\n", encoding="utf-8")
    return tmp_path


def test_a_stack_is_shared_where_its_file_carries_the_encryption(checkout: Path) -> None:
    assert stacks.shared(checkout) == ("prod", "site")
    assert stacks.shared(checkout, ["dev", "prod"]) == ("dev", "prod", "site")


@pytest.mark.parametrize("name", FILES)
def test_this_is_what_the_commands_take_for_shared(checkout: Path, name: str) -> None:
    tree = stack.read(checkout / f"Pulumi.{name}.yaml")
    assert (name in stacks.shared(checkout)) is stack._carries_encryption(tree)


def test_a_stack_without_a_file_is_named(checkout: Path) -> None:
    with pytest.raises(UserError, match=r"Pulumi\.staging\.yaml"):
        stacks.shared(checkout, ["staging"])


GIVEN = {access.KEY: "the key\n", access.KNOWN: "host.test ssh-ed25519 AAAA\n"}


def test_without_a_key_nothing_is_written(tmp_path: Path) -> None:
    assert access.grant(tmp_path, {access.KEY: "", access.KNOWN: ""}) is False
    assert list(tmp_path.iterdir()) == []


def test_ssh_takes_the_key_and_trusts_the_pinned_hosts_only(tmp_path: Path) -> None:
    assert access.grant(tmp_path, GIVEN) is True
    config = tmp_path / ".ssh" / "config"
    asked = subprocess.run(
        ["ssh", "-G", "-F", str(config), "deploy@host.test"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert f"identityfile {tmp_path}/.ssh/nexus-deploy" in asked
    assert f"userknownhostsfile {tmp_path}/.ssh/nexus-known-hosts" in asked
    assert {"stricthostkeychecking true", "identitiesonly yes", "batchmode yes"} <= set(asked)
    assert (tmp_path / ".ssh" / "nexus-deploy").read_text() == "the key\n"
    assert {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / ".ssh").iterdir()} == {0o600}


def test_it_can_be_granted_again_and_is_gone_when_revoked(tmp_path: Path) -> None:
    access.grant(tmp_path, GIVEN)
    access.grant(tmp_path, GIVEN)
    (tmp_path / ".ssh" / "other").write_text("theirs")
    access.revoke(tmp_path)
    access.revoke(tmp_path)
    assert [one.name for one in (tmp_path / ".ssh").iterdir()] == ["other"]


@pytest.mark.parametrize("name", GIVEN)
def test_half_of_it_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: must be set"):
        access.grant(tmp_path, {**GIVEN, name: " "})
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_of_the_runner_itself_is_neither_changed_nor_removed(tmp_path: Path) -> None:
    config = tmp_path / ".ssh" / "config"
    config.parent.mkdir()
    config.write_text("Host docker\n")
    with pytest.raises(UserError, match="its own access"):
        access.grant(tmp_path, GIVEN)
    access.revoke(tmp_path)
    assert config.read_text() == "Host docker\n"
