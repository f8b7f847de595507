"""The stack by the plain Pulumi CLI alone: a backend, a passphrase and a PULUMI_HOME of its own, no script of ours.

It is what docs/pulumi.md tells, on a stack, ports and addresses of the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import docker
import pytest

from components.settings.secret import TLS_CERTIFICATE, TLS_KEY
from scripts.engine import VOLUME
from tests.integration.conftest import own
from tests.integration.stacks import (
    DOCKER_HOST,
    FIRST_UP_LIMIT,
    ROOT,
    UP_LIMIT,
    Command,
    Stack,
    new_stack,
    not_healthy,
    succeeded,
)

pytestmark = pytest.mark.integration

PACK: Final = ("--policy-pack", "policies")


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A clone of the checkout and the environment of somebody who has the Pulumi CLI and nothing of ours."""

    stack: Stack
    clone: Path
    environment: Mapping[str, str]

    def pulumi(self, *arguments: str, limit: float = UP_LIMIT) -> Command:
        """Runs `pulumi` in the clone to its end."""
        command = Command(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"], self.environment, self.clone
        )
        command.wait(limit)
        return command

    def read(self, *arguments: str) -> str:
        """stdout of `pulumi`, quietly."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.clone,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def set(self, key: str, value: str) -> None:
        """`pulumi config set --path`."""
        succeeded(self.pulumi("config", "set", "--path", key, value))


@pytest.fixture(scope="module")
def plain(
    client: docker.DockerClient, alone: None, checkout_before: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plain]:
    """The stack `plain-dev` with its settings made, and nothing of it up."""
    directory = tmp_path_factory.mktemp("plain")
    stack = new_stack(client, directory, "plain-dev", ports=46000, pool="172.31.160.0/20")
    with own(stack):
        # Before anything plain begins: the images, which a person has from registries, and where they come from.
        succeeded(stack.run("images", "--stack-file", str(stack.file), limit=FIRST_UP_LIMIT))
        source = json.loads(stack.read("config", "--json"))["nexus:images"]["objectValue"]
        made = Plain(stack=stack, clone=clone(directory / "clone"), environment=environment(directory))
        begin(made, source.get("lock"))
        try:
            yield made
        finally:
            if made.stack.containers():
                made.pulumi("destroy", "--yes", "--skip-preview", "--exclude-protected")


def clone(folder: Path) -> Path:
    """The files that git has, and the environment of Pulumi.yaml, which `pulumi install` would make."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    # The page's stack is dev itself; this one has a name of the tests.
    shutil.copy2(folder / "Pulumi.dev.yaml", folder / "Pulumi.plain-dev.yaml")
    return folder


def environment(directory: Path) -> dict[str, str]:
    """PATH with the CLI that scripts/setup got, a passphrase, and nothing else of Pulumi's or of ours."""
    toolchain = subprocess.run(
        ["bash", "-c", '. scripts/env.sh && echo "$NEXUS_TOOLCHAIN/bin"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (directory / "home").mkdir()
    ours = ("NEXUS_", "PULUMI_", "DOCKER_", "STACK")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {
        "PATH": f"{toolchain}:{os.environ['PATH']}",
        "HOME": str(directory / "home"),
        "PULUMI_HOME": str(directory / "pulumi-home"),
        "PULUMI_CONFIG_PASSPHRASE": "of this test only",
        "PULUMI_SKIP_UPDATE_CHECK": "true",  # the same on a machine without internet
    }


def begin(made: Plain, lock: str | None) -> None:
    """Log in, get the plugins, make the stack, set what is the test's own."""
    backend = made.clone.parent / "backend"
    backend.mkdir()
    succeeded(made.pulumi("login", f"file://{backend}"))
    # What `pulumi install` downloads, from where scripts/setup has put it.
    where = subprocess.run(
        ["bash", "-c", '. scripts/env.sh && echo "$PULUMI_HOME"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for name in ("docker", "random"):
        (program,) = Path(where, "plugins").glob(f"resource-{name}-v*/pulumi-resource-{name}")
        version = program.parent.name.rpartition("-v")[2]
        succeeded(made.pulumi("plugin", "install", "resource", name, version, "--file", str(program)))
    succeeded(made.pulumi("stack", "init", made.stack.name))
    made.set("nexus:docker.host", DOCKER_HOST)
    made.set("nexus:edge.http-port", str(made.stack.http_port))
    made.set("nexus:edge.https-port", str(made.stack.https_port))
    made.set("nexus:networks.pool", made.stack.pool)
    made.set("nexus:storage.min-free-gb", "1")
    if lock:
        made.set("nexus:images.lock", lock)


def test_a_message_names_the_plain_command(plain: Plain) -> None:
    plain.set("nexus:edge.domain", "media.example.org")
    refused = plain.pulumi("preview", *PACK)
    assert refused.process.returncode != 0
    assert "Traceback" not in refused.output
    for key in ("nexus:tls-certificate", "nexus:tls-key"):
        assert f"run `pulumi config set --secret {key} --stack {plain.stack.name} < FILE`" in refused.output
    assert "scripts/pulumi" not in refused.output
    for secret in (TLS_CERTIFICATE, TLS_KEY):
        # Not as its first thing: a word that begins with a dash is an option.
        text = "\n" + secret.sample.format("a text of this test")
        succeeded(plain.pulumi("config", "set", "--secret", f"nexus:{secret.key}", text))
    succeeded(plain.pulumi("preview", *PACK))
    for key in ("nexus:tls-certificate", "nexus:tls-key"):
        succeeded(plain.pulumi("config", "rm", key))
    succeeded(plain.pulumi("config", "rm", "--path", "nexus:edge.domain"))


def test_up_is_healthy_with_nothing_else_set(plain: Plain) -> None:
    made = succeeded(plain.pulumi("up", "--yes", "--skip-preview", *PACK))
    assert "nexus@" in made.output, "the pack did not run"
    assert not_healthy(plain.stack.containers()) == []
    urls = json.loads(plain.read("stack", "output", "urls", "--json"))
    assert urls["jellyfin"] == f"https://jellyfin.localhost:{plain.stack.https_port}"


def test_the_edge_has_a_certificate_of_traefiks_own(plain: Plain) -> None:
    pem = ssl.get_server_certificate(("127.0.0.1", plain.stack.https_port))
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"], input=pem, capture_output=True, text=True, check=True
    ).stdout
    assert "TRAEFIK DEFAULT CERT" in shown
    request = urllib.request.Request(
        f"https://127.0.0.1:{plain.stack.https_port}/", headers={"Host": "jellyfin.localhost"}
    )
    trusting = ssl._create_unverified_context()
    with urllib.request.urlopen(request, context=trusting, timeout=20) as answer:
        assert answer.status == 200


def test_nothing_is_left_to_change(plain: Plain) -> None:
    succeeded(plain.pulumi("preview", "--diff", "--refresh", "--expect-no-changes", *PACK))


def test_destroy_says_what_is_protected_and_keeps_it(plain: Plain) -> None:
    before = plain.stack.leftovers()
    refused = plain.pulumi("destroy", "--yes")
    assert refused.process.returncode != 0
    assert "cannot be deleted" in refused.output
    assert "because it is protected" in refused.output
    assert plain.stack.leftovers() == before, "it took some of the stack down"
    resources = json.loads(plain.read("stack", "export"))["deployment"]["resources"]
    protected = [one for one in resources if one.get("protect")]
    kept = sorted(str(one["id"]) for one in protected if one["type"] == VOLUME)
    succeeded(plain.pulumi("destroy", "--yes", "--skip-preview", "--exclude-protected"))
    assert plain.stack.leftovers(volumes=False) == []
    assert sorted(str(volume.name) for volume in plain.stack.volumes()) == kept != []
    left = json.loads(plain.read("stack", "export"))["deployment"]["resources"]
    assert [one["urn"] for one in left if one.get("protect")] == [one["urn"] for one in protected]
