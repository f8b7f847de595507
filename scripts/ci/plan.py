"""What a deployment is going to do, in a form that can be compared: the plan that was reviewed, and the one of now.

A plan is the list of operations of one preview at one commit, each with a digest of what it does; it has no value of
the stack in it, so it may lie where the preview lies. A deployment makes the plan anew and goes on only where it is
the same one. The engine is then held to it while it works (`pulumi up --plan`, of which the CLI says that it is
experimental: alone it would not do, because it notices a forbidden step only on reaching it, with those before it
done). What does not belong here: how a plan looks to a reviewer (scripts/report).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scripts.console import UserError, say
from scripts.wire import masked, table

FILE: Final = "plan.json"
"""The name of a plan in the folder of a preview."""

# Nothing happens to the resource itself (pkg/resource/deploy/step.go).
_IDLE: Final = frozenset({"same", "read", "refresh"})


@dataclass(frozen=True, kw_only=True, order=True)
class Operation:
    """What is done to one resource."""

    urn: str
    op: str
    digest: str
    """Of what the resource is, what it becomes, and the reasons for it; a secret value counts as `[secret]`, as the
    preview has it."""

    def __str__(self) -> str:
        kind, _, name = self.urn.partition("::")[2].partition("::")[2].partition("::")
        return f"{self.op} {kind.rpartition('$')[2]} {name}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The operations of one preview."""

    stack: str
    commit: str
    operations: tuple[Operation, ...]

    @property
    def digest(self) -> str:
        """One name for all of it."""
        return _digest([asdict(one) for one in self.operations] + [self.stack, self.commit])


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The project's own commands, as `scripts/run` starts them."""

    root: Path
    start: tuple[str, ...] = (sys.executable, "-m")

    def output(self, *words: str) -> str:
        """What a command prints on stdout. Raises UserError where it fails."""
        done = subprocess.run(
            [*self.start, *words],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UserError(f"{words[0].rpartition('.')[2]} failed (status {done.returncode}){_errors(done.stdout)}")
        return done.stdout

    def show(self, *words: str, also: Mapping[str, str]) -> int:
        """Runs a command with more variables, showing its output; its exit status."""
        return subprocess.run(
            [*self.start, *words], cwd=self.root, stdin=subprocess.DEVNULL, env={**os.environ, **also}, check=False
        ).returncode

    def preview(self, stack: str, *more: str) -> str:
        """The JSON of a preview that looks at the host first, so that what was changed there is in it.

        Raises UserError where the program, a policy or the host says no.
        """
        return self.output("scripts.preview", "--stack", stack, "--json", "--refresh", *more)

    def commit(self) -> str:
        """The commit of the checkout."""
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=self.root, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"{self.root}: is not a checkout of git: {done.stderr.strip()}")
        return done.stdout.strip()


def parse(text: str, stack: str, commit: str) -> Plan:
    """The plan in the output of `pulumi preview --json`, or in its events as lines of JSON.

    Both give the same plan. Raises UserError where it is something else, or the events of a preview that failed.
    """
    try:
        documents: list[object] = [json.loads(text)]
    except json.JSONDecodeError:
        documents = _lines(text)
    first = documents[0] if documents else None
    steps = first.get("steps") if isinstance(first, dict) else None
    if len(documents) == 1 and isinstance(steps, list):
        found = steps
    elif any(isinstance(one, dict) and "summaryEvent" in one for one in documents):
        found = list(_steps(documents))
    else:
        raise UserError(
            "preview: is not the output of `pulumi preview --json`: no list of steps, no events to the end"
        )
    return Plan(stack=stack, commit=commit, operations=tuple(sorted(_operations(found))))


def write(plan: Plan, folder: Path) -> Path:
    """Writes a plan into the folder of its preview."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    path.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
    return path


def read(folder: Path) -> Plan:
    """The plan of a preview. Raises UserError where there is none."""
    path = folder / FILE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return Plan(
            stack=str(tree["stack"]),
            commit=str(tree["commit"]),
            operations=tuple(
                Operation(urn=str(one["urn"]), op=str(one["op"]), digest=str(one["digest"]))
                for one in tree["operations"]
            ),
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); `scripts/run ci plan` writes it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not a plan; `scripts/run ci plan` writes it") from error


def compare(reviewed: Plan, now: Plan) -> None:
    """Raises UserError that names every operation that is in one plan only, where they are not the same."""
    if reviewed.stack != now.stack:
        raise UserError(f"the plan is for stack {reviewed.stack}, and this is {now.stack}")
    if reviewed.commit != now.commit:
        raise UserError(
            f"the plan is for commit {reviewed.commit[:12]}, and this is {now.commit[:12]}: nothing was changed"
        )
    if reviewed.digest == now.digest:
        return
    gone = sorted(set(reviewed.operations) - set(now.operations))
    new = sorted(set(now.operations) - set(reviewed.operations))
    lines = [f"  no longer: {one}" for one in gone] + [f"  new:       {one}" for one in new]
    raise UserError(
        "the plan is not the one that was reviewed: the stack or its host has changed since. Nothing was changed; "
        "run the workflow again and review the new plan.\n" + "\n".join(lines)
    )


def deploy(commands: Commands, stack: str, reviewed: Plan, backup: Path | None) -> int:
    """Carries out a reviewed plan and nothing else; the exit status of `up`.

    `backup` is where the state goes right before, with its secrets encrypted: where it is not, nothing was changed.
    Raises UserError, with nothing changed, where the plan of now is another one.
    """
    if backup is not None:
        backup.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        engine_plan = Path(scratch, "engine-plan.json")
        now = parse(commands.preview(stack, f"--save-plan={engine_plan}"), stack, commands.commit())
        compare(reviewed, now)
        say(f"deploy: stack {stack}: the plan is the one that was reviewed ({now.digest[:12]})")
        if backup is not None:
            backup.parent.mkdir(parents=True, exist_ok=True)
            state = commands.output("scripts.engine", "-s", stack, "stack", "export")
            handle = os.open(backup, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(state)
            say(f"deploy: the state before is in {backup}")
        # Every flag is also a variable, so what `make up` comes to looks at the host as the plan did, and its one
        # `pulumi up` is held to the plan.
        also = {
            "PULUMI_EXPERIMENTAL": "true",
            "PULUMI_OPTION_PLAN": str(engine_plan),
            "PULUMI_OPTION_REFRESH": "true",
        }
        return commands.show("scripts.up", "--stack", stack, also=also)


def _lines(text: str) -> list[object]:
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise UserError(f"preview: is not JSON, as one document or one a line: {error.msg}") from None


def _steps(events: Iterable[object]) -> Iterator[dict[str, object]]:
    """The events of resources in the form of the document's steps, which has only the logical ones."""
    for event in events:
        before = event.get("resourcePreEvent") if isinstance(event, dict) else None
        step = before.get("metadata") if isinstance(before, dict) else None
        if not isinstance(step, dict) or not step.get("logical"):
            continue
        names = {"oldState": "old", "newState": "new", "replaceReasons": "keys", "diffReasons": "diffs"}
        yield {"op": step.get("op"), "urn": step.get("urn"), **{ours: step.get(its) for ours, its in names.items()}}


def _operations(steps: Iterable[object]) -> Iterator[Operation]:
    for step in steps:
        if not isinstance(step, dict) or step.get("op") in _IDLE:
            continue
        old, new = table(step.get("oldState")), table(step.get("newState"))
        yield Operation(
            urn=str(step.get("urn", "")),
            op=str(step.get("op", "")),
            digest=_digest(
                [
                    [masked(old.get("inputs")), old.get("id") or "", bool(old.get("protect"))],
                    [masked(new.get("inputs")), bool(new.get("protect")), bool(new.get("retainOnDelete"))],
                    _sorted(step.get("replaceReasons")),
                    _sorted(step.get("diffReasons")),
                ]
            ),
        )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sorted(value: object) -> list[str]:
    return sorted(str(one) for one in value) if isinstance(value, list) else []


def _errors(text: str) -> str:
    """What the engine says in the JSON of a preview that failed: policy violations are there, too."""
    try:
        tree: object = json.loads(text)
    except ValueError:
        return ""
    found = tree.get("diagnostics") if isinstance(tree, dict) else None
    lines = _messages(found if isinstance(found, list) else [])
    return ":\n" + "\n".join(lines) if lines else ""


def _messages(diagnostics: Sequence[object]) -> list[str]:
    return [
        str(one.get("message", "")).strip()
        for one in diagnostics
        if isinstance(one, dict) and one.get("severity") == "error"
    ]
