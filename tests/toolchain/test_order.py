"""PATH before the release before the sources, and the reasons are said."""

from __future__ import annotations

import time

from tests.toolchain.conftest import CLI, DOCKER, RANDOM, Machine, Release


def test_path_comes_first_and_nothing_is_downloaded_or_built(machine: Machine, release: Release) -> None:
    machine.put_pulumi_on_path()
    machine.put_go_on_path()
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "path"
    assert release.requests == []
    assert machine.calls("go") == []
    installed = machine.calls("pulumi plugin install")
    assert [call.split()[4:6] for call in installed] == [["docker", DOCKER], ["random", RANDOM]]
    (toolchain,) = machine.toolchains()
    assert (toolchain / "bin/pulumi").resolve() == machine.folder / "users-own/pulumi"
    copy = machine.cache / f"pulumi-home/plugins/resource-docker-v{DOCKER}/pulumi-resource-docker"
    assert copy.read_text() == "users own"


def test_wrong_version_on_path_is_not_taken(machine: Machine, release: Release) -> None:
    machine.put_pulumi_on_path(version="3.258.9")
    machine.put_go_on_path()
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "release"
    assert f"is v3.258.9, and v{CLI} is pinned" in done.stderr
    assert machine.calls("go") == []


def test_path_without_the_plugins_is_not_taken(machine: Machine, release: Release) -> None:
    machine.put_pulumi_on_path(plugins=("docker",))
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "release"
    assert f"no plugin random {RANDOM} in {machine.folder}/home/.pulumi/plugins" in done.stderr


def test_path_without_the_language_host_is_not_taken(machine: Machine, release: Release) -> None:
    machine.put_pulumi_on_path()
    (machine.folder / "users-own/pulumi-language-python").unlink()
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "release"
    assert "no pulumi-language-python beside" in done.stderr


def test_a_cli_that_was_upgraded_afterwards_is_noticed(machine: Machine, release: Release) -> None:
    machine.put_pulumi_on_path()
    assert machine.install().returncode == 0
    cli = machine.folder / "users-own/pulumi"
    cli.write_text(cli.read_text().replace(CLI, "4.0.0"))
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "release"


def test_no_network_leads_to_the_sources_within_seconds(machine: Machine) -> None:
    machine.put_go_on_path()
    start = time.monotonic()
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert machine.way() == "source"
    assert "not by way of 'path': no pulumi on PATH" in done.stderr
    assert "not by way of 'release': 127.0.0.1:9 cannot be reached" in done.stderr
    assert time.monotonic() - start < 15


def test_a_release_that_is_not_there_leads_to_the_sources(machine: Machine, release: Release) -> None:
    machine.put_go_on_path()
    release.files.clear()
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "source"
    assert "HTTP 404" in done.stderr


def test_plugins_that_cannot_be_downloaded_lead_to_the_sources(machine: Machine, release: Release) -> None:
    machine.put_go_on_path()
    (machine.folder / "no-plugins").touch()
    done = machine.install(NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "source"
    assert f"could not download plugin docker {DOCKER}" in done.stderr


def test_without_any_way_each_one_says_what_it_lacks(machine: Machine) -> None:
    done = machine.install()
    assert done.returncode == 1
    assert "not by way of 'path': no pulumi on PATH" in done.stderr
    assert "not by way of 'release': " in done.stderr
    assert "not by way of 'source': Go 1.26 or newer is not installed" in done.stderr
    assert machine.toolchains() == []
    assert machine.leftovers() == []


def test_a_go_that_is_too_old_is_named(machine: Machine) -> None:
    machine.put_go_on_path("go1.22.4")
    done = machine.install()
    assert done.returncode == 1
    assert "Go 1.22.4 is too old: 1.26 or newer" in done.stderr


def test_only_the_ways_that_are_allowed(machine: Machine, release: Release) -> None:
    machine.put_pulumi_on_path()
    machine.put_go_on_path()
    done = machine.install(NEXUS_TOOLCHAIN_WAYS="source", NEXUS_PULUMI_RELEASE_URL=release.url)
    assert done.returncode == 0, done.stderr
    assert machine.way() == "source"
    assert release.requests == []


def test_done_means_done(machine: Machine) -> None:
    machine.put_go_on_path()
    assert machine.install().returncode == 0
    machine.forget()
    start = time.monotonic()
    done = machine.install()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.calls("") == []
    assert time.monotonic() - start < 1
