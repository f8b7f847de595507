"""scripts/docker-engine against a fake docker: what it starts, what it leaves alone, and what it tells the user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from components import reach
from tests.toolchain.conftest import Machine, executable

SYSTEMD = Path("/run/systemd/system").is_dir()
DEBIAN = any(
    name in line
    for line in Path("/etc/os-release").read_text().splitlines()
    if line.startswith(("ID=", "ID_LIKE="))
    for name in ("debian", "ubuntu")
)

# "up" is the engine that answers.
FAKE_DOCKER = """#!/usr/bin/env bash
echo "docker $*" >>"$FAKE_LOG"
if [ -e "$FAKE_ENGINE/denied" ]; then echo "permission denied while connecting" >&2; exit 1; fi
if [ -e "$FAKE_ENGINE/up" ]; then echo 99.1; else echo "Cannot connect to the Docker daemon" >&2; exit 1; fi
"""
FAKE_DOCKERD = """#!/usr/bin/env bash
echo "dockerd $*" >>"$FAKE_LOG"
trap 'rm "$FAKE_ENGINE/up"; exit' TERM
if [ -e "${1#--pidfile=}" ]; then echo "pid file found, ensure docker is not running"; exit 1; fi
echo "no such graph driver"
[ -e "$FAKE_ENGINE/broken" ] && exit 1
echo $$ >"${1#--pidfile=}"
touch "$FAKE_ENGINE/up"
while :; do sleep 0.1; done
"""
FAKE_SYSTEMCTL = """#!/usr/bin/env bash
echo "systemctl $*" >>"$FAKE_LOG"
touch "$FAKE_ENGINE/up"
"""
FAKE_APT_GET = """#!/usr/bin/env bash
echo "apt-get $*" >>"$FAKE_LOG"
if [ "$1" = install ]; then
    mv "$FAKE_ENGINE"/packages/* "$(dirname "$0")/"
    touch "$FAKE_ENGINE/up"
fi
"""


@pytest.fixture
def engine(machine: Machine) -> Path:
    """The state of the fake engine; the user is root."""
    folder = machine.folder / "engine"
    folder.mkdir()
    machine.environment["FAKE_ENGINE"] = str(folder)
    become(machine, "0")
    executable(machine.bin / "systemctl", FAKE_SYSTEMCTL)
    executable(machine.bin / "apt-get", FAKE_APT_GET)
    return folder


def become(machine: Machine, uid: str) -> None:
    (machine.bin / "id").unlink()
    executable(machine.bin / "id", f'#!/usr/bin/env bash\n[ "$1" = -u ] && echo {uid} || echo somebody\n')


def put_engine(folder: Path) -> None:
    executable(folder / "docker", FAKE_DOCKER)
    executable(folder / "dockerd", FAKE_DOCKERD)


def test_engine_that_answers_is_left_alone(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    (engine / "up").touch()
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 0
    assert "engine 99.1 answers" in done.stderr
    assert machine.calls("dockerd") + machine.calls("systemctl") + machine.calls("apt-get") == []
    assert machine.calls("docker")[0].startswith("docker --host unix:///var/run/docker.sock ")


def test_another_engine_is_asked_and_none_started_in_its_place(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    done = machine.run("scripts/docker-engine", "start", "unix:///run/user/7/docker.sock")
    assert done.returncode == 1
    assert "nexus:docker.host: unix:///run/user/7/docker.sock does not answer: Cannot connect" in done.stderr
    assert machine.calls("docker") == [
        "docker --host unix:///run/user/7/docker.sock version --format {{.Server.Version}}"
    ]


def test_no_variable_of_the_caller_reaches_docker(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    executable(machine.bin / "docker", FAKE_DOCKER + 'env | grep ^DOCKER_ >>"$FAKE_LOG" || true\n')
    (engine / "up").touch()
    done = machine.run("scripts/docker-engine", **dict.fromkeys(reach.VARIABLES, "/elsewhere"))
    assert done.returncode == 0
    assert machine.calls("docker") == [f"docker --host {reach.DEFAULT} version --format {{{{.Server.Version}}}}"]
    assert machine.calls("DOCKER_") == []


def test_user_outside_the_docker_group_gets_the_command(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    become(machine, "1000")
    (engine / "denied").touch()
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 1
    assert "sudo usermod -aG docker somebody" in done.stderr


def test_user_gets_the_one_command_that_installs_it(machine: Machine, engine: Path) -> None:
    become(machine, "1000")
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 1
    if DEBIAN:
        assert "Run: sudo apt-get install --no-install-recommends docker.io iptables" in done.stderr
    else:
        assert "https://docs.docker.com/engine/install/" in done.stderr
    assert machine.calls("apt-get") == []


@pytest.mark.skipif(not DEBIAN, reason="only Debian and Ubuntu are installed on")
def test_root_is_told_and_it_is_installed(machine: Machine, engine: Path) -> None:
    put_engine(engine / "packages")
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 0, done.stderr
    (update, install) = machine.calls("apt-get")
    assert update.startswith("apt-get update")
    assert install.endswith("--no-install-recommends docker.io iptables")
    assert "running apt-get install --no-install-recommends docker.io iptables" in done.stderr
    assert "engine 99.1 answers" in done.stderr


def test_user_gets_the_one_command_that_starts_it(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    become(machine, "1000")
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 1
    assert ("sudo systemctl start docker" if SYSTEMD else "sudo scripts/docker-engine") in done.stderr
    assert machine.calls("dockerd") + machine.calls("systemctl") == []


@pytest.mark.skipif(not SYSTEMD, reason="no systemd runs here")
def test_root_starts_the_unit(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 0, done.stderr
    assert machine.calls("systemctl") == ["systemctl start docker"]
    assert machine.calls("dockerd") == []
    assert "starting it: systemctl start docker" in done.stderr


@pytest.mark.skipif(SYSTEMD, reason="systemd starts it here")
def test_root_starts_it_by_hand_and_stop_ends_that_one(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    done = machine.run("scripts/docker-engine")
    try:
        assert done.returncode == 0, done.stderr
        pid_file = machine.folder / "state/dockerd/dockerd.pid"
        assert f"starting dockerd; log: {pid_file.with_suffix('.log')}" in done.stderr
        assert machine.calls("dockerd") == [f"dockerd --pidfile={pid_file}"]
        pid = int(pid_file.read_text())
    finally:
        stopped = machine.run("scripts/docker-engine", "stop")
    assert stopped.returncode == 0
    assert f"stopping dockerd (process {pid})" in stopped.stderr
    assert not Path(f"/proc/{pid}").exists()
    assert not (engine / "up").exists()


@pytest.mark.skipif(SYSTEMD, reason="systemd starts it here")
def test_second_dockerd_is_never_started(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    executable(machine.bin / "pgrep", f"#!/usr/bin/env bash\necho {os.getpid()}\n")
    executable(machine.bin / "sleep", '#!/usr/bin/env bash\necho slept >>"$FAKE_LOG"\n')
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 1
    assert f"dockerd runs (process {os.getpid()}) and does not answer" in done.stderr
    assert machine.calls("dockerd") == []
    assert len(machine.calls("slept")) == 30, "it may still be starting"


@pytest.mark.skipif(SYSTEMD, reason="systemd starts it here")
def test_a_dockerd_that_is_just_starting_is_waited_for(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    executable(machine.bin / "pgrep", f"#!/usr/bin/env bash\necho {os.getpid()}\n")
    executable(machine.bin / "sleep", '#!/usr/bin/env bash\ntouch "$FAKE_ENGINE/up"\n')
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 0, done.stderr
    assert machine.calls("dockerd") == []


@pytest.mark.skipif(SYSTEMD, reason="systemd starts it here")
def test_a_killed_dockerd_in_the_process_table_is_none(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    with subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # ended, and nobody has taken note
        executable(machine.bin / "pgrep", f"#!/usr/bin/env bash\necho {dead.pid}\n")
        (machine.folder / "state/dockerd").mkdir(parents=True)
        (machine.folder / "state/dockerd/dockerd.pid").write_text(f"{dead.pid}\n")
        done = machine.run("scripts/docker-engine")
        machine.run("scripts/docker-engine", "stop")
    assert done.returncode == 0, done.stderr
    assert len(machine.calls("dockerd")) == 1


def test_stop_ends_no_other_process(machine: Machine, engine: Path) -> None:
    # The number of a pid file of long ago, now of another process.
    (machine.folder / "state/dockerd").mkdir(parents=True)
    with subprocess.Popen(["sleep", "30"]) as other:
        (machine.folder / "state/dockerd/dockerd.pid").write_text(f"{other.pid}\n")
        done = machine.run("scripts/docker-engine", "stop")
        survived = other.poll() is None
        other.kill()
    assert survived
    assert done.returncode == 0
    assert "nothing to stop" in done.stderr


@pytest.mark.skipif(SYSTEMD, reason="systemd starts it here")
def test_dockerd_that_ends_at_once_shows_its_log(machine: Machine, engine: Path) -> None:
    put_engine(machine.bin)
    (engine / "broken").touch()
    done = machine.run("scripts/docker-engine")
    assert done.returncode == 1
    assert "no such graph driver" in done.stderr
