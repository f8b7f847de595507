"""Traefik at the edge: the only published ports, with routes made from the services themselves.

The file provider only: what Traefik serves is in the preview, and it needs no Docker API (docs/adr/0004).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, assert_never

import pulumi
import yaml

from components.arguments import (
    CONFIG,
    NOBODY,
    SECRETS,
    EdgeSignIn,
    Exposes,
    Files,
    HealthCheck,
    Limits,
    Metrics,
    OwnSignIn,
    Port,
    Process,
    ServiceArgs,
    SignIn,
    Web,
)
from components.dockerhost import DockerHost
from components.errors import PlatformError
from components.networks import APPS, DASHBOARDS, EDGE, SCRAPE_TRAEFIK, OwnNetworks
from components.secrets import SecretBundle
from components.service import Service
from components.settings.schema import Edge as EdgeSettings
from components.settings.secret import TLS_CERTIFICATE, TLS_KEY, Secrets

NAME: Final = "traefik"
HTTP: Final = 8080
HTTPS: Final = 8443
ON_APPS: Final = APPS.at(250)
"""What the apps believe X-Forwarded-For from."""
NETWORKS: Final = OwnNetworks(EDGE, ON_APPS, SCRAPE_TRAEFIK, DASHBOARDS)
STATUS: Final = 8082
"""Ping and metrics: not published, and nothing that every service on Traefik's networks may not read."""

# Mozilla's and OWASP's common set; a content security policy is each app's own.
_HEADERS: Final = {
    "stsSeconds": 31536000,
    "contentTypeNosniff": True,
    "customFrameOptionsValue": "SAMEORIGIN",
    "referrerPolicy": "strict-origin-when-cross-origin",
    "permissionsPolicy": "camera=(), geolocation=(), microphone=()",
    "customResponseHeaders": {"Server": "", "X-Powered-By": ""},
}

_TIMEOUTS: Final = {
    # Of a whole request with its body. Traefik's own 60 s cut off a backup's restore or artwork on a slow line; with
    # none at all, whoever opens connections and says nothing keeps them.
    "readTimeout": "30m",
    "writeTimeout": "0s",  # an answer is a film, or a socket that stays open
    "idleTimeout": "3m",
}


def static_configuration(settings: EdgeSettings) -> str:
    """Traefik's own configuration: entry points, and nothing that reaches out."""
    return yaml.safe_dump(
        {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "entryPoints": {
                "web": {
                    "address": f":{HTTP}",
                    # By the published port: the entry point's own is the container's.
                    "http": {"redirections": {"entryPoint": {"to": f":{settings.https_port}", "scheme": "https"}}},
                },
                "websecure": {
                    "address": f":{HTTPS}",
                    "http": {"tls": {}},
                    "transport": {"respondingTimeouts": _TIMEOUTS},
                },
                "status": {"address": f":{STATUS}"},
            },
            "ping": {"entryPoint": "status"},
            "metrics": {"prometheus": {"entryPoint": "status", "addRoutersLabels": True}},
            # Apps take keys and tokens in query strings, and the path is one field with them. Headers are not logged.
            # `fields.queryParameters` would leave the path alone in; Traefik before 3.7 does not start with it.
            "accessLog": {"format": "json", "fields": {"names": {"RequestPath": "drop"}}},
            "log": {"level": "INFO", "format": "json"},
            "providers": {"file": {"filename": f"{CONFIG}/routes.yml", "watch": False}},
        },
        sort_keys=True,
    )


def routes(settings: EdgeSettings, services: Sequence[Service], *, certificate: bool = True) -> str:
    """One router and one backend for each service with a web page. Without a `certificate` Traefik makes one itself.

    Raises PlatformError where one of them is on no network of Traefik's, or two of them ask for one name.
    """
    routers: dict[str, object] = {}
    backends: dict[str, object] = {}
    served: dict[str, str] = {}
    for service in services:
        web = service.args.exposes.web
        if web is None:
            continue
        if not NETWORKS.reach(service.networks):
            raise PlatformError(
                f"{service.name} has a web page but shares no network with {NAME}: add one of "
                f"{NETWORKS.names} to its `network=OwnNetworks(…)`"
            )
        if (other := served.setdefault(web.host, service.name)) != service.name:
            raise PlatformError(
                f"{service.name} and {other} both ask for the host name {web.host}: change one of their `Web(host=…)`"
            )
        routers[service.name] = {
            "rule": _rule(settings, web),
            "entryPoints": ["websecure"],
            "middlewares": ["headers", *_sign_in(web.sign_in)],
            "service": service.name,
        }
        backends[service.name] = {"loadBalancer": {"servers": [{"url": f"http://{service.address}:{web.port}"}]}}
    files = {"certFile": f"{SECRETS}/tls.crt", "keyFile": f"{SECRETS}/tls.key"}
    own = {"certificates": [{**files}], "stores": {"default": {"defaultCertificate": {**files}}}}
    return yaml.safe_dump(
        {
            "http": {
                "routers": routers,
                "services": backends,
                "middlewares": {
                    "headers": {"headers": _HEADERS},
                    "sign-in": {
                        "basicAuth": {"usersFile": f"{SECRETS}/users", "realm": "NEXUS", "removeHeader": True}
                    },
                },
            },
            "tls": {
                **(own if certificate else {}),
                "options": {"default": {"minVersion": "VersionTLS12", "sniStrict": False}},
            },
        },
        sort_keys=True,
    )


def _sign_in(chosen: SignIn) -> tuple[str, ...]:
    """The middlewares that ask a visitor who he is."""
    match chosen:
        case EdgeSignIn():
            return ("sign-in",)
        case OwnSignIn():
            return ()
        case unknown:
            assert_never(unknown)


def _rule(settings: EdgeSettings, web: Web) -> str:
    host = f"Host(`{web.host}.{settings.domain}`)"
    if not web.hidden_paths:
        return host
    # Traefik minds the case of a path, and an app need not (ASP.NET does not). What it compares it has cleaned: `//`,
    # `/./` and percent-encoded letters are gone.
    below = f"({_either(web.prefixes)})?" if web.prefixes else ""
    return f"{host} && !PathRegexp(`(?i)^{below}({_either(web.hidden_paths)})`)"


def _either(paths: Sequence[str]) -> str:
    """A regular expression, in what Go's and Python's have in common, for one of these paths."""
    return "|".join(re.escape(path) for path in paths)


def urls(settings: EdgeSettings, services: Sequence[Service]) -> dict[str, str]:
    """The addresses people use, by service name."""
    webs = ((service.name, service.args.exposes.web) for service in services)
    return {name: settings.url(web.host) for name, web in webs if web}


def edge(
    host: DockerHost,
    settings: EdgeSettings,
    services: Sequence[Service],
    secrets: SecretBundle,
    given: Secrets,
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """Traefik in front of every service that has a web page. HTTP only redirects."""
    address = str(settings.bind_address)
    config_file = f"--configfile={CONFIG}/traefik.yml"
    certificate, key = given.get(TLS_CERTIFICATE), given.get(TLS_KEY)
    pair = {"tls.crt": certificate, "tls.key": key} if certificate is not None and key is not None else {}
    return Service(
        NAME,
        ServiceArgs(
            image="traefik",
            user=NOBODY,
            limits=Limits(memory=256, cpus=1.0),
            health=HealthCheck(test=("CMD", "traefik", "healthcheck", config_file), start_period=20),
            network=NETWORKS,
            process=Process(entrypoint=("traefik",), command=(config_file,), stop_grace=20),
            files=Files(
                config={
                    "traefik.yml": static_configuration(settings),
                    "routes.yml": routes(settings, services, certificate=bool(pair)),
                },
                secrets={**pair, "users": secrets.admin_htpasswd},
            ),
            exposes=Exposes(
                ports=(
                    Port(address=address, external=settings.http_port, internal=HTTP),
                    Port(address=address, external=settings.https_port, internal=HTTPS),
                ),
                metrics=Metrics(port=STATUS),
            ),
        ),
        host,
        opts,
    )
