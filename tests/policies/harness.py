"""Runs the pack's rules on made-up resources, through the SDK's own proxies, and collects what they report.

Every message of every case is searched for every value of its resource: a rule may never print one.
"""

import copy
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
from policies.rules import RULES, closed
from policies.rules.props import plain
from policies.rules.rule import Rule, Stack, from_engine

Json = dict[str, "Json"] | list["Json"] | str | float | bool | None
Props = dict[str, Json]

CONTAINER: Final = "docker:index/container:Container"
VOLUME: Final = "docker:index/volume:Volume"
SERVICE: Final = "docker:index/service:Service"
SERVICE_CONFIG: Final = "docker:index/serviceConfig:ServiceConfig"
PLUGIN: Final = "docker:index/plugin:Plugin"
IMAGE: Final = "docker:index/image:Image"

OPEN: Final = tuple(rule for rule in RULES if rule not in closed.RULES)
"""The rules that say what is wrong with an input. Made-up resources have inputs that `known-inputs` lets nobody use,
so that what it is there to catch is caught by the others too."""

UNKNOWN: Final = UNKNOWN_STRING_VALUE
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"

# A value that stands in the rules' own text, such as `root`, proves nothing where a message has it.
_FIXED: Final = " ".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(rules.__file__).parent.glob("*.py"))
)


@dataclass(frozen=True, kw_only=True)
class Violation:
    """What a rule reported, as the engine would print it."""

    rule: str
    message: str


TIMES: Final[Props] = {"interval": "30s", "timeout": "5s", "startPeriod": "1m0s", "retries": 3.0}


def container(**changes: Json) -> Props:
    """A container that breaks no rule, with `changes` to its inputs."""
    image_id = "sha256:" + "4f" * 32
    good: Props = {
        "name": "nexus-dev-sonarr",
        "image": image_id,
        "entrypoints": [
            "/usr/bin/catatonit",
            "--",
            "/bin/bash",
            "-c",
            'export SONARR__AUTH__APIKEY="$(</run/secrets/api_key)"; exec /entrypoint.sh',
        ],
        "envs": ["SONARR__AUTH__METHOD=External", "SONARR__AUTH__REQUIRED=Enabled", "SONARR__SERVER__PORT=8989"],
        "labels": [{"label": "nexus.stack", "value": "dev"}, {"label": "nexus.seed", "value": "9d" * 32}],
        "healthcheck": {"tests": ["CMD", "curl", "-fsS", "http://127.0.0.1:8989/ping"], **TIMES},
        "mounts": [
            {"type": "volume", "source": "nexus-dev-sonarr-config", "target": "/config", "readOnly": False},
            {"type": "bind", "source": "/srv/media", "target": "/data", "readOnly": False},
        ],
        "volumes": [{"volumeName": "nexus-dev-secrets", "containerPath": "/run/secrets", "readOnly": True}],
        "tmpfs": {"/run": "size=1m", "/tmp": "size=64m"},
        "networksAdvanced": [{"name": "nexus-dev-apps", "aliases": ["sonarr"]}],
        "hostname": "sonarr",
        "user": "1000:1000",
        "readOnly": True,
        "capabilities": {"drops": ["ALL"]},
        "securityOpts": ["no-new-privileges:true"],
        "init": True,
        "memory": 512.0,
        "memorySwap": 512.0,
        "cpus": "1.0",
        "ulimits": [{"name": "nproc", "soft": 4096.0, "hard": 4096.0}],
        "logDriver": "json-file",
        "logOpts": {"max-file": "3", "max-size": "10m"},
        "restart": "unless-stopped",
        "wait": True,
        "mustRun": True,
        "stopTimeout": 60.0,
        "destroyGraceSeconds": 60.0,
    }
    return good | changes


def volume(**changes: Json) -> Props:
    """A volume that breaks no rule."""
    good: Props = {"name": "nexus-dev-data", "driver": "local", "driverOpts": {"type": "tmpfs", "device": "tmpfs"}}
    return good | changes


def service(**changes: Json) -> Props:
    """A Swarm service that breaks no rule; `changes` go to its container specification."""
    spec: Props = {
        "image": "docker.io/library/busybox:1.37@sha256:" + "4f" * 32,
        "commands": ["httpd", "-f"],
        "args": ["-p", "8080"],
        "env": {"LOG_LEVEL": "info"},
        "mounts": [{"type": "volume", "source": "data", "target": "/data"}],
    }
    return {"name": "web", "taskSpec": {"containerSpec": spec | changes}}


def each(key: str, *values: Json) -> list[Props]:
    """One change for each value of an input."""
    return [{key: value} for value in values]


def judge(
    props: Props,
    kind: str = CONTAINER,
    *,
    name: str = "sonarr",
    stack: str = "dev",
    config: Props | None = None,
    rules: Sequence[Rule] = OPEN,
) -> list[Violation]:
    """Every violation of every rule. Inputs take the SDK's way: wire form, deserialized, proxied.

    `config` is given to every rule; without it each has the pack's own. `rules` are those of all open families, where
    a test is not about one.
    """
    return _judge(unknown_checking_proxy(deserialize_properties(props)), props, kind, name, stack, config, rules)


def judge_raw(props: Props, kind: str = CONTAINER, *, rules: Sequence[Rule] = OPEN) -> list[Violation]:
    """The same on inputs in wire form, as mocks record them: secrets still wrapped, unknowns still text."""
    return _judge(props, props, kind, "sonarr", "dev", None, rules)


def declared_inputs(name: str, **changes: Json) -> Props:
    """The inputs of a resource that the program declares on dev, with `changes`; None takes one away."""
    from tests.components.stacks import built

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
    for one in judge(props, kind, name=name, stack=stack, config=config, rules=rules):
        place = re.match(r"[^:]*: ((?:\S+(?: \([^)]*\))?)?) ?", one.message)
        assert place
        found.setdefault(one.rule, []).append(place[1])
    return found


def rules_of(violations: list[Violation]) -> set[str]:
    """The names of the rules that objected."""
    return {violation.rule for violation in violations}


def _judge(
    given: object,
    props: Props,
    kind: str,
    name: str,
    stack: str,
    config: Props | None,
    rules: Sequence[Rule],
) -> list[Violation]:
    urn = f"urn:pulumi:{stack}::nexus::nexus:service:Service${kind}::{name}"
    options = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])
    # Once for all rules. That each policy does the same with the SDK's arguments, test_pack.py shows over the wire.
    alone = Stack(name=stack, resources=(from_engine(kind, name, urn, given, options),))
    found: list[Violation] = []
    for rule in rules:
        if rule.judge is None:
            continue
        own = pack_config(stack).rules[rule.name] if config is None else plain(config)
        assert isinstance(own, Mapping)
        told = [verdict.message for verdict in rule.verdicts(alone, own) if verdict.refused]
        assert len(told) == len(set(told)), f"said twice: {told}"
        for message in told:
            assert not name or message.startswith(f"{name}: "), message
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


def positions(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything below `value`."""
    members: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    for key, member in members:
        yield (*path, key)
        yield from positions(member, (*path, key))


def member(holder: Json, key: str | int) -> Json:
    """What `holder` has under `key`."""
    if isinstance(holder, dict) and isinstance(key, str):
        return holder[key]
    assert isinstance(holder, list)
    assert isinstance(key, int)
    return holder[key]


def at(props: Props, path: tuple[str | int, ...]) -> Json:
    """The value at `path`."""
    start: Json = props
    return functools.reduce(member, path, start)


def replaced(props: Props, path: tuple[str | int, ...], value: Json) -> Props:
    """A copy of `props` with `value` at `path`."""
    result = copy.deepcopy(props)
    holder, key = at(result, path[:-1]), path[-1]
    if isinstance(holder, dict) and isinstance(key, str):
        holder[key] = value
    else:
        assert isinstance(holder, list)
        assert isinstance(key, int)
        holder[key] = value
    return result
