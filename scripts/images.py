"""Where a stack's images come from: the pinned registries, a mirror, or the lab. Chosen once and remembered.

The choice lies in this user's stack file (`nexus:images`), so a registry that is down one day does not turn real
images into stand-ins. What does not belong here: which images there are (components/images.py), and making them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import docker
import docker.errors

from components import reach
from components.names import LABEL_ROLE, LABEL_SERVICE, LABEL_STACK
from scripts import options, process, stack
from scripts.console import UserError, finish, say
from scripts.dockerhost import SERVICE, connect
from scripts.engine import Engine, open_stack
from scripts.paths import Paths, find

KEY: Final = "nexus:images"
CHOICES: Final = ("auto", "registry", "lab")
Choice = Literal["auto", "registry", "lab"]
_TIMEOUT: Final = 3.0
"""Seconds a registry has to answer."""
_LABEL: Final = "org.nexus-media.lab"


@dataclass(frozen=True, kw_only=True)
class LabImage:
    """One image of the lab's lock file."""

    key: str
    ref: str
    stand_in: bool
    version: str
    note: str


def registries(pins: Mapping[str, str]) -> tuple[str, ...]:
    """The registries of image references, by the host that answers for each."""
    hosts = {ref.partition("/")[0] for ref in pins.values()}
    return tuple(sorted("registry-1.docker.io" if host == "docker.io" else host for host in hosts))


def reachable(host: str) -> bool:
    """Whether a registry answers at `host`, with or without asking for a sign-in, within 3 s."""
    try:
        with urllib.request.urlopen(f"https://{host}/v2/", timeout=_TIMEOUT) as answer:
            return bool(answer.status == http.client.OK)
    except urllib.error.HTTPError as error:
        return error.code == http.client.UNAUTHORIZED
    except (OSError, http.client.HTTPException, ssl.SSLError):
        return False


def probe(hosts: Iterable[str]) -> dict[str, bool]:
    """Which registries answer; all are asked at once."""
    answers = dict.fromkeys(hosts, False)
    # Daemon threads: looking up a name can take longer than any timeout of ours, and cannot be stopped.
    threads = [
        threading.Thread(target=lambda host=host: answers.update({host: reachable(host)}), daemon=True)
        for host in answers
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 2 * _TIMEOUT
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(answers)


def read_lock(path: Path) -> tuple[LabImage, ...]:
    """The images of the lab's lock file that the program uses. Raises UserError where it is not one."""
    from components.images import PINS

    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `lab/images/build`, which writes it") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, dict):
        raise UserError(f"{path}: key images: is missing; run `lab/images/build`, which writes the file anew")
    return tuple(
        LabImage(
            key=str(key),
            ref=str(entry.get("ref", "")),
            stand_in=entry.get("kind") == "stand-in",
            version=str(entry.get("version", "")),
            note=str(entry.get("note", "")),
        )
        for key, entry in sorted(images.items())
        if isinstance(entry, dict) and key in PINS
    )


def stand_ins(images: Iterable[LabImage]) -> tuple[str, ...]:
    """The keys of the images that only stand in for the real thing."""
    return tuple(image.key for image in images if image.stand_in)


def lab_in_use(paths: Paths, chosen: object) -> Path | None:
    """The lock file of a stack that uses the lab, else None. `chosen` is the value of `nexus:images`."""
    lock = chosen.get("lock") if isinstance(chosen, dict) else None
    return paths.lab_lock if isinstance(lock, str) and Path(lock) == paths.lab_lock else None


def choose(engine: Engine, choice: Choice) -> None:
    """Settles the image source of a stack and writes it into this user's stack file.

    Raises UserError where the stack file is the team's own and would have to be changed.
    """
    from components.images import PINS
    from policies.config import is_development

    files, paths = engine.files, engine.paths
    chosen = stack.values(files).get(KEY)
    if choice == "auto" and chosen is not None:
        return
    if choice == "registry":
        _remember(files, {}, chosen)
        return
    if choice == "auto":
        answers = probe(registries(PINS))
        if any(answers.values()):
            if deaf := [host for host, answer in answers.items() if not answer]:
                say(f"images: no answer from {', '.join(deaf)}; what lies there cannot be pulled")
            say("images: from the pinned registries")
            _remember(files, {}, chosen)
            return
        silent = f"images: no image registry can be reached ({', '.join(answers)})"
        if not is_development(files.stack):
            say(f"{silent}; `up` will need them, because only stacks of development may run the lab's images")
            return
        say(f"{silent}: using the lab's images, built here")
    _remember(files, {"lock": str(paths.lab_lock)}, chosen)


def ensure(engine: Engine, client: docker.DockerClient, host: str) -> None:
    """Sees to it that the lab's images are present, where the stack uses the lab; `host` is that of its engine.

    On this machine they are of today's making, too. Elsewhere none is built, and what the engine holds is enough.
    """
    lock = lab_in_use(engine.paths, stack.values(engine.files).get(KEY))
    if lock is None:
        return
    advice = "run `lab/images/build` by itself to see more"
    if reach.is_ssh(host):
        advice = f"run `lab/images/build` on that host, and copy its lock file to {lock}"
        if not lock.exists():
            raise UserError(f"{lock}: the lab's images are not built over ssh; {advice}")
    else:
        build(engine.paths, host)
    if lacking := missing(client, read_lock(lock)):
        raise UserError(f"{lock}: the Docker Engine at {host} does not hold {', '.join(lacking)}; {advice}")
    say(f"images: from the lab; stand-ins: {', '.join(stand_ins(read_lock(lock))) or 'none'}")


def missing(client: docker.DockerClient, images: Iterable[LabImage]) -> tuple[str, ...]:
    """The keys of the images that the Docker Engine does not hold."""

    def absent(image: LabImage) -> bool:
        try:
            client.images.get(image.ref)
        except docker.errors.ImageNotFound:
            return True
        return False

    return tuple(image.key for image in images if absent(image))


def build(paths: Paths, host: str) -> None:
    """Builds what is lacking of the lab's images, showing its progress. Raises UserError where that fails."""
    script = paths.root / "lab" / "images" / "build"
    status = process.stream(
        [str(script), "--host", host], cwd=paths.root, environment=paths.environment, whole_group=True
    )
    if status:
        raise UserError(f"{script} failed (status {status}, see above); run it again to go on from there")


def local_stand_ins(client: docker.DockerClient, stack_name: str) -> tuple[str, ...]:
    """The services of a stack whose containers are made from stand-ins."""
    found: set[str] = set()
    for entry in client.api.containers(all=True, filters={"label": f"{LABEL_STACK}={stack_name}"}):
        labels = entry.get("Labels") or {}
        # A container's labels include its image's.
        if labels.get(f"{_LABEL}.kind") == "stand-in" and labels.get(LABEL_ROLE) == SERVICE:
            found.add(str(labels.get(LABEL_SERVICE, entry["Id"])))
    return tuple(sorted(found))


def _remember(files: stack.StackFiles, value: dict[str, str], before: object) -> None:
    if value == before:
        return
    if files.shared:
        # An absent key means the pinned registries too, and then there is nothing to write.
        if not value and before is None:
            return
        raise UserError(
            f"{files.config}: is your team's stack file and is not changed by itself; set {KEY} there (now "
            f"{json.dumps(before)}, wanted {json.dumps(value)})"
        )
    stack.set_value(files, KEY, value)


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run images`."""
    parser = options.parser("images", __doc__)
    add_option(parser)
    given = parser.parse_args(arguments)
    engine = open_stack(find(), given.stack, given.stack_file)
    choose(engine, given.images)
    docker_host = stack.settings(engine.files).docker
    ensure(engine, connect(docker_host), docker_host.host)
    say(f"images: {KEY} is {json.dumps(stack.values(engine.files).get(KEY))} in {engine.files.config}")
    return 0


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--images`, as every command that settles the source takes it."""
    parser.add_argument(
        "--images",
        choices=CHOICES,
        default="auto",
        help="auto: what was chosen before, else the registries where one answers, else, on a stack of development, "
        "the lab; registry: the pinned registries; lab: built here, with stand-ins for what cannot be had "
        "(default: auto)",
    )


if __name__ == "__main__":
    finish(main, "run it again; what was built is kept")
