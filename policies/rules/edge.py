"""Family `edge`: what has a page has a route, each route is behind headers and a sign-in, and leads over TLS to a
service of the stack; each name is one service's.

The edge is the service whose init container writes a traefik.yml. That and routes.yml have the shape that the program
generates (policies/rules/formats.py); here the names in them are checked against each other and against the stack. A
file whose content only an update will know is checked then. Not seen from here: whether a port is the right one, and
a second Traefik, which could publish no port.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from pulumi_policy import Severity

from policies.rules.configuration import UnreadableError, files
from policies.rules.containers import items, table, texts
from policies.rules.formats import Document, faults, read
from policies.rules.props import UNKNOWN, Path
from policies.rules.rule import Config, Finding, Resource, Rule, Stack, texts_setting
from policies.rules.services import Configured, Service, configured, host_and_port, is_known, platform, services

_SHAPE: Final = "policies/rules/formats.py"


def _known(resource: Resource, _config: Config) -> Iterator[Finding]:
    """Files of settings: readable, and of the shape that the program generates."""
    for file in files(resource):
        try:
            places = tuple(faults(file))
        except UnreadableError:
            yield Finding(
                path=file.path,
                problem="is not what the file's name says, so that nothing in it can be checked",
                advice="Write it by yaml.safe_dump or json.dumps",
            )
            continue
        for place in places:
            yield Finding(
                path=(*file.path, *place),
                problem="is not as the program generates it",
                advice=f"Take it out; a new option is a reviewed field of {_SHAPE}",
            )
        if file.base == "routes.yml" and isinstance(file.text, str) and "{{" in file.text:
            yield Finding(
                path=file.path,
                problem="has a template in it: what Traefik makes of it is not known",
                advice="Write what it makes instead",
            )


_RULE: Final = re.compile(r"Host\(`([a-z0-9.-]+)`\)(?: && !PathRegexp\(`([^`]+)`\))?")


def _edges(resource: Resource) -> Iterator[tuple[Path, Document, Path, Document]]:
    """The two files of an edge, with where they are, where both are known."""
    for first in (file for file in files(resource) if file.base == "traefik.yml"):
        if (static := read(first)) is not None:
            for second in (one for one in files(resource) if one.name == static["providers"]["file"]["filename"]):
                if (dynamic := read(second)) is not None:
                    yield first.path, static, second.path, dynamic


def _backend(routes: Document, service: str) -> str:
    """The host and port that a service of the file leads to; empty where there is none."""
    found = routes["http"]["services"].get(service)
    return host_and_port(found["loadBalancer"]["servers"][0]["url"]) if found else ""


def _chains(resource: Resource, config: Config) -> Iterator[Finding]:
    own = texts(config.get("own-sign-in"))
    for at, static, path, routes in _edges(resource):
        points = static["entryPoints"]
        for name in (static["ping"]["entryPoint"], static["metrics"]["prometheus"]["entryPoint"]):
            if name not in points or "http" in points[name]:
                yield Finding(
                    path=(*at, "entryPoints", name),
                    problem="is not there, or serves pages too: ping and metrics are for the stack alone",
                    advice="Give them an entry point of their own, whose port is not published",
                )
        hosts: set[str] = set()
        for name, router in routes["http"]["routers"].items():
            place = (*path, "http", "routers", name)
            given = [routes["http"]["middlewares"].get(one) for one in router["middlewares"]]
            found = _RULE.fullmatch(router["rule"])
            host = found[1] if found else ""
            tls = [points[one].get("http", {}) for one in router["entryPoints"] if one in points]
            checks = (
                ("rule", host, "may answer for every host: its rule is not Host and one name", "Begin it with Host"),
                ("rule", host not in hosts, "answers for the host of another router", "Give it a host of its own"),
                (
                    "entryPoints",
                    len(tls) == len(router["entryPoints"]) and all("tls" in one for one in tls),
                    "answers without TLS, or on an entry point that is not there",
                    "Give it the entry point with TLS alone",
                ),
                (
                    "middlewares",
                    None not in given,
                    "names a middleware that is not there",
                    "Name those of the same file",
                ),
                (
                    "middlewares",
                    any(one and "headers" in one for one in given),
                    "does not set the headers of every page",
                    "Put `headers` into its middlewares",
                ),
                (
                    "service",
                    _backend(routes, router["service"]),
                    "leads nowhere: its service is not there",
                    "Name a service of the same file",
                ),
                (
                    "middlewares",
                    any(one and "basicAuth" in one for one in given) or _backend(routes, router["service"]) in own,
                    "asks for no sign-in, and what is behind it is not known to ask itself",
                    "Put `sign-in` into its middlewares, or its backend under "
                    "settings.every-route-has-a-chain.own-sign-in in policies/config.yaml",
                ),
            )
            for key, good, problem, advice in checks:
                if not good:
                    yield Finding(path=(*place, key), problem=problem, advice=advice)
            hosts.add(host)


def _started(one: Configured, service: Service) -> Iterator[Finding]:
    """An edge is started with its one file, and each port that it publishes is an entry point of pages."""
    props = service.resource.props
    words = items(props.get("command"))
    if UNKNOWN not in (props.get("command"), *words) and words != [f"--configfile={one.file.name}"]:
        yield Finding(
            path=("command",),
            problem="starts the edge otherwise than with its one file of settings",
            advice="Start it with --configfile alone, and say all else in that file",
            resource=service.resource,
        )
    static = read(one.file)
    if static is not None:
        pages = {point["address"] for point in static["entryPoints"].values() if "http" in point}
        for index, port in enumerate(map(table, items(props.get("ports")))):
            internal = port.get("internal")
            if isinstance(internal, int | float) and f":{internal:.0f}" not in pages:
                yield Finding(
                    path=("ports", index, "internal"),
                    problem="publishes what is no entry point of pages: it answers without any chain",
                    advice="Publish the ports of `web` and `websecure` alone",
                    resource=service.resource,
                )


def _metrics(stack: Stack) -> dict[str, str]:
    """By host and port, the paths that Prometheus scrapes."""
    found: dict[str, str] = {}
    for one in configured(stack, "prometheus.yml"):
        if (given := read(one.file)) is not None:
            for job in given["scrape_configs"]:
                targets = [target for group in job["static_configs"] for target in group["targets"]]
                path = job.get("metrics_path", "/metrics")
                found |= {host_and_port(target): path for target in targets if "params" not in job}
    return found


def _leads(stack: Stack, _config: Config) -> Iterator[Finding]:
    running, metrics = services(stack), _metrics(stack)
    for one in configured(stack, "traefik.yml"):
        if one.service is None:
            continue
        yield from _started(one, one.service)
        for _, _, path, routes in _edges(one.resource):
            for name, router in routes["http"]["routers"].items():
                address = _backend(routes, router["service"])
                found = running.get(address.partition(":")[0])
                problem, advice = "", "Lead it to a service of the stack, by its name"
                if address and found is None:
                    problem = "leads to what is no service of this stack"
                elif found is not None and not one.service.meets(found):
                    problem = "leads to a service that shares no network with the edge"
                    advice = "Put both on one network (components/networks.py)"
                elif address in metrics and not _hides(router["rule"], metrics[address]):
                    problem = "shows everybody the metrics that Prometheus scrapes there"
                    advice = "Hide the path: `hidden_paths` of the service's `web`"
                if problem:
                    where = (*path, "http", "routers", name, "service")
                    yield Finding(path=where, problem=problem, advice=advice, resource=one.resource)


def _hides(rule: str, path: str) -> bool:
    found = _RULE.fullmatch(rule)
    try:
        return bool(found and found[2] and re.search(found[2], path) and re.search(found[2], path.upper()))
    except (re.error, RecursionError, OverflowError):
        return False


def _has_route(stack: Stack, config: Config) -> Iterator[Finding]:
    edges = configured(stack, "traefik.yml")
    whole = platform(stack)
    if not edges and whole is not None and is_known(stack):
        yield Finding(
            path=(),
            problem="has no routes: no init container writes a traefik.yml",
            advice="Make the edge from the services, as components/edge.py does",
            resource=whole,
        )
    without = table(config.get("without-page"))
    for one in edges:
        known = [routes for _, _, _, routes in _edges(one.resource)]
        if one.service is None or not known:
            continue
        led = {
            _backend(known[0], router["service"]).partition(":")[0] for router in known[0]["http"]["routers"].values()
        }
        for service in services(stack).values():
            if service is one.service or service.name in led or service.name in without:
                continue
            if service.networks & one.service.networks:
                yield Finding(
                    path=("networksAdvanced",),
                    problem="shares a network with the edge and has no route",
                    advice="Give the service its `web`, or, where it has no page for people, a line under "
                    "settings.every-web-app-has-a-route.without-page in policies/config.yaml",
                    resource=service.resource,
                )


def _one_name(stack: Stack, _config: Config) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for one in stack.resources:
        if (one.type, one.name) in seen:
            yield Finding(
                path=(),
                problem="is a second resource of its type and name: it has every exemption of the other",
                advice="Give it a name of its own",
                resource=one,
            )
        seen.add((one.type, one.name))
    for service in services(stack).values():
        props = service.resource.props
        names: list[tuple[Path, object]] = [(("name",), props.get("name"))]
        if items(props.get("networksAdvanced")):  # else the engine's, of the host or of another container
            names.append((("hostname",), props.get("hostname")))
        for index, network in enumerate(map(table, items(props.get("networksAdvanced")))):
            aliases = enumerate(items(network.get("aliases")))
            names += [(("networksAdvanced", index, "aliases", number), alias) for number, alias in aliases]
        for path, name in names:
            if isinstance(name, str) and name != service.name and not _ends_so(name, service.name, path):
                yield Finding(
                    path=path,
                    problem="is not the service's own name, by which routes, targets and exemptions find it",
                    advice=f"Let it be {service.name}, or end so behind a dash where it is no alias",
                    resource=service.resource,
                )


def _ends_so(name: str, own: str, path: Path) -> bool:
    return name.endswith(f"-{own}") and len(path) == 1


_REASONS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": {"type": "string", "minLength": 10},
    "default": {},
}

RULES: Final = (
    Rule(
        name="known-configuration",
        description=(
            "Each file for a container that is YAML, JSON or TOML by its name can be read, and those of Traefik and "
            "Prometheus have the shape that the program generates, with no option beside."
        ),
        remediation=f"Take the option out, or review it as a field of {_SHAPE}.",
        severity=Severity.CRITICAL,
        validate=_known,
    ),
    Rule(
        name="one-name-each",
        description=(
            "No two resources of a type share a logical name, and a service answers to its own name alone: as host "
            "name, network alias and container name. Exemptions, routes and scrape targets are all matched by name."
        ),
        remediation="Give each resource and each service a name of its own, and take the other's name out.",
        severity=Severity.HIGH,
        validate_stack=_one_name,
    ),
    Rule(
        name="every-web-app-has-a-route",
        description=(
            "What shares a network with the edge is behind one of its routes, or is named as having no page for "
            "people: an app without a route is one that people publish by hand."
        ),
        remediation="Give the service its `web`, or a line with the reason in this rule's setting `without-page`.",
        severity=Severity.MEDIUM,
        validate_stack=_has_route,
        settings={
            "without-page": {
                **_REASONS,
                "description": "Services without a page for people, by name, each with the reason.",
            }
        },
    ),
    Rule(
        name="every-route-has-a-chain",
        description=(
            "Each of the edge's routes is for one host that no other route has, answers over TLS, sets the headers "
            "of every page and asks for a sign-in, unless the app behind it asks itself."
        ),
        remediation=(
            "Put `headers` and `sign-in` into the router's middlewares. An app that signs people in itself is one "
            "address in this rule's setting `own-sign-in`."
        ),
        severity=Severity.CRITICAL,
        validate=_chains,
        settings={"own-sign-in": texts_setting("Backends that sign people in themselves, host and port.")},
    ),
    Rule(
        name="every-route-leads-to-a-service",
        description=(
            "Each of the edge's routes leads to a service of the stack that shares a network with it, and hides the "
            "metrics that Prometheus scrapes there. The edge is started with its one file, and publishes pages alone."
        ),
        remediation="Make routes from the services (components/edge.py), and hide what is not for people.",
        severity=Severity.HIGH,
        validate_stack=_leads,
    ),
)
