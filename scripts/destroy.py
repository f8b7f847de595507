"""Takes a stack down: every container and network goes, the data stays, and it says where the data is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import docker

from components import reach
from scripts import dockerhost, heal, options, stack
from scripts.console import UserError, elapsed, finish, say
from scripts.engine import VOLUME, Engine, State, open_stack
from scripts.paths import find

RESUME: Final = "what is gone is gone; `make destroy` goes on from here"


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run destroy`."""
    parser = options.parser("destroy", __doc__)
    given = parser.parse_args(arguments)
    paths = find()
    say(f"destroy: stack {given.stack}")
    engine = open_stack(paths, given.stack, given.stack_file)
    settings = stack.settings(engine.files)
    dockerhost.start(paths, settings, given.stack)
    client = dockerhost.connect(settings.docker)
    destroy(engine, client)
    print(kept(engine.state(), str(settings.storage.data or ""), settings.docker.host), flush=True)
    say(f"destroy: no container and no network of stack {given.stack} is left, {elapsed():.0f} seconds in all")
    return 0


def destroy(engine: Engine, client: docker.DockerClient) -> None:
    """Destroys what is not protected and what an interrupted run left. Raises UserError where some is left."""
    name = engine.files.stack
    heal.unlock(engine)
    state = engine.state()
    todo = heal.plan(state, dockerhost.look(client, name))
    heal.refuse_strangers(name, todo)
    dockerhost.remove(client, todo.remove_containers, todo.remove_networks)
    if state.pending:
        say(f"heal: clearing what was begun and never ended: {', '.join(map(str, state.pending))}")
        engine.forget_pending()
    # The provider stumbles over what is gone already; after a look at the host the engine knows.
    refresh = ("--refresh",) if todo.refresh else ()
    status = engine.stream(
        "destroy", "--yes", "--exclude-protected", "--skip-preview", "--suppress-outputs", *refresh
    )
    if status < 0:
        raise UserError(f"the engine was killed (signal {-status}); {RESUME}")
    if status:
        raise UserError(f"`pulumi destroy` failed, see above; {RESUME}")
    left = dockerhost.look(client, name)
    names = [container.name for container in left.containers] + [network.name for network in left.networks]
    if names:
        raise UserError(f"still there: {', '.join(names)}; {RESUME}")


def kept(state: State, data: str, host: str) -> str:
    """Where the data is that `destroy` left, and how to delete it for good. `data`: the path of the tree, if any."""
    volumes = sorted(resource.id for resource in state.of(VOLUME))
    if not volumes and not data:
        return "No data is left."
    command = "docker" if host == reach.DEFAULT else f"docker --host {host}"
    lines = ["", "The data is kept; `make up` finds it again:"]
    if data:
        lines.append(f"  media and downloads: {data}")
    lines += [f"  Docker volume {name}" for name in volumes]
    lines += ["To delete it for good (there is no way back):"]
    if volumes:
        lines.append(f"  {command} volume rm {' '.join(volumes)}")
    if data:
        lines.append(f"  rm -r {data}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    finish(main, RESUME)
