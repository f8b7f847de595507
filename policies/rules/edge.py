"""What Traefik is told: the one file that it starts with, and the routes of the files that this one names.

Each Traefik of a stack (a gate) is read by itself, from what the stack puts at the very path that it reads: an upload
of its own, or one into a volume that it mounts there. What takes it elsewhere, or would make it read something that
no rule sees, is a fault. No rule is here.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from policies.rules.configuration import UnreadableError, member, members, settings, texts
from policies.rules.containers import number, specs, text_of
from policies.rules.given import Document, Given, clean, givens, started_with
from policies.rules.props import UNKNOWN, Path, Value, walk
from policies.rules.rule import Finding, Resource, Stack
from policies.rules.runners import Runner, called, dicts, folded, host, host_and_port, runners

_PROTOCOLS: Final = ("http", "tcp", "udp")
_PARTS: Final = ("routers", "services", "middlewares")
_PROGRAMS: Final = frozenset({"traefik", "/traefik", "/usr/bin/traefik", "/usr/local/bin/traefik"})
_OWN_POINT: Final = "traefik"
"""The entry point of ping, metrics and API where none is named, and its port where none is given."""
_OWN_PORT: Final = 8080


@dataclass(frozen=True, kw_only=True)
class Router:
    """A router of one protocol: where it stands, and what it says."""

    document: Document
    path: Path
    protocol: str
    name: str
    data: Value

    def finding(self, problem: str, remedy: str, *below: str) -> Finding:
        """A finding about this router, or about what it says under `below`."""
        return Finding(path=(*self.path, *below), problem=problem, remedy=remedy, resource=self.document.resource)

    @property
    def hosts(self) -> frozenset[str] | None:
        """The hosts that it answers for, and no other; None where that is not said."""
        return _hosts(text_of(member(self.data, "rule")), "HostSNI" if self.protocol == "tcp" else "Host")


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What one Traefik is told. `whole` is False where there may be more than is known.

    `faults` are what lets it read anything else than its files, or its files otherwise than they are read here.
    """

    gate: Runner
    routers: tuple[Router, ...]
    middlewares: Mapping[str, Value]
    services: Mapping[tuple[str, str], Value]
    entry_points: Mapping[str, Value]
    running: tuple[Runner, ...]
    faults: tuple[Finding, ...]
    whole: bool

    def parts(self, router: Router) -> list[Value]:
        """The middlewares of a router and those that all of its entry points add, those of chains for the chains."""
        points = texts(member(router.data, "entryPoints")) or tuple(self.entry_points)
        added = [set(texts(member(member(self.entry_points.get(one), "http"), "middlewares"))) for one in points]
        left = [*texts(member(router.data, "middlewares")), *(set.intersection(*added) if added else ())]
        seen: set[str] = set()
        found: list[Value] = []
        while left:
            name = _bare(left.pop())
            if name in seen:
                continue
            seen.add(name)
            middleware = self.middlewares.get(name)
            if (chain := member(middleware, "chain")) is not None:
                left += texts(member(chain, "middlewares"))
            elif middleware is not None:
                found.append(middleware)
        return found

    def backends(self, router: Router) -> list[str]:
        """The addresses that a router leads to, host and port where it has one; empty where nothing is found."""
        left = [text_of(member(router.data, "service"))]
        seen: set[str] = set()
        found: list[str] = []
        while left:
            name = _bare(left.pop())
            if name in seen:
                continue
            seen.add(name)
            service = self.services.get((router.protocol, name))
            for server in dicts(member(member(service, "loadBalancer"), "servers")):
                found += [host_and_port(text) for key in ("url", "address") for text in texts(member(server, key))]
            mirroring, failover = member(service, "mirroring"), member(service, "failover")
            others = [member(failover, "service"), member(failover, "fallback"), member(mirroring, "service")]
            others += [member(one, "name") for one in dicts(member(mirroring, "mirrors"))]
            for kind in ("weighted", "highestRandomWeight"):
                others += [member(one, "name") for one in dicts(member(member(service, kind), "services"))]
            left += [one for one in others if isinstance(one, str)]
        return found

    def runs(self, address: str) -> list[Runner]:
        """What answers at an address."""
        return called(host(address), self.running)

    def redirects(self, router: Router) -> bool:
        """Whether a router only sends people on to TLS, and leads nowhere."""
        nowhere = router.protocol == "http" and text_of(member(router.data, "service")) == "noop@internal"
        parts = self.parts(router)
        return nowhere and bool(parts) and all(_to_tls(one) for one in parts)


def edges(stack: Stack) -> tuple[Edge, ...]:
    """What each Traefik of a stack is told."""
    return stack.once(_edges)


def _edges(stack: Stack) -> Iterator[Edge]:
    return (_edge(one, given, runners(stack)) for one, given in givens(stack) if _is_gate(one.resource, given))


def there(value: Value) -> bool:
    """Whether a section is switched on: `tls: {}` is."""
    return value is not None and value is not False


def _bare(name: str) -> str:
    """A name without the provider that it is of, where that is the file."""
    return name.strip().removesuffix("@file")


def _to_tls(middleware: Value) -> bool:
    return folded(text_of(member(member(middleware, "redirectScheme"), "scheme"))) == "https"


# Who is a gate, and what it is told


def _switches(resource: Resource) -> list[Finding]:
    """Settings of Traefik's in the environment."""
    return [
        Finding(
            path=one.path,
            problem="tells Traefik something by its environment, which no rule about routes reads",
            remedy="Say it in the file of --configfile",
            note=one.note,
            resource=resource,
        )
        for one in settings(resource)
        if one.path[0] != "uploads" and one.called.upper().startswith("TRAEFIK_")
    ]


def _is_gate(resource: Resource, given: Given) -> bool:
    words = " ".join(started_with(resource)[0]).split()
    if any(posixpath.basename(word) == "traefik" for word in words) or _switches(resource):
        return True
    images = [text_of(spec.props.get("image")) for spec in specs(resource)]
    if any("traefik" in text.casefold() for text in (*images, *resource.sources.get("image", ()))):
        return True
    return any(_dynamic(one.data) or _static(one.data) for one in given.documents())


def _dynamic(data: Value) -> bool:
    return any(isinstance(member(member(data, one), part), dict) for one in _PROTOCOLS for part in _PARTS)


def _static(data: Value) -> bool:
    return isinstance(member(data, "entryPoints"), dict)


class _Reading:
    """The documents at paths, with what is wrong with them."""

    def __init__(self, gate: Resource, given: Given) -> None:
        self.gate = gate
        self.given = given
        self.whole = given.whole
        self.faults: list[Finding] = []

    def fault(self, path: Path, problem: str, remedy: str, resource: Resource | None = None) -> None:
        self.faults.append(Finding(path=path, problem=problem, remedy=remedy, resource=resource or self.gate))

    def read(self, name: str) -> tuple[bool, Document | None]:
        """Whether the stack gives the gate a file at a path, and its document where that can be read."""
        found = self.given.at.get(clean(name), [])
        for resource, file in found if len(found) > 1 else ():
            self.fault(file.path, "is one of two files at a path that Traefik reads", "Give it once", resource)
        if not found:
            return False, None
        resource, file = found[0]
        if file.text is UNKNOWN:
            self.whole = False
            return True, None
        try:
            data = file.document()
        except UnreadableError:
            data = None
        if not isinstance(data, dict):
            remedy = "Make it by yaml.safe_dump, one document a file"
            self.fault(file.path, "is read by Traefik, and is no single document of settings", remedy, resource)
            return True, None
        if isinstance(file.text, str) and "{{" in file.text:
            remedy = "Write what it makes instead"
            self.fault(file.path, "has a template in it: what Traefik makes of it is not known", remedy, resource)
        for path in _twice(data, file.path):
            self.fault(path, "stands there twice, in two spellings", "Leave one of them", resource)
        return True, Document(resource=resource, file=file, data=data)

    def started(self) -> Document | None:
        """The file that the gate starts with, where it is known."""
        self.faults += _switches(self.gate)
        words, known = started_with(self.gate)
        words = words[1:] if words and words[0] in _PROGRAMS else words
        named = re.fullmatch(r"--configfile=(.+)", words[0], re.IGNORECASE) if len(words) == 1 else None
        if named is None:
            if not known:
                self.whole = False
                return None
            remedy = "Start it with --configfile alone, and say all else in that file"
            self.fault(("command",), "starts Traefik otherwise than with one file of settings", remedy)
            return None
        there_, document = self.read(named[1])
        if not there_ and self.whole:
            remedy = "Name a file that comes with it"
            self.fault(("command",), "names a file of settings that the stack does not give it", remedy)
        return document

    def routes(self, static: Document) -> list[Document]:
        """The documents that the first one names."""
        provider = member(member(static.data, "providers"), "file")
        path = (*static.file.path, "providers", "file")
        remedy = "Name a file of routes that comes with it, or a directory of such files alone"
        found: list[Document] = []
        names = [*texts(member(provider, "filename"))]
        for directory in texts(member(provider, "directory")):
            below = self.given.below(clean(directory))
            if not below and self.whole:
                self.fault(
                    (*path, "directory"), "may hold routes that no rule sees, or none", remedy, static.resource
                )
            names += below or []
        for name in names:
            there_, document = self.read(name)
            if not there_ and self.whole:
                self.fault((*path, "filename"), "names no file that the stack gives it", remedy, static.resource)
            if document is not None:
                found.append(document)
        if not names and self.whole:
            self.fault(path, "names no file of routes", remedy, static.resource)
        return found

    def static(self, document: Document) -> None:
        """What the first document must not say."""
        at, data = document.file.path, document.data
        for provider, value in members(data, "providers"):
            # A number or a text is an option, such as providersThrottleDuration; `true` switches a provider on.
            plain = isinstance(value, int | float | str) and str(value).strip().casefold() != "true"
            if folded(provider) != "file" and not plain:
                self.fault(
                    (*at, "providers", provider),
                    "takes routes from elsewhere, where no chain can be judged",
                    "Keep to the file provider (docs/adr/0004)",
                    document.resource,
                )
        for key in ("plugins", "localPlugins"):
            if member(member(data, "experimental"), key):
                path = (*at, "experimental", key)
                self.fault(path, "runs code that no rule sees", "Take it out", document.resource)
        points = dict(members(data, "entryPoints"))
        prometheus = member(member(data, "metrics"), "prometheus")
        for own, section in (
            (("ping",), member(data, "ping")),
            (("metrics", "prometheus"), prometheus),
            (("api",), member(data, "api") if there(member(member(data, "api"), "insecure")) else None),
        ):
            point = member(section, "entryPoint")
            if there(section) and _published(self.gate, points, _OWN_POINT if point is None else point):
                remedy = "Give it an entry point whose port is not published"
                problem = "answers on an entry point that is published, without any chain"
                self.fault((*at, *own), problem, remedy, document.resource)


def _twice(data: Value, path: Path) -> Iterator[Path]:
    """Where one thing has two spellings: Traefik reads keys in any case, and one of both counts."""
    for entry in walk({"": data}):
        if isinstance(entry.value, dict):
            seen: set[str] = set()
            for key in entry.value:
                if key.casefold() in seen:
                    yield (*path, *entry.path[1:], key)
                seen.add(key.casefold())


def _published(gate: Resource, points: Mapping[str, Value], name: Value) -> bool:
    """Whether an entry point is on a port that the host publishes. What cannot be told is published."""
    if not isinstance(name, str):
        return True
    point = points.get(name)
    found = re.search(r":(\d+)(?:/\w+)?$", text_of(member(point, "address")))
    if name != _OWN_POINT and found is None:
        return True
    port = int(found[1]) if found else _OWN_PORT
    props = gate.props
    if props.get("networkMode") == "host" or props.get("publishAllPorts") is True:
        return True
    listed = {"ports": props.get("ports"), "endpointSpec": props.get("endpointSpec")}
    internal = [number(one.value) for one in walk(listed) if one.key in ("internal", "targetport")]
    return port in internal


def _edge(gate: Runner, given: Given, running: tuple[Runner, ...]) -> Edge:
    reading = _Reading(gate.resource, given)
    static = reading.started()
    if static is not None:
        reading.static(static)
        statics, dynamic = [static], reading.routes(static)
    else:
        # Without it, all that the gate could be told counts.
        every = list(given.documents())
        statics, dynamic = [one for one in every if _static(one.data)], [one for one in every if _dynamic(one.data)]
    routers: list[Router] = []
    middlewares: dict[str, Value] = {}
    services: dict[tuple[str, str], Value] = {}
    named: dict[tuple[str, str, str], list[tuple[Path, Resource]]] = {}
    for document in dynamic:
        for protocol in _PROTOCOLS:
            part = member(document.data, protocol)
            for kind in _PARTS:
                for name, value in members(part, kind):
                    path = (*document.file.path, protocol, kind, name)
                    named.setdefault((protocol, kind, name), []).append((path, document.resource))
                    if kind == "routers":
                        routers.append(Router(document=document, path=path, protocol=protocol, name=name, data=value))
                    elif kind == "services":
                        services[protocol, name] = value
                    elif protocol == "http":
                        middlewares[name] = value
    for places in named.values():
        for path, resource in places if len(places) > 1 else ():
            reading.fault(path, "is there twice", "Give each a name of its own", resource)
    return Edge(
        gate=gate,
        routers=tuple(routers),
        middlewares=middlewares,
        services=services,
        entry_points={name: value for one in statics for name, value in members(one.data, "entryPoints")},
        running=running,
        faults=tuple(reading.faults),
        whole=reading.whole,
    )


# A router's rule

_QUOTED: Final = re.compile(r"`[^`]*`|\"(?:[^\"\\]|\\.)*\"")
_LONGEST: Final = 500


def _hosts(rule: str, matcher: str) -> frozenset[str] | None:
    """The hosts that a rule is bound to by a matcher, whatever else it asks for; None where there are none."""
    if len(rule) > _LONGEST or "\0" in rule:
        return None
    quoted = [one[1:-1] for one in _QUOTED.findall(rule)]
    text = re.sub(r"\s+", "", _QUOTED.sub("\0", rule))
    return _bound(text, quoted, matcher)


def _bound(text: str, quoted: list[str], matcher: str) -> frozenset[str] | None:
    """The same of a part of a rule, in which each quoted text is a NUL; `quoted` are those of the part."""
    for operator in ("||", "&&"):
        parts = _split(text, operator)
        if len(parts) > 1:
            found: list[frozenset[str] | None] = []
            for part in parts:
                count = part.count("\0")
                found.append(_bound(part, quoted[:count], matcher))
                quoted = quoted[count:]
            bound = [one for one in found if one is not None]
            if not bound or (operator == "||" and len(bound) < len(found)):
                return None
            return frozenset[str]().union(*bound)
    if text.startswith("(") and text.endswith(")"):
        return _bound(text[1:-1], quoted, matcher)
    named = re.fullmatch(rf"{matcher}\(\0(?:,\0)*\)", text, re.IGNORECASE)
    if named is None or not all(re.fullmatch(r"[\w-]+(?:\.[\w-]+)*\.?", one) for one in quoted):
        return None
    return frozenset(folded(one) for one in quoted)


def _split(text: str, operator: str) -> list[str]:
    """The parts of a rule between an operator outside of parentheses."""
    parts, depth, start = [], 0, 0
    for index, sign in enumerate(text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth == 0 and index >= start and text.startswith(operator, index):
            parts.append(text[start:index])
            start = index + len(operator)
    return [*parts, text[start:]]
