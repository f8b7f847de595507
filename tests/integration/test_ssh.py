"""The same stack over ssh, to a real sshd on loopback; and whatever the shell says, the engine is the stack file's.

The second stack goes on where the modules before left it, or comes up from nothing where this one runs alone.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from components import host, reach
from components.settings.load import parse
from tests.integration.stacks import DOCKER_HOST, Command, Stack, free_port, not_healthy, succeeded
from tests.integration.test_up import fingerprint

pytestmark = pytest.mark.integration

SSHD: Final = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
ELSEWHERE: Final = dict.fromkeys(reach.VARIABLES, "/nonexistent")
"""A shell in which every variable that says something of an engine leads astray."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """An sshd on loopback with keys and files of its own, and a configuration for `ssh` that knows it."""

    folder: Path
    port: int

    @property
    def docker(self) -> dict[str, object]:
        """`nexus:docker` for the engine behind it."""
        path = DOCKER_HOST.removeprefix("unix://")
        return {
            "host": f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}" + ("" if path == reach.SOCKET else path),
            "socket-gid": Path(path).stat().st_gid,
            "ssh-options": ["-F", str(self.folder / "ssh_config")],
        }

    @property
    def visits(self) -> int:
        """How often somebody has signed in."""
        return (self.folder / "log").read_text(encoding="utf-8").count("Accepted publickey")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if SSHD is None:
        message = "no sshd is installed; on Debian: sudo apt-get install --no-install-recommends openssh-server"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    made = Server(folder=tmp_path_factory.mktemp("sshd"), port=free_port(45022))
    folder = made.folder
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    public = (folder / "host.pub").read_text(encoding="utf-8")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{made.port} {public}", encoding="utf-8")
    (folder / "sshd_config").write_text(
        f"Port {made.port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\n"
        f"AuthorizedKeysFile {folder / 'user.pub'}\nPidFile none\nUsePAM no\nStrictModes no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n",
        encoding="utf-8",
    )
    (folder / "ssh_config").write_text(
        f"Host *\n  IdentityFile {folder / 'user'}\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
        f"  UserKnownHostsFile {folder / 'known_hosts'}\n  GlobalKnownHostsFile /dev/null\n",
        encoding="utf-8",
    )
    (folder / "log").touch()
    # Root's sshd wants an empty directory, which a machine where none runs does not have.
    chroot = Path("/run/sshd")
    making = os.getuid() == 0 and not chroot.exists()
    if making:
        chroot.mkdir(mode=0o755)
    command = [SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while "listening on" not in (folder / "log").read_text(encoding="utf-8"):
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < end, "sshd does not listen"
            time.sleep(0.1)
        yield made
    finally:
        process.terminate()
        process.wait(20)
        if making:
            with suppress(OSError):
                chroot.rmdir()


@pytest.fixture(scope="module")
def over_ssh(server: Server, second: Stack) -> Iterator[Stack]:
    """The second stack, whose engine is now reached by ssh; up."""
    mine = Path.home() / ".ssh"
    before = sorted(mine.iterdir()) if mine.is_dir() else None
    second.write({"nexus:docker": server.docker})
    for sonarr in (one for one in second.containers() if one.name == second.physical("sonarr")):
        sonarr.remove(force=True)  # so that something has to be made
    second.up()
    yield second
    second.write()
    assert (sorted(mine.iterdir()) if mine.is_dir() else None) == before


def test_up_makes_what_is_missing_and_signs_in_to_do_it(server: Server, over_ssh: Stack) -> None:
    # The command itself and the provider, each at least once; how often more depends on what was there before.
    assert server.visits >= 2
    assert not_healthy(over_ssh.containers()) == []
    assert over_ssh.container("sonarr").status == "running"


def test_the_next_preview_is_empty_whatever_the_shell_says(server: Server, over_ssh: Stack) -> None:
    before = server.visits
    words = ["scripts/run", "preview", "--stack", over_ssh.name, "--refresh", "--expect-no-changes"]
    command = Command(words, {**over_ssh.environment, **ELSEWHERE})
    command.wait(180)
    succeeded(command)
    assert "DOCKER_CONTEXT" in command.output
    assert server.visits > before


def plain(stack: Stack, *arguments: str) -> Command:
    """`pulumi` itself, on this stack and in a shell that leads astray."""
    folder = stack.state / "stacks" / stack.name
    environment = {
        **stack.environment,
        **ELSEWHERE,
        "PULUMI_STACK": stack.name,
        "PULUMI_OPTION_CONFIG_FILE": str(folder / f"Pulumi.{stack.name}.yaml"),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase"),
    }
    words = ["bash", "-euc", '. scripts/env.sh; exec pulumi "$@" --non-interactive', "pulumi", *arguments]
    command = Command(words, environment)
    command.wait(180)
    return command


def test_plain_pulumi_is_refused_by_the_program_and_led_astray_by_nothing_where_it_does_not_run(
    server: Server, over_ssh: Stack
) -> None:
    refused = plain(over_ssh, "preview")
    assert refused.process.returncode != 0
    for name in reach.VARIABLES:
        assert f"{name}: is set in the environment" in refused.output
    before = server.visits
    succeeded(plain(over_ssh, "refresh", "--preview-only", "--expect-no-changes"))
    assert server.visits > before


def test_the_doctor_sees_the_host_at_the_other_end(server: Server, over_ssh: Stack) -> None:
    before = server.visits
    done = over_ssh.run("doctor", "--json")
    assert done.process.returncode == 0, done.output
    findings = {one["what"]: one for one in json.loads(done.output[done.output.index("[\n") :])}
    assert str(server.docker["host"]) in findings["Docker Engine"]["detail"]
    for what in ("free disk", "/dev/net/tun", "networks", f"port {over_ssh.https_port}"):
        assert findings[what]["status"] == "ok", findings[what]
    assert "GB at " in findings["free disk"]["detail"]
    assert server.visits >= before + 2


def test_heal_starts_what_was_stopped(over_ssh: Stack) -> None:
    over_ssh.container("radarr").stop()
    done = succeeded(over_ssh.run("heal"))
    assert f"starting {over_ssh.physical('radarr')}" in done.output
    assert over_ssh.container("radarr").status == "running"


def test_a_host_whose_key_is_not_known_is_refused_with_the_reason(server: Server) -> None:
    stranger = {**server.docker, "ssh-options": ["-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null"]}
    settings = parse({"vpn": {"type": "embedded"}, "docker": stranger}, "Pulumi.x.yaml")
    (problem,) = host.problems(settings, host.gather(settings, "x"))
    assert "Host key verification failed" in problem


def test_destroy_leaves_no_container_and_no_network_and_the_other_stack_alone(
    server: Server, over_ssh: Stack, stack: Stack
) -> None:
    # test_monitoring has stopped a service of the other, whose alert takes as long as this.
    before, neighbour = server.visits, (fingerprint(stack), not_healthy(stack.containers()))
    output = over_ssh.destroy().output
    assert over_ssh.leftovers(volumes=False) == []
    assert f"docker --host {server.docker['host']} volume rm" in output
    assert server.visits > before
    assert (fingerprint(stack), not_healthy(stack.containers())) == neighbour
