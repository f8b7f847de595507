"""What keeps running in a stack: its names and its networks, and how addresses name it.

No rule belongs here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from policies.rules.configuration import member, texts
from policies.rules.containers import one_shot
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Resource, Stack


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What runs for as long as the stack is up: a container, or a Swarm service.

    `own` is the service's own name, that of the resource without its kind. `claims` are the names that it takes for
    itself and where, `hosts` those that it looks up in a list of its own; `names` are all it can be reached by.
    `networks` are those it is on; `whole` is False where some are not known.
    """

    resource: Resource
    own: str
    claims: tuple[tuple[Path, str], ...]
    hosts: tuple[tuple[Path, str], ...]
    networks: frozenset[str]
    whole: bool
    rides: bool
    """Whether it lives in the network namespace of another container, or may."""

    @property
    def names(self) -> frozenset[str]:
        """Every name that leads to it, as a resolver compares them."""
        return frozenset({folded(self.own), *(name for _, name in self.claims)})

    def meets(self, other: "Runner") -> bool:
        """Whether the two share a network, or may share one that is not known yet."""
        return bool(self.networks & other.networks) or not (self.whole and other.whole)


def folded(name: str) -> str:
    """A host's name as a resolver compares it."""
    return name.strip().rstrip(".").casefold()


def host_and_port(address: str) -> str:
    """`sonarr:8989` of `http://sonarr:8989/ping` and of `sonarr:8989`."""
    text = address.strip()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError:
        return ""
    if port is None:
        port = {"http": 80, "https": 443}.get(parts.scheme)
    name = (parts.hostname or "").rstrip(".")
    return f"{name}:{port}" if port is not None else name


def host(address: str) -> str:
    """The host of a host and port."""
    return address.rpartition(":")[0] if re.search(r":\d+$", address) else address


def called(name: str, running: Iterable[Runner]) -> list[Runner]:
    """What answers to a name."""
    name = folded(name)
    return [one for one in running if name and name in one.names]


def _runner(resource: Resource) -> Iterator[Runner]:
    props: Value = resource.props
    at: Path = ()
    on_path: Path = ("networksAdvanced",)
    if resource.kind == "Service":
        at = ("taskSpec", "containerSpec")
        spec = member(member(props, "taskSpec"), "containerSpec")
        on_path = ("taskSpec", "networksAdvanceds")
        networks = member(member(props, "taskSpec"), "networksAdvanceds")
    else:
        spec = props
        networks = member(props, "networksAdvanced")
    claims: list[tuple[Path, str]] = [(("name",), text) for text in texts(member(props, "name"))]
    if not _rides(props):  # there it is that of the namespace, which the provider reads back from the engine
        claims += [((*at, "hostname"), text) for text in texts(member(spec, "hostname"))]
    hosts: list[tuple[Path, str]] = []
    for index, network in enumerate(networks if isinstance(networks, list) else []):
        aliases = member(network, "aliases")
        for number, alias in enumerate(aliases if isinstance(aliases, list) else [aliases]):
            claims += [((*on_path, index, "aliases", number), text) for text in texts(alias)]
    listed = member(spec, "hosts")
    for index, line in enumerate(listed if isinstance(listed, list) else []):
        hosts += [((*at, "hosts", index, "host"), text) for text in texts(member(line, "host"))]
    on = [member(network, "name") for network in dicts(networks)]
    yield Runner(
        resource=resource,
        own=re.sub("-(?:container|service)$", "", resource.name),
        claims=tuple((path, folded(text)) for path, text in claims if folded(text)),
        hosts=tuple((path, folded(text)) for path, text in hosts),
        networks=frozenset(one for one in on if isinstance(one, str)),
        whole=member(props, "networksAdvanced") is not UNKNOWN and UNKNOWN not in on and not _rides(props),
        rides=_rides(props),
    )


def _rides(props: Value) -> bool:
    """Whether it lives in another container's network namespace, or may."""
    mode = member(props, "networkMode")
    return mode is UNKNOWN or (isinstance(mode, str) and mode.startswith("container:"))


def dicts(value: Value) -> list[dict[str, Value]]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def runners(stack: Stack) -> tuple[Runner, ...]:
    """Everything of the stack that keeps running."""
    return stack.once(_runners)


def _runners(stack: Stack) -> Iterator[Runner]:
    found = (one for one in stack.of("Container") if not one_shot(one.props))
    for one in (*found, *stack.of("Service")):
        yield from one.once(_runner)
