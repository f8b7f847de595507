"""lab/docker/newer with a fake archive and fake namespaces: what it asks for, what it says, and that it tidies up.

The real thing runs in CI: `make up` in it.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from tests.toolchain.conftest import ROOT, Machine, executable

APT_GET = """#!/usr/bin/env bash
echo "apt-get $*" >>"$FAKE_LOG"
case " $* " in
*" indextargets "*)
    echo "http://archive.example/vendor/ Vendor stable main"
    [ -e "$FAKE_NO_ARCHIVE" ] || echo "http://archive.example/debian/ Debian bookworm main" ;;
*" update "*) cat "$(sed -E 's/.*sourcelist=(\\S+).*/\\1/' <<<"$*")" >>"$FAKE_LOG"; [ ! -e "$FAKE_DOWN" ] ;;
*" download "*) touch docker.io_28.deb ;;
esac
"""
DPKG = """#!/usr/bin/env bash
mkdir -p "$3/usr/bin" "$3/usr/sbin"
for name in usr/sbin/dockerd usr/bin/containerd usr/bin/docker usr/bin/tini-static; do
    printf '#!/bin/sh\\n[ ! -e "%s" ]\\n' "$FAKE_TOO_NEW" >"$3/$name"
    chmod +x "$3/$name"
done
ln -s /usr/bin/tini-static "$3/usr/bin/docker-init"
"""
# After --inside: the folders of programs, of this run and of its data, and the command.
UNSHARE = """#!/usr/bin/env bash
echo "unshare $*" >>"$FAKE_LOG"
while [ "$1" != --inside ]; do shift; done
ls -d "$2/dockerd" "$2/docker-init" "$4/engine" "$4/state" "$4/cache/toolchain" "$4/cache/lab/artefacts" >>"$FAKE_LOG"
echo "daemon $(cat "$3/daemon.json")" >>"$FAKE_LOG"
shift 4
exec "$@"
"""


@pytest.fixture
def host(machine: Machine) -> Machine:
    """Root on a Debian machine, with a toolchain in the cache."""
    shutil.copytree(ROOT / "lab/docker", machine.checkout / "lab/docker")
    for name, text in (("apt-get", APT_GET), ("dpkg", DPKG), ("unshare", UNSHARE)):
        executable(machine.bin / name, text)
    for name in ("ip", "pgrep", "runc", "iptables"):
        executable(machine.bin / name, "")
    become(machine, 0)
    for name in ("ls", "true"):
        (machine.bin / name).unlink(missing_ok=True)
        (machine.bin / name).symlink_to(str(shutil.which(name)))
    (machine.cache / "toolchain").mkdir(parents=True)
    for name in ("FAKE_NO_ARCHIVE", "FAKE_DOWN", "FAKE_TOO_NEW"):
        machine.environment[name] = str(machine.folder / name)
    return machine


def become(machine: Machine, uid: int) -> None:
    executable(machine.bin / "id", f"#!/usr/bin/env bash\necho {uid}\n")


def left(machine: Machine) -> set[str]:
    """What lies in its folder of the cache, by name."""
    return {path.name for path in (machine.cache / "lab/docker").iterdir()}


def test_a_command_runs_in_it_and_nothing_but_the_packages_stays(host: Machine) -> None:
    done = host.run("lab/docker/newer", "bash", "-c", "echo it runs; exit 7")
    assert (done.returncode, done.stdout) == (7, "it runs\n"), done.stderr
    (namespaces,) = host.calls("unshare")
    assert {"--net", "--mount", "--pid"} <= set(namespaces.split())
    assert host.calls("daemon") == ['daemon {"features": {"containerd-snapshotter": true}}']
    assert len(host.calls("/")) == 6, "programs, and folders of its own"
    assert left(host) == {"forky", "lock"}


def test_the_engines_own_store_is_a_choice(host: Machine) -> None:
    assert host.run("lab/docker/newer", "--store", "overlay2", "true").returncode == 0
    (daemon,) = host.calls("daemon")
    assert '"containerd-snapshotter": false' in daemon
    assert '"storage-driver": "overlay2"' in daemon


def test_the_packages_come_from_debians_archive_alone_and_once(host: Machine) -> None:
    assert host.run("lab/docker/newer", "true").returncode == 0
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert host.calls("deb ") == [f"deb [signed-by={key}] http://archive.example/debian/ forky main"]
    asked = [call for call in host.calls("apt-get") if " update" in call or " download" in call]
    # The update of the machine's own lists, which a fresh one lacks, is the only one without a folder of its own.
    mine = [call for call in asked if "Dir::Etc::sourcelist" in call]
    assert len(mine) == 2
    assert all("Dir::Etc::sourceparts=/dev/null" in call and "Dir::State::lists=" in call for call in mine)
    host.forget()
    assert host.run("lab/docker/newer", "true").returncode == 0
    assert host.calls("apt-get") == []


def test_data_is_kept_where_it_is_asked_for(host: Machine) -> None:
    folder = host.folder / "kept"
    assert host.run("lab/docker/newer", "--keep", str(folder), "true").returncode == 0
    assert {path.name for path in folder.iterdir()} == {"engine", "state", "cache"}
    assert left(host) == {"forky", "lock"}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("FAKE_NO_ARCHIVE", "apt knows no archive of Debian"),
        ("FAKE_DOWN", "Debian's archive does not answer"),
        ("FAKE_TOO_NEW", "dockerd of Debian forky does not start here"),
    ],
)
def test_packages_that_are_not_to_be_had(host: Machine, fault: str, says: str) -> None:
    Path(host.environment[fault]).touch()
    done = host.run("lab/docker/newer", "touch", "never")
    assert done.returncode == 1
    assert says in done.stderr
    assert not (host.folder / "never").exists()
    assert left(host) == {"lock"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no command given"),
        (["--store", "zfs", "true"], "--store zfs: must be overlay2 or containerd"),
        (["--store"], "--store wants a value"),
        (["--stroe", "overlay2", "true"], "--stroe is no option"),
    ],
)
def test_mistakes_are_named(host: Machine, arguments: list[str], says: str) -> None:
    done = host.run("lab/docker/newer", *arguments)
    assert (done.returncode, done.stderr.startswith("newer engine: ERROR: ")) == (1, True)
    assert says in done.stderr
    assert host.calls("apt-get") == []


def test_what_is_lacking_is_named(host: Machine) -> None:
    become(host, 1000)
    assert "run it as root" in host.run("lab/docker/newer", "true").stderr
    become(host, 0)
    (host.bin / "runc").unlink()
    assert "runc is not on PATH" in host.run("lab/docker/newer", "true").stderr


def test_help(host: Machine) -> None:
    become(host, 1000)
    done = host.run("lab/docker/newer", "--help")
    assert done.returncode == 0
    assert "--store" in done.stdout


def test_what_a_killed_run_left_goes_and_what_goes_on_stays(host: Machine) -> None:
    folder = host.cache / "lab/docker"
    for name in ("run-killed", "run-lives"):
        (folder / name).mkdir(parents=True)
    with (folder / "run-lives/alive").open("w") as lives:
        fcntl.flock(lives, fcntl.LOCK_EX)
        assert host.run("lab/docker/newer", "true").returncode == 0
        assert left(host) == {"forky", "lock", "run-lives"}
