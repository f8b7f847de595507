"""Seconds of the first `pulumi up` and of `pulumi destroy`, beside the same work straight through the Docker API.

On a stack of its own in the shape of the checkout's dev stack, with ports, networks and a state directory of its own:
nothing that the user has up is touched. It is gone afterwards, with its data. What does not belong here: how the API
is asked (direct.py).
"""

from __future__ import annotations

import dataclasses
import io
import ipaddress
import json
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import docker
import docker.errors

from components import host
from scripts import certificate, dockerhost, stack
from scripts.console import UserError, say
from scripts.engine import Engine, at_a_time, open_stack
from scripts.paths import Paths
from tools.bench import direct
from tools.bench.clock import stopwatch, timed
from tools.bench.figures import Series

NAME: Final = "bench-dev"
"""The stack of its own, by its name one of development (policies/config.yaml).
Whatever carries this name on the Docker host is removed, before and after."""

DIRECT: Final = "Docker API"
OURS: Final = "NEXUS"

_LIMIT: Final = 900
"""Seconds after which an `up` or a `destroy` is given up."""


@dataclass(frozen=True, kw_only=True)
class Deployments:
    """What was measured, and how many containers, networks and volumes were made each time."""

    up: tuple[Series, ...]
    down: tuple[Series, ...]
    containers: int
    networks: int
    volumes: int
    parallel: int


def measure(engine: Engine, runs: int) -> Deployments:
    """Up, destroy, then the same through the API, `runs` times. `engine`: the stack whose Docker host and images are
    used; it is not touched.

    Raises UserError where one of them fails; what was made is removed all the same.
    """
    up: dict[str, list[float]] = {DIRECT: [], OURS: []}
    down: dict[str, list[float]] = {DIRECT: [], OURS: []}
    parallel = at_a_time()
    with _scratch(engine) as (mine, client):
        for number in range(1, runs + 1):
            turn = f"deploy: round {number} of {runs}"
            say(f"{turn}: pulumi up")
            up[OURS].append(_pulumi(mine, "up", "--skip-preview", f"--parallel={parallel}"))
            parts = direct.pieces(json.loads(mine.output("stack", "export", "--show-secrets")))
            same = direct.Direct(client, parts, parallel)
            say(f"{turn}: pulumi destroy")
            down[OURS].append(
                _pulumi(mine, "destroy", "--exclude-protected", "--skip-preview", f"--parallel={parallel}")
            )
            _forget(mine)
            remove(client)
            say(f"{turn}: the same through the API")
            with stopwatch(up[DIRECT]):
                same.make()
            say(f"{turn}: removing it through the API")
            with stopwatch(down[DIRECT]):
                same.remove()
            remove(client)
            say(f"{turn}: up {_last(up)}; destroy {_last(down)}")
    kinds = [part.kind for part in parts]
    return Deployments(
        up=_series(up),
        down=_series(down),
        containers=kinds.count("container"),
        networks=kinds.count("network"),
        volumes=kinds.count("volume"),
        parallel=parallel,
    )


def configuration(
    base: Mapping[str, object], like: Mapping[str, object], pool: ipaddress.IPv4Network, ports: tuple[int, int]
) -> dict[str, object]:
    """The stack file's `config` of the scratch stack: that of dev, on the Docker host and with the images of `like`,
    on addresses of its own. Data goes into a Docker volume and not into a path of the host."""
    kept = {key: like[key] for key in ("nexus:docker", "nexus:images") if key in like}
    return {
        **{key: value for key, value in base.items() if key != "nexus:storage"},
        **kept,
        "nexus:networks": {"pool": str(pool)},
        "nexus:edge": {"bind-address": "127.0.0.1", "http-port": ports[0], "https-port": ports[1]},
    }


def free_pool(taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """A private /20 that overlaps none of `taken`, from the end of 172.16.0.0/12. Raises UserError for none left."""
    used = tuple(taken)
    for pool in reversed(list(ipaddress.IPv4Network("172.16.0.0/12").subnets(new_prefix=20))):
        if not any(pool.overlaps(other) for other in used):
            return pool
    raise UserError("no range of /20 is free in 172.16.0.0/12 for the scratch stack; remove unused Docker networks")


@contextmanager
def _scratch(engine: Engine) -> Iterator[tuple[Engine, docker.DockerClient]]:
    """The scratch stack, empty, and its Docker Engine. All of it is removed at the end."""
    if engine.paths.stack(NAME).exists():
        raise UserError(
            f"{engine.paths.stack(NAME)}: you have a stack of the name that the benchmark uses; rename it"
        )
    settings = stack.settings(engine.files)
    client = dockerhost.connect(settings.docker)
    remove(client)
    with ExitStack() as last:
        state = Path(last.enter_context(tempfile.TemporaryDirectory(prefix="nexus-bench-")))  # mode 0700
        last.callback(remove, client)
        paths = _elsewhere(engine.paths, state)
        taken = [one.network for one in host.gather(settings, NAME).ranges]
        config = configuration(
            _config(engine.paths.root / "Pulumi.dev.yaml"),
            _config(engine.files.config),
            free_pool(taken),
            _free_ports(),
        )
        source = state / "scratch.yaml"
        stack.write(source, {"config": config})
        # What they say to the owner of a stack (keep the passphrase) is not true of this one.
        with redirect_stderr(io.StringIO()):
            mine = open_stack(paths, NAME, source)
            certificate.ensure(mine, stack.settings(mine.files).edge.domain, certificate.hosts({}))
        yield mine, client


def remove(client: docker.DockerClient) -> None:
    """Removes whatever the Docker host has of the scratch stack, data too."""
    prefix = f"nexus-{NAME}-"
    for entry in client.api.containers(all=True):
        names = [name.lstrip("/") for name in entry["Names"]]
        if any(name.startswith(prefix) for name in names):
            with suppress(docker.errors.NotFound):
                client.api.remove_container(entry["Id"], v=True, force=True)
    for network in client.api.networks():
        if network["Name"].startswith(prefix):
            with suppress(docker.errors.NotFound):
                client.api.remove_network(network["Id"])
    for volume in client.api.volumes()["Volumes"] or ():
        if volume["Name"].startswith(prefix):
            with suppress(docker.errors.NotFound):
                client.api.remove_volume(volume["Name"], force=True)


def _forget(engine: Engine) -> None:
    """Begins the state anew, so that the next `up` is a first one."""
    engine.output("stack", "rm", "--yes", "--force", "--preserve-config")
    engine.ensure()


def _pulumi(engine: Engine, *arguments: str) -> float:
    """Seconds of a command with the policy pack, as `make` runs it. Raises UserError where it fails."""
    shown = ("--yes", "--suppress-outputs", "--non-interactive", "--color", "never")
    run = timed(["pulumi", *arguments, *shown], engine.paths.root, engine.environment, _LIMIT)
    if run.status:
        raise UserError(f"pulumi {arguments[0]} of the scratch stack failed (status {run.status}):\n{run.text}")
    return run.seconds


def _series(seconds: Mapping[str, Sequence[float]]) -> tuple[Series, ...]:
    return tuple(Series(name=name, seconds=tuple(values)) for name, values in seconds.items())


def _last(seconds: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{name} {values[-1]:.1f} s" for name, values in seconds.items())


def _elsewhere(paths: Paths, state: Path) -> Paths:
    """The same paths with another state directory."""
    (state / "backend").mkdir(mode=0o700)
    environment = {
        **paths.environment,
        "NEXUS_STATE": str(state),
        "PULUMI_BACKEND_URL": f"file://{state / 'backend'}",
    }
    return dataclasses.replace(paths, state=state, environment=environment)


def _config(file: Path) -> Mapping[str, object]:
    config = stack.read(file).get("config")
    return config if isinstance(config, dict) else {}


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
