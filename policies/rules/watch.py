"""What Prometheus is told: the one file that it starts with, and the files of alerts that this one names.

Each Prometheus of a stack is what keeps running and is started with a file that has `scrape_configs`. What such a
file says that no container reads counts for nothing. No rule is here.
"""

import fnmatch
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from policies.rules.configuration import member, texts
from policies.rules.containers import text_of
from policies.rules.given import Document, Given, clean, givens, started_with
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import Finding, Resource, Stack
from policies.rules.runners import Runner, called, dicts, host, host_and_port, runners

_DEFAULT: Final = "/etc/prometheus/prometheus.yml"
"""The file that the official image starts with where its command does not name another."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One Prometheus: what runs it, its files, and the document that it starts with, which is at `place`."""

    runner: Runner
    given: Given
    place: str
    document: Document

    def finding(self, problem: str, remedy: str, *below: str) -> Finding:
        """A finding about what it says under `below`."""
        path = (*self.document.file.path, *below)
        return Finding(path=path, problem=problem, remedy=remedy, resource=self.document.resource)

    def managers(self) -> Iterator[str]:
        """The hosts of the Alertmanagers that it tells."""
        for manager in dicts(member(member(self.document.data, "alerting"), "alertmanagers")):
            for group in dicts(member(manager, "static_configs")):
                yield from (host(host_and_port(text)) for text in texts(member(group, "targets")))

    def alerts(self) -> bool:
        """Whether one of the files of rules that it names comes with it and has alerts in it."""
        folder = posixpath.dirname(self.place)
        wanted = [clean(posixpath.join(folder, name)) for name in texts(member(self.document.data, "rule_files"))]
        named = (path for path in self.given.at if any(fnmatch.fnmatchcase(path, one) for one in wanted))
        return any(_has_alerts(one.data) for path in named for one in self.given.read(path))


def _has_alerts(data: Value) -> bool:
    """Whether a file of rules has alerts, or may have some."""
    groups = dicts(member(data, "groups"))
    return data is UNKNOWN or any(
        isinstance(member(rule, "alert"), str) for group in groups for rule in dicts(member(group, "rules"))
    )


@dataclass(frozen=True, kw_only=True)
class Target:
    """One address that is scraped, or probed by the service of the name `prober`.

    `service` is the label of that name, empty where there is none: what the metrics are said to be of.
    """

    server: Server
    path: Path
    address: str
    service: str
    prober: str

    def finding(self, problem: str, remedy: str) -> Finding:
        """A finding about this target."""
        return Finding(path=self.path, problem=problem, remedy=remedy, resource=self.server.document.resource)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What every Prometheus of a stack is told. `whole` is False where there may be more than is known."""

    servers: tuple[Server, ...]
    running: tuple[Runner, ...]
    whole: bool

    def called(self, name: str) -> list[Runner]:
        """What answers to a name."""
        return called(name, self.running)

    def targets(self) -> Iterator[Target]:
        """Every target that is named."""
        for server in self.servers:
            yield from _targets(server)

    def reached(self, target: Target) -> list[Runner]:
        """What answers at the address of a target."""
        name = host(target.address)
        return [target.server.runner] if name in ("localhost", "127.0.0.1", "::1") else self.called(name)

    def asker(self, target: Target) -> list[Runner]:
        """What asks a target: the prober, or Prometheus itself."""
        return self.called(target.prober) if target.prober else [target.server.runner]


def _targets(server: Server) -> Iterator[Target]:
    for number, job in enumerate(_list(member(server.document.data, "scrape_configs"))):
        prober = ""
        for relabel in dicts(member(job, "relabel_configs")):
            if member(relabel, "target_label") == "__address__":
                prober = host(host_and_port(text_of(member(relabel, "replacement"))))
        for index, group in enumerate(_list(member(job, "static_configs"))):
            path = (*server.document.file.path, "scrape_configs", number, "static_configs", index, "targets")
            service = text_of(member(member(group, "labels"), "service"))
            for place, text in enumerate(texts(member(group, "targets"))):
                address = host_and_port(text)
                yield Target(server=server, path=(*path, place), address=address, service=service, prober=prober)


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def watch(stack: Stack) -> Watch:
    """What every Prometheus of a stack is told."""
    return stack.once(_watch)[0]


def _watch(stack: Stack) -> Iterator[Watch]:
    servers: list[Server] = []
    whole = True
    for runner, given in givens(stack):
        place = _place(runner.resource)
        if place is None:
            # It may be a Prometheus.
            whole = whole and given.whole and not any(_scrapes(one.data) for one in given.documents())
            continue
        whole = whole and (given.whole or place in given.at)
        for document in given.read(place):
            if document.data is UNKNOWN:
                whole = False
            elif _scrapes(document.data):
                servers.append(Server(runner=runner, given=given, place=place, document=document))
    yield Watch(servers=tuple(servers), running=runners(stack), whole=whole)


def _scrapes(data: Value) -> bool:
    return isinstance(member(data, "scrape_configs"), list)


def _place(resource: Resource) -> str | None:
    """The file that it starts with, if it is a Prometheus; None where that is not known."""
    words, known = started_with(resource)
    named = re.search(r"(?:^|\s)--config\.file[=\s]\s*(\S+)", " ".join(words))
    if named is None:
        return clean(_DEFAULT) if known else None
    return clean(named[1])
