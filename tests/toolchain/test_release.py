"""The official release: checked, resumed, and never half installed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from tests.toolchain.conftest import CLI, Machine, Release


def part_file(machine: Machine, release: Release) -> Path:
    return machine.cache / "downloads" / f"{release.archive}.part"


def nothing_installed(machine: Machine) -> bool:
    binaries = [path for path in machine.cache.rglob("pulumi*") if path.name.startswith("pulumi-language")]
    plugins = list((machine.cache / "pulumi-home").rglob("pulumi-resource-*"))
    return not (machine.toolchains() or machine.leftovers() or binaries or plugins)


def test_release_is_unpacked_and_gets_its_plugins(machine: Machine, release: Release) -> None:
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    (toolchain,) = machine.toolchains()
    assert sorted(path.name for path in (toolchain / "bin").iterdir()) == [
        "pulumi",
        "pulumi-language-python",
        "pulumi-language-python-exec",
    ]
    installed = machine.calls("pulumi plugin install")
    assert len(installed) == 2
    assert not [call for call in installed if "--file" in call]
    assert list((machine.cache / "downloads").iterdir()) == []
    assert f"ready: pulumi v{CLI}" in done.stderr


def test_bad_checksum_is_refused_and_no_other_way_is_tried(machine: Machine, release: Release) -> None:
    machine.put_go_on_path()
    content = bytearray(release.files[release.archive])
    content[len(content) // 2] ^= 1
    release.files[release.archive] = bytes(content)
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 1
    assert f"bad checksum of {release.url}/{release.archive}" in done.stderr
    assert "No other way was tried" in done.stderr
    assert machine.calls("") == []
    assert nothing_installed(machine)
    assert list((machine.cache / "downloads").iterdir()) == []


def test_archive_that_the_checksum_file_does_not_name_is_refused(machine: Machine, release: Release) -> None:
    machine.put_go_on_path()
    release.files[f"pulumi-{CLI}-checksums.txt"] = f"{'a' * 64}  something-else.tar.gz\n".encode()
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 1
    assert f"has no SHA-256 for {release.archive}" in done.stderr
    assert release.archive not in [name for name, _ in release.requests]
    assert machine.calls("") == []
    assert nothing_installed(machine)


def test_archive_with_another_version_inside_is_refused(machine: Machine, release: Release) -> None:
    machine.put_go_on_path()
    release.publish(version="3.0.1")
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 1
    assert "says it is 'v3.0.1'" in done.stderr
    assert machine.calls("go") == []
    assert nothing_installed(machine)


def test_connection_that_breaks_off_is_taken_up_again(machine: Machine, release: Release) -> None:
    release.break_after = len(release.files[release.archive]) * 2 // 5
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    ranges = [wanted for name, wanted in release.requests if name == release.archive]
    assert ranges == [None, f"bytes={release.break_after}-", f"bytes={2 * release.break_after}-"]


def test_interrupted_download_goes_on_with_the_next_run(machine: Machine, release: Release) -> None:
    release.stall = threading.Event()
    process = machine.start("scripts/toolchain/install", NEXUS_PULUMI_RELEASE_URL=release.url)
    half = len(release.files[release.archive]) // 2
    part = part_file(machine, release)
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size == half):
        assert time.monotonic() < deadline, "the download did not begin"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    release.stall.set()
    assert machine.toolchains() == []
    assert not (machine.cache / "downloads" / release.archive).exists()

    release.stall = None
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert release.requests[-1] == (release.archive, f"bytes={half}-")
    assert machine.way() == "release"
    assert machine.leftovers() == []


def test_piece_of_another_file_is_thrown_away(machine: Machine, release: Release) -> None:
    part = part_file(machine, release)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else")
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    ranges = [wanted for name, wanted in release.requests if name == release.archive]
    assert ranges == ["bytes=14-", None]


def test_piece_as_long_as_the_file_is_thrown_away(machine: Machine, release: Release) -> None:
    part = part_file(machine, release)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * len(release.files[release.archive]))
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr


def test_server_that_knows_no_ranges(machine: Machine, release: Release) -> None:
    release.ranges = False
    part = part_file(machine, release)
    part.parent.mkdir(parents=True)
    part.write_bytes(release.files[release.archive][:1000])
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr


def test_release_that_is_unpacked_already_is_not_downloaded_again(machine: Machine, release: Release) -> None:
    assert machine.install(NEXUS_PULUMI_RELEASE_URL=release.url).returncode == 0
    asked = len(release.requests)
    (toolchain,) = machine.toolchains()
    (toolchain / "bin/pulumi").unlink()
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert (toolchain / "bin/pulumi").exists()
    assert len(release.requests) == asked
