"""scripts/heal.py: what is decided about locks, orphans, stopped containers and dead namespaces."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from scripts import dockerhost, heal
from scripts.console import UserError
from scripts.dockerhost import Container, Named, Scene, container_of
from scripts.engine import CONTAINER, NETWORK, VOLUME, Engine, Operation, Resource, State
from scripts.heal import Lock, Plan, lock_state, plan

EARLY, LATE = datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 1, 11, tzinfo=UTC)


def lock(pid: int = 42, host: str = "here", since: str = "2026-01-01T10:00:00.123456789Z") -> Lock:
    return Lock(path=Path("/x.json"), pid=pid, user="root", host=host, since=since)


WRITTEN = 1767261600.0  # 2026-01-01T10:00:00Z


@pytest.mark.parametrize(
    ("processes", "host", "state"),
    [
        pytest.param({42: ("pulumi", WRITTEN - 60)}, "here", "live", id="it runs"),
        pytest.param({42: ("pulumi", WRITTEN + 1)}, "here", "live", id="clocks are not that exact"),
        pytest.param({}, "here", "stale", id="it is gone"),
        pytest.param({42: ("bash", WRITTEN - 60)}, "here", "stale", id="another program has the number now"),
        pytest.param({42: ("pulumi", WRITTEN + 3600)}, "here", "stale", id="another pulumi has the number now"),
        pytest.param({}, "there", "elsewhere", id="another host cannot be looked at"),
    ],
)
def test_a_lock_is_stale_only_where_its_holder_is_known_to_be_dead(
    processes: dict[int, tuple[str, float]], host: str, state: str
) -> None:
    assert lock_state(lock(host=host), "here", processes) == state


def test_a_lock_with_an_unreadable_time_counts_as_live_while_its_process_is() -> None:
    assert lock_state(lock(since="yesterday"), "here", {42: ("pulumi", WRITTEN + 3600)}) == "live"


def resource(kind: str, identity: str, *, deleted: bool = False) -> Resource:
    return Resource(urn=f"urn:pulumi:dev::nexus::{kind}::{identity}-name", type=kind, id=identity, deleted=deleted)


def state(*containers: str, networks: tuple[str, ...] = (), volumes: tuple[str, ...] = ()) -> State:
    return State(
        resources=(
            *(resource(CONTAINER, one) for one in containers),
            *(resource(NETWORK, one) for one in networks),
            *(resource(VOLUME, one) for one in volumes),
        )
    )


def box(identity: str, **facts: str | int | datetime | None) -> Container:
    return Container(id=identity, name=f"nexus-dev-{identity}", **{"started_at": EARLY, **facts})  # type: ignore[arg-type]


def test_nothing_is_done_where_all_is_well() -> None:
    scene = Scene(
        containers=(box("vpn"), box("rider", rides="vpn", started_at=LATE)),
        networks=(Named(id="n", name="n"),),
        volumes=frozenset({"v", "somebody-elses"}),
    )
    assert plan(state("vpn", "rider", networks=("n",), volumes=("v",)), scene) == Plan()


def making(known: State, *names: str, kind: str = "creating") -> State:
    """The state, with creations begun and never recorded."""
    pending = tuple(Operation(kind=kind, urn=f"u::{name}", physical=name) for name in names)
    return replace(known, pending=pending)


def test_what_this_state_began_to_make_is_removed_and_volumes_never_are() -> None:
    orphan, network = box("orphan"), Named(id="x", name="nexus-dev-apps")
    scene = Scene(containers=(box("a"), orphan), networks=(network,), volumes=frozenset({"nexus-dev-data"}))
    begun = making(state("a"), "nexus-dev-orphan", "nexus-dev-apps", "nexus-dev-data")
    assert plan(begun, scene) == Plan(remove_containers=(orphan,), remove_networks=(network,))


@pytest.mark.parametrize(
    "known", [state(), making(state(), "nexus-dev-other"), making(state(), "nexus-dev-x", kind="deleting")]
)
def test_a_stack_of_the_same_name_that_another_state_made_is_never_touched(known: State) -> None:
    """Its containers carry the same label; a second NEXUS_STATE once took a running stack for its own orphans."""
    scene = Scene(containers=(box("x"), box("y", status="exited")), networks=(Named(id="n", name="nexus-dev-apps"),))
    todo = plan(known, scene)
    assert todo == Plan(strangers=("nexus-dev-x", "nexus-dev-y", "nexus-dev-apps"))
    with pytest.raises(UserError, match="this state did not make") as refused:
        heal.refuse_strangers("dev", todo)
    assert "nexus-dev-x, nexus-dev-y, nexus-dev-apps" in str(refused.value)


def test_heal_refuses_strangers_before_it_touches_anything(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dockerhost, "look", lambda *_: Scene(containers=(box("x"),)))
    client = Mock()
    with pytest.raises(UserError, match="nexus-dev-x"):
        heal.heal(engine, client)
    assert client.mock_calls == []


def test_an_orphan_is_neither_started_nor_restarted() -> None:
    orphan = box("orphan", status="exited")
    assert plan(making(state(), "nexus-dev-orphan"), Scene(containers=(orphan,))) == Plan(remove_containers=(orphan,))


def test_stopped_services_are_started_riders_after_their_targets() -> None:
    rider, vpn = box("a-rider", status="exited", rides="vpn"), box("vpn", status="exited")
    assert plan(state("a-rider", "vpn"), Scene(containers=(rider, vpn))) == Plan(start=(vpn, rider))


def test_a_seed_that_ended_has_done_its_work() -> None:
    seed = box("seed", status="exited", role="seed")
    assert plan(state("seed"), Scene(containers=(seed,))) == Plan()


def test_a_seed_that_failed_runs_again() -> None:
    seed = box("seed", status="exited", role="seed", exit_code=1)
    todo = plan(state("seed"), Scene(containers=(seed,)))
    assert todo == Plan(remove_containers=(seed,), refresh=("container nexus-dev-seed had ended with status 1",))
    # Another state's is not ours to remove.
    assert plan(State(), Scene(containers=(seed,))) == Plan(strangers=(seed.name,))


def test_a_container_whose_creation_failed_is_left_to_the_engine() -> None:
    assert plan(state("a"), Scene(containers=(box("a", status="created"),))) == Plan()


@pytest.mark.parametrize(
    ("target", "restarted"),
    [
        pytest.param(box("vpn", started_at=LATE), True, id="the target restarted after it"),
        pytest.param(box("vpn", status="exited"), True, id="the target is about to be started"),
        pytest.param(box("vpn", started_at=EARLY), False, id="the target ran before it"),
    ],
)
def test_a_rider_whose_namespace_is_gone_is_restarted(target: Container, restarted: bool) -> None:
    rider = box("rider", rides="vpn")
    todo = plan(state("vpn", "rider"), Scene(containers=(target, rider)))
    assert todo.restart == ((rider,) if restarted else ())


def test_a_rider_whose_target_is_gone_is_left_to_the_engine() -> None:
    rider = box("rider", rides="vpn")
    todo = plan(state("vpn", "rider"), Scene(containers=(rider,)))
    assert todo.restart == ()
    assert todo.refresh == ("container vpn-name is gone from the Docker Engine",)


def test_what_is_gone_makes_the_engine_look_again() -> None:
    todo = plan(state("c", networks=("n",), volumes=("v",)), Scene())
    assert todo.refresh == (
        "container c-name is gone from the Docker Engine",
        "network n-name is gone from the Docker Engine",
        "volume v-name is gone from the Docker Engine",
    )


def test_what_was_deleted_to_be_replaced_is_not_missed() -> None:
    half = State(resources=(resource(CONTAINER, "c", deleted=True),))
    assert plan(half, Scene()) == Plan()


def test_a_dead_container_is_the_engines_to_replace() -> None:
    todo = plan(state("a"), Scene(containers=(box("a", status="dead"),)))
    assert (todo.start, todo.refresh) == ((), ("container nexus-dev-a is dead",))


def test_a_container_is_read_from_its_inspection() -> None:
    details: dict[str, dict[str, object]] = {
        "Id": "abc",  # type: ignore[dict-item]
        "Name": "/nexus-dev-rider",  # type: ignore[dict-item]
        "State": {"Status": "running", "StartedAt": "2026-01-01T10:00:00Z", "Health": {"Status": "unhealthy"}},
        "Config": {"Labels": {"nexus.role": "service"}},
        "HostConfig": {"NetworkMode": "container:def"},
    }
    found = container_of(details)
    expected = Container(
        id="abc", name="nexus-dev-rider", health="unhealthy", started_at=EARLY, rides="def", role="service"
    )
    assert found == expected
    assert not found.well
    ended = container_of({**details, "State": {"Status": "exited", "ExitCode": 3}})
    assert (ended.status, ended.exit_code) == ("exited", 3)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param("2026-01-01T10:00:15Z", "2026-01-01T10:00:15.1Z", id="without a fraction"),
        pytest.param("2026-01-01T10:00:15.09Z", "2026-01-01T10:00:15.100000001Z", id="of nine digits"),
        pytest.param("0001-01-01T00:00:00Z", "2026-01-01T10:00:15Z", id="never"),
    ],
)
def test_start_times_are_compared_as_times(earlier: str, later: str) -> None:
    """The engine writes RFC 3339 without zeros at the end: "…15Z" comes after "…15.1Z" as text."""

    def started(at: str) -> Container:
        state: dict[str, object] = {"Status": "running", "StartedAt": at}
        return container_of({"Id": "", "Name": "", "State": state, "Config": {}, "HostConfig": {}})  # type: ignore[dict-item]

    assert started(earlier).started_at < started(later).started_at


@pytest.fixture
def locks(engine: Engine) -> Path:
    """The folder of the dev stack's locks."""
    assert engine.paths.backend
    folder = engine.paths.backend / ".pulumi/locks/organization/nexus/dev"
    folder.mkdir(parents=True)
    return folder


def write_lock(folder: Path, pid: int, host: str) -> Path:
    file = folder / "1.json"
    content = {"pid": pid, "username": "ann", "hostname": host, "timestamp": "2026-01-01T10:00:00.1Z"}
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_stale_lock_is_removed(
    engine: Engine, locks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heal, "processes", dict)
    file = write_lock(locks, 42, socket.gethostname())
    heal.unlock(engine)
    assert not file.exists()
    assert "the engine that locked the stack (process 42) is dead" in capsys.readouterr().err


def test_a_lock_that_was_cut_off_is_removed(engine: Engine, locks: Path) -> None:
    file = locks / "1.json"
    file.write_text('{"pid": 4', encoding="utf-8")
    heal.unlock(engine)
    assert not file.exists()


@pytest.mark.parametrize(
    ("host", "says"),
    [
        (socket.gethostname(), ("another pulumi (process 42 of ann)", "wait for it to end")),
        ("elsewhere", ("process 42 of ann on host elsewhere", "scripts/pulumi -s dev cancel --yes")),
    ],
)
def test_a_lock_that_may_be_held_is_left_and_told(
    engine: Engine, locks: Path, monkeypatch: pytest.MonkeyPatch, host: str, says: tuple[str, ...]
) -> None:
    monkeypatch.setattr(heal, "processes", lambda: {42: ("pulumi", 0.0)})
    file = write_lock(locks, 42, host)
    with pytest.raises(UserError) as refused:
        heal.unlock(engine)
    for part in says:
        assert part in str(refused.value)
    assert file.exists()


def test_processes_knows_this_one() -> None:
    name, started = heal.processes()[os.getpid()]
    assert name
    assert -2 < time.time() - started < 86400
