"""Family `closed`: what is not on the list of types and inputs is refused, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from policies import config as pack
from policies.rules.closed import RULES
from policies.rules.props import Value
from tests.components.stacks import CHOICES
from tests.policies.harness import CONTAINER, UNKNOWN, Props, judge
from tests.policies.platform import declared

LISTED: dict[str, list[str]] = pack.read().settings["known-inputs"]["inputs"]  # type: ignore[assignment]


FILLED_IN = frozenset(
    {
        "version",
        "ipamDriver",
        "start",
        "removeVolumes",
        "healthcheck.startInterval",
        "containerReadRefreshTimeoutMilliseconds",
    }
)
"""What the engine and the provider add to what the program gives (seen in the state of a stack)."""


def refused(props: Props, *listed: str, kind: str = CONTAINER) -> list[str]:
    """What is refused of a resource whose type has that list."""
    told = judge(props, kind, config={"inputs": {kind: list(listed)}}, rules=RULES)
    return [one.message.removeprefix("sonarr: ").partition(" is not on the list")[0] for one in told]


@pytest.mark.parametrize(
    ("props", "places"),
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
def test_what_is_not_on_the_list_is_refused_where_it_stands(props: Props, places: list[str]) -> None:
    assert refused(props, "image", "mounts.source", "tmpfs.*", "start=true") == places


def test_a_type_that_is_not_on_the_list_is_refused_by_its_name() -> None:
    (told,) = judge({}, "docker:index/plugin:Plugin", config={"inputs": {CONTAINER: []}}, rules=RULES)
    assert "is a docker:index/plugin:Plugin: no such type is on the list" in told.message
    assert "policies/config.yaml" in told.message


def test_without_a_list_everything_is_refused() -> None:
    assert len(judge({}, config={}, rules=RULES)) == 1


def names(value: Value, name: str) -> Iterator[str]:
    """The names by which a list would have every value below `value`."""
    yield name
    if isinstance(value, dict):
        for key, member in value.items():
            yield from names(member, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for member in value:
            yield from names(member, name)


def test_the_list_has_nothing_that_no_stack_needs() -> None:
    """What the program no longer writes is taken off the list; FILLED_IN is what the provider writes."""
    used: dict[str, set[str]] = {}
    for choice in CHOICES:
        for one in declared(choice).resources:
            used.setdefault(one.type, set()).update(names(one.props, ""))
    assert set(LISTED) - {"pulumi:pulumi:Stack"} == set(used)
    spare = {
        (kind, name)
        for kind, listed in LISTED.items()
        for name in (line.partition("=")[0] for line in listed)
        if name not in FILLED_IN and not any(one == name or _covers(name, one) for one in used[kind])
    }
    assert spare == set()


def _covers(name: str, used: str) -> bool:
    return name.endswith(".*") and used.startswith(name.removesuffix("*"))
