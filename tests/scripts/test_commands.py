"""make and scripts/run: targets are listed, commands have help, mistakes no traceback, and Ctrl-C is passed on."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import pytest

from scripts import console, options, process
from scripts.console import Interrupted, UserError, finish, table

ROOT: Final = Path(__file__).resolve().parents[2]
COMMANDS: Final = ("up", "preview", "destroy", "doctor", "policy", "certificate", "images", "heal")
OF_NO_STACK: Final = frozenset({"docs"})


def make(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def targets() -> set[str]:
    (line,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(line.split())


def test_help_lists_every_target_with_one_line() -> None:
    listed = dict(line.split(maxsplit=1) for line in make("help").stdout.splitlines())
    assert set(listed) == targets()
    assert all(listed.values())
    assert make().stdout == make("help").stdout


@pytest.mark.parametrize("target", sorted(targets() - {"help"}))
def test_make_only_calls_scripts(target: str) -> None:
    shown = make("--dry-run", target, "STACK=some", "ARGS=--more").stdout
    (line,) = shown.splitlines()
    script, *words = line.split()
    assert (ROOT / script).is_file()
    assert os.access(ROOT / script, os.X_OK)
    if script == "scripts/run":
        stack = [] if target in OF_NO_STACK else ["--stack", "some"]
        assert words[1:] == [*stack, "--more"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"scripts.{name}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: scripts/run {name}" in shown
    assert "--stack-file" in shown


def test_run_lists_the_commands() -> None:
    done = subprocess.run(["scripts/run"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert name in done.stdout


def test_the_stack_is_dev_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STACK", raising=False)
    assert options.parser("up", "Doc.").parse_args([]).stack == "dev"
    monkeypatch.setenv("STACK", "prod")
    assert options.parser("up", "Doc.").parse_args([]).stack == "prod"
    assert options.parser("up", "Doc.").parse_args(["--stack", "test"]).stack == "test"


def test_a_path_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_CALLED_IN", "/home/ann")
    assert options.file_argument("x.yaml") == Path("/home/ann/x.yaml")
    assert options.file_argument("/etc/x.yaml") == Path("/etc/x.yaml")


def refuse() -> int:
    raise UserError("Pulumi.dev.yaml: nexus:x: no such setting")


def interrupted() -> int:
    raise Interrupted


def test_a_users_mistake_ends_in_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        finish(refuse, "go on")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: Pulumi.dev.yaml: nexus:x: no such setting\n"


def test_an_interrupt_ends_in_one_line_that_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        finish(interrupted, "`make up` goes on from here")
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip().endswith("interrupted: `make up` goes on from here")


def test_a_defect_shows_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        finish(lambda: 1 // 0, "go on")


def test_a_table_lines_up() -> None:
    assert (
        table([["a", "long name", "x"], ["bcd", "n", "y z"]], indent="") == "a    long name  x\nbcd  n          y z"
    )
    assert table([]) == ""


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("working")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"\[ *\d+s\] working\n", shown.err)


def test_a_childs_status_and_lines_come_back() -> None:
    lines: list[str] = []
    command = [sys.executable, "-c", "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"]
    assert process.stream(command, cwd=ROOT, environment=os.environ, show=lines.append) == 3
    assert sorted(lines) == ["one", "two"]


def test_a_killed_childs_status_names_the_signal() -> None:
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    assert process.stream(command, cwd=ROOT, environment=os.environ) == -signal.SIGKILL


COUNTS: Final = """
import signal, sys, time
count = 0
def note(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, note)
print("ready", flush=True)
end = time.monotonic() + 10
while not count and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.3)
print(f"interrupts: {count}", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_the_child_once_and_is_waited_for(number: signal.Signals) -> None:
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        if line == "ready":
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

    with pytest.raises(Interrupted):
        process.stream([sys.executable, "-c", COUNTS], cwd=ROOT, environment=os.environ, show=show)
    assert lines == ["ready", "interrupts: 1"]


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    process.stream(["true"], cwd=ROOT, environment=os.environ)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_of_a_shell_script_reaches_what_it_started() -> None:
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        if line == "ready":
            os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        process.stream(
            ["bash", "-c", "echo ready; sleep 30; true"],
            cwd=ROOT,
            environment=os.environ,
            show=show,
            whole_group=True,
        )
    assert time.monotonic() - began < 10
