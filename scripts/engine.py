"""The Pulumi engine on one stack: its commands, its state and its locks.

`scripts/pulumi` is this module's command line. What does not belong here: what to do about what is found (heal.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from components import reach
from scripts import options, process, stack, wire
from scripts.console import UserError, finish, say
from scripts.paths import Paths, find

NO_CHANGES_EXPECTED: Final = 7
"""Exit status of `preview --expect-no-changes` where there are changes (pkg/cmd/pulumi/cmd/exit_codes.go)."""

CONTAINER: Final = "docker:index/container:Container"
NETWORK: Final = "docker:index/network:Network"
VOLUME: Final = "docker:index/volume:Volume"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource of the state."""

    urn: str
    type: str
    id: str
    protect: bool = False
    deleted: bool = False
    """Deleted to make room for its replacement, which is still to come."""
    outputs: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The logical name."""
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation on one resource: creating, updating, deleting, …"""

    kind: str
    urn: str
    physical: str = ""
    """The name on the Docker host, where the resource has one."""

    def __str__(self) -> str:
        return f"{self.kind} {self.urn.rpartition('::')[2]}"


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of a stack, as exported; secrets stay encrypted."""

    resources: tuple[Resource, ...] = ()
    pending: tuple[Operation, ...] = ()
    """Operations that were begun and never ended."""
    salt: str | None = None

    def of(self, kind: str) -> tuple[Resource, ...]:
        """The resources of one type."""
        return tuple(resource for resource in self.resources if resource.type == kind)

    def ids(self, kind: str) -> frozenset[str]:
        """The ids of the resources of one type."""
        return frozenset(resource.id for resource in self.of(kind))

    @property
    def interrupted(self) -> frozenset[str]:
        """The names on the Docker host of what this state began to make and never recorded."""
        return frozenset(one.physical for one in self.pending if one.kind == "creating" and one.physical)

    @property
    def outputs(self) -> Mapping[str, object]:
        """The stack's outputs."""
        return next((resource.outputs for resource in self.of(wire.STACK)), {})


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Pulumi commands on one stack, run in the checkout."""

    paths: Paths
    files: stack.StackFiles

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command on this stack."""
        return self.files.environment(self.paths)

    def stream(self, *arguments: str, show: Callable[[str], None] | None = None) -> int:
        """Runs preview, up or destroy, showing its output; its exit status. Raises Interrupted after Ctrl-C."""
        color = "always" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else "never"
        # Of two values the last counts. As a variable, CLI 3.259 dies of this one (it is an int32).
        parallel = reach.SSH_PARALLEL if self._over_ssh else at_a_time()
        words = [arguments[0], f"--parallel={parallel}", *arguments[1:], "--non-interactive", "--color", color]
        return process.stream(
            ["pulumi", *words],
            cwd=self.paths.root,
            environment=self.environment,
            show=show,
        )

    @property
    def _over_ssh(self) -> bool:
        # An object or its JSON text: the address is in both.
        return "ssh://" in json.dumps(stack.values(self.files).get("nexus:docker"))

    def output(self, *arguments: str, given: str = "", cwd: Path | None = None) -> str:
        """Runs a command quietly with `given` on its stdin; its stdout. Raises UserError with its complaint."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=cwd or self.paths.root,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            complaint = done.stderr.strip() or done.stdout.strip()
            raise UserError(f"pulumi {' '.join(arguments)} failed (status {done.returncode}):\n{complaint}")
        return done.stdout

    def state(self) -> State:
        """The stack's state."""
        return parse(self.output("stack", "export"))

    def forget_pending(self) -> None:
        """Clears the operations that were begun and never ended; the CLI drops them when it imports a state."""
        self.output("stack", "import", given=self.output("stack", "export"))

    def exists(self) -> bool:
        """Whether the backend knows the stack."""
        if self.paths.backend is None:
            return any(
                entry.get("name") == self.files.stack for entry in json.loads(self.output("stack", "ls", "--json"))
            )
        return (self._bookkeeping("stacks") / f"{self.files.stack}.json").is_file()

    def ensure(self) -> None:
        """Makes the stack in the backend if it is not there, with the same encryption as the stack file.

        Raises UserError instead where a workflow run would take an empty state for a team's.
        """
        self._refuse_a_state_that_cannot_be_theirs()
        mine = stack.read(self.files.config)
        if not self.exists():
            if self.paths.backend:
                self.paths.backend.mkdir(parents=True, exist_ok=True, mode=0o700)
            # `stack init` writes the salt next to Pulumi.yaml and takes no --config-file: not into the checkout.
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(scratch, f"Pulumi.{self.files.stack}.yaml")
                Path(scratch, "Pulumi.yaml").write_text(f"name: {self.project}\nruntime: python\n", encoding="utf-8")
                stack.write(copy, {key: value for key, value in mine.items() if key != "config"})
                self.output("stack", "init", self.files.stack, "--no-select", cwd=Path(scratch))
                made = stack.read(copy)
            if not self.files.shared and "encryptionsalt" not in mine:
                stack.write(self.files.config, {"encryptionsalt": made["encryptionsalt"], **mine})
        elif not self.files.shared and "encryptionsalt" not in mine and (salt := self.state().salt):
            stack.adopt_salt(self.files, salt, "the stack's state")

    def _refuse_a_state_that_cannot_be_theirs(self) -> None:
        environment, name = self.paths.environment, self.files.stack
        if not (environment.get("CI") == "true" and environment.get("GITHUB_ACTIONS") == "true"):
            return
        # A secret that is not set is an empty variable, and an empty state shows everything as new and nothing lost.
        backend = environment.get("NEXUS_BACKEND_URL")
        if self.files.shared and not backend:
            raise UserError(
                f"NEXUS_BACKEND_URL: is not set, and stack {name} is a team's: its state is not on this runner. Set "
                "the secret in the environment of this job (docs/ci.md)"
            )
        if backend and not self.exists():
            raise UserError(
                f"stack {name}: the backend in NEXUS_BACKEND_URL does not know it, and a workflow run makes none. If "
                f"the address is right, make it where you have the stack's access: `scripts/pulumi -s {name} stack`"
            )

    @property
    def project(self) -> str:
        """The name in Pulumi.yaml."""
        return str(stack.project(self.paths.root)["name"])

    def locks(self) -> Iterator[Path]:
        """The lock files on this stack; none where the backend is not made of files."""
        if self.paths.backend is not None:
            yield from sorted((self._bookkeeping("locks") / self.files.stack).glob("*.json"))

    def _bookkeeping(self, kind: str) -> Path:
        backend = self.paths.backend or Path()
        folder = backend / ".pulumi" / kind
        # Locks of a stack lie under its qualified name, organization/project/stack.
        return folder / ("organization" if kind == "locks" else "") / self.project


def at_a_time() -> int:
    """How many resources the engine deals with at a time: 16, or 4 for each processor as the CLI has it. On a small
    host all of its own would be containers that it waits for."""
    return max(16, 4 * (os.cpu_count() or 1))


def parse(text: str) -> State:
    """A state from the JSON of `pulumi stack export`."""
    export = wire.table(json.loads(text))
    deployment = wire.table(export.get("deployment"))
    providers = wire.table(wire.table(deployment.get("secrets_providers")).get("state"))
    salt = providers.get("salt")
    return State(
        resources=tuple(map(_resource, wire.resources(export))),
        pending=tuple(map(_operation, wire.tables(deployment.get("pending_operations")))),
        salt=salt if isinstance(salt, str) else None,
    )


def open_stack(paths: Paths, name: str, source: Path | None = None) -> Engine:
    """The engine on a stack whose files and state are there.

    Raises UserError as stack.prepare does, and for a mistake in the policy pack's configuration.
    """
    if said := reach.said(paths.environment):
        say(f"engine: {', '.join(said)} of your shell count for nothing: nexus:docker.host says which engine")
    files = stack.prepare(paths, name, source)
    engine = Engine(paths=paths, files=replace(files, levels=_levels(files)))
    engine.ensure()
    return engine


def _levels(files: stack.StackFiles) -> Path | None:
    """The file for --policy-pack-config with the levels that differ on this stack; None where none does.

    The pack itself does not know for which stack it runs when it says how strict it is.
    """
    from policies import config as pack  # takes half a second, which `--help` has no use for
    from policies.rules import RULES

    try:
        levels = pack.configure(pack.read(pack.FILE), RULES, files.stack).levels
    except pack.ConfigError as error:
        raise UserError(str(error)) from error
    if not levels:
        return None
    file = files.directory / "policy-levels.json"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # a stack that a team shares has none of its own
    stack.replace(file, json.dumps(levels, indent=2) + "\n")
    return file


def _operation(item: Mapping[str, object]) -> Operation:
    resource = wire.table(item.get("resource"))
    return Operation(
        kind=str(item.get("type", "")),
        urn=str(resource.get("urn", "")),
        physical=str(wire.table(resource.get("inputs")).get("name", "")),
    )


def _resource(item: Mapping[str, object]) -> Resource:
    return Resource(
        urn=str(item.get("urn", "")),
        type=str(item.get("type", "")),
        id=str(item.get("id", "")),
        protect=item.get("protect") is True,
        deleted=item.get("pendingReplacement") is True,
        outputs=wire.table(item.get("outputs")),
    )


_WITHOUT_STACK: Final = ("version", "about", "plugin", "whoami", "login", "logout", "help", "schema", "package")


def wrapped(arguments: Sequence[str], default: str) -> tuple[str | None, Path | None, list[str]]:
    """For `scripts/pulumi`: the stack and stack file that the arguments name, and the arguments for pulumi itself.

    The stack is None for a command that is not about one.
    """
    name: str | None = None
    source: Path | None = None
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("-s", "--stack", "--stack-file"):
            given = value if equals else next(words, "")
            if not given:
                raise UserError(f"{option}: needs a value")
            if option == "--stack-file":
                source = options.file_argument(given)
            else:
                name = given
        else:
            rest.append(word)
    verb = next((word for word in rest if not word.startswith("-")), "help")
    helping = {"-h", "--help"} & set(rest) or rest[:2] == ["stack", "ls"]
    if name is None and (verb in _WITHOUT_STACK or helping):
        return None, source, rest
    return name or default, source, rest


_HELP: Final = """\
usage: scripts/pulumi [-s STACK] [--stack-file FILE] COMMAND ...

The pinned Pulumi CLI on a stack (default: dev, or $STACK), with its stack file and passphrase outside the checkout
and the policy pack. For example:
  scripts/pulumi preview --expect-no-changes
  scripts/pulumi -s prod config set --secret nexus:smtp-password
What follows is Pulumi's own help.
"""


def main() -> int:
    """`scripts/pulumi`: replaces itself with the Pulumi CLI."""
    arguments = sys.argv[1:]
    paths = find()
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(_HELP, flush=True)
    name, source, rest = wrapped(arguments, os.environ.get("STACK") or "dev")
    environment = dict(paths.environment)
    if name is not None:
        environment = open_stack(paths, name, source).environment
    os.chdir(paths.root)
    try:
        os.execvpe("pulumi", ["pulumi", *rest], environment)  # noqa: S606 - no shell is what is wanted
    except FileNotFoundError:
        raise UserError("the Pulumi CLI is not installed; run `scripts/setup`") from None


if __name__ == "__main__":
    finish(main, "nothing was changed by this wrapper")
