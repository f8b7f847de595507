"""Family `images`: references in every spelling, and what must pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from components.images import PINS
from policies.config import configure, read
from policies.judge import judge as judge_stack
from policies.rules import RULES as ALL
from policies.rules import images
from policies.rules.props import UNKNOWN as PLAIN_UNKNOWN
from policies.rules.rule import Stack
from tests.components.stacks import CHOICES
from tests.policies.harness import SERVICE, UNKNOWN, Json, container, judge, rules_of
from tests.policies.harness import service as swarm
from tests.policies.platform import changed, declared, judged

RULES: Final = frozenset(rule.name for rule in images.RULES)
REMOTE: Final = "docker:index/remoteImage:RemoteImage"
DIGEST: Final = "@sha256:" + "4f" * 32
LAB: Final = f"localhost:5790/home-operations/sonarr:4.0{DIGEST}"


def refused(reference: Json, *, stack: str = "prod") -> set[str]:
    """The rules of the family that object to an image of that name."""
    return rules_of(judge({"name": reference}, REMOTE, name="image-x", stack=stack)) & RULES


@pytest.mark.parametrize(
    ("reference", "rules"),
    [
        ("docker.io/library/busybox:1.37", {"image-digest"}),
        ("docker.io/library/busybox:1.37@sha256:" + "4f" * 31, {"image-digest"}),
        ("docker.io/library/busybox:1.37@sha256:" + "4F" * 32, {"image-digest"}),
        ("docker.io/library/busybox:1.37@md5:" + "4f" * 16, {"image-digest"}),
        (f"docker.io/library/busybox{DIGEST}", {"image-version-tag"}),
        (f"busybox{DIGEST}", {"image-version-tag"}),
        (f"busybox:latest{DIGEST}", {"image-version-tag"}),
        (f"busybox:Latest{DIGEST}", {"image-version-tag"}),
        (f"ghcr.io/a/b:nightly{DIGEST}", {"image-version-tag"}),
        (f"ghcr.io/a/b:nightly-2026{DIGEST}", {"image-version-tag"}),
        *(
            (f"ghcr.io/a/b:{tag}{DIGEST}", {"image-version-tag"})
            for tag in ("lts", "4-latest", "amd64-latest", "alpine")
        ),
        *(
            (f"ghcr.io/a/b:{tag}{DIGEST}", {"image-version-tag"})
            for tag in ("version-latest", "canary", "preview", "v")
        ),
        (f"EVIL/x/y:1.0{DIGEST}", {"image-registry"}),
        ("busybox", {"image-digest", "image-version-tag"}),
        ("busybox:latest", {"image-digest", "image-version-tag"}),
        (f"evil.example/library/busybox:1.37{DIGEST}", {"image-registry"}),
        (f"docker.io.evil.example/busybox:1.37{DIGEST}", {"image-registry"}),
        (f"docker.io:5000/busybox:1.37{DIGEST}", {"image-registry"}),
        (f"gcr.io/cadvisor/cadvisor:1{DIGEST}", {"image-registry"}),
        (LAB, {"image-registry"}),
        (f"127.0.0.1:5000/x/y:1{DIGEST}", {"image-registry"}),
        (f"docker.io/containrrr/watchtower:1.7.1{DIGEST}", {"no-retired-image"}),
        (f"containrrr/watchtower:1.7.1{DIGEST}", {"no-retired-image"}),
        (f"lscr.io/linuxserver/readarr:1{DIGEST}", {"no-retired-image"}),
        (f"ghcr.io/mirror/containrrr/watchtower:1{DIGEST}", {"no-retired-image"}),
    ],
)
def test_what_is_refused(reference: str, rules: set[str]) -> None:
    assert refused(reference) == rules
    assert rules_of(judge(container(image=reference), stack="prod")) & RULES == rules
    assert rules_of(judge(swarm(image=reference), SERVICE, stack="prod")) & RULES == rules


def test_every_rule_refuses_something() -> None:
    of_a_stack = {rule.name for rule in images.RULES if rule.judge_stack}
    assert {"image-digest", "image-version-tag", "image-registry", "no-retired-image"} == RULES - of_a_stack


@pytest.mark.parametrize(
    "reference",
    [
        *PINS.values(),
        f"busybox:1.37{DIGEST}",
        f"index.docker.io/library/busybox:1.37{DIGEST}",
        f"registry-1.docker.io/library/busybox:1.37{DIGEST}",
        f"GHCR.io/a/b:1{DIGEST}",
        *(f"ghcr.io/a/b:{tag}{DIGEST}" for tag in ("v1.2", "1.37-alpine", "r2-ls124", "17.11-bookworm", "10.11.11")),
        f"someone/watchtower:1{DIGEST}",
        UNKNOWN,
        "",
        None,
    ],
)
def test_what_passes(reference: Json) -> None:
    assert refused(reference) == set()


@pytest.mark.parametrize("image", ["sha256:" + "4f" * 32, "4f" * 32, "4f" * 6])
def test_a_container_may_run_an_id_but_nothing_pulls_one(image: str) -> None:
    assert rules_of(judge(container(image=image), stack="prod")) & RULES == set()
    assert "image-digest" in refused(image)


def test_the_labs_registry_is_for_stacks_of_development_alone() -> None:
    assert refused(LAB, stack="dev") == set()
    assert refused(LAB, stack="staging") == {"image-registry"}
    # Nobody's machine but this one.
    assert refused(f"localhost.evil.example:5790/x/y:1{DIGEST}", stack="dev") == {"image-registry"}


PROXY: Final = "cadvisor-socket-proxy-container"
ID: Final = "sha256:" + "1f" * 32


def running(image: object, *sources: str) -> Stack:
    """The declared platform, where the socket proxy runs another image, made from these resources."""
    made = {"image": frozenset(sources)} if sources else {}
    stack = changed(declared("dev"), PROXY, image=image)
    others = (replace(one, sources=made) if one.name == PROXY else one for one in stack.resources)
    return replace(stack, resources=tuple(others))


def test_what_is_excused_for_one_image_runs_no_other() -> None:
    own = "image-socket-proxy"
    assert own in {one.name for one in declared("dev").of("RemoteImage")}
    wrong = [
        running(ID, "image-busybox"),
        running(ID, own, "image-busybox"),
        running(ID),
        running(ID, "somewhere"),
        running(f"docker.io/library/busybox:1.37{DIGEST}"),
        running(None),
    ]
    for stack in wrong:
        assert "image-of-an-exception" in {one.rule for one in judged(stack, images.RULES).violations}
    right = [running(ID, own), running(PLAIN_UNKNOWN, own), running(PLAIN_UNKNOWN)]
    right += [running(f"docker.io/wollomatic/socket-proxy:1.13.1{DIGEST}")]
    right += [running(f"ghcr.io/mirror/wollomatic/socket-proxy:1.13.1{DIGEST}")]
    for stack in right:
        assert "image-of-an-exception" not in {one.rule for one in judged(stack, images.RULES).violations}


@pytest.mark.parametrize("choice", [one for one in CHOICES if one != "mirror"])
def test_the_declared_platform_passes(choice: str) -> None:
    assert [one.message for one in judged(declared(choice), images.RULES).violations] == []


def test_a_mirror_has_to_be_on_the_list() -> None:
    stack = declared("mirror")
    found = judged(stack).violations
    assert {one.rule for one in found} == {"image-registry"}
    assert len(found) == len(PINS)
    file = read()
    allowed = [*images.RULES[2].settings["registries"]["default"], "registry.lan:5000"]
    changed = file.model_copy(update={"settings": {**file.settings, "image-registry": {"registries": allowed}}})
    assert judge_stack(stack, ALL, configure(changed, ALL, stack.name)).violations == ()


@pytest.mark.parametrize(
    "junk", [7, 1.5, True, "x", [], {}, [None], "@", ":", "/", "a/b@", "::@@//", UNKNOWN], ids=str
)
def test_junk_raises_nothing(junk: Json) -> None:
    refused(junk)
    judge(container(image=junk))
    judge(swarm(image=junk), SERVICE)
