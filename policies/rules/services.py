"""What keeps running in a stack, by the names that lead to it. No rule is here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from policies.rules.configuration import File, files
from policies.rules.containers import is_init, items, table, text_of, texts
from policies.rules.props import UNKNOWN
from policies.rules.rule import Resource, Stack, once

PLATFORM: Final = "nexus:platform:Platform"
"""The component of the whole platform: a stack that has it must have routes and scrape targets."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A container that runs for as long as the stack is up. `name` is the service's, that of the resource without its
    kind; `networks` are those it is on, `is_complete` whether these are all."""

    resource: Resource
    name: str
    networks: frozenset[str]
    is_complete: bool

    def meets(self, other: "Service") -> bool:
        """Whether the two share a network, or may share one that is not known yet."""
        return bool(self.networks & other.networks) or not (self.is_complete and other.is_complete)


def services(stack: Stack) -> dict[str, Service]:
    """Every service of the stack by its name."""
    return {one.name: one for one in _services(stack)}


@once
def _services(stack: Stack) -> Iterator[Service]:
    for one in stack.of("Container"):
        if is_init(one.props):
            continue
        attached = one.props.get("networksAdvanced")
        names = [table(item).get("name") for item in items(attached)]
        mode = one.props.get("networkMode")
        shares = mode is UNKNOWN or text_of(mode).startswith("container:")
        yield Service(
            resource=one,
            name=one.name.removesuffix("-container"),
            networks=frozenset(texts(names)),
            is_complete=not shares and attached is not UNKNOWN and UNKNOWN not in names,
        )


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A file of that name, the init container that writes it, and the service that it is for."""

    resource: Resource
    file: File
    service: Service | None


def configured(stack: Stack, base: str) -> tuple[Configured, ...]:
    """The files of that name."""
    running = services(stack)
    return tuple(
        Configured(resource=one, file=file, service=running.get(one.name.removesuffix("-seed")))
        for one in stack.of("Container")
        for file in files(one)
        if file.base == base
    )


def lacking(stack: Stack, base: str) -> Resource | None:
    """The component of the whole platform, where the stack has it and no file of that name. A file whose name is not
    known yet may be it."""
    containers = stack.of("Container")
    known = all(isinstance(file.name, str) for one in containers for file in files(one))
    if configured(stack, base) or not known or any(one.props.get("uploads") is UNKNOWN for one in containers):
        return None
    return next((one for one in stack.resources if one.type == PLATFORM), None)


def host_and_port(address: str) -> str:
    """`sonarr:8989` of `http://sonarr:8989/ping` and of `sonarr:8989`."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.hostname or ''}:{port}"


def host(address: str) -> str:
    """`sonarr` of `http://sonarr:8989/ping` and of `sonarr:8989`."""
    return host_and_port(address).partition(":")[0]
