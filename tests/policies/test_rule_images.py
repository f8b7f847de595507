"""Family `images`: references in every spelling, and what must pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from components.images import PINS
from policies.rules import images
from policies.rules.images import RULES
from policies.rules.props import UNKNOWN as PLAIN_UNKNOWN
from policies.rules.rule import Stack
from tests.policies.harness import UNKNOWN, Json, places
from tests.policies.platform import changed, declared, validated

REMOTE: Final = "docker:index/remoteImage:RemoteImage"
DIGEST: Final = "@sha256:" + "4f" * 32
LAB: Final = f"localhost:5790/home-operations/sonarr:4.0{DIGEST}"


def refused(reference: Json, *, stack: str = "prod") -> set[str]:
    """The rules of the family that object to an image of that name."""
    return set(places({"name": reference}, REMOTE, name="image-x", stack=stack, rules=RULES))


@pytest.mark.parametrize(
    ("reference", "rules"),
    [
        *(
            (f"docker.io/library/busybox:1.37{digest}", {"image-digest"})
            for digest in ("", "@sha256:" + "4f" * 31, "@sha256:" + "4F" * 32, "@md5:" + "4f" * 16)
        ),
        ("busybox", {"image-digest"}),
        (f"busybox{DIGEST}", {"image-digest"}),
        *(
            (f"ghcr.io/a/b:{tag}{DIGEST}", {"image-digest"})
            for tag in ("latest", "Latest", "nightly", "nightly-2026", "lts", "4-latest", "alpine", "canary", "v")
        ),
        *(
            (f"{reference}{DIGEST}", {"image-registry"})
            for reference in (
                *("EVIL/x/y:1.0", "evil.example/library/busybox:1.37", "docker.io.evil.example/busybox:1.37"),
                *("docker.io:5000/busybox:1.37", "gcr.io/cadvisor/cadvisor:1", "127.0.0.1:5000/x/y:1"),
                *("docker.io/containrrr/watchtower:1.7.1", "containrrr/watchtower:1.7.1"),
                *("lscr.io/linuxserver/readarr:1", "ghcr.io/mirror/containrrr/watchtower:1"),
            )
        ),
        (LAB, {"image-registry"}),
    ],
)
def test_what_is_refused(reference: str, rules: set[str]) -> None:
    assert refused(reference) == rules
    assert set(places({"image": reference}, name="x-container", stack="prod", rules=RULES)) == rules


@pytest.mark.parametrize(
    "reference",
    [
        *PINS.values(),
        f"index.docker.io/library/busybox:1.37{DIGEST}",
        f"GHCR.io/a/b:1{DIGEST}",
        *(f"ghcr.io/a/b:{tag}{DIGEST}" for tag in ("v1.2", "1.37-alpine", "r2-ls124", "17.11-bookworm")),
        f"someone/watchtower:1{DIGEST}",
        UNKNOWN,
        None,
    ],
)
def test_what_passes(reference: Json) -> None:
    assert refused(reference) == set()


@pytest.mark.parametrize("image", ["sha256:" + "4f" * 32, "4f" * 32, "4f" * 6])
def test_a_container_may_run_an_id_but_nothing_pulls_one(image: str) -> None:
    assert places({"image": image}, name="x-container", stack="prod", rules=RULES) == {}
    assert "image-digest" in refused(image)


def test_the_labs_registry_is_for_stacks_of_development_alone() -> None:
    assert refused(LAB, stack="dev") == set()
    assert refused(LAB, stack="staging") == {"image-registry"}
    # Nobody's machine but this one.
    assert refused(f"localhost.evil.example:5790/x/y:1{DIGEST}", stack="dev") == {"image-registry"}


PROXY: Final = "cadvisor-socket-proxy-container"
ID: Final = "sha256:" + "1f" * 32


@pytest.mark.parametrize(
    ("image", "sources", "good"),
    [
        (ID, ["image-socket-proxy"], True),
        (f"docker.io/wollomatic/socket-proxy:1{DIGEST}", [], True),
        (PLAIN_UNKNOWN, [], True),
        (ID, ["image-busybox"], False),
        (ID, ["image-socket-proxy", "image-busybox"], False),
        (ID, [], False),
        (f"docker.io/evil/socket-proxy:1{DIGEST}", [], False),
        (None, [], False),
    ],
)
def test_an_exemption_is_for_one_image(image: object, sources: list[str], good: bool) -> None:
    stack = changed(declared("dev"), PROXY, image=image)
    made = {"image": frozenset(sources)}
    running = Stack(
        name="dev",
        resources=tuple(replace(one, sources=made) if one.name == PROXY else one for one in stack.resources),
    )
    rule = [one for one in images.RULES if one.name == "image-of-an-exemption"]
    found = [one.resource.name for one in validated(running, rule).violations if one.resource]
    assert found == ([] if good else [PROXY])
