"""The stacks that the integration tests run against, brought up and destroyed by the commands that users run.

`test-dev` lives for a whole run and is looked at, and `test2-dev` is the second of the same user. `test3-dev` is for
what breaks a stack; a module that needs one of another shape makes and destroys its own. Everything they make carries
their names, and what a killed run left is removed before the next one.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import docker
import docker.errors
import pytest
import yaml

from tests.integration import probes
from tests.integration.edge import SlowUpload
from tests.integration.lanes import ALONE, BROKEN, LANES
from tests.integration.stacks import DOCKER_HOST, FIRST_UP_LIMIT, ROOT, Stack, free_port, new_stack, succeeded


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts this folder's modules into their order and leaves the order within them, and all other tests, alone."""
    order = [name for lane in LANES for name in lane]
    mine = [item for item in items if item.path.parent == Path(__file__).parent]
    others = [item for item in items if item.path.parent != Path(__file__).parent]
    mine.sort(key=lambda item: order.index(item.path.stem) if item.path.stem in order else len(order))
    items[:] = others + mine


@pytest.fixture(scope="module", autouse=True)
def _engine_lives(request: pytest.FixtureRequest) -> Iterator[None]:
    """While one module kills the Docker Engine, those of the other lanes wait, and it waits for them."""
    if request.path.stem == ALONE:
        request.getfixturevalue("other")  # comes up beside them
    with (_locks() / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if request.path.stem == ALONE else fcntl.LOCK_SH)
        yield


def _locks() -> Path:
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"nexus-integration-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    """The Docker Engine; without one the tests are skipped, or fail where CI=true promises that there is one."""
    try:
        connection = docker.DockerClient(base_url=DOCKER_HOST, timeout=120)
        connection.ping()
    except (docker.errors.DockerException, OSError) as error:
        message = (
            f"the integration tests need a Docker Engine and none answers at {DOCKER_HOST} "
            f"({' '.join(str(error).split())}); run `scripts/docker-engine`, which starts it or says how to get it"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture(scope="session")
def alone() -> Iterator[None]:
    """One run of these tests at a time: they share names, ports and address ranges."""
    path = _locks() / "run.lock"
    # The workers of one run share its name.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(1)  # the other worker may not have written yet
            lock.seek(0)
            if not run or lock.read() != run:
                pytest.fail(f"another run of the integration tests holds {path}; wait for it to end")
        else:
            lock.truncate(0)
            lock.write(run)
            lock.flush()
        yield


@pytest.fixture(scope="session")
def checkout_before(client: docker.DockerClient) -> str:
    """`git status` before the first command of a stack ran."""
    return git_status()


def git_status() -> str:
    """What git says of the checkout, untracked files included."""
    done = subprocess.run(
        ["git", "status", "--porcelain=v1", "--untracked-files=all"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@contextmanager
def _healthy(made: Stack) -> Iterator[Stack]:
    """The stack, up and healthy."""
    with own(made):
        succeeded(made.run("up", "--stack-file", str(made.file), limit=FIRST_UP_LIMIT))
        yield made


@pytest.fixture(scope="session")
def first(
    client: docker.DockerClient, alone: None, checkout_before: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The stack `test-dev`: up and healthy."""
    folder = tmp_path_factory.mktemp("nexus")
    with _healthy(new_stack(client, folder, "test-dev", ports=42000, pool="172.31.224.0/20")) as made:
        yield made


@pytest.fixture(scope="session")
def third(
    client: docker.DockerClient, alone: None, checkout_before: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The stack `test3-dev`: up and healthy."""
    folder = tmp_path_factory.mktemp("nexus")
    with _healthy(new_stack(client, folder, "test3-dev", ports=47000, pool="172.31.128.0/20")) as made:
        yield made


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Stack:
    """The stack of the module's lane. A test that breaks it heals it."""
    made = request.getfixturevalue("third" if request.path.stem in BROKEN else "first")
    assert isinstance(made, Stack)
    return made


@pytest.fixture(scope="session")
def image_source(first: Stack) -> object:
    """Where the first stack's images come from, so that the others need not look for registries again."""
    mine = first.state / "stacks" / first.name / f"Pulumi.{first.name}.yaml"
    tree = yaml.safe_load(mine.read_text(encoding="utf-8"))
    source: object = tree["config"].get("nexus:images", {})
    return source


@pytest.fixture(scope="session")
def slow_upload(first: Stack) -> SlowUpload:
    """An upload through the edge that takes longer than Traefik's own limit of 60 s, begun where this is first asked
    for. test_edge.py waits for its end."""
    return SlowUpload(first, 75)


@pytest.fixture(scope="session")
def dead_exporter(first: Stack) -> str:
    """The name of a service of the first stack that has been stopped. test_alerts.py heals it."""
    name = "node-exporter"
    first.container(name).stop()
    return name


@pytest.fixture(scope="session")
def second(first: Stack, image_source: object) -> Iterator[Stack]:
    """The stack `test2-dev`, the same user's: its stack file is written, and nothing of it is up yet."""
    made = replace(
        first,
        name="test2-dev",
        http_port=free_port(43080),
        https_port=free_port(43443),
        pool="172.31.208.0/20",
        more={"nexus:images": image_source},
    )
    with own(made):
        yield made


@contextmanager
def own(made: Stack) -> Iterator[None]:
    """Room for a stack of the tests, and nothing left of it afterwards, its data included."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "nexus"
    theirs = Path(os.environ.get("NEXUS_STATE") or home) / "stacks" / made.name
    if theirs.exists():
        pytest.fail(
            f"{theirs}: you have a stack named {made.name}, and the integration tests would remove its data; "
            "destroy it, move that directory away, and try again"
        )
    probes.sweep(made.client, made.name)
    made.sweep()
    made.write()
    try:
        yield
        if made.containers():
            made.destroy()
            assert made.leftovers(volumes=False) == [], "destroy left containers or networks"
    finally:
        probes.sweep(made.client, made.name)
        made.sweep()
