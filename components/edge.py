"""Traefik at the edge: the only published ports, with routes made from the services themselves.

The file provider only: what Traefik serves is in the preview, and it needs no Docker API (docs/adr/0004).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pulumi
import yaml

from components.errors import PlatformError
from components.networks import may_talk
from components.secrets import SecretBundle
from components.service import CONFIG, NOBODY, SECRETS, HealthCheck, Metrics, Port, Service, ServiceArgs, Site, Web
from components.settings import TLS_CERTIFICATE, TLS_KEY, Secrets
from components.settings import Edge as EdgeSettings

NAME: Final = "traefik"
HTTP: Final = 8080
HTTPS: Final = 8443
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
                "websecure": {"address": f":{HTTPS}", "http": {"tls": {}}},
                "status": {"address": f":{STATUS}"},
            },
            "ping": {"entryPoint": "status"},
            "metrics": {"prometheus": {"entryPoint": "status", "addRoutersLabels": True}},
            "accessLog": {"format": "json"},
            "log": {"level": "INFO", "format": "json"},
            "providers": {"file": {"filename": f"{CONFIG}/routes.yml", "watch": False}},
        },
        sort_keys=True,
    )


def routes(settings: EdgeSettings, services: Sequence[Service]) -> str:
    """One router and one backend for each service with a web page.

    Raises PlatformError where the network table keeps Traefik from one of them, or two of them ask for one name.
    """
    routers: dict[str, object] = {}
    backends: dict[str, object] = {}
    served: dict[str, str] = {}
    for service in services:
        web = service.args.web
        if web is None:
            continue
        if not may_talk(NAME, service.address):
            raise PlatformError(
                f"components/networks.py: {service.name} has a web page but shares no network with {NAME}"
            )
        if (other := served.setdefault(web.host, service.name)) != service.name:
            raise PlatformError(
                f"{service.name} and {other} both ask for the host name {web.host}: change one of their `Web(host=…)`"
            )
        routers[service.name] = {
            "rule": _rule(settings, web),
            "entryPoints": ["websecure"],
            "middlewares": ["headers"] if web.own_sign_in else ["headers", "sign-in"],
            "service": service.name,
        }
        backends[service.name] = {"loadBalancer": {"servers": [{"url": f"http://{service.address}:{web.port}"}]}}
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
                "certificates": [{"certFile": f"{SECRETS}/tls.crt", "keyFile": f"{SECRETS}/tls.key"}],
                "stores": {
                    "default": {
                        "defaultCertificate": {"certFile": f"{SECRETS}/tls.crt", "keyFile": f"{SECRETS}/tls.key"}
                    }
                },
                "options": {"default": {"minVersion": "VersionTLS12", "sniStrict": False}},
            },
        },
        sort_keys=True,
    )


def _rule(settings: EdgeSettings, web: Web) -> str:
    hidden = "".join(f" && !PathPrefix(`{path}`)" for path in web.hidden_paths)
    return f"Host(`{web.host}.{settings.domain}`){hidden}"


def urls(settings: EdgeSettings, services: Sequence[Service]) -> dict[str, str]:
    """The addresses people use, by service name."""
    return {service.name: settings.url(service.args.web.host) for service in services if service.args.web}


def edge(
    site: Site,
    services: Sequence[Service],
    secrets: SecretBundle,
    given: Secrets,
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """Traefik in front of every service that has a web page. HTTP only redirects."""
    settings = site.settings.edge
    address = str(settings.bind_address)
    config_file = f"--configfile={CONFIG}/traefik.yml"
    return Service(
        NAME,
        ServiceArgs(
            image="traefik",
            user=NOBODY,
            memory=256,
            cpus=1.0,
            entrypoint=("traefik",),
            command=(config_file,),
            config={"traefik.yml": static_configuration(settings), "routes.yml": routes(settings, services)},
            secrets={
                "tls.crt": given.require(TLS_CERTIFICATE),
                "tls.key": given.require(TLS_KEY),
                "users": secrets.admin_htpasswd,
            },
            ports=(
                Port(address=address, external=settings.http_port, internal=HTTP),
                Port(address=address, external=settings.https_port, internal=HTTPS),
            ),
            health=HealthCheck(test=("CMD", "traefik", "healthcheck", config_file), start_period=20),
            metrics=Metrics(port=STATUS),
            stop_grace=20,
        ),
        site,
        opts,
    )
