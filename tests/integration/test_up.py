"""`up` ends with everything healthy, and after that there is nothing left to change."""

from __future__ import annotations

import json
import re
from typing import Final

import docker
import pytest

from scripts.paths import find
from tests import offers
from tests.integration.conftest import git_status
from tests.integration.stacks import Stack, not_healthy, service_of, succeeded

pytestmark = pytest.mark.integration

CHANGES: Final = re.compile(r"\b\d+ (created|updated|replaced|deleted|to create|to update|to replace|to delete)\b")
"""The engine's summary of an operation that is, or would be, more than nothing."""

SERVICES: Final = offers.SERVICES.keys()
"""What runs."""


def fingerprint(stack: Stack) -> dict[str, tuple[str, str]]:
    """Which containers there are and since when they run."""
    return {service_of(item): (str(item.id), item.attrs["State"]["StartedAt"]) for item in stack.containers()}


def assert_whole(stack: Stack) -> None:
    """Everything healthy, nothing left over, nothing left to change."""
    assert not_healthy(stack.containers()) == []
    assert sorted(map(service_of, stack.containers())) == sorted(SERVICES)
    assert "pending_operations" not in stack.export()
    succeeded(stack.pulumi("preview", "--refresh", "--expect-no-changes"))


def test_every_service_runs_and_is_healthy(stack: Stack) -> None:
    assert {service_of(item) for item in stack.containers()} == SERVICES
    assert not_healthy(stack.containers()) == []


def test_a_stopped_container_is_not_taken_for_healthy(stack: Stack, client: docker.DockerClient) -> None:
    image = stack.container("qbittorrent").attrs["Image"]
    labels = {"nexus.service": "dead", "nexus.test": stack.name}
    dead = client.containers.create(image, entrypoint=["true"], labels=labels)
    try:
        assert not_healthy([dead]) == ["dead is created"]
    finally:
        dead.remove(force=True, v=True)


def test_the_engine_keeps_no_log_of_its_own(stack: Stack) -> None:
    """scripts/setup has a file where the CLI would make the folder; it goes on without."""
    assert (find().cache / "pulumi-home" / "logs").is_file()


def test_preview_sees_nothing_to_change(stack: Stack) -> None:
    """Nor on the host; that the state has nothing, either, is what `up` again begins with."""
    command = succeeded(stack.pulumi("preview", "--expect-no-changes", "--refresh"))
    assert not CHANGES.search(command.output)
    assert re.search(r"\b\d+ unchanged\b", command.output)


def test_the_preview_sees_a_change(stack: Stack) -> None:
    stack.write({"nexus:jellyfin": {"transcode-mb": 65}})
    try:
        command = stack.run("preview", "--stack-file", str(stack.file), "--expect-no-changes")
        assert command.process.returncode != 0
        assert CHANGES.search(command.output)
    finally:
        stack.write()


@pytest.fixture(scope="module")
def again(stack: Stack) -> tuple[dict[str, tuple[str, str]], str]:
    """Which containers there were before another `up`, and what that printed."""
    return fingerprint(stack), stack.up().output


def test_up_again_changes_nothing(stack: Stack, again: tuple[dict[str, tuple[str, str]], str]) -> None:
    before, printed = again
    assert not CHANGES.search(printed)
    assert "nothing to change" in printed
    assert fingerprint(stack) == before


def test_the_checkout_is_as_clean_as_before(stack: Stack, checkout_before: str) -> None:
    assert git_status() == checkout_before


def test_outputs_say_where_things_are(stack: Stack) -> None:
    outputs = json.loads(stack.read("stack", "output", "--json"))
    assert outputs["admin-user"] == "admin"
    assert outputs["admin-password"] == "[secret]"
    assert stack.physical("data") in outputs["data"]
    assert outputs["urls"] == {app: f"https://{app}.{stack.domain}:{stack.https_port}" for app in offers.PAGES}
    assert len(stack.output("admin-password")) == 24


def test_up_prints_addresses_and_the_way_to_the_password(
    stack: Stack, again: tuple[dict[str, tuple[str, str]], str]
) -> None:
    _, printed = again
    for wanted in (
        f"https://jellyfin.{stack.domain}:{stack.https_port}",
        "stack output admin-password --show-secrets",
        str(stack.state / "stacks" / stack.name / "passphrase"),
    ):
        assert wanted in printed
    assert stack.output("admin-password") not in printed
