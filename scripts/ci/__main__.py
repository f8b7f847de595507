"""What the workflows call: `python3 -m scripts.ci NAME`, or `scripts/run ci NAME` for what needs the engine.

Each takes what it needs from options and documented variables, so it runs on any runner and by hand (docs/ci.md).
What does not belong here: how a preview is shown (`scripts/run report`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts import options
from scripts.ci import access, github, plan, smoke, stacks
from scripts.console import UserError, finish, say
from scripts.paths import ROOT

MARKER: Final = "nexus-preview stack={stack}"
DRIFT: Final = "nexus-drift stack={stack}"
TEXT: Final = "comment.md"
"""The name of the rendered preview in its folder."""
LISTED: Final = 100
"""How many operations the issue about drift lists."""


def build() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="scripts/run ci", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="NAME")

    one = commands.add_parser("stacks", help="print the stacks that a team shares, as JSON")
    one.add_argument("--also", action="append", default=[], metavar="STACK", help="a stack to put before them")
    one.set_defaults(run=_stacks)

    one = commands.add_parser("comment", help="post a preview on its pull request, or edit what was posted")
    _stack(one)
    one.add_argument(
        "--folder", type=options.file_argument, required=True, help=f"the folder of the preview; {TEXT} is posted"
    )
    one.add_argument("--pull", type=int, required=True, metavar="NUMBER", help="the pull request")
    one.set_defaults(run=_comment)

    one = commands.add_parser("issue", help="open, edit or close the issue about a stack's drift")
    _stack(one)
    one.add_argument("--folder", type=options.file_argument, required=True, help="the folder of the plan")
    one.set_defaults(run=_issue)

    one = commands.add_parser("label", help="print true where the pull request that brought a commit has a label")
    one.add_argument("--commit", required=True, metavar="SHA")
    one.add_argument("--label", required=True)
    one.set_defaults(run=_label)

    one = commands.add_parser("unlabel", help="take a label from a pull request, which was for what it was before")
    one.add_argument("--pull", type=int, required=True, metavar="NUMBER", help="the pull request")
    one.add_argument("--label", required=True)
    one.set_defaults(run=_unlabel)

    one = commands.add_parser("newest", help="refuse where a commit is no longer the newest of its branch")
    one.add_argument("--commit", required=True, metavar="SHA")
    one.add_argument("--branch", required=True)
    one.set_defaults(run=_newest)

    one = commands.add_parser("access", help="give this run its access by ssh, from the environment")
    one.add_argument("--revoke", action="store_true", help="take it away again")
    one.set_defaults(run=_access)

    one = commands.add_parser(
        "plan", help=f"look at the host, preview a stack, and write the plan that `deploy` is held to: {plan.FILE}"
    )
    _stack(one)
    one.add_argument("--folder", type=options.file_argument, required=True, help="where to write it")
    one.add_argument(
        "--preview",
        type=options.file_argument,
        metavar="FILE",
        help="take the plan from this output of `pulumi preview --json --refresh`, or its events; make no preview",
    )
    one.set_defaults(run=_plan)

    one = commands.add_parser("deploy", help="carry out a reviewed plan, and refuse if it would be another one now")
    _stack(one)
    one.add_argument(
        "--folder",
        type=options.file_argument,
        required=True,
        help=f"the folder of the reviewed preview, with {plan.FILE}",
    )
    one.add_argument("--backup", type=options.file_argument, metavar="FILE", help="write the state there first")
    one.set_defaults(run=_deploy)

    one = commands.add_parser("smoke", help="ask every address of a stack over HTTPS")
    _stack(one)
    one.add_argument(
        "--ca",
        type=options.file_argument,
        metavar="FILE",
        help="a certificate to trust (default: the local CA's, if ours)",
    )
    one.add_argument("--connect", type=_place, metavar="HOST:PORT", help="connect there instead of to the names")
    one.add_argument("--seconds", type=float, default=smoke.SECONDS, help="how long to wait (default: %(default)s)")
    one.set_defaults(run=_smoke)

    one = commands.add_parser("rollback", help="print how to go back after a deployment that failed or was stopped")
    _stack(one)
    one.add_argument("--commit", required=True, metavar="SHA", help="the commit that was deployed")
    one.add_argument(
        "--backup",
        type=options.file_argument,
        metavar="FILE",
        required=True,
        help="what `deploy --backup` writes right before it changes anything; where it is not, nothing was changed",
    )
    one.set_defaults(run=_rollback)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """`python3 -m scripts.ci`, `scripts/run ci`."""
    given = build().parse_args(arguments)
    status: int = given.run(given)
    return status


def _stack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stack", required=True)


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise argparse.ArgumentTypeError("must be HOST:PORT")
    return host, int(port)


def _stacks(given: argparse.Namespace) -> int:
    print(json.dumps(stacks.shared(ROOT, given.also)))
    return 0


def _text(folder: Path) -> str:
    path = folder / TEXT
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _log() -> str:
    address = github.run_address()
    return f"[the run's log]({address})" if address else "the log"


def _comment(given: argparse.Namespace) -> int:
    text = _text(given.folder) or (
        f"### Preview of `{given.stack}` did not come to an end\n\n"
        f"It stopped before there was anything to show: {_log()} says why. Nothing was changed."
    )
    say(f"comment: {github.from_environment().comment(given.pull, MARKER.format(stack=given.stack), text)}")
    return 0


def _issue(given: argparse.Namespace) -> int:
    api, marker = github.from_environment(), DRIFT.format(stack=given.stack)
    if not (given.folder / plan.FILE).is_file():
        address = api.issue(
            marker,
            f"Drift: stack {given.stack} could not be looked at",
            f"The look at the host of stack `{given.stack}` and the preview after it failed: {_log()} says why.",
        )
        say(f"drift: not known; {address}")
        return 0
    operations = plan.read(given.folder).operations
    if not operations:
        say(f"drift: none; {api.close(marker, f'No drift any more: {_log()}.') or 'no issue was open'}")
        return 0
    lines = [f"- {one}" for one in operations[:LISTED]]
    if more := len(operations) - len(lines):
        lines.append(f"- … and {more} more, which are not listed here: {plan.FILE} of the run has all")
    address = api.issue(
        marker,
        f"Drift: stack {given.stack} is not what its program says",
        f"The host, the state or the program of stack `{given.stack}` has changed without a deployment ({_log()}).\n"
        "What should stay has to go into the program. The rest is put right by a run of the workflow `deploy` on the "
        "default branch: its plan looks at the host as this did, and shows it before it is approved.\n\n"
        f"It would do {len(operations)} things:\n\n" + "\n".join(lines) + "\n",
    )
    say(f"drift: {len(operations)} operations; {address}")
    return 0


def _label(given: argparse.Namespace) -> int:
    print("true" if github.from_environment().has_label(given.commit, given.label) else "false")
    return 0


def _unlabel(given: argparse.Namespace) -> int:
    taken = github.from_environment().unlabel(given.pull, given.label)
    say(f"label: {given.label} {'taken away' if taken else 'is not there'}")
    return 0


def _newest(given: argparse.Namespace) -> int:
    tip = github.from_environment().tip(given.branch)
    if tip != given.commit:
        raise UserError(
            f"{given.branch} is at {tip[:12]} by now, and this run is for {given.commit[:12]}: nothing was changed. "
            "Approve the run for the newer commit; to go back to an older one, revert"
        )
    say(f"newest: {given.branch} is at {tip[:12]}")
    return 0


def _access(given: argparse.Namespace) -> int:
    if given.revoke:
        access.revoke(Path.home())
    else:
        access.grant(Path.home(), os.environ)
    return 0


def _plan(given: argparse.Namespace) -> int:
    commands = plan.Commands(root=ROOT)
    if given.preview:
        try:
            text = given.preview.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{given.preview}: cannot be read ({error})") from error
    else:
        text = commands.preview(given.stack)
    made = plan.parse(text, given.stack, commands.commit())
    path = plan.write(made, given.folder)
    number = len(made.operations)
    say(f"plan: stack {given.stack}: {number} operation{'' if number == 1 else 's'}, {made.digest[:12]}, in {path}")
    return 0


def _deploy(given: argparse.Namespace) -> int:
    return plan.deploy(plan.Commands(root=ROOT), given.stack, plan.read(given.folder), given.backup)


def _smoke(given: argparse.Namespace) -> int:
    urls, authority = smoke.addresses(given.stack)
    way = smoke.Way(authority=given.ca or authority, connect=given.connect)
    answers = smoke.check(urls, way, seconds=given.seconds)
    for one in answers:
        print(f"{'ok    ' if one.well else 'FAILED'}  {one.url}  {one.said}")
    failed = sum(not one.well for one in answers)
    print(f"smoke: stack {given.stack}: {len(answers) - failed} of {len(answers)} addresses answer")
    return 1 if failed else 0


def _rollback(given: argparse.Namespace) -> int:
    if not given.backup.is_file():
        print(
            f"### Deployment of `{given.stack}` was not begun: nothing was changed\n\n"
            f"It ended before the first change: {_log()} says why. There is nothing to go back from.\n"
        )
        return 0
    print(
        f"### Deployment of `{given.stack}` did not end well: how to go back\n\n"
        "What was done stays until the next deployment; nothing is undone by itself. Data volumes are protected.\n\n"
        f"1. What is the matter: {_log()}; `docker ps` and `docker logs` on the host.\n"
        f"2. Back to the program before: `git revert {given.commit[:12]}` (a merge: `git revert -m 1 …`), push, and "
        "approve the deployment of that. It goes through the same preview, policies and review.\n"
        f"3. From a machine with the stack's access, without the workflow: the same commit, then "
        f"`scripts/run preview --stack {given.stack}` and `scripts/run up --stack {given.stack}`.\n"
        "4. Where the run was stopped in the middle, its engine may have left a lock: once no other runs, "
        f"`scripts/pulumi -s {given.stack} cancel --yes`.\n"
        "5. Only where the state itself is wrong: "
        f"`scripts/pulumi -s {given.stack} stack import --file FILE` with the export that was taken before "
        "(docs/ci.md says where it is), then a preview with `--refresh`.\n"
    )
    return 0


if __name__ == "__main__":
    finish(main, "run it again")
