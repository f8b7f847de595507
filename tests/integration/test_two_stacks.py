"""Two stacks of one user side by side on one host."""

from __future__ import annotations

import pytest
from docker.models.containers import Container

from tests.integration.edge import ask
from tests.integration.probes import probe
from tests.integration.stacks import Stack, not_healthy
from tests.integration.test_networks import REACH, TIMEOUT
from tests.integration.test_up import fingerprint

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def other(stack: Stack, second: Stack) -> Stack:
    """The second stack, up."""
    second.up()
    return second


def test_both_are_healthy_and_the_first_was_left_alone(stack: Stack, second: Stack) -> None:
    # test_monitoring has stopped a service of the first, whose alert takes as long as this.
    before = fingerprint(stack), not_healthy(stack.containers())
    second.up()
    assert not_healthy(second.containers()) == []
    assert (fingerprint(stack), not_healthy(stack.containers())) == before


def test_each_answers_at_its_own_ports_with_its_own_password(stack: Stack, other: Stack) -> None:
    passwords = {one.name: one.output("admin-password") for one in (stack, other)}
    assert len(set(passwords.values())) == 2
    for one, its_neighbour in ((stack, other), (other, stack)):
        assert ask(one, "jellyfin", "/System/Info/Public").status == 200
        assert ask(one, "sonarr", password=passwords[one.name]).status == 200
        assert ask(one, "sonarr", password=passwords[its_neighbour.name]).status == 401
    identities = {ask(one, "jellyfin", "/System/Info/Public").body for one in (stack, other)}
    assert len(identities) == 2, "both ports lead to one Jellyfin"


def test_they_share_no_name_volume_network_or_address(stack: Stack, other: Stack) -> None:
    first, theirs = set(stack.leftovers()), set(other.leftovers())
    assert len(first) == len(theirs) > 30
    assert not first & theirs

    def mounted(one: Stack) -> set[str]:
        mounts = [mount for item in one.containers() for mount in item.attrs["Mounts"]]
        return {mount["Name"] for mount in mounts if mount["Type"] == "volume"}

    assert not mounted(stack) & mounted(other)


@pytest.mark.parametrize("service", ["sonarr", "traefik", "prometheus"])
def test_neither_reaches_into_the_other(stack: Stack, other: Stack, service: str) -> None:
    def addresses(container: Container) -> list[str]:
        return [network["IPAddress"] for network in container.attrs["NetworkSettings"]["Networks"].values()]

    port = {"sonarr": 8989, "traefik": 8443, "prometheus": 9090}[service]
    targets = [(address, port) for address in addresses(other.container(service))]
    asked = {"targets": targets, "names": [], "letters": [], "token": "", "timeout": TIMEOUT}
    seen = probe(stack, stack.container(service), REACH, asked)
    own = probe(other, other.container(service), REACH, asked)
    assert isinstance(seen, dict)
    assert isinstance(own, dict)
    assert "connected" in own["outcomes"], "nothing listens there, so nothing is proven"
    assert not {"connected", "refused"} & set(seen["outcomes"])
