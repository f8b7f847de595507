"""What a killed engine, a killed dockerd or a reboot leaves behind, and how it is put right before `pulumi up`.

Deciding is pure (`lock_state`, `plan`); doing is small. Volumes are never touched: Docker adopts them by name, and
data may be in them. What does not belong here: changing what the program declares.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import docker
import docker.errors

from scripts import dockerhost, options
from scripts.console import UserError, finish, say
from scripts.dockerhost import SEED, SERVICE, Container, Named, Scene, reason_of
from scripts.engine import CONTAINER, NETWORK, VOLUME, Engine, State, open_stack
from scripts.paths import find
from scripts.stack import settings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done, in this order."""

    remove_containers: tuple[Container, ...] = ()
    remove_networks: tuple[Named, ...] = ()
    start: tuple[Container, ...] = ()
    restart: tuple[Container, ...] = ()
    refresh: tuple[str, ...] = ()
    """Why the engine has to look at the host again: one line each."""
    strangers: tuple[str, ...] = ()
    """Containers and networks with this stack's name that this state never made: another state's, and not ours."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock of the file backend: who holds the stack."""

    path: Path
    pid: int
    user: str
    host: str
    since: str


LockState = Literal["stale", "live", "elsewhere"]


def lock_state(lock: Lock, host: str, commands: dict[int, tuple[str, float]]) -> LockState:
    """Whether a lock's holder still runs.

    `commands` has the name and start time (seconds since the epoch) of each process of this host. A process that
    started after the lock was written only has the same number.
    """
    if lock.host != host:
        return "elsewhere"
    name, started = commands.get(lock.pid, ("", 0.0))
    if not name.startswith("pulumi"):
        return "stale"
    try:
        written = datetime.datetime.fromisoformat(lock.since).timestamp()
    except ValueError:
        return "live"
    # Start times come in hundredths of a second since boot, and the boot time in whole seconds.
    return "stale" if started > written + 2 else "live"


def plan(state: State, scene: Scene) -> Plan:
    """What brings the host back to where `pulumi up` can go on."""
    known = state.ids(CONTAINER)
    present = {container.id: container for container in scene.containers}
    # The label names a stack, and two states (another user, another NEXUS_STATE) may have one of that name on one
    # engine. Only what this state began to make is known to be its own.
    unknown = [container for container in scene.containers if container.id not in known]
    orphans = tuple(container for container in unknown if container.name in state.interrupted)
    loose = [network for network in scene.networks if network.id not in state.ids(NETWORK)]
    strangers = [container.name for container in unknown if container not in orphans]
    strangers += [network.name for network in loose if network.name not in state.interrupted]
    ours = [container for container in scene.containers if container.id in known and container.role == SERVICE]
    # What has failed is in state as if it had not: gone from the host, it is made and run again.
    failed = tuple(
        container
        for container in scene.containers
        if container.id in known and container.role == SEED and container.status == "exited" and container.exit_code
    )
    # A container in state "created" never ran: the engine has recorded its creation as failed and replaces it.
    stopped = [container for container in ours if container.status in ("exited", "dead")]
    starting = {container.id for container in stopped}
    restart: list[Container] = []
    refresh: list[str] = []
    for container in ours:
        if container.rides is None or container.id in starting or container.status not in ("running", "restarting"):
            continue
        target = present.get(container.rides)
        # Without its target the rider cannot be restarted: the engine replaces both once it has looked.
        if target is not None and (target.id in starting or target.started_at > container.started_at):
            restart.append(container)
    for what, kind, there in (
        ("container", CONTAINER, frozenset(present)),
        ("network", NETWORK, frozenset(network.id for network in scene.networks)),
        ("volume", VOLUME, scene.volumes),
    ):
        gone = [resource for resource in state.of(kind) if resource.id not in there and not resource.deleted]
        refresh += [f"{what} {resource.name} is gone from the Docker Engine" for resource in gone]
    refresh += [f"container {container.name} had ended with status {container.exit_code}" for container in failed]
    refresh += [f"container {container.name} is dead" for container in ours if container.status == "dead"]
    return Plan(
        remove_containers=(*orphans, *failed),
        remove_networks=tuple(network for network in loose if network.name in state.interrupted),
        # Riders last: they start only where their target runs.
        start=tuple(
            sorted(
                (container for container in stopped if container.status == "exited"),
                key=lambda container: container.rides is not None,
            )
        ),
        restart=tuple(restart),
        refresh=tuple(refresh),
        strangers=tuple(strangers),
    )


def refuse_strangers(stack: str, todo: Plan) -> None:
    """Raises UserError where the engine holds a stack of this name that another state made."""
    if todo.strangers:
        raise UserError(
            f"the Docker Engine has a stack {stack} that this state did not make ({', '.join(todo.strangers)}): it "
            "belongs to another user, checkout or NEXUS_STATE, and nothing of it was touched. Take it down from "
            "there or use another stack name; what you know to be a leftover goes with `docker rm --force` and "
            "`docker network rm`"
        )


def unlock(engine: Engine) -> None:
    """Removes locks whose holders are dead. Raises UserError where a live one holds the stack."""
    stale: list[Lock] = []
    for path in engine.locks():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            lock = Lock(
                path=path,
                pid=int(content["pid"]),
                user=str(content["username"]),
                host=str(content["hostname"]),
                since=str(content["timestamp"]),
            )
        except FileNotFoundError:
            continue  # given back meanwhile
        except (ValueError, KeyError):
            # Cut off while it was written: its writer cannot have got any further.
            lock = Lock(path=path, pid=0, user="?", host=socket.gethostname(), since="")
        match lock_state(lock, socket.gethostname(), processes()):
            case "stale":
                stale.append(lock)
            case "live":
                raise UserError(
                    f"another pulumi (process {lock.pid} of {lock.user}) has been working on stack "
                    f"{engine.files.stack} since {lock.since}; wait for it to end"
                )
            case "elsewhere":
                raise UserError(
                    f"stack {engine.files.stack} is locked by process {lock.pid} of {lock.user} on host {lock.host} "
                    f"since {lock.since} ({lock.path}); if you know that it is dead, run `scripts/pulumi -s "
                    f"{engine.files.stack} cancel --yes`"
                )
    for lock in stale:
        say(f"heal: the engine that locked the stack (process {lock.pid}) is dead")
    if stale:
        engine.output("cancel", "--yes")


def heal(engine: Engine, client: docker.DockerClient) -> tuple[State, bool]:
    """Puts right what can be put right by hand, and says what it did.

    Returns the state as it then is, and whether the engine has to refresh. Raises UserError as `unlock` does.
    """
    unlock(engine)
    state = engine.state()
    todo = plan(state, dockerhost.look(client, engine.files.stack))
    refuse_strangers(engine.files.stack, todo)
    # Before the record of what was being made is cleared: it alone tells an orphan from somebody else's container.
    dockerhost.remove(client, todo.remove_containers, todo.remove_networks)
    refresh = False
    if state.pending:
        say(f"heal: clearing what was begun and never ended: {', '.join(map(str, state.pending))}")
        engine.forget_pending()
        # What a half-made creation left was an orphan; of the rest only the host knows how far it came.
        refresh = any(operation.kind != "creating" for operation in state.pending)
    for container in todo.start:
        say(f"heal: starting {container.name}, which had stopped")
        refresh |= not _attempt(client, container, "start")
    for container in todo.restart:
        say(f"heal: restarting {container.name}, whose network namespace is gone")
        refresh |= not _attempt(client, container, "restart")
    for reason in todo.refresh:
        say(f"heal: {reason}")
    return state, refresh or bool(todo.refresh)


def processes() -> dict[int, tuple[str, float]]:
    """The name and start time, in seconds since the epoch, of each process of this host."""
    found: dict[int, tuple[str, float]] = {}
    if not Path("/proc/stat").exists():
        # Not Linux: without start times, whatever has the number and the name counts as the holder.
        listing = subprocess.run(["ps", "-axo", "pid=,comm="], capture_output=True, text=True, check=True).stdout
        pairs = (line.split(maxsplit=1) for line in listing.splitlines())
        return {int(pid): (Path(command).name, 0.0) for pid, command in pairs}
    boot = next(
        float(line.split()[1])
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()
        if line.startswith("btime")
    )
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                name = text[text.index("(") + 1 : text.rindex(")")]
                fields = text[text.rindex(")") + 2 :].split()
                if fields[0] != "Z":
                    found[int(entry.name)] = (name, boot + int(fields[19]) / tick)
    return found


def _attempt(client: docker.DockerClient, container: Container, what: Literal["start", "restart"]) -> bool:
    try:
        if what == "start":
            client.api.start(container.id)
        else:
            client.api.restart(container.id, timeout=dockerhost.STOP_SECONDS)
    except docker.errors.APIError as error:
        say(f"heal: {container.name} could not be {what}ed ({reason_of(error)}); the engine looks at it")
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run heal`."""
    parser = options.parser("heal", __doc__)
    given = parser.parse_args(arguments)
    engine = open_stack(find(), given.stack, given.stack_file)
    _, refresh = heal(engine, dockerhost.connect(settings(engine.files).docker))
    say("heal: done" + ("; `make up` refreshes the state and goes on" if refresh else ""))
    return 0


if __name__ == "__main__":
    finish(main, "run it again")
