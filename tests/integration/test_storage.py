"""One tree for downloads and library. That data outlives the stack is in test_recovery.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from docker.models.containers import Container

from tests.integration.stacks import Stack

pytestmark = pytest.mark.integration


def sh(container: Container, script: str) -> tuple[int, str]:
    """Exit status and output of a shell script in a running container, as the container's own user."""
    done = container.exec_run(["sh", "-c", script])
    assert isinstance(done.output, bytes)
    return int(done.exit_code or 0), done.output.decode().strip()


@pytest.fixture(scope="module")
def hardlink(stack: Stack) -> Iterator[str]:
    """A finished download, hardlinked into the library from inside Sonarr: the name of the file."""
    name = "integration-test.mkv"
    sonarr = stack.container("sonarr")
    made = sh(sonarr, f"echo film >/data/torrents/{name} && ln /data/torrents/{name} /data/media/tv/{name}")
    assert made == (0, "")
    yield name
    assert sh(sonarr, f"rm /data/torrents/{name} /data/media/tv/{name}") == (0, "")


@pytest.mark.parametrize("app", ["sonarr", "radarr", "qbittorrent", "jellyfin"])
def test_a_hardlink_is_one_file_to_every_app(stack: Stack, hardlink: str, app: str) -> None:
    status, output = sh(stack.container(app), f"stat -c '%i %h' /data/torrents/{hardlink} /data/media/tv/{hardlink}")
    assert status == 0, output
    download, library = output.splitlines()
    assert download == library
    assert download.split()[1] == "2"


def test_jellyfin_reads_and_cannot_write(stack: Stack, hardlink: str) -> None:
    jellyfin = stack.container("jellyfin")
    assert sh(jellyfin, f"cat /data/media/tv/{hardlink}") == (0, "film")
    for attempt in (f"echo x >>/data/media/tv/{hardlink}", "touch /data/media/x", "rm -r /data/torrents"):
        status, output = sh(jellyfin, attempt)
        assert status != 0, attempt
        assert "ead-only file system" in output, output


@pytest.mark.parametrize("app", ["sonarr", "radarr", "qbittorrent"])
def test_apps_own_the_tree(stack: Stack, app: str) -> None:
    container = stack.container(app)
    tree = "/data/media/movies /data/media/tv /data/media/music /data/torrents"
    for folder in tree.split():
        assert sh(container, f"touch {folder}/.{app} && rm {folder}/.{app}") == (0, ""), folder
    status, output = sh(container, f"stat -c '%u:%g' /data {tree}")
    assert status == 0
    assert set(output.splitlines()) == {container.attrs["Config"]["User"]}


@pytest.mark.parametrize("app", ["prowlarr", "vpn", "prometheus", "grafana", "traefik"])
def test_who_has_no_business_with_the_tree_does_not_see_it(stack: Stack, app: str) -> None:
    assert "/data" not in {mount["Destination"] for mount in stack.container(app).attrs["Mounts"]}
