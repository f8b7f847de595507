"""How the lab's images are made: what counts as changed inputs, and what an interrupted or failed step leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components import reach
from components.images import PINS
from lab.images import work
from lab.images.build import BINARIES, CONTAINERS, Lab
from lab.images.catalogue import IMAGES, REGISTRY
from scripts.console import UserError
from scripts.paths import ROOT


def test_every_pinned_image_is_made_under_its_own_name() -> None:
    names = {image.key: image.name for image in IMAGES}
    assert len(names) == len(IMAGES)
    for key, pin in PINS.items():
        upstream = pin.partition("@")[0]
        assert key in names, f"lab/images/catalogue.py makes no image {key}: without one `make up` fails in the lab"
        assert names[key] == f"{REGISTRY}/{upstream.partition('/')[2]}"


def test_every_container_folder_is_used() -> None:
    assert {folder.name for folder in CONTAINERS.iterdir()} == {image.folder for image in IMAGES} | {"registry"}


def test_our_stand_ins_are_never_called_real() -> None:
    ours = [image for image in IMAGES if "nexus-standin" in image.binaries]
    assert ours
    assert {image.kind for image in ours} == {"stand-in"}


def test_digest_sees_name_content_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    file.write_text("a")
    seen = [work.digest(file.parent)]
    file.write_text("b")
    seen.append(work.digest(file.parent))
    file.chmod(0o755)
    seen.append(work.digest(file.parent))
    file.rename(file.with_name("other"))
    seen.append(work.digest(file.parent))
    assert len(set(seen)) == len(seen)
    assert work.digest(file.parent) == seen[-1]


def test_an_image_depends_on_what_it_is_made_from_and_on_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(**changed: str) -> dict[str, str]:
        lab = Lab(Path("/nowhere"))
        # cached_property: setting the attribute takes the place of hashing the files.
        monkeypatch.setitem(lab.__dict__, "rootfs_key", changed.get("rootfs", "r"))
        monkeypatch.setitem(lab.__dict__, "binary_keys", {name: changed.get(name, "b") for name in BINARIES})
        return {image.key: lab.image_key(image) for image in IMAGES}

    before = keys()
    assert before == keys()
    assert {key for key in before if before[key] != keys(traefik="new")[key]} == {"traefik"}
    assert all(before[key] != after for key, after in keys(rootfs="new").items())


def test_an_artefact_is_whole_or_absent(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise UserError("no")

    with pytest.raises(UserError):
        work.artefact(tmp_path, "thing", "1", fail)
    assert not (tmp_path / "thing-1").exists()

    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "whole").write_text("")

    assert [path.name for path in work.artefact(tmp_path, "thing", "1", make).iterdir()] == ["whole"]
    work.artefact(tmp_path, "thing", "1", make)
    assert len(made) == 1
    work.artefact(tmp_path, "thing", "2", make)
    assert [path.name for path in tmp_path.iterdir()] == ["thing-2"]


def test_a_failed_step_shows_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)step failed with status 3; .*step\.log.*the reason"):
        work.run(["sh", "-c", "echo the reason; exit 3"], what="step", log=tmp_path / "step.log")


@pytest.mark.tools
def test_a_sign_of_life_shows_what_is_new_and_nothing_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_SIGN_OF_LIFE", 0.3)
    go = tmp_path / "go"
    wait = f"until [ -e {go} ]; do sleep 0.1; done"
    command = f"printf 'downloading\\n10 %%\\r90 %%\\r\\n'; {wait}; echo compiling; sleep 0.7"
    said: list[str] = []

    def say(text: str) -> None:
        said.append(re.sub(r"^step: still running after \d+ s", "", text))
        if len(said) == 3:
            go.touch()

    monkeypatch.setattr(work, "say", say)
    work.run(["sh", "-c", command], what="step", log=tmp_path / "step.log")
    assert said[:3] == [" (90 %)", "", ""]
    assert [line for line in said[3:] if line] == [" (compiling)"]


@pytest.mark.tools
def test_every_docker_command_goes_to_the_engine_that_was_named(tmp_path: Path) -> None:
    log, program = tmp_path / "log", tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv | grep ^DOCKER_ >>{log}\necho '[]'\necho No such image >&2\nexit 1\n")
    program.chmod(0o755)
    misled = {**os.environ, **dict.fromkeys(reach.VARIABLES, "/elsewhere"), "NEXUS_CACHE": str(tmp_path)}
    misled["PATH"] = f"{program.parent}:{misled['PATH']}"
    for words, engine in (((), reach.DEFAULT), (("--host", "unix:///run/my.sock"), "unix:///run/my.sock")):
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "lab.images.build", "--check", *words]
        done = subprocess.run(command, cwd=ROOT, env=misled, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert set(log.read_text().splitlines()) == {f"DOCKER_HOST={engine}"}


@pytest.mark.tools
def test_an_interrupt_ends_the_step_with_its_children(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = (
        "import signal; from pathlib import Path; from lab.images import work; from scripts.console import finish\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"command = ['sh', '-c', 'sleep 60 & echo $! >{started}.part; mv {started}.part {started}; wait']\n"
        f"finish(lambda: work.run(command, what='step', log=Path('{tmp_path}/log')) or 0, 'again')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        until(started.exists)
        child.send_signal(signal.SIGINT)
        _, complaint = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "interrupted: again" in complaint
    grandchild = Path("/proc") / started.read_text().strip() / "stat"
    until(lambda: not grandchild.exists() or grandchild.read_text().rpartition(")")[2].split()[0] == "Z")


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.05)
