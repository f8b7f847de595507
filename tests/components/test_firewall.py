"""The firewall's own container: its chain, its pool, and the one place where the host's network is given."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from components import firewall
from components.arguments import HostNetwork
from components.dockerhost import DockerHost
from components.errors import PlatformError
from components.service import Service
from tests.components.recorder import run
from tests.components.stacks import CHOICES, GOOD, built, declare
from tests.matrix import TABLE


def chain(stack: str) -> str:
    """The chain of a stack of that name."""
    made: list[str] = []
    run(lambda: made.append(firewall.chain(stack)), stack=stack)
    return made[0]


class TestChain:
    def test_has_the_stacks_name(self) -> None:
        assert chain("dev") == "nexus-dev"

    def test_of_a_long_name_is_short_and_its_own(self) -> None:
        names = [f"{'a' * 60}{end}" for end in ("", "1", "2")]
        chains = [chain(name) for name in names]
        assert len(set(chains)) == len(names)
        # iptables: "chain name too long (must be under 29 chars)"
        assert all(one.startswith("nexus-aaa") and len(one) < 29 for one in chains)

    def test_of_the_longest_that_fits_is_whole(self) -> None:
        assert chain("b" * 22) == f"nexus-{'b' * 22}"
        assert len(chain("b" * 23)) == 28


@pytest.mark.parametrize("choice", CHOICES)
def test_knows_its_stacks_addresses_and_reads_the_script(choice: str) -> None:
    container = built(choice).service("firewall")
    chosen: object = CHOICES[choice].config.get("nexus:networks", {})
    pool = chosen["pool"] if isinstance(chosen, dict) and chosen else "172.31.240.0/20"
    assert {key: container.env[key] for key in ("CHAIN", "POOL")} == {"CHAIN": "nexus-test", "POOL": pool}
    open_ = {f"network-{name}" for name in ("edge", "egress", "tunnel")}
    assert set(container.env["OPEN"].split()) == {
        str(network.tables("ipamConfigs")[0]["subnet"])
        for name, network in built(choice).of("Network").items()
        if name in open_
    }
    (script,) = built(choice).seed("firewall").files
    assert container.texts("entrypoints") == ["/bin/sh", script]
    assert container.table("healthcheck")["tests"] == ["CMD", "/bin/sh", script, "check"]
    assert built(choice).seed("firewall").files[script] == firewall.SCRIPT.read_text()


def test_is_there_before_what_has_the_host_for_a_gateway() -> None:
    made = built("dev")
    first = {name for name, item in made.of("Container").items() if "firewall-container" in item.depends_on}
    out = {member for row in TABLE if not row.internal for member in row.members}
    assert first == {f"{member}-container" for member in out}


def written(folder: Path) -> list[str]:
    """The rules that the script hands to iptables-restore for one network of a pool; the tables' own commands are
    replaced by ones that find no rule and keep what they are given."""
    for name, body in (("iptables", 'case "$*" in *" -A "* | *" -I "*) exit 0 ;; *) exit 1 ;; esac'),
                       ("iptables-restore", f"cat >{folder}/given && mv {folder}/given {folder}/rules")):  # fmt: skip
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CHAIN": "c",
        "OPEN": "10.7.1.0/24",
        "POOL": "10.7.0.0/16",
    }
    with subprocess.Popen(
        ["/bin/sh", str(firewall.SCRIPT)], env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "the rules of c are in place\n"
        run.terminate()
    lines = (folder / "rules").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("-A c ") for line in lines if line.startswith("-A c ")]


def test_what_the_host_listens_on_is_dropped_before_the_stacks_own_networks_are_let_through(tmp_path: Path) -> None:
    """A gateway is both: an address of the host, and one of the network that it leads out of."""
    rules = written(tmp_path)
    host = [rules.index(f"-m addrtype --dst-type {kind} -j DROP") for kind in ("LOCAL", "BROADCAST", "MULTICAST")]
    own = [at for at, rule in enumerate(rules) if "-s 10.7.1.0/24" in rule]
    assert len(own) == 2
    assert max(host) < min(own)
    assert [rules[at] for at in own] == [
        "-s 10.7.1.0/24 -d 10.7.1.0/24 -j RETURN",
        "-s 10.7.1.0/24 -d 10.7.0.0/16 -j DROP",
    ]


def test_a_neighbour_is_dropped_before_all_but_the_stacks_own_addresses_are_let_go(tmp_path: Path) -> None:
    rules = written(tmp_path)
    assert rules[:3] == [
        "-i lo -j RETURN",
        "! -s 10.7.0.0/16 -d 10.7.0.0/16 -m conntrack --ctdir ORIGINAL -j DROP",
        "! -s 10.7.0.0/16 -j RETURN",
    ]


class TestHostNetwork:
    @pytest.mark.parametrize("why", ["", "  "])
    def test_needs_its_reason(self, why: str) -> None:
        with pytest.raises(PlatformError, match="HostNetwork needs its reason"):
            HostNetwork(why=why)

    def test_has_no_address_in_the_stack(self) -> None:
        def program(host: DockerHost) -> None:
            service = Service("sonarr", dataclasses.replace(GOOD, network=HostNetwork(why="a test")), host)
            with pytest.raises(PlatformError, match="sonarr is on no network of the stack"):
                print(service.address)

        container = declare(program).service("sonarr")
        assert container.text("networkMode") == "host"
        assert not container.tables("networksAdvanced")
        assert "hostname" not in container.inputs
