"""scripts/doctor.py: what is missing fails, what is only worse warns, and stand-ins are named."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from pathlib import Path

import pytest

from components import host, reach
from components.images import PINS
from scripts import doctor, stack
from scripts.doctor import Finding, Source
from scripts.images import LabImage
from scripts.paths import Paths
from scripts.stack import StackFiles
from tests.components.test_host import ENGINE, WELL, settings
from tests.scripts.conftest import SALT


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_good_host_has_no_failure() -> None:
    findings = list(doctor.about_host(settings(), WELL))
    assert [finding for finding in findings if finding.status == "FAIL"] == []
    assert {"Docker Engine", "storage driver", "GPU", "/dev/net/tun", "port 80", "port 443", "free disk"} <= set(
        by_name(findings)
    )


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        (replace(WELL, tun=False), "/dev/net/tun"),
        (replace(WELL, dri=()), "GPU"),
        (replace(WELL, free_bytes=0), "free disk"),
        (replace(WELL, data_is_directory=False), "data"),
        (replace(WELL, engine=None, engine_error="no Docker Engine answers"), "Docker Engine"),
        (replace(WELL, engine=replace(ENGINE, storage_driver="overlayfs", containerd_images=True)), "storage driver"),
        (replace(WELL, engine=replace(ENGINE, cpus=1)), "processors"),
    ],
)
def test_what_the_stack_needs_and_the_host_lacks_fails(facts: host.HostFacts, what: str) -> None:
    failed = [finding for finding in doctor.about_host(settings(), facts) if finding.status == "FAIL"]
    assert [finding.what for finding in failed] == [what]
    assert failed[0].detail


def test_every_problem_of_the_host_has_a_line() -> None:
    """A problem that no line shows would let the doctor pass where the preview refuses."""
    listener = host.Listener(address=settings().edge.bind_address, port=80, holder="container x")
    facts = replace(
        WELL,
        engine=replace(ENGINE, storage_driver="overlayfs", containerd_images=True, cpus=1),
        tun=False,
        dri=(),
        free_bytes=0,
        data_is_directory=False,
        listeners=(listener, replace(listener, port=443)),
        ranges=(host.Range(network=settings().networks.pool, holder="x"),),
    )
    details = "\n".join(finding.detail for finding in doctor.about_host(settings(), facts))
    problems = host.problems(settings(), facts)
    assert len(problems) == 9
    for problem in problems:
        assert problem in details


def test_an_old_engine_is_a_warning() -> None:
    findings = by_name(list(doctor.about_host(settings(), replace(WELL, engine=replace(ENGINE, version="19.03.8")))))
    assert findings["Docker Engine"].status == "warn"
    findings = by_name(
        list(doctor.about_host(settings(), replace(WELL, engine=replace(ENGINE, version="20.10.24+dfsg1"))))
    )
    assert findings["Docker Engine"].status == "ok"


@pytest.mark.parametrize(
    ("engine", "what", "says"),
    [
        (replace(ENGINE, rootless=True), "rootless engine", "ports below 1024"),
        (replace(ENGINE, limits=False), "cgroup", "cannot limit memory"),
        (replace(ENGINE, desktop=True), "Docker Desktop", "not tried"),
    ],
)
def test_what_an_engine_cannot_do_is_a_warning(engine: host.Engine, what: str, says: str) -> None:
    facts = replace(WELL, engine=engine)
    findings = [one for one in doctor.about_host(settings(docker={}), facts) if one.status != "ok"]
    assert [(one.status, one.what) for one in findings if one.what != "WireGuard"] == [("warn", what)]
    assert says in by_name(findings)[what].detail


def test_where_images_lie_in_containerd_what_is_lost_is_said() -> None:
    facts = replace(WELL, engine=replace(ENGINE, storage_driver="overlayfs", containerd_images=True))
    found = by_name(list(doctor.about_host(settings(docker={}), facts)))["storage driver"]
    assert found.status == "ok"
    assert "not Prometheus's own" in found.detail


def test_of_an_engine_in_a_machine_of_its_own_nothing_local_is_said() -> None:
    engine = replace(ENGINE, desktop=True, cpus=1)
    facts = host.HostFacts(stack="dev", local=False, engine=engine, unseen="elsewhere")
    findings = by_name(list(doctor.about_host(settings(docker={}), facts)))
    assert [name for name, one in findings.items() if one.status == "FAIL"] == ["processors"]
    assert findings["host"].detail == "could not be looked at: elsewhere"
    assert findings["/dev/net/tun"] == doctor.Finding(status="warn", what="/dev/net/tun", detail="unknown")


def test_of_a_host_that_was_not_asked_nothing_is_said() -> None:
    remote = settings(docker={"host": "ssh://media@nas", "socket-gid": 998})
    (finding,) = doctor.about_host(remote, host.HostFacts(stack="prod", local=False))
    assert finding.status == "ok"
    assert "cannot be looked at" in finding.detail


def test_what_is_unknown_is_never_called_free_or_there() -> None:
    unseen = host.HostFacts(stack="dev", local=False, engine=ENGINE, unseen="the key does one thing alone")
    findings = by_name(list(doctor.about_host(settings(docker={"host": "ssh://a", "socket-gid": 1}), unseen)))
    assert findings["host"].status == "warn"
    assert "the key does one thing alone" in findings["host"].detail
    for what in ("GPU", "/dev/net/tun", "WireGuard", "port 80", "port 443", "free disk", "data"):
        assert (findings[what].status, findings[what].detail) == ("warn", "unknown"), what
    assert findings["networks"].status == "warn"
    assert "routes unknown" in findings["networks"].detail
    assert "FAIL" not in {finding.status for finding in findings.values()}
    partly = by_name(list(doctor.about_host(settings(), replace(WELL, routes_unseen=True))))
    assert "routes unknown, the host has no `ip` command" in partly["networks"].detail


def test_a_resolver_on_loopback_is_a_warning_where_names_leave_by_it() -> None:
    there = replace(WELL, resolvers=(ipaddress.ip_address("127.0.0.1"),))
    assert by_name(list(doctor.about_host(settings(), there)))["name server"].status == "ok"
    old = replace(there, engine=replace(ENGINE, version="20.10.24+dfsg1"))
    finding = by_name(list(doctor.about_host(settings(), old)))["name server"]
    assert finding.status == "warn"
    assert "CVE-2024-29018" in finding.detail
    assert "name server" not in by_name(list(doctor.about_host(settings(), WELL)))


def test_the_kernels_wireguard_is_needed_by_the_real_image_alone() -> None:
    without = replace(WELL, wireguard=False)
    assert by_name(list(doctor.about_host(settings(), without)))["WireGuard"].status == "FAIL"
    lab = settings(images={"lock": "/lab.json"})
    assert by_name(list(doctor.about_host(lab, without)))["WireGuard"].status == "warn"
    assert Source(chosen=None, answers=SILENT).will_be_lab
    assert not Source(chosen={}, answers=SILENT).will_be_lab
    assert not Source(chosen=None, answers={**SILENT, "ghcr.io": True}).will_be_lab


def test_what_the_shell_says_of_an_engine_is_told(paths: Paths) -> None:
    shell = replace(paths, environment={**paths.environment, **dict.fromkeys(reach.VARIABLES, "x")})
    findings = list(doctor.about_shell(shell))
    assert [finding.what for finding in findings] == list(reach.VARIABLES)
    assert {finding.status for finding in findings} == {"warn"}
    assert "x" not in {finding.detail for finding in findings}
    assert list(doctor.about_shell(paths)) == []


SILENT = {"ghcr.io": False, "lscr.io": False, "registry-1.docker.io": False}


def test_pinned_images_out_of_reach_fail_only_where_they_are_not_here_already() -> None:
    sonarr = PINS["sonarr"]
    findings = by_name(list(doctor.about_images(Source(chosen={}, answers=SILENT, absent=(sonarr,)))))
    assert findings["registry ghcr.io"].status == "FAIL"
    assert "ghcr.io/home-operations/sonarr" in findings["registry ghcr.io"].detail
    assert findings["registry lscr.io"].status == "warn"
    findings = by_name(list(doctor.about_images(Source(chosen={}, answers=SILENT))))
    assert {finding.status for finding in findings.values()} == {"warn", "ok"}


def test_the_lab_needs_no_registry_and_names_its_stand_ins() -> None:
    lab = (
        LabImage(key="jellyfin", ref="r", stand_in=True, version="plays 10", note="no media"),
        LabImage(key="traefik", ref="r", stand_in=False, version="v3", note="real"),
    )
    source = Source(
        chosen={"lock": "/x"}, answers=SILENT, absent=tuple(PINS.values()), lab=lab, running=("jellyfin",)
    )
    findings = by_name(list(doctor.about_images(source)))
    assert not any(finding.status == "FAIL" for finding in findings.values())
    assert findings["stand-in jellyfin"] == Finding(
        status="warn", what="stand-in jellyfin", detail="plays 10: no media"
    )
    assert "stand-in traefik" not in findings
    assert findings["running"].detail == "as stand-ins: jellyfin"
    assert "1 of 2" in findings["images"].detail


@pytest.mark.parametrize(
    ("chosen", "answers", "says"),
    [
        (None, SILENT, "not chosen yet; `make up` will take the lab"),
        (None, {**SILENT, "ghcr.io": True}, "will take the pinned registries"),
        ({"mirror": "registry.lan"}, SILENT, "from the mirror registry.lan"),
        ({"lock": "/own.json"}, SILENT, "from the lock file /own.json"),
        ({}, SILENT, "from the pinned registries"),
    ],
)
def test_the_source_is_told(chosen: object, answers: dict[str, bool], says: str) -> None:
    absent = tuple(PINS.values()) if chosen != {} else ()
    findings = list(doctor.about_images(Source(chosen=chosen, answers=answers, absent=absent)))
    assert says in by_name(findings)["images"].detail
    assert not any(finding.status == "FAIL" for finding in findings)


def test_the_passphrase_is_tried(paths: Paths, files: StackFiles) -> None:
    stack.adopt_salt(files, SALT, "the state")
    assert by_name(list(doctor.about_stack(paths, "dev", files.config)))["passphrase"].status == "ok"
    assert files.passphrase
    files.passphrase.write_text("another\n", encoding="utf-8")
    assert by_name(list(doctor.about_stack(paths, "dev", files.config)))["passphrase"].status == "FAIL"
    files.passphrase.unlink()
    finding = by_name(list(doctor.about_stack(paths, "dev", files.config)))["passphrase"]
    assert finding.status == "FAIL"
    assert "gone" in finding.detail


def test_a_stack_that_was_never_up_is_no_failure(paths: Paths) -> None:
    findings = list(doctor.about_stack(paths, "dev", paths.root / "Pulumi.dev.yaml"))
    assert {finding.status for finding in findings} == {"ok"}
    assert not paths.state.exists()


def test_the_toolchain_is_told_with_its_origin(paths: Paths, tmp_path: Path) -> None:
    folder, home = tmp_path / "toolchain", tmp_path / "home"
    there = replace(
        paths, environment={**paths.environment, "NEXUS_TOOLCHAIN": str(folder), "PULUMI_HOME": str(home)}
    )
    assert by_name(list(doctor.about_tools(there)))["Pulumi CLI"].status == "FAIL"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "pulumi").write_text("#!/bin/sh\necho v3.259.0\n", encoding="utf-8")
    (folder / "bin" / "pulumi").chmod(0o755)
    (folder / "way").write_text("release\n", encoding="utf-8")
    (folder / "origin").write_text("https://example.org/pulumi.tar.gz\n", encoding="utf-8")
    (home / "plugins" / "resource-docker-v5.2.0").mkdir(parents=True)
    (home / "plugins" / "resource-docker-v5.2.0.lock").touch()
    findings = by_name(list(doctor.about_tools(there)))
    assert findings["Pulumi CLI"].detail == "v3.259.0 (release https://example.org/pulumi.tar.gz)"
    assert findings["plugin docker"].detail.startswith("v5.2.0 (")
    assert findings["plugin random"].status == "FAIL"


def test_the_table_ends_in_a_summary() -> None:
    good = Finding(status="ok", what="a", detail="b")
    assert doctor.show([good]).endswith("what the settings and secrets lack")
    assert doctor.show([good, replace(good, status="FAIL")]).endswith("1 to be put right")


@pytest.mark.parametrize("status", ["ok", "FAIL"])
def test_the_exit_status_tells_a_failure(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    monkeypatch.setattr(doctor, "find", lambda: paths)
    monkeypatch.setattr(doctor, "source_of", lambda *_: Source(chosen=None, answers={}))
    monkeypatch.setattr(host, "gather", lambda *_: WELL)
    finding = Finding(status="FAIL" if status == "FAIL" else "ok", what="x", detail="y")
    monkeypatch.setattr(doctor, "about_tools", lambda _: [finding])
    monkeypatch.setattr(doctor, "about_host", lambda *_: [])
    assert doctor.main(["--json"]) == (1 if status == "FAIL" else 0)
    shown = json.loads(capsys.readouterr().out)
    assert {"status": status, "what": "x", "detail": "y"} in shown
