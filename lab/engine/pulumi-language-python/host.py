"""The Python language host of a Pulumi engine built from source.

Serves the LanguageRuntime service over the gRPC stubs of the pulumi package: starts the program and Python policy
packs, in the virtual environment that Pulumi.yaml or PulumiPolicy.yaml names. The official release brings its own
host, and this one behaves as that one does. It installs no dependencies, generates no code and attaches no debugger.
"""

# ruff: noqa: N802  (the method names are those of the service)

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

BAIL = 32  # pulumi-language-python-exec: the error has already been shown
GRACE_S = 5.0
MAX_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit


class BadOptionsError(Exception):
    """runtime.options names something this host cannot run."""


@dataclass(frozen=True, kw_only=True)
class Python:
    """The interpreter a program or a policy pack asks for, and the environment to run it in."""

    executable: str
    environment: Mapping[str, str]

    @classmethod
    def of(cls, info: language_pb2.ProgramInfo) -> Python:
        """Honour runtime.options.virtualenv, relative to the folder of the YAML file that holds it."""
        options = dict(info.options.items())
        if options.get("toolchain", "pip") != "pip":
            raise BadOptionsError(
                f"runtime.options.toolchain {options['toolchain']!r} in {info.root_directory}: only pip"
            )
        virtualenv = options.get("virtualenv", "")
        if not virtualenv:
            return cls(executable=os.environ.get("PULUMI_PYTHON_CMD", "python3"), environment=dict(os.environ))
        folder = Path(info.root_directory) / str(virtualenv)
        executable = folder / "bin" / "python"
        if not executable.is_file():
            raise BadOptionsError(
                f"runtime.options.virtualenv {virtualenv!r} in {info.root_directory}: "
                f"{executable} does not exist; run scripts/setup"
            )
        environment = dict(os.environ)
        environment.pop("PYTHONHOME", None)
        environment["VIRTUAL_ENV"] = str(folder)
        environment["PATH"] = f"{executable.parent}{os.pathsep}{environment.get('PATH', '')}"
        return cls(executable=str(executable), environment=environment)


class Children:
    """The running processes, so that none outlives the host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def start(
        self, args: list[str], *, cwd: str | None, env: Mapping[str, str], piped: bool
    ) -> subprocess.Popen[bytes]:
        """Start a process; ``piped`` keeps its output for the caller, else it goes where the host's goes."""
        stream = subprocess.PIPE if piped else None
        with self._lock:
            child = subprocess.Popen(args, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
            self._running.add(child)
        return child

    def wait(self, child: subprocess.Popen[bytes]) -> int:
        """Exit status of a process that ``start`` returned."""
        status = child.wait()
        with self._lock:
            self._running.discard(child)
        return status

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        """End a process, and kill it after the grace time. (SIGINT would have Python show a traceback.)"""
        if child.poll() is None:
            child.terminate()
            timer = threading.Timer(GRACE_S, child.kill)
            timer.daemon = True
            timer.start()

    def stop_all(self) -> None:
        """End every process that is still running, and wait for them."""
        with self._lock:
            running = list(self._running)
        for child in running:
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + GRACE_S
        for child in running:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The service. Every call the host does not need is left to the base class, which answers "unimplemented"."""

    def __init__(self, *, engine: str, version: str, executor: Path, children: Children) -> None:
        self._engine = engine
        self._version = version
        self._executor = executor
        self._children = children

    def Handshake(
        self, request: language_pb2.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        self._engine = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)

    # Nothing is ever downloaded from here: the plugins are those that scripts/toolchain installed.
    def GetRequiredPackages(
        self, request: language_pb2.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPackagesResponse:
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(
        self, request: language_pb2.GetRequiredPluginsRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPluginsResponse:
        return language_pb2.GetRequiredPluginsResponse()

    def About(self, request: language_pb2.AboutRequest, context: grpc.ServicerContext) -> language_pb2.AboutResponse:
        python = self._python(request.info, context)
        script = "import platform, sys; print(sys.executable); print(platform.python_version())"
        answer = subprocess.run(
            [python.executable, "-c", script], env=python.environment, check=True, capture_output=True, text=True
        )
        executable, version = answer.stdout.splitlines()
        return language_pb2.AboutResponse(executable=executable, version=version, metadata={"toolchain": "pip"})

    def GetProgramDependencies(
        self, request: language_pb2.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetProgramDependenciesResponse:
        python = self._python(request.info, context)
        args = [python.executable, "-m", "pip", "list", "--format", "json"]
        if not request.transitiveDependencies:
            args.append("--not-required")
        answer = subprocess.run(args, env=python.environment, check=True, capture_output=True, text=True)
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[
                language_pb2.DependencyInfo(name=package["name"], version=package["version"])
                for package in json.loads(answer.stdout)
            ]
        )

    def Run(self, request: language_pb2.RunRequest, context: grpc.ServicerContext) -> language_pb2.RunResponse:
        if request.attach_debugger:
            return language_pb2.RunResponse(error="this language host, built from source, attaches no debugger")
        python = self._python(request.info, context)
        flags = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "root_directory": request.info.root_directory,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": "true" if request.dryRun else "false",
            "parallel": str(request.parallel),
            "organization": request.organization,
        }
        args = [python.executable, str(self._executor)]
        for flag, value in flags.items():
            args += [f"--{flag}", value] if value else []
        args += [request.info.entry_point, *request.args]
        environment = {
            **python.environment,
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        child = self._children.start(args, cwd=None, env=environment, piped=False)
        context.add_callback(lambda: self._children.stop(child))
        status = self._children.wait(child)
        if status == BAIL:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"program exited with non-zero exit code: {status}" if status else "")

    def RunPlugin(
        self, request: language_pb2.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        python = self._python(request.info, context)
        program = request.info.program_directory
        if request.kind == "analyzer":
            # The pack is the last argument and the working directory, as pulumi.policy expects.
            args, cwd = [python.executable, "-u", "-m", "pulumi.policy", *request.args, program], program
        else:
            args, cwd = [python.executable, "-u", program, *request.args], request.pwd
        environment = {**python.environment, **dict(entry.split("=", 1) for entry in request.env if "=" in entry)}
        child = self._children.start(args, cwd=cwd, env=environment, piped=True)
        context.add_callback(lambda: self._children.stop(child))

        chunks: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

        def pump(name: str, stream: IO[bytes]) -> None:
            with stream:
                while data := os.read(stream.fileno(), 65536):
                    chunks.put((name, data))
            chunks.put((name, b""))

        assert child.stdout is not None  # noqa: S101  (piped)
        assert child.stderr is not None  # noqa: S101
        streams = {"stdout": child.stdout, "stderr": child.stderr}
        for name, stream in streams.items():
            threading.Thread(target=pump, args=(name, stream), daemon=True).start()
        while streams:
            name, data = chunks.get()
            if not data:
                del streams[name]
            elif name == "stdout":
                yield language_pb2.RunPluginResponse(stdout=data)
            else:
                yield language_pb2.RunPluginResponse(stderr=data)
        yield language_pb2.RunPluginResponse(exitcode=self._children.wait(child))

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        threading.Thread(target=self._children.stop_all, daemon=True).start()
        return Empty()

    def _python(self, info: language_pb2.ProgramInfo, context: grpc.ServicerContext) -> Python:
        try:
            return Python.of(info)
        except BadOptionsError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise


def main() -> int:
    """Serve until interrupted, or until the engine that started the host is gone."""
    parser = argparse.ArgumentParser(prog="pulumi-language-python", description=__doc__)
    parser.add_argument("--host-version", required=True, help="what to call this host: the version of the engine")
    parser.add_argument("--version", "-version", action="store_true")
    parser.add_argument("--tracing", "-tracing", default="", help="accepted and not used")
    parser.add_argument("engine", nargs="?", default="")
    arguments = parser.parse_args()
    if arguments.version:
        print(arguments.host_version)
        return 0

    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    children = Children()
    # Program and policy packs each hold a thread for as long as they run.
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=32),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )
    host = LanguageHost(
        engine=arguments.engine,
        version=arguments.host_version,
        executor=Path(__file__).resolve().with_name("pulumi-language-python-exec"),
        children=children,
    )
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    parent = os.getppid()  # before the engine hears of us: it may be killed as soon as it does
    print(port, flush=True)

    while not done.wait(1.0):
        if os.getppid() != parent:  # the engine was killed
            break
    children.stop_all()
    server.stop(grace=0.2).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
