"""One-shot containers that look at a running one from inside its namespaces.

They run the stack's own qBittorrent image, the one that has a Python, with no capability but those asked for, and
carry no label of the stack, so that neither the program nor the tests take them for a part of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import docker
import docker.errors
import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from tests.integration.stacks import Stack, wait_for

LABEL: Final = "nexus.test"
PROBE_LIMIT: Final = 60.0


def image_of(stack: Stack) -> str:
    """The image that probes run: id of the stack's qBittorrent image."""
    image: str = stack.container("qbittorrent").attrs["Image"]
    return image


def probe(
    stack: Stack,
    target: Container,
    program: str,
    argument: object = None,
    *,
    processes: bool = False,
    capabilities: Sequence[str] = (),
    limit: float = PROBE_LIMIT,
) -> object:
    """Runs a Python program in the network namespace of `target`, or in its process namespace, and returns the JSON
    value that it prints. `argument` reaches it as JSON in sys.argv[1]. Root only where it is given capabilities."""
    container = launch(
        stack,
        program,
        argument,
        capabilities=capabilities,
        network_mode="none" if processes else f"container:{target.id}",
        pid_mode=f"container:{target.id}" if processes else None,
    )
    with container_removed(container):
        return finish(container, limit)


def launch(
    stack: Stack,
    program: str,
    argument: object = None,
    *,
    capabilities: Sequence[str] = (),
    network_mode: str | None = None,
    network: str | None = None,
    pid_mode: str | None = None,
    volumes: Mapping[str, Mapping[str, str]] | None = None,
    user: str | None = None,
) -> Container:
    """Starts a Python program in a container of its own and does not wait for it."""
    container: Container = stack.client.containers.create(
        image_of(stack),
        entrypoint=["python3", "-c", program],
        command=[json.dumps(argument)],
        user=user or ("0:0" if capabilities else "65534:65534"),
        cap_drop=["ALL"],
        cap_add=list(capabilities),
        security_opt=["no-new-privileges"],
        read_only=True,
        labels={LABEL: stack.name},
        volumes={name: dict(how) for name, how in (volumes or {}).items()},
        network_mode=network_mode,
        network=network,
        pid_mode=pid_mode,
    )
    try:
        container.start()
    except docker.errors.APIError:
        container.remove(force=True, v=True)
        raise
    return container


@contextmanager
def container_removed(container: Container) -> Iterator[Container]:
    """Removes a container at the end, whatever happens."""
    try:
        yield container
    finally:
        with suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)


def finish(container: Container, limit: float = PROBE_LIMIT) -> object:
    """Waits for a program and returns the JSON value of its last line of output."""
    deadline = time.monotonic() + limit
    while container.status != "exited":
        if time.monotonic() > deadline:
            pytest.fail(f"a probe did not end within {limit:.0f} s: {container.logs(tail=50).decode()}")
        time.sleep(0.1)
        container.reload()
    status = container.attrs["State"]["ExitCode"]
    output = container.logs(stdout=True, stderr=False).decode()
    complaint = container.logs(stdout=False, stderr=True).decode()
    assert status == 0, f"a probe ended with status {status}: {complaint}"
    value: object = json.loads(output.strip().splitlines()[-1])
    return value


FETCH: Final = """
import json, sys, urllib.error, urllib.request
answers = []
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for item in json.loads(sys.argv[1]):
    body = item["body"].encode() if item["body"] else None
    request = urllib.request.Request(item["url"], body, item["headers"], method=item["method"])
    try:
        with opener.open(request, timeout=10) as answer:
            answers.append([answer.status, answer.read().decode(errors="replace")])
    except urllib.error.HTTPError as error:
        answers.append([error.code, error.read().decode(errors="replace")])
print(json.dumps(answers))
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: str

    def json(self) -> object:
        """The body as JSON."""
        value: object = json.loads(self.body)
        return value


def fetch(
    stack: Stack,
    target: Container,
    *urls: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str = "",
) -> list[Answer]:
    """Asks URLs from inside a container's network namespace."""
    items = [{"url": url, "method": method, "headers": dict(headers or {}), "body": body} for url in urls]
    answers = probe(stack, target, FETCH, items)
    assert isinstance(answers, list)
    return [Answer(status=status, body=body) for status, body in answers]


_OUTSIDE: Final = """
import json, socket, sys, threading

# With one address of several, what it answers comes from there.
ADDRESS, PORT = json.loads(sys.argv[1])

def note(protocol, source, data):
    print(json.dumps([protocol, source, data.decode(errors="replace")]), flush=True)

def serve(connection, source):
    with connection:
        connection.settimeout(10)
        data = b""
        try:
            while b"\\n" not in data and len(data) < 65536:
                part = connection.recv(4096)
                if not part:
                    break
                data += part
            note("tcp", source, data)
            # An answer that a BitTorrent client takes from a tracker, and that every other caller ignores.
            connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\nd8:intervali60e5:peers0:e")
        except OSError:
            note("tcp", source, data)

def datagrams():
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((ADDRESS, PORT))
    print("ready", flush=True)
    while True:
        data, (source, port) = listener.recvfrom(65536)
        note("udp", source, data)
        # An answer makes a flow an established one for the firewalls between.
        listener.sendto(b"heard", (source, port))

listener = socket.create_server((ADDRESS, PORT), backlog=64)
threading.Thread(target=datagrams, daemon=True).start()
while True:
    connection, (source, _) = listener.accept()
    threading.Thread(target=serve, args=(connection, source), daemon=True).start()
"""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A server that the stack knows nothing of: it stands for the internet."""

    container: Container
    address: str
    port: int

    def seen(self) -> list[tuple[str, str, str]]:
        """Everything that has arrived: protocol, source address, first line."""
        lines = self.container.logs(stdout=True, stderr=False).decode().splitlines()
        return [(item[0], item[1], item[2]) for item in (json.loads(line) for line in lines if line != "ready")]

    def sources(self, token: str) -> set[str]:
        """The source addresses of what has arrived with `token` in its first line."""
        return {source for _, source, text in self.seen() if token in text}


@dataclass(frozen=True, kw_only=True)
class Outside(Listener):
    """A listener on a Docker network of its own."""

    network: Network


@contextmanager
def listening(
    stack: Stack,
    port: int,
    address: str = "0.0.0.0",
    *,
    network: str | None = None,
    network_mode: str | None = None,
) -> Iterator[Container]:
    """The container of a listener that answers, for as long as it is needed."""
    started = launch(stack, _OUTSIDE, [address, port], network=network, network_mode=network_mode)
    with container_removed(started) as container:
        wait_for(lambda: b"ready" in container.logs() or None, 30, "the outside listener")
        container.reload()
        yield container


@contextmanager
def outside(stack: Stack, port: int = 7070) -> Iterator[Outside]:
    """An `Outside` for as long as it is needed."""
    name = stack.physical("outside")
    network = stack.client.networks.create(name, driver="bridge", labels={LABEL: stack.name})
    try:
        with listening(stack, port, network=name) as container:
            address: str = container.attrs["NetworkSettings"]["Networks"][name]["IPAddress"]
            yield Outside(network=network, container=container, address=address, port=port)
    finally:
        network.remove()


def sweep(client: docker.DockerClient, stack: str) -> None:
    """Removes what a killed test run left of its probes."""
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={stack}"}, ignore_removed=True):
        with suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": f"{LABEL}={stack}"}):
        network.reload()
        for attached in network.containers:
            network.disconnect(attached, force=True)
        network.remove()
