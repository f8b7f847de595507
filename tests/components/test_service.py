"""What `Service` promises of every container, checked on every container of every stack.

A promise is a function from a container to what deviates from it. Each deviation that is meant is written down here,
and the two lists must be equal: a new one has to be added by hand, and one that is gone has to be removed.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from unittest import mock

import pulumi
import pulumi_docker as docker
import pytest

from components.arguments import (
    HealthCheck,
    Metrics,
    OwnSignIn,
    Port,
    Privileges,
    Probe,
    ServiceArgs,
    SharesNetworkOf,
    User,
    Web,
)
from components.arr import ARRS
from components.dockerhost import DockerHost
from components.errors import PlatformError
from components.provider import duration
from components.service import Service
from components.storage import BindMount, VolumeMount
from tests.components.recorder import Json, Recorder, Registered, run
from tests.components.stacks import (
    CHOICES,
    GOOD,
    ROOT,
    SOCKET_GID,
    SOCKET_PROXY,
    built,
    declare,
    every,
    service,
)
from tests.services import changed

CATATONIT: Final = "/usr/bin/catatonit"
"""The init that some images bring."""

TUN: Final = "/dev/net/tun"
LAYERS: Final = "/var/lib/docker/image/overlay2/layerdb"


UPDATED: Final = frozenset(
    {"attach", "destroyGraceSeconds", "logs", "memory", "memorySwap", "mustRun", "restart", "wait", "waitTimeout"}
)
"""Inputs that the provider sends to a running container, or that are its own."""

PROMISED: Final = frozenset(
    {
        "capabilities",
        "cpus",
        "destroyGraceSeconds",
        "devices",
        "gpus",
        "groupAdds",
        "healthcheck",
        "hostname",
        "image",
        "init",
        "labels",
        "logDriver",
        "logOpts",
        "memory",
        "memorySwap",
        "mounts",
        "mustRun",
        "networkMode",
        "networksAdvanced",
        "ports",
        "readOnly",
        "restart",
        "securityOpts",
        "stopTimeout",
        "sysctls",
        "tmpfs",
        "ulimits",
        "user",
        "wait",
        "waitTimeout",
    }
)
"""Inputs of a container that a promise below is about. `privileged`, `volumes`, `pidMode` and their like are not."""

FREE: Final = frozenset({"name", "entrypoints", "command", "envs"})
"""Inputs that are each service's own."""

SEED_INPUTS: Final = frozenset(
    {
        "attach",
        "capabilities",
        "command",
        "cpus",
        "image",
        "init",
        "labels",
        "logDriver",
        "logOpts",
        "logs",
        "memory",
        "memorySwap",
        "mounts",
        "mustRun",
        "name",
        "networkMode",
        "restart",
        "securityOpts",
        "uploads",
    }
)
"""What a one-shot container is given: no environment, no port, no device, and no `user`, with which the engine would
give that user every uploaded file."""


def containers(role: str) -> Iterator[tuple[str, Registered]]:
    """Every container of that role in every stack, with the service's name."""
    for stack in every().values():
        for item in stack.of("Container").values():
            if item.labels["nexus.role"] == role:
                yield item.labels["nexus.service"], item


def unless(holds: bool, deviation: object) -> str:
    """The deviation as text, or nothing where the promise holds."""
    return "" if holds else str(deviation) or "not given"


def seconds(go: Json) -> int:
    """What a duration in Go's form means. It must be Go's own spelling of it: the engine hands that back."""
    assert isinstance(go, str)
    found = re.fullmatch(r"(?:(?:([1-9]\d*)h)?([0-9]|[1-5]\d)m)?([0-9]|[1-5]\d)s", go)
    assert found, f"{go} is not how Go prints a duration"
    hours, minutes, left = (int(part or 0) for part in found.groups())
    assert hours or minutes or "m" not in go, f"Go leaves the minutes out of {go}"
    return hours * 3600 + minutes * 60 + left


def number(value: Json) -> float:
    """A JSON number, which is not a truth value."""
    assert isinstance(value, int | float)
    assert not isinstance(value, bool)
    return value


def host_paths(container: Registered) -> str:
    """The host's paths in a container; the data tree is one of them where the stack says so."""
    binds = [item for item in container.mounts.values() if item["type"] == "bind" and item["target"] != "/data"]
    return ",".join(f"{item['source']}{'' if item['readOnly'] else ' writable'}" for item in binds)


def first_process(container: Registered) -> str:
    """Who reaps: Docker's init, or the image's own. Not both, since the second would not be process 1."""
    brings_its_own = container.texts("entrypoints")[:1] == [CATATONIT]
    return unless(container.inputs["init"] is not brings_its_own, f"init {container.inputs['init']}")


def networking(container: Registered) -> str:
    """Networks of the table under the service's own name, or another's namespace by its id, or the host's."""
    if mode := container.text("networkMode"):
        own = [key for key in ("networksAdvanced", "ports", "hostname", "hosts", "dns") if container.inputs.get(key)]
        return f"{mode} {own}" if own else mode
    if container.text("hostname") != f"nexus-{container.name.removesuffix('-container')}":
        return f"its host's name is {container.text('hostname')}"
    return unless(bool(container.tables("networksAdvanced")), "no network")


def health_check(container: Registered) -> str:
    check = container.table("healthcheck")
    test = check["tests"]
    assert isinstance(test, list)
    good = test[0] in {"CMD", "CMD-SHELL"} and len(test) > 1 and number(check["retries"]) >= 1
    good = good and seconds(check["interval"]) >= 1 and seconds(check["timeout"]) >= 1
    return unless(good and seconds(check["startPeriod"]) >= 1, check)


def waiting(container: Registered) -> str:
    """Docker calls a container unhealthy after the start period and `retries` failures in a row, one of which may
    have begun within the start period: whoever waits for less gives up on one that is about to be healthy."""
    check = container.table("healthcheck")
    rounds = number(check["retries"]) + 1
    needed = seconds(check["startPeriod"]) + rounds * (seconds(check["interval"]) + seconds(check["timeout"]))
    enough = container.inputs["wait"] is True and number(container.inputs["waitTimeout"]) >= needed
    return unless(enough, container.inputs["waitTimeout"])


def sized_tmpfs(container: Registered) -> str:
    loose = [path for path, options in container.table("tmpfs").items() if "size=" not in str(options)]
    return ",".join(loose)


def data_tree(container: Registered) -> str:
    mount = container.mounts.get("/data")
    return "" if mount is None or mount["readOnly"] is True else "writable"


def delivered(container: Registered) -> str:
    loose = [path for path in ("/run/config", "/run/secrets") if path in container.mounts]
    return ",".join(path for path in loose if container.mounts[path]["readOnly"] is not True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promise:
    """One sentence about every container: what deviates from it, and who may."""

    deviation: Callable[[Registered], str]
    exceptions: frozenset[tuple[str, str]] = frozenset()


SERVICES: Final = {
    "drops every capability": Promise(
        deviation=lambda item: unless(item.table("capabilities").get("drops") == ["ALL"], item.table("capabilities"))
    ),
    # By the names that the engine hands back; any other spelling is a diff on every refresh.
    "adds no capability": Promise(
        deviation=lambda item: ",".join(map(str, _list(item.table("capabilities").get("adds")))),
        exceptions=frozenset(
            {
                # makes the tunnel and the firewall, edits files of its image as root
                ("vpn", "CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_NET_ADMIN,CAP_NET_RAW"),
                # has OpenVPN drop to a user, and ends it by a signal
                ("vpn", "CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_KILL,CAP_NET_ADMIN,CAP_NET_RAW,CAP_SETGID,CAP_SETUID"),
                # makes a tunnel and a firewall
                ("vpn-peer", "CAP_NET_ADMIN,CAP_NET_RAW"),
                # reads the engine's layer database
                ("cadvisor", "CAP_DAC_OVERRIDE"),
                # writes the host's rules about this stack
                ("firewall", "CAP_NET_ADMIN"),
            }
        ),
    ),
    "gains no privilege": Promise(
        deviation=lambda item: unless(
            item.texts("securityOpts") == ["no-new-privileges:true"], item.texts("securityOpts")
        )
    ),
    "has a read-only root": Promise(
        deviation=lambda item: unless(item.inputs["readOnly"] is True, "writable"),
        exceptions=frozenset({("vpn", "writable")}),  # rewrites /etc/passwd, /etc/resolv.conf and /gluetun
    ),
    "is a numeric user that is not root": Promise(
        deviation=lambda item: unless(
            re.fullmatch(r"[1-9]\d*:\d+", item.text("user")) is not None, item.text("user")
        ),
        exceptions=frozenset({("vpn", "0:0"), ("vpn-peer", "0:0"), ("cadvisor", "0:0"), ("firewall", "0:0")}),
    ),
    "has a process that reaps": Promise(deviation=first_process),
    "has memory and no swap": Promise(
        deviation=lambda item: unless(
            number(item.inputs["memory"]) >= 32 and item.inputs["memory"] == item.inputs["memorySwap"],
            [item.inputs["memory"], item.inputs["memorySwap"]],
        )
    ),
    "has a share of the processors": Promise(
        # Zero is no bound at all. In the form that the engine hands back, as above.
        deviation=lambda item: unless(
            0 < float(item.text("cpus")) <= 4 and item.text("cpus") == str(float(item.text("cpus"))),
            item.text("cpus"),
        )
    ),
    "has a bound on processes": Promise(
        deviation=lambda item: unless(
            item.tables("ulimits") == [{"name": "nproc", "soft": 4096, "hard": 4096}], item.tables("ulimits")
        )
    ),
    "rotates its log": Promise(
        deviation=lambda item: unless(
            item.text("logDriver") == "json-file" and item.table("logOpts") == {"max-file": "3", "max-size": "10m"},
            item.table("logOpts"),
        )
    ),
    "has a health check": Promise(deviation=health_check),
    "is waited for as long as Docker needs": Promise(deviation=waiting),
    "is started again": Promise(
        deviation=lambda item: unless(
            item.text("restart") == "unless-stopped" and item.inputs["mustRun"] is True, item.text("restart")
        )
    ),
    "has time to stop": Promise(
        deviation=lambda item: unless(
            10 <= number(item.inputs["stopTimeout"]) == item.inputs["destroyGraceSeconds"],
            [item.inputs["stopTimeout"], item.inputs["destroyGraceSeconds"]],
        )
    ),
    "is made from an image's id": Promise(
        deviation=lambda item: unless(
            {item.text("image")} == {f"sha256:{source}" for source in item.sources["image"]}, item.text("image")
        )
    ),
    "has networks of its own": Promise(
        deviation=networking,
        exceptions=frozenset(
            {
                ("qbittorrent", "container:vpn-container-id"),  # its only way out is the tunnel
                ("firewall", "host"),  # its rules are the host's
            }
        ),
    ),
    "publishes no port": Promise(
        deviation=lambda item: ",".join(f"{port['internal']}/{port['protocol']}" for port in item.tables("ports")),
        exceptions=frozenset({("traefik", "8080/tcp,8443/tcp")}),
    ),
    "has no path of the host": Promise(
        deviation=host_paths,
        exceptions=frozenset(
            {
                (SOCKET_PROXY, "/var/run/docker.sock"),
                ("guard-socket-proxy", "/var/run/docker.sock"),
                ("cadvisor", f"/sys,{LAYERS}"),
                ("cadvisor", "/sys"),  # where containerd stores the images
                # those of a rootless engine
                (SOCKET_PROXY, "/run/user/1000/docker.sock"),
                ("guard-socket-proxy", "/run/user/1000/docker.sock"),
                ("cadvisor", "/home/nexus/.local/share/docker/image/fuse-overlayfs/layerdb,/sys"),
            }
        ),
    ),
    "has no device": Promise(
        deviation=lambda item: (
            ",".join(str(device["hostPath"]) for device in item.tables("devices")) + item.text("gpus")
        ),
        exceptions=frozenset(
            {("vpn", TUN), ("vpn-peer", TUN), ("jellyfin", "/dev/dri/renderD128"), ("jellyfin", "device=0,2")}
        ),
    ),
    "has no further group": Promise(
        deviation=lambda item: ",".join(item.texts("groupAdds")),
        exceptions=frozenset(
            {
                (SOCKET_PROXY, str(SOCKET_GID)),
                (SOCKET_PROXY, "0"),  # the user of a rootless engine, as its containers see the group
                (SOCKET_PROXY, "121"),  # of the remote stack
                ("guard-socket-proxy", str(SOCKET_GID)),
                ("guard-socket-proxy", "0"),
                ("guard-socket-proxy", "121"),
                ("jellyfin", "993"),  # the render group of the stack with a DRI GPU
            }
        ),
    ),
    "sets nothing of the kernel": Promise(
        deviation=lambda item: ",".join(item.table("sysctls")),
        exceptions=frozenset({("vpn-peer", "net.ipv4.ip_forward")}),
    ),
    "does not write to the data tree": Promise(
        deviation=data_tree,
        exceptions=frozenset(
            (name, "writable") for name in ("qbittorrent", *(app.name for app in ARRS if app.media))
        ),
    ),
    "does not write where its files are delivered": Promise(deviation=delivered),
    "bounds what it keeps in memory": Promise(deviation=sized_tmpfs),
    # The provider takes more than these for updates, and never sends them to the engine (tests/integration/
    # test_changes.py changes each).
    "is replaced for whatever is not updated in place": Promise(
        deviation=lambda item: ",".join(sorted(item.inputs.keys() - UPDATED - item.replace_on_changes))
    ),
    # Its name can be taken once only.
    "can be replaced": Promise(
        deviation=lambda item: unless(item.delete_before_replace and not item.protect, "created before deleted")
    ),
    "is found by its labels": Promise(
        deviation=lambda item: unless(
            item.labels.keys() - {"nexus.seed", "nexus.own"} == {"nexus.stack", "nexus.service", "nexus.role"}
            and item.labels["nexus.stack"] == "test"
            and item.name == f"{item.labels['nexus.service']}-container",
            item.labels,
        )
    ),
    "is given nothing that has no promise": Promise(
        deviation=lambda item: ",".join(sorted(item.inputs.keys() - PROMISED - FREE))
    ),
}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


class TestEveryService:
    @pytest.mark.parametrize("promise", SERVICES)
    def test_promise(self, promise: str) -> None:
        deviations = {
            (name, found) for name, item in containers("service") if (found := SERVICES[promise].deviation(item))
        }
        assert deviations == SERVICES[promise].exceptions

    @pytest.mark.parametrize("choice", CHOICES)
    def test_is_checked_sooner_while_it_starts_where_the_engine_can(self, choice: str) -> None:
        """An engine before Docker 25 refuses the interval."""
        engine = CHOICES[choice].engine
        said = "2s" if engine and engine.version in ("28.5.2", "29.0.0") else None
        found = {
            item.table("healthcheck").get("startInterval")
            for item in built(choice).of("Container").values()
            if item.labels["nexus.role"] == "service"
        }
        assert found == {said}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_all_of_them_were_looked_at(self, choice: str) -> None:
        made = {item.labels["nexus.service"] for item in built(choice).of("Container").values()}
        assert built(choice).of("Service").keys() <= made
        # The one container that belongs to no service makes the data tree.
        assert made - built(choice).of("Service").keys() == {"data"}


SEEDS: Final = {
    "has no network": Promise(
        deviation=lambda item: unless(item.text("networkMode") == "none", item.text("networkMode"))
    ),
    "does not stay": Promise(
        deviation=lambda item: unless(
            item.text("restart") == "no" and item.inputs["mustRun"] is False and "wait" not in item.inputs,
            item.text("restart"),
        )
    ),
    "is waited for": Promise(
        # `attach` makes the provider wait for its end, and `logs` keep what it said.
        deviation=lambda item: unless(
            item.inputs["attach"] is True
            and item.inputs["logs"] is True
            and item.texts("command")[:2] == ["sh", "-ec"],
            [item.inputs["attach"], item.inputs["logs"]],
        )
    ),
    "drops every capability": Promise(
        deviation=lambda item: unless(item.table("capabilities").get("drops") == ["ALL"], item.table("capabilities"))
    ),
    "adds what it takes to hand over files": Promise(
        deviation=lambda item: unless(
            item.table("capabilities").get("adds") == ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"],
            item.table("capabilities"),
        )
    ),
    "is replaced for whatever is not updated in place": SERVICES["is replaced for whatever is not updated in place"],
    "can be replaced": SERVICES["can be replaced"],
    "gains no privilege": SERVICES["gains no privilege"],
    "has memory and no swap": SERVICES["has memory and no swap"],
    "has a share of the processors": SERVICES["has a share of the processors"],
    "is made from an image's id": SERVICES["is made from an image's id"],
    "has no path of the host": Promise(deviation=host_paths),
    "rotates its log": Promise(
        deviation=lambda item: unless(
            item.text("logDriver") == "json-file" and item.table("logOpts") == {"max-file": "1", "max-size": "1m"},
            item.table("logOpts"),
        )
    ),
    "has no environment": Promise(deviation=lambda item: ",".join(item.texts("envs"))),
    "is found by its labels": Promise(
        deviation=lambda item: unless(
            item.labels.keys() == {"nexus.stack", "nexus.service", "nexus.role"}
            and item.name == f"{item.labels['nexus.service']}-seed",
            item.labels,
        )
    ),
    "delivers into volumes only": Promise(
        deviation=lambda item: ",".join(
            path for path in item.files if not any(path.startswith(f"{target}/") for target in item.mounts)
        )
    ),
    "is given nothing else": Promise(deviation=lambda item: ",".join(sorted(item.inputs.keys() - SEED_INPUTS))),
}


def handed_over(seed: Registered) -> dict[str, str]:
    """The directories that a seed gives to a user."""
    return {path: user for user, path in re.findall(r"chown (\d+:\d+) ([^\s;]+)", seed.texts("command")[2])}


def kept(seed: Registered) -> list[str]:
    """The files that a seed leaves where it delivers."""
    return re.findall(r"! -path (\S+)", seed.texts("command")[2])


class TestEverySeed:
    @pytest.mark.parametrize("promise", SEEDS)
    def test_promise(self, promise: str) -> None:
        seeds = list(containers("seed"))
        assert len(seeds) > len(CHOICES)
        deviations = {(name, found) for name, item in seeds if (found := SEEDS[promise].deviation(item))}
        assert deviations == SEEDS[promise].exceptions

    @pytest.mark.parametrize("choice", CHOICES)
    def test_what_it_delivers_is_its_services_own(self, choice: str) -> None:
        stack = built(choice)
        seeds = {name.removesuffix("-seed"): item for name, item in stack.of("Container").items() if "-seed" in name}
        assert seeds.pop("data").files == {}
        for name, seed in seeds.items():
            container = stack.service(name)
            uid, gid = container.text("user").split(":")
            for upload in seed.tables("uploads"):
                assert (upload["permissions"], upload["owner"], upload["group"]) == ("0400", uid, gid)
            assert sorted(kept(seed)) == sorted(seed.files), "what is not declared is removed"
            # Same volumes, writable here and read-only there.
            for target in {"/run/config", "/run/secrets"} & seed.mounts.keys():
                assert seed.mounts[target]["source"] == container.mounts[target]["source"]
                assert seed.mounts[target]["readOnly"] is False

    @pytest.mark.parametrize("choice", CHOICES)
    def test_an_app_owns_the_volumes_it_writes_to(self, choice: str) -> None:
        stack = built(choice)
        for name in stack.of("Service"):
            container = stack.service(name)
            written = {
                target: item["source"]
                for target, item in container.mounts.items()
                if item["type"] == "volume" and not item["readOnly"] and target != "/data"
            }
            if not written:
                continue
            seed = stack.seed(name)
            assert {target: seed.mounts[target]["source"] for target in written} == written
            assert handed_over(seed) == {target: container.text("user") for target in written}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_whatever_a_container_names_is_delivered(self, choice: str) -> None:
        """Every path under /run/config and /run/secrets that a service is told of is a file that its seed brings, or
        a directory of such files."""
        stack = built(choice)
        told = 0
        for name in stack.of("Service"):
            container = stack.service(name)
            files = stack.seed(name).files if f"{name}-seed" in stack.of("Container") else {}
            texts = [str(leaf.value) for leaf in container.leaves if leaf.path != "mounts"]
            texts = [text for text in texts if text not in {"/run/config", "/run/secrets"}]
            texts += [content for path, content in files.items() if path.startswith("/run/config/")]
            for path in re.findall(r"/run/(?:config|secrets)/[\w./-]*\w", "\n".join(texts)):
                told += 1
                assert any(file == path or file.startswith(f"{path}/") for file in files), f"{name}: {path}"
        assert told > 10


class TestVolumes:
    def test_have_a_name_and_nothing_else(self) -> None:
        # Labels and driver options are ForceNew: to edit one is to delete the data.
        for stack in every().values():
            assert stack.of("Volume")
            for name, volume in stack.of("Volume").items():
                assert volume.inputs.keys() == {"name"}, name

    @pytest.mark.parametrize("choice", CHOICES)
    def test_are_passed_on_by_output(self, choice: str) -> None:
        stack = built(choice)
        by_physical = {volume.text("name"): name for name, volume in stack.of("Volume").items()}
        for item in stack.of("Container").values():
            used = {str(mount["source"]) for mount in item.mounts.values() if mount["type"] == "volume"}
            assert item.sources.get("mounts", frozenset()) == {by_physical[source] for source in used}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_each_is_mounted_somewhere(self, choice: str) -> None:
        stack = built(choice)
        used = {str(mount["source"]) for item in stack.of("Container").values() for mount in item.mounts.values()}
        assert {volume.text("name") for volume in stack.of("Volume").values()} <= used


def physical(stack: Recorder) -> list[tuple[str, str]]:
    """Kind and name of everything a stack makes on the Docker host. Images are shared."""
    return [
        (kind, item.text("name")) for kind in ("Container", "Network", "Volume") for item in stack.of(kind).values()
    ]


class TestNames:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_are_unique_and_begin_with_project_and_stack(self, choice: str) -> None:
        names = physical(built(choice))
        assert sorted(set(names)) == sorted(names)
        assert all(re.fullmatch(r"nexus-test-[a-z0-9][a-z0-9-]*", name) for _, name in names)

    def test_two_stacks_share_none(self) -> None:
        one, other = built("dev"), built("dev", stack="other")
        assert len(physical(one)) == len(physical(other))
        assert not set(physical(one)) & set(physical(other))
        assert {item.labels["nexus.stack"] for item in other.of("Container").values()} == {"other"}

    def test_containers_are_named_as_their_services(self) -> None:
        stack = built("dev")
        assert {name: stack.service(name).text("name") for name in stack.of("Service")} == {
            name: f"nexus-test-{name}" for name in stack.of("Service")
        }


class TestDuration:
    @pytest.mark.parametrize(
        ("given", "go"),
        [
            (0, "0s"),
            (1, "1s"),
            (59, "59s"),
            (60, "1m0s"),
            (90, "1m30s"),
            (600, "10m0s"),
            (3599, "59m59s"),
            (3600, "1h0m0s"),
            (3661, "1h1m1s"),
            (90000, "25h0m0s"),
        ],
    )
    def test_is_as_go_prints_it(self, given: int, go: str) -> None:
        assert duration(given) == go

    @pytest.mark.parametrize("given", [0, 1, 59, 60, 61, 3599, 3600, 3660, 86399])
    def test_means_what_was_given(self, given: int) -> None:
        assert seconds(duration(given)) == given


class TestReplacement:
    """What must replace a container is an Output among its inputs."""

    def test_a_changed_file(self) -> None:
        stack = declare(lambda host: Service("sonarr", good(config={"a.yml": "x"}), host))
        assert stack.service("sonarr").sources["labels"] == {"sonarr-seed"}
        assert stack.service("sonarr").labels["nexus.seed"] == "sonarr-seed-id"
        assert stack.seed("sonarr").files == {"/run/config/a.yml": "x"}

    def test_a_changed_secret(self) -> None:
        def program(host: DockerHost) -> None:
            Service("sonarr", good(secrets={"key": pulumi.Output.secret("hidden-until-now")}), host)

        stack = declare(program)
        assert stack.service("sonarr").sources["labels"] == {"sonarr-seed"}
        hidden = [leaf for leaf in stack.seed("sonarr").leaves if leaf.value == "hidden-until-now"]
        assert [(leaf.path, leaf.secret) for leaf in hidden] == [("uploads[0].content", True)]

    def test_a_changed_pin(self) -> None:
        container = service("sonarr")
        assert container.sources["image"] == {"image-busybox"}

    def test_a_replaced_namespace(self) -> None:
        def program(host: DockerHost) -> None:
            carrier = Service("vpn", GOOD, host)
            rider = Service("rider", good(network=SharesNetworkOf(service=carrier)), host)
            second = Service("second", good(network=SharesNetworkOf(service=rider)), host)
            assert (carrier.address, rider.address, second.address) == ("vpn", "vpn", "vpn")

        stack = declare(program)
        assert stack.service("rider").sources["networkMode"] == {"vpn-container"}
        assert stack.service("rider").text("networkMode") == "container:vpn-container-id"
        assert "networksAdvanced" not in stack.service("rider").inputs


class TestService:
    def test_without_files_and_volumes_there_is_no_seed(self) -> None:
        stack = declare(lambda host: Service("sonarr", GOOD, host))
        assert stack.of("Container").keys() == {"sonarr-container"}
        assert "nexus.seed" not in stack.service("sonarr").labels

    def test_what_is_given_in_place_of_the_images_own_shows_in_a_label(self) -> None:
        # A change of a label replaces the container; that the provider sees no change where one is taken away is
        # shown by tests/integration/test_changes.py.
        both = good(entrypoint=("sleep",), command=("60",))
        assert service("sonarr", both).labels["nexus.own"] == "entrypoint command"
        assert service("sonarr", changed(both, command=())).labels["nexus.own"] == "entrypoint"
        assert "nexus.own" not in service("sonarr").labels

    def test_a_volume_is_handed_over_and_the_tree_is_not(self) -> None:
        def program(host: DockerHost) -> None:
            mounts = (
                VolumeMount(volume=docker.Volume("own", name="own"), target="/config"),
                VolumeMount(volume=docker.Volume("tree", name="tree"), target="/data"),
                BindMount(source="/srv/other", target="/other"),
            )
            Service("sonarr", good(mounts=mounts), host)

        seed = declare(program).seed("sonarr")
        assert seed.texts("command")[:2] == ["sh", "-ec"]
        assert handed_over(seed) == {"/config": "1000:1000"}
        assert seed.mounts.keys() == {"/config"}

    def test_environment_is_sorted_and_one_output_an_entry(self) -> None:
        def program(host: DockerHost) -> None:
            env: dict[str, pulumi.Input[str]] = {"B": "2", "A": pulumi.Output.secret("hidden"), "C": "3"}
            Service("sonarr", good(env=env), host)

        container = declare(program).service("sonarr")
        assert container.texts("envs") == ["A=hidden", "B=2", "C=3", "TZ=Etc/UTC"]
        assert {leaf.path for leaf in container.leaves if leaf.secret} == {"envs[0]"}

    def test_ports_are_sorted_with_address_and_protocol(self) -> None:
        ports = (
            Port(address="127.0.0.1", external=443, internal=9000),
            Port(address="127.0.0.1", external=80, internal=8000),
        )
        assert service("traefik", good(ports=ports)).tables("ports") == [
            {"ip": "127.0.0.1", "external": 80, "internal": 8000, "protocol": "tcp"},
            {"ip": "127.0.0.1", "external": 443, "internal": 9000, "protocol": "tcp"},
        ]

    def test_an_image_is_pulled_once_and_kept(self) -> None:
        stack = declare(lambda host: [Service(name, GOOD, host) for name in ("sonarr", "radarr")])
        (image,) = stack.of("RemoteImage").values()
        assert image.inputs["keepLocally"] is True
        assert image.create_timeout == "2h"
        assert re.fullmatch(r"docker\.io/library/busybox:[\d.]+@sha256:[0-9a-f]{64}", image.text("name"))

    def test_what_must_be_there_first_is_waited_for(self) -> None:
        def program(host: DockerHost) -> None:
            first = docker.Volume("first", name="first")
            Service("sonarr", good(after=(first,)), host)

        assert "first" in declare(program).service("sonarr").depends_on


WRONG: Final[Mapping[str, tuple[Callable[[], object], str]]] = {
    "no reason": (lambda: Privileges(why=" ", tun=True), "why is empty"),
    "no need": (lambda: Privileges(why="to be sure"), "nothing is asked for"),
    "a capability without its prefix": (
        lambda: Privileges(why="x", capabilities=("NET_ADMIN",)),
        "capabilities has NET_ADMIN; write names as CAP_NET_ADMIN is written",
    ),
    "a capability twice": (
        lambda: Privileges(why="x", capabilities=("CAP_KILL", "CAP_KILL")),
        "capabilities has CAP_KILL twice",
    ),
    "a user below root": (lambda: User(uid=-1, gid=0), "0 or more"),
    "no health check": (lambda: HealthCheck(test=("NONE",)), "test must be"),
    "a health check of no word": (lambda: HealthCheck(test=("CMD",)), "test must be"),
    "a health check of an empty word": (lambda: HealthCheck(test=("CMD", "")), "test must be"),
    "a script with words behind it": (lambda: HealthCheck(test=("CMD-SHELL", "a", "b")), "test has words behind"),
    "no interval": (lambda: HealthCheck(test=("CMD", "a"), interval=0), "interval is 0"),
    "no timeout": (lambda: HealthCheck(test=("CMD", "a"), timeout=0), "timeout is 0"),
    "no retries": (lambda: HealthCheck(test=("CMD", "a"), retries=0), "retries is 0"),
    "a start before the start": (lambda: HealthCheck(test=("CMD", "a"), start_period=-1), "start_period is -1"),
    "a page at no label": (lambda: Web(host="a.b", port=1, sign_in=OwnSignIn()), "host is 'a.b'"),
    "a page on no port": (lambda: Web(host="a", port=0, sign_in=OwnSignIn()), "port is 0"),
    "a hidden path that is none": (
        lambda: Web(host="a", port=1, sign_in=OwnSignIn(), hidden_paths=("metrics",)),
        "hidden_paths has 'metrics'",
    ),
    "metrics on no port": (lambda: Metrics(port=65536), "port is 65536"),
    "metrics at no path": (lambda: Metrics(port=1, path="metrics"), "path is 'metrics'"),
    "a probe at no path": (lambda: Probe(port=1, path=""), "path is ''"),
    "a port of no address": (lambda: Port(address="localhost", external=1, internal=1), "address is 'localhost'"),
    "a published port that is none": (lambda: Port(address="::", external=0, internal=1), "external is 0"),
    "a container's port that is none": (lambda: Port(address="::", external=1, internal=-1), "internal is -1"),
    "less memory than the engine's least": (
        lambda: good(memory=5),
        "memory is 5, the engine wants 6 megabytes",
    ),
    "no processor": (lambda: good(cpus=0), "cpus is 0, it must be more than 0"),
    "no time to stop": (lambda: good(stop_grace=0), "stop_grace is 0"),
    "an entry point of no word": (lambda: good(entrypoint=()), "entrypoint has no word"),
    "a command with an empty word": (lambda: good(command=("a", "")), "command has an empty word"),
    "a variable that is two": (lambda: good(env={"A=B": "c"}), "env has the names 'A=B'"),
    "an empty file": (lambda: good(config={"a": ""}), "config has the empty file 'a'"),
    "a file elsewhere": (lambda: good(config={"../a": "x"}), "config has the file '../a'"),
    "a secret at an absolute path": (
        lambda: good(secrets={"/a": pulumi.Output.secret("x")}),
        "secrets has the file '/a'",
    ),
    "a relative target": (
        lambda: good(mounts=(BindMount(source="/a", target="b"),)),
        "'b' cannot be mounted at",
    ),
    "a target that ends in a slash": (lambda: good(tmpfs={"/b/": "size=1m"}), "'/b/' cannot be mounted at"),
    "the root": (lambda: good(mounts=(BindMount(source="/a", target="/"),)), "'/' cannot be mounted at"),
    "two mounts at one target": (
        lambda: good(mounts=(BindMount(source="/a", target="/b"), BindMount(source="/c", target="/b"))),
        "two mounts at /b",
    ),
    "a mount over memory": (
        lambda: good(mounts=(BindMount(source="/a", target="/tmp"),)),
        "two mounts at /tmp",
    ),
    "a mount over delivered files": (
        lambda: good(config={"a": "x"}, mounts=(BindMount(source="/a", target="/run/config"),)),
        "two mounts at /run/config",
    ),
    "a port twice": (
        lambda: good(
            ports=(
                Port(address="127.0.0.1", external=80, internal=1),
                Port(address="127.0.0.1", external=80, internal=2),
            ),
        ),
        "ports has 127.0.0.1:80 twice",
    ),
    "a group below root's": (lambda: good(groups=(3, -3)), "groups has -3"),
}
"""What must not be written, and what the message says."""


def good(**changes: object) -> ServiceArgs:
    """The good service with these changes."""
    return changed(GOOD, **changes)


def failure(program: Callable[[DockerHost], object]) -> str:
    """What a run says that fails while its Outputs are awaited."""
    with pytest.raises(pulumi.RunError) as caught:
        declare(program)
    return str(caught.value)


class TestRefused:
    @pytest.mark.parametrize("mistake", WRONG)
    def test_is_an_error_where_it_is_written(self, mistake: str) -> None:
        make, says = WRONG[mistake]
        said: list[str] = []

        def program() -> None:
            with pytest.raises(PlatformError) as caught:
                make()
            said.append(str(caught.value))

        run(program)
        assert says in said[0]

    def test_every_mistake_in_one_message(self) -> None:
        with pytest.raises(PlatformError, match=r"^Limits: memory is 0.*; cpus is -1"):
            good(memory=0, cpus=-1)

    def test_a_rider_that_publishes(self) -> None:
        def program(host: DockerHost) -> None:
            carrier = Service("vpn", GOOD, host)
            port = Port(address="127.0.0.1", external=80, internal=80)
            with pytest.raises(PlatformError, match="ports can be published by a service with networks of its own"):
                good(network=SharesNetworkOf(service=carrier), ports=(port,))

        declare(program)

    def test_an_image_that_is_none(self) -> None:
        with pytest.raises(PlatformError, match=r"there is no image 'busibox'; add a pin to PINS"):
            declare(lambda host: Service("sonarr", good(image="busibox"), host))

    def test_a_secret_that_turns_out_to_be_empty(self) -> None:
        said = failure(lambda host: Service("sonarr", good(secrets={"key": pulumi.Output.secret("")}), host))
        assert said.startswith("sonarr: /run/secrets/key would be empty")


class TestOneShot:
    @pytest.mark.parametrize(("code", "ends"), [(0, True), (1, False), (137, False)])
    def test_one_that_fails_fails_the_run(self, code: int, ends: bool) -> None:
        """That the provider gives both is shown by tests/integration/test_changes.py."""
        ended: dict[str, object] = {"exit_code": code, "container_logs": "one\ntwo\nthree\nfour\n"}

        def program(host: DockerHost) -> None:
            with ExitStack() as outputs:
                for name, value in ended.items():
                    output = mock.PropertyMock(return_value=pulumi.Output.from_input(value))
                    outputs.enter_context(mock.patch.object(docker.Container, name, output))
                Service("sonarr", good(config={"a": "x"}), host)

        if ends:
            assert "sonarr-container" in declare(program).of("Container")
            return
        said = failure(program)
        assert f"nexus-test-sonarr-seed ended with status {code}: two / three / four" in said
        assert "docker logs nexus-test-sonarr-seed" in said


class TestMounts:
    """`VolumeMount` is writable and `BindMount` read-only unless it is said."""

    def test_defaults(self) -> None:
        assert BindMount(source="/srv", target="/srv").read_only

        def program() -> None:
            assert not VolumeMount(volume=docker.Volume("own"), target="/own").read_only

        run(program)


CONSTRUCTORS: Final[dict[str, set[str]]] = {
    "docker.Container": {"job.py", "service.py"},
    "docker.Network": {"networks.py"},
    "docker.Volume": {"service.py", "storage.py"},
    "docker.RemoteImage": {"service.py"},
    "random.RandomPassword": {"secrets.py"},
    # Their ids are their values, and an id is in state in clear.
    "random.RandomBytes": set(),
    "random.RandomString": set(),
    "pulumi.Config": {"secret.py"},
}
"""Where each resource of a provider may be made, and configuration read."""


@functools.cache
def called(path: Path) -> frozenset[str]:
    """The dotted names called in a module."""
    tree = ast.parse(path.read_text())
    return frozenset(ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


class TestRooms:
    @pytest.mark.parametrize("constructor", CONSTRUCTORS)
    def test_only_one_room_makes(self, constructor: str) -> None:
        modules = [*(ROOT / "components").rglob("*.py"), ROOT / "__main__.py"]
        assert {path.name for path in modules if constructor in called(path)} == CONSTRUCTORS[constructor]

    def test_nothing_else_of_a_provider_is_made(self) -> None:
        kinds = {
            item.type.rpartition(":")[2] for stack in every().values() for item in stack.resources if item.custom
        }
        known = {name.partition(".")[2] for name, rooms in CONSTRUCTORS.items() if rooms} - {"Config"}
        assert kinds == known | {"docker", "random"}, "the two providers themselves are made in __main__.py"

    def test_no_two_logical_names_are_equal(self) -> None:
        for stack in every().values():
            names = [(item.type, item.name) for item in stack.resources]
            doubles = [name for name, group in itertools.groupby(sorted(names)) if len(list(group)) > 1]
            assert doubles == []
