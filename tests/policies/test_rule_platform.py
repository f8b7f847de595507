"""Family `platform`: one breakage at a time of the declared platform's routes and scrape targets, each refused."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Final

import pytest
import yaml

from policies.config import PackConfig
from policies.rules import platform
from policies.rules.configuration import files
from policies.rules.props import UNKNOWN, Value
from policies.rules.rule import Resource, Stack
from tests.components.stacks import CHOICES, built
from tests.policies.harness import CONTAINER, SERVICE, Json, Props, at, container
from tests.policies.harness import replaced as set_at
from tests.policies.platform import changed, declared, first_previewed, judged

OWN: Final = {rule.name for rule in platform.RULES}
ROUTES: Final = ("traefik-seed", "routes.yml")
STATIC: Final = ("traefik-seed", "traefik.yml")
SCRAPES: Final = ("prometheus-seed", "prometheus.yml")

Edit = Callable[[Json], Json]


def own(stack: Stack, config: dict[str, dict[str, Value]] | None = None) -> set[tuple[str, str]]:
    """What the family says: rule and resource. `config` is that of single rules."""
    report = judged(stack, platform.RULES, PackConfig(rules=config or {}))
    for verdict in report.violations:
        for one in stack.resources:
            for file in files(one):
                if isinstance(file.text, str):
                    assert not len(file.text) > 3 or file.text not in verdict.message
    return {(one.rule, one.resource.name if one.resource else "") for one in report.violations}


def rewritten(stack: Stack, place: tuple[str, str], text: object) -> Stack:
    """The stack with another content of a file; UNKNOWN is one that only an update knows."""
    seed, file = place
    (carrier,) = [one for one in stack.resources if one.name == seed]
    uploads = copy.deepcopy(carrier.props["uploads"])
    assert isinstance(uploads, list)
    (upload,) = [one for one in uploads if isinstance(one, dict) and str(one["file"]).endswith(f"/{file}")]
    upload["content"] = text  # type: ignore[assignment] # any content
    return changed(stack, seed, uploads=uploads)


def edited(place: tuple[str, str], change: Edit, stack: Stack | None = None) -> Stack:
    """The platform with a file changed by a function on its document."""
    base = stack or declared("dev")
    seed, name = place
    (carrier,) = [one for one in base.resources if one.name == seed]
    (file,) = [one for one in files(carrier) if isinstance(one.name, str) and one.name.endswith(f"/{name}")]
    assert isinstance(file.text, str)
    document = yaml.safe_load(file.text)
    before = copy.deepcopy(document)
    after = change(document)
    assert after != before, "the edit changed nothing"
    return rewritten(base, place, yaml.safe_dump(after))


def put(path: str, value: Json) -> Edit:
    """Sets what is at a path such as http.routers.sonarr.service; a value of `...` takes it away."""

    def change(document: Json) -> Json:
        way = tuple(int(step) if step.isdigit() else step for step in path.split("."))
        assert isinstance(document, dict)
        if value != "...":
            return set_at(document, way, value)
        result = copy.deepcopy(document)
        holder, last = at(result, way[:-1]), way[-1]
        if isinstance(holder, dict) and isinstance(last, str):
            del holder[last]
        else:
            assert isinstance(holder, list)
            assert isinstance(last, int)
            del holder[last]
        return result

    return change


ROUTE: Final[Props] = {
    "rule": "Host(`x.localhost`)",
    "entryPoints": ["websecure"],
    "middlewares": ["headers", "sign-in"],
    "service": "sonarr",
}


def test_the_platform_passes() -> None:
    stacks = {
        **{choice: declared(choice) for choice in CHOICES},
        "a preview": declared("dev", preview=True),
        "a first preview": first_previewed(declared("dev", preview=True)),
    }
    for name, stack in stacks.items():
        assert {one.rule for one in judged(stack).violations} & OWN == set(), name


def test_each_app_of_the_program_is_known_to_the_settings() -> None:
    (rule,) = [one for one in platform.RULES if one.name == "every-route-has-a-chain"]
    routes = yaml.safe_load(built("dev").seed("traefik").files["/run/config/routes.yml"])["http"]
    open_ones = {
        routes["services"][router["service"]]["loadBalancer"]["servers"][0]["url"].removeprefix("http://")
        for router in routes["routers"].values()
        if "sign-in" not in router["middlewares"]
    }
    assert set(rule.settings["own-sign-in"]["default"]) == open_ones


CHAIN: Final = "every-route-has-a-chain"
LEADS: Final = "every-route-leads-to-a-service"
ROUTED: Final = "every-web-app-has-a-route"
SCRAPED: Final = "every-service-is-scraped"
ALERTS: Final = "alerts-reach-alertmanager"
READABLE: Final = "readable-configuration"
NAMES: Final = "one-name-each"


def _chains() -> dict[str, Edit]:
    router = "http.routers.sonarr"
    sign_in = "http.middlewares.sign-in"
    return {
        "no sign-in": put(f"{router}.middlewares", ["headers"]),
        "no headers": put(f"{router}.middlewares", ["sign-in"]),
        "no middlewares": put(f"{router}.middlewares", "..."),
        "none of them": put(f"{router}.middlewares", []),
        "one that is not there": put(f"{router}.middlewares", ["headers", "signin"]),
        "one of another provider": put(f"{router}.middlewares", ["headers", "sign-in@docker"]),
        "a sign-in that is none": put(sign_in, {"headers": {"customRequestHeaders": {"X": "y"}}}),
        "a sign-in without users": put(sign_in, {"basicAuth": {"users": []}}),
        "a sign-in with an empty file": put(f"{sign_in}.basicAuth.usersFile", ""),
        "a sign-in with an empty user": put(sign_in, {"basicAuth": {"users": [""]}}),
        "a forward to nowhere": put(sign_in, {"forwardAuth": {}}),
        "a forward to an app": put(sign_in, {"forwardAuth": {"address": "http://jellyfin:8096/health"}}),
        "a forward to the world": put(sign_in, {"forwardAuth": {"address": "https://example.org/"}}),
        "users of anyone": put(f"{sign_in}.basicAuth.usersFile", "/data/users"),
        "users of anyone, by a way": put(f"{sign_in}.basicAuth.usersFile", "/run/secrets/../../data/users"),
        "users of anyone beside others": put(
            sign_in, {"basicAuth": {"users": ["a:b"], "usersFile": "/run/config/users"}}
        ),
        "a key in two cases": put("HTTP", {"routers": {"x": {**ROUTE, "middlewares": ["headers"]}}}),
        "a key in two cases below": put("http.Routers", {"x": {**ROUTE, "middlewares": ["headers"]}}),
        "every path": put("http.routers.jellyfin.rule", "PathPrefix(`/`)"),
        "every host": put("http.routers.jellyfin.rule", "HostRegexp(`.+`)"),
        "every host beside one": put("http.routers.jellyfin.rule", "Host(`jellyfin.x`) || PathPrefix(`/`)"),
        "every host but one": put("http.routers.jellyfin.rule", "!Host(`jellyfin.x`)"),
        "every host, in words": put("http.routers.jellyfin.rule", "PathPrefix(`Host(a)`)"),
        "no rule": put("http.routers.jellyfin.rule", "..."),
        "a long rule": put("http.routers.jellyfin.rule", "(" * 5000 + "Host(`a.b`)" + ")" * 5000),
        "the host of a guarded app": put("http.routers.jellyfin.rule", "Host(`sonarr.localhost`) && Path(`/a`)"),
        "the host of a guarded app, in capitals": put("http.routers.jellyfin.rule", 'Host("SONARR.localhost")'),
        "any name over TCP": put(
            "tcp",
            {
                "routers": {"x": {"rule": "HostSNI(`*`)", "service": "x", "tls": {}}},
                "services": {"x": {"loadBalancer": {"servers": [{"address": "jellyfin:8096"}]}}},
            },
        ),
        "headers that say nothing": put("http.middlewares.headers", {"headers": {}}),
        "no strict transport": put("http.middlewares.headers.headers.stsSeconds", 0),
        "types are guessed": put("http.middlewares.headers.headers.contentTypeNosniff", False),
        "a page of an app for the unknown": put(
            "http.middlewares.headers.errors", {"status": ["401"], "service": "sonarr", "query": "/"}
        ),
        "a chain of nothing": put(sign_in, {"chain": {"middlewares": []}}),
        "a chain of itself": put(sign_in, {"chain": {"middlewares": ["sign-in"]}}),
        "a new route without": put("http.routers.new", {**ROUTE, "middlewares": ["headers"]}),
        "a router of another case": put("http.routers.new", {"Service": "sonarr", "EntryPoints": ["websecure"]}),
        "named as an app that asks itself": put("http.routers.jellyfin.service", "sonarr"),
        "half of an app that asks itself": put(
            "http.services.jellyfin.loadBalancer.servers",
            [{"url": "http://jellyfin:8096"}, {"url": "http://sonarr:8989"}],
        ),
        "another port of one": put("http.services.qbittorrent.loadBalancer.servers", [{"url": "http://vpn:8000"}]),
        "by weight": put("http.services.jellyfin", {"weighted": {"services": [{"name": "sonarr", "weight": 1}]}}),
        "by a mirror": put(
            "http.services.jellyfin", {"mirroring": {"service": "grafana", "mirrors": [{"name": "radarr"}]}}
        ),
        "by a fall-back": put("http.services.jellyfin", {"failover": {"service": "grafana", "fallback": "radarr"}}),
        "over TCP": put("tcp", {"routers": {"x": {"rule": "HostSNI(`*`)", "service": "x", "tls": {}}}}),
        "over UDP": put("udp", {"routers": {"x": {"service": "x", "entryPoints": ["websecure"]}}}),
        "Traefik's own page": put(
            "http.routers.new", {**ROUTE, "middlewares": ["headers"], "service": "api@internal"}
        ),
    }


@pytest.mark.parametrize("change", _chains().values(), ids=list(_chains()))
def test_a_broken_chain_is_refused(change: Edit) -> None:
    stack = edited(ROUTES, change)
    assert (CHAIN, "traefik-seed") in own(stack)
    assert (CHAIN, "traefik-seed") in own(first_previewed(stack))


@pytest.mark.parametrize("provider", ["docker", "Docker", "http", "consulCatalog", "redis"])
def test_routes_from_elsewhere_are_refused(provider: str) -> None:
    assert own(edited(STATIC, put(f"providers.{provider}", {}))) == {(CHAIN, "traefik-seed")}


@pytest.mark.parametrize(
    "change",
    [
        put("http.routers.sonarr.middlewares", ["headers@file", "sign-in@file"]),
        put("http.middlewares.sign-in", {"digestAuth": {"users": ["a:b:c"]}}),
        put("http.routers.jellyfin.middlewares", ["headers", "sign-in"]),
        put("http.routers.new", ROUTE),
        put("http.routers.new", {**ROUTE, "middlewares": ["both"]}),
        put("http.services.two", {"loadBalancer": {"servers": [{"url": "http://radarr:7878/"}]}}),
    ],
)
def test_other_ways_to_ask_pass(change: Edit) -> None:
    both = edited(ROUTES, put("http.middlewares.both", {"chain": {"middlewares": ["headers", "sign-in"]}}))
    assert own(edited(ROUTES, change, both)) == set()


def test_a_chain_of_the_entry_point_counts() -> None:
    bare = edited(ROUTES, put("http.routers.sonarr.middlewares", "..."))
    assert (CHAIN, "traefik-seed") in own(bare)
    assert (
        own(edited(STATIC, put("entryPoints.websecure.http.middlewares", ["headers@file", "sign-in@file"]), bare))
        == set()
    )
    assert (CHAIN, "traefik-seed") in own(
        edited(STATIC, put("entryPoints.web.http.middlewares", ["headers@file", "sign-in@file"]), bare)
    )


def _tcp(router: Props) -> Json:
    return {
        "routers": {"x": {"entryPoints": ["websecure"], "service": "x", **router}},
        "services": {"x": {"loadBalancer": {"servers": [{"address": "jellyfin:8096"}]}}},
    }


def test_tcp_with_tls_of_its_own_passes() -> None:
    assert own(edited(ROUTES, put("tcp", _tcp({"rule": "HostSNI(`a.b`)", "tls": {"passthrough": True}})))) == set()


@pytest.mark.parametrize(
    "rule",
    [
        "Host(`a.b`) || Host(`c.d`)",
        "(Host(`a.b`) || Host(`c.d`, `e`)) && PathPrefix(`/x || y`)",
        'PathPrefix("/") && (Host("a.b"))',
    ],
)
def test_rules_for_hosts_pass(rule: str) -> None:
    assert own(edited(ROUTES, put("http.routers.jellyfin.rule", rule))) == set()


@pytest.mark.parametrize(
    "rule", ["", "(", ")", "&&", "||", "Host(", "Host()", "Host(``)", "!", "\0", "Host(\0)", "(" * 400]
)
def test_odd_rules_are_refused(rule: str) -> None:
    assert own(edited(ROUTES, put("http.routers.jellyfin.rule", rule))) == {(CHAIN, "traefik-seed")}


def test_who_may_be_asked_is_named() -> None:
    stack = edited(ROUTES, put("http.middlewares.sign-in", {"forwardAuth": {"address": "http://prowlarr:9696/a"}}))
    assert own(stack) == {(CHAIN, "traefik-seed")}
    assert own(stack, {CHAIN: {"sign-in-services": ["prowlarr"]}}) == set()
    gone = edited(ROUTES, put("http.middlewares.sign-in", {"forwardAuth": {"address": "http://auth:9091"}}))
    assert own(gone, {CHAIN: {"sign-in-services": ["auth"]}}) == {(CHAIN, "traefik-seed")}


def test_an_app_that_asks_itself_is_the_service_of_that_name() -> None:
    stack = changed(declared("dev"), "jellyfin-container", networksAdvanced=[{"name": "nexus-test-monitoring"}])
    stack = changed(
        stack, "sonarr-container", networksAdvanced=[{"name": "nexus-test-apps", "aliases": ["jellyfin"]}]
    )
    assert (CHAIN, "traefik-seed") in own(stack)


def test_a_redirect_to_tls_passes() -> None:
    to_tls: Json = {"redirectScheme": {"scheme": "https", "permanent": True}}
    router: Props = {"rule": "HostRegexp(`.+`)", "entryPoints": ["web"], "middlewares": ["to-tls"]}
    base = edited(ROUTES, put("http.middlewares.to-tls", to_tls))
    add = "http.routers.redirect"
    assert own(edited(ROUTES, put(add, {**router, "service": "noop@internal"}), base)) == set()
    changes: tuple[Props, ...] = (
        {"service": "api@internal"},
        {"service": "sonarr"},
        {"middlewares": []},
        {"middlewares": ["headers"]},
    )
    for change in changes:
        bad: Json = {**router, "service": "noop@internal", **change}
        assert (CHAIN, "traefik-seed") in own(edited(ROUTES, put(add, bad), base)), change
    plain = edited(ROUTES, put("http.middlewares.to-tls", {"redirectScheme": {"scheme": "http"}}))
    assert (CHAIN, "traefik-seed") in own(edited(ROUTES, put(add, {**router, "service": "noop@internal"}), plain))


CONFIGFILE: Final = "--configfile=/run/config/traefik.yml"


@pytest.mark.parametrize(
    "props",
    [
        {"command": ["--providers.http.endpoint=http://sonarr:1/"]},
        {"command": [CONFIGFILE, "--providers.http.endpoint=http://sonarr:1/"]},
        {"command": None, "envs": ["TRAEFIK_PROVIDERS_HTTP_ENDPOINT=http://sonarr:1/"]},
        {"envs": ["TRAEFIK_PROVIDERS_HTTP_ENDPOINT=http://sonarr:1/"]},
        {"command": None},
        {"command": []},
        {"command": ["--configfile=/data/traefik.yml"]},
        {"command": ["--configfile=/run/config/../traefik.yml"]},
        {"command": ["--configfile=/run/secrets/users"]},
        {"command": [CONFIGFILE, "--configfile=/data/traefik.yml"]},
        {"entrypoints": ["sh", "-c", "traefik"]},
        {"entrypoints": ["sh", "-c", f"traefik --configfile=/data/x.yml # {CONFIGFILE}"], "command": None},
        {"entrypoints": ["/data/traefik"]},
        {"mounts": [{"type": "bind", "source": "/srv", "target": "/run/config", "readOnly": True}]},
    ],
    ids=repr,
)
def test_what_starts_otherwise_than_with_its_file_is_refused(props: dict[str, Json]) -> None:
    assert CHAIN in {rule for rule, _ in own(changed(declared("dev"), "traefik-container", **props))}


def test_a_file_of_the_host_over_the_routes_is_refused() -> None:
    stack = declared("dev")
    (gate,) = [one for one in stack.resources if one.name == "traefik-container"]
    mounts = gate.props["mounts"]
    assert isinstance(mounts, list)
    over: dict[str, Value] = {
        "type": "bind",
        "source": "/srv/routes.yml",
        "target": "/run/config/routes.yml",
        "readOnly": True,
    }
    assert (CHAIN, "traefik-seed") in own(changed(stack, "traefik-container", mounts=[*mounts, over]))
    (first,) = [one for one in mounts if isinstance(one, dict) and one["target"] == "/run/config"]
    part = {**first, "volumeOptions": {"subpath": "other"}}
    assert (CHAIN, "traefik-container") in own(changed(stack, "traefik-container", mounts=[part]))


def _statics() -> dict[str, Edit]:
    return {
        "routes of a place that is not given": put("providers.file.filename", "/tmp/routes.yml"),
        "no place": put("providers.file", {}),
        "a directory that is not given": put("providers.file", {"directory": "/tmp"}),
        "a directory with none": put("providers.file", {"directory": "/run/config/none"}),
        "a directory beside the file": put("providers.file.directory", "/tmp"),
        "plugins": put("experimental", {"plugins": {"x": {"moduleName": "example.org/x", "version": "v1"}}}),
        "plugins of its own": put("experimental", {"localPlugins": {"x": {"moduleName": "x"}}}),
        "a provider by a switch": put("providers.docker", True),
        "a template": put("log.level", "{{ env `X` }}"),
        "metrics": put("metrics.prometheus.entryPoint", "websecure"),
        "metrics by default": put("metrics.prometheus.entryPoint", "..."),
        "ping": put("ping.entryPoint", "websecure"),
        "ping in clear": put("ping.entryPoint", "web"),
        "ping on one that is not there": put("ping.entryPoint", "nosuch"),
        "ping on one of an odd address": put("entryPoints.status.address", "x"),
        "the API": put("api", {"insecure": True}),
        "the port of ping": put("entryPoints.status.address", ":8443"),
    }


@pytest.mark.parametrize("change", _statics().values(), ids=list(_statics()))
def test_what_traefik_may_not_be_told_is_refused(change: Edit) -> None:
    assert (CHAIN, "traefik-seed") in own(edited(STATIC, change))


def test_a_status_port_that_is_published_is_refused() -> None:
    for props in (
        {"ports": [{"internal": 8082, "external": 1}]},
        {"ports": [{"internal": 8082.0, "external": 1}]},
        {"networkMode": "host"},
        {"publishAllPorts": True},
    ):
        assert (CHAIN, "traefik-seed") in own(changed(declared("dev"), "traefik-container", **props))


@pytest.mark.parametrize(
    "change",
    [
        put("providers.providersThrottleDuration", "2s"),
        put("providers.providersThrottleDuration", 2),
        put("providers.file", {"directory": "/run/config/more/"}),
        put("experimental", {"plugins": {}}),
        put("api", {"dashboard": True}),
    ],
)
def test_other_settings_of_traefik_pass(change: Edit) -> None:
    stack = declared("dev")
    (seed,) = [one for one in stack.resources if one.name == "traefik-seed"]
    (routes,) = [str(file.text) for file in files(seed) if str(file.name).endswith("routes.yml")]
    stack = added_upload(stack, "traefik-seed", {"file": "/run/config/more/routes.yml", "content": routes})
    assert own(edited(STATIC, change, stack)) == set()


def test_all_of_a_directory_counts() -> None:
    stack = edited(STATIC, put("providers.file", {"directory": "/run/config/more"}))
    (seed,) = [one for one in stack.resources if one.name == "traefik-seed"]
    (routes,) = [str(file.text) for file in files(seed) if str(file.name).endswith("routes.yml")]
    stack = added_upload(stack, "traefik-seed", {"file": "/run/config/more/routes.yml", "content": routes})
    assert own(stack) == set()
    for router, refused in ((ROUTE, False), ({**ROUTE, "middlewares": ["headers"]}, True)):
        text = yaml.safe_dump({"http": {"routers": {"new": router}}})
        more_routes = added_upload(stack, "traefik-seed", {"file": "/run/config/more/deep/x.yml", "content": text})
        assert (own(more_routes) == {(CHAIN, "traefik-seed")}) is refused
    (gate,) = [one for one in stack.resources if one.name == "traefik-container"]
    mounts = gate.props["mounts"]
    assert isinstance(mounts, list)
    inner: dict[str, Value] = {"type": "bind", "source": "/srv", "target": "/run/config/more/host", "readOnly": True}
    assert (CHAIN, "traefik-seed") in own(changed(stack, "traefik-container", mounts=[*mounts, inner]))


DECOYS: Final = (
    {"http": {"middlewares": {"sign-in": {"basicAuth": {"usersFile": "/run/secrets/users"}}}}},
    {"entryPoints": {"websecure": {"http": {"tls": {}, "middlewares": ["headers@file", "users@file"]}}}},
    {"http": {"services": {"sonarr": {"loadBalancer": {"servers": [{"url": "http://jellyfin:8096"}]}}}}},
)


@pytest.mark.parametrize(
    "carrier", ["vpn-seed", "sonarr-container", "sonarr-seed", "traefik-seed", "traefik-container"]
)
@pytest.mark.parametrize("decoy", DECOYS, ids=repr)
def test_what_traefik_does_not_read_counts_for_nothing(carrier: str, decoy: Props) -> None:
    open_one = edited(ROUTES, put("http.middlewares.sign-in", {"headers": {"frameDeny": True}}))
    upload: Props = {"file": "/run/config/decoy.yml", "content": yaml.safe_dump(decoy)}
    assert (CHAIN, "traefik-seed") in own(added_upload(open_one, carrier, upload))


def test_a_second_file_at_one_path_is_refused() -> None:
    stack = declared("dev")
    (seed,) = [one for one in stack.resources if one.name == "traefik-seed"]
    (routes,) = [str(file.text) for file in files(seed) if str(file.name).endswith("routes.yml")]
    upload: Props = {"file": "/run/config/routes.yml", "content": routes}
    for carrier in ("traefik-seed", "traefik-container"):
        assert (CHAIN, carrier) in own(added_upload(stack, carrier, upload))


def test_a_second_traefik_is_judged_by_itself() -> None:
    stack = declared("dev")
    second = Resource(
        type=CONTAINER, name="other-container", stack="dev", props={"command": ["traefik", "--api=true"]}
    )
    assert (CHAIN, "other-container") in own(more(stack, second))
    named: dict[str, Value] = {"image": "docker.io/library/traefik:v3"}
    assert (CHAIN, "other-container") in own(more(stack, dataclasses.replace(second, props=named)))


@pytest.mark.parametrize("place", [ROUTES, STATIC])
@pytest.mark.parametrize("end", ["\n---\n{}", "\n# {{ env `X` }}\n", "\n...\n---\nhttp: {}\n"])
def test_what_traefik_reads_otherwise_is_refused(place: tuple[str, str], end: str) -> None:
    stack = declared("dev")
    (seed,) = [one for one in stack.resources if one.name == "traefik-seed"]
    (text,) = [str(file.text) for file in files(seed) if str(file.name).endswith(f"/{place[1]}")]
    assert (CHAIN, "traefik-seed") in own(rewritten(stack, place, text + end))


def _leads() -> dict[str, tuple[tuple[str, str], Edit]]:
    router = "http.routers.sonarr"
    server = "http.services.sonarr.loadBalancer.servers"
    return {
        "a service that is not there": (ROUTES, put(f"{router}.service", "sonar")),
        "no service": (ROUTES, put(f"{router}.service", "...")),
        "no servers": (ROUTES, put(server, [])),
        "a host that is not there": (ROUTES, put(server, [{"url": "http://sonar:8989"}])),
        "an address": (ROUTES, put(server, [{"url": "http://172.31.241.5:8989"}])),
        "the world": (ROUTES, put(server, [{"url": "https://example.org"}])),
        "no URL": (ROUTES, put(server, [{"url": "http://[sonarr"}])),
        "one of two": (ROUTES, put(server, [{"url": "http://sonarr:8989"}, {"url": "http://sonar:8989"}])),
        "a service of no shared network": (ROUTES, put(server, [{"url": "http://cadvisor-socket-proxy:2375"}])),
        "a one-shot": (ROUTES, put(server, [{"url": "http://sonarr-seed:1"}])),
        "without TLS": (ROUTES, put(f"{router}.entryPoints", ["web"])),
        "with and without TLS": (ROUTES, put(f"{router}.entryPoints", ["websecure", "web"])),
        "on every entry point": (ROUTES, put(f"{router}.entryPoints", "...")),
        "on one that is not there": (ROUTES, put(f"{router}.entryPoints", ["websecur"])),
        "TLS off at the entry point": (STATIC, put("entryPoints.websecure.http", "...")),
        "TLS of nothing": (STATIC, put("entryPoints.websecure.http.tls", None)),
        "over TCP": (
            ROUTES,
            put("tcp", {"routers": {"x": {"service": "x"}}, "services": {}}),
        ),
        "over TCP, by the TLS of HTTP": (ROUTES, put("tcp", _tcp({"rule": "HostSNI(`a.b`)"}))),
        "over UDP": (ROUTES, put("udp", _tcp({}))),
    }


@pytest.mark.parametrize(("place", "change"), _leads().values(), ids=list(_leads()))
def test_a_route_to_nowhere_is_refused(place: tuple[str, str], change: Edit) -> None:
    assert (LEADS, "traefik-seed") in own(edited(place, change))


def test_a_router_with_tls_of_its_own_passes() -> None:
    router = "http.routers.sonarr"
    assert (
        own(edited(ROUTES, put(f"{router}.tls", {}), edited(ROUTES, put(f"{router}.entryPoints", ["web"])))) == set()
    )


def test_an_edge_that_meets_no_app_is_refused() -> None:
    networks = [{"name": "nexus-test-edge", "aliases": ["traefik"]}]
    found = own(changed(declared("dev"), "traefik-container", networksAdvanced=networks))
    assert {(LEADS, "traefik-seed"), (SCRAPED, "prometheus-seed")} <= found


def test_an_app_without_a_route_is_refused() -> None:
    for app in ("sonarr", "jellyfin", "grafana"):
        assert (ROUTED, f"{app}-container") in own(edited(ROUTES, put(f"http.routers.{app}", "...")))
    stack = declared("dev")
    new = Resource(
        type=CONTAINER, name="new-container", stack="dev", props={"networksAdvanced": [{"name": "nexus-test-apps"}]}
    )
    found = own(dataclasses.replace(stack, resources=(*stack.resources, new)))
    assert {(ROUTED, "new-container"), (SCRAPED, "new-container")} == found


def test_what_has_no_page_says_so() -> None:
    stack = edited(ROUTES, put("http.routers.sonarr", "..."))
    assert own(stack) == {(ROUTED, "sonarr-container")}
    reason: dict[str, Value] = {"sonarr": "its page is not used here"}
    (rule,) = [one for one in platform.RULES if one.name == ROUTED]
    given: dict[str, Value] = {**rule.settings["without-page"]["default"], **reason}
    assert own(stack, {ROUTED: {"without-page": given}}) == set()
    assert len(own(declared("dev"), {ROUTED: {"without-page": {}}})) == len(given) - 1


def more(stack: Stack, *resources: Resource) -> Stack:
    """The stack with more resources."""
    return dataclasses.replace(stack, resources=(*stack.resources, *resources))


@pytest.mark.parametrize("name", ["vpn-container", "traefik-container", "vpn-seed"])
def test_a_second_resource_of_one_name_is_refused(name: str) -> None:
    stack = declared("dev")
    (first,) = [one for one in stack.resources if one.name == name]
    twin = dataclasses.replace(first, props={"name": "x"}, urn=first.urn.replace(CONTAINER, f"x:y:Z${CONTAINER}"))
    assert (NAMES, name) in own(more(stack, twin))
    assert (NAMES, name) in own(more(stack, dataclasses.replace(twin, urn="")))


@pytest.mark.parametrize("name", ["vpn", "vpn-service"])
def test_a_second_service_of_one_name_is_refused(name: str) -> None:
    second = Resource(type=CONTAINER, name=name, stack="dev", props={})
    assert (NAMES, name) in own(more(declared("dev"), second))


def _aliases(*names: Json) -> dict[str, Json]:
    return {"networksAdvanced": [{"name": "nexus-test-apps", "aliases": list(names)}]}


@pytest.mark.parametrize(
    "props",
    [
        {"hostname": "vpn"},
        {"hostname": "VPN."},
        {"name": "jellyfin"},
        {"name": "nexus-test-jellyfin"},
        _aliases("sonarr", "jellyfin"),
        _aliases("Jellyfin"),
        {"hosts": [{"host": "jellyfin", "ip": "203.0.113.9"}]},
        {"hosts": [{"host": "x", "ip": "203.0.113.9"}, {"host": "Grafana.", "ip": "203.0.113.9"}]},
    ],
    ids=repr,
)
def test_the_name_of_another_service_is_refused(props: dict[str, Json]) -> None:
    for name in ("sonarr-container", "traefik-container"):
        assert (NAMES, name) in own(changed(declared("dev"), name, **props))


def test_a_rider_has_the_host_name_of_its_namespace() -> None:
    """As the provider reads it back from the engine."""
    stack = changed(declared("dev"), "qbittorrent-container", hostname="vpn")
    assert {one.rule for one in judged(stack).violations} == set()


def test_a_swarm_service_has_one_name_too() -> None:
    for props in (
        {"name": "jellyfin"},
        {"taskSpec": {"containerSpec": {"hostname": "jellyfin"}}},
        {"taskSpec": {"networksAdvanceds": [{"name": "x", "aliases": ["jellyfin"]}]}},
        {"taskSpec": {"containerSpec": {"hosts": [{"host": "jellyfin", "ip": "203.0.113.9"}]}}},
    ):
        service = Resource(type=SERVICE, name="new-service", stack="dev", props=_value(props))
        assert (NAMES, "new-service") in own(more(declared("dev"), service))


def test_a_name_of_its_own_passes() -> None:
    for props in (
        {"hostname": "sonarr"},
        {"hostname": "another"},
        _aliases("sonarr", "series", "SONARR"),
        {"hosts": [{"host": "sonarr", "ip": "127.0.0.1"}, {"host": "nas.example.org", "ip": "192.0.2.1"}]},
    ):
        assert {rule for rule, _ in own(changed(declared("dev"), "sonarr-container", **props))} <= {SCRAPED}, props


def test_a_host_name_is_no_excuse() -> None:
    new = Resource(
        type=CONTAINER,
        name="new-container",
        stack="dev",
        props={"networksAdvanced": [{"name": "nexus-test-apps"}], "hostname": "cadvisor-socket-proxy"},
    )
    found = own(more(declared("dev"), new))
    assert {(NAMES, "new-container"), (SCRAPED, "new-container"), (ROUTED, "new-container")} == found
    for name, rule in (("vpn", SCRAPED), ("prometheus", ROUTED)):
        other = dataclasses.replace(new, props={**new.props, "hostname": name})
        assert (rule, "new-container") in own(more(declared("dev"), other))


def _scrapes() -> dict[str, tuple[Edit, str]]:
    jobs = yaml.safe_load(built("dev").seed("prometheus").files["/run/config/prometheus.yml"])["scrape_configs"]
    place = {job["job_name"]: f"scrape_configs.{index}" for index, job in enumerate(jobs)}
    first = {job["job_name"]: f"scrape_configs.{index}.static_configs.0" for index, job in enumerate(jobs)}
    return {
        **{
            f"without {name}": (put(where, "..."), f"{name}-container")
            for name, where in place.items()
            if name != "probe"
        },
        "without probes": (put(place["probe"], "..."), "qbittorrent-container"),
        "without one probe": (put(f"{place['probe']}.static_configs.3", "..."), "qbittorrent-container"),
        "no targets": (put(f"{first['traefik']}.targets", []), "traefik-container"),
        "a label of another": (put(f"{first['traefik']}.labels.service", "grafana"), "traefik-container"),
        "a target that is not there": (put(f"{first['traefik']}.targets", ["traefic:8082"]), "prometheus-seed"),
        "an address": (put(f"{first['traefik']}.targets", ["172.31.245.9:8082"]), "prometheus-seed"),
        "out of reach": (put(f"{first['traefik']}.targets", ["sonarr:8989"]), "prometheus-seed"),
        "a prober that is not there": (
            put(f"{place['probe']}.relabel_configs.2.replacement", "blackbox:9115"),
            "prometheus-seed",
        ),
        "a prober out of reach": (
            put(f"{place['probe']}.relabel_configs.2.replacement", "cadvisor-socket-proxy:1"),
            "prometheus-seed",
        ),
        "nothing at all": (put("scrape_configs", []), "sonarr-container"),
        "no list": (put("scrape_configs", {}), "platform"),
    }


@pytest.mark.parametrize(("change", "resource"), _scrapes().values(), ids=list(_scrapes()))
def test_what_nobody_watches_is_refused(change: Edit, resource: str) -> None:
    stack = edited(SCRAPES, change)
    assert (SCRAPED, resource) in own(stack)
    assert (SCRAPED, resource) in own(first_previewed(stack))


DECOY: Final = "scrape_configs:\n- job_name: x\n  static_configs:\n  - targets: [radarr:7878]\n"


@pytest.mark.parametrize("carrier", ["vpn-seed", "sonarr-container", "prometheus-seed", "prometheus-container"])
def test_what_prometheus_does_not_read_counts_for_nothing(carrier: str) -> None:
    unwatched = edited(SCRAPES, put("scrape_configs.1", "..."))
    (missing,) = own(unwatched)
    upload: Props = {"file": "/run/config/decoy.yml", "content": DECOY}
    assert missing in own(added_upload(unwatched, carrier, upload))
    assert missing in own(added_upload(unwatched, carrier, {**upload, "file": "/run/config/prometheus.yaml"}))


def test_two_files_where_prometheus_reads_one_are_refused() -> None:
    upload: Props = {"file": "/run/config/prometheus.yml", "content": DECOY}
    for carrier in ("prometheus-seed", "prometheus-container"):
        assert (SCRAPED, carrier) in own(added_upload(declared("dev"), carrier, upload))


def test_prometheus_is_read_from_where_it_starts() -> None:
    stack = declared("dev")
    for command in (["--config.file=/run/config/prometheus.yaml"], ["--config.file", "/etc/x.yml"], []):
        assert (SCRAPED, "platform") in own(changed(stack, "prometheus-container", command=command))
    two_words = ["--config.file", "/run/config/../config/prometheus.yml"]
    assert own(changed(stack, "prometheus-container", command=two_words)) == set()
    (seed,) = [one for one in stack.resources if one.name == "prometheus-seed"]
    (text,) = [str(file.text) for file in files(seed) if str(file.name).endswith("/prometheus.yml")]
    usual: Props = {"file": "/etc/prometheus/prometheus.yml", "content": text}
    moved = added_upload(changed(stack, "prometheus-container", command=None), "prometheus-container", usual)
    assert own(moved) == set()


def test_files_of_alerts_may_be_named_as_prometheus_allows() -> None:
    for name in ("alerts.yml", "/run/config/*.yml", "../config/al*.yml"):
        assert own(edited(SCRAPES, put("rule_files", [name]))) == set()


def test_what_is_not_scraped_says_so() -> None:
    assert {resource for rule, resource in own(declared("dev"), {SCRAPED: {"unscraped": {}}})} == {
        "vpn-container",
        "vpn-peer-container",
        "cadvisor-socket-proxy-container",
        "firewall-container",
        "guard-container",
        "guard-socket-proxy-container",
    }


@pytest.mark.parametrize(
    "change",
    [
        put("alerting", "..."),
        put("alerting.alertmanagers", []),
        put("alerting.alertmanagers.0.static_configs.0.targets", ["alertmanger:9093"]),
        put("rule_files", "..."),
        put("rule_files", []),
        put("rule_files", ["/run/config/alert.yml"]),
    ],
)
def test_alerts_that_reach_nobody_are_refused(change: Edit) -> None:
    assert own(edited(SCRAPES, change)) == {(ALERTS, "prometheus-seed")}


def test_a_file_without_alerts_is_refused() -> None:
    alerts = ("prometheus-seed", "alerts.yml")
    assert own(rewritten(declared("dev"), alerts, "groups: []")) == {(ALERTS, "prometheus-seed")}
    recorded = "groups:\n- name: x\n  rules:\n  - record: a:b\n    expr: up\n"
    assert own(rewritten(declared("dev"), alerts, recorded)) == {(ALERTS, "prometheus-seed")}


UNREADABLE: Final = {
    "x.yml": ("a: [", "a: b: c", "\ta: 1", "{{ env `X` }}: {", "\0", "a: &a [*a]", "[" * 5000),
    "x.YAML": ("a: [",),
    "x.json": ("{", "{a: 1}", "", "[" * 5000),
    "x.toml": ("a = ", "[a"),
}
DEEP: Final = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
)


@pytest.mark.parametrize(
    ("name", "text"), [*((name, text) for name, texts in UNREADABLE.items() for text in texts), ("bomb.yml", DEEP)]
)
def test_what_cannot_be_read_is_refused(name: str, text: str) -> None:
    stack = Stack(
        name="dev",
        resources=(
            Resource(
                type=CONTAINER,
                name="a",
                stack="dev",
                props={"uploads": [{"file": f"/{name}", "content": text}], "networkMode": "none"},
            ),
        ),
    )
    assert (READABLE, "a") in own(stack)


def added_upload(stack: Stack, carrier: str, upload: object) -> Stack:
    """The stack with one more file for a container."""
    (one,) = [known for known in stack.resources if known.name == carrier]
    uploads = one.props.get("uploads", [])
    assert isinstance(uploads, list)
    return changed(stack, carrier, uploads=[*uploads, upload])


UNSEEN: Final[tuple[Props, ...]] = (
    {"file": "/run/secrets/x.yml", "source": "./x.yml"},
    {"file": "/run/config/x.json", "source": "./x.json", "content": ""},
    {"file": "/run/config/x.toml", "contentBase64": "//79/w=="},
    {"file": "/run/config/x.yaml", "contentBase64": "a"},
    {"file": "/run/config/x.yaml"},
)


@pytest.mark.parametrize("upload", UNSEEN, ids=repr)
@pytest.mark.parametrize("carrier", ["vpn-seed", "traefik-seed"])
def test_a_file_that_is_not_given_as_text_is_refused_and_hides_nothing(upload: Props, carrier: str) -> None:
    base = declared("dev")
    assert own(added_upload(base, carrier, upload)) == {(READABLE, carrier)}
    open_one = edited(ROUTES, put("http.routers.sonarr.middlewares", ["headers"]))
    assert own(added_upload(open_one, carrier, upload)) == {(READABLE, carrier), (CHAIN, "traefik-seed")}
    unwatched = edited(SCRAPES, put("scrape_configs.1", "..."))
    assert own(added_upload(unwatched, carrier, upload)) - {(READABLE, carrier)} == own(unwatched) != set()


def test_a_tag_hides_nothing() -> None:
    for text in ("!x a", "!x {}", "!x []", "a: !x {b: !x [c]}"):
        upload: Props = {"file": "/run/config/x.yml", "content": text}
        open_one = edited(ROUTES, put("http.routers.sonarr.middlewares", ["headers"]))
        assert own(added_upload(open_one, "vpn-seed", upload)) == {(CHAIN, "traefik-seed")}
    (seed,) = [one for one in open_one.resources if one.name == "traefik-seed"]
    (routes,) = [str(file.text) for file in files(seed) if str(file.name).endswith("routes.yml")]
    assert own(rewritten(open_one, ROUTES, f"!x\n{routes}")) == {(CHAIN, "traefik-seed")}


@pytest.mark.parametrize(
    "upload",
    [
        {"file": "/run/secrets/key", "source": "./key"},
        {"file": "/run/secrets/key", "contentBase64": "//79/w=="},
        {"file": "/run/config/x.yml", "content": UNKNOWN},
        {"file": "/run/config/x.yml", "contentBase64": UNKNOWN},
        UNKNOWN,
    ],
    ids=repr,
)
def test_a_file_of_another_kind_or_of_later_passes(upload: Value) -> None:
    assert own(added_upload(declared("dev"), "vpn-seed", upload)) == set()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.yml", ""),
        ("x.yml", "a: !secret b\n"),
        ("x.yml", "!secret b\n"),
        ("x.yml", "a: !secret {b: !secret [c]}\n"),
        ("x.yml", "a: 2026-01-01\n"),
        ("x.yml", "a: 1\n---\nb: 2\n"),
        ("x.yml", "{1: 2, null: 3}"),
        ("x.json", "[1e400, NaN]"),
        ("x.txt", "a: ["),
        ("x.conf", "{"),
    ],
)
def test_what_is_only_odd_passes(name: str, text: str) -> None:
    props: Props = container(uploads=[{"file": f"/{name}", "content": text}])
    stack = Stack(name="dev", resources=(Resource(type=CONTAINER, name="a", stack="dev", props=_value(props)),))
    assert own(stack) == set()


def _value(props: object) -> dict[str, Value]:
    loaded: dict[str, Value] = json.loads(json.dumps(props))
    return loaded


def test_broken_routes_are_one_finding_and_no_exception() -> None:
    found = own(rewritten(declared("dev"), ROUTES, "http: ["))
    assert (READABLE, "traefik-seed") in found
    assert found == {(READABLE, "traefik-seed"), (CHAIN, "traefik-seed"), (ROUTED, "platform")}


def test_unknown_files_say_nothing() -> None:
    for place in (ROUTES, STATIC, SCRAPES):
        assert own(rewritten(declared("dev"), place, UNKNOWN)) == set()
    stack = changed(declared("dev"), "traefik-seed", uploads=UNKNOWN)
    assert own(stack) == set()


def test_unknown_files_hide_no_other() -> None:
    stack = edited(ROUTES, put("http.services.sonarr.loadBalancer.servers", [{"url": "http://sonar:8989"}]))
    assert (LEADS, "traefik-seed") in own(rewritten(stack, SCRAPES, UNKNOWN))
    stack = edited(SCRAPES, put("scrape_configs.1.static_configs.0.targets", ["jelly:8096"]))
    assert (SCRAPED, "prometheus-seed") in own(rewritten(stack, ROUTES, UNKNOWN))


def test_base64_is_read() -> None:
    stack = edited(ROUTES, put("http.routers.sonarr.middlewares", ["headers"]))
    (seed,) = [one for one in stack.resources if one.name == "traefik-seed"]
    uploads = copy.deepcopy(seed.props["uploads"])
    assert isinstance(uploads, list)
    for upload in uploads:
        assert isinstance(upload, dict)
        upload["contentBase64"] = base64.b64encode(str(upload.pop("content")).encode()).decode()
    assert own(changed(stack, "traefik-seed", uploads=uploads)) == {(CHAIN, "traefik-seed")}


def test_a_platform_without_edge_or_monitoring_is_refused() -> None:
    stack = declared("dev")
    for seed, rule in (("traefik-seed", ROUTED), ("prometheus-seed", SCRAPED)):
        assert (rule, "platform") in own(changed(stack, seed, uploads=None))
    alone = Stack(name="dev", resources=(Resource(type=CONTAINER, name="a", stack="dev", props={}),))
    assert own(alone) == set()


@pytest.mark.parametrize("junk", [UNKNOWN, None, 7, True, "", "x", [], {}, [[]], [None, UNKNOWN, 7], {"a": [None]}])
def test_junk_never_raises(junk: Value) -> None:
    stack = declared("dev")
    for key in ("hosts", "entrypoints", "command", "envs", "ports", "volumes", "image"):
        own(changed(stack, "traefik-container", **{key: junk}))
    own(changed(stack, "traefik-container", mounts=[{"source": junk, "target": junk, "volumeOptions": junk}, junk]))
    own(changed(stack, "traefik-container", hosts=[{"host": junk, "ip": junk}]))
    own(changed(stack, "traefik-container", networksAdvanced=[{"name": junk, "aliases": junk}, junk]))
    for name in ("traefik-seed", "traefik-container", "prometheus-seed", "vpn-container", "qbittorrent-container"):
        for key in ("uploads", "networksAdvanced", "mounts", "networkMode", "name", "hostname", "restart", "mustRun"):
            own(changed(stack, name, **{key: junk}))
    for place, paths in (
        (
            ROUTES,
            (
                "http",
                "http.routers",
                "http.routers.sonarr",
                "http.services",
                "http.services.sonarr",
                "http.middlewares",
            ),
        ),
        (
            ROUTES,
            (
                "http.routers.sonarr.middlewares",
                "http.routers.sonarr.entryPoints",
                "http.services.sonarr.loadBalancer",
            ),
        ),
        (STATIC, ("entryPoints", "entryPoints.websecure", "entryPoints.websecure.http", "providers")),
        (STATIC, ("providers.file", "providers.file.filename", "providers.file.directory", "ping", "metrics")),
        (STATIC, ("ping.entryPoint", "entryPoints.status.address", "api", "experimental")),
        (ROUTES, ("http.routers.sonarr.rule", "http.middlewares.sign-in.basicAuth", "tcp", "udp")),
        (
            SCRAPES,
            ("scrape_configs", "scrape_configs.1", "scrape_configs.1.static_configs", "alerting", "rule_files"),
        ),
        (SCRAPES, ("scrape_configs.1.static_configs.0", "scrape_configs.1.static_configs.0.labels")),
    ):
        for path in paths:
            if junk is not UNKNOWN and "UNKNOWN" not in repr(junk):
                own(edited(place, put(path, json.loads(json.dumps(junk))), stack))
