"""Family `edge`: the generated files with one thing changed, and the stack around them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, Final

import pytest
import yaml

from policies.rules.edge import RULES
from policies.rules.formats import SCHEMAS
from policies.rules.props import UNKNOWN
from policies.rules.rule import Stack
from tests.policies.harness import Props, declared_inputs, places
from tests.policies.platform import changed, declared, validated

INIT: Final = "traefik-seed"
UPLOADS: Final[list[Any]] = declared_inputs(INIT)["uploads"]  # type: ignore[assignment]
AT: Final = {str(one["file"]).rpartition("/")[2]: index for index, one in enumerate(UPLOADS)}
ROUTERS: Final = f"uploads[{AT['routes.yml']}].content.http.routers"
Change = Callable[[dict[str, Any]], object]


def document(name: str) -> dict[str, Any]:
    """One of the edge's files, as the program makes it."""
    loaded: dict[str, Any] = yaml.safe_load(UPLOADS[AT[name]]["content"])
    return loaded


def uploads(name: str, content: object) -> list[Any]:
    """The edge's files with another content of one."""
    return [{**one, "content": content} if index == AT[name] else one for index, one in enumerate(UPLOADS)]


def with_change(name: str, change: Change) -> list[Any]:
    """The edge's files with something changed in one."""
    tree = copy.deepcopy(document(name))
    change(tree)
    return uploads(name, yaml.safe_dump(tree))


def alone(given: list[Any]) -> dict[str, list[str]]:
    """What is refused of the init container by itself."""
    return places(declared_inputs(INIT, uploads=given), name=INIT, rules=RULES)


def told(stack: Stack) -> set[tuple[str, str]]:
    """Rule and message of what is refused, up to the first full stop."""
    return {(one.rule, one.message.partition(". ")[0]) for one in validated(stack, RULES).violations}


def router(**values: object) -> Change:
    return lambda tree: tree["http"]["routers"]["sonarr"].update(values)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (router(rule="PathPrefix(`/`)"), "rule"),
        (router(rule="Host(`a`) || PathPrefix(`/`)"), "rule"),
        (router(rule="Host(`a`, `b`)"), "rule"),
        (router(rule="HostRegexp(`.*`)"), "rule"),
        (router(rule=""), "rule"),
        (router(rule="Host(`radarr.localhost`)"), "rule"),
        (router(entryPoints=["web"]), "entryPoints"),
        (router(entryPoints=["websecure", "web"]), "entryPoints"),
        (router(entryPoints=["elsewhere"]), "entryPoints"),
        (router(middlewares=["sign-in"]), "middlewares"),
        (router(middlewares=["headers"]), "middlewares"),
        (router(middlewares=["headers", "sign-in", "gone"]), "middlewares"),
        (router(service="gone"), "service"),
        (lambda tree: tree["http"]["services"].pop("sonarr"), "service"),
    ],
)
def test_a_router_without_its_chain_is_refused(change: Change, place: str) -> None:
    found = alone(with_change("routes.yml", change))["every-route-has-a-chain"]
    name = "sonarr" if "radarr" not in found[0] else "radarr"  # of two for one host, the second
    assert f"{ROUTERS}.{name}.{place}" in [one.replace("radarr", name) for one in found]


def test_an_app_with_its_own_sign_in_needs_no_other() -> None:
    tree = document("routes.yml")
    assert tree["http"]["routers"]["jellyfin"]["middlewares"] == ["headers"]
    moved = with_change("routes.yml", lambda tree: tree["http"]["routers"]["jellyfin"].update(service="sonarr"))
    assert alone(moved) == {"every-route-has-a-chain": [f"{ROUTERS}.jellyfin.middlewares"]}


UNGENERATED: Final[tuple[tuple[str, Change], ...]] = (
    ("traefik.yml", lambda tree: tree["providers"].update(docker={})),
    ("traefik.yml", lambda tree: tree["providers"]["file"].update(directory="/data")),
    ("traefik.yml", lambda tree: tree["providers"]["file"].update(watch=True)),
    ("traefik.yml", lambda tree: tree.update(api={"insecure": True})),
    ("traefik.yml", lambda tree: tree.update(experimental={"plugins": {"x": {}}})),
    ("traefik.yml", lambda tree: tree["entryPoints"]["web"].update(forwardedHeaders={"insecure": True})),
    ("traefik.yml", lambda tree: tree["entryPoints"]["web"].update(address=":80/udp")),
    ("traefik.yml", lambda tree: tree["accessLog"].pop("fields")),
    ("traefik.yml", lambda tree: tree.pop("ping")),
    ("routes.yml", lambda tree: tree.update(tcp={"routers": {}})),
    ("routes.yml", lambda tree: tree["http"].update(serversTransports={"x": {"insecureSkipVerify": True}})),
    ("routes.yml", router(priority=1)),
    ("routes.yml", router(entryPoints=[])),
    ("routes.yml", lambda tree: tree["http"]["services"]["sonarr"].update(weighted={"services": []})),
    ("routes.yml", lambda tree: tree["http"]["services"]["sonarr"]["loadBalancer"].update(servers=[])),
    ("routes.yml", lambda tree: tree["http"]["services"]["sonarr"]["loadBalancer"]["servers"][0].update(url="x")),
    ("routes.yml", lambda tree: tree["http"]["middlewares"]["sign-in"]["basicAuth"].update(usersFile="/data/x")),
    ("routes.yml", lambda tree: tree["http"]["middlewares"]["sign-in"].update(basicAuth={"users": ["a:b"]})),
    ("routes.yml", lambda tree: tree["http"]["middlewares"]["headers"]["headers"].update(stsSeconds=0)),
    ("routes.yml", lambda tree: tree["http"]["middlewares"]["headers"]["headers"].pop("contentTypeNosniff")),
    ("routes.yml", lambda tree: tree["http"]["middlewares"].update(x={"errors": {}})),
    ("routes.yml", lambda tree: tree["tls"]["options"]["default"].update(minVersion="VersionTLS10")),
    ("routes.yml", lambda tree: tree["tls"]["options"].update(other={})),
)


@pytest.mark.parametrize(("name", "change"), UNGENERATED)
def test_what_the_program_does_not_generate_is_refused(name: str, change: Change) -> None:
    found = alone(with_change(name, change))["known-configuration"]
    assert all(place.startswith(f"uploads[{AT[name]}].content") for place in found)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("routes.yml", "http: [", ""),
        ("routes.yml", "a: &a [*a]", ""),
        ("routes.yml", "a: 1\na: 2", ""),
        ("routes.yml", "{" * 1500, ""),
        ("routes.yml", yaml.safe_dump(document("routes.yml")) + "# {{ env `X` }}", ""),
        ("app.json", "{", ""),
        ("app.toml", "=", ""),
        ("app.yaml", "!!python/object:os.system {}", ""),
        ("app.yaml", "{{ 1 }}", ""),
        ("routes.yml", "7", None),
        ("app.conf", "http: [", None),
        ("app.yaml", "a: 2026-01-01", None),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(name: str, content: str, place: str | None) -> None:
    props: Props = {"uploads": [{"file": f"/run/config/{name}", "content": content, "permissions": "0400"}]}
    found = places(props, name="x-seed", rules=RULES)
    if name == "routes.yml" and place is None:
        place = ""
    assert found == ({"known-configuration": ["uploads[0].content"]} if place is not None else {})


@pytest.mark.parametrize("name", ["traefik.yml", "routes.yml"])
def test_a_file_that_only_an_update_knows_is_let_be(name: str) -> None:
    given = [{**one, "content": UNKNOWN} if index == AT[name] else one for index, one in enumerate(UPLOADS)]
    found = {rule for rule, _ in told(changed(declared("dev"), INIT, uploads=given))}
    assert found == set()


@pytest.mark.parametrize("name", ["ping", "metrics"])
def test_ping_and_metrics_are_on_no_page(name: str) -> None:
    def change(tree: dict[str, Any]) -> None:
        (tree["metrics"]["prometheus"] if name == "metrics" else tree["ping"]).update(entryPoint="websecure")

    found = alone(with_change("traefik.yml", change))
    assert found == {"every-route-has-a-chain": [f"uploads[{AT['traefik.yml']}].content.entryPoints.websecure"]}


def routed(url: str) -> Stack:
    """The declared platform, where Sonarr's route leads there."""
    change = with_change(
        "routes.yml",
        lambda tree: tree["http"]["services"]["sonarr"].update(loadBalancer={"servers": [{"url": url}]}),
    )
    return changed(declared("dev"), INIT, uploads=change)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://elsewhere.example.org:80", "leads to what is no service of this stack"),
        ("http://traefik-seed:80", "leads to what is no service of this stack"),
        ("http://node-exporter:9100", "leads to a service that shares no network with the edge"),
        ("http://grafana:3000", "shows everybody the metrics that Prometheus scrapes there"),
    ],
)
def test_where_a_route_leads(url: str, problem: str) -> None:
    where = f"traefik-seed: {ROUTERS}.sonarr.service"
    assert ("every-route-leads-to-a-service", f"{where} {problem}") in told(routed(url))


@pytest.mark.parametrize("rule", ["Host(`g.localhost`)", "Host(`g.localhost`) && !PathRegexp(`^/metrics`)"])
def test_metrics_are_hidden_in_any_case(rule: str) -> None:
    given = with_change("routes.yml", lambda tree: tree["http"]["routers"]["grafana"].update(rule=rule))
    found = told(changed(declared("dev"), INIT, uploads=given))
    assert {one for one, _ in found} == {"every-route-leads-to-a-service"}


def test_the_edge_is_started_with_its_one_file_and_publishes_pages() -> None:
    ports = [{"ip": "127.0.0.1", "internal": port, "external": port, "protocol": "tcp"} for port in (8080, 8082)]
    stack = changed(declared("dev"), "traefik-container", command=["--api.insecure"], ports=ports)
    assert {message.split(" ", 2)[1] for _, message in told(stack)} == {"command", "ports[1].internal"}


def without(*names: str) -> Stack:
    left = tuple(one for one in declared("dev").resources if one.name not in names)
    return Stack(name="dev", resources=left)


def test_a_platform_has_routes() -> None:
    assert ("every-web-app-has-a-route", "platform: has no routes: no init container writes a traefik.yml") in {
        (rule, message.replace(message.partition(":")[0], "platform", 1)) for rule, message in told(without(INIT))
    }


def test_a_service_beside_the_edge_has_a_route() -> None:
    given = with_change("routes.yml", lambda tree: tree["http"]["routers"].pop("sonarr"))
    found = told(changed(declared("dev"), INIT, uploads=given))
    assert found == {
        (
            "every-web-app-has-a-route",
            "sonarr-container: networksAdvanced shares a network with the edge and has no route",
        )
    }


NETWORK: Final = declared_inputs("sonarr-container")["networksAdvanced"]
assert isinstance(NETWORK, list)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": "nexus-test-radarr"}, "name"),
        ({"hostname": "radarr"}, "hostname"),
        ({"networksAdvanced": [{**NETWORK[0], "aliases": ["sonarr", "radarr"]}]}, "networksAdvanced[0].aliases[1]"),  # type: ignore[dict-item]
        ({"networksAdvanced": [{**NETWORK[0], "aliases": ["x-sonarr"]}]}, "networksAdvanced[0].aliases[0]"),  # type: ignore[dict-item]
        ({"name": "sonarr", "hostname": UNKNOWN}, ""),
    ],
)
def test_a_service_has_its_own_name(changes: dict[str, Any], place: str) -> None:
    found = told(changed(declared("dev"), "sonarr-container", **changes))
    said = {message.split(" ", 2)[1] for rule, message in found if rule == "one-name-each"}
    assert said == ({place} if place else set())


@pytest.mark.parametrize("name", ["firewall-container", "qbittorrent-container"])
def test_the_host_name_that_the_engine_fills_in_is_let_be(name: str) -> None:
    assert told(changed(declared("dev"), name, hostname="nas")) == set()


def test_two_resources_of_one_name_are_refused() -> None:
    stack = declared("dev")
    twice = Stack(name="dev", resources=(*stack.resources, stack.of("Volume")[0]))
    assert {rule for rule, _ in told(twice)} == {"one-name-each"}


def test_each_schema_has_a_file_that_the_program_makes() -> None:
    made = {str(upload.get("file")).rpartition("/")[2] for one in declared("dev").of("Container")
            for upload in json.loads(json.dumps(one.props.get("uploads") or []))}  # fmt: skip
    assert set(SCHEMAS) <= made
