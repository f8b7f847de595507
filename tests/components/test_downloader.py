"""The downloader's and the guard's shell scripts, run on a made-up /sys and a made-up engine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from tests.components.stacks import ROOT

pytestmark = pytest.mark.tools

SCRIPTS: Final = ROOT / "config" / "qbittorrent"
PATIENCE: Final = 10.0
APP: Final = """#!/bin/bash
trap 'echo ended >>{log}; exit 0' TERM
echo started >>{log}
while :; do sleep 0.02; done
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The container's file system as far as the script sees it, and a clock a hundred times as fast."""

    root: Path
    look: float = 0.05
    """Seconds between two looks at the tunnel."""

    @property
    def tunnel(self) -> Path:
        return self.root / "net" / "tun0"

    @property
    def log(self) -> str:
        file = self.root / "log"
        return file.read_text() if file.exists() else ""

    def make(self, number: int, *, up: bool = True) -> None:
        """A tun0 of that number."""
        self.tunnel.mkdir(parents=True, exist_ok=True)
        (self.tunnel / "flags").write_text(f"{0x1090 | up:#x}\n")
        (self.tunnel / "ifindex").write_text(f"{number}\n")

    def drop(self) -> None:
        """No tun0."""
        for name in ("ifindex", "flags"):
            (self.tunnel / name).unlink()
        self.tunnel.rmdir()

    def words(self, verb: str) -> list[str]:
        text = (SCRIPTS / "downloader.sh").read_text()
        for old, new in (
            ("/sys/class/net", f"{self.root}/net"),
            ("/tmp/tun0", f"{self.root}/began"),
            ("=/config/", f"={self.root}/config/"),
            ("mkdir -p /config/", f"mkdir -p {self.root}/config/"),
            ("=/run/secrets/", f"={self.root}/secrets/"),
            ("exec /entrypoint.sh", f"exec {self.root}/app"),
            ("sleep 5;", f"sleep {self.look};"),
            ("sleep 1\n", "sleep 0.01\n"),
        ):
            assert old in text, old
            text = text.replace(old, new)
        return ["/bin/bash", "-c", text, "downloader.sh", verb]

    def healthy(self) -> str:
        """Nothing where it is, else why not. There is no page to ask here, so curl is no part of it."""
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "QBT_WEBUI_PORT": "8080"}
        done = subprocess.run(self.words("healthy"), env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (done.stdout == ""), done
        return done.stdout.strip()

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """The script as the container's entry point."""
        with subprocess.Popen(
            self.words("run"), stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as command:
            try:
                yield command
            finally:
                subprocess.run(
                    ["/bin/kill", "-KILL", "--", f"-{command.pid}"], check=False, stderr=subprocess.DEVNULL
                )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("net/eth0", "net/lo", "config", "secrets", "bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secrets" / "qBittorrent.conf").write_text("declared\n")
    for file, text in (("app", APP.format(log=tmp_path / "log")), ("bin/curl", "#!/bin/sh\n")):
        (tmp_path / file).write_text(text)
        (tmp_path / file).chmod(0o755)
    return Place(root=tmp_path)


def until(ask: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ask():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def test_it_waits_for_the_tunnel_and_is_healthy_on_it_alone(place: Place) -> None:
    with place.running():
        time.sleep(0.3)
        assert place.log == ""
        assert place.healthy() == "tun0 is not the one that qBittorrent uses"
        place.make(3)
        until(lambda: place.log == "started\n", "the app")
        assert place.healthy() == ""
        place.make(3, up=False)
        assert place.healthy() == "tun0 is down"
        place.make(3)
        (place.root / "net" / "eth0").rmdir()
        assert place.healthy() == "the VPN container is gone"


def test_it_ends_on_another_tunnel_that_lasts(place: Place) -> None:
    # On a busy machine a tunnel of this test lasts longer than it says, and must not outlast three looks.
    place = replace(place, look=0.5)
    place.make(3)
    with place.running() as command:
        until(lambda: place.log == "started\n", "the app")
        place.drop()
        assert place.healthy() == "tun0 is not the one that qBittorrent uses"
        # The VPN container tries, and none of its tunnels lasts.
        for number in range(4, 9):
            place.make(number)
            time.sleep(0.1)
            place.drop()
            time.sleep(0.1)
        assert place.log == "started\n"
        place.make(9)
        assert command.wait(PATIENCE) == 0
        assert place.log == "started\nended\n"


@pytest.mark.parametrize("tunnel", [True, False], ids=["the kernel's tunnel stays", "the tunnel goes too"])
def test_it_ends_with_its_namespace(place: Place, tunnel: bool) -> None:
    place.make(3)
    with place.running() as command:
        until(lambda: place.log == "started\n", "the app")
        (place.root / "net" / "eth0").rmdir()
        if not tunnel:
            place.drop()
        assert command.wait(PATIENCE) == 0
        assert place.log == "started\nended\n"


def test_it_does_not_wait_for_a_tunnel_in_a_dead_namespace(place: Place) -> None:
    (place.root / "net" / "eth0").rmdir()
    with place.running() as command:
        assert command.wait(PATIENCE) == 1
    assert place.log == ""


def test_it_goes_on_where_nothing_happens_and_ends_when_it_is_told_to(place: Place) -> None:
    place.make(3)
    with place.running() as command:
        until(lambda: place.log == "started\n", "the app")
        time.sleep(0.5)
        assert command.poll() is None
        command.terminate()
        assert command.wait(PATIENCE) == 0
        assert place.log == "started\nended\n"


def test_what_is_declared_wins_when_it_has_changed(place: Place) -> None:
    live, seed = place.root / "config/qBittorrent/qBittorrent.conf", place.root / "secrets/qBittorrent.conf"
    place.make(3)

    def start() -> None:
        (place.root / "log").write_text("")
        with place.running():
            until(lambda: place.log == "started\n", "the app")

    start()
    assert live.read_text() == "declared\n"
    assert live.stat().st_mode & 0o777 == 0o600
    live.write_text("set in its own page\n")
    start()
    assert live.read_text() == "set in its own page\n"
    seed.write_text("declared anew\n")
    start()
    assert live.read_text() == "declared anew\n"


def state(status: str, error: str = "", health: str = "unhealthy") -> str:
    """A container as the engine tells it, as far as it matters."""
    return (
        f'{{"Id":"0a","State":{{"Status":"{status}","Running":false,"ExitCode":128,"Error":"{error}",'
        f'"StartedAt":"2026-01-01T10:00:00Z","Health":{{"Status":"{health}","Log":[]}}}},"Name":"/x",'
        '"Config":{"Env":["A=\\"Status\\":\\"exited\\" \\"Error\\":\\"x\\""]}}'
    )


NOT_RUNNING: Final = "cannot join network of a non running container: 0b"


@pytest.mark.parametrize(
    ("answer", "started"),
    [
        pytest.param(state("exited", NOT_RUNNING), True, id="Docker could not start it"),
        pytest.param(state("exited"), False, id="somebody stopped it"),
        pytest.param(state("running"), False, id="it runs and is unhealthy"),
        pytest.param(state("restarting", NOT_RUNNING), False, id="Docker is at it"),
        pytest.param(state("created", NOT_RUNNING), False, id="its first start is the program's"),
        pytest.param("wget: server returned error: HTTP/1.1 404 Not Found", False, id="it is not there"),
        pytest.param("wget: can't connect to remote host: Connection refused", False, id="no engine"),
    ],
)
def test_the_guard_starts_what_docker_could_not(tmp_path: Path, answer: str, started: bool) -> None:
    (tmp_path / "answer").write_text(answer)
    wget = tmp_path / "wget"
    wget.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\ncase "$*" in *json) cat {tmp_path}/answer ;; esac\n')
    wget.chmod(0o755)
    answered = tmp_path / "answered"
    text = (SCRIPTS / "guard.sh").read_text().replace("/tmp/answered", str(answered))
    assert text.count("sleep 15\n") == 1
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CONTAINER": "nexus-dev-qbittorrent",
        "ENGINE": "http://guard-socket-proxy:2375",
    }
    once = text.replace("sleep 15\n", "exit\n")
    subprocess.run(["/bin/sh", "-c", once], env=environment, check=True, timeout=PATIENCE, stdout=subprocess.PIPE)
    asked = (tmp_path / "asked").read_text().splitlines()
    url = "http://guard-socket-proxy:2375/containers/nexus-dev-qbittorrent"
    assert [line.split()[-1] for line in asked] == [f"{url}/json", *([f"{url}/start"] if started else [])]
    assert answered.exists() == ("refused" not in answer)
