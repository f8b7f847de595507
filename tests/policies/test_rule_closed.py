"""Family `closed`: what is not on the lists of types, inputs and variables is refused, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from policies import config as pack
from policies.rules.closed import RULES
from policies.rules.props import Value
from tests.components.stacks import CHOICES
from tests.policies.harness import CONTAINER, UNKNOWN, Json, Props, places
from tests.policies.platform import declared

SETTINGS = pack.read().settings
EVENTS = Path(__file__).parents[1] / "report" / "events"
LISTED: dict[str, list[str]] = SETTINGS["known-inputs"]["inputs"]  # type: ignore[assignment]
VARIABLES: list[str] = SETTINGS["known-environment"]["variables"]  # type: ignore[assignment]


def refused(props: Props, *listed: str, kind: str = CONTAINER) -> list[str]:
    """What is refused of a resource whose type has that list."""
    told = places(props, kind, name="sonarr", config={"inputs": {kind: list(listed)}}, rules=RULES[:1])
    return told.get("known-inputs", [])


@pytest.mark.parametrize(
    ("props", "found"),
    [
        ({"image": "a"}, []),
        ({"image": UNKNOWN}, []),
        ({"runtime": "evil"}, ["runtime"]),
        ({"runtime": UNKNOWN}, ["runtime"]),
        ({"runtime": ""}, ["runtime"]),
        ({"tty": False}, ["tty"]),
        ({"dns": [], "hosts": None, "options": {}}, []),
        ({"dns": ["192.0.2.66"]}, ["dns"]),
        ({"mounts": [{"source": "x"}]}, []),
        ({"mounts": UNKNOWN}, []),
        ({"mounts": "x"}, ["mounts"]),
        ({"mounts": ["x"]}, ["mounts[0]"]),
        ({"mounts": [{"source": "x"}, {"source": "y", "options": {"a": "b"}}]}, ["mounts[1].options"]),
        ({"mounts": {"source": "x", "type": "bind"}}, ["mounts.type"]),
        ({"tmpfs": {"/tmp": "size=1m"}}, []),
        ({"image": "a", "Image": "b", "image.x": "c"}, ["Image", "image.x"]),
        ({"start": True}, []),
        ({"start": False}, ["start"]),
        ({"start": "true"}, ["start"]),
        ({"start": UNKNOWN}, ["start"]),
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_is_refused_where_it_stands(props: Props, found: list[str]) -> None:
    assert refused(props, "image", "mounts.source", "tmpfs.*", "start=true") == found


@pytest.mark.parametrize("kind", ["docker:index/plugin:Plugin", "docker:index/service:Service", "aws:s3:Bucket"])
def test_a_type_that_is_not_on_the_list_is_refused(kind: str) -> None:
    assert places({}, kind, name="a", rules=RULES) == {"known-inputs": ["is"]}
    assert places({}, CONTAINER, name="a", config={}, rules=RULES) == {"known-inputs": ["is"]}


@pytest.mark.parametrize(
    ("variable", "good"),
    [
        ("TZ=Etc/UTC", True),
        ("LIDARR__AUTH__METHOD=External", True),
        ("LIDARR__AUTH__METHOD=None", False),
        ("GF_AUTH_ANONYMOUS_ENABLED=true", False),
        ("GF_AUTH_PROXY_ENABLED=true", False),
        ("TRAEFIK_API=true", False),
        ("LD_PRELOAD=/data/x.so", False),
        ("PASSWORD_FILE=/run/secrets/x", False),
        ("tz=x", False),
        ("NAME", False),
        (UNKNOWN, True),
        (7, False),
    ],
)
def test_a_variable_is_on_the_list(variable: Json, good: bool) -> None:
    told = places({"envs": ["TZ=a", variable]}, name="sonarr-container", rules=RULES[1:])
    assert [place.partition(" ")[0] for place in told.get("known-environment", [])] == ([] if good else ["envs[1]"])


def test_the_variables_of_a_gateway_are_another_rules() -> None:
    assert places({"envs": ["X=a"]}, name="vpn-container", rules=RULES[1:]) == {}


def names(value: Value, name: str) -> Iterator[str]:
    """The names by which a list would have every value below `value`."""
    yield name
    if isinstance(value, dict):
        for key, member in value.items():
            yield from names(member, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for member in value:
            yield from names(member, name)


FILLED_IN = frozenset(
    {
        *("version", "ipamDriver", "start", "removeVolumes", "containerReadRefreshTimeoutMilliseconds", "rm"),
        *("healthcheck.startInterval", "uploads.executable", "stdinOpen", "tty"),
    }
)
"""What engine and provider write where the program says nothing."""


def test_what_the_provider_fills_in_is_on_the_list() -> None:
    """By previews of the real engine: tests/report/events."""
    seen = 0
    for line in "".join(path.read_text(encoding="utf-8") for path in EVENTS.glob("*.jsonl")).splitlines():
        new = (json.loads(line).get("resourcePreEvent", {}).get("metadata") or {}).get("new") or {}
        inputs = new.get("inputs", {})
        filled = {key: inputs[key] for key in inputs.get("__defaults", [])}
        if filled:
            told = places({"__defaults": [], **filled}, new["type"], name="x", rules=RULES[:1])
            assert told == {}
            seen += 1
    assert seen > 10


def test_the_list_has_nothing_that_no_stack_needs() -> None:
    """What the program no longer writes is taken off the list."""
    used: dict[str, set[str]] = {}
    for choice in CHOICES:
        for one in declared(choice).resources:
            used.setdefault(one.type, set()).update(names(one.props, ""))
    assert set(LISTED) - {"pulumi:pulumi:Stack"} == set(used)
    spare = {
        (kind, name)
        for kind, listed in LISTED.items()
        for name in (one.partition("=")[0] for one in listed)
        if name not in FILLED_IN and not any(fnmatchcase(one, name) for one in used[kind])
    }
    assert spare == set()


def test_no_variable_is_listed_that_no_stack_has() -> None:
    given = {
        str(one)
        for choice in CHOICES
        for container in declared(choice).of("Container")
        for one in container.props.get("envs") or []  # type: ignore[union-attr]
    }
    assert [line for line in VARIABLES if not any(fnmatchcase(f"{one}=", f"{line}=*") for one in given)] == []
