"""How the Docker Engine of a stack is reached: by the stack's own setting alone, on this machine or by ssh.

The provider, the scripts and the look at the host (host.py) go the same way: the system's `ssh`, with one command on
the far side (docs/adr/0008-dependencies.md has why). Imports no engine library. What does not belong here: what is
asked of the engine.
"""

from __future__ import annotations

import atexit
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from components.settings.schema import Docker

SOCKET: Final = "/var/run/docker.sock"
"""Where an engine listens that nobody has told otherwise."""
DEFAULT: Final = f"unix://{SOCKET}"
SSH_OPTIONS: Final = ("-o", "BatchMode=yes")
"""For every `ssh` of this project: nobody is there to answer a question, and a connection is made many times over."""
SSH_PARALLEL: Final = 8
"""How many connections may be made at once: sshd drops some from 10 that have not yet signed in (MaxStartups)."""
CONNECT_SECONDS: Final = 30
"""As the provider has it (docker/cli connhelper.go, addSSHTimeout)."""

_UNIX: Final = re.compile(r"unix://(/[^\s/]+)+")
# A name that begins with a dash would be an option of ssh.
_SSH: Final = re.compile(
    r"ssh://((?P<user>[^-@:/?#\s][^@:/?#\s]*)@)?(?P<host>[^-@:/?#\[\]\s][^@:/?#\[\]\s]*|\[[0-9A-Fa-f:.]+\])"
    r"(:(?P<port>[1-9][0-9]{0,4}))?(?P<path>(/[^\s/?#]+)+)?/?"
)

VARIABLES: Final[Mapping[str, str]] = {
    # terraform-provider-docker internal/provider/provider.go, New: the default of each of the provider's settings
    "DOCKER_HOST": "names another engine",
    "DOCKER_CONTEXT": "names another engine, and wins over the stack file",
    "DOCKER_SSH_OPTS": "changes the way to the engine",
    "DOCKER_CA_MATERIAL": "changes how the engine is spoken to",
    "DOCKER_CERT_MATERIAL": "changes how the engine is spoken to",
    "DOCKER_KEY_MATERIAL": "changes how the engine is spoken to",
    "DOCKER_CERT_PATH": "changes how the engine is spoken to",
    # docker/docker client/options.go, FromEnv, which pulumi-docker's provider/image.go calls as it starts; docker/cli
    "DOCKER_TLS_VERIFY": "changes how the engine is spoken to",
    "DOCKER_TLS": "changes how the engine is spoken to",
    "DOCKER_API_VERSION": "changes how the engine is spoken to",
    # docker/cli cli/config/config.go: contexts lie there, and which of them is in use. The credentials that lie there
    # as well are read by this program's provider in no case: it takes them with `registry_auth` alone.
    "DOCKER_CONFIG": "brings other contexts along (no credentials are taken from it)",
}
"""What a shell can say about the engine, and what it would do. The one list: whatever starts Pulumi, a Docker client
or `docker` takes these away first. DOCKER_BUILDKIT and the like choose no engine."""


def said(environment: Mapping[str, str], host: str | None = None) -> tuple[str, ...]:
    """Which of `VARIABLES` are set. DOCKER_HOST is not one of them where it says what `host`, the setting, says."""
    return tuple(
        name
        for name in VARIABLES
        if environment.get(name) and not (name == "DOCKER_HOST" and environment[name] == host)
    )


def refusal(environment: Mapping[str, str], host: str) -> str | None:
    """Why `pulumi` must not go on in this environment and what to do, one line for each variable; None if it may."""
    lines = [
        f"{name}: is set in the environment of this command and {VARIABLES[name]}; the engine of a stack is "
        f"nexus:docker.host alone (now {host}). Run `unset {name}` first, or the command behind `env -u {name}`"
        for name in said(environment, host)
    ]
    return "\n".join(lines) or None


def quiet(environment: Mapping[str, str], host: str | None = None) -> dict[str, str]:
    """The environment without any word about an engine; `host`: but this one, for the `docker` command."""
    kept = {name: value for name, value in environment.items() if name not in VARIABLES}
    # DOCKER_HOST wins over the context that the user's configuration file has in use (docker/cli cli/command/cli.go).
    return {**kept, "DOCKER_HOST": host} if host else kept


def is_ssh(host: str) -> bool:
    """Whether the engine is reached by ssh."""
    return host.startswith("ssh://")


def check(host: str) -> None:
    """Raises ValueError, saying what to write, where `host` is no address of an engine that can be used."""
    if host.startswith("tcp://"):
        raise ValueError(
            "tcp:// is not offered, because whoever reaches such a port is root there; write ssh://user@host, which "
            "needs no more than a key and the docker command on that host"
        )
    if not _UNIX.fullmatch(host) and not _SSH.fullmatch(host):
        raise ValueError(
            "must be unix:///path/of/the.sock or ssh://user@host, with :port and /path/of/the.sock behind it where "
            "they are not the usual ones, and without a password"
        )


class _Provider(TypedDict):
    host: str
    ssh_opts: list[str]
    context: str
    cert_path: str
    ca_material: str
    cert_material: str
    key_material: str


def provider(engine: Docker) -> _Provider:
    """What the provider is told of the engine."""
    host, options = engine.host, [*engine.ssh_options]
    if is_ssh(host):
        # Without the socket's path the far side's `docker` would go to the engine that its user's context names.
        host = host.rstrip("/").removesuffix(socket_path(host)) + socket_path(host)
        options += SSH_OPTIONS
    # What is left out would be taken from the environment, by `pulumi refresh` and `destroy` too, which do not run
    # the program and so are not refused.
    return {
        "host": host,
        "ssh_opts": options,
        "context": "",
        "cert_path": "",
        "ca_material": "",
        "cert_material": "",
        "key_material": "",
    }


def ssh(engine: Docker, *remote: str) -> list[str]:
    """The `ssh` command that runs `remote` on the host of an ssh:// address, as the provider makes it."""
    parts = _parts(engine.host)
    words = ["ssh"]
    if parts["user"]:
        words += ["-l", parts["user"]]
    if parts["port"]:
        words += ["-p", parts["port"]]
    # Of two values for one option the first counts: the stack's own.
    words += [*engine.ssh_options, *SSH_OPTIONS, "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-T"]
    return [*words, "--", (parts["host"] or "").strip("[]"), shlex.join(remote)]


_children: Final[list[subprocess.Popen[bytes]]] = []


@atexit.register
def _end() -> None:
    for child in _children:
        child.terminate()
    for child in _children:
        child.wait()


def dial(engine: Docker, timeout: float) -> socket.socket:
    """A connection to the engine; `timeout` in seconds for each answer on it. Raises OSError.

    By ssh the connection stands before anybody has signed in: a failure shows as its end, and `complaint` says why.
    """
    if not is_ssh(engine.host):
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.settimeout(timeout)
        try:
            line.connect(engine.host.removeprefix("unix://"))
        except OSError:
            line.close()
            raise
        return line
    # A connection that was closed ends its ssh, and nobody else asks how.
    for child in tuple(_children):
        if child.poll() is not None:
            with suppress(ValueError):
                _children.remove(child)
    line, far = socket.socketpair()
    with far:
        try:
            # A session of its own: Ctrl-C at the terminal is for this program, which closes the connection in order.
            child = subprocess.Popen(
                ssh(engine, *_docker(engine, "system", "dial-stdio")),
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            line.close()
            raise
    _children.append(child)
    line.settimeout(timeout)
    return line


def complaint(engine: Docker) -> str:
    """What `ssh`, or `docker` on the far side, says where it cannot reach the engine; empty where nothing does."""
    if not is_ssh(engine.host):
        return ""
    command = ssh(engine, *_docker(engine, "version"))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=2 * CONNECT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return " ".join(done.stderr.split()) if done.returncode else ""


def run(engine: Docker, script: str, arguments: Sequence[str], timeout: float) -> str:
    """What a POSIX shell script prints on the engine's host, with these arguments. Raises OSError saying why not.

    By ssh it goes in by standard input: the far side's shell need not be one that reads the script.
    """
    words = ["sh", "-s", "--", *arguments]
    command = ssh(engine, *words) if is_ssh(engine.host) else words
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"no answer within {timeout:.0f} seconds") from error
    if done.returncode and not done.stdout:
        raise OSError(" ".join(done.stderr.split()) or f"status {done.returncode}")
    return done.stdout


def socket_path(host: str) -> str:
    """Where the engine listens on its own host."""
    return _parts(host)["path"] or SOCKET if is_ssh(host) else host.removeprefix("unix://")


def _docker(engine: Docker, *words: str) -> list[str]:
    return ["docker", f"--host=unix://{socket_path(engine.host)}", *words]


def _parts(host: str) -> Mapping[str, str | None]:
    found = _SSH.fullmatch(host)
    if found is None:
        raise ValueError(f"{host} is no ssh:// address")
    return found.groupdict()
