"""scripts/env.sh: what it exports, and that it never leaves a stale toolchain in front."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.toolchain.conftest import Machine


def sourced(machine: Machine, **environment: str) -> dict[str, str]:
    env_sh = machine.checkout / "scripts/env.sh"
    done = subprocess.run(
        [str(machine.bin / "bash"), "-euc", f'. "{env_sh}"; env -0'],
        env=machine.environment | environment,
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)


def test_settings_of_the_engine(machine: Machine) -> None:
    found = sourced(machine)
    assert found["NEXUS_ROOT"] == str(machine.checkout)
    assert found["PULUMI_BACKEND_URL"] == f"file://{machine.folder}/state/backend"
    assert found["PULUMI_HOME"] == f"{machine.cache}/pulumi-home"
    assert found["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"
    assert found["PULUMI_IGNORE_AMBIENT_PLUGINS"] == "true"
    assert found["PULUMI_SKIP_UPDATE_CHECK"] == "true"
    assert found["PULUMI_ERROR_OUTPUT_STRING"] == "true"
    assert found["PATH"].split(":")[0] == f"{found['NEXUS_TOOLCHAIN']}/bin"


def test_defaults_follow_the_xdg_folders(machine: Machine) -> None:
    for name in ("NEXUS_CACHE", "NEXUS_STATE"):
        del machine.environment[name]
    home = machine.environment["HOME"]
    found = sourced(machine)
    assert (found["NEXUS_CACHE"], found["NEXUS_STATE"]) == (f"{home}/.cache/nexus", f"{home}/.local/state/nexus")
    found = sourced(machine, XDG_CACHE_HOME="/c", XDG_STATE_HOME="/s")
    assert (found["NEXUS_CACHE"], found["NEXUS_STATE"]) == ("/c/nexus", "/s/nexus")


def test_sourced_again_changes_nothing(machine: Machine) -> None:
    first = sourced(machine)
    again = sourced(machine, **{name: value for name, value in first.items() if name != "_"})
    assert again == first
    assert again["PATH"].count("/toolchain/") == 1


def test_changed_sources_take_the_old_toolchain_off_path(machine: Machine) -> None:
    first = sourced(machine)
    (machine.checkout / "scripts/toolchain/versions.env").write_text("PULUMI_CLI_VERSION=4.0.0\n")
    again = sourced(machine, PATH=first["PATH"])
    assert again["NEXUS_TOOLCHAIN"] != first["NEXUS_TOOLCHAIN"]
    assert first["NEXUS_TOOLCHAIN"] not in again["PATH"]


def test_two_checkouts_of_one_content_share_a_toolchain(machine: Machine, tmp_path: Path) -> None:
    first = sourced(machine)["NEXUS_TOOLCHAIN"]
    machine.checkout.rename(tmp_path / "moved")
    (tmp_path / "checkout").symlink_to(tmp_path / "moved")
    assert sourced(machine)["NEXUS_TOOLCHAIN"] == first


def test_users_own_pulumi_home_is_remembered(machine: Machine) -> None:
    first = sourced(machine, PULUMI_HOME="/users/own")
    assert first["NEXUS_USER_PULUMI_HOME"] == "/users/own"
    again = sourced(machine, **{name: first[name] for name in ("PULUMI_HOME", "NEXUS_USER_PULUMI_HOME")})
    assert again["NEXUS_USER_PULUMI_HOME"] == "/users/own"
