"""Family `sockets`: no path of the host but those that are named, and nothing but a named socket proxy reaches a
container engine's API, of which the proxy lets little pass.

Whoever can write to an engine's socket is root on the host; a socket that is mounted read-only still takes every
request. A bind of a host's path is refused unless an exemption names service and path; the owner's data tree is where
`data` says. A proxy is a container with such a bind, or whose image is called one: each word of its command is on the
list in the settings here. That a proxy's network has one other member is the network table's to say. Not seen from
here: a symbolic link of the host's own making, and what a program does with an address that it is told at run time.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from pulumi_policy import Severity

from policies.rules.containers import items, overlaps, table, text_of, texts
from policies.rules.props import UNKNOWN, Path, Value, leaves, safe_name
from policies.rules.rule import TEXTS, Config, Finding, Resource, container_rule, rule, table_setting

_FILE: Final = re.compile(r"\.sock(?:et)?\b|npipe|pipe[\\/]", re.IGNORECASE)
"""What the name of a socket or of a named pipe has in it."""
_HOLDERS: Final = ("/run", "/var/run")
"""Where engines listen. /var/run is a link to /run."""
_MEDIA: Final = re.compile(r"/run/media(?:/[^./][^/]*){2,}")
"""Where a desktop mounts a disk."""


def _is_socket(path: str) -> bool:
    return _FILE.search(path) is not None


def exposes_engine(path: str) -> bool:
    """Whether a host path is an engine's socket, or a directory that may hold one."""
    plain = posixpath.normpath("/" + path.strip().casefold().lstrip("/"))
    holds = any(overlaps(plain, one) for one in _HOLDERS)
    return bool(path.strip()) and (_is_socket(path) or (holds and not _MEDIA.fullmatch(plain)))


def _binds(resource: Resource) -> Iterator[tuple[Path, str, bool, Value]]:
    """Of each mount that is no volume by its name: path, source, whether an exemption may name it, and target. It may
    where the path is written as it is and nothing can be changed there."""
    for index, item in enumerate(items(resource.props.get("mounts"))):
        mount = table(item)
        kind, source = mount.get("type"), mount.get("source")
        text = text_of(source)
        if UNKNOWN in (item, kind, source):
            is_volume = not text.startswith("/")
        else:
            is_volume = kind == "volume" and re.fullmatch(r"[A-Za-z0-9][\w.-]*", text) is not None
        if not is_volume:
            plain = mount.get("readOnly") in (True, UNKNOWN) and posixpath.normpath(text) == text
            yield ("mounts", index, "source"), text, plain, mount.get("target")


@container_rule("no-engine-socket", Severity.CRITICAL, "CIS 5.6, CIS 5.32, OWASP 1")
def _sockets(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No container reaches a container engine's socket, nor a directory that holds one: who can write to it is root
    on the host. A socket proxy has it by a named exemption, read-only.

    Remove the bind. What needs the engine's API asks a socket proxy that lets only the needed calls pass. The proxy
    binds the socket file itself, read-only, and has an exemption in policies/config.yaml with a reason and a day of
    review.
    """
    for path, source, plain, _ in _binds(resource):
        if exposes_engine(source):
            problem = "is a container engine's socket, or a directory that may hold one"
            advice = "Take it out; what needs the engine's API asks a socket proxy over an internal network"
            yield Finding(path, problem, advice, value=source, exemptible=_is_socket(source) and plain)


_SYSTEM: Final = re.compile(r"bin|boot|dev|etc|lib\d*|proc|root|run|sbin|sys|usr|var")


def _is_data(path: str) -> bool:
    """Whether a path may be the owner's data tree: no directory of the system, none of people's homes as a whole, and
    nothing hidden."""
    parts = path.casefold().split("/")[1:]
    if posixpath.normpath(path) != path or not path.startswith("/") or any(part[:1] in ("", ".") for part in parts):
        return False
    return _MEDIA.fullmatch(path) is not None or (
        not _SYSTEM.fullmatch(parts[0]) and (parts[0] not in ("home", "users") or len(parts) > 2)
    )


@container_rule("no-host-path", Severity.CRITICAL, "CIS 5.6, OWASP 8")
def _paths(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No container sees a path of the host but the owner's data tree, at /data, and what an exemption names for it,
    read-only.

    Use a volume, or a directory that is there for the app's data, such as /srv/media; a path that is only read is an
    exemption in policies/config.yaml.
    """
    for path, source, plain, target in _binds(resource):
        if not exposes_engine(source) and not (target == "/data" and _is_data(source)):
            problem = "is a path of the host that no line names for this service"
            yield Finding(path, problem, value=source, exemptible=plain)


_ADDRESS: Final = re.compile(
    r"\btcp://|:237[56]\b|\bnpipe:|(?:docker|containerd|podman|crio|buildkitd)\.sock|"
    r"\b(?:DOCKER|CONTAINER|PODMAN|BUILDKIT)_HOST=(?!$)",
    re.IGNORECASE,
)


@rule(
    "no-engine-address", Severity.CRITICAL, "CIS 2.7, CIS 5.32, OWASP 1", types=("docker:", "pulumi:providers:docker")
)
def _addresses(resource: Resource, _config: Config) -> Iterator[Finding]:
    """No container is told the address of an engine's API, and the provider reaches its own by a socket or SSH: who
    reaches an engine's port is root on its host. A socket proxy's one consumer is named.

    Remove the variable or argument. For the consumer of a socket proxy, add an exemption to policies/config.yaml with
    a reason and a day of review.
    """
    if resource.type.startswith("pulumi:providers:"):
        host = resource.props.get("host")
        if host not in (None, "", UNKNOWN) and not re.match(r"(?:unix|ssh)://", str(host)):
            advice = "Use unix:// or ssh://: who reaches the port of an engine is root on its host"
            yield Finding(("host",), "is the address of a container engine's API over TCP", advice)
        return
    for path, leaf in leaves(resource.props):
        if path[0] != "mounts" and _ADDRESS.search(str(leaf)):
            note = safe_name(str(leaf).partition("=")[0]) if path[0] == "envs" else None
            advice = "Take it out; the one consumer of a socket proxy is named by an exemption"
            yield Finding(path, "is the address of a container engine's API", advice, note=note or "")


# ---- socket proxies

_PROXY: Final = re.compile(r"socket-?proxy|dockersocket", re.IGNORECASE)
_VARYING: Final = r"[\w.\\-]*"
"""What `*` stands for in a call: a part of a container's name, as a regular expression has it."""


_EVERY: Final = ("-listenip=0.0.0.0", "-allowhealthcheck", "-loglevel=info")
"""Options of every proxy."""


def _is_proxy(resource: Resource, config: Config) -> bool:
    return (
        resource.name in table(config.get("proxies"))
        or _PROXY.search(text_of(resource.props.get("image"))) is not None
        or any(_is_socket(source) for _, source, _, _ in _binds(resource))
    )


@container_rule(
    "read-only-socket-proxy",
    Severity.CRITICAL,
    "CIS 5.9, CIS 5.10, CIS 5.32, OWASP 1, OWASP 5",
    settings={
        "proxies": table_setting(
            "Of each socket proxy, by logical name, its own options; `*` is a part of a container's name.", TEXTS
        )
    },
)
def _proxies(resource: Resource, config: Config) -> Iterator[Finding]:
    """A socket proxy has the options alone that a line names for it: calls by GET or HEAD, since with POST it is the
    socket itself, and its one consumer, since it asks nobody for a password. It publishes no port. An exemption
    with the value `start` lets it start one container, named in full.

    Allow GET and HEAD of the paths that the consumer needs, each written out, name the consumer in `-allowfrom`, and
    have the lines reviewed. What has to change something is not done through a proxy.
    """
    if not _is_proxy(resource, config):
        return
    own = texts(table(config.get("proxies")).get(resource.name))
    listed = [_VARYING.join(map(re.escape, one.split("*"))) for one in (*own, *_EVERY)]
    for index, word in enumerate(items(resource.props.get("command"))):
        text = text_of(word)
        named = any(re.fullmatch(one, text) for one in listed)
        asks = re.match(r"-allow(?:GET|HEAD)=|-allow[a-z]", text) is not None or not text.startswith("-allow")
        if word is not UNKNOWN and not (named and asks):
            yield Finding(
                ("command", index),
                "lets requests pass that change something, or is no option that a line names for this proxy",
                "Let GET and HEAD of single paths pass alone, for the one consumer in -allowfrom; or have it "
                "reviewed as a line under settings.read-only-socket-proxy.proxies in policies/config.yaml",
                note=safe_name(text.partition("=")[0].lstrip("-")) or "",
                value="start" if text.endswith("/start") else "",
                exemptible=named,
            )
    for key in ("entrypoints", "ports"):
        if items(resource.props.get(key)):
            problem = "is more than a socket proxy has: nothing but its image's program, and no published port"
            yield Finding((key,), problem, "Take it out", exemptible=False)


RULES: Final = (_sockets, _paths, _addresses, _proxies)
