"""Family `edge`: what has a page has a route, each route is behind headers and a sign-in, and leads over TLS to a
service of the stack; each name is one service's.

The edge is the service whose init container writes a traefik.yml. That and routes.yml have the shape that the program
generates (policies/rules/formats.py); here the names in them are checked against each other and against the stack. A
file whose content only an update will know is checked then. Not seen from here: whether a port is the right one, and
a second Traefik, which could publish no port.
"""

import re
from collections.abc import Iterator
from typing import Final

from pulumi_policy import Severity

from policies.rules.configuration import UnreadableError, files
from policies.rules.containers import items, table, text_of, texts
from policies.rules.formats import Document, faults, read
from policies.rules.props import UNKNOWN, Path, Value
from policies.rules.rule import (
    REASON,
    Config,
    Finding,
    Resource,
    Stack,
    rule,
    stack_rule,
    table_setting,
    texts_setting,
)
from policies.rules.services import Configured, Service, configured, host, host_and_port, lacking, services


@rule("known-configuration", Severity.CRITICAL)
def _known(resource: Resource, _config: Config) -> Iterator[Finding]:
    """Each file for a container that is YAML, JSON or TOML by its name can be read, and those of Traefik and
    Prometheus have the shape that the program generates, with no option beside.

    Take it out; a new option is a reviewed field of policies/rules/formats.py.
    """
    for file in files(resource):
        try:
            for place in faults(file):
                yield Finding((*file.path, *place), "is not as the program generates it")
        except UnreadableError:
            problem = "is not what the file's name says, so that nothing in it can be checked"
            yield Finding(file.path, problem, "Write it by yaml.safe_dump or json.dumps")
        if file.base == "routes.yml" and "{{" in text_of(file.text):
            problem = "has a template in it: what Traefik makes of it is not known"
            yield Finding(file.path, problem, "Write what it makes instead")


_RULE: Final = re.compile(r"Host\(`([a-z0-9.-]+)`\)(?: && !PathRegexp\(`([^`]+)`\))?")


def _edges(resource: Resource) -> Iterator[tuple[Path, Document, Path, Document]]:
    """The two files of an edge, with where they are, where both are known."""
    for first in (file for file in files(resource) if file.base == "traefik.yml"):
        if (static := read(first)) is not None:
            for second in (one for one in files(resource) if one.name == static["providers"]["file"]["filename"]):
                if (dynamic := read(second)) is not None:
                    yield first.path, static, second.path, dynamic


def _routers(path: Path, routes: Document) -> Iterator[tuple[Path, Document, str]]:
    """Each router with where it is, and the host and port that it leads to; empty where its service is not there."""
    for name, router in routes["http"]["routers"].items():
        backend = routes["http"]["services"].get(router["service"])
        address = host_and_port(backend["loadBalancer"]["servers"][0]["url"]) if backend else ""
        yield (*path, "http", "routers", name), router, address


@rule(
    "every-route-has-a-chain",
    Severity.CRITICAL,
    settings={"own-sign-in": texts_setting("Backends that sign people in themselves, host and port.")},
)
def _chains(resource: Resource, config: Config) -> Iterator[Finding]:
    """Each of the edge's routes is for one host that no other route has, answers over TLS, sets the headers of every
    page and asks for a sign-in, unless the app behind it asks itself.

    Put `headers` and `sign-in` into its middlewares; an app that signs people in itself is one address under
    settings.every-route-has-a-chain.own-sign-in in policies/config.yaml.
    """
    for at, static, path, routes in _edges(resource):
        points, middlewares = static["entryPoints"], routes["http"]["middlewares"]
        for name in (static["ping"]["entryPoint"], static["metrics"]["prometheus"]["entryPoint"]):
            if "http" in points.get(name, {"http"}):
                problem = "is not there, or serves pages too: ping and metrics are for the stack alone"
                advice = "Give them an entry point of their own, whose port is not published"
                yield Finding((*at, "entryPoints", name), problem, advice)
        names: set[str] = set()
        for place, router, backend in _routers(path, routes):
            chain = {kind for one in router["middlewares"] for kind in middlewares.get(one, ["gone"])}
            signs_in = "basicAuth" in chain or backend in texts(config.get("own-sign-in"))
            tls = all("tls" in points.get(one, {}).get("http", {}) for one in router["entryPoints"])
            found = _RULE.fullmatch(router["rule"])
            name = found[1] if found else ""
            checks = (
                ("rule", name, "may answer for every host: its rule is not Host and one name", "Begin it with Host"),
                ("rule", name not in names, "answers for the host of another router", "Give it a host of its own"),
                ("entryPoints", tls, "answers without TLS, or on an entry point that is not there", _TLS),
                ("middlewares", "gone" not in chain, "names a middleware that is not there", _SAME_FILE),
                ("middlewares", "headers" in chain, "does not set the headers of every page", ""),
                ("service", backend, "leads nowhere: its service is not there", _SAME_FILE),
                ("middlewares", signs_in, "asks for no sign-in, and what is behind it may not ask itself", ""),
            )
            yield from (Finding((*place, key), said, advice) for key, good, said, advice in checks if not good)
            names.add(name)


_TLS: Final = "Give it the entry point with TLS alone"
_SAME_FILE: Final = "Name one of the same file"


def _started(one: Configured, service: Service) -> Iterator[Finding]:
    """An edge is started with its one file, and each port that it publishes is an entry point of pages."""
    props, static = service.resource.props, read(one.file)
    words = items(props.get("command"))
    if UNKNOWN not in (props.get("command"), *words) and words != [f"--configfile={one.file.name}"]:
        problem = "starts the edge otherwise than with its one file of settings"
        advice = "Start it with --configfile alone, and say all else in that file"
        yield Finding(("command",), problem, advice, resource=service.resource)
    for index, port in enumerate(map(table, items(props.get("ports")) if static else ())):
        pages = {point["address"] for point in static["entryPoints"].values() if "http" in point} if static else ()
        internal = port.get("internal")
        if isinstance(internal, int | float) and f":{internal:.0f}" not in pages:
            problem = "publishes what is no entry point of pages: it answers without any chain"
            advice = "Publish the ports of `web` and `websecure` alone"
            yield Finding(("ports", index, "internal"), problem, advice, resource=service.resource)


def _metrics(stack: Stack) -> dict[str, str]:
    """By host and port, the paths that Prometheus scrapes."""
    return {
        host_and_port(target): job.get("metrics_path", "/metrics")
        for one in configured(stack, "prometheus.yml")
        for job in (read(one.file) or {}).get("scrape_configs", ())
        for group in job["static_configs"]
        for target in group["targets"]
        if "params" not in job
    }


@stack_rule("every-route-leads-to-a-service", Severity.HIGH)
def _leads(stack: Stack, _config: Config) -> Iterator[Finding]:
    """Each of the edge's routes leads to a service of the stack that shares a network with it, and hides the metrics
    that Prometheus scrapes there. The edge is started with its one file, and publishes pages alone.

    Make routes from the services (components/edge.py), and hide what is not for people.
    """
    running, metrics = services(stack), _metrics(stack)
    for one in configured(stack, "traefik.yml"):
        if one.service is None:
            continue
        yield from _started(one, one.service)
        for _, _, path, routes in _edges(one.resource):
            for place, router, address in _routers(path, routes):
                found = running.get(host(address))
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
                    yield Finding((*place, "service"), problem, advice, resource=one.resource)


def _hides(rule: str, path: str) -> bool:
    found = _RULE.fullmatch(rule)
    try:
        return bool(found and found[2] and re.search(found[2], path) and re.search(found[2], path.upper()))
    except (re.error, RecursionError, OverflowError):
        return False


@stack_rule(
    "every-web-app-has-a-route",
    Severity.MEDIUM,
    settings={
        "without-page": table_setting("Services without a page for people, by name, each with the reason.", REASON)
    },
)
def _has_route(stack: Stack, config: Config) -> Iterator[Finding]:
    """What shares a network with the edge is behind one of its routes, or is named as having no page for people: an
    app without a route is one that people publish by hand.

    Give the service its `web`, or, where it has no page for people, a line under
    settings.every-web-app-has-a-route.without-page in policies/config.yaml.
    """
    if whole := lacking(stack, "traefik.yml"):
        problem = "has no routes: no init container writes a traefik.yml"
        yield Finding((), problem, "Make the edge from the services, as components/edge.py does", resource=whole)
    for one in configured(stack, "traefik.yml"):
        known = next((_routers(path, routes) for _, _, path, routes in _edges(one.resource)), None)
        if one.service is None or known is None:
            continue
        led = {one.service.name, *table(config.get("without-page")), *(host(to) for _, _, to in known)}
        for service in services(stack).values():
            if service.name not in led and service.networks & one.service.networks:
                problem = "shares a network with the edge and has no route"
                yield Finding(("networksAdvanced",), problem, resource=service.resource)


@stack_rule("one-name-each", Severity.HIGH)
def _one_name(stack: Stack, _config: Config) -> Iterator[Finding]:
    """No two resources of a type share a logical name, and a service answers to its own name alone: as host name,
    network alias and container name. Exemptions, routes and scrape targets are all matched by name.

    Give each resource and each service a name of its own, and take the other's name out.
    """
    seen: set[tuple[str, str]] = set()
    for one in stack.resources:
        if (one.type, one.name) in seen:
            problem = "is a second resource of its type and name: it has every exemption of the other"
            yield Finding((), problem, "Give it a name of its own", resource=one)
        seen.add((one.type, one.name))
    for service in services(stack).values():
        props = service.resource.props
        names: list[tuple[Path, Value]] = [(("name",), props.get("name"))]
        if items(props.get("networksAdvanced")):  # else the engine's, of the host or of another container
            names.append((("hostname",), props.get("hostname")))
        for index, network in enumerate(map(table, items(props.get("networksAdvanced")))):
            aliases = enumerate(items(network.get("aliases")))
            names += [(("networksAdvanced", index, "aliases", number), alias) for number, alias in aliases]
        for path, name in names:
            longer = len(path) == 1 and text_of(name).endswith(f"-{service.name}")
            if isinstance(name, str) and name != service.name and not longer:
                problem = "is not the service's own name, by which routes, targets and exemptions find it"
                advice = f"Let it be {service.name}, or end so behind a dash where it is no alias"
                yield Finding(path, problem, advice, resource=service.resource)


RULES: Final = (_known, _one_name, _has_route, _chains, _leads)
