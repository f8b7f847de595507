"""Renovate finds each pin once, raises it where it stands, and raises nothing that has to stay together apart."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from components.images import PINS

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIG: Final[Mapping[str, Any]] = json.loads((ROOT / "renovate.json").read_text(encoding="utf-8"))
IMAGES: Final = "components/images.py"
VERSIONS: Final = "scripts/toolchain/versions.env"


def python(pattern: str) -> re.Pattern[str]:
    """A pattern of Renovate (RE2) as Python has it; of what they share only the group's name is written otherwise."""
    assert not re.search(r"\(\?<?[=!]", pattern), "RE2 cannot look around"
    return re.compile(pattern.replace("(?<", "(?P<"))


@functools.cache
def files() -> tuple[Path, ...]:
    """The files of the checkout."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    text = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in filter(None, text.split("\0")) if (path := ROOT / name).is_file())


def files_of(patterns: list[str]) -> list[Path]:
    found = [python(one.strip("/")) for one in patterns]
    return [path for path in files() if any(one.search(path.relative_to(ROOT).as_posix()) for one in found)]


def matches(file: str) -> Iterator[tuple[Mapping[str, Any], re.Match[str]]]:
    for manager in CONFIG["customManagers"]:
        if any(python(one.strip("/")).search(file) for one in manager["managerFilePatterns"]):
            for pattern in manager["matchStrings"]:
                for match in python(pattern).finditer((ROOT / file).read_text(encoding="utf-8")):
                    yield manager, match


def raised(match: re.Match[str], **new: str) -> str:
    """The text with the named groups replaced, within what was matched, as Renovate does it."""
    text = match.string
    for name, value in sorted(new.items(), key=lambda one: -match.start(one[0])):
        text = text[: match.start(name)] + value + text[match.end(name) :]
    return text


def test_every_image_is_found_exactly_once() -> None:
    found = [f"{match['depName']}:{match['currentValue']}@{match['currentDigest']}" for _, match in matches(IMAGES)]
    assert sorted(found) == sorted(PINS.values())
    assert len(found) == len(set(found)) == len(PINS)
    assert {match["datasource"] for _, match in matches(IMAGES)} == {"docker"}


@pytest.mark.parametrize("key", PINS)
def test_a_raised_image_lands_in_its_own_pin(key: str) -> None:
    (match,) = [one for _, one in matches(IMAGES) if f"{one['depName']}:" in PINS[key]]
    digest = "sha256:" + "0" * 64
    scope: dict[str, Any] = {}
    # The file under another name: only PINS is looked at.
    exec(
        compile(raised(match, currentValue="99.1", currentDigest=digest), "raised", "exec"),
        {"__name__": "raised"},
        scope,
    )
    changed = {name for name, pin in scope["PINS"].items() if pin != PINS[name]}
    assert changed == {key}
    assert scope["PINS"][key] == f"{match['depName']}:99.1@{digest}"


def test_every_pin_of_the_engine_is_found_exactly_once() -> None:
    text = (ROOT / VERSIONS).read_text(encoding="utf-8")
    pins = dict(re.findall(r"^(PULUMI\w+)=(\S+)$", text, re.MULTILINE))
    found = {manager["depNameTemplate"]: match for manager, match in matches(VERSIONS)}
    assert {name: match["currentValue"] for name, match in found.items()} == {
        "pulumi/pulumi": pins["PULUMI_CLI_VERSION"],
        "pulumi/pulumi-docker": pins["PULUMI_PLUGIN_DOCKER_VERSION"],
        "pulumi/pulumi-random": pins["PULUMI_PLUGIN_RANDOM_VERSION"],
    }
    assert len(list(matches(VERSIONS))) == len(pins)
    new = raised(found["pulumi/pulumi-docker"], currentValue="99.0.0")
    assert new == text.replace(
        f"PULUMI_PLUGIN_DOCKER_VERSION={pins['PULUMI_PLUGIN_DOCKER_VERSION']}", "PULUMI_PLUGIN_DOCKER_VERSION=99.0.0"
    )


def test_every_manager_has_files() -> None:
    assert {path.name for path in files_of(CONFIG["pip_requirements"]["managerFilePatterns"])} == {
        "requirements.in",
        "requirements.lock",
    }
    modules = files_of(CONFIG["gomod"]["managerFilePatterns"])
    assert set(modules) == {path for path in files() if path.name == "go.mod"}
    for manager in CONFIG["customManagers"]:
        assert len(files_of(manager["managerFilePatterns"])) == 1
    used = {"custom.regex", "pip_requirements", "gomod", "github-actions"}
    assert set(CONFIG["enabledManagers"]) == used


def test_one_at_a_time_and_nothing_by_itself() -> None:
    assert CONFIG["prConcurrentLimit"] == CONFIG["branchConcurrentLimit"] == CONFIG["prHourlyLimit"] == 1
    assert CONFIG["automerge"] is CONFIG["platformAutomerge"] is False
    assert not [rule for rule in CONFIG["packageRules"] if rule.get("automerge")]
    # What the recommended presets would put together stays apart.
    assert not [one for one in CONFIG["extends"] if one.startswith(("config:", "group:"))]


def test_of_the_lock_only_what_requirements_in_names_is_raised() -> None:
    wanted = {
        re.split(r"[=<>~!\[ ]", line)[0]
        for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    (rule,) = [one for one in CONFIG["packageRules"] if one.get("matchFileNames") == ["requirements.lock"]]
    assert rule["enabled"] is False
    assert set(rule["matchPackageNames"]) == {f"!{name}" for name in wanted}


def test_linuxservers_tags_have_their_own_order() -> None:
    (rule,) = [one for one in CONFIG["packageRules"] if "versioning" in one]
    (prefix,) = [one.removesuffix("**") for one in rule["matchPackageNames"]]
    ours = [pin.split("@")[0].rpartition(":") for pin in PINS.values() if pin.startswith(prefix)]
    assert ours
    for _, _, tag in ours:
        assert python(rule["versioning"].removeprefix("regex:")).fullmatch(tag)


def test_what_is_one_version_is_raised_together() -> None:
    groups = [set(rule["matchPackageNames"]) for rule in CONFIG["packageRules"] if "groupName" in rule]
    for parts in ({"pulumi-docker", "pulumi/pulumi-docker"}, {"pulumi-random", "pulumi/pulumi-random"}):
        assert parts in groups
