"""The downloader after every kind of trouble with its VPN: what its health says, and that nobody has to lend a hand.

A trouble of its own kind, the Docker Engine killed and started again, is in test_recovery.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import pytest
from docker.models.containers import Container

from tests.integration.probes import container_removed, finish, launch, probe
from tests.integration.stacks import health_of, wait_for
from tests.integration.test_downloads import LINK, Place, assert_nothing_gets_out, place

__all__ = ["place"]

pytestmark = pytest.mark.integration

HEALED: Final = 420.0
"""Seconds within which all is well again. gluetun (3.41) checks its tunnel each 60 s, tries for up to 120 s before it
makes it anew, and may wait 15 s before that. The downloader then looks for 15 s whether the new tunnel lasts, and
starts."""
NOTICED: Final = 60.0
"""Seconds until the downloader has ended in a namespace without its VPN container."""
GUARD_LOOKS: Final = 15.0
"""Seconds between two looks of the guard (config/qbittorrent/guard.sh)."""
GUARDED: Final = 60.0
"""Seconds until the guard has started it."""

BOUND: Final = """
import json, socket, struct
INET_DIAG, SOCK_DIAG_BY_FAMILY, DUMP, DONE, TCP_LISTEN = 4, 20, 0x301, 3, 10
found = []
for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, INET_DIAG) as kernel:
        wanted = struct.pack("=BBBBI", socket.AF_INET, protocol, 0, 0, 0xFFFFFFFF) + bytes(48)
        kernel.send(struct.pack("=IHHII", 16 + len(wanted), SOCK_DIAG_BY_FAMILY, DUMP, 1, 0) + wanted)
        more = True
        while more:
            data = kernel.recv(65536)
            while data and more:
                length, kind = struct.unpack("=IH", data[:6])
                more = kind != DONE
                if kind == SOCK_DIAG_BY_FAMILY and (protocol == socket.IPPROTO_UDP or data[17] == TCP_LISTEN):
                    found.append([protocol, struct.unpack("!H", data[20:22])[0], *struct.unpack("=I", data[56:60])])
                data = data[(length + 3) & ~3:]
print(json.dumps({"sockets": found, "interfaces": {name: number for number, name in socket.if_nameindex()}}))
"""
"""The sockets of a network namespace that receive, each with the number of the interface it is bound to."""

KILL: Final = "import json, os, signal, sys; os.kill(json.loads(sys.argv[1]), signal.SIGKILL); print('null')"


def rider_of(place: Place) -> Container:
    """The downloader as it is now."""
    return place.stack.container("qbittorrent")


def on_the_tunnel(place: Place) -> bool:
    """Whether the downloader takes connections on the tun0 that is there, by TCP and by UDP, and on no other."""
    found = probe(place.stack, rider_of(place), BOUND)
    assert isinstance(found, dict)
    bound = {(protocol, interface) for protocol, _, interface in found["sockets"] if interface}
    print(f"bound: {sorted(bound)}, interfaces: {found['interfaces']}")
    return "tun0" in found["interfaces"] and bound == {
        (6, found["interfaces"]["tun0"]),
        (17, found["interfaces"]["tun0"]),
    }


def result(place: Place) -> tuple[int | None, str]:
    """What the downloader's own health check says now: status and reason."""
    test = rider_of(place).attrs["Config"]["Healthcheck"]["Test"]
    assert test[0] == "CMD"
    done = rider_of(place).exec_run(test[1:])
    assert isinstance(done.output, bytes)
    return done.exit_code, done.output.decode().strip()


def began(container: Container) -> str:
    """When it was last started."""
    container.reload()
    return str(container.attrs["State"]["StartedAt"])


def assert_healed(place: Place, limit: float = HEALED, *, sooner: bool = False) -> None:
    """Waits until the downloader is healthy, on the tunnel that is there, and traffic passes; nobody lends a hand.
    `sooner`: without the minute until gluetun looks at its tunnel again."""
    start, said = time.monotonic(), [""]
    if sooner:
        wait_for(place.is_back, limit, "the tunnel to come back by itself")

    def healed() -> bool:
        health = [health_of(place.stack.container(name)) for name in ("vpn", "qbittorrent")]
        if said[-1] != str(health):
            said.append(str(health))
            print(f"{time.monotonic() - start:4.0f} s: VPN container and downloader are {health}")
        return health == ["healthy", "healthy"] and result(place)[0] == 0

    wait_for(healed, limit, f"the downloader to be well by itself; it was {said}")
    wait_for(lambda: on_the_tunnel(place), 30, "the downloader on its tunnel")
    wait_for(place.through, 30, "traffic through the tunnel")
    print(f"all is well after {time.monotonic() - start:.0f} s")


def namespace(container: Container) -> str:
    """The network namespace it lives in."""

    def told() -> str:
        done = container.exec_run(["readlink", "/proc/self/ns/net"])
        assert isinstance(done.output, bytes)
        assert done.exit_code == 0, done.output
        return done.output.decode().strip()

    # Engine 20.10 under load has ended an exec well and handed over nothing of what it printed.
    return wait_for(told, 10, f"the engine to hand over what an exec in {container.name} printed")


def test_all_is_well_before(place: Place) -> None:
    assert_healed(place, 120)
    assert result(place) == (0, "")


def set_down(place: Place) -> None:
    assert probe(place.stack, place.vpn, LINK, ["tun0", "down"], capabilities=("NET_ADMIN",)) == "done"


def delete(place: Place) -> None:
    assert probe(place.stack, place.vpn, LINK, ["tun0", "delete"], capabilities=("NET_ADMIN",)) == "done"


# set_down comes last: once a ping was denied to it, gluetun asks DNS for good, and without the internet it then makes
# its tunnel anew each minute. The VPN container that the next test starts again has forgotten that.
@pytest.mark.parametrize("trouble", [delete, set_down])
def test_a_tunnel_that_is_made_anew(place: Place, trouble: Callable[[Place], None]) -> None:
    """As gluetun makes it after its own health check failed: in the same container, with another number."""
    before, vpn = began(rider_of(place)), began(place.vpn)
    number = probe(place.stack, place.vpn, "import json, socket; print(json.dumps(socket.if_nametoindex('tun0')))")
    with place.watched() as packets:
        trouble(place)
        status, reason = result(place)
        assert status == 1, "healthy without its tunnel"
        assert reason in ("tun0 is down", "tun0 is not the one that qBittorrent uses")
        time.sleep(10)
    assert place.leaks(packets) == []
    # Once at the real one's own pace.
    assert_healed(place, sooner=trouble is set_down)
    assert (
        probe(place.stack, place.vpn, "import json, socket; print(json.dumps(socket.if_nametoindex('tun0')))")
        != number
    ), "it was the same tunnel all along, so nothing was healed"
    assert began(place.vpn) == vpn
    assert began(rider_of(place)) != before, "it was not started again"


def kill(place: Place) -> None:
    place.vpn.reload()
    pid = place.vpn.attrs["State"]["Pid"]
    with container_removed(launch(place.stack, KILL, pid, capabilities=("KILL",), pid_mode="host")) as killer:
        finish(killer)


def restart(place: Place) -> None:
    place.vpn.restart()


@pytest.mark.parametrize("trouble", [kill, restart])
def test_a_vpn_container_that_comes_back_with_another_namespace(
    place: Place, trouble: Callable[[Place], None]
) -> None:
    vpn, before = began(place.vpn), namespace(rider_of(place))
    with place.watched() as packets:
        trouble(place)
        time.sleep(3)
    assert place.leaks(packets) == []
    wait_for(lambda: began(place.vpn) != vpn, 60, "Docker to start the VPN container again")
    assert_healed(place)
    assert namespace(rider_of(place)) == namespace(place.vpn) != before


def test_a_downloader_that_docker_could_not_start_is_started_by_the_guard(place: Place) -> None:
    """As after a reboot: Docker starts it before its VPN container, cannot, and does not try again."""
    place.vpn.stop()

    def given_up() -> str | None:
        rider = rider_of(place)
        rider.reload()
        state = rider.attrs["State"]
        return state["Error"] if state["Status"] == "exited" else None

    error = wait_for(given_up, NOTICED + 30, "Docker to give the downloader up")
    assert "non running container" in error
    time.sleep(GUARDED / 2)
    assert health_of(rider_of(place)) == "exited", "started without a VPN container"
    place.vpn.start()
    assert_healed(place, 120 + GUARDED)
    guard = place.stack.container("guard")
    assert f"starting {rider_of(place).name}, which Docker could not" in guard.logs(tail=20).decode()


def test_a_downloader_that_somebody_stopped_stays_so(place: Place) -> None:
    rider = rider_of(place)
    rider.stop()
    try:
        time.sleep(2 * GUARD_LOOKS + 5)
        assert health_of(rider) == "exited"
    finally:
        rider.start()
    assert_healed(place, 120)


def test_a_vpn_container_that_is_paused_lets_nothing_out_and_goes_on(place: Place) -> None:
    before = began(rider_of(place))
    place.vpn.pause()
    try:
        assert_nothing_gets_out(place)
    finally:
        place.vpn.unpause()
    assert_healed(place, sooner=True)
    print(f"the downloader was {'not ' if began(rider_of(place)) == before else ''}started again")


def test_the_guards_proxy_lets_nothing_else_pass(place: Place) -> None:
    """Asked from the guard's own namespace, for which alone it answers."""
    rider, vpn = rider_of(place).name, place.vpn.name
    program = (
        "import http.client, json, sys\n"
        "answers = []\n"
        "for method, path in json.loads(sys.argv[1]):\n"
        "    asked = http.client.HTTPConnection('guard-socket-proxy', 2375, timeout=10)\n"
        "    asked.request(method, path)\n"
        "    answers.append(asked.getresponse().status)\n"
        "print(json.dumps(answers))\n"
    )
    asked = {
        ("GET", f"/containers/{rider}/json"): 200,
        ("POST", f"/containers/{rider}/start"): 304,
        ("POST", f"/v1.23/containers/{rider}/start"): 403,
        ("POST", f"/containers/{rider}/stop"): 403,
        ("POST", f"/containers/{rider}/restart"): 403,
        ("POST", f"/containers/{vpn}/start"): 403,
        ("POST", "/containers/create"): 403,
        ("GET", f"/containers/{rider}/archive"): 403,
        ("GET", f"/containers/{vpn}/json"): 403,
        ("GET", "/containers/json"): 403,
        ("DELETE", f"/containers/{rider}"): 405,
    }
    answers = probe(place.stack, place.stack.container("guard"), program, list(asked))
    assert answers == list(asked.values())
