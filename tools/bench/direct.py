"""The same containers, networks and volumes as a stack has, made and removed straight through the Docker API.

What there is and what waits for what is read from the stack's state, how each container is configured from
`docker inspect` of the stack's own. Waits are those of the provider: until healthy, asked once a second; until a
one-shot container has ended. What does not belong here: clocks, and cleaning up after a failure (deploy.py).
"""

from __future__ import annotations

import graphlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, Literal, assert_never

import docker
import docker.errors
import docker.types

from scripts.console import Interrupted, UserError
from scripts.dockerhost import reason_of
from scripts.engine import CONTAINER, NETWORK, VOLUME
from scripts.wire import Json, Table, resources, revealed, table, tables, texts

Kind = Literal["volume", "network", "container"]
_KINDS: Final[Mapping[str, Kind]] = {VOLUME: "volume", NETWORK: "network", CONTAINER: "container"}

_POLL: Final = 1.0
"""Seconds between two questions for health (terraform-provider-docker, resourceDockerContainerCreate)."""
_ONE_SHOT: Final = 120
"""Seconds that a one-shot container may take."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file put into a container before its start."""

    path: str
    content: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One thing that the Docker Engine is asked for. Seconds are the provider's for the same container."""

    urn: str
    kind: Kind
    name: str
    after: frozenset[str] = frozenset()
    """The URNs of the pieces that must be there first."""
    keep: bool = False
    """It is protected, so it stays when the stack is destroyed."""
    files: tuple[File, ...] = ()
    start: bool = True
    one_shot: bool = False
    wait_seconds: int = 0
    """How long its health is waited for; 0: not at all."""
    grace_seconds: int = 0


def pieces(export: Mapping[str, Json]) -> tuple[Piece, ...]:
    """The volumes, networks and containers of `pulumi stack export --show-secrets`, in an order that works."""
    items = {str(item["urn"]): item for item in resources(export)}
    after = {
        urn: contracted(urn, lambda one: texts(items[one].get("dependencies")) if one in items else (), _ours(items))
        for urn in items
    }
    return tuple(_piece(urn, item, after[urn]) for urn, item in items.items() if urn in _ours(items))


def contracted(start: str, next_of: Callable[[str], Collection[str]], kept: Collection[str]) -> frozenset[str]:
    """The nodes of `kept` that are reached from `start` over nodes that are not."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = list(next_of(start))
    while todo:
        node = todo.pop()
        if node in kept:
            found.add(node)
        elif node not in seen:
            seen.add(node)
            todo += next_of(node)
    return frozenset(found)


def container_body(details: Table, names: Mapping[str, str]) -> Table:
    """What to post to /containers/create for another container like an inspected one.

    `names` has the name of each container by its id: a shared network namespace is then found again by name.
    """
    config, host = dict(table(details.get("Config"))), dict(table(details.get("HostConfig")))
    mode, _, target = str(host.get("NetworkMode", "")).partition(":")
    # The engine gives a container its short id as host name, and a rider that of the container it rides on.
    if mode == "container" or re.fullmatch(r"[0-9a-f]{12}", str(config.get("Hostname", ""))):
        config.pop("Hostname", None)
    if mode == "container":
        host["NetworkMode"] = f"container:{names.get(target, target)}"
    body: Table = {**config, "HostConfig": host}
    if first := next(iter(endpoints(details).items()), None):
        # One call to make it where it belongs; the provider makes it on the default bridge and moves it.
        name, endpoint = first
        host["NetworkMode"] = name
        body["NetworkingConfig"] = {"EndpointsConfig": {name: endpoint}}
    return body


def endpoints(details: Table) -> dict[str, Table]:
    """The networks of an inspected container by name, with its aliases and fixed addresses there."""
    mode = str(table(details.get("HostConfig")).get("NetworkMode", ""))
    if mode in ("none", "host") or mode.startswith("container:"):
        return {}
    identity = str(details.get("Id", ""))
    networks = table(table(details.get("NetworkSettings")).get("Networks"))
    found: dict[str, Table] = {}
    for name, given in sorted(networks.items()):
        # Engines before 25 list the short id as an alias.
        aliases = [alias for alias in texts(table(given).get("Aliases")) if not identity.startswith(alias)]
        found[name] = {"Aliases": [*aliases], "IPAMConfig": table(table(given).get("IPAMConfig"))}
    return found


def archive(files: Sequence[File], now: float) -> bytes:
    """A tar archive of the files, to be unpacked at /."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            content = file.content.encode()
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mtime = len(content), now
            entry.mode, entry.uid, entry.gid = file.mode, file.uid, file.gid
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def in_order(
    after: Mapping[str, Collection[str]], work: Callable[[str], None], workers: int, stop: threading.Event
) -> None:
    """Calls `work` for each key, once all that it comes after is done, at most `workers` at a time.

    The first failure, or Ctrl-C, sets `stop`, waits for what runs, and is raised again.
    """
    sorter = graphlib.TopologicalSorter(after)
    sorter.prepare()
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while sorter.is_active():
                running |= {pool.submit(work, one): one for one in sorter.get_ready()}
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    sorter.done(running.pop(future))
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Direct:
    """The pieces of one stack on one Docker Engine. Made while the stack is up; used once it is gone."""

    def __init__(self, client: docker.DockerClient, parts: Sequence[Piece], workers: int) -> None:
        self._api = client.api
        self._parts = {part.urn: part for part in parts}
        self._workers = workers
        self._stop = threading.Event()
        # By URN: a volume and a network may have one name.
        self._details: dict[str, Table] = {part.urn: self._inspect(part) for part in parts}
        self._names = {str(self._details[part.urn]["Id"]): part.name for part in parts if part.kind == "container"}

    def make(self) -> None:
        """Makes everything; it returns when all is healthy. Raises UserError for what does not get there."""
        after = {urn: part.after for urn, part in self._parts.items()}
        in_order(after, lambda urn: self._answered(self._make, self._parts[urn]), self._workers, self._stop)

    def remove(self) -> None:
        """Removes everything but what is to be kept, what came last first."""
        before: dict[str, set[str]] = {urn: set() for urn in self._parts}
        for urn, part in self._parts.items():
            for other in part.after:
                before[other].add(urn)
        in_order(before, lambda urn: self._answered(self._remove, self._parts[urn]), self._workers, self._stop)

    def _answered(self, act: Callable[[Piece], None], part: Piece) -> None:
        try:
            act(part)
        except docker.errors.APIError as error:
            raise UserError(f"{part.kind} {part.name}: the Docker API refused: {reason_of(error)}") from error

    def _inspect(self, part: Piece) -> Table:
        found: Table
        match part.kind:
            case "volume":
                found = self._api.inspect_volume(part.name)
            case "network":
                found = self._api.inspect_network(part.name)
            case "container":
                found = self._api.inspect_container(part.name)
            case unknown:
                assert_never(unknown)
        return found

    def _make(self, part: Piece) -> None:
        details = self._details[part.urn]
        match part.kind:
            case "volume":
                self._api.create_volume(
                    part.name, str(details["Driver"]), table(details["Options"]), table(details["Labels"])
                )
            case "network":
                ipam = table(details["IPAM"])
                self._api.create_network(
                    part.name,
                    driver=str(details["Driver"]),
                    options=table(details["Options"]),
                    ipam=docker.types.IPAMConfig(
                        driver=str(ipam["Driver"]),
                        pool_configs=[
                            docker.types.IPAMPool(subnet=str(pool["Subnet"]), gateway=str(pool["Gateway"]))
                            for pool in tables(ipam["Config"])
                        ],
                    ),
                    internal=details["Internal"] is True,
                    labels=table(details["Labels"]),
                    enable_ipv6=details["EnableIPv6"] is True,
                )
            case "container":
                self._make_container(part, details)
            case unknown:
                assert_never(unknown)

    def _make_container(self, part: Piece, details: Table) -> None:
        body = container_body(details, self._names)
        made: str = self._api.create_container_from_config(body, part.name)["Id"]  # type: ignore[no-untyped-call]
        for name, endpoint in [*endpoints(details).items()][1:]:
            addresses = table(endpoint["IPAMConfig"])
            self._api.connect_container_to_network(
                made,
                name,
                aliases=endpoint["Aliases"],
                ipv4_address=addresses.get("IPv4Address"),
                ipv6_address=addresses.get("IPv6Address"),
            )
        if part.files:
            self._api.put_archive(made, "/", archive(part.files, time.time()))
        if part.start:
            self._api.start(made)
        if part.one_shot and (status := self._api.wait(made, timeout=_ONE_SHOT)["StatusCode"]):
            raise UserError(f"{part.name}, made through the API, ended with status {status}")
        if part.wait_seconds:
            self._until_healthy(part, made)

    def _until_healthy(self, part: Piece, made: str) -> None:
        end = time.monotonic() + part.wait_seconds
        while (health := self._api.inspect_container(made)["State"]["Health"]["Status"]) != "healthy":
            if time.monotonic() >= end:
                raise UserError(f"{part.name}, made through the API, is {health} after {part.wait_seconds} s")
            if self._stop.wait(_POLL):
                raise Interrupted

    def _remove(self, part: Piece) -> None:
        match part.kind:
            case "container":
                if not part.one_shot:
                    self._api.stop(part.name, timeout=part.grace_seconds)
                self._api.remove_container(part.name, v=True, force=True)
            case "network":
                self._api.remove_network(part.name)
            case "volume":
                if not part.keep:
                    self._api.remove_volume(part.name, force=True)
            case unknown:
                assert_never(unknown)


def _ours(items: Mapping[str, Table]) -> frozenset[str]:
    return frozenset(urn for urn, item in items.items() if item.get("type") in _KINDS)


def _piece(urn: str, item: Table, after: frozenset[str]) -> Piece:
    inputs = table(revealed(item.get("inputs")))
    name, kind = str(inputs["name"]), _KINDS[str(item["type"])]
    if kind != "container":
        return Piece(urn=urn, name=name, kind=kind, after=after, keep=item.get("protect") is True)
    return Piece(
        urn=urn,
        name=name,
        kind=kind,
        after=after,
        files=tuple(_file(upload) for upload in tables(inputs.get("uploads"))),
        start=inputs.get("start") is not False,
        one_shot=inputs.get("attach") is True,
        wait_seconds=_number(inputs, "waitTimeout", 60) if inputs.get("wait") is True else 0,
        grace_seconds=_number(inputs, "destroyGraceSeconds", 0),
    )


def _file(upload: Table) -> File:
    return File(
        path=str(upload["file"]),
        content=str(upload["content"]),
        mode=int(str(upload.get("permissions") or "0644"), 8),
        uid=_number(upload, "owner", 0),
        gid=_number(upload, "group", 0),
    )


def _number(inputs: Table, key: str, absent: int) -> int:
    value = inputs.get(key)
    return absent if value is None or value == "" else int(str(value))
