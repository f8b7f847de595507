"""The lab's images on this machine: all there, saying what they are, and nothing of their maker's machine inside."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Mapping
from typing import Final

import pytest

from components.images import PINS
from lab.images.build import Lab
from lab.images.catalogue import IMAGES, LABEL
from scripts.paths import ROOT, find

pytestmark = pytest.mark.integration

BY_KEY: Final = {image.key: image for image in IMAGES}
APT: Final = "/etc/apt"
HOST_FILES: Final = ("/etc/environment", "/root/.docker", "/root/.netrc", "/root/.config")
# A container has its own, whatever the image holds: these can only be looked for in the root file system's archive.
MOUNTED: Final = ("./etc/resolv.conf", "./etc/hostname", "./etc/machine-id")


@pytest.fixture(scope="module")
def lock() -> Mapping[str, Mapping[str, str]]:
    path = find().lab_lock
    if not path.is_file():
        pytest.skip(f"{path}: the lab has made no images on this machine")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["source"] == "lab"
    images: Mapping[str, Mapping[str, str]] = content["images"]
    return images


@pytest.fixture(scope="module")
def configs(lock: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, object]]:
    """The configuration of each locked image, from the local store; a missing image fails here."""
    refs = [entry["ref"] for entry in lock.values()]
    done = subprocess.run(["docker", "image", "inspect", *refs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {key: image["Config"] for key, image in zip(lock, json.loads(done.stdout), strict=True)}


def test_check_agrees_that_all_is_built(lock: Mapping[str, Mapping[str, str]]) -> None:
    assert set(lock) == set(BY_KEY) >= set(PINS)
    done = subprocess.run([ROOT / "lab/images/build", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("key", BY_KEY)
def test_the_image_says_what_it_is(
    key: str, lock: Mapping[str, Mapping[str, str]], configs: Mapping[str, Mapping[str, object]]
) -> None:
    labels = configs[key]["Labels"]
    assert isinstance(labels, dict)
    said = {name: labels[f"{LABEL}.{name}"] for name in ("kind", "version", "note")}
    assert said == {name: lock[key][name] for name in said}
    assert re.fullmatch(rf"{re.escape(BY_KEY[key].name)}@sha256:[0-9a-f]{{64}}", lock[key]["ref"])
    if "nexus-standin" in BY_KEY[key].binaries:
        assert said["kind"] == "stand-in"
        assert "not the real server" in said["note"]
        assert said["version"].startswith("plays ")


@pytest.mark.parametrize("key", BY_KEY)
def test_nothing_of_the_maker_s_machine_is_inside(
    key: str, lock: Mapping[str, Mapping[str, str]], configs: Mapping[str, Mapping[str, object]]
) -> None:
    environment = configs[key]["Env"]
    assert not re.search("proxy|token|password", " ".join(environment if isinstance(environment, list) else []), re.I)

    files = files_inside(lock[key]["ref"], [APT, *HOST_FILES])
    if BY_KEY[key].on_base and key != "busybox":
        # Proof that looking works: Debian's own configuration of apt is found.
        assert any(name.startswith("apt/apt.conf.d/") for name in files)
    assert not [name for name in files if "sources.list" in name]
    assert not [name for name, text in files.items() if re.search(r"https?://|Acquire|proxy", text, re.I)]
    assert not [name for name, text in files.items() if not name.startswith("apt/") and text.strip()]


def test_the_root_file_system_has_no_name_and_no_resolver() -> None:
    lab = Lab(find().cache)
    archive = lab.cache / "artefacts" / f"rootfs-{lab.rootfs_key}" / "root.tar"
    if not archive.is_file():
        pytest.skip(f"{archive}: removed since the images were built, or never made on this machine")
    with tarfile.open(archive) as opened:
        sizes = {member.name: member.size for member in opened}
    assert "./etc/debian_version" in sizes
    assert {name: sizes[name] for name in MOUNTED if sizes.get(name)} == {}


def files_inside(image: str, paths: list[str]) -> Mapping[str, str]:
    """Name and text of the regular files at or under these paths, read from a container that never runs."""
    container = subprocess.run(
        ["docker", "create", "--network", "none", image, "never-run"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = {}
    try:
        for path in paths:
            done = subprocess.run(["docker", "cp", f"{container}:{path}", "-"], capture_output=True, check=False)
            if done.returncode:
                assert b"Could not find" in done.stderr or b"No such" in done.stderr, done.stderr
                continue
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.isfile() else None
                    # Keyrings are Debian's own package, and binary.
                    if content and "trusted.gpg.d" not in member.name:
                        found[member.name] = content.read().decode(errors="replace")
    finally:
        subprocess.run(["docker", "rm", "--volumes", container], capture_output=True, check=True)
    return found
