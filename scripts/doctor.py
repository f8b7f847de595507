"""Tells what this host has of what a stack needs. Changes nothing; status 1 where something needed is missing.

What the needs are is components/host.py's to say; this shows them beside what there is.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import docker.errors

from components import host, reach
from components.settings.schema import Images, Settings
from scripts import dockerhost, images, options, stack
from scripts.console import UserError, finish, table
from scripts.paths import Paths, find

Status = Literal["ok", "warn", "FAIL"]
_OLDEST_ENGINE: Final = (20, 10)
_UNNAMED: Final = "images lie in containerd: of containers, metrics name those of the stack, and not Prometheus's own"
_UNLIMITED: Final = (
    "this engine cannot limit memory or processors, so every container may take all there is (`docker info` says why)"
)
_ROOTLESS: Final = (
    "it may publish ports below 1024 only where the host lets ordinary users (net.ipv4.ip_unprivileged_port_start); "
    "apps do not see their clients' addresses (its port driver); files in nexus:storage.data belong to its user's "
    "subordinate ids; with cgroup version 1 there are no metrics of containers"
)
_DESKTOP: Final = (
    "its engine is in a virtual machine: not tried; tunnel device, GPUs, ports and paths are not looked at, and "
    "nexus:storage.data has to be a folder that Desktop shares"
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the table."""

    status: Status
    what: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a stack's images come from, and what of it is within reach."""

    chosen: object
    """The value of `nexus:images`; None where nothing was chosen yet."""
    answers: Mapping[str, bool]
    """Registry host to whether it answers."""
    absent: tuple[str, ...] = ()
    """References of pinned images that the engine does not hold yet."""
    lab: tuple[images.LabImage, ...] | None = None
    """The lab's images where the stack uses the lab."""
    running: tuple[str, ...] = ()
    """Services of the stack that run as stand-ins."""
    development: bool = True
    """Whether the stack is one of development, which alone may run the lab's images."""

    @property
    def will_be_lab(self) -> bool:
        """Whether nothing was chosen yet, and `make up` will take the lab."""
        return self.chosen is None and self.development and not any(self.answers.values())


def about_host(settings: Settings, facts: host.HostFacts) -> Iterator[Finding]:
    """What the host has, with what the settings need of it."""
    problems = host.problems(settings, facts)

    def compared(what: str, key: str, have: str, otherwise: Status = "ok") -> Finding:
        trouble = [problem for problem in problems if problem.startswith(key)]
        return Finding(status="FAIL" if trouble else otherwise, what=what, detail="; ".join(trouble) or have)

    def known(what: str, key: str, have: str | None, otherwise: Status = "ok") -> Finding:
        """A fact that `have` tells; None where it could not be had."""
        return compared(what, key, have or "unknown", otherwise if have else "warn")

    engine = facts.engine
    if engine is None:
        yield compared("Docker Engine", "nexus:docker", f"{settings.docker.host}: its host cannot be looked at")
        if facts.tun is not None:
            yield Finding(
                status="ok" if facts.tun else "FAIL", what="/dev/net/tun", detail="there" if facts.tun else "missing"
            )
        return
    if facts.unseen:
        yield Finding(status="warn", what="host", detail=f"could not be looked at: {facts.unseen}")
    old = _number(engine.version) < _OLDEST_ENGINE
    yield Finding(
        status="warn" if old else "ok",
        what="Docker Engine",
        detail=f"{engine.version} at {settings.docker.host}" + (" (older than 20.10: not tried)" if old else ""),
    )
    yield from _kind(engine)
    yield compared(
        "storage driver",
        "nexus:docker.image-store",
        f"{engine.storage_driver} in {engine.root}" + (f": {_UNNAMED}" if engine.containerd_images else ""),
    )
    yield Finding(
        status="ok" if engine.limits else "warn",
        what="cgroup",
        detail=f"version {engine.cgroup_version}" + ("" if engine.limits else f": {_UNLIMITED}"),
    )
    yield compared("processors", "nexus:jellyfin.cpus", str(engine.cpus))
    gpus = [f"{device.path} (group {device.gid})" for device in facts.dri]
    seen = facts.unseen is None
    mode = f"mode {settings.jellyfin.gpu.mode}; this host has {_or_none(gpus)}"
    yield known("GPU", "nexus:jellyfin.gpu", mode if seen or settings.jellyfin.gpu.mode == "none" else None)
    nvidia = {True: "there", False: "none", None: "unknown"}[facts.nvidia]
    yield Finding(status="ok", what="NVIDIA runtime", detail=nvidia)
    yield known("/dev/net/tun", "nexus:vpn:", "there" if facts.tun else None)
    kernel = {
        True: "in the kernel",
        False: "not in the kernel: the tunnel runs in userspace, which is slower",
        None: "not loaded, and whether it can be is not to be seen; else the tunnel runs in userspace"
        if seen
        else None,
    }[facts.wireguard]
    yield known("WireGuard", "nexus:vpn.type", kernel, "ok" if facts.wireguard else "warn")
    edge = settings.edge
    for key, port in (("http-port", edge.http_port), ("https-port", edge.https_port)):
        free = f"free on {edge.bind_address}, or this stack's own"
        yield known(f"port {port}", f"nexus:edge.{key}", free if seen else None)
    room = None if facts.free_bytes is None else f"{facts.free_bytes / host.GIGABYTE:.1f} GB at {engine.root}"
    yield known("free disk", "nexus:storage.min-free-gb", room)
    data = settings.storage.data
    there = facts.data_is_directory is not None or data is None
    yield known("data", "nexus:storage.data", str(data or "a Docker volume") if there else None)
    pool = f"{settings.networks.pool} is free"
    if not seen or facts.routes_unseen:
        why = "the host has no `ip` command" if seen else "the host was not looked at"
        yield compared(
            "networks", "nexus:networks.pool", f"{pool} of Docker's networks; routes unknown, {why}", "warn"
        )
    else:
        yield compared("networks", "nexus:networks.pool", pool)
    loopback = [str(address) for address in facts.resolvers if address.is_loopback]
    if loopback:
        warning = host.resolver_warning(facts)
        detail = f"on loopback ({', '.join(loopback)})" + (f": {warning}" if warning else "")
        yield Finding(status="warn" if warning else "ok", what="name server", detail=detail)


def about_shell(paths: Paths) -> Iterator[Finding]:
    """What the caller's shell says of engines, which counts for nothing."""
    for name in reach.said(paths.environment):
        yield Finding(
            status="warn",
            what=name,
            detail=f"set in your shell: it counts for nothing here, and plain `pulumi` is refused (`unset {name}`)",
        )


def _kind(engine: host.Engine) -> Iterator[Finding]:
    """What kinds of engine do that an ordinary one does not."""
    if engine.rootless:
        yield Finding(status="warn", what="rootless engine", detail=_ROOTLESS)
    if engine.desktop:
        yield Finding(status="warn", what="Docker Desktop", detail=_DESKTOP)


def about_images(source: Source) -> Iterator[Finding]:
    """Where the images come from, whether that is within reach, and what only stands in for the real thing."""
    chosen = source.chosen if isinstance(source.chosen, dict) else {}
    mirror = chosen.get("mirror")
    pinned = source.chosen is not None and source.lab is None and not mirror and not chosen.get("lock")
    needed = {images.registries({"": ref})[0] for ref in source.absent} if pinned else set()
    for name, answers in sorted(source.answers.items()):
        lacking = name in needed and not answers
        detail = "answers" if answers else "does not answer"
        if lacking:
            refs = [ref.partition("@")[0] for ref in source.absent if images.registries({"": ref})[0] == name]
            detail += f", and these are not here yet: {', '.join(refs)}"
        yield Finding(
            status="FAIL" if lacking else "ok" if answers else "warn", what=f"registry {name}", detail=detail
        )
    if source.lab is not None:
        fakes = images.stand_ins(source.lab)
        yield Finding(
            status="warn", what="images", detail=f"from the lab; {len(fakes)} of {len(source.lab)} stand in"
        )
        for image in source.lab:
            if image.stand_in:
                yield Finding(status="warn", what=f"stand-in {image.key}", detail=f"{image.version}: {image.note}")
    elif mirror:
        yield Finding(status="ok", what="images", detail=f"from the mirror {mirror}")
    elif chosen.get("lock"):
        yield Finding(status="ok", what="images", detail=f"from the lock file {chosen['lock']}")
    elif pinned:
        yield Finding(status="ok", what="images", detail="from the pinned registries")
    else:
        best = "the lab, with stand-ins" if source.will_be_lab else "the pinned registries"
        yield Finding(status="ok", what="images", detail=f"not chosen yet; `make up` will take {best}")
    if source.running:
        yield Finding(status="warn", what="running", detail=f"as stand-ins: {', '.join(source.running)}")


def about_tools(paths: Paths) -> Iterator[Finding]:
    """The toolchain: versions, and where it came from."""
    yield Finding(status="ok", what="Python", detail=f"{platform.python_version()} in {paths.root / '.venv'}")
    folder = Path(paths.environment["NEXUS_TOOLCHAIN"])
    program = folder / "bin" / "pulumi"
    if not program.exists():
        yield Finding(status="FAIL", what="Pulumi CLI", detail=f"not in {folder}; run `scripts/setup`")
        return
    done = subprocess.run(
        [str(program), "version"], env=dict(paths.environment), capture_output=True, text=True, check=False
    )
    origin = " ".join(text for name in ("way", "origin") if (text := _read(folder / name)))
    yield Finding(
        status="FAIL" if done.returncode else "ok",
        what="Pulumi CLI",
        detail=f"{done.stdout.strip() or done.stderr.strip()} ({origin or 'origin unknown'})",
    )
    plugins = Path(paths.environment["PULUMI_HOME"]) / "plugins"
    for name in ("docker", "random"):
        folders = sorted(path for path in plugins.glob(f"resource-{name}-v*") if path.is_dir())
        found = [path.name.removeprefix(f"resource-{name}-") for path in folders]
        yield Finding(
            status="ok" if found else "FAIL",
            what=f"plugin {name}",
            detail=f"{', '.join(found)} ({_read(folder / f'plugin-{name}') or 'origin unknown'})"
            if found
            else "not installed; run `scripts/setup`",
        )


def about_stack(paths: Paths, name: str, file: Path) -> Iterator[Finding]:
    """The stack's own files."""
    yield Finding(status="ok", what="stack file", detail=str(file))
    passphrase = paths.stack(name) / "passphrase"
    salt = stack.read(file).get("encryptionsalt")
    if not passphrase.exists():
        lost = salt is not None and file.parent == paths.stack(name)
        detail = f"{passphrase}: gone, and {file} is encrypted with it" if lost else "not made yet; `make up` does"
        yield Finding(status="FAIL" if lost else "ok", what="passphrase", detail=detail)
    elif isinstance(salt, str) and not stack.opens(passphrase.read_text(encoding="utf-8").strip(), salt):
        yield Finding(status="FAIL", what="passphrase", detail=f"{passphrase}: does not open {file}")
    else:
        yield Finding(status="ok", what="passphrase", detail=str(passphrase))


def source_of(paths: Paths, settings: Settings, name: str, chosen: object) -> Source:
    """Looks at registries and at the engine's images."""
    from components.images import PINS
    from policies.config import is_development

    lock = images.lab_in_use(paths, chosen)
    absent: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    try:
        client = dockerhost.connect(settings.docker)
        running = images.local_stand_ins(client, name)
        if lock is None:
            absent = tuple(ref for ref in PINS.values() if not _holds(client, ref))
    except UserError:
        pass  # said by the line about the engine
    return Source(
        chosen=chosen,
        answers=images.probe(images.registries(PINS)),
        absent=absent,
        lab=images.read_lock(lock) if lock and lock.exists() else None,
        running=running,
        development=is_development(name),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run doctor`."""
    parser = options.parser("doctor", __doc__)
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    given = parser.parse_args(arguments)
    paths = find()
    file = stack.peek(paths, given.stack, given.stack_file)
    settings = stack.settings_of(file, given.stack)
    chosen = stack.values_of(file).get(images.KEY)
    source = source_of(paths, settings, given.stack, chosen)
    if source.will_be_lab:
        settings = settings.model_copy(update={"images": Images(lock=str(paths.lab_lock))})
    findings = [
        *about_stack(paths, given.stack, file),
        *about_shell(paths),
        *about_host(settings, host.gather(settings, given.stack)),
        *about_tools(paths),
        *about_images(source),
    ]
    print(json.dumps([asdict(finding) for finding in findings], indent=1) if given.json else show(findings))
    return 1 if any(finding.status == "FAIL" for finding in findings) else 0


def show(findings: Iterable[Finding]) -> str:
    """The findings as a table, with a closing line."""
    findings = list(findings)
    failed = sum(finding.status == "FAIL" for finding in findings)
    rows = [[finding.status, finding.what, finding.detail] for finding in findings]
    well = "nothing is missing on this host; `make preview` says what the settings and secrets lack"
    return f"{table(rows)}\n{f'{failed} to be put right' if failed else well}"


def _holds(client: docker.DockerClient, ref: str) -> bool:
    try:
        client.images.get(ref)
    except docker.errors.ImageNotFound:
        return False
    return True


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split("-")[0].split(".")[:2] if part.isdigit())


def _or_none(items: Sequence[str]) -> str:
    return ", ".join(items) or "none"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    finish(main, "nothing was changed")
