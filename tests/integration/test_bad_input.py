"""Each mistake gives one message with the key, the file or the command, within seconds, and changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from tests.integration.conftest import own
from tests.integration.stacks import Command, Stack, free_port
from tests.integration.test_up import fingerprint

pytestmark = pytest.mark.integration

SECONDS: Final = 60.0
"""A preview takes a few seconds; the rest is for a busy machine."""
FILE: Final = "Pulumi.testbad-dev.yaml"
NO_DEVICE: Final = "/dev/dri/renderD199"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One mistake in the stack file, and what the message has to say."""

    name: str
    changes: Mapping[str, object]
    says: tuple[str, ...]
    hides: str | None = None
    """A value that the message must not repeat."""


MISTAKES: Final = (
    Mistake(
        name="unknown key",
        changes={"nexus:storage": {"min-free-gigabytes": 1}},
        says=(FILE, "nexus:storage.min-free-gigabytes: no such setting", "min-free-gb"),
    ),
    Mistake(
        name="unknown section",
        changes={"nexus:jellyfish": {"transcode-mb": 64}},
        says=(FILE, "nexus:jellyfish: no such setting", "jellyfin"),
    ),
    Mistake(
        name="wrong type",
        changes={"nexus:jellyfin": {"transcode-mb": "plenty-of-it"}},
        says=(FILE, "nexus:jellyfin.transcode-mb", "integer"),
        hides="plenty-of-it",
    ),
    Mistake(
        name="object expected",
        changes={"nexus:edge": "media.example.org"},
        says=(FILE, "nexus:edge", "must be an object with the keys"),
    ),
    Mistake(
        name="out of range",
        changes={"nexus:edge": {"http-port": 70000}},
        says=(FILE, "nexus:edge.http-port", "65535"),
    ),
    Mistake(
        name="unknown mode",
        changes={"nexus:vpn": {"type": "wireguard-but-better"}},
        says=(FILE, "nexus:vpn.type: must be one of", "embedded"),
    ),
    Mistake(
        name="secret missing for a real provider",
        changes={"nexus:vpn": {"type": "wireguard", "provider": "mullvad", "addresses": "10.64.0.2/32"}},
        says=("nexus:wireguard-private-key: missing", "config set --secret nexus:wireguard-private-key"),
    ),
    Mistake(
        name="secret missing for a real domain",
        changes={"nexus:edge": {"domain": "media.example.org", "http-port": 44180, "https-port": 44543}},
        says=("nexus:tls-certificate: missing", "nexus:tls-key: missing", "config set --secret nexus:tls-key"),
    ),
    Mistake(
        name="secret in clear",
        changes={"nexus:smtp-password": "correct horse battery staple"},
        says=(FILE, "nexus:smtp-password: is a secret but stored in clear", "config set --secret"),
        hides="correct horse battery staple",
    ),
    Mistake(
        name="no Docker Engine",
        changes={"nexus:docker": {"host": "unix:///nonexistent/docker.sock"}},
        says=("nexus:docker.host: no Docker Engine answers at unix:///nonexistent", "run `scripts/docker-engine`"),
    ),
    Mistake(
        name="disk too full",
        changes={"nexus:storage": {"min-free-gb": 1_000_000}},
        says=("nexus:storage.min-free-gb: wants 1000000 GB free", "docker system df"),
    ),
    Mistake(
        name="no such data path",
        changes={"nexus:storage": {"min-free-gb": 1, "data": "/nonexistent/nexus/media"}},
        says=("nexus:storage.data: /nonexistent/nexus/media is not a directory", "sudo install -d"),
    ),
    Mistake(
        name="no such GPU",
        changes={"nexus:jellyfin": {"gpu": {"mode": "dri", "device": NO_DEVICE, "render-gid": 105}}},
        says=(f"nexus:jellyfin.gpu.device: {NO_DEVICE} is not a device of this host", "jellyfin.gpu.mode none"),
    ),
    Mistake(
        name="no NVIDIA toolkit",
        changes={"nexus:jellyfin": {"gpu": {"mode": "nvidia"}}},
        says=("nexus:jellyfin.gpu.mode", "NVIDIA Container Toolkit", "nvidia-ctk runtime configure"),
    ),
)


@pytest.fixture(scope="module")
def bad(stack: Stack, image_source: object) -> Iterator[Stack]:
    """A stack that never comes up. Ports and addresses of its own, so that only the mistake is one."""
    made = replace(
        stack,
        name="testbad-dev",
        http_port=free_port(44080),
        https_port=free_port(44443),
        pool="172.31.144.0/20",
        more={"nexus:images": image_source},
    )
    with own(made):
        yield made


def assert_refused(bad: Stack, command: Command, *says: str) -> None:
    """The command failed, said what is wrong once and in its own words, and made nothing."""
    assert command.process.returncode != 0, "it was accepted"
    assert "Traceback" not in command.output
    for part in says:
        assert part in command.output
    # The engine shows the same error twice: beside the resource as it happens, and again at the end.
    told = command.output.rpartition("Diagnostics:")[2].splitlines()
    assert len([line for line in told if says[-1] in line]) == 1, "it is said more than once"
    assert command.seconds < SECONDS
    assert bad.leftovers() == []


def test_without_a_mistake_the_preview_passes(bad: Stack) -> None:
    """Else the tests below would pass for another reason."""
    bad.write()
    command = bad.run("preview", "--stack-file", str(bad.file))
    assert command.process.returncode == 0
    assert "to create" in command.output
    assert bad.leftovers() == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_preview_refuses(bad: Stack, stack: Stack, mistake: Mistake) -> None:
    if mistake.name == "no NVIDIA toolkit" and shutil.which("nvidia-container-runtime-hook"):
        pytest.skip("this host has the NVIDIA Container Toolkit")
    bad.write(mistake.changes)
    before = fingerprint(stack)
    command = bad.run("preview", "--stack-file", str(bad.file))
    assert_refused(bad, command, *mistake.says)
    assert mistake.hides is None or mistake.hides not in command.output
    assert fingerprint(stack) == before


@pytest.mark.parametrize("name", ["unknown key", "secret missing for a real provider", "disk too full"])
def test_up_refuses_before_it_changes_anything(bad: Stack, name: str) -> None:
    mistake = next(mistake for mistake in MISTAKES if mistake.name == name)
    bad.write(mistake.changes)
    assert_refused(bad, bad.run("up", "--stack-file", str(bad.file)), *mistake.says)


def test_a_port_that_another_stack_holds(bad: Stack, stack: Stack) -> None:
    bad.write({"nexus:edge": {"http-port": bad.http_port, "https-port": stack.https_port}})
    command = bad.run("preview", "--stack-file", str(bad.file))
    assert_refused(
        bad,
        command,
        f"nexus:edge.https-port: port {stack.https_port} on 127.0.0.1 is in use by container",
        stack.physical("traefik"),
        "config set --path nexus:edge.https-port",
    )


def test_a_port_that_another_program_holds(bad: Stack) -> None:
    bad.write()
    with socket.create_server(("127.0.0.1", bad.http_port)):
        command = bad.run("preview", "--stack-file", str(bad.file))
    assert_refused(
        bad,
        command,
        f"nexus:edge.http-port: port {bad.http_port} on 127.0.0.1 is in use by another program",
        f"ss -ltnp 'sport = :{bad.http_port}'",
        "config set --path nexus:edge.http-port",
    )


def test_addresses_that_another_stack_uses(bad: Stack, stack: Stack) -> None:
    bad.write({"nexus:networks": {"pool": stack.pool}})
    command = bad.run("preview", "--stack-file", str(bad.file))
    # One line for all networks of the other stack.
    start = f"nexus:networks.pool: {stack.pool} overlaps"
    (overlap,) = [line for line in command.output.splitlines() if start in line]
    assert_refused(bad, command, overlap)
    assert stack.physical("") in overlap
    assert re.search(r" and \d+ more; run", overlap)
    assert "config set --path nexus:networks.pool" in overlap


def test_a_wrong_passphrase(bad: Stack, tmp_path: Path) -> None:
    bad.write()
    assert bad.run("preview", "--stack-file", str(bad.file)).process.returncode == 0
    copy = replace(bad, directory=tmp_path)
    shutil.copytree(bad.state, copy.state)
    copy.write()
    passphrase = copy.state / "stacks" / copy.name / "passphrase"
    passphrase.write_text("not the passphrase\n", encoding="utf-8")
    command = copy.run("preview", "--stack-file", str(copy.file))
    assert_refused(bad, command, str(passphrase), "is not the passphrase that")
    assert "not the passphrase\n" not in command.output.replace("is not the passphrase that", "")
    passphrase.unlink()
    command = copy.run("preview", "--stack-file", str(copy.file))
    assert_refused(bad, command, str(passphrase), "the passphrase is gone")
    assert not passphrase.exists(), "a new passphrase cannot open what the old one encrypted"


def test_a_stack_file_that_is_not_there_or_not_yaml(bad: Stack, tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert_refused(bad, bad.run("preview", "--stack-file", str(missing)), str(missing), "there is no such file")
    broken = tmp_path / "broken.yaml"
    broken.write_text("config: [unclosed\n", encoding="utf-8")
    assert_refused(bad, bad.run("preview", "--stack-file", str(broken)), str(broken), "is not YAML")


def test_the_hosts_devices_were_not_what_the_test_thought() -> None:
    """The device that no host should have: where this one has it, the GPU test above proves nothing."""
    assert not os.path.lexists(NO_DEVICE)
