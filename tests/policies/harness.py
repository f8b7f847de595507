"""Runs the pack's rules on one resource, through the SDK's own proxies, and collects what they report.

Every message of every case is searched for every value of its resource: a rule may never print one.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pulumi_policy import PolicyResourceOptions
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.policy import PolicyCustomTimeouts
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from policies import rules
from policies.config import PackConfig, configure, read
from policies.rules import RULES
from policies.rules.props import plain
from policies.rules.rule import Rule, Stack, from_engine
from tests.components.stacks import built

Json = dict[str, "Json"] | list["Json"] | str | float | bool | None
Props = dict[str, Json]

CONTAINER: Final = "docker:index/container:Container"
VOLUME: Final = "docker:index/volume:Volume"
UNKNOWN: Final = UNKNOWN_STRING_VALUE
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"

# A value that stands in the rules' own text, such as `root`, proves nothing where a message has it.
_FIXED: Final = " ".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(rules.__file__).parent.glob("*.py"))
)


@dataclass(frozen=True, kw_only=True)
class Violation:
    """What a rule reported, as the engine would print it."""

    rule: str
    message: str


def declared_inputs(name: str, **changes: Json) -> Props:
    """The inputs of a resource that the program declares on dev, with `changes`; None takes one away."""
    (found,) = (one for one in built("dev").resources if one.name == name)
    inputs: Props = json.loads(json.dumps(found.inputs))
    return {key: value for key, value in (inputs | changes).items() if value is not None}


def places(
    props: Props,
    kind: str = CONTAINER,
    *,
    name: str,
    stack: str = "dev",
    config: Props | None = None,
    rules: Sequence[Rule],
) -> dict[str, list[str]]:
    """By rule, where a resource is refused: the property, and the name of a variable or label behind it."""
    found: dict[str, list[str]] = {}
    for one in validate(props, kind, name=name, stack=stack, config=config, rules=rules):
        place = re.match(r"[^:]*: ((?:\S+(?: \([^)]*\))?)?) ?", one.message)
        assert place
        found.setdefault(one.rule, []).append(place[1])
    return found


def validate(
    props: Props,
    kind: str = CONTAINER,
    *,
    name: str,
    stack: str = "dev",
    config: Props | None = None,
    rules: Sequence[Rule] = RULES,
) -> list[Violation]:
    """Every violation of the rules of one resource. Inputs take the SDK's way: wire form, deserialized, proxied.

    `config` is given to every rule; without it each has the pack's own.
    """
    given = unknown_checking_proxy(deserialize_properties(props))
    urn = f"urn:pulumi:{stack}::nexus::nexus:service:Service${kind}::{name}"
    options = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])
    # Once for all rules. That each policy does the same with the SDK's arguments, test_pack.py shows over the wire.
    alone = Stack(name=stack, resources=(from_engine(kind, name, urn, given, options),))
    found: list[Violation] = []
    for rule in rules:
        if rule.validate is None:
            continue
        own = pack_config(stack).rules[rule.name] if config is None else plain(config)
        assert isinstance(own, Mapping)
        told = [result.message for result in rule.results(alone, own) if result.refused]
        assert len(told) == len(set(told)), f"said twice: {told}"
        for message in told:
            assert message.startswith(f"{name}: "), message
            found.append(Violation(rule=rule.name, message=message))
    _assert_no_value_told(props, found)
    return found


@functools.cache
def pack_config(stack: str) -> PackConfig:
    """What the pack's own file gives each rule on a stack."""
    return configure(read(), RULES, stack)


def _assert_no_value_told(props: Props, violations: list[Violation]) -> None:
    # Behind the resource's own name.
    said = [(violation, violation.message.partition(": ")[2]) for violation in violations]
    everything = "\n".join(text for _, text in said)
    for value in set(_values(props)):
        if len(value) < 4 or value not in everything or value in _FIXED:
            continue
        # A value such as "volume" is not printed by a message that names the property `volumes`.
        told = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
        for violation, text in said:
            assert not told.search(text), f"{violation.rule} prints {value!r}: {violation.message}"


def _values(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            # The name of a label is no value.
            if key not in ("label", "name", "key"):
                yield from _values(member)
    elif isinstance(value, list):
        for member in value:
            yield from _values(member)
    elif isinstance(value, str):
        yield value
        yield value.partition("=")[2]
        yield from value.split()
