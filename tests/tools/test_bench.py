"""tools/bench: what is compared is the same, and the figures are what was measured."""

from __future__ import annotations

import copy
import inspect
import io
import ipaddress
import json
import os
import re
import tarfile
import threading
import time
from pathlib import Path

import pulumi_docker
import pulumi_random
import pytest

from scripts import stack, wire
from scripts.console import UserError
from scripts.dockerhost import Container
from scripts.engine import CONTAINER as CONTAINER_TYPE
from scripts.engine import Engine, Resource, State
from scripts.paths import Paths
from scripts.wire import Json, Table
from tests.components import recorder
from tests.matrix import TABLE
from tools.bench import __main__ as bench
from tools.bench import clock, deploy, direct, figures, flat, memory, preview, report

pytestmark = pytest.mark.tools

SECRET_MARK = {wire.SIGNATURE: "1b47061264138c4ac30d75fd1eb44270"}
APPS = "nexus:platform:Platform$nexus:service:Service"


def urn(kind: str, name: str, parents: str = "", project: str = "nexus") -> str:
    return f"urn:pulumi:dev::{project}::{parents + '$' if parents else ''}{kind}::{name}"


def secret(value: Json) -> Table:
    return {**SECRET_MARK, "plaintext": json.dumps(value)}


STACK_URN = urn("pulumi:pulumi:Stack", "nexus-dev")
PROVIDER = urn("pulumi:providers:docker", "docker")
DEFAULT = urn("pulumi:providers:random", "default_4_21_4")
PLATFORM = urn("nexus:platform:Platform", "platform")
SERVICE = urn(APPS, "sonarr")
NETWORK = urn("docker:index/network:Network", "network-apps", "nexus:platform:Platform")
VOLUME = urn("docker:index/volume:Volume", "volume-sonarr-config", "nexus:platform:Platform")
IMAGE = urn("docker:index/remoteImage:RemoteImage", "image-sonarr", "nexus:platform:Platform")
PASSWORD = urn("random:index/randomPassword:RandomPassword", "admin-password", "nexus:platform:Platform")
SEED = urn("docker:index/container:Container", "sonarr-seed", APPS)
CONTAINER = urn("docker:index/container:Container", "sonarr-container", APPS)


def state() -> Table:
    """A small stack: a service with its seed, network, volume, image and password, in two components."""
    docker: Table = {"custom": True, "provider": f"{PROVIDER}::1234"}
    return {
        "version": 3,
        "deployment": {
            "secrets_providers": {"type": "passphrase", "state": {"salt": "v1:salt"}},
            "pending_operations": [{"type": "creating"}],
            "resources": [
                {
                    "urn": STACK_URN,
                    "type": "pulumi:pulumi:Stack",
                    "custom": False,
                    "outputs": {"admin-password": secret("hunter2")},
                },
                {
                    "urn": PROVIDER,
                    "type": "pulumi:providers:docker",
                    "custom": True,
                    "id": "1234",
                    "parent": STACK_URN,
                    "inputs": {"__internal": {}, "host": "unix:///run/engine.sock", "version": "5.2.0"},
                },
                {"urn": PLATFORM, "type": "nexus:platform:Platform", "custom": False, "parent": STACK_URN},
                {"urn": SERVICE, "type": "nexus:service:Service", "custom": False, "parent": PLATFORM},
                {
                    "urn": IMAGE,
                    "type": "docker:index/remoteImage:RemoteImage",
                    "parent": PLATFORM,
                    "inputs": {"__defaults": [], "name": "sonarr:4", "keepLocally": True},
                    "customTimeouts": {"create": 1800, "update": 1800},
                    **docker,
                },
                {
                    "urn": NETWORK,
                    "type": "docker:index/network:Network",
                    "parent": PLATFORM,
                    "inputs": {
                        "__defaults": ["ipamDriver"],
                        "ipamDriver": "default",
                        "name": "nexus-dev-apps",
                        "internal": True,
                        "ipamConfigs": [{"__defaults": [], "subnet": "172.31.240.0/24", "gateway": "172.31.240.1"}],
                    },
                    **docker,
                },
                {
                    "urn": VOLUME,
                    "type": "docker:index/volume:Volume",
                    "parent": PLATFORM,
                    "inputs": {"__defaults": [], "name": "nexus-dev-sonarr-config"},
                    "protect": True,
                    "retainOnDelete": True,
                    **docker,
                },
                {
                    "urn": DEFAULT,
                    "type": "pulumi:providers:random",
                    "custom": True,
                    "id": "5678",
                    "inputs": {"version": "4.21.4"},
                },
                {
                    "urn": PASSWORD,
                    "type": "random:index/randomPassword:RandomPassword",
                    "custom": True,
                    "parent": PLATFORM,
                    "provider": f"{DEFAULT}::5678",
                    "inputs": {"__defaults": [], "length": 24, "special": False},
                },
                {
                    "urn": SEED,
                    "type": "docker:index/container:Container",
                    "parent": SERVICE,
                    "inputs": {
                        "__defaults": [],
                        "name": "nexus-dev-sonarr-seed",
                        "image": "sha256:1",
                        "attach": True,
                        "mustRun": False,
                        "uploads": [
                            {
                                "__defaults": ["executable"],
                                "executable": False,
                                "file": "/run/secrets/api_key",
                                "content": secret("sesame"),
                                "permissions": "0400",
                                "owner": "1000",
                                "group": "1000",
                            }
                        ],
                    },
                    "dependencies": [VOLUME, IMAGE, PASSWORD],
                    **docker,
                },
                {
                    "urn": CONTAINER,
                    "type": "docker:index/container:Container",
                    "parent": SERVICE,
                    "aliases": [f"{CONTAINER}-old"],
                    "inputs": {
                        "__defaults": ["logs"],
                        "logs": False,
                        "name": "nexus-dev-sonarr",
                        "image": "sha256:1",
                        "envs": ["TZ=UTC", secret("TOKEN=sesame")],
                        "tmpfs": {"/tmp": "size=64m"},
                        "wait": True,
                        "waitTimeout": 150,
                        "destroyGraceSeconds": 60,
                    },
                    "replaceOnChanges": ["tmpfs"],
                    "dependencies": [SERVICE, SEED, NETWORK],
                    "propertyDependencies": {"image": [IMAGE]},
                    **docker,
                },
            ],
        },
    }


# Exported state


def test_a_urn_is_read_and_written_back() -> None:
    parts = wire.parse_urn(SEED)
    assert (parts.stack, parts.project, parts.type, parts.name) == (
        "dev",
        "nexus",
        "docker:index/container:Container",
        "sonarr-seed",
    )
    assert str(wire.parse_urn(PROVIDER)) == PROVIDER


@pytest.mark.parametrize("text", ["", "urn:pulumi:dev::nexus", "arn:aws:dev::nexus::a:b:C::name"])
def test_what_is_no_urn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a URN"):
        wire.parse_urn(text)


def test_secrets_are_revealed_wherever_they_are() -> None:
    value: Json = {"a": [secret({"b": "x"})], "c": secret("y"), "d": 1}
    assert wire.revealed(value) == {"a": [{"b": "x"}], "c": "y", "d": 1}


def test_components_and_the_stack_are_not_counted_as_resources() -> None:
    assert preview.count(state(), custom=True) == 8
    assert preview.count(state(), custom=False) == 2


# The flat project


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (CONTAINER, urn("docker:index/container:Container", "sonarr-container", project="nexus-flat")),
        (PROVIDER, urn("pulumi:providers:docker", "docker", project="nexus-flat")),
        (STACK_URN, urn("pulumi:pulumi:Stack", "nexus-flat-dev", project="nexus-flat")),
        (urn("a:b:C", "name::with::colons", "p:q:R$s:t:U"), urn("a:b:C", "name::with::colons", project="nexus-flat")),
    ],
)
def test_a_flat_urn_has_another_project_and_no_parents(given: str, wanted: str) -> None:
    assert flat.flat_urn(given, "nexus-flat") == wanted


def flat_resources(export: Table) -> dict[str, Table]:
    return {wire.parse_urn(str(item["urn"])).name: item for item in wire.resources(export)}


def test_the_flat_state_has_the_custom_resources_right_under_the_stack() -> None:
    given = state()
    before = copy.deepcopy(given)
    made = flat.flat_state(given, "nexus-flat")
    items = flat_resources(made)
    root = urn("pulumi:pulumi:Stack", "nexus-flat-dev", project="nexus-flat")
    assert given == before
    assert list(items) == [
        "nexus-flat-dev",
        "docker",
        "image-sonarr",
        "network-apps",
        "volume-sonarr-config",
        "default_4_21_4",
        "admin-password",
        "sonarr-seed",
        "sonarr-container",
    ]
    assert {item.get("parent") for name, item in items.items() if name != "nexus-flat-dev"} == {root, None}
    assert "outputs" not in items["nexus-flat-dev"]
    container = items["sonarr-container"]
    assert container["provider"] == f"{flat.flat_urn(PROVIDER, 'nexus-flat')}::1234"
    assert container["dependencies"] == [flat.flat_urn(one, "nexus-flat") for one in (SEED, NETWORK)]
    assert container["inputs"] == flat_resources(given)["sonarr-container"]["inputs"]
    assert not {"aliases", "propertyDependencies"} & container.keys()
    assert "::nexus::" not in json.dumps(made)


def test_the_flat_state_keeps_the_encryption_and_forgets_pending_operations() -> None:
    deployment = wire.table(flat.flat_state(state(), "nexus-flat")["deployment"])
    assert deployment["secrets_providers"] == {"type": "passphrase", "state": {"salt": "v1:salt"}}
    assert "pending_operations" not in deployment


def test_an_empty_state_has_the_stack_only() -> None:
    assert list(flat_resources(flat.flat_state(state(), "nexus-empty", empty=True))) == ["nexus-empty-dev"]


def test_two_resources_of_one_name_are_refused_by_name() -> None:
    given = state()
    twin = urn("docker:index/network:Network", "network-apps", "other:other:Other")
    wire.table(given["deployment"])["resources"] = [
        *wire.resources(given),
        {"urn": twin, "type": "docker:index/network:Network", "custom": True},
    ]
    with pytest.raises(UserError, match="network-apps"):
        flat.flat_state(given, "nexus-flat")


def test_the_flat_program_declares_what_the_state_has() -> None:
    program = compile(flat.flat_program(state()), "flat", "exec")
    made = recorder.run(lambda: exec(program, {}))
    by_name = {item.name: item for item in made.resources}
    assert set(by_name) == {
        "docker",
        "image-sonarr",
        "network-apps",
        "volume-sonarr-config",
        "admin-password",
        "sonarr-seed",
        "sonarr-container",
    }
    assert all(item.custom for item in by_name.values())
    assert by_name["docker"].inputs["host"] == "unix:///run/engine.sock"
    network, volume, image = by_name["network-apps"], by_name["volume-sonarr-config"], by_name["image-sonarr"]
    assert network.inputs == {
        "name": "nexus-dev-apps",
        "internal": True,
        "ipamConfigs": [{"subnet": "172.31.240.0/24", "gateway": "172.31.240.1"}],
    }
    assert (volume.protect, volume.retain_on_delete, network.protect) == (True, True, False)
    assert image.create_timeout == "1800s"
    assert by_name["admin-password"].provider == ""
    container = by_name["sonarr-container"]
    assert container.provider == "docker"
    assert container.inputs == {
        "name": "nexus-dev-sonarr",
        "image": "sha256:1",
        "envs": ["TZ=UTC", "TOKEN=sesame"],
        "tmpfs": {"/tmp": "size=64m"},
        "wait": True,
        "waitTimeout": 150,
        "destroyGraceSeconds": 60,
    }
    assert container.depends_on == {"sonarr-seed", "network-apps"}
    assert container.replace_on_changes == {"tmpfs"}
    seed = by_name["sonarr-seed"]
    assert seed.tables("uploads") == [
        {
            "file": "/run/secrets/api_key",
            "content": "sesame",
            "permissions": "0400",
            "owner": "1000",
            "group": "1000",
        }
    ]
    hidden = [leaf.path for item in by_name.values() for leaf in item.leaves if leaf.secret]
    assert hidden == ["uploads[0].content", "envs[1]"] or hidden == ["envs[1]", "uploads[0].content"]


def test_an_input_that_is_still_encrypted_is_refused_without_being_shown() -> None:
    given = state()
    item = wire.resources(given)[-1]
    wire.table(item["inputs"])["envs"] = [{**SECRET_MARK, "ciphertext": "v1:nonce:text"}]
    with pytest.raises(UserError, match=r"sonarr-container: envs") as caught:
        flat.flat_program(given)
    assert "v1:nonce" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        pulumi_docker.ContainerArgs,
        pulumi_docker.NetworkArgs,
        pulumi_docker.VolumeArgs,
        pulumi_docker.RemoteImageArgs,
        pulumi_random.RandomBytesArgs,
        pulumi_random.RandomPasswordArgs,
    ],
)
def test_property_names_become_those_of_the_sdk(kind: type) -> None:
    source = inspect.getsource(kind)
    pairs = re.findall(r'@pulumi\.getter(?:\(name="(\w+)"\))?\s+def (\w+)\(self\)', source)
    assert pairs
    assert [(flat.python_name(wire or python), python) for wire, python in pairs] == [
        (python, python) for _, python in pairs
    ]


# Figures


def series(name: str, *seconds: float) -> figures.Series:
    return figures.Series(name=name, seconds=seconds)


def test_a_ratio_is_the_median_of_the_ratios_within_the_rounds() -> None:
    # In the second round the machine was busy with something else, for both.
    assert figures.ratio(series("a", 2.2, 22.0, 2.4), series("b", 2.0, 20.0, 2.0)) == pytest.approx(1.1)


def test_a_ratio_of_different_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        figures.ratio(series("a", 1.0), series("b", 1.0, 2.0))


def test_a_comparison_has_medians_ranges_and_ratios_to_what_came_before() -> None:
    table = figures.compare((series("a", 2.0, 1.0, 4.0), series("b", 3.0, 3.0, 3.0)), ("a", "b"))
    assert table.head == ("seconds of", "median", "range", "to a", "to b")
    assert table.rows == (
        ("a", "2.0", "1.0 to 4.0", "", ""),
        ("b", "3.0", "3.0 to 3.0", "1.50", ""),
    )


def test_a_table_is_aligned_for_the_terminal_and_plain_for_a_document() -> None:
    table = figures.Table(head=("what", "MiB"), rows=(("grafana", "7.5"), ("all", "112.0")))
    assert table.text() == "  what       MiB\n  grafana    7.5\n  all      112.0"
    assert table.markdown() == "| what | MiB |\n| --- | ---: |\n| grafana | 7.5 |\n| all | 112.0 |"


# The same through the API


def test_pieces_are_the_states_volumes_networks_and_containers() -> None:
    pieces = {piece.name: piece for piece in direct.pieces(state())}
    assert list(pieces) == ["nexus-dev-apps", "nexus-dev-sonarr-config", "nexus-dev-sonarr-seed", "nexus-dev-sonarr"]
    seed, container = pieces["nexus-dev-sonarr-seed"], pieces["nexus-dev-sonarr"]
    assert pieces["nexus-dev-sonarr-config"].keep
    assert seed.files == (direct.File(path="/run/secrets/api_key", content="sesame", mode=0o400, uid=1000, gid=1000),)
    assert (seed.one_shot, seed.wait_seconds, seed.grace_seconds) == (True, 0, 0)
    assert seed.after == {VOLUME}
    assert (container.one_shot, container.wait_seconds, container.grace_seconds) == (False, 150, 60)
    assert container.after == {SEED, NETWORK}


def test_dependencies_reach_over_what_is_left_out() -> None:
    edges = {"app": ["password", "network"], "password": ["peer", "app"], "network": ["pool"], "peer": [], "pool": []}
    assert direct.contracted("app", edges.__getitem__, {"network", "peer", "pool"}) == {"network", "peer"}


DETAILS: Table = {
    "Id": "abcdef012345" + "0" * 52,
    "Name": "/nexus-dev-sonarr",
    "Config": {"Hostname": "abcdef012345", "Image": "sha256:1", "User": "1000:1000"},
    "HostConfig": {"NetworkMode": "default", "ReadonlyRootfs": True, "Memory": 1},
    "NetworkSettings": {
        "Networks": {
            "egress": {"Aliases": ["sonarr", "abcdef012345"], "IPAMConfig": {}, "NetworkID": "1"},
            "apps": {"Aliases": ["sonarr"], "IPAMConfig": {"IPv4Address": "172.31.240.10"}, "NetworkID": "2"},
        }
    },
}


def test_endpoints_have_aliases_and_fixed_addresses_and_nothing_of_the_old_container() -> None:
    assert direct.endpoints(DETAILS) == {
        "apps": {"Aliases": ["sonarr"], "IPAMConfig": {"IPv4Address": "172.31.240.10"}},
        "egress": {"Aliases": ["sonarr"], "IPAMConfig": {}},
    }


def test_a_container_is_made_on_its_first_network_with_the_same_limits() -> None:
    before = copy.deepcopy(DETAILS)
    body = direct.container_body(DETAILS, {})
    assert before == DETAILS
    assert body == {
        "Image": "sha256:1",
        "User": "1000:1000",
        "HostConfig": {"NetworkMode": "apps", "ReadonlyRootfs": True, "Memory": 1},
        "NetworkingConfig": {"EndpointsConfig": {"apps": direct.endpoints(DETAILS)["apps"]}},
    }


@pytest.mark.parametrize(("mode", "wanted"), [("container:77aa", "container:nexus-dev-vpn"), ("none", "none")])
def test_a_rider_finds_its_target_by_name_and_none_stays_none(mode: str, wanted: str) -> None:
    details: Table = {**DETAILS, "HostConfig": {"NetworkMode": mode}}
    body = direct.container_body(details, {"77aa": "nexus-dev-vpn"})
    assert body["HostConfig"] == {"NetworkMode": wanted}
    assert "NetworkingConfig" not in body
    assert "Hostname" not in body


@pytest.mark.parametrize(("mode", "kept"), [("none", True), ("container:77aa", False)])
def test_a_name_of_its_own_is_kept_and_that_of_its_target_is_not(mode: str, kept: bool) -> None:
    details: Table = {**DETAILS, "Config": {"Hostname": "vpn"}, "HostConfig": {"NetworkMode": mode}}
    assert ("Hostname" in direct.container_body(details, {})) is kept


def test_files_are_packed_with_owner_and_mode() -> None:
    packed = direct.archive([direct.File(path="/run/config/a/b.yml", content="ä", mode=0o400, uid=7, gid=8)], 5.0)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        (entry,) = tar.getmembers()
        assert (entry.name, entry.mode, entry.uid, entry.gid) == ("run/config/a/b.yml", 0o400, 7, 8)
        content = tar.extractfile(entry)
        assert content is not None
        assert content.read().decode() == "ä"


def test_work_is_done_in_order_and_not_more_than_so_many_at_a_time() -> None:
    lock, now, most = threading.Lock(), 0, 0
    done: list[str] = []
    both = threading.Barrier(2)

    def work(key: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if key in ("b", "c"):  # they wait for each other, so two are at work
            both.wait(10)
        with lock:
            now -= 1
            done.append(key)

    after = {"a": [], "b": ["a"], "c": ["a"], "d": ["a"], "e": ["b", "c", "d"]}
    direct.in_order(after, work, 2, threading.Event())
    assert (done[0], done[-1], sorted(done), most) == ("a", "e", list("abcde"), 2)


def test_a_failure_stops_the_others_and_is_raised() -> None:
    stop = threading.Event()
    begun: list[str] = []

    def work(key: str) -> None:
        begun.append(key)
        if key == "a":
            raise UserError("a is broken")
        assert stop.wait(10)

    with pytest.raises(UserError, match="a is broken"):
        direct.in_order({"a": [], "waits": [], "later": ["a"]}, work, 2, stop)
    assert "later" not in begun


# The scratch stack


def test_the_scratch_stack_is_dev_elsewhere() -> None:
    base = {"nexus:jellyfin": {"transcode-mb": 256}, "nexus:storage": {"data": "/srv/media"}}
    like = {
        "nexus:docker": {"host": "unix:///run/engine.sock"},
        "nexus:images": {"lock": "/lock.json"},
        "nexus:tls-key": {"secure": "v1:x"},
    }
    made = deploy.configuration(base, like, ipaddress.IPv4Network("172.31.224.0/20"), (8001, 8002))
    assert made == {
        "nexus:jellyfin": {"transcode-mb": 256},
        "nexus:docker": {"host": "unix:///run/engine.sock"},
        "nexus:images": {"lock": "/lock.json"},
        "nexus:networks": {"pool": "172.31.224.0/20"},
        "nexus:edge": {"bind-address": "127.0.0.1", "http-port": 8001, "https-port": 8002},
    }


def test_a_free_pool_overlaps_nothing() -> None:
    taken = [ipaddress.IPv4Network("172.31.240.0/20"), ipaddress.IPv4Network("172.31.230.0/24")]
    assert deploy.free_pool(taken) == ipaddress.IPv4Network("172.31.208.0/20")
    with pytest.raises(UserError, match="no range"):
        deploy.free_pool([ipaddress.IPv4Network("172.0.0.0/8")])


# Memory


@pytest.mark.parametrize(
    ("stats", "wanted"),
    [
        ({"inactive_file": 30}, 70),  # cgroup v2
        ({"inactive_file": 1, "total_inactive_file": 40}, 60),  # cgroup v1
        ({"inactive_file": 300}, 0),
    ],
)
def test_a_working_set_is_usage_less_inactive_file_pages(stats: dict[str, int], wanted: int) -> None:
    assert memory.working_set({"usage": 100, "stats": stats}) == wanted


def test_a_container_that_does_not_run_has_no_working_set() -> None:
    with pytest.raises(KeyError):
        memory.working_set({})


def test_memory_is_summed_for_monitoring_and_for_all() -> None:
    mib = 1024 * 1024
    uses = (
        memory.Use(service="sonarr", bytes=100 * mib, stand_in=True),
        memory.Use(service="prometheus", bytes=50 * mib, stand_in=False),
        memory.Use(service="cadvisor", bytes=25 * mib, stand_in=False),
    )
    assert memory.memory_table(uses).rows == (
        ("sonarr", "100.0", "stand-in"),
        ("prometheus", "50.0", "real"),
        ("cadvisor", "25.0", "real"),
        ("monitoring, 2 containers", "75.0", ""),
        ("all, 3 containers", "175.0", ""),
    )


def test_every_monitoring_service_is_one_of_the_programs() -> None:
    assert set(memory.MONITORING) <= {member for row in TABLE for member in row.members}


# Clocks


def test_a_command_is_timed_with_its_output_and_status(tmp_path: Path) -> None:
    run = clock.timed(["sh", "-c", "echo out; echo err >&2; exit 3"], tmp_path, os.environ, 10)
    assert (run.status, run.text) == (3, "out\nerr")
    assert run.seconds < 10


def test_a_command_past_its_limit_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sh -c took more than 1 s"):
        clock.timed(["sh", "-c", "echo begun; exec sleep 60"], tmp_path, os.environ, 1)


def test_a_stopwatch_counts_only_what_came_to_its_end() -> None:
    seconds: list[float] = []
    with clock.stopwatch(seconds):
        time.sleep(0.02)
    with pytest.raises(UserError), clock.stopwatch(seconds):
        raise UserError("no")
    assert len(seconds) == 1
    assert 0.02 <= seconds[0] < 5


# Preview, with a stand-in for the engine

FAKE_PULUMI = """\
#!/bin/bash
where=$(basename "$PWD")
case "$1 $2" in
"stack export") cat "$FAKE/state.json" ;;
"stack init") [ -f __main__.py ] && [ "$(stat -c %a __main__.py .)" = $'600\\n700' ] ;;
"stack import") [ "$(stat -c %a "$4")" = 600 ] && grep -q "::$where::" "$4" ;;
"preview "*)
    echo "$where pack=${PULUMI_OPTION_POLICY_PACK:+yes} file=${PULUMI_OPTION_CONFIG_FILE:+yes} $PULUMI_BACKEND_URL" \
        >>"$FAKE/log"
    [ "$where" != "${FAKE_CHANGED:-}" ] || { echo "+ a change"; exit 7; }
    ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that is a shell script: no changes anywhere, unless FAKE_CHANGED names the folder."""
    root, fake, scratch = tmp_path / "nexus", tmp_path / "fake", tmp_path / "scratch"
    for folder in (root, fake, scratch):
        folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    (fake / "pulumi").write_text(FAKE_PULUMI)
    (fake / "pulumi").chmod(0o755)
    (fake / "state.json").write_text(json.dumps(state()))
    runtime = {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}}
    stack.write(root / "Pulumi.yaml", {"name": "nexus", "runtime": runtime})
    config = tmp_path / "Pulumi.dev.yaml"
    stack.write(config, {"encryptionsalt": "v1:salt", "config": {"nexus:timezone": "Europe/Zurich"}})
    environment = {
        **os.environ,
        "PATH": f"{fake}:{os.environ['PATH']}",
        "FAKE": str(fake),
        "PULUMI_BACKEND_URL": "file:///home",
    }
    paths = Paths(root=root, cache=tmp_path, state=tmp_path, environment=environment)
    files = stack.StackFiles(stack="dev", config=config, directory=tmp_path, passphrase=None, shared=False)
    return Engine(paths=paths, files=files)


def test_previews_take_turns_each_in_its_own_project(engine: Engine, tmp_path: Path) -> None:
    found = preview.measure(engine, 2)
    assert [one.name for one in found.series] == [preview.EMPTY, preview.FLAT, preview.OURS, preview.OURS_CHECKED]
    assert all(len(one.seconds) == 2 for one in found.series)
    assert (found.resources, found.components) == (8, 2)
    scratch = re.compile(r"file:///\S+/scratch/nexus-bench-\w+/backend")
    turns = [scratch.sub("elsewhere", line) for line in (tmp_path / "fake" / "log").read_text().splitlines()]
    assert turns == 3 * [
        "nexus-empty pack= file= elsewhere",
        "nexus-flat pack= file= elsewhere",
        "nexus pack= file=yes file:///home",
        "nexus pack=yes file=yes file:///home",
    ]


def test_nothing_is_left_of_the_other_projects(engine: Engine, tmp_path: Path) -> None:
    preview.measure(engine, 1)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(("changed", "advice"), [("nexus-flat", "flat.py"), ("nexus", "make up")])
def test_a_preview_with_changes_voids_the_comparison(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, advice: str
) -> None:
    monkeypatch.setitem(engine.paths.environment, "FAKE_CHANGED", changed)
    with pytest.raises(UserError, match=rf"(?s)comparison is void; .*{advice}.*a change"):
        preview.measure(engine, 1)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_stack_with_nothing_in_it_is_not_measured(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "fake" / "state.json").write_text(json.dumps(flat.flat_state(state(), "nexus", empty=True)))
    with pytest.raises(UserError, match="stack dev is not up; run `make up`"):
        preview.measure(engine, 1)


# The document


def results(stand_ins: tuple[str, ...] = ("sonarr",)) -> report.Results:
    return report.Results(
        command="scripts/run bench --stack dev --runs 2 --write",
        date="2026-01-02",
        stack="dev",
        runs=2,
        idle=60,
        machine=report.Machine(
            cores=2,
            memory_gib=15.6,
            docker="20.10.24",
            storage="overlay2",
            cgroup="1",
            pulumi="3.259.0",
            python="3.11.7",
            load=1.25,
        ),
        stand_ins=stand_ins,
        previews=preview.Previews(
            series=(
                series(preview.EMPTY, 2.0, 2.0),
                series(preview.FLAT, 4.0, 4.0),
                series(preview.OURS, 5.0, 5.0),
                series(preview.OURS_CHECKED, 7.0, 7.0),
            ),
            resources=90,
            components=20,
        ),
        deployments=deploy.Deployments(
            up=(series(deploy.DIRECT, 40.0, 40.0), series(deploy.OURS, 50.0, 50.0)),
            down=(series(deploy.DIRECT, 10.0, 10.0), series(deploy.OURS, 30.0, 30.0)),
            containers=25,
            networks=7,
            volumes=30,
            parallel=8,
        ),
        uses=(memory.Use(service="sonarr", bytes=1024 * 1024, stand_in=True),),
    )


def test_the_document_has_the_command_the_machine_and_every_figure() -> None:
    text = report.document(results())
    for line in (
        "    scripts/run bench --stack dev --runs 2 --write",
        "| NEXUS | 5.0 | 5.0 to 5.0 | 2.50 | 1.25 |",
        "| NEXUS with the policy pack | 7.0 | 7.0 to 7.0 | 3.50 | 1.75 |",
        "| NEXUS | 50.0 | 50.0 to 50.0 | 1.25 |",
        "| NEXUS | 30.0 | 30.0 to 30.0 | 3.00 |",
        "| sonarr | 1.0 | stand-in |",
        "| all, 1 containers | 1.0 |  |",
    ):
        assert line in text.splitlines()
    assert "2 cores, 16 GiB of memory, Docker Engine 20.10.24" in text
    assert "Stand-ins, not the real programs, ran for: sonarr." in text
    assert os.uname().nodename not in text


def test_the_document_says_where_all_images_are_real() -> None:
    assert "All images are the real programs." in report.document(results(stand_ins=()))


def test_the_terminal_shows_the_same_tables() -> None:
    text = report.console(results())
    for title, table in report.tables(results()):
        assert title in text
        assert table.text() in text


def test_a_run_of_some_parts_is_not_written_down() -> None:
    with pytest.raises(ValueError, match="all parts"):
        report.document(report.Results(**{**vars(results()), "uses": None}))


def test_memory_of_the_machine_is_read_in_gib() -> None:
    assert report.memory_gib("MemTotal:       16777216 kB\nMemFree: 1 kB\n") == 16
    with pytest.raises(ValueError, match="MemTotal"):
        report.memory_gib("")


# The command line


def known(*ids: str) -> State:
    return State(resources=tuple(Resource(urn=f"urn:{one}", type=CONTAINER_TYPE, id=one) for one in ids))


def test_a_stack_that_is_up_and_well_is_measured() -> None:
    containers = [
        Container(id="1", name="nexus-dev-sonarr", health="healthy"),
        Container(id="2", name="nexus-dev-sonarr-seed", role="seed", status="created"),
    ]
    assert bench.unready(known("1", "2"), containers) is None


@pytest.mark.parametrize(
    ("state_ids", "containers", "why"),
    [
        ((), [], "is not up"),
        ((), [Container(id="1", name="nexus-dev-sonarr")], "is not up"),
        (("1",), [], "is not up"),
        (("1",), [Container(id="2", name="nexus-dev-sonarr")], "other containers"),
        (("1",), [Container(id="1", name="a"), Container(id="2", name="b")], "other containers"),
        (("1",), [Container(id="1", name="nexus-dev-vpn", health="starting")], "not healthy: nexus-dev-vpn"),
    ],
)
def test_what_would_not_be_a_measurement_of_the_stack_is_refused(
    state_ids: tuple[str, ...], containers: list[Container], why: str
) -> None:
    assert why in (bench.unready(known(*state_ids), containers) or "")


def test_writing_needs_all_parts() -> None:
    with pytest.raises(UserError, match="--write is for a run of all parts"):
        bench.main(["--write", "--only", "memory"])


@pytest.mark.parametrize("runs", ["0", "-1", "51", "many"])
def test_rounds_are_bounded(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main([f"--runs={runs}"])
    assert "a number from 1 to 50" in capsys.readouterr().err


def test_a_stack_that_is_not_up_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_STATE", str(tmp_path))
    monkeypatch.delenv("NEXUS_ROOT", raising=False)
    with pytest.raises(UserError, match="stack dev is not up; run `make up STACK=dev` first"):
        bench.main(["--stack", "dev"])
