"""Routes are made from the services: who is served, how, and what the edge refuses."""

from __future__ import annotations

import dataclasses
import functools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from components import edge
from components.arguments import EdgeSignIn, OwnSignIn, SharesNetworkOf, Web
from components.dockerhost import DockerHost
from components.errors import PlatformError
from components.networks import APPS, DATA, EGRESS, TUNNEL, OwnNetworks
from components.service import Service
from components.settings.schema import Edge
from tests import offers
from tests.components.stacks import CHOICES, EMBEDDED, GOOD, Choice, build, built, declare
from tests.services import changed

SIGN_IN = {name: one["sign-in"] == "the edge's" for name, one in offers.PAGES.items()}
"""Each app with a web page, and whether the edge asks for a name and a password, because the app does not."""

GOOD_NETWORK = OwnNetworks(APPS)


def routes(
    *webs: tuple[str, Web | None], settings: Edge | None = None, network: OwnNetworks = GOOD_NETWORK
) -> dict[str, dict[str, dict[str, object]]]:
    """The dynamic configuration, parsed, for services with these pages on these networks."""
    made: list[str] = []

    def program(host: DockerHost) -> None:
        services = [Service(name, changed(GOOD, web=web, network=network), host) for name, web in webs]
        made.append(edge.routes(settings or Edge(), services))

    declare(program)
    loaded: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(made[0])
    return loaded


def page(host: str = "newcomer", *, own: bool = True, hidden: Sequence[str] = ()) -> Web:
    """A web page."""
    return Web(host=host, port=1234, sign_in=OwnSignIn() if own else EdgeSignIn(), hidden_paths=tuple(hidden))


class TestRoutes:
    def test_a_page_is_a_router_and_a_backend(self) -> None:
        assert routes(("sonarr", page("tv")))["http"]["routers"] == {
            "sonarr": {
                "rule": "Host(`tv.localhost`)",
                "entryPoints": ["websecure"],
                "middlewares": ["headers"],
                "service": "sonarr",
            }
        }
        assert routes(("sonarr", page("tv")))["http"]["services"] == {
            "sonarr": {"loadBalancer": {"servers": [{"url": "http://sonarr:1234"}]}}
        }

    def test_a_service_without_a_page_has_none(self) -> None:
        made = routes(("sonarr", None), ("radarr", page()))
        assert made["http"]["routers"].keys() == made["http"]["services"].keys() == {"radarr"}

    def test_a_new_service_is_served_on_a_network_of_the_edges(self) -> None:
        made = routes(("newcomer", page()), network=OwnNetworks(APPS))
        assert made["http"]["routers"].keys() == {"newcomer"}

    @pytest.mark.parametrize(
        "network", [OwnNetworks(DATA, EGRESS), OwnNetworks(DATA.at(250), APPS.connects())], ids=lambda one: one.names
    )
    def test_a_service_out_of_reach_is_refused(self, network: OwnNetworks) -> None:
        with pytest.raises(
            PlatformError,
            match=r"newcomer has a web page but shares no network with traefik: add one of edge, apps, .* to its",
        ):
            routes(("newcomer", page()), network=network)

    def test_a_service_out_of_reach_without_a_page_is_none_of_its_business(self) -> None:
        assert routes(("newcomer", None), network=OwnNetworks(DATA))["http"]["routers"] == {}

    @pytest.mark.parametrize("own", [True, False])
    def test_the_edge_signs_in_where_the_app_does_not(self, own: bool) -> None:
        (router,) = routes(("sonarr", page(own=own)))["http"]["routers"].values()
        assert isinstance(router, dict)
        assert router["middlewares"] == (["headers"] if own else ["headers", "sign-in"])

    def test_hidden_paths_are_not_routed(self) -> None:
        (router,) = routes(("sonarr", page(hidden=["/metrics", "/debug"])))["http"]["routers"].values()
        assert isinstance(router, dict)
        assert router["rule"] == "Host(`newcomer.localhost`) && !PathRegexp(`(?i)^(/metrics|/debug)`)"

    @pytest.mark.parametrize(
        ("app", "path", "hidden"),
        [
            ("jellyfin", "/metrics", True),
            ("jellyfin", "/Metrics", True),
            ("jellyfin", "/METRICS/", True),
            ("jellyfin", "/hEALTH", True),
            ("jellyfin", "/emby/metrics", True),
            ("jellyfin", "/EMBY/Health", True),
            ("jellyfin", "/MediaBrowser/Metrics", True),
            ("jellyfin", "/metrics;x", True),
            ("jellyfin", "/", False),
            ("jellyfin", "/emby/System/Info/Public", False),
            ("jellyfin", "/Artists/HEALTH", False),
            ("jellyfin", "/web/metrics.js", False),
            ("grafana", "/Metrics", True),
            ("grafana", "/metrics/plugins/prometheus", True),
            ("grafana", "/d/metrics", False),
        ],
    )
    def test_a_hidden_path_is_hidden_in_every_spelling(self, app: str, path: str, hidden: bool) -> None:
        """By the regular expression itself, which Traefik looks for anywhere in a path that it has cleaned."""
        rule = yaml.safe_load(built("dev").seed("traefik").files["/run/config/routes.yml"])["http"]["routers"][app][
            "rule"
        ]
        (expression,) = re.findall(r"!PathRegexp\(`([^`]*)`\)", rule)
        assert (re.search(expression, path) is not None) is hidden

    def test_two_services_with_one_name_are_refused(self) -> None:
        with pytest.raises(PlatformError, match="radarr and sonarr both ask for the host name tv"):
            routes(("sonarr", page("tv")), ("radarr", page("tv")))

    def test_names_are_of_the_domain(self) -> None:
        made = routes(("sonarr", page("tv")), settings=Edge(domain="media.example.org"))
        (router,) = made["http"]["routers"].values()
        assert isinstance(router, dict)
        assert router["rule"] == "Host(`tv.media.example.org`)"

    def test_a_rider_is_served_at_what_it_rides(self) -> None:
        made: list[str] = []

        def program(host: DockerHost) -> None:
            carrier = Service("vpn", GOOD, host)
            args = changed(GOOD, network=SharesNetworkOf(service=carrier), web=page())
            made.append(edge.routes(Edge(), [Service("rider", args, host)]))

        declare(program)
        assert yaml.safe_load(made[0])["http"]["services"] == {
            "rider": {"loadBalancer": {"servers": [{"url": "http://vpn:1234"}]}}
        }

    def test_a_rider_of_what_is_out_of_reach_is_refused(self) -> None:
        def program(host: DockerHost) -> None:
            carrier = Service("vpn-peer", dataclasses.replace(GOOD, network=OwnNetworks(TUNNEL)), host)
            args = changed(GOOD, network=SharesNetworkOf(service=carrier), web=page())
            edge.routes(Edge(), [Service("rider", args, host)])

        with pytest.raises(PlatformError, match="rider has a web page"):
            declare(program)


class TestUrls:
    @pytest.mark.parametrize(
        ("settings", "url"),
        [
            (Edge(), "https://tv.localhost"),
            (Edge(https_port=8443), "https://tv.localhost:8443"),
            (Edge(domain="example.org"), "https://tv.example.org"),
        ],
    )
    def test_are_what_people_type(self, settings: Edge, url: str) -> None:
        made: list[dict[str, str]] = []

        def program(host: DockerHost) -> None:
            services = [
                Service("sonarr", changed(GOOD, web=page("tv")), host),
                Service("vpn", GOOD, host),
            ]
            made.append(edge.urls(settings, services))

        declare(program)
        assert made == [{"sonarr": url}]


@functools.cache
def traefik_files(
    choice: str,
) -> tuple[dict[str, dict[str, dict[str, dict[str, object]]]], dict[str, object]]:
    """Traefik's dynamic and static configuration on one of the stacks."""
    files = built(choice).seed("traefik").files
    return yaml.safe_load(files["/run/config/routes.yml"]), yaml.safe_load(files["/run/config/traefik.yml"])


class TestOfAStack:
    @pytest.fixture(params=CHOICES)
    def choice(self, request: pytest.FixtureRequest) -> str:
        """Each stack of these tests."""
        return str(request.param)

    def test_every_page_is_served_and_signed_in(self, choice: str) -> None:
        routers = traefik_files(choice)[0]["http"]["routers"]
        assert {name: router["middlewares"] for name, router in routers.items()} == {
            name: ["headers", "sign-in"] if asks else ["headers"] for name, asks in SIGN_IN.items()
        }
        assert all(router["entryPoints"] == ["websecure"] for router in routers.values())

    def test_every_page_is_served_from_where_it_is(self, choice: str) -> None:
        backends = traefik_files(choice)[0]["http"]["services"]
        assert backends == {
            name: {"loadBalancer": {"servers": [{"url": one["leads-to"]}]}} for name, one in offers.PAGES.items()
        }

    def test_rules(self) -> None:
        routers = traefik_files("dev")[0]["http"]["routers"]
        assert {name: router["rule"] for name, router in routers.items()} == {
            name: one["rule"] for name, one in offers.PAGES.items()
        }

    def test_only_middlewares_that_exist_are_named(self, choice: str) -> None:
        dynamic = traefik_files(choice)[0]["http"]
        assert set(dynamic["middlewares"]) == {"headers", "sign-in"}

    def test_sign_in_is_by_the_generated_password_and_goes_no_further(self, choice: str) -> None:
        basic = traefik_files(choice)[0]["http"]["middlewares"]["sign-in"]["basicAuth"]
        assert basic == {"usersFile": "/run/secrets/users", "realm": "NEXUS", "removeHeader": True}
        users = built(choice).seed("traefik").files["/run/secrets/users"]
        assert users.startswith("admin:$2a$10$")
        assert "\n" not in users

    def test_old_tls_is_refused(self, choice: str) -> None:
        tls = traefik_files(choice)[0]["tls"]
        assert tls["options"]["default"]["minVersion"] in {"VersionTLS12", "VersionTLS13"}

    def test_http_only_redirects_to_the_published_port(self, choice: str) -> None:
        (https,) = (
            port["external"] for port in built(choice).service("traefik").tables("ports") if port["internal"] == 8443
        )
        entry_points = traefik_files(choice)[1]["entryPoints"]
        assert isinstance(entry_points, dict)
        assert entry_points["web"] == {
            "address": ":8080",
            "http": {"redirections": {"entryPoint": {"to": f":{https}", "scheme": "https"}}},
        }
        assert entry_points.keys() == {"web", "websecure", "status"}

    def test_a_long_request_and_a_long_answer_are_let_finish(self, choice: str) -> None:
        entry_points = traefik_files(choice)[1]["entryPoints"]
        assert isinstance(entry_points, dict)
        # Traefik's own are 60 s for a request, none for an answer, 180 s for an idle connection.
        assert entry_points["websecure"]["transport"] == {
            "respondingTimeouts": {"readTimeout": "30m", "writeTimeout": "0s", "idleTimeout": "3m"}
        }

    def test_the_access_log_has_no_path(self, choice: str) -> None:
        assert traefik_files(choice)[1]["accessLog"] == {
            "format": "json",
            "fields": {"names": {"RequestPath": "drop"}},
        }

    def test_reads_one_file_and_asks_nobody(self, choice: str) -> None:
        static = traefik_files(choice)[1]
        assert static["providers"] == {"file": {"filename": "/run/config/routes.yml", "watch": False}}
        assert static["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
        assert "api" not in static, "neither dashboard nor API"

    def test_publishes_where_the_settings_say(self) -> None:
        ports = {
            choice: [(port["ip"], port["external"]) for port in built(choice).service("traefik").tables("ports")]
            for choice in ("dev", "prod", "remote")
        }
        assert ports == {
            "dev": [("127.0.0.1", 80), ("127.0.0.1", 443)],
            "prod": [("0.0.0.0", 80), ("0.0.0.0", 443)],
            "remote": [("192.0.2.4", 8081), ("192.0.2.4", 8444)],
        }

    def test_pings_itself(self, choice: str) -> None:
        container = built(choice).service("traefik")
        assert container.table("healthcheck")["tests"] == [
            "CMD",
            "traefik",
            "healthcheck",
            "--configfile=/run/config/traefik.yml",
        ]
        assert traefik_files(choice)[1]["ping"] == {"entryPoint": "status"}

    def test_status_is_not_published(self, choice: str) -> None:
        static = traefik_files(choice)[1]
        entry_points = static["entryPoints"]
        assert isinstance(entry_points, dict)
        published = {f":{port['internal']}" for port in built(choice).service("traefik").tables("ports")}
        assert entry_points["status"]["address"] not in published

    def test_jellyfin_believes_the_edge_alone(self, choice: str) -> None:
        (edges,) = (
            item["ipv4Address"]
            for item in built(choice).service("traefik").tables("networksAdvanced")
            if item["name"] == "nexus-test-apps"
        )
        assert trusted(built(choice).seed("jellyfin").files["/run/config/network.xml"]) == [edges]


@pytest.mark.parametrize("own", [True, False])
def test_without_a_certificate_traefik_makes_one_itself(own: bool) -> None:
    seed = build(Choice(config=EMBEDDED) if own else Choice(config=EMBEDDED, secrets={})).seed("traefik")
    given = yaml.safe_load(seed.files["/run/config/routes.yml"])["tls"]
    # Traefik refuses to start its default store on files that are not there.
    assert ("certificates" in given, "stores" in given) == (own, own)
    assert given["options"] == {"default": {"minVersion": "VersionTLS12", "sniStrict": False}}
    assert {name for name in seed.files if "tls" in name} == (
        {"/run/secrets/tls.crt", "/run/secrets/tls.key"} if own else set()
    )


OLD_PROXIES = """<?xml version="1.0" encoding="utf-8"?>
<NetworkConfiguration xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <BaseUrl />
  <KnownProxies>
    <string>172.31.241.0/24</string>
    <string>10.0.0.1</string>
  </KnownProxies>
  <EnableUPnP>false</EnableUPnP>
</NetworkConfiguration>
"""


def trusted(network: str) -> list[str | None]:
    """The addresses whose X-Forwarded-For Jellyfin believes, in its network.xml."""
    return [item.text for item in ElementTree.fromstring(network).findall("KnownProxies/string")]


@pytest.mark.parametrize(
    "found",
    [
        None,
        OLD_PROXIES,
        re.sub(r"(?s)<KnownProxies>.*</KnownProxies>", "<KnownProxies />", OLD_PROXIES),
        re.sub(r"(?s)<KnownProxies>.*</KnownProxies>", "", OLD_PROXIES),
    ],
    ids=["none", "the old network", "an empty list", "no list"],
)
def test_jellyfin_starts_with_the_edge_as_its_one_proxy(tmp_path: Path, found: str | None) -> None:
    """What Jellyfin finds of its own settings, at a first start and in a stack older than the address."""
    for path, content in built("dev").seed("jellyfin").files.items():
        target = tmp_path / path.removeprefix("/run/config/")
        target.write_text(content)
    live = tmp_path / "config" / "network.xml"
    if found is not None:
        live.parent.mkdir()
        live.write_text(found)
    script = built("dev").service("jellyfin").texts("entrypoints")[-1]
    script = script.replace("/config/config", str(live.parent)).replace("/run/config", str(tmp_path))
    for _ in range(2):
        subprocess.run(["sh", "-c", script.replace("exec /jellyfin/jellyfin", "true")], check=True)
    assert trusted(live.read_text()) == trusted(built("dev").seed("jellyfin").files["/run/config/network.xml"])
    assert ("EnableUPnP" in live.read_text()) is (found is not None)
