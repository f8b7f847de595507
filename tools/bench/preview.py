"""Seconds of `pulumi preview` of an unchanged stack, beside an empty program and a flat one.

All run with the same engine, virtual environment, passphrase and kind of backend. The two others are projects in a
temporary directory that only this user can read. Nothing is changed but there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts import stack
from scripts.console import UserError, say
from scripts.engine import NO_CHANGES_EXPECTED, Engine
from scripts.wire import STACK, Json, is_custom, resources
from tools.bench import flat
from tools.bench.clock import timed
from tools.bench.figures import Series

EMPTY: Final = "empty program"
FLAT: Final = "flat program"
OURS: Final = "NEXUS"
OURS_CHECKED: Final = "NEXUS with the policy pack"

_LIMIT: Final = 300
"""Seconds after which a preview is given up."""

_EMPTY_PROGRAM: Final = '''\
"""Nothing declared."""

import pulumi
import pulumi_docker
import pulumi_random
'''


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A project whose unchanged stack is previewed."""

    name: str
    folder: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Previews:
    """What was measured, and how many custom resources the stack and the flat program each declare."""

    series: tuple[Series, ...]
    resources: int
    components: int


def measure(engine: Engine, runs: int) -> Previews:
    """Previews every contender once unmeasured, then `runs` times in turn.

    Raises UserError where one of them shows changes: then they are not the same, and a comparison would be void.
    """
    export = _export(engine)
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as scratch:  # mode 0700
        contenders = list(_contenders(engine, export, Path(scratch)))
        for contender in contenders:
            say(f"preview: {contender.name}, not measured: it must show no changes")
            _preview(contender)
        seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for number in range(1, runs + 1):
            for contender in contenders:
                seconds[contender.name].append(_preview(contender))
            say(f"preview: round {number} of {runs}: {_last(seconds)}")
    return Previews(
        series=tuple(Series(name=name, seconds=tuple(values)) for name, values in seconds.items()),
        resources=count(export, custom=True),
        components=count(export, custom=False),
    )


def count(export: Mapping[str, Json], *, custom: bool) -> int:
    """How many custom resources a state has, providers among them; or how many components, without the stack."""
    return sum(1 for item in resources(export) if is_custom(item) is custom and item.get("type") != STACK)


def _contenders(engine: Engine, export: Mapping[str, Json], scratch: Path) -> Iterator[Contender]:
    """The four of them, in the order in which they take turns."""
    shared = _without(engine.environment, "PULUMI_OPTION_POLICY_PACK", "PULUMI_OPTION_POLICY_PACK_CONFIG")
    elsewhere = {
        **_without(shared, "PULUMI_OPTION_CONFIG_FILE"),
        "PULUMI_BACKEND_URL": f"file://{scratch / 'backend'}",
    }
    (scratch / "backend").mkdir(mode=0o700)
    for name, project, program, empty in (
        (EMPTY, f"{engine.project}-empty", _EMPTY_PROGRAM, True),
        (FLAT, f"{engine.project}-flat", flat.flat_program(export), False),
    ):
        say(f"preview: making a stack for the {name}")
        contender = Contender(name=name, folder=scratch / project, environment=elsewhere)
        contender.folder.mkdir(mode=0o700)
        _project(engine, contender.folder, project)
        stack.replace(contender.folder / "__main__.py", program)
        state = contender.folder / "state.json"
        stack.replace(state, json.dumps(flat.flat_state(export, project, empty=empty)))
        _pulumi(contender, "stack", "init", engine.files.stack, "--no-select")
        _pulumi(contender, "stack", "import", "--file", str(state))
        state.unlink()
        yield contender
    yield Contender(name=OURS, folder=engine.paths.root, environment=shared)
    yield Contender(name=OURS_CHECKED, folder=engine.paths.root, environment=engine.environment)


def _project(engine: Engine, folder: Path, name: str) -> None:
    """The files of a Pulumi project that is run as ours is, with our stack's encryption and no configuration."""
    runtime = stack.project(engine.paths.root)["runtime"]
    if isinstance(runtime, dict) and isinstance(options := runtime.get("options"), dict) and "virtualenv" in options:
        place = str(engine.paths.root / str(options["virtualenv"]))
        runtime = {**runtime, "options": {**options, "virtualenv": place}}
    stack.write(folder / "Pulumi.yaml", {"name": name, "runtime": runtime})
    encryption = {key: value for key, value in stack.read(engine.files.config).items() if key != "config"}
    stack.write(folder / f"Pulumi.{engine.files.stack}.yaml", encryption)


def _export(engine: Engine) -> Mapping[str, Json]:
    """The state of the stack with its secrets in clear, in memory only. Raises UserError where nothing is up."""
    export: Mapping[str, Json] = json.loads(engine.output("stack", "export", "--show-secrets"))
    if not count(export, custom=True):
        raise UserError(f"stack {engine.files.stack} is not up; run `make up` first")
    return export


def _preview(contender: Contender) -> float:
    """Seconds of one preview. Raises UserError where it fails or shows changes."""
    arguments = ("preview", "--expect-no-changes", "--non-interactive", "--color", "never")
    run = timed(["pulumi", *arguments], contender.folder, contender.environment, _LIMIT)
    if run.status == NO_CHANGES_EXPECTED:
        advice = "run `make up` first" if contender.name.startswith(OURS) else "tools/bench/flat.py has to learn that"
        raise UserError(
            f"preview of the {contender.name} shows changes, so the comparison is void; {advice}:\n{run.text}"
        )
    if run.status:
        raise UserError(f"preview of the {contender.name} failed (status {run.status}):\n{run.text}")
    return run.seconds


def _pulumi(contender: Contender, *arguments: str) -> None:
    run = timed(["pulumi", *arguments, "--non-interactive"], contender.folder, contender.environment, _LIMIT)
    if run.status:
        raise UserError(
            f"{contender.name}: pulumi {' '.join(arguments[:2])} failed (status {run.status}):\n{run.text}"
        )


def _last(seconds: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{name} {values[-1]:.1f} s" for name, values in seconds.items())


def _without(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key not in names}
