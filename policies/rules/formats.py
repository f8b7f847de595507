"""The files that the program generates, as it generates them: what a file may hold is what its model here has.

Another option of Traefik's or Prometheus's is a field here, which is reviewed. A file is told by its last name. What
the names in it refer to is checked in edge.py and monitoring.py.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.rules.configuration import File, UnreadableError
from policies.rules.props import UNKNOWN, Path


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


Name = Annotated[str, Field(min_length=1)]


class _To(_Strict):
    to: str
    scheme: Literal["https"]


class _Redirections(_Strict):
    entryPoint: _To  # noqa: N815 - as Traefik has it, here and below


class _Nothing(_Strict):
    pass


class _Http(_Strict):
    redirections: _Redirections | None = None
    tls: _Nothing | None = None


class _Timeouts(_Strict):
    readTimeout: str  # noqa: N815
    writeTimeout: str  # noqa: N815
    idleTimeout: str  # noqa: N815


class _Transport(_Strict):
    respondingTimeouts: _Timeouts  # noqa: N815


class EntryPoint(_Strict):
    """A port that Traefik listens on."""

    address: Annotated[str, Field(pattern=r"^:\d+$")]
    http: _Http | None = None
    transport: _Transport | None = None


class _AtPoint(_Strict):
    entryPoint: Name  # noqa: N815


class _Measured(_AtPoint):
    addRoutersLabels: bool  # noqa: N815


class _Metrics(_Strict):
    prometheus: _Measured


class _Names(_Strict):
    RequestPath: Literal["drop"]


class _Fields(_Strict):
    names: _Names


class _AccessLog(_Strict):
    format: Literal["json"]
    fields: _Fields


class _Log(_Strict):
    level: Literal["INFO", "WARN", "ERROR", "DEBUG"]
    format: Literal["json"]


class _Source(_Strict):
    filename: Name
    watch: Literal[False]


class _Providers(_Strict):
    file: _Source


class _Global(_Strict):
    checkNewVersion: Literal[False]  # noqa: N815
    sendAnonymousUsage: Literal[False]  # noqa: N815


class Edge(_Strict):
    """traefik.yml: entry points, and routes from one file alone."""

    global_: _Global = Field(alias="global")
    entryPoints: dict[str, EntryPoint]  # noqa: N815
    ping: _AtPoint
    metrics: _Metrics
    accessLog: _AccessLog  # noqa: N815
    log: _Log
    providers: _Providers


class Router(_Strict):
    """A route: whom it answers, by which middlewares, and where it leads."""

    rule: str
    entryPoints: Annotated[list[str], Field(min_length=1)]  # noqa: N815
    middlewares: list[str]
    service: Name


class _Server(_Strict):
    url: Annotated[str, Field(pattern=r"^http://[\w.-]+:\d+$")]


class _LoadBalancer(_Strict):
    servers: Annotated[list[_Server], Field(min_length=1, max_length=1)]


class _Backend(_Strict):
    loadBalancer: _LoadBalancer  # noqa: N815


class _Headers(_Strict):
    stsSeconds: Annotated[int, Field(ge=86400)]  # noqa: N815
    contentTypeNosniff: Literal[True]  # noqa: N815
    customFrameOptionsValue: Literal["SAMEORIGIN", "DENY"]  # noqa: N815
    referrerPolicy: str  # noqa: N815
    permissionsPolicy: str  # noqa: N815
    customResponseHeaders: dict[str, str]  # noqa: N815


class _BasicAuth(_Strict):
    usersFile: Annotated[str, Field(pattern=r"^/run/secrets/[\w.-]+$")]  # noqa: N815
    realm: str
    removeHeader: Literal[True]  # noqa: N815


class Middleware(_Strict):
    """Sets the headers of every page, or asks for a name and a password."""

    headers: _Headers | None = None
    basicAuth: _BasicAuth | None = None  # noqa: N815


class _RoutesHttp(_Strict):
    routers: dict[str, Router]
    services: dict[str, _Backend]
    middlewares: dict[str, Middleware]


class _Pair(_Strict):
    certFile: Annotated[str, Field(pattern=r"^/run/secrets/")]  # noqa: N815
    keyFile: Annotated[str, Field(pattern=r"^/run/secrets/")]  # noqa: N815


class _Store(_Strict):
    defaultCertificate: _Pair  # noqa: N815


class _Option(_Strict):
    minVersion: Literal["VersionTLS12", "VersionTLS13"]  # noqa: N815
    sniStrict: bool  # noqa: N815


class _Tls(_Strict):
    options: dict[Literal["default"], _Option]
    stores: dict[Literal["default"], _Store] = Field(default_factory=dict)
    certificates: list[_Pair] = Field(default_factory=list)


class Routes(_Strict):
    """routes.yml: routers, services and middlewares of http, and certificates from secret files."""

    http: _RoutesHttp
    tls: _Tls


class _Labels(_Strict):
    service: Name


class _Static(_Strict):
    targets: list[str]
    labels: _Labels | None = None


class _Relabel(_Strict):
    source_labels: list[str] = Field(default_factory=list)
    regex: str = ""
    target_label: Name
    replacement: str = ""


class _Params(_Strict):
    module: list[str]


class Job(_Strict):
    """What is scraped, or probed by the service that relabelling names."""

    job_name: Name
    metrics_path: str = "/metrics"
    params: _Params | None = None
    static_configs: list[_Static]
    relabel_configs: list[_Relabel] = Field(default_factory=list)
    metric_relabel_configs: list[_Relabel] = Field(default_factory=list)


class _Manager(_Strict):
    static_configs: list[_Static]


class _Alerting(_Strict):
    alertmanagers: list[_Manager]


class _Intervals(_Strict):
    scrape_interval: str
    evaluation_interval: str


class Prometheus(_Strict):
    """prometheus.yml: targets that are written out, alert rules, and whom to tell."""

    global_: _Intervals | None = Field(None, alias="global")
    rule_files: list[str]
    alerting: _Alerting
    scrape_configs: list[Job]


SCHEMAS: Final[dict[str, type[Edge | Routes | Prometheus]]] = {
    "traefik.yml": Edge,
    "routes.yml": Routes,
    "prometheus.yml": Prometheus,
}


def read(file: File) -> Edge | Routes | Prometheus | None:
    """What a file of the generated shape says; None where that is not known, or it is of another shape."""
    try:
        document = file.document()
        return None if document is UNKNOWN else SCHEMAS[file.base].model_validate(document)
    except (UnreadableError, ValidationError, RecursionError, KeyError):
        return None


def faults(file: File) -> Iterator[Path]:
    """Where a file is of another shape than its name says; empty for the whole of it. Raises UnreadableError."""
    document = file.document()
    if file.base not in SCHEMAS or document is UNKNOWN:
        return
    try:
        SCHEMAS[file.base].model_validate(document)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False, include_context=False):
            yield tuple(one["loc"])
