"""A small copy of the checkout, a PATH that holds only what is named, and a release server on loopback."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder runs the scripts on a small machine of its own, for a second or more."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.tools)


CLI = "3.259.0"
DOCKER = "5.2.0"
RANDOM = "4.21.4"

# Everything the scripts may call on a machine that has neither pulumi nor Go nor Docker.
TOOLS = (
    "awk basename bash cat chmod cp cut date dirname env find flock grep gzip head id kill ln mkdir mktemp mv printf "
    "readlink rm sed setsid sh sha256sum sleep sort stat tail tar timeout touch tr uname xargs"
)

FAKE_PULUMI = """#!/usr/bin/env bash
# Fake pulumi {version}
set -euo pipefail
echo "pulumi $*" >>"$FAKE_LOG"
case "$1" in
version) echo "v{version}" ;;
plugin)
    if [ -e "${{FAKE_NO_PLUGINS:-/nonexistent}}" ] && [[ "$*" != *--file* ]]; then exit 1; fi
    folder=$PULUMI_HOME/plugins/resource-$4-v$5
    mkdir -p "$folder"
    if [[ "$*" == *--file* ]]; then cp "${{@: -1}}" "$folder/pulumi-resource-$4"; else
        echo released >"$folder/pulumi-resource-$4"
    fi
    chmod +x "$folder/pulumi-resource-$4"
    ;;
esac
"""

FAKE_GO = """#!/usr/bin/env bash
# Fake go: "builds" what -o names.
set -euo pipefail
case "$1" in
env) cat "$FAKE_GO_VERSION"; exit ;;
list) echo "$FAKE_MODULE"; exit ;;
esac
echo "go build $(basename "$PWD")" >>"$FAKE_LOG"
if grep -qsx "$(basename "$PWD")" "$FAKE_BROKEN"; then echo "main.go:1: broken" >&2; exit 1; fi
while [ "$1" != -o ]; do shift; done
case $2 in
*/pulumi) cp "$FAKE_PULUMI_FILE" "$2" ;;
*) cat ./*.go >"$2" ;;
esac
chmod +x "$2"
"""


def executable(path: Path, text: str) -> Path:
    """Write a script and make it executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link to the machine's own tool, which must stay what it is
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A checkout, a home and a PATH of their own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def log(self) -> Path:
        return self.folder / "calls.log"

    def calls(self, start: str) -> list[str]:
        """What the fakes were asked so far, of one kind."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(start)]

    def forget(self) -> None:
        """Begin a new list of calls."""
        self.log.unlink(missing_ok=True)

    def toolchains(self) -> list[Path]:
        """The finished toolchains in the cache."""
        return sorted(way.parent for way in (self.cache / "toolchain").glob("*/way"))

    def leftovers(self) -> list[Path]:
        """What an unfinished run left beside the finished ones."""
        return sorted((self.cache / "toolchain").glob("tmp.*"))

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Run a script of the checkout, its output read by the caller."""
        return subprocess.Popen(
            [str(self.checkout / command[0]), *command[1:]],
            env=self.environment | environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the checkout to its end."""
        with self.start(*command, **environment) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def install(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/toolchain/install."""
        return self.run("scripts/toolchain/install", **environment)

    def way(self) -> str:
        """How the one toolchain came here."""
        (toolchain,) = self.toolchains()
        return (toolchain / "way").read_text().strip()

    def put_pulumi_on_path(self, *, version: str = CLI, plugins: tuple[str, ...] = ("docker", "random")) -> None:
        """A CLI of the user's own, with plugins in the user's own Pulumi home."""
        folder = self.folder / "users-own"
        executable(folder / "pulumi", FAKE_PULUMI.format(version=version))
        executable(folder / "pulumi-language-python", "")
        executable(folder / "pulumi-language-python-exec", "")
        (self.bin / "pulumi").symlink_to(folder / "pulumi")
        for name in plugins:
            pin = {"docker": DOCKER, "random": RANDOM}[name]
            executable(
                self.folder / f"home/.pulumi/plugins/resource-{name}-v{pin}/pulumi-resource-{name}", "users own"
            )

    def put_go_on_path(self, version: str = "go1.26.8") -> None:
        """A fake Go, and the module folder that the language host's second half comes from."""
        executable(self.bin / "go", FAKE_GO)
        Path(self.environment["FAKE_GO_VERSION"]).write_text(f"{version}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "lab/engine", checkout / "lab/engine", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", checkout)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS.split():
        found = shutil.which(name)
        assert found, f"{name} is not on this machine"
        (tools / name).symlink_to(found)
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    module = tmp_path / "module/python/cmd"
    module.mkdir(parents=True)
    (module / "pulumi-language-python-exec").write_text("# runs programs\n")
    (tmp_path / "home").mkdir()
    fake = executable(tmp_path / "fake-pulumi", FAKE_PULUMI.format(version=CLI))
    return Machine(
        folder=tmp_path,
        environment={
            "PATH": str(tools),
            "HOME": str(tmp_path / "home"),
            "NEXUS_CACHE": str(tmp_path / "cache"),
            "NEXUS_STATE": str(tmp_path / "state"),
            "FAKE_LOG": str(tmp_path / "calls.log"),
            "FAKE_PULUMI_FILE": str(fake),
            "FAKE_MODULE": str(tmp_path / "module"),
            "FAKE_GO_VERSION": str(tmp_path / "go-version"),
            "FAKE_BROKEN": str(tmp_path / "broken"),
            "FAKE_NO_PLUGINS": str(tmp_path / "no-plugins"),
            # A port that nothing listens on: the network that is not there.
            "NEXUS_PULUMI_RELEASE_URL": "http://127.0.0.1:9/release",
        },
    )


@dataclass(kw_only=True)
class Release:
    """What the server holds, how it behaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    break_after: int | None = None
    stall: threading.Event | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def archive(self) -> str:
        return next(name for name in self.files if name.endswith(".tar.gz"))

    def publish(self, *, version: str = CLI) -> None:
        """Make an archive and the checksum file that names it."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            # Noise, so that a download can break off in the middle of it.
            for name, content in (
                ("pulumi", FAKE_PULUMI.format(version=version).encode()),
                ("pulumi-language-python", b"#!/bin/sh\n"),
                ("pulumi-language-python-exec", os.urandom(200_000)),
            ):
                entry = tarfile.TarInfo(f"pulumi/{name}")
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
        platform = {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]
        archive = f"pulumi-v{CLI}-linux-{platform}.tar.gz"
        self.files = {archive: buffer.getvalue()}
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        other = f"{'0' * 64}  pulumi-v{CLI}-darwin-arm64.tar.gz\n"
        self.files[f"pulumi-{CLI}-checksums.txt"] = f"{other}{digest}  {archive}\n".encode()


@pytest.fixture
def release() -> Iterator[Release]:
    state = Release()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            wanted = self.headers.get("Range")
            state.requests.append((name, wanted))
            content = state.files.get(name)
            if content is None:
                self.send_error(404)
                return
            start = 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            if name == state.archive and state.break_after is not None:
                rest = rest[: state.break_after]
            if name == state.archive and state.stall is not None:
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                state.stall.wait(30)
                return
            self.wfile.write(rest)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name of the base class)
            pass

    state.publish()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        state.url = f"http://127.0.0.1:{server.server_port}/v{CLI}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield state
        if state.stall is not None:
            state.stall.set()
        server.shutdown()
        thread.join()
