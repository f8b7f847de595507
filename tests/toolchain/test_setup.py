"""scripts/setup: the virtual environment, and what it says where Python is not as it should be."""

from __future__ import annotations

import sys
import time

from tests.toolchain.conftest import Machine, executable


def test_old_python_is_named_with_the_command(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    executable(
        machine.bin / "python3",
        '#!/usr/bin/env bash\n[[ "$2" == *sys.exit* ]] && exit 1\necho 3.9.2\n',
    )
    done = machine.run("scripts/setup")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed. python3 is 3.9.2" in done.stderr
    assert "apt-get install --no-install-recommends python3 python3-venv" in done.stderr


def test_no_python_at_all(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    done = machine.run("scripts/setup")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed. None is installed." in done.stderr


def test_missing_venv_module_gets_the_apt_command(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    executable(
        machine.bin / "python3",
        '#!/usr/bin/env bash\ncase "$2" in *ensurepip*) exit 1 ;; *sys.exit*) exit 0 ;; esac\necho 3.13.5\n',
    )
    done = machine.run("scripts/setup")
    assert done.returncode == 1
    assert "no venv module" in done.stderr
    assert "apt-get install --no-install-recommends python3.13-venv" in done.stderr
    assert not (machine.checkout / ".venv").exists()


# Makes an "environment" that holds only itself, and notes what pip is asked for.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$1 $2" in
"-m venv")
    rm -rf "$4"
    mkdir -p "$4/bin"
    cp "$0" "$4/bin/python"
    ;;
"-m pip")
    echo "pip $*" >>"$FAKE_LOG"
    ! grep -q unknown "${@: -1}"
    ;;
*) exec "{python}" "$@" ;;
esac
"""


def test_environment_is_made_once_and_again_for_a_changed_lock(machine: Machine) -> None:
    machine.put_pulumi_on_path()
    (machine.bin / "python3").unlink()
    executable(machine.bin / "python3", FAKE_PYTHON.replace("{python}", sys.executable))
    lock = machine.checkout / "requirements.lock"
    stamp = machine.checkout / ".venv/nexus-stamp"
    done = machine.run("scripts/setup")
    assert done.returncode == 0, done.stderr
    assert "making .venv" in done.stderr
    (asked,) = machine.calls("pip")
    assert " --require-hashes " in asked
    assert asked.endswith(f" -r {lock}")
    assert (machine.folder / "state/backend").stat().st_mode & 0o777 == 0o700

    start = time.monotonic()
    again = machine.run("scripts/setup")
    assert (again.returncode, again.stderr) == (0, "")
    assert len(machine.calls("pip")) == 1
    assert time.monotonic() - start < 2

    text = lock.read_text()
    lock.write_text(f"{text}unknown==1\n")
    broken = machine.run("scripts/setup")
    assert broken.returncode == 1
    assert "pip could not install requirements.lock" in broken.stderr
    # Nothing says that it is complete, so the next run makes it again.
    assert not stamp.exists()
    lock.write_text(text)
    assert machine.run("scripts/setup").returncode == 0
    assert len(machine.calls("pip")) == 3


def test_environment_of_another_python_is_made_again(machine: Machine) -> None:
    machine.put_pulumi_on_path()
    (machine.bin / "python3").unlink()
    executable(machine.bin / "python3", FAKE_PYTHON.replace("{python}", sys.executable))
    assert machine.run("scripts/setup").returncode == 0
    stamp = machine.checkout / ".venv/nexus-stamp"
    stamp.write_text(stamp.read_text().replace(sys.version.split()[0], "3.9.2"))
    assert "making .venv" in machine.run("scripts/setup").stderr
