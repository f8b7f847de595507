"""The pins are complete references, and each source of references gives one per pin or says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from components import images
from components.errors import PlatformError
from components.images import PINS, ImageLockError, resolve

REFERENCE = re.compile(
    r"(?P<name>(?P<registry>[a-z0-9-]+(?:\.[a-z0-9-]+)+)/(?P<path>[a-z0-9-]+(?:/[a-z0-9-]+)+))"
    r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*)@sha256:(?P<digest>[0-9a-f]{64})"
)
RENOVATE = re.compile(
    r"^ *# renovate: datasource=docker depName=(?P<name>\S+)\n"
    r' *"(?P<key>[a-z-]+)": "(?P<reference>[^"@]+)"\n'
    r' *"@(?P<digest>sha256:[0-9a-f]{64})",$',
    re.MULTILINE,
)
DIGEST = "sha256:" + "0123456789abcdef" * 4


def parts(reference: str) -> re.Match[str]:
    """The parts of a well-formed reference; anything else fails the test."""
    match = REFERENCE.fullmatch(reference)
    assert match is not None, reference
    return match


def lab_content() -> dict[str, dict[str, dict[str, str]]]:
    """A lock such as the lab writes it, for every pin."""
    return {
        "images": {
            key: {"ref": f"localhost:5790/{parts(pin)['path']}:{parts(pin)['tag']}@{DIGEST}", "kind": "stand-in"}
            for key, pin in PINS.items()
        }
    }


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A good lock file, which each test of an error breaks in one way."""
    path = tmp_path / "images.lock.json"
    path.write_text(json.dumps(lab_content()), encoding="utf-8")
    return path


class TestPins:
    @pytest.mark.parametrize("key", PINS)
    def test_is_a_full_reference(self, key: str) -> None:
        pin = parts(PINS[key])
        assert pin["registry"] in {"docker.io", "ghcr.io", "lscr.io"}
        assert re.search(r"\d+\.\d+", pin["tag"]), "the tag names a version, not a channel such as latest"

    @pytest.mark.parametrize("part", ["name", "path", "digest"])
    def test_no_two_share_a(self, part: str) -> None:
        # Two equal paths would become one image behind a mirror, which drops the registry.
        values = [parts(pin)[part] for pin in PINS.values()]
        assert sorted(set(values)) == sorted(values)

    def test_each_has_its_renovate_comment(self) -> None:
        source = Path(images.__file__).read_text(encoding="utf-8")
        found = {
            match["key"]: (match["name"], f"{match['reference']}@{match['digest']}")
            for match in RENOVATE.finditer(source)
        }
        assert found == {key: (parts(pin)["name"], pin) for key, pin in PINS.items()}

    def test_cannot_be_changed_at_run_time(self) -> None:
        with pytest.raises(TypeError):
            PINS["traefik"] = "docker.io/library/traefik:latest"  # type: ignore[index]


class TestPinnedRegistries:
    def test_the_pins_are_the_default(self) -> None:
        assert resolve(None, None) == PINS


class TestMirror:
    @pytest.mark.parametrize(
        ("mirror", "key", "name"),
        [
            ("registry.lan:5000", "traefik", "registry.lan:5000/library/traefik"),
            ("registry.lan:5000", "jellyfin", "registry.lan:5000/jellyfin/jellyfin"),
            ("registry.lan:5000", "sonarr", "registry.lan:5000/home-operations/sonarr"),
            ("registry.lan:5000", "wireguard", "registry.lan:5000/linuxserver/wireguard"),
            ("registry.lan/cache", "busybox", "registry.lan/cache/library/busybox"),
            ("registry.lan/a/b", "cadvisor", "registry.lan/a/b/google/cadvisor"),
            ("registry.lan/cache/", "grafana", "registry.lan/cache/grafana/grafana"),
        ],
    )
    def test_takes_the_place_of_the_registry(self, mirror: str, key: str, name: str) -> None:
        pin = parts(PINS[key])
        assert resolve(None, mirror)[key] == f"{name}:{pin['tag']}@sha256:{pin['digest']}"

    def test_covers_every_pin(self) -> None:
        mirrored = resolve(None, "registry.lan")
        assert mirrored == {key: f"registry.lan/{pin.split('/', 1)[1]}" for key, pin in PINS.items()}


class TestLock:
    def test_gives_every_reference(self, lock: Path) -> None:
        expected = {key: entry["ref"] for key, entry in lab_content()["images"].items()}
        assert resolve(lock, None) == expected

    def test_what_it_holds_besides_is_not_read(self, lock: Path) -> None:
        content = lab_content()
        content["images"]["restic"] = {"ref": "no reference at all"}
        lock.write_text(json.dumps({"source": "lab"} | content), encoding="utf-8")
        assert resolve(lock, None).keys() == PINS.keys()

    def test_excludes_a_mirror(self, lock: Path) -> None:
        with pytest.raises(ImageLockError) as caught:
            resolve(lock, "registry.lan")
        message = str(caught.value)
        assert str(lock) in message
        assert "nexus:images.lock" in message
        assert "nexus:images.mirror" in message
        assert "remove one of them" in message


def without_file(lock: Path) -> None:
    lock.unlink()


def directory(lock: Path) -> None:
    lock.unlink()
    lock.mkdir()


def content(data: bytes) -> Callable[[Path], None]:
    """Overwrites the whole lock."""

    def overwrite(lock: Path) -> None:
        lock.write_bytes(data)

    return overwrite


def entry(key: str, value: object) -> Callable[[Path], None]:
    """Replaces one image's entry, or removes it if `value` is None."""

    def replace(lock: Path) -> None:
        entries: dict[str, object] = {**lab_content()["images"], key: value}
        kept = {name: one for name, one in entries.items() if one is not None}
        lock.write_text(json.dumps({"images": kept}), encoding="utf-8")

    return replace


class TestLockErrors:
    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            pytest.param(without_file, "no such file", id="missing-file"),
            pytest.param(directory, "cannot be read", id="directory"),
            pytest.param(content(b"{"), "is not JSON", id="cut-off"),
            pytest.param(content(b"\xff\xfe"), "is not JSON", id="not-text"),
            pytest.param(content(b'["images"]'), "key images: is not an object", id="list"),
            pytest.param(content(b"{}"), "key images: is not an object", id="no-images"),
            pytest.param(content(b'{"images": []}'), "key images: is not an object", id="images-list"),
            pytest.param(content(b'{"images": {}}'), "key images.traefik: is missing", id="empty"),
            pytest.param(entry("grafana", None), "key images.grafana: is missing", id="missing-key"),
            pytest.param(entry("sonarr", "text"), "key images.sonarr.ref: is not", id="entry-not-an-object"),
            pytest.param(entry("sonarr", {}), "key images.sonarr.ref: is not", id="no-ref"),
            pytest.param(entry("sonarr", {"ref": 7}), "key images.sonarr.ref: is not", id="ref-not-text"),
            pytest.param(
                entry("radarr", {"ref": "localhost:5790/radarr:6.4.1"}),
                "key images.radarr.ref: 'local",
                id="no-digest",
            ),
            pytest.param(
                entry("radarr", {"ref": f"localhost:5790/radarr@{DIGEST[:-1]}"}),
                "key images.radarr.ref: 'local",
                id="short-digest",
            ),
            pytest.param(
                entry("radarr", {"ref": f"localhost:5790/radarr@{DIGEST}\n"}),
                "key images.radarr.ref: 'local",
                id="newline-after-digest",
            ),
            pytest.param(entry("radarr", {"ref": f"@{DIGEST}"}), "key images.radarr.ref: '@sha256", id="no-name"),
        ],
    )
    def test_names_file_key_and_advice(self, lock: Path, spoil: Callable[[Path], None], said: str) -> None:
        spoil(lock)
        with pytest.raises(ImageLockError) as caught:
            resolve(lock, None)
        message = str(caught.value)
        assert message.startswith(f"{lock}: ")
        assert said in message
        assert "run `make up`" in message
        assert "nexus:images.lock" in message

    def test_is_an_error_of_the_platform(self, tmp_path: Path) -> None:
        with pytest.raises(PlatformError, match="no such file"):
            resolve(tmp_path / "absent.json", None)
