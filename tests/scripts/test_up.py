"""scripts/up.py: preview before change, patience with a bound, and a report without secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from components import host
from scripts import dockerhost, stack, up
from scripts.console import UserError
from scripts.dockerhost import Container
from scripts.engine import Engine, Resource, State
from scripts.stack import StackFiles
from scripts.wire import STACK


@dataclass(frozen=True, kw_only=True)
class Told(Engine):
    """An engine that answers each command with the next status, and prints lines."""

    statuses: Iterator[int]
    lines: tuple[str, ...] = ()
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def stream(self, *arguments: str, show: Callable[[str], None] | None = None) -> int:
        self.calls.append(arguments)
        if show:
            for line in self.lines:
                show(line)
        return next(self.statuses)


def told(engine: Engine, *statuses: int, lines: tuple[str, ...] = ()) -> Told:
    return Told(paths=engine.paths, files=engine.files, statuses=iter(statuses), lines=lines)


def test_nothing_to_change_is_one_preview(engine: Engine) -> None:
    fake = told(engine, 0)
    assert up.deploy(fake, refresh=False) is False
    assert [call[0] for call in fake.calls] == ["preview"]


def test_changes_are_applied_after_the_preview_allowed_them(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    complaint = "error: no changes were expected for preview but changes were proposed"
    fake = told(engine, 7, 0, lines=("+ sonarr create", complaint))
    assert up.deploy(fake, refresh=False) is True
    assert [call[0] for call in fake.calls] == ["preview", "up"]
    assert "--skip-preview" in fake.calls[1]
    out = capsys.readouterr().out
    assert "+ sonarr create" in out
    assert complaint not in out


def test_changed_outputs_alone_are_applied_too(engine: Engine) -> None:
    fake = told(engine, 0, 0, lines=("Outputs:", "  ~ urls"))
    assert up.deploy(fake, refresh=False) is True


@pytest.mark.parametrize("status", [1, 2, 255, -9])
def test_a_refusing_preview_changes_nothing(engine: Engine, status: int) -> None:
    fake = told(engine, status)
    with pytest.raises(UserError, match="nothing was changed"):
        up.deploy(fake, refresh=False)
    assert [call[0] for call in fake.calls] == ["preview"]


@pytest.mark.parametrize(
    ("statuses", "commands"), [((0, 0), ["refresh", "preview"]), ((0, 7, 0), ["refresh", "preview", "up"])]
)
def test_the_host_is_looked_at_again_before_the_preview_and_once(
    engine: Engine, statuses: tuple[int, ...], commands: list[str]
) -> None:
    fake = told(engine, *statuses)
    assert up.deploy(fake, refresh=True) is True
    assert [call[0] for call in fake.calls] == commands
    assert not [call for call in fake.calls if "--refresh" in call]


@pytest.mark.parametrize(("status", "says"), [(1, "`pulumi {}` failed"), (-9, r"the engine was killed \(signal 9\)")])
@pytest.mark.parametrize("command", ["up", "refresh"])
def test_a_failing_engine_says_how_to_go_on(engine: Engine, command: str, status: int, says: str) -> None:
    fake = told(engine, *([7, status] if command == "up" else [status]))
    with pytest.raises(UserError, match=f"{says.format(command)}.*`make up` goes on from here"):
        up.deploy(fake, refresh=command == "refresh")


def box(name: str, **facts: str | None) -> Container:
    return Container(id=name, name=name, **facts)  # type: ignore[arg-type]


def test_health_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter(
        [
            (box("a", health="starting"), box("b", status="restarting")),
            (box("a", health="healthy"), box("b", status="restarting")),
            (box("a", health="healthy"), box("b"), box("seed", status="exited", role="seed")),
        ]
    )
    slept: list[float] = []
    assert up.wait_for_health(lambda: next(looks), seconds=60, sleep=slept.append) == ()
    assert len(slept) == 2
    assert "a (starting), b (restarting)" in capsys.readouterr().err


def test_waiting_ends_and_names_who_is_not_well() -> None:
    sick = (box("a", health="unhealthy"), box("b", status="exited", health="healthy"))
    unwell = up.wait_for_health(lambda: sick, seconds=0, sleep=lambda _: pytest.fail("waited"))
    assert unwell == sick
    assert up.complaint(unwell).startswith("a is unhealthy, b is exited; `docker logs a`")


def report(engine: Engine, outputs: dict[str, object], stand_ins: tuple[str, ...] = ()) -> str:
    state = State(resources=(Resource(urn="u", type=STACK, id="", outputs=outputs),))
    return up.report(engine, stack.settings(engine.files), state, stand_ins)


def test_the_report_has_addresses_and_places_and_no_secret(engine: Engine) -> None:
    outputs: dict[str, object] = {
        "urls": {"sonarr": "https://sonarr.localhost"},
        "admin-user": "admin",
        "admin-password": {"4dabf18193072939515e22adb298388d": "1b47", "ciphertext": "v1:abc"},
        "data": "Docker volume nexus-dev-data",
    }
    text = report(engine, outputs, ("jellyfin",))
    for part in (
        "https://sonarr.localhost",
        "scripts/pulumi -s dev stack output admin-password --show-secrets",
        str(engine.files.passphrase),
        str(engine.paths.ca / "ca.pem"),
        "Docker volume nexus-dev-data",
        "jellyfin (not the real programs",
    ):
        assert part in text
    assert "which hides nothing" in text
    assert "v1:abc" not in text
    assert engine.files.passphrase
    assert engine.files.passphrase.read_text(encoding="utf-8").strip() not in text


def test_the_report_names_stand_ins_local_ca_and_embedded_vpn_only_where_there_are_some(engine: Engine) -> None:
    stack.set_value(engine.files, "nexus:edge", {"domain": "media.example.org"})
    stack.set_value(engine.files, "nexus:vpn", {"type": "wireguard", "provider": "protonvpn"})
    text = report(engine, {})
    assert "hides nothing" not in text
    assert "stand-ins" not in text
    assert "local CA" not in text


def test_what_the_host_and_what_the_secrets_lack_is_said_at_once(files: StackFiles) -> None:
    stack.set_value(files, "nexus:edge", {"domain": "media.example.org"})
    settings = stack.settings(files)
    facts = host.HostFacts(stack="dev", local=True, engine_error="none answers")
    with pytest.raises(UserError) as refused:
        dockerhost.check(settings, facts, files)
    assert "this host lacks what the stack needs:\n  nexus:docker.host: " in str(refused.value)
    assert "\nand the stack file lacks:\n  " in str(refused.value)
    assert "nexus:tls-key: missing" in str(refused.value)
