"""The stacks of the integration tests: users' own commands on files, state, ports and addresses of their own.

What does not belong here: looking into containers (probes.py), and what is true of a healthy stack (the tests).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import docker
import docker.errors
import pytest
import yaml
from docker.models.containers import Container
from docker.models.volumes import Volume

from components.names import LABEL_ROLE, LABEL_SERVICE, LABEL_STACK
from components.settings.schema import Docker
from components.stackfile import PROJECT

ROOT: Final = Path(__file__).resolve().parents[2]
DOCKER_HOST: Final = os.environ.get("NEXUS_TEST_ENGINE") or Docker().host
"""The engine of the tests. DOCKER_HOST and the like count for nothing here either."""
UP_LIMIT: Final = 600.0
"""Seconds for one `up` of a whole stack: far more than it takes, so that a hang is a failure and not a stuck run."""
FIRST_UP_LIMIT: Final = 3600.0
"""The first one may have to pull, or to build, every image."""
COMMAND_LIMIT: Final = 180.0

Answer = TypeVar("Answer")


class Command:
    """A command in a process group of its own, its output shown as it comes and kept."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: Path = ROOT) -> None:
        self.words = tuple(words)
        self._lines: list[str] = []
        print(f"$ {' '.join(words)}", flush=True)
        self.process = subprocess.Popen(
            self.words,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.began = time.monotonic()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._lines.append(line)
                print(line, end="", flush=True)

    @property
    def output(self) -> str:
        """Everything it has printed so far, stdout and stderr together."""
        return "".join(self._lines)

    @property
    def running(self) -> bool:
        """Whether the command itself is still there."""
        return self.process.poll() is None

    def wait(self, limit: float) -> int:
        """Its exit status. Fails the test where it takes longer than `limit` seconds, and ends it then."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.end()
            words = " ".join(self.words)
            pytest.fail(f"{words} did not end within {limit:.0f} s; it printed:\n{self.output[-4000:]}")
        self._reader.join(10)
        self.seconds = time.monotonic() - self.began
        return status

    def interrupt(self) -> None:
        """Ctrl-C at a terminal: SIGINT to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def descendants(self, name: str) -> list[int]:
        """The processes under this one with that name."""
        table: dict[int, tuple[int, str]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    text = (entry / "stat").read_text(errors="replace")
                    parent = int(text[text.rindex(")") + 2 :].split()[1])
                    table[int(entry.name)] = (parent, text[text.index("(") + 1 : text.rindex(")")])
        found: list[int] = []
        for pid, (parent, comm) in table.items():
            while parent in table and parent != self.process.pid:
                parent = table[parent][0]
            if parent == self.process.pid and comm == name:
                found.append(pid)
        return found

    def end(self) -> None:
        """Ends it for good, with what it started in its own process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One stack of the tests. Nothing of it is shared with what the user runs but the toolchain and the images.

    Its name ends in `-dev`, by which policies/config.yaml takes it for a stack of development: no other may run the
    lab's images, and that file names no stack of the tests. A new one also takes ports and a pool that no other has.
    """

    name: str
    directory: Path
    """Holds the stack file and the state; a temporary directory of the test run."""
    client: docker.DockerClient
    http_port: int
    https_port: int
    pool: str
    more: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the stack file."""

    @property
    def domain(self) -> str:
        edge = self.more.get("nexus:edge")
        return str(edge["domain"]) if isinstance(edge, Mapping) else f"{self.name}.localhost"

    @property
    def file(self) -> Path:
        return self.directory / f"stack-{self.name}.yaml"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def write(self, changes: Mapping[str, object] | None = None) -> None:
        """Writes the stack file, with `changes` to its keys."""
        config: dict[str, object] = {
            "nexus:docker": {"host": DOCKER_HOST},
            "nexus:edge": {"domain": self.domain, "http-port": self.http_port, "https-port": self.https_port},
            "nexus:jellyfin": {"transcode-mb": 64},
            "nexus:networks": {"pool": self.pool},
            "nexus:storage": {"min-free-gb": 1},
            "nexus:vpn": {"type": "embedded"},
            **self.more,
            **(changes or {}),
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump({"config": config}), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """The user's environment, but this test run's state; the cache stays the user's, since it is only a cache."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if key == "NEXUS_CACHE" or not (key == "STACK" or key.startswith(("NEXUS_", "PULUMI_")))
        }
        return {**kept, "NEXUS_STATE": str(self.state), "NO_COLOR": "1"}

    def start(self, command: str, *arguments: str) -> Command:
        """Starts `scripts/run COMMAND` on this stack."""
        return Command(["scripts/run", command, "--stack", self.name, *arguments], self.environment)

    def run(self, command: str, *arguments: str, limit: float = COMMAND_LIMIT) -> Command:
        """Runs `scripts/run COMMAND` on this stack to its end, whatever that is."""
        started = self.start(command, *arguments)
        started.wait(limit)
        return started

    def up(self) -> Command:
        """`scripts/run up` with this stack's file; fails the test where that fails."""
        return succeeded(self.run("up", "--stack-file", str(self.file), limit=UP_LIMIT))

    def destroy(self) -> Command:
        """`scripts/run destroy`; fails the test where that fails."""
        return succeeded(self.run("destroy", limit=UP_LIMIT))

    def pulumi(self, *arguments: str, limit: float = COMMAND_LIMIT) -> Command:
        """Runs `scripts/pulumi` on this stack to its end."""
        command = Command(["scripts/pulumi", "-s", self.name, *arguments], self.environment)
        command.wait(limit)
        return command

    def read(self, *arguments: str) -> str:
        """stdout of `scripts/pulumi`, quietly: what it prints may hold every secret of the stack."""
        done = subprocess.run(
            ["scripts/pulumi", "-s", self.name, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT,
            check=False,
        )
        assert done.returncode == 0, f"scripts/pulumi {' '.join(arguments)} failed: {done.stderr}"
        return done.stdout

    def output(self, name: str) -> str:
        """A stack output that is text, in clear."""
        value: object = json.loads(self.read("stack", "output", name, "--show-secrets", "--json"))
        assert isinstance(value, str), f"the output {name} is not text"
        return value

    def export(self, *, show_secrets: bool = False) -> dict[str, object]:
        """The deployment of the exported state."""
        tree = json.loads(self.read("stack", "export", *(["--show-secrets"] if show_secrets else [])))
        deployment: dict[str, object] = tree["deployment"]
        return deployment

    def urn(self, name: str, kind: str) -> str:
        """The URN of the resource with that logical name and type, such as Container."""
        resources = self.export()["resources"]
        assert isinstance(resources, list)
        urns = [str(item["urn"]) for item in resources]
        found = [urn for urn in urns if urn.endswith(f":{kind}::{name}")]
        assert len(found) == 1, f"{kind} {name}: {found or urns}"
        return found[0]

    def containers(self, role: str = "service") -> list[Container]:
        """The stack's containers of one role, whatever their state, by service name."""
        labels = [f"{LABEL_STACK}={self.name}", f"{LABEL_ROLE}={role}"]
        found: list[Container] = self.client.containers.list(
            all=True,
            filters={"label": labels},
            ignore_removed=True,  # one may go between being listed and looked at
        )
        return sorted(found, key=service_of)

    def container(self, service: str) -> Container:
        """The container of one service."""
        found = [item for item in self.containers() if service_of(item) == service]
        assert len(found) == 1, f"stack {self.name} has {len(found)} containers of service {service}"
        return found[0]

    def remade(self, command: Command, service: str, before: str) -> str:
        """Waits while `command` runs for a container of the service that is not `before`; its id."""

        def other() -> str | None:
            assert command.running, f"it ended too early:\n{command.output[-3000:]}"
            named = self.client.containers.list(filters={"name": self.physical(service) + "$"})
            return next((str(item.id) for item in named if item.id != before), None)

        return wait_for(other, 120, f"the new container of {service}")

    def physical(self, name: str) -> str:
        """The name on the Docker host."""
        return f"{PROJECT}-{self.name}-{name}"

    def leftovers(self, *, volumes: bool = True) -> list[str]:
        """What the Docker Engine has of this stack: every container, network and, if asked for, volume."""
        prefix = self.physical("")
        containers = [
            *self.client.containers.list(all=True, filters={"label": f"{LABEL_STACK}={self.name}"}),
            *self.client.containers.list(all=True, filters={"name": f"^/?{prefix}"}),
        ]
        found = {f"container {item.name}" for item in containers}
        found |= {f"network {item.name}" for item in self.client.networks.list(names=[prefix])}
        if volumes:
            found |= {f"volume {item.name}" for item in self.volumes()}
        return sorted(found)

    def volumes(self) -> list[Volume]:
        """The stack's volumes. They carry no labels, so by name."""
        return [item for item in self.client.volumes.list() if (item.name or "").startswith(self.physical(""))]

    def sweep(self) -> None:
        """Removes whatever the Docker Engine has of this stack, data included: it is the tests' own."""
        for container in self.client.containers.list(all=True, filters={"label": f"{LABEL_STACK}={self.name}"}):
            with suppress(docker.errors.NotFound):
                container.remove(force=True, v=True)
        for network in self.client.networks.list(filters={"label": f"{LABEL_STACK}={self.name}"}):
            with suppress(docker.errors.NotFound):
                network.remove()
        for volume in self.volumes():
            with suppress(docker.errors.NotFound):
                volume.remove(force=True)


def new_stack(client: docker.DockerClient, directory: Path, name: str, *, ports: int, pool: str) -> Stack:
    """A stack of the tests on the first free ports from `ports` + 80 and `ports` + 443 on; nothing of it is made."""
    return Stack(
        name=name,
        directory=directory,
        client=client,
        http_port=free_port(ports + 80),
        https_port=free_port(ports + 443),
        pool=pool,
    )


def free_port(first: int) -> int:
    """The first TCP port from `first` on that nothing on this machine's loopback holds."""
    for port in range(first, first + 100):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail(f"no free port from {first} to {first + 99}")


def succeeded(command: Command) -> Command:
    """The command, if it ended with status 0; else the test fails with the end of its output."""
    status = command.process.returncode
    assert status == 0, f"{' '.join(command.words)} ended with status {status}:\n{command.output[-6000:]}"
    return command


def service_of(container: Container) -> str:
    """The service a container belongs to."""
    return container.labels[LABEL_SERVICE]


def health_of(container: Container) -> str:
    """healthy, unhealthy or starting where it runs; else its status."""
    container.reload()
    state = container.attrs["State"]
    status: str = state.get("Health", {}).get("Status", "without a health check")
    return status if state["Status"] == "running" else str(state["Status"])


def not_healthy(containers: Iterable[Container]) -> list[str]:
    """The containers that are not running and healthy, with what they are instead."""
    states = {service_of(item): health_of(item) for item in containers}
    return [f"{name} is {state}" for name, state in states.items() if state != "healthy"]


def wait_for(ask: Callable[[], Answer | None], limit: float, what: str) -> Answer:
    """Asks until there is an answer that is neither None nor False; fails the test after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"waited {limit:.0f} s for {what}")
        time.sleep(0.5)
