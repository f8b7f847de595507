"""What is changed in the program is so on the engine after one `up`: every input, one at a time (changes.py).

That no input is left out is tested without an engine (tests/components/test_changes.py).
"""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import pytest
from docker.models.containers import Container

from components.provider import duration
from tests.integration.changes import BESIDE, CHANGED, KEEPER, LOCK, OTHER, ROWS, TREE, Row
from tests.integration.stacks import DOCKER_HOST, ROOT
from tests.integration.test_storage import sh

pytestmark = pytest.mark.integration

PROJECT: Final = "nexus-changes"
FOLDERS: Final = ("/run/config", "/run/secrets")
"""Where a seed's files go."""

Inspected = Mapping[str, Any]


def _seconds(check: Inspected, key: str) -> str:
    return duration(check.get(key, 0) // 10**9)


def _health(container: Inspected) -> object:
    check = container["Config"].get("Healthcheck")
    return check and {
        "tests": check["Test"],
        "interval": _seconds(check, "Interval"),
        "timeout": _seconds(check, "Timeout"),
        "startPeriod": _seconds(check, "StartPeriod"),
        "startInterval": _seconds(check, "StartInterval"),
        "retries": check["Retries"],
    }


def _ports(container: Inspected) -> object:
    return [
        {"ip": found["HostIp"], "external": int(found["HostPort"]), "internal": int(port), "protocol": protocol}
        for key, bound in (container["HostConfig"]["PortBindings"] or {}).items()
        for port, _, protocol in [key.partition("/")]
        for found in bound
    ]


def _mounts(container: Inspected) -> object:
    return [
        {
            "type": mount["Type"],
            "source": mount["Name"] if mount["Type"] == "volume" else mount["Source"],
            "target": mount["Destination"],
            "readOnly": not mount["RW"],
        }
        for mount in container["Mounts"]
    ]


def _attachments(container: Inspected) -> object:
    return [
        {
            "name": name,
            # The engine adds the container's own id and name.
            "aliases": [
                alias
                for alias in found["Aliases"]
                if alias not in (container["Id"][:12], container["Config"]["Hostname"])
            ],
            "ipv4Address": (found["IPAMConfig"] or {}).get("IPv4Address"),
        }
        for name, found in container["NetworkSettings"]["Networks"].items()
        # What the engine has without being told.
        if name not in ("bridge", "none")
    ]


def _hostname(container: Inspected) -> object:
    """None where it is the engine's own choice, or another container's."""
    name = container["Config"]["Hostname"]
    shared = container["HostConfig"]["NetworkMode"].startswith("container:")
    return None if shared or name == container["Id"][:12] else name


def _devices(container: Inspected) -> object:
    return [
        {
            "hostPath": one["PathOnHost"],
            "containerPath": one["PathInContainer"],
            "permissions": one["CgroupPermissions"],
        }
        for one in container["HostConfig"]["Devices"] or ()
    ]


def _ulimits(container: Inspected) -> object:
    return [
        {"name": one["Name"], "soft": one["Soft"], "hard": one["Hard"]}
        for one in container["HostConfig"]["Ulimits"] or ()
    ]


def _capabilities(container: Inspected) -> object:
    return {"adds": container["HostConfig"]["CapAdd"], "drops": container["HostConfig"]["CapDrop"]}


def _host(key: str) -> Callable[[Inspected], object]:
    return lambda container: container["HostConfig"].get(key)


def _config(key: str) -> Callable[[Inspected], object]:
    return lambda container: container["Config"].get(key)


CONTAINER: Final[Mapping[str, Callable[[Inspected], object]]] = {
    "capabilities": _capabilities,
    "command": _config("Cmd"),
    "cpus": lambda container: str(container["HostConfig"]["NanoCpus"] / 10**9),
    "devices": _devices,
    "entrypoints": _config("Entrypoint"),
    "envs": lambda container: [
        one for one in container["Config"]["Env"] or () if one not in container["Image's"]["Env"]
    ],
    "groupAdds": _host("GroupAdd"),
    "healthcheck": _health,
    "hostname": _hostname,
    "image": lambda container: container["Image"],
    "init": _host("Init"),
    "labels": lambda container: [
        {"label": key, "value": text}
        for key, text in container["Config"]["Labels"].items()
        if (key, text) not in container["Image's"]["Labels"]
    ],
    "logDriver": lambda container: container["HostConfig"]["LogConfig"]["Type"],
    "logOpts": lambda container: container["HostConfig"]["LogConfig"]["Config"],
    "memory": lambda container: container["HostConfig"]["Memory"] // 2**20,
    "memorySwap": lambda container: container["HostConfig"]["MemorySwap"] // 2**20,
    "mounts": _mounts,
    "name": lambda container: container["Name"].lstrip("/"),
    "networksAdvanced": _attachments,
    "ports": _ports,
    "readOnly": _host("ReadonlyRootfs"),
    "restart": lambda container: container["HostConfig"]["RestartPolicy"]["Name"],
    "securityOpts": _host("SecurityOpt"),
    "stopTimeout": _config("StopTimeout"),
    "sysctls": _host("Sysctls"),
    "tmpfs": _host("Tmpfs"),
    "ulimits": _ulimits,
    "uploads": lambda container: container["Files"],
    "user": _config("User"),
    "networkMode": _host("NetworkMode"),
}
"""What the engine shows of a container, in the form in which it is declared."""

PROVIDERS: Final = frozenset(
    {
        "attach",
        "containerReadRefreshTimeoutMilliseconds",
        "destroyGraceSeconds",
        "logs",
        "mustRun",
        "removeVolumes",
        "start",
        "wait",
        "waitTimeout",
    }
)
"""Inputs of a container that the engine never has: what the provider does by is in its state."""

NETWORK: Final[Mapping[str, Callable[[Inspected], object]]] = {
    "driver": lambda network: network["Driver"],
    "internal": lambda network: network["Internal"],
    "ipamConfigs": lambda network: [
        {"subnet": one["Subnet"], "gateway": one["Gateway"]} for one in network["IPAM"]["Config"]
    ],
    "ipamDriver": lambda network: network["IPAM"]["Driver"],
    "ipv6": lambda network: network["EnableIPv6"],
    "labels": lambda network: [{"label": key, "value": text} for key, text in network["Labels"].items()],
    "name": lambda network: network["Name"],
    "options": lambda network: network["Options"],
}
"""What the engine shows of a network, in the form in which it is declared."""


def normal(value: object) -> object:
    """A value without what says nothing: order, and what is empty."""
    match value:
        case dict():
            return {key: normal(item) for key, item in value.items() if item not in (None, "", [], {}, ())} or None
        case list():
            return sorted((normal(item) for item in value), key=functools.partial(json.dumps, sort_keys=True)) or None
        case _:
            return value or None


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What one `up` was told, and what is then on the engine, by the name of the resource."""

    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    engine: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, kw_only=True)
class Both:
    """Before the change and after it."""

    before: Deployed
    after: Deployed
    again: str
    """What a second preview said."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One of the programs in changes.py as a stack of its own."""

    directory: Path
    environment: Mapping[str, str]

    def pulumi(self, *words: str, changed: bool = False, fails: bool = False) -> str:
        """What a command said that has to succeed, or to fail: stdout and stderr in one."""
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive", "--color", "never"],
            cwd=self.directory,
            env={**self.environment, **({CHANGED: "1"} if changed else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"pulumi {' '.join(words)}:\n{done.stdout[-8000:]}"
        return done.stdout

    def up(self, *words: str, changed: bool = False, fails: bool = False) -> str:
        """`pulumi up`."""
        return self.pulumi(
            "up", "--yes", "--skip-preview", "--suppress-outputs", *words, changed=changed, fails=fails
        )


def files_of(container: Container) -> Iterator[dict[str, str]]:
    """The files where a seed delivers, as uploads are declared."""
    for folder in FOLDERS:
        try:
            stream, _ = container.get_archive(folder)
        except docker.errors.NotFound:
            continue
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            for member in archive.getmembers():
                if (content := archive.extractfile(member)) is not None:
                    yield {
                        "file": f"{Path(folder).parent}/{member.name}",
                        "content": content.read().decode(),
                        "permissions": f"{member.mode & 0o7777:04o}",
                        "owner": str(member.uid),
                        "group": str(member.gid),
                    }


def look(client: docker.DockerClient, program: Program) -> Deployed:
    """The state, and what the engine shows of each resource in it."""
    exported = json.loads(program.pulumi("stack", "export", "--show-secrets"))
    resources = [item for item in exported["deployment"]["resources"] if item["type"].startswith("docker:index")]
    inputs = {item["urn"].rpartition("::")[2]: _plain(item["inputs"]) for item in resources}
    outputs = {item["urn"].rpartition("::")[2]: _plain(item["outputs"]) for item in resources}
    engine: dict[str, dict[str, object]] = {}
    for item in resources:
        name = item["urn"].rpartition("::")[2]
        match item["type"].rpartition(":")[2]:
            case "Container":
                container = client.containers.get(inputs[name]["name"])
                files = [*files_of(container)] if name.endswith("-seed") else None
                own = client.images.get(container.attrs["Image"]).attrs["Config"]
                theirs = {"Env": own["Env"] or (), "Labels": {*(own["Labels"] or {}).items()}}
                shown = {**container.attrs, "Files": files, "Image's": theirs}
                engine[name] = {key: see(shown) for key, see in CONTAINER.items()}
            case "Network":
                (network,) = client.networks.list(names=[f"^{inputs[name]['name']}$"])
                engine[name] = {key: see(network.attrs) for key, see in NETWORK.items()}
            case "Volume":
                engine[name] = {"name": client.volumes.get(inputs[name]["name"]).name}
    return Deployed(inputs=inputs, outputs=outputs, engine=engine)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Inputs or outputs as exported, secrets opened, without what is the engine's own."""
    if isinstance(value, dict):
        if "plaintext" in value:
            return json.loads(value["plaintext"])
        return {key: _plain(item) for key, item in value.items() if key != "__defaults"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def sweep(client: docker.DockerClient, stack: str) -> None:
    """Removes whatever the engine has of a stack of these programs."""
    prefix = f"{PROJECT}-{stack}-"
    for container in client.containers.list(all=True, filters={"name": f"^/{prefix}"}):
        container.remove(force=True, v=True)
    for network in client.networks.list(names=[f"^{prefix}"]):
        network.remove()
    for volume in client.volumes.list():
        if str(volume.name).startswith(prefix):
            volume.remove(force=True)


@pytest.fixture(scope="module")
def environment(client: docker.DockerClient, alone: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The project's toolchain with a backend of its own, and the images of the lab where there are some."""
    done = subprocess.run(
        ["bash", "-c", ". scripts/env.sh && env -0"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    lock = Path(found["NEXUS_CACHE"]) / "lab" / "images.lock.json"
    return {
        **found,
        LOCK: str(lock) if lock.exists() else "",
        "DOCKER_HOST": DOCKER_HOST,
        "PULUMI_BACKEND_URL": f"file://{tmp_path_factory.mktemp('backend')}",
        "PULUMI_CONFIG_PASSPHRASE": "of this test only",
        # The state is else written after each of 300 steps. Nothing here ends half-way.
        "PULUMI_SKIP_CHECKPOINTS": "true",
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def made(
    client: docker.DockerClient, name: str, directory: Path, environment: Mapping[str, str]
) -> Iterator[Program]:
    """A program of changes.py as a stack of its name; nothing is left of it."""
    (directory / "Pulumi.yaml").write_text(
        f"name: {PROJECT}\nruntime: {{name: python, options: {{virtualenv: {json.dumps(str(ROOT / '.venv'))}}}}}\n",
        encoding="utf-8",
    )
    (directory / "__main__.py").write_text(f"from tests.integration import changes\n\nchanges.{name}()\n")
    program = Program(directory=directory, environment=environment)
    sweep(client, name)
    try:
        program.pulumi("stack", "init", name)
        yield program
    finally:
        sweep(client, name)


@pytest.fixture(scope="module")
def both(
    client: docker.DockerClient, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """The program as it is and then changed, each with one `up`."""
    with made(client, "program", tmp_path_factory.mktemp("program"), environment) as program:
        program.up()
        before = look(client, program)
        program.up(changed=True)
        yield Both(
            before=before,
            after=look(client, program),
            again=program.pulumi("preview", "--expect-no-changes", changed=True),
        )


def deviations(seen: Deployed, resource: str) -> dict[str, tuple[object, object]]:
    """Each input of a resource that the engine does not show as it is declared: what it shows, and what was said."""
    inputs = _told(seen.inputs[resource])
    said = {key: normal(inputs.get(key)) for key in {*inputs, *seen.engine[resource]}}
    shown = {
        key: normal(seen.outputs[resource].get(key) if key in PROVIDERS else seen.engine[resource].get(key))
        for key in said
    }
    return {key: (shown[key], said[key]) for key in said if shown[key] != said[key]}


def _told(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What was declared, without an alias that the engine gives anyway."""
    attachments = [
        {**one, "aliases": [alias for alias in one.get("aliases", ()) if alias != inputs.get("hostname")]}
        for one in inputs.get("networksAdvanced") or ()
    ]
    return {**inputs, "networksAdvanced": attachments} if attachments else {**inputs}


def test_what_is_not_changed_is_as_declared(both: Both) -> None:
    assert {
        name: found
        for name in both.before.inputs
        if name in both.before.engine and (found := deviations(both.before, name))
    } == {}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.service)
def test_a_change_takes_effect(both: Both, row: Row) -> None:
    for key in row.keys:
        name = key.split(".")[0]
        assert both.before.inputs[row.resource].get(name) != both.after.inputs[row.resource].get(name)
    # A container on a changed network or volume is part of it.
    for resource in (row.resource, f"{row.service}-container"):
        assert deviations(both.after, resource) == {}


def test_nothing_is_left_to_change(both: Both) -> None:
    assert " unchanged" in both.again


def test_another_user_is_given_what_is_in_its_volume(client: docker.DockerClient, both: Both) -> None:
    """It was written by the user of before, and nobody else could read it."""
    container = client.containers.get(both.after.inputs[f"{KEEPER}-container"]["name"])
    assert container.attrs["Config"]["User"] == str(OTHER)
    assert sh(container, "cat /kept/deep/er/file") == (0, "once\nonce")
    status, output = sh(container, "find /kept -exec stat -c %u:%g {} ';'")
    assert (status, set(output.split())) == (0, {str(OTHER)})


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory of this host for the data tree."""
    path = tmp_path / "the tree"
    path.mkdir()
    yield path
    subprocess.run(["chattr", "-i", str(path)], check=False)


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to other users")
def test_a_one_shot_that_fails_fails_the_up(
    client: docker.DockerClient, environment: dict[str, str], tmp_path: Path, tree: Path
) -> None:
    """And is run again: for a tree that is somebody's, and for one that root may not change, as on many a share."""
    seed = f"{PROJECT}-failing-data-seed"
    with made(client, "failing", tmp_path, {**environment, TREE: str(tree)}) as program:
        (tree / "film").write_text("film")
        os.chown(tree, 33, 34)
        said = program.up(fails=True)
        for line in (
            f"{seed} ended with status 1: {tree} belongs to 33:34 and the apps run as 1000:1000: set nexus:apps.uid",
            f"docker logs {seed}",
            "Traceback",
        ):
            assert (line in said) is (line != "Traceback"), said
        assert {str(item.name) for item in client.containers.list(all=True)} & {
            f"{PROJECT}-failing-{BESIDE}"
        } == set()

        os.chown(tree, 0, 0)
        if immutable := subprocess.run(["chattr", "+i", str(tree)], check=False).returncode == 0:
            client.containers.get(seed).remove()
            said = program.up("--refresh", fails=True)
            assert f"{seed} ended with status 1: " in said
            assert "Operation not permitted" in said
            subprocess.run(["chattr", "-i", str(tree)], check=True)

        client.containers.get(seed).remove()
        program.up("--refresh")
        assert client.containers.get(f"{PROJECT}-failing-{BESIDE}").status == "running"
        owners = {(found.stat().st_uid, found.stat().st_gid) for found in (tree, *tree.rglob("*"))}
        assert owners == {(1000, 1000)}
        assert (tree / "media" / "tv").is_dir()

        # What is right is left alone: root could not change it.
        if immutable:
            subprocess.run(["chattr", "+i", str(tree)], check=True)
            client.containers.get(seed).remove(force=True)
            program.up("--refresh")
            assert client.containers.get(seed).attrs["State"]["ExitCode"] == 0
