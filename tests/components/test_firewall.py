"""The firewall's own container: its chain, its pool, and the one place where the host's network is given."""

from __future__ import annotations

import dataclasses

import pytest

from components import firewall
from components.errors import PlatformError
from components.networks import TABLE
from components.service import HostNetwork, Service, Site
from tests.components.recorder import run
from tests.components.stacks import CHOICES, GOOD, built, declare


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


class TestHostNetwork:
    @pytest.mark.parametrize("why", ["", "  "])
    def test_needs_its_reason(self, why: str) -> None:
        with pytest.raises(PlatformError, match="HostNetwork needs its reason"):
            HostNetwork(why=why)

    def test_has_no_address_in_the_stack(self) -> None:
        def program(site: Site) -> None:
            service = Service("sonarr", dataclasses.replace(GOOD, network=HostNetwork(why="a test")), site)
            with pytest.raises(PlatformError, match="sonarr is on no network of the stack"):
                print(service.address)

        container = declare(program).service("sonarr")
        assert container.text("networkMode") == "host"
        assert not container.tables("networksAdvanced")
        assert "hostname" not in container.inputs
