"""scripts/images.py: the source is chosen once, plainly told, and never silently a stand-in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import docker
import docker.errors
import pytest

from components import reach
from components.images import PINS
from scripts import images, stack
from scripts.console import UserError
from scripts.engine import Engine
from scripts.images import KEY, LabImage


def answering(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    monkeypatch.setattr(images, "reachable", lambda host: host in hosts)


def test_registries_are_those_of_the_pins() -> None:
    assert images.registries(PINS) == ("ghcr.io", "lscr.io", "registry-1.docker.io")
    assert images.registries({"a": "registry.lan:5000/x/y:1"}) == ("registry.lan:5000",)


def test_every_registry_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "ghcr.io")
    assert images.probe(("ghcr.io", "lscr.io")) == {"ghcr.io": True, "lscr.io": False}


def test_a_registry_that_is_not_there_does_not_answer() -> None:
    # RFC 2606: no such name exists.
    assert images.reachable("registry.invalid") is False


def test_one_answering_registry_means_the_pins(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, "registry-1.docker.io")
    images.choose(engine, "auto")
    assert stack.values(engine.files)[KEY] == {}
    told = capsys.readouterr().err
    assert "from the pinned registries" in told
    assert "no answer from ghcr.io, lscr.io" in told


def test_no_answering_registry_means_the_lab_and_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch)
    images.choose(engine, "auto")
    assert stack.values(engine.files)[KEY] == {"lock": str(engine.paths.lab_lock)}
    assert images.lab_in_use(engine.paths, stack.values(engine.files)[KEY]) == engine.paths.lab_lock
    assert "no image registry can be reached" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["prod", "staging"])
def test_no_answering_registry_never_means_the_lab_outside_development(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    answering(monkeypatch)
    other = replace(engine, files=replace(engine.files, stack=name))
    before = engine.files.config.read_bytes()
    images.choose(other, "auto")
    assert engine.files.config.read_bytes() == before, "an outage must not be remembered"
    assert "only stacks of development may run the lab's images" in capsys.readouterr().err


@pytest.mark.parametrize("chosen", [{}, {"mirror": "registry.lan"}, {"lock": "/somewhere/else.json"}])
def test_what_was_chosen_stays_whatever_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str]
) -> None:
    answering(monkeypatch)
    stack.set_value(engine.files, KEY, chosen)
    images.choose(engine, "auto")
    assert stack.values(engine.files)[KEY] == chosen


def test_the_choice_outlives_a_merge(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "ghcr.io")
    images.choose(engine, "auto")
    stack.prepare(engine.paths, "dev")
    assert stack.values(engine.files)[KEY] == {}


def test_a_source_can_be_ordered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "ghcr.io")
    images.choose(engine, "lab")
    assert stack.values(engine.files)[KEY] == {"lock": str(engine.paths.lab_lock)}
    answering(monkeypatch)
    images.choose(engine, "registry")
    assert stack.values(engine.files)[KEY] == {}
    assert images.lab_in_use(engine.paths, stack.values(engine.files)[KEY]) is None


def test_a_teams_file_is_not_changed_by_itself(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = replace(engine, files=replace(engine.files, shared=True))
    before = engine.files.config.read_bytes()
    answering(monkeypatch, "ghcr.io")
    images.choose(shared, "auto")
    assert engine.files.config.read_bytes() == before
    answering(monkeypatch)
    with pytest.raises(UserError, match="is your team's stack file") as refused:
        images.choose(shared, "auto")
    assert KEY in str(refused.value)
    assert engine.files.config.read_bytes() == before


def lock_file(folder: Path) -> Path:
    file = folder / "images.lock.json"
    entries = {
        "jellyfin": {
            "ref": "localhost:5790/j:1@sha256:0",
            "kind": "stand-in",
            "version": "plays 1",
            "note": "no media",
        },
        "traefik": {"ref": "localhost:5790/t:3@sha256:1", "kind": "real", "version": "v3", "note": "from its module"},
        "other": {
            "ref": "localhost:5790/p:17@sha256:2",
            "kind": "stand-in",
            "version": "17",
            "note": "not used yet",
        },
    }
    file.write_text(json.dumps({"source": "lab", "images": entries}), encoding="utf-8")
    return file


def test_a_lock_tells_stand_ins_of_what_the_program_uses(tmp_path: Path) -> None:
    found = images.read_lock(lock_file(tmp_path))
    assert found == (
        LabImage(
            key="jellyfin", ref="localhost:5790/j:1@sha256:0", stand_in=True, version="plays 1", note="no media"
        ),
        LabImage(
            key="traefik", ref="localhost:5790/t:3@sha256:1", stand_in=False, version="v3", note="from its module"
        ),
    )
    assert images.stand_ins(found) == ("jellyfin",)


class _Images:
    """Holds what it is told to."""

    def __init__(self, *held: str) -> None:
        self.held = held

    def get(self, ref: str) -> None:
        if ref not in self.held:
            raise docker.errors.ImageNotFound(ref)


class _Client(docker.DockerClient):
    def __init__(self, *held: str) -> None:
        self._held = _Images(*held)

    @property
    def images(self) -> _Images:  # type: ignore[override]
        return self._held


def test_an_engine_over_ssh_is_asked_what_it_holds_and_nothing_is_built(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = engine.paths.lab_lock
    stack.set_value(engine.files, KEY, {"lock": str(lock)})
    built: list[str] = []
    monkeypatch.setattr(images, "build", lambda _, host: built.append(host))
    with pytest.raises(UserError, match=r"not built over ssh; run `lab/images/build` on that host"):
        images.ensure(engine, _Client(), "ssh://me@nas")
    lock.parent.mkdir(parents=True)
    lock_file(lock.parent)
    with pytest.raises(UserError, match=r"at ssh://me@nas does not hold traefik; run `lab/images/build` on that"):
        images.ensure(engine, _Client("localhost:5790/j:1@sha256:0"), "ssh://me@nas")
    both = _Client("localhost:5790/j:1@sha256:0", "localhost:5790/t:3@sha256:1")
    images.ensure(engine, both, "ssh://me@nas")
    assert built == []
    images.ensure(engine, both, "unix:///run/my.sock")
    assert built == ["unix:///run/my.sock"]


@pytest.mark.parametrize("text", [None, "not JSON", "{}", "[]"])
def test_a_lock_that_is_not_one_says_what_writes_it(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "images.lock.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="lab/images/build") as refused:
        images.read_lock(file)
    assert str(file) in str(refused.value)


def test_a_build_that_fails_is_told(engine: Engine) -> None:
    script = engine.paths.root / "lab" / "images" / "build"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    script.chmod(0o755)
    with pytest.raises(UserError, match=r"failed \(status 3"):
        images.build(engine.paths, reach.DEFAULT)
