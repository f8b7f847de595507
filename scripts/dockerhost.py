"""The Docker Engine of a stack: reaching it, starting it, and what it holds of the stack.

What does not belong here: deciding what should be there (the program, heal.py), and what the host itself has
(components/host.py).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import docker
import docker.constants
import docker.errors
import requests
import requests.adapters
import urllib3.connection
import urllib3.connectionpool

from components import host, reach
from components.names import LABEL_ROLE, LABEL_STACK
from components.settings.schema import Docker, Settings
from scripts import process, stack
from scripts.console import UserError, say
from scripts.paths import Paths

SEED: Final = "seed"
"""The role of containers that fill volumes and end."""
SERVICE: Final = "service"
"""The role of containers that run for as long as the stack is up."""
_SECONDS: Final = 120
"""Seconds for one answer of the engine: it may be stopping a container."""
STOP_SECONDS: Final = 30
"""Seconds a container that is restarted is given to end before it is killed."""
NEVER: Final = datetime.min.replace(tzinfo=UTC)
"""The start of a container that never ran, as the engine gives it."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of a stack, as the Docker Engine tells it."""

    id: str
    name: str
    role: str = SERVICE
    status: str = "running"
    """created, running, paused, restarting, removing, exited or dead."""
    health: str | None = None
    """starting, healthy or unhealthy; None where the container has no health check."""
    started_at: datetime = NEVER
    """When it was last started, to the microsecond."""
    exit_code: int = 0
    """Of one that has ended."""
    rides: str | None = None
    """The id of the container whose network namespace it shares."""

    @property
    def well(self) -> bool:
        """Running, and healthy where it has a health check."""
        return self.status == "running" and self.health in (None, "healthy")


@dataclass(frozen=True, kw_only=True)
class Named:
    """A network or volume: its id and its name."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the Docker Engine has of a stack: its labelled containers and networks, and every volume's name."""

    containers: tuple[Container, ...] = ()
    networks: tuple[Named, ...] = ()
    volumes: frozenset[str] = frozenset()


def start(paths: Paths, settings: Settings, stack_name: str) -> host.HostFacts:
    """The host's facts, after starting (on Debian as root: installing) a local engine that does not answer.

    Raises UserError where there is none to be had; scripts/docker-engine has then said what to do.
    """
    facts = host.gather(settings, stack_name)
    if not facts.local or facts.engine is not None:
        return facts
    command = [str(paths.root / "scripts" / "docker-engine"), "start", settings.docker.host]
    if process.stream(command, cwd=paths.root, environment=paths.environment, whole_group=True):
        raise UserError(f"nexus:docker.host: {facts.engine_error}")
    return host.gather(settings, stack_name)


def check(settings: Settings, facts: host.HostFacts, files: stack.StackFiles) -> None:
    """Raises UserError with what the stack needs of its host and does not find, and then with what its secrets lack
    as well: both are the same evening's work."""
    if not (problems := host.problems(settings, facts)):
        return
    message = "this host lacks what the stack needs:\n  " + "\n  ".join(problems)
    try:
        stack.check(files)
    except UserError as error:
        message += f"\nand the stack file lacks:\n{textwrap.indent(str(error), '  ')}"
    raise UserError(message)


def connect(engine: Docker) -> docker.DockerClient:
    """A client of the stack's Docker Engine. Raises UserError where none answers."""
    try:
        client = _over_ssh(engine) if reach.is_ssh(engine.host) else _client(engine.host)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise UserError(f"nexus:docker.host: {host.unreachable(engine, error)}") from error
    return client


def _client(url: str, version: str | None = None) -> docker.DockerClient:
    return docker.DockerClient(base_url=url, timeout=_SECONDS, version=version)


def _over_ssh(engine: Docker) -> docker.DockerClient:
    """A client whose connections are those of reach.py. docker-py's own ssh takes no options, and needs paramiko."""

    def through(client: docker.DockerClient) -> docker.DockerClient:
        client.api.mount("http+docker://", _Adapter(engine))
        return client

    # The socket is never looked for: connections are the adapter's. A version that is given is not asked for.
    first = through(_client(reach.DEFAULT, docker.constants.MINIMUM_DOCKER_API_VERSION))
    with closing(first):
        version = str(first.api.version(api_version=False)["ApiVersion"])
    return through(_client(reach.DEFAULT, version))


class _Connection(urllib3.connection.HTTPConnection):
    engine: Docker

    def connect(self) -> None:
        self.sock = reach.dial(self.engine, _SECONDS)


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, engine: Docker) -> None:
        super().__init__("localhost", timeout=_SECONDS, maxsize=reach.SSH_PARALLEL)
        self._engine = engine

    def _new_conn(self) -> _Connection:
        made = _Connection("localhost", timeout=_SECONDS)
        made.engine = self._engine
        return made


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, engine: Docker) -> None:
        super().__init__()
        self._pool = _Pool(engine)

    def get_connection_with_tls_context(self, *_: object, **__: object) -> _Pool:
        return self._pool

    def request_url(self, request: requests.PreparedRequest, _proxies: object) -> str:
        return request.path_url

    def close(self) -> None:
        self._pool.close()


def look(client: docker.DockerClient, stack: str) -> Scene:
    """What the engine has of a stack."""
    label = {"label": f"{LABEL_STACK}={stack}"}
    containers: list[Container] = []
    for entry in client.api.containers(all=True, filters=label):
        with suppress(docker.errors.NotFound):  # gone since it was listed
            containers.append(container_of(client.api.inspect_container(entry["Id"])))
    return Scene(
        containers=tuple(sorted(containers, key=lambda container: container.name)),
        networks=tuple(Named(id=entry["Id"], name=entry["Name"]) for entry in client.api.networks(filters=label)),
        volumes=frozenset(entry["Name"] for entry in client.api.volumes()["Volumes"] or ()),
    )


def container_of(details: dict[str, dict[str, object]]) -> Container:
    """A container from the engine's answer to an inspection."""
    state, config, host = details["State"], details["Config"], details["HostConfig"]
    labels = config.get("Labels")
    health = state.get("Health")
    kind, _, target = str(host.get("NetworkMode", "")).partition(":")
    return Container(
        id=str(details["Id"]),
        name=str(details["Name"]).lstrip("/"),
        role=str(labels.get(LABEL_ROLE, SERVICE)) if isinstance(labels, dict) else SERVICE,
        status=str(state.get("Status", "")),
        health=str(health.get("Status")) if isinstance(health, dict) else None,
        # The engine leaves out zeros at the end of a second's fraction: its times do not compare as text.
        started_at=datetime.fromisoformat(str(state.get("StartedAt") or NEVER.isoformat())),
        exit_code=code if isinstance(code := state.get("ExitCode"), int) else 0,
        rides=target if kind == "container" else None,
    )


def remove(client: docker.DockerClient, containers: Iterable[Container], networks: Iterable[Named]) -> None:
    """Removes containers and networks that an interrupted run left half-made; their volumes stay."""
    containers = tuple(containers)
    for container in containers:
        say(f"heal: removing container {container.name}, which an interrupted run left")

    def end(container: Container) -> None:
        with suppress(docker.errors.NotFound):
            if container.status == "running":
                client.api.stop(container.id)
            client.api.remove_container(container.id, v=False, force=True)

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(end, containers))
    for network in networks:
        say(f"heal: removing network {network.name}, which an interrupted run left")
        with suppress(docker.errors.NotFound):
            for endpoint in client.api.inspect_network(network.id).get("Containers") or {}:
                client.api.disconnect_container_from_network(endpoint, network.id, force=True)
            client.api.remove_network(network.id)


def reason_of(error: Exception) -> str:
    """What an engine complained of, on one line."""
    if isinstance(error, docker.errors.APIError) and error.explanation:
        return str(error.explanation)
    return " ".join(str(error).split())
