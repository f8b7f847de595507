"""The files that the program generates, as it generates them: what a file may hold is what its shape here has.

Another option of Traefik's or Prometheus's is a line here, which is reviewed. A file is told by its last name. What
the names in it refer to is checked in edge.py and monitoring.py.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from policies.rules.configuration import File, UnreadableError
from policies.rules.props import UNKNOWN, Path

Document = dict[str, Any]
"""A file that has its shape."""

Name = Annotated[str, Field(min_length=1)]
Secret = Annotated[str, Field(pattern=r"^/run/secrets/[\w.-]+$")]


# traefik.yml: entry points, and routes from one file alone.
To = TypedDict("To", {"to": str, "scheme": Literal["https"]})
Redirections = TypedDict("Redirections", {"entryPoint": To})
Nothing = TypedDict("Nothing", {})
Http = TypedDict("Http", {"redirections": NotRequired[Redirections], "tls": NotRequired[Nothing]})
Timeouts = TypedDict("Timeouts", {"readTimeout": str, "writeTimeout": str, "idleTimeout": str})
Transport = TypedDict("Transport", {"respondingTimeouts": Timeouts})


Port = Annotated[str, Field(pattern=r"^:\d+$")]
EntryPoint = TypedDict(
    "EntryPoint", {"address": Port, "http": NotRequired[Http], "transport": NotRequired[Transport]}
)
AtPoint = TypedDict("AtPoint", {"entryPoint": Name})
Measured = TypedDict("Measured", {"entryPoint": Name, "addRoutersLabels": bool})
Metrics = TypedDict("Metrics", {"prometheus": Measured})
Dropped = TypedDict("Dropped", {"RequestPath": Literal["drop"]})
Fields = TypedDict("Fields", {"names": Dropped})
AccessLog = TypedDict("AccessLog", {"format": Literal["json"], "fields": Fields})
Log = TypedDict("Log", {"level": Literal["DEBUG", "INFO", "WARN", "ERROR"], "format": Literal["json"]})
Source = TypedDict("Source", {"filename": Name, "watch": Literal[False]})
Providers = TypedDict("Providers", {"file": Source})
Global = TypedDict("Global", {"checkNewVersion": Literal[False], "sendAnonymousUsage": Literal[False]})


Edge = TypedDict(
    "Edge",
    {
        "global": Global,
        "entryPoints": dict[str, EntryPoint],
        "ping": AtPoint,
        "metrics": Metrics,
        "accessLog": AccessLog,
        "log": Log,
        "providers": Providers,
    },
)

# routes.yml: routers, services and middlewares of http, and certificates from secret files.
Points = Annotated[list[str], Field(min_length=1)]
Router = TypedDict("Router", {"rule": str, "entryPoints": Points, "middlewares": list[str], "service": Name})
Server = TypedDict("Server", {"url": Annotated[str, Field(pattern="^http://[\\w.-]+:\\d+$")]})
LoadBalancer = TypedDict("LoadBalancer", {"servers": Annotated[list[Server], Field(min_length=1, max_length=1)]})
Backend = TypedDict("Backend", {"loadBalancer": LoadBalancer})
Headers = TypedDict(
    "Headers",
    {
        "stsSeconds": Annotated[int, Field(ge=86400)],
        "contentTypeNosniff": Literal[True],
        "customFrameOptionsValue": Literal["SAMEORIGIN", "DENY"],
        "referrerPolicy": str,
        "permissionsPolicy": str,
        "customResponseHeaders": dict[str, str],
    },
)
BasicAuth = TypedDict("BasicAuth", {"usersFile": Secret, "realm": str, "removeHeader": Literal[True]})
Middleware = TypedDict("Middleware", {"headers": NotRequired[Headers], "basicAuth": NotRequired[BasicAuth]})
RoutesHttp = TypedDict(
    "RoutesHttp", {"routers": dict[str, Router], "services": dict[str, Backend], "middlewares": dict[str, Middleware]}
)
Pair = TypedDict("Pair", {"certFile": Secret, "keyFile": Secret})
Store = TypedDict("Store", {"defaultCertificate": Pair})
Stores = TypedDict("Stores", {"default": Store})
Option = TypedDict("Option", {"minVersion": Literal["VersionTLS12", "VersionTLS13"], "sniStrict": bool})
Options = TypedDict("Options", {"default": Option})
Tls = TypedDict("Tls", {"options": Options, "stores": NotRequired[Stores], "certificates": NotRequired[list[Pair]]})
Routes = TypedDict("Routes", {"http": RoutesHttp, "tls": Tls})


# prometheus.yml: targets that are written out, alert rules, and whom to tell.
Labels = TypedDict("Labels", {"service": Name})
Static = TypedDict("Static", {"targets": list[str], "labels": NotRequired[Labels]})
Relabel = TypedDict(
    "Relabel",
    {
        "source_labels": NotRequired[list[str]],
        "regex": NotRequired[str],
        "target_label": Name,
        "replacement": NotRequired[str],
    },
)
Params = TypedDict("Params", {"module": list[str]})
Job = TypedDict(
    "Job",
    {
        "job_name": Name,
        "metrics_path": NotRequired[str],
        "params": NotRequired[Params],
        "static_configs": list[Static],
        "relabel_configs": NotRequired[list[Relabel]],
        "metric_relabel_configs": NotRequired[list[Relabel]],
    },
)
Manager = TypedDict("Manager", {"static_configs": list[Static]})
Alerting = TypedDict("Alerting", {"alertmanagers": list[Manager]})
Intervals = TypedDict("Intervals", {"scrape_interval": str, "evaluation_interval": str})


Prometheus = TypedDict(
    "Prometheus",
    {"global": NotRequired[Intervals], "rule_files": list[str], "alerting": Alerting, "scrape_configs": list[Job]},
)

_STRICT: Final = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
SCHEMAS: Final[dict[str, TypeAdapter[Any]]] = {
    "traefik.yml": TypeAdapter(with_config(_STRICT)(Edge)),
    "routes.yml": TypeAdapter(with_config(_STRICT)(Routes)),
    "prometheus.yml": TypeAdapter(with_config(_STRICT)(Prometheus)),
}


def read(file: File) -> Document | None:
    """What a file of the generated shape says; None where that is not known, or it is of another shape."""
    try:
        document = file.document()
        found: Document | None = None if document is UNKNOWN else SCHEMAS[file.base].validate_python(document)
    except (UnreadableError, ValidationError, RecursionError, KeyError):
        return None
    return found


def faults(file: File) -> Iterator[Path]:
    """Where a file is of another shape than its name says; empty for the whole of it. Raises UnreadableError."""
    document = file.document()
    if file.base in SCHEMAS and document is not UNKNOWN:
        try:
            SCHEMAS[file.base].validate_python(document)
        except ValidationError as error:
            yield from (tuple(one["loc"]) for one in error.errors(include_url=False, include_input=False))
