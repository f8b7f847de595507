"""Family `platform`: what only the whole stack can show.

What has a page has a route, each route has a chain and leads over TLS to a service of the stack, each service is
scraped or probed. Routes and scrape targets are read from the files that Traefik and Prometheus are given, by what
is in them and not by their names: a document with `http.routers` is Traefik's, one with `scrape_configs` is
Prometheus's. A file whose content only an update will know is judged then; about what it may hold nothing is said.

Not seen from here: routes from other sources than files, targets found by service discovery (both are findings), and
whether a port is the right one, which no input says.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pulumi_policy import Severity

from policies.rules.configuration import UnreadableError, files, member, members, texts
from policies.rules.props import Path, Value
from policies.rules.rule import Config, Finding, Resource, Rule, Stack
from policies.rules.runners import Document, Runner, dicts, documents, folded, readers, runners

PLATFORM: Final = "nexus:platform:Platform"
"""The component of the whole platform: a stack that has it must have routes and scrape targets."""


def _whole_platform(stack: Stack) -> Resource | None:
    return next((one for one in stack.resources if one.type == PLATFORM), None)


# Traefik


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


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What Traefik is told by the files of a stack. `whole` is False where there may be more than is known."""

    documents: tuple[Document, ...]
    statics: tuple[Document, ...]
    routers: tuple[Router, ...]
    middlewares: Mapping[str, Value]
    services: Mapping[tuple[str, str], Value]
    entry_points: Mapping[str, Value]
    gates: tuple[Runner, ...]
    running: tuple[Runner, ...]
    whole: bool

    def parts(self, names: Iterable[str], seen: frozenset[str] = frozenset()) -> Iterator[Value]:
        """The middlewares of these names, those of chains instead of the chains."""
        for name in names:
            known = _bare(name)
            if known in seen:
                continue
            middleware = self.middlewares.get(known)
            if (chain := member(middleware, "chain")) is not None:
                yield from self.parts(texts(member(chain, "middlewares")), seen | {known})
            elif middleware is not None:
                yield middleware

    def backends(self, router: Router) -> list[str]:
        """The addresses that a router leads to, host and port where it has one; empty where nothing is found."""
        return list(self._addresses(router.protocol, _text(member(router.data, "service")), frozenset()))

    def _addresses(self, protocol: str, name: str, seen: frozenset[str]) -> Iterator[str]:
        known = _bare(name)
        if known in seen:
            return
        service = self.services.get((protocol, known))
        for server in dicts(member(member(service, "loadBalancer"), "servers")):
            for key in ("url", "address"):
                for text in texts(member(server, key)):
                    yield _host_and_port(text)
        for kind in ("weighted", "highestRandomWeight"):
            for one in dicts(member(member(service, kind), "services")):
                yield from self._addresses(protocol, _text(member(one, "name")), seen | {known})
        mirroring, failover = member(service, "mirroring"), member(service, "failover")
        others = [member(one, "name") for one in dicts(member(mirroring, "mirrors"))]
        for other in (
            member(mirroring, "service"),
            *others,
            member(failover, "service"),
            member(failover, "fallback"),
        ):
            if isinstance(other, str):
                yield from self._addresses(protocol, other, seen | {known})


def edge(stack: Stack) -> Edge:
    """What the files of a stack tell Traefik."""
    found, whole = documents(stack)
    running = runners(stack)
    dynamic = [one for one in found if any(_protocol(one.data, key) for key in ("http", "tcp", "udp"))]
    statics = [one for one in found if isinstance(member(one.data, "entryPoints"), dict)]
    routers: list[Router] = []
    middlewares: dict[str, Value] = {}
    services: dict[tuple[str, str], Value] = {}
    for document in dynamic:
        for protocol in ("http", "tcp", "udp"):
            part = member(document.data, protocol)
            services |= {(protocol, name): value for name, value in members(part, "services")}
            if protocol == "http":
                middlewares |= dict(members(part, "middlewares"))
            for name, value in members(part, "routers"):
                path = (*document.file.path, protocol, "routers", name)
                routers.append(Router(document=document, path=path, protocol=protocol, name=name, data=value))
    gates = [one for document in dynamic for one in readers(document, running)]
    return Edge(
        documents=tuple(dynamic),
        statics=tuple(statics),
        routers=tuple(routers),
        middlewares=middlewares,
        services=services,
        entry_points={name: value for one in statics for name, value in members(one.data, "entryPoints")},
        gates=tuple(gates),
        running=tuple(running),
        whole=whole,
    )


def _protocol(data: Value, name: str) -> bool:
    part = member(data, name)
    return any(isinstance(member(part, key), dict) for key in ("routers", "services", "middlewares"))


def _bare(name: str) -> str:
    """A name without the provider that it is of, where that is the file."""
    return name.strip().removesuffix("@file")


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""


def _host_and_port(address: str) -> str:
    """`sonarr:8989` of `http://sonarr:8989/ping` and of `sonarr:8989`."""
    text = address.strip()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError:
        return ""
    if port is None:
        port = {"http": 80, "https": 443}.get(parts.scheme)
    host = (parts.hostname or "").rstrip(".")
    return f"{host}:{port}" if port is not None else host


def _host(address: str) -> str:
    return address.rpartition(":")[0] if re.search(r":\d+$", address) else address


def _runs_it(known: Edge, address: str) -> list[Runner]:
    host = _host(address)
    return [one for one in known.running if host and folded(host) in one.names]


def _has_route(stack: Stack, config: Config) -> Iterator[Finding]:
    known = edge(stack)
    if not known.documents:
        platform = _whole_platform(stack)
        if platform is not None and known.whole:
            yield Finding(
                path=(),
                problem="has no routes: no file with Traefik's routers is in the stack",
                remedy="Make the edge from the services, as components/edge.py does",
                resource=platform,
            )
        return
    if not known.whole:
        return
    led = {folded(_host(address)) for router in known.routers for address in known.backends(router)}
    excused = config.get("without-page")
    without = set(excused) if isinstance(excused, dict) else set()
    for one in known.running:
        if one in known.gates or one.names & led or one.own in without:
            continue
        if any(one.networks & gate.networks for gate in known.gates):
            yield Finding(
                path=("networksAdvanced",),
                problem="shares a network with the edge and has no route",
                remedy="Give the service its `web`, or, where it has no page for people, a line in `without-page`",
                resource=one.resource,
            )


_SIGN_INS: Final = {
    "basicAuth": ("users", "usersFile"),
    "digestAuth": ("users", "usersFile"),
    "forwardAuth": ("address",),
}


def _asks(middleware: Value) -> bool:
    """Whether a middleware asks who it is."""
    return any(
        any(any(texts(member(settings, key))) for key in keys)
        for kind, keys in _SIGN_INS.items()
        if isinstance(settings := member(middleware, kind), dict)
    )


def _protects(middleware: Value) -> bool:
    """Whether a middleware sets the headers that every page needs."""
    headers = member(middleware, "headers")
    seconds = member(headers, "stsSeconds")
    strict = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0
    return strict and member(headers, "contentTypeNosniff") is True


def _has_chain(stack: Stack, config: Config) -> Iterator[Finding]:
    known = edge(stack)
    own = {text.casefold() for text in texts(config.get("own-sign-in"))}
    for document in known.statics:
        for provider, _ in members(document.data, "providers"):
            if provider.casefold() != "file":
                yield Finding(
                    path=(*document.file.path, "providers", provider),
                    problem="takes routes from elsewhere, where no chain can be judged",
                    remedy="Keep to the file provider (docs/adr/0004)",
                    resource=document.resource,
                )
    for router in known.routers:
        backends = known.backends(router)
        signs_in_itself = bool(backends) and own.issuperset(backends)
        if router.protocol != "http":
            if not signs_in_itself:
                yield router.finding("passes by every chain: only HTTP has one", "Make it a router of http")
            continue
        parts = list(known.parts(_middlewares(known, router)))
        if not any(_protects(part) for part in parts) and known.whole:
            yield router.finding(
                "has no middleware that sets the headers of every page (stsSeconds, contentTypeNosniff)",
                "Put `headers` into its middlewares",
                "middlewares",
            )
        elif not any(_asks(part) for part in parts) and not signs_in_itself and known.whole:
            yield router.finding(
                "asks for no sign-in, and what is behind it is not known to ask itself",
                "Put `sign-in` into its middlewares, or its backend into `own-sign-in` where the app asks itself",
                "middlewares",
            )


def _middlewares(known: Edge, router: Router) -> list[str]:
    """Those of a router, and those that all of its entry points add."""
    points = texts(member(router.data, "entryPoints")) or tuple(known.entry_points)
    added = [set(texts(member(member(known.entry_points.get(point), "http"), "middlewares"))) for point in points]
    return [*texts(member(router.data, "middlewares")), *(set.intersection(*added) if added else ())]


def _leads(stack: Stack, _config: Config) -> Iterator[Finding]:
    known = edge(stack)
    for router in known.routers:
        yield from _over_tls(known, router)
        backends = known.backends(router)
        if not backends and known.whole:
            yield router.finding(
                "leads nowhere: its service has no server", "Name a service of the same file", "service"
            )
        for address in backends:
            found = _runs_it(known, address)
            if not found:
                yield router.finding(
                    "leads to what is no service of this stack",
                    "Lead it to a service of the stack, by its name",
                    "service",
                )
            elif known.gates and not any(gate.meets(one) for gate in known.gates for one in found):
                yield router.finding(
                    "leads to a service that shares no network with the edge",
                    "Put both on one network (components/networks.py)",
                    "service",
                )


def _over_tls(known: Edge, router: Router) -> Iterator[Finding]:
    if router.protocol == "udp" or _there(member(router.data, "tls")):
        return
    remedy = "Give it the entry point with TLS alone (websecure)"
    if not known.entry_points:
        if known.whole:
            yield router.finding("has no TLS, and neither has any entry point that is known", remedy, "entryPoints")
        return
    for name in texts(member(router.data, "entryPoints")) or tuple(known.entry_points):
        point = known.entry_points.get(name)
        if not _there(member(member(point, "http"), "tls")) and (point is not None or known.whole):
            yield router.finding("answers without TLS, or on an entry point that is not there", remedy, "entryPoints")
            return


def _there(value: Value) -> bool:
    """Whether a section is switched on: `tls: {}` is."""
    return value is not None and value is not False


# Prometheus


@dataclass(frozen=True, kw_only=True)
class Target:
    """One address that is scraped, or probed by the service of the name `prober`.

    `service` is the label of that name, empty where there is none: what the metrics are said to be of.
    """

    document: Document
    path: Path
    address: str
    service: str
    prober: str

    def finding(self, problem: str, remedy: str) -> Finding:
        """A finding about this target."""
        return Finding(path=self.path, problem=problem, remedy=remedy, resource=self.document.resource)


def targets(document: Document) -> Iterator[Target]:
    """Every target that a document of Prometheus's names."""
    for number, job in enumerate(_list(member(document.data, "scrape_configs"))):
        prober = ""
        for relabel in _list(member(job, "relabel_configs")):
            if member(relabel, "target_label") == "__address__":
                prober = _host(_host_and_port(_text(member(relabel, "replacement"))))
        for index, group in enumerate(_list(member(job, "static_configs"))):
            path = (*document.file.path, "scrape_configs", number, "static_configs", index, "targets")
            service = _text(member(member(group, "labels"), "service"))
            for place, text in enumerate(texts(member(group, "targets"))):
                yield Target(
                    document=document,
                    path=(*path, place),
                    address=_host_and_port(text),
                    service=service,
                    prober=prober,
                )


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What Prometheus is told by the files of a stack. `whole` is False where there may be more than is known."""

    documents: tuple[Document, ...]
    running: tuple[Runner, ...]
    whole: bool

    def called(self, name: str) -> list[Runner]:
        """What answers to a name."""
        return [one for one in self.running if name and folded(name) in one.names]

    def reached(self, target: Target) -> list[Runner]:
        """What answers at the address of a target."""
        host = _host(target.address)
        if host in ("localhost", "127.0.0.1", "::1"):
            return readers(target.document, self.running)
        return self.called(host)

    def asker(self, target: Target) -> list[Runner]:
        """What asks a target: the prober, or Prometheus itself."""
        return self.called(target.prober) if target.prober else readers(target.document, self.running)


def watch(stack: Stack) -> Watch:
    """What the files of a stack tell Prometheus."""
    found, whole = documents(stack)
    return Watch(
        documents=tuple(one for one in found if isinstance(member(one.data, "scrape_configs"), list)),
        running=tuple(runners(stack)),
        whole=whole,
    )


def _scraped(stack: Stack, config: Config) -> Iterator[Finding]:
    known = watch(stack)
    if not known.documents:
        platform = _whole_platform(stack)
        if platform is not None and known.whole:
            yield Finding(
                path=(),
                problem="is not watched: no file with Prometheus's scrape_configs is in the stack",
                remedy="Make the scrape targets from the services, as components/monitoring.py does",
                resource=platform,
            )
        return
    covered: list[Runner] = []
    for target in (target for one in known.documents for target in targets(one)):
        found, askers = known.reached(target), known.asker(target)
        if not found:
            yield target.finding("names a target that is no service of this stack", "Make targets from the services")
        elif not askers:
            yield target.finding("is asked by what is no service of this stack", "Name the prober by its service")
        elif not any(asker == one or asker.meets(one) for asker in askers for one in found):
            yield target.finding(
                "names a target that shares no network with what asks it",
                "Put both on one network (components/networks.py)",
            )
        elif target.service:
            # A rider answers at the address of the one whose network it shares.
            covered += [one for one in known.called(target.service) if one in found or one.rides]
        else:
            covered += found
    if not known.whole:
        return
    excused = config.get("unscraped")
    without = set(excused) if isinstance(excused, dict) else set()
    for one in known.running:
        if one not in covered and one.own not in without:
            yield Finding(
                path=("name",),
                problem="is neither scraped nor probed: nobody is told when it fails",
                remedy="Give the service `metrics` or a `probe`, or a line in `unscraped` that says why not",
                resource=one.resource,
            )


def _alerts(stack: Stack, _config: Config) -> Iterator[Finding]:
    known = watch(stack)
    for document in known.documents:
        managers = [
            _host(_host_and_port(text))
            for manager in _list(member(member(document.data, "alerting"), "alertmanagers"))
            for group in _list(member(manager, "static_configs"))
            for text in texts(member(group, "targets"))
        ]
        if not any(known.called(name) for name in managers):
            yield Finding(
                path=(*document.file.path, "alerting"),
                problem="tells no Alertmanager of this stack",
                remedy="Name the Alertmanager of the stack under alerting.alertmanagers",
                resource=document.resource,
            )
        names = texts(member(document.data, "rule_files"))
        if not names or (known.whole and not _given(document, names)):
            yield Finding(
                path=(*document.file.path, "rule_files"),
                problem="names no file of alerts that comes with it",
                remedy="Name the file of the alert rules under rule_files",
                resource=document.resource,
            )


def _given(document: Document, names: Iterable[str]) -> bool:
    """Whether one of the named files comes with the document and has alerts in it."""
    for file in files(document.resource):
        if not isinstance(file.name, str) or file.name not in names:
            continue
        try:
            groups = _list(member(file.document(), "groups"))
        except UnreadableError:
            continue
        if any(isinstance(member(rule, "alert"), str) for group in groups for rule in _list(member(group, "rules"))):
            return True
    return False


def _readable(resource: Resource, _config: Config) -> Iterator[Finding]:
    for file in files(resource):
        try:
            file.document()
        except UnreadableError:
            yield Finding(
                path=file.path,
                problem="is not what the file's name promises, so that nothing in it can be judged",
                remedy="Write it by yaml.safe_dump or json.dumps, and give it as `content`",
            )


def _one_name(stack: Stack, _config: Config) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for one in stack.resources:
        if (one.type, one.name) in seen:
            yield Finding(
                path=(),
                problem="is a second resource of its type and name: it has every exception of the other",
                remedy="Give it a name of its own",
                resource=one,
            )
        seen.add((one.type, one.name))
    running = runners(stack)
    holders: dict[str, Runner] = {}
    for runner in running:
        if holders.setdefault(folded(runner.own), runner) is not runner:
            yield Finding(
                path=(),
                problem="is a second service of one name",
                remedy="Give it a name of its own",
                resource=runner.resource,
            )
    for runner in running:
        for path, name in runner.claims:
            if holders.setdefault(name, runner) is not runner:
                yield Finding(
                    path=path,
                    problem="is the name of another service, whose requests would come here",
                    remedy="Give each service its own name alone",
                    resource=runner.resource,
                )
    for runner in running:
        for path, name in runner.hosts:
            if holders.get(name, runner) is not runner:
                yield Finding(
                    path=path,
                    problem="leads the name of another service elsewhere",
                    remedy="Take it out: services are found by their networks",
                    resource=runner.resource,
                )


_REASONS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": {"type": "string", "minLength": 10},
}

RULES: Final = (
    Rule(
        name="readable-configuration",
        description=(
            "Each file for a container that is YAML, JSON or TOML by its name is given as text and can be read: what "
            "no rule can read, such as a file of the host by `source`, no rule can judge."
        ),
        remediation="Mend the file, or make it by `yaml.safe_dump` or `json.dumps` and give it as `content`.",
        severity=Severity.MEDIUM,
        judge=_readable,
    ),
    Rule(
        name="one-name-each",
        description=(
            "No two resources of a type share a logical name, and no container takes the name of another service: by "
            "host name, network alias, container name or a line of its own hosts file. Exceptions, routes, scrape "
            "targets and excuses are all matched by name."
        ),
        remediation="Give each resource and each service a name of its own, and take the other's name out.",
        severity=Severity.HIGH,
        judge_stack=_one_name,
    ),
    Rule(
        name="every-web-app-has-a-route",
        description=(
            "What shares a network with the edge is behind one of its routes, or is named as having no page for "
            "people: an app without a route is one that people publish by hand."
        ),
        remediation="Give the service its `web`, or a line with the reason in this rule's setting `without-page`.",
        severity=Severity.MEDIUM,
        judge_stack=_has_route,
        settings={
            "without-page": {
                **_REASONS,
                "default": {
                    "alertmanager": "Grafana is the way to it; it has no sign-in of its own",
                    "blackbox-exporter": "answers Prometheus alone",
                    "cadvisor": "answers Prometheus alone",
                    "node-exporter": "answers Prometheus alone",
                    "prometheus": "Grafana is the way to it; it has no sign-in of its own",
                },
                "description": "Services without a page for people, by name, each with the reason.",
            }
        },
    ),
    Rule(
        name="every-route-has-a-chain",
        description=(
            "Each of Traefik's routes sets the headers of every page and asks for a sign-in, unless the app behind "
            "it asks itself. Routes come from files alone, so that there is no other way in."
        ),
        remediation=(
            "Put `headers` and `sign-in` into the router's middlewares. An app that signs people in itself is one "
            "address in this rule's setting `own-sign-in`."
        ),
        severity=Severity.CRITICAL,
        judge_stack=_has_chain,
        settings={
            "own-sign-in": {
                "type": "array",
                "items": {"type": "string", "pattern": r"^[^\s/]+:\d+$"},
                "default": ["grafana:3000", "jellyfin:8096", "vpn:8080"],
                "description": "Backends that sign people in themselves, host and port; vpn:8080 is qBittorrent.",
            }
        },
    ),
    Rule(
        name="every-route-leads-to-a-service",
        description=(
            "Each of Traefik's routes leads to a service of the stack that shares a network with it, and answers "
            "over TLS alone."
        ),
        remediation="Make routes from the services (components/edge.py) and give them the entry point with TLS.",
        severity=Severity.HIGH,
        judge_stack=_leads,
    ),
    Rule(
        name="every-service-is-scraped",
        description=(
            "Each service is scraped by Prometheus or probed for it, or says why not; and each target is a service. "
            "What nobody watches fails unseen."
        ),
        remediation="Give the service `metrics` or a `probe`, or a line with the reason in the setting `unscraped`.",
        severity=Severity.MEDIUM,
        judge_stack=_scraped,
        settings={
            "unscraped": {
                **_REASONS,
                "default": {
                    "cadvisor-socket-proxy": "has no metrics; without it the target cadvisor fails",
                    "vpn": "has no metrics; the probe of qbittorrent goes through it and fails with it",
                    "vpn-peer": "is there for development alone; the probe of qbittorrent needs it",
                },
                "description": "Services that are neither scraped nor probed, by name, each with the reason.",
            }
        },
    ),
    Rule(
        name="alerts-reach-alertmanager",
        description=(
            "Prometheus has alert rules and tells the stack's Alertmanager what they find: else nobody hears of it."
        ),
        remediation=(
            "Name the file of the alert rules in `rule_files`, and the Alertmanager in `alerting.alertmanagers`."
        ),
        severity=Severity.MEDIUM,
        judge_stack=_alerts,
    ),
)
