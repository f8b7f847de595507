"""The pins agree with one another."""

from __future__ import annotations

import re

from tests.toolchain.conftest import CLI, DOCKER, RANDOM, ROOT


def pins() -> dict[str, str]:
    lines = (ROOT / "scripts/toolchain/versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def locked() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def test_lock_has_the_versions_of_the_plugins() -> None:
    assert locked()["pulumi-docker"] == pins()["PULUMI_PLUGIN_DOCKER_VERSION"]
    assert locked()["pulumi-random"] == pins()["PULUMI_PLUGIN_RANDOM_VERSION"]


def test_every_locked_package_has_a_hash_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    names = re.split(r"^(?=[a-z0-9-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(names) == len(locked())
    assert [block.split("==")[0] for block in names if "--hash=sha256:" not in block] == []
    assert "index-url" not in lock
    assert "find-links" not in lock
    assert "://" not in lock


def test_every_requirement_is_locked() -> None:
    wanted = [
        re.split("[=<>~!\\[ ]", line)[0].lower()
        for line in (ROOT / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert wanted
    assert [name for name in wanted if name not in locked()] == []


def test_engine_sources_are_of_the_pinned_cli() -> None:
    module = (ROOT / "lab/engine/pulumi/go.mod").read_text()
    cli = pins()["PULUMI_CLI_VERSION"]
    assert f"github.com/pulumi/pulumi/pkg/v3 v{cli} " in module
    assert f"github.com/pulumi/pulumi/sdk/v3 v{cli} " in module


def test_go_modules_need_no_newer_go_than_the_pin() -> None:
    for module in sorted((ROOT / "lab/engine").glob("*/go.mod")):
        (needed,) = re.findall(r"^go (\S+)$", module.read_text(), re.MULTILINE)
        assert needed == pins()["GO_MIN_VERSION"], module


def test_tests_speak_of_the_pinned_versions() -> None:
    assert pins() == {
        "PULUMI_CLI_VERSION": CLI,
        "PULUMI_PLUGIN_DOCKER_VERSION": DOCKER,
        "PULUMI_PLUGIN_RANDOM_VERSION": RANDOM,
        "GO_MIN_VERSION": "1.26",
    }
