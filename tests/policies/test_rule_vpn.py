"""Family `vpn`: what a VPN gateway is told, and the files that its init container gives it."""

from __future__ import annotations

from typing import Final

import pytest

from policies import config as pack
from policies.rules import closed
from policies.rules.vpn import RULES
from tests.components.stacks import CHOICES
from tests.policies.harness import UNKNOWN, Json, Props, declared_inputs, places
from tests.policies.platform import declared

GATEWAY: Final = "vpn-container"
INIT: Final = "vpn-seed"
ENVS: Final[list[Json]] = declared_inputs(GATEWAY)["envs"]  # type: ignore[assignment]
UPLOADS: Final[list[Json]] = declared_inputs(INIT)["uploads"]  # type: ignore[assignment]


def refused(name: str, stack: str = "dev", **changes: Json) -> dict[str, list[str]]:
    return places(declared_inputs(name, **changes), name=name, stack=stack, rules=RULES)


RULE: Final = "vpn-keeps-all-traffic"


@pytest.mark.parametrize(
    "variable",
    [
        "FIREWALL_INPUT_PORTS=8080,8000",
        "FIREWALL_INPUT_PORTS=8080 8000",
        "FIREWALL=off",
        "FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT=on",
        "FIREWALL_OUTBOUND_SUBNETS=10.0.0.0/24",
        "FIREWALL_VPN_INPUT_PORTS=6881",
        "EXTRA_SUBNETS=0.0.0.0/0",
        "VPN_PORT_FORWARDING_UP_COMMAND=/x",
        "VPN_UP_COMMAND=/x",
        "VPN_INTERFACE=tun0",
        "WIREGUARD_ALLOWED_IPS=10.0.0.0/8",
        "WIREGUARD_ENDPOINT_IP=evil",
        "OPENVPN_FLAGS=--route-nopull",
        "OPENVPN_CUSTOM_CONFIG=/data/client.ovpn",
        "HTTPPROXY=on",
        "SHADOWSOCKS=on",
        "DNS_KEEP_NAMESERVER=on",
        "DNS_ADDRESS=192.168.1.1",
        "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE={}",
        "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/data/role",
        "what_comes_next_year=x",
        "TZ",
    ],
)
def test_a_setting_is_on_the_list_with_its_value(variable: str) -> None:
    name = variable.partition("=")[0]
    kept = [one for one in ENVS if not str(one).startswith(f"{name}=") or "ROLE" in name]
    assert refused(GATEWAY, envs=[*kept, variable]) == {RULE: [f"envs[{len(kept)}] ({name})"]}
    for good in ("TZ=Europe/Berlin", UNKNOWN):
        assert refused(GATEWAY, envs=[*ENVS, good]) == {}


def test_names_in_clear_are_for_development() -> None:
    told = refused(GATEWAY, stack="prod")
    assert told == {RULE: [f"envs[{at}] ({name})" for at, name in ((0, "DNS_ADDRESS"), (1, "DNS_SERVER"))]}


def test_no_other_container_can_be_a_gateway() -> None:
    found = places({"envs": ["VPN_SERVICE_PROVIDER=custom"]}, name="other", rules=closed.RULES)
    assert found == {"known-environment": ["envs[0] (VPN_SERVICE_PROVIDER)"]}


def test_the_control_server_has_a_role() -> None:
    without = [one for one in ENVS if "ROLE" not in str(one)]
    assert refused(GATEWAY, envs=without) == {RULE: ["envs"]}
    assert refused(GATEWAY, envs=[*without, UNKNOWN]) == {}


def test_nothing_else_runs_in_a_gateway() -> None:
    assert refused(GATEWAY, entrypoints=["/bin/sh"], command=["x"]) == {RULE: ["entrypoints", "command"]}
    assert refused(GATEWAY, entrypoints=UNKNOWN, command=[UNKNOWN]) == {}


def upload(file: Json, content: Json) -> Props:
    return {"file": file, "content": content, "permissions": "0400"}


DROP: Final = "iptables -I OUTPUT 1 -o eth+ -j DROP"


@pytest.mark.parametrize(
    ("file", "content", "good"),
    [
        ("/iptables/post-rules.txt", f"# a remark\n\n{DROP}\nip6tables -A INPUT -j REJECT", True),
        ("/iptables/post-rules.txt", UNKNOWN, True),
        *(
            ("/iptables/post-rules.txt", f"{DROP}\n{line}", False)
            for line in (
                "iptables -I OUTPUT 1 -j ACCEPT",
                "iptables -F",
                "iptables -D OUTPUT -j DROP",
                "iptables -I OUTPUT -j DROP -j ACCEPT",
                "iptables -t nat -I OUTPUT -j DROP",
                "iptables -P OUTPUT DROP",
                "sh -c x",
                f"{DROP}; reboot -f",
            )
        ),
        ("/iptables/pre-rules.txt", DROP, False),
        ("/run/secrets/firewall", "off", False),
        ("/run/secrets/../../iptables/post-rules.txt", DROP, False),
        (UNKNOWN, "x", True),
        ("/run/secrets/control_role", '{"auth": "apikey", "apikey": "x"}', True),
        *(
            ("/run/secrets/control_role", content, False)
            for content in ("", "[]", '{"auth": "none"}', '{"auth": "apikey", "apikey": ""}', "{" * 5000)
        ),
        ("/run/secrets/client.ovpn", "remote 198.51.100.7 1194\n# route-nopull\n", True),
        *(
            ("/run/secrets/client.ovpn", f"dev tun\n{line}\n", False)
            for line in (
                *("route-nopull", " pull-filter ignore redirect-gateway", "script-security 2", "up /x"),
                *('pull-filter reject "route', "route 10.0.0.0 255.0.0.0 net_gateway", "redirect-private"),
            )
        ),
    ],
)
def test_a_file_of_a_gateway_is_on_the_list(file: Json, content: Json, good: bool) -> None:
    told = refused(INIT, uploads=[*UPLOADS, upload(file, content)])
    assert told == ({} if good else {RULE: [f"uploads[{len(UPLOADS)}].content"]})


def test_no_line_is_there_that_no_choice_needs() -> None:
    given = {
        str(one).partition("=")[0]
        for choice in CHOICES
        for container in declared(choice).of("Container")
        if container.name == GATEWAY
        for one in container.props["envs"]  # type: ignore[union-attr]
    }
    tunnel = pack.read().settings[RULE]
    assert {*tunnel["variables"], *tunnel["in-development"]} == given  # type: ignore[misc]
