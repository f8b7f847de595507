"""Family `platform`: what only the whole stack can show.

What has a page has a route, each route has a chain and leads over TLS to a service of the stack, each service is
scraped or probed. Routes are read as each Traefik reads them (policies/rules/edge.py): from the file that it starts
with and those which that one names, and it may have no others. Scrape targets are read from the file that a
Prometheus is started with (policies/rules/watch.py). A file whose content only an update will know is judged then; of
what it may hold nothing is said.

Not seen from here: targets found by service discovery (a finding), what is in a volume that no container of the stack
fills, and whether a port is the right one, which no input says.
"""

import posixpath
from collections.abc import Container, Iterable, Iterator
from typing import Any, Final

from pulumi_policy import Severity

from policies.rules.configuration import UnreadableError, files, member, texts
from policies.rules.edge import Edge, Router, edges, there
from policies.rules.props import Value
from policies.rules.rule import Config, Finding, Resource, Rule, Stack, texts_setting
from policies.rules.runners import Runner, folded, host, host_and_port, runners
from policies.rules.watch import watch

PLATFORM: Final = "nexus:platform:Platform"
"""The component of the whole platform: a stack that has it must have routes and scrape targets."""


def _whole_platform(stack: Stack) -> Resource | None:
    return next((one for one in stack.resources if one.type == PLATFORM), None)


# Traefik


def _has_route(stack: Stack, config: Config) -> Iterator[Finding]:
    known = edges(stack)
    if not all(one.whole for one in known):
        return
    routers = [(one, router) for one in known for router in one.routers]
    if not routers:
        platform = _whole_platform(stack)
        if platform is not None:
            yield Finding(
                path=(),
                problem="has no routes: no Traefik of the stack is given a file with routers",
                remedy="Make the edge from the services, as components/edge.py does",
                resource=platform,
            )
        return
    led = {folded(host(address)) for one, router in routers for address in one.backends(router)}
    excused = config.get("without-page")
    without = set(excused) if isinstance(excused, dict) else set()
    gates = [one.gate for one in known]
    for runner in known[0].running:
        if runner in gates or runner.names & led or runner.own in without:
            continue
        if any(runner.networks & gate.networks for gate in gates):
            yield Finding(
                path=("networksAdvanced",),
                problem="shares a network with the edge and has no route",
                remedy="Give the service its `web`, or, where it has no page for people, a line in `without-page`",
                resource=runner.resource,
            )


def _asks(known: Edge, middleware: Value, services: Container[str]) -> bool:
    """Whether a middleware asks who it is: of users in a secret, or of a service that is there to ask."""
    for kind in ("basicAuth", "digestAuth"):
        settings = member(middleware, kind)
        file, users = member(settings, "usersFile"), member(settings, "users")
        # The users of both are let in.
        if file is not None:
            return isinstance(file, str) and posixpath.normpath(file.strip()).startswith("/run/secrets/")
        if any(texts(users)):
            return True
    for text in texts(member(member(middleware, "forwardAuth"), "address")):
        name = folded(host(host_and_port(text)))
        return name in services and any(one.own == name for one in known.runs(name))
    return False


def _protects(middleware: Value) -> bool:
    """Whether a middleware sets the headers that every page needs."""
    headers = member(middleware, "headers")
    seconds = member(headers, "stsSeconds")
    strict = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0
    return strict and member(headers, "contentTypeNosniff") is True


def _has_chain(stack: Stack, config: Config) -> Iterator[Finding]:
    for known in edges(stack):
        yield from known.faults
        yield from _chains(known, config)


def _chains(known: Edge, config: Config) -> Iterator[Finding]:
    own = {text.casefold() for text in texts(config.get("own-sign-in"))}
    services = {folded(text) for text in texts(config.get("sign-in-services"))}
    routers = [router for router in known.routers if not known.redirects(router)]
    asking = {router.path for router in routers if any(_asks(known, part, services) for part in known.parts(router))}
    guarded = {name for router in routers if router.path in asking for name in router.hosts or ()}
    for router in routers:
        backends = known.backends(router)
        signs_in_itself = bool(backends) and all(_signs_in(known, one, own) for one in backends)
        asks = router.protocol == "http" and router.path in asking
        if router.hosts is None:
            if router.protocol != "udp":
                remedy = "Begin its rule with Host and the name of its app"
                yield router.finding("may answer for every host: its rule names none", remedy, "rule")
        elif not asks and router.hosts & guarded:
            remedy = "Give it a host of its own"
            yield router.finding("answers for a host that another router keeps behind the sign-in", remedy, "rule")
        parts = known.parts(router)
        if any(member(part, "errors") is not None for part in parts):
            remedy = "Take the `errors` middleware out"
            yield router.finding(
                "answers with a page of an app where people are not signed in", remedy, "middlewares", "errors"
            )
        if router.protocol != "http":
            if not signs_in_itself:
                yield router.finding("passes by every chain: only HTTP has one", "Make it a router of http")
        elif not any(_protects(part) for part in parts):
            if known.whole:
                yield router.finding(
                    "has no middleware that sets the headers of every page (stsSeconds, contentTypeNosniff)",
                    "Put `headers` into its middlewares",
                    "middlewares",
                )
        elif not asks and not signs_in_itself and known.whole:
            yield router.finding(
                "asks for no sign-in, and what is behind it is not known to ask itself",
                "Put `sign-in` into its middlewares, or its backend into `own-sign-in` where the app asks itself",
                "middlewares",
            )


def _signs_in(known: Edge, address: str, own: Container[str]) -> bool:
    """Whether an address is one of an app that asks itself, and what answers there is the service of that name."""
    name = folded(host(address))
    return address.casefold() in own and all(folded(one.own) == name for one in known.runs(address))


def _leads(stack: Stack, _config: Config) -> Iterator[Finding]:
    for known in edges(stack):
        for router in known.routers:
            if not known.redirects(router):
                yield from _over_tls(known, router)
                yield from _to_a_service(known, router)


def _to_a_service(known: Edge, router: Router) -> Iterator[Finding]:
    backends = known.backends(router)
    if not backends and known.whole:
        yield router.finding("leads nowhere: its service has no server", "Name a service of the same file", "service")
    for address in backends:
        found = known.runs(address)
        if not found:
            yield router.finding(
                "leads to what is no service of this stack",
                "Lead it to a service of the stack, by its name",
                "service",
            )
        elif not any(known.gate.meets(one) for one in found):
            yield router.finding(
                "leads to a service that shares no network with the edge",
                "Put both on one network (components/networks.py)",
                "service",
            )


def _over_tls(known: Edge, router: Router) -> Iterator[Finding]:
    if router.protocol == "udp":
        yield router.finding("answers over UDP, without TLS and without a chain", "Make it a router of http")
        return
    if there(member(router.data, "tls")):
        return
    remedy = "Give it the entry point with TLS alone (websecure)"
    if router.protocol == "tcp":
        # An entry point's http.tls is for HTTP alone.
        yield router.finding("answers without TLS", "Give it `tls` of its own, or make it a router of http", "tls")
        return
    if not known.entry_points:
        if known.whole:
            yield router.finding("has no TLS, and neither has any entry point that is known", remedy, "entryPoints")
        return
    for name in texts(member(router.data, "entryPoints")) or tuple(known.entry_points):
        point = known.entry_points.get(name)
        if not there(member(member(point, "http"), "tls")) and (point is not None or known.whole):
            yield router.finding("answers without TLS, or on an entry point that is not there", remedy, "entryPoints")
            return


# Prometheus


def _scraped(stack: Stack, config: Config) -> Iterator[Finding]:
    known = watch(stack)
    if not known.servers:
        platform = _whole_platform(stack)
        if platform is not None and known.whole:
            yield Finding(
                path=(),
                problem="is not watched: no container reads a file with Prometheus's scrape_configs",
                remedy="Make the scrape targets from the services, as components/monitoring.py does",
                resource=platform,
            )
        return
    for server in known.servers:
        if len(server.given.at[server.place]) > 1:
            yield server.finding("is one of two files at the path that Prometheus reads", "Give it once")
    covered: list[Runner] = []
    for target in known.targets():
        found, askers = known.reached(target), known.asker(target)
        if not found:
            yield target.finding("names a target that is no service of this stack", "Make targets from the services")
        elif not askers:
            yield target.finding("is asked by what is no service of this stack", "Name the prober by its service")
        elif not any(asker is one or asker.meets(one) for asker in askers for one in found):
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
    for server in known.servers:
        if not any(known.called(name) for name in server.managers()):
            yield server.finding(
                "tells no Alertmanager of this stack",
                "Name the Alertmanager of the stack under alerting.alertmanagers",
                "alerting",
            )
        if known.whole and not server.alerts():
            yield server.finding(
                "names no file of alerts that comes with it",
                "Name the file of the alert rules under rule_files",
                "rule_files",
            )


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


def _by_name(found: Iterable[tuple[str, Runner]]) -> dict[str, list[Runner]]:
    """What has each name, each once."""
    named: dict[str, list[Runner]] = {}
    for name, runner in found:
        holders = named.setdefault(name, [])
        if not any(one is runner for one in holders):
            holders.append(runner)
    return named


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
    # The order of a stack's resources is another each time: where nobody's own name tells whose a name is, all that
    # have it are named.
    running = runners(stack)
    owners = _by_name((folded(runner.own), runner) for runner in running)
    claimants = _by_name((name, runner) for runner in running for _, name in runner.claims)
    for runner in running:
        if owners[folded(runner.own)] != [runner]:
            yield Finding(
                path=(),
                problem="is one of two services of one name",
                remedy="Give it a name of its own",
                resource=runner.resource,
            )
        for path, name in runner.claims:
            if owners.get(name, claimants[name]) != [runner]:
                yield Finding(
                    path=path,
                    problem="is the name of another service, whose requests would come here",
                    remedy="Give each service its own name alone",
                    resource=runner.resource,
                )
        for path, name in runner.hosts:
            if owners.get(name, claimants.get(name, [runner])) != [runner]:
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
                    "blackbox-exporter": "answers Prometheus alone",
                    "prometheus": "Grafana is the way to it; it has no sign-in of its own",
                },
                "description": "Services without a page for people, by name, each with the reason.",
            }
        },
    ),
    Rule(
        name="every-route-has-a-chain",
        description=(
            "Each of Traefik's routes is for hosts that it names, sets the headers of every page and asks for a "
            "sign-in, unless the app behind it asks itself. Traefik starts with one file of settings that the stack "
            "gives it, and this one names files of routes that the stack gives it: there is no other way in."
        ),
        remediation=(
            "Put `headers` and `sign-in` into the router's middlewares. An app that signs people in itself is one "
            "address in this rule's setting `own-sign-in`; a service that asks for others one name in "
            "`sign-in-services`."
        ),
        severity=Severity.CRITICAL,
        judge_stack=_has_chain,
        settings={
            "own-sign-in": {
                "type": "array",
                "items": {"type": "string", "pattern": r"^[^\s/]+:\d+$"},
                "default": ["grafana:3000", "jellyfin:8096", "vpn:8080"],
                "description": "Backends that sign people in themselves, host and port; vpn:8080 is qBittorrent.",
            },
            "sign-in-services": texts_setting("Services that a `forwardAuth` may ask who somebody is, by name."),
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
                    "firewall": "listens nowhere; its health check looks at its rules",
                    "guard": "has no metrics; cAdvisor tells of its health",
                    "guard-socket-proxy": "has no metrics; cAdvisor tells of the guard's health without it",
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
