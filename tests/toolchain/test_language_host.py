"""The language host of the engine built from source, spoken to as the engine speaks to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from tests.toolchain.conftest import CLI, ROOT, executable

# Stands where pulumi-language-python-exec is: says what it was given, and ends as the program's name asks.
EXECUTOR = """
import json, os, pathlib, sys, time
told = {"args": sys.argv[1:], "venv": os.environ["VIRTUAL_ENV"], "config": os.environ["PULUMI_CONFIG"],
        "secret": os.environ["PULUMI_CONFIG_SECRET_KEYS"], "pid": os.getpid()}
pathlib.Path(os.environ["TOLD"]).write_text(json.dumps(told))
if sys.argv[-1] == "sleep":
    time.sleep(60)
sys.exit(int(sys.argv[-1]))
"""


class Host:
    """A running host and a channel to it."""

    def __init__(
        self, folder: Path, process: subprocess.Popen[str], stub: language_pb2_grpc.LanguageRuntimeStub
    ) -> None:
        self.folder = folder
        self.process = process
        self.stub = stub

    def info(self, *, entry: str = "0", **options: str) -> language_pb2.ProgramInfo:
        struct = Struct()
        struct.update({"virtualenv": "env", **options})
        folder = str(self.folder)
        return language_pb2.ProgramInfo(
            root_directory=folder, program_directory=folder, entry_point=entry, options=struct
        )

    def run(self, *, entry: str, **options: str) -> language_pb2.RunResponse:
        answer: language_pb2.RunResponse = self.stub.Run(
            language_pb2.RunRequest(
                project="nexus",
                stack="dev",
                pwd=str(self.folder),
                config={"nexus:a": "1"},
                configSecretKeys=["nexus:b"],
                dryRun=True,
                parallel=4,
                monitor_address="127.0.0.1:2",
                organization="organization",
                info=self.info(entry=entry, **options),
            ),
            timeout=30,
        )
        return answer

    def told(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "told.json").read_text())
        return found

    def wait_for_program(self) -> int:
        """The process of a program that sleeps."""
        deadline = time.monotonic() + 10
        while not (self.folder / "told.json").exists() or not (self.folder / "told.json").read_text():
            assert time.monotonic() < deadline, "the program did not start"
            time.sleep(0.05)
        pid = self.told()["pid"]
        assert isinstance(pid, int)
        return pid


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def lay_out(folder: Path) -> Path:
    """The files of a toolchain's bin, and a virtual environment beside them."""
    (folder / "pulumi-language-python.py").write_text(
        (ROOT / "lab/engine/pulumi-language-python/host.py").read_text()
    )
    (folder / "pulumi-language-python-exec").write_text(EXECUTOR)
    launcher = executable(
        folder / "pulumi-language-python",
        (ROOT / "lab/engine/pulumi-language-python/pulumi-language-python").read_text(),
    )
    (folder / "pulumi-language-python.version").write_text(f"{CLI}\n")
    (folder / "env/bin").mkdir(parents=True)
    executable(folder / "env/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    return launcher


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, str(lay_out(folder)), "127.0.0.1:1"],
        env=os.environ | {"NEXUS_PYTHON": sys.executable, "TOLD": str(folder / "told.json")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with start(tmp_path) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Host(tmp_path, process, language_pb2_grpc.LanguageRuntimeStub(channel))
        process.terminate()
        process.communicate(timeout=20)


def test_host_names_the_version_of_the_engine_and_asks_for_no_plugins(host: Host) -> None:
    assert host.stub.GetPluginInfo(Empty()).version == CLI
    packages = host.stub.GetRequiredPackages(language_pb2.GetRequiredPackagesRequest(info=host.info()))
    assert list(packages.packages) == []
    plugins = host.stub.GetRequiredPlugins(language_pb2.GetRequiredPluginsRequest(info=host.info()))
    assert list(plugins.plugins) == []


def test_about_names_the_python_of_the_virtual_environment(host: Host) -> None:
    about = host.stub.About(language_pb2.AboutRequest(info=host.info()), timeout=30)
    assert about.executable == sys.executable
    assert about.version == sys.version.split()[0]


def test_program_runs_in_its_virtual_environment_with_its_configuration(host: Host) -> None:
    host.stub.Handshake(language_pb2.LanguageHandshakeRequest(engine_address="127.0.0.1:3"))
    answer = host.run(entry="0")
    assert (answer.error, answer.bail) == ("", False)
    told = host.told()
    folder = str(host.folder)
    assert told["args"] == [
        *("--monitor", "127.0.0.1:2", "--engine", "127.0.0.1:3", "--project", "nexus", "--root_directory", folder),
        *(
            "--stack",
            "dev",
            "--pwd",
            folder,
            "--dry_run",
            "true",
            "--parallel",
            "4",
            "--organization",
            "organization",
        ),
        "0",
    ]
    assert told["venv"] == f"{folder}/env"
    assert json.loads(str(told["config"])) == {"nexus:a": "1"}
    assert json.loads(str(told["secret"])) == ["nexus:b"]


def test_program_that_has_shown_its_error_bails(host: Host) -> None:
    answer = host.run(entry="32")
    assert (answer.error, answer.bail) == ("", True)


def test_program_that_ends_otherwise_is_an_error(host: Host) -> None:
    answer = host.run(entry="3")
    assert (answer.error, answer.bail) == ("program exited with non-zero exit code: 3", False)


def test_virtual_environment_that_is_missing_is_named(host: Host) -> None:
    with pytest.raises(grpc.RpcError, match=r"virtualenv 'nowhere' in .*run scripts/setup"):
        host.run(entry="0", virtualenv="nowhere")


def test_other_toolchains_are_refused(host: Host) -> None:
    with pytest.raises(grpc.RpcError, match=r"'poetry' in .*: only pip"):
        host.run(entry="0", toolchain="poetry")


def test_policy_pack_runs_beside_its_own_yaml(host: Host, tmp_path: Path) -> None:
    # The module that a pack is started with, in the pack's own virtual environment.
    module = tmp_path / "env/bin/pulumi/policy"
    module.mkdir(parents=True)
    (module.parent / "__init__.py").touch()
    (module / "__init__.py").touch()
    (module / "__main__.py").write_text(
        "import os, sys\n"
        "print(12345, flush=True)\n"
        "print(sys.argv[1:], os.getcwd(), os.environ['EXTRA'], file=sys.stderr)\n"
    )
    executable(
        tmp_path / "env/bin/python", f'#!/bin/sh\nPYTHONPATH="{tmp_path}/env/bin" exec "{sys.executable}" "$@"\n'
    )
    request = language_pb2.RunPluginRequest(
        kind="analyzer", pwd="/", args=["127.0.0.1:7"], env=["EXTRA=more"], info=host.info()
    )
    answers = list(host.stub.RunPlugin(request, timeout=30))
    assert b"".join(answer.stdout for answer in answers) == b"12345\n"
    said = b"".join(answer.stderr for answer in answers).decode()
    assert said == f"['127.0.0.1:7', '{tmp_path}'] {tmp_path} more\n"
    assert answers[-1].WhichOneof("output") == "exitcode"
    assert answers[-1].exitcode == 0


def test_interrupt_ends_it_quietly_and_the_program_with_it(host: Host) -> None:
    call = host.stub.Run.future(
        language_pb2.RunRequest(pwd=str(host.folder), info=host.info(entry="sleep")), timeout=30
    )
    program = host.wait_for_program()
    host.process.send_signal(signal.SIGINT)
    out, err = host.process.communicate(timeout=20)
    assert (host.process.returncode, out) == (0, "")
    assert "host.py" not in err
    assert "pulumi-language-python.py" not in err
    assert gone(program)
    call.cancel()


def test_cancelled_call_ends_the_program(host: Host) -> None:
    call = host.stub.Run.future(
        language_pb2.RunRequest(pwd=str(host.folder), info=host.info(entry="sleep")), timeout=30
    )
    program = host.wait_for_program()
    call.cancel()
    assert gone(program)
    assert host.process.poll() is None


def test_killed_engine_takes_the_host_along(tmp_path: Path) -> None:
    # A shell in the engine's place, which passes the host's output on.
    with start(tmp_path, "sh", "-c", '"$@" & echo $!; wait', "sh") as engine:
        assert engine.stdout is not None
        pid, port = int(engine.stdout.readline()), int(engine.stdout.readline())
        assert port > 0
        engine.kill()
        engine.wait()
        assert gone(pid)


def test_launcher_finds_the_environment_of_the_folder_it_is_started_in(tmp_path: Path) -> None:
    below = tmp_path / "project/sub"
    below.mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"]}
    command = [str(lay_out(tmp_path)), "--version"]
    bare = subprocess.run(command, cwd=below, env=environment, capture_output=True, text=True, check=False)
    assert bare.returncode == 1
    assert "no .venv at or above" in bare.stderr
    (tmp_path / "project/.venv").symlink_to(tmp_path / "env")
    found = subprocess.run(command, cwd=below, env=environment, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, f"{CLI}\n")
