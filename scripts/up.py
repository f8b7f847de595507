"""Brings a stack up to date and to health: what `make up` does once scripts/setup has run.

The order is this module's; each step is another's. What does not belong here: knowing what the stack is made of.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from components.settings.schema import EmbeddedVpn, Settings
from scripts import certificate, dockerhost, heal, images, options, stack
from scripts.console import UserError, elapsed, finish, say, table
from scripts.dockerhost import SERVICE, Container
from scripts.engine import NO_CHANGES_EXPECTED, Engine, State, open_stack
from scripts.paths import find

RESUME: Final = "what was made stays; `make up` goes on from here"
_HEALTH_SECONDS: Final = 240
_POLL_SECONDS: Final = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run up`."""
    parser = options.parser("up", __doc__)
    images.add_option(parser)
    given = parser.parse_args(arguments)
    paths = find()
    say(f"up: stack {given.stack}")
    engine = open_stack(paths, given.stack, given.stack_file)
    stack.settings(engine.files)  # before a registry is asked anything
    # What the host needs depends on whether the images are the real ones.
    images.choose(engine, given.images)
    settings = stack.settings(engine.files)
    dockerhost.check(settings, dockerhost.start(paths, settings, given.stack), engine.files)
    client = dockerhost.connect(settings.docker)
    # Before the first long step: a stack file that lacks more than a certificate is refused at once.
    certificate.ensure(engine, settings.edge.domain, certificate.hosts({}))
    stack.check(engine.files)
    images.ensure(engine, client, settings.docker.host)
    state, refresh = heal.heal(engine, client)
    certificate.ensure(engine, settings.edge.domain, certificate.hosts(state.outputs))
    if deploy(engine, refresh=refresh):
        state = engine.state()
    unwell = wait_for_health(lambda: dockerhost.look(client, given.stack).containers)
    print(report(engine, settings, state, images.local_stand_ins(client, given.stack)), flush=True)
    if unwell:
        raise UserError(complaint(unwell))
    say(f"up: stack {given.stack} is up and healthy, {elapsed():.0f} seconds in all")
    return 0


def deploy(engine: Engine, *, refresh: bool) -> bool:
    """Runs the program with the policy pack; True where the state is another now.

    A preview comes first, so that nothing is touched where the program, a policy or the host says no. With `refresh`
    the host is looked at before that, once: within preview and up the engine would do it twice.
    Raises UserError where the engine fails.
    """
    quiet = ("--suppress-permalink=true",)
    unattended = ("--yes", "--skip-preview", "--suppress-outputs")
    if refresh:
        say("pulumi refresh: looking at the host again")
        _completed("refresh", engine.stream("refresh", *unattended, *quiet))
    say("pulumi preview: looking for what has to change")
    watcher = _PreviewLines()
    status = engine.stream("preview", "--expect-no-changes", *quiet, show=watcher.show)
    if status == 0 and not watcher.outputs_change:
        say("pulumi preview: nothing to change")
        return refresh
    if status not in (0, NO_CHANGES_EXPECTED):
        raise UserError("`pulumi preview` refused, see above; nothing was changed")
    say("pulumi up")
    _completed("up", engine.stream("up", *unattended, *quiet))
    return True


def _completed(command: str, status: int) -> None:
    if status < 0:
        raise UserError(f"the engine was killed (signal {-status}); {RESUME}")
    if status:
        raise UserError(f"`pulumi {command}` failed, see above; {RESUME}")


class _PreviewLines:
    """Shows a preview without the complaint that there are changes, and notes changed outputs of the stack, which
    --expect-no-changes does not count."""

    def __init__(self) -> None:
        self.outputs_change = False

    def show(self, line: str) -> None:
        if line.strip() == "Outputs:":
            self.outputs_change = True
        if "no changes were expected" not in line:
            print(line, flush=True)


def wait_for_health(
    look: Callable[[], Iterable[Container]],
    *,
    seconds: float = _HEALTH_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Container, ...]:
    """Waits until every service container is running and healthy; those that are not after `seconds`."""
    end = time.monotonic() + seconds
    told = ""
    while True:
        unwell = tuple(one for one in look() if one.role == SERVICE and not one.well)
        if not unwell or time.monotonic() >= end:
            return unwell
        waiting = ", ".join(f"{one.name} ({condition(one)})" for one in unwell)
        if waiting != told:
            say(f"waiting for {waiting}")
            told = waiting
        sleep(_POLL_SECONDS)


def condition(container: Container) -> str:
    """What a container is, in a word: its health where it runs and has one, else its status."""
    return container.health if container.status == "running" and container.health else container.status


def complaint(unwell: Sequence[Container]) -> str:
    """The message about containers that are not well."""
    names = ", ".join(f"{one.name} is {condition(one)}" for one in unwell)
    return f"{names}; `docker logs {unwell[0].name}` says more, `make up` tries again"


def report(engine: Engine, settings: Settings, state: State, stand_ins: Sequence[str]) -> str:
    """What a person needs to know of a stack that is up: addresses, sign-in, where things lie."""
    paths, files = engine.paths, engine.files
    outputs = state.outputs
    urls = outputs.get("urls")
    lines = ["", f"Stack {files.stack}"]
    if isinstance(urls, Mapping) and urls:
        lines.append(table([[str(name), str(url)] for name, url in sorted(urls.items())]))
    rows = [
        ["admin user", str(outputs.get("admin-user", "admin"))],
        ["admin password", f"scripts/pulumi -s {files.stack} stack output admin-password --show-secrets"],
        ["passphrase", str(files.passphrase) if files.passphrase else "your team's (from the environment)"],
        ["stack file", str(files.config)],
        ["data", str(outputs.get("data", "?"))],
    ]
    if isinstance(settings.vpn, EmbeddedVpn):
        rows.append(["VPN", "the peer inside the stack, which hides nothing: downloads come to your own address"])
    if certificate.is_local(settings.edge.domain):
        rows.append(["local CA", f"{paths.ca / 'ca.pem'} (`scripts/run certificate` says how to trust it)"])
    if stand_ins:
        rows.append(["stand-ins", f"{', '.join(stand_ins)} (not the real programs: no image registry was in reach)"])
    lines += ["", table(rows), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    os.chdir(find().root)
    finish(main, RESUME)
