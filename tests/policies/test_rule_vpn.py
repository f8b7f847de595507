"""Family `vpn`: what a VPN gateway is told, and the files that its init container gives it."""

from __future__ import annotations

from typing import Final

import pytest

from policies import config as pack
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


@pytest.mark.parametrize(
    ("variable", "rule"),
    [
        ("FIREWALL_INPUT_PORTS=8080,8000", "vpn-firewall"),
        ("FIREWALL_INPUT_PORTS=8080 8000", "vpn-firewall"),
        ("FIREWALL=off", "vpn-firewall"),
        ("FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT=on", "vpn-firewall"),
        ("FIREWALL_OUTBOUND_SUBNETS=10.0.0.0/24", "vpn-firewall"),
        ("FIREWALL_VPN_INPUT_PORTS=6881", "vpn-firewall"),
        ("EXTRA_SUBNETS=0.0.0.0/0", "vpn-firewall"),
        ("VPN_PORT_FORWARDING_UP_COMMAND=/x", "vpn-firewall"),
        ("VPN_UP_COMMAND=/x", "vpn-firewall"),
        ("VPN_INTERFACE=tun0", "vpn-keeps-all-traffic"),
        ("WIREGUARD_ALLOWED_IPS=10.0.0.0/8", "vpn-keeps-all-traffic"),
        ("WIREGUARD_ENDPOINT_IP=evil", "vpn-keeps-all-traffic"),
        ("OPENVPN_FLAGS=--route-nopull", "vpn-keeps-all-traffic"),
        ("OPENVPN_CUSTOM_CONFIG=/data/client.ovpn", "vpn-keeps-all-traffic"),
        ("HTTPPROXY=on", "vpn-keeps-all-traffic"),
        ("SHADOWSOCKS=on", "vpn-keeps-all-traffic"),
        ("DNS_KEEP_NAMESERVER=on", "vpn-keeps-all-traffic"),
        ("DNS_ADDRESS=192.168.1.1", "vpn-keeps-all-traffic"),
        ("HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE={}", "vpn-keeps-all-traffic"),
        ("HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/data/role", "vpn-keeps-all-traffic"),
        ("what_comes_next_year=x", "vpn-keeps-all-traffic"),
        ("TZ", "vpn-keeps-all-traffic"),
        ("TZ=Europe/Berlin", None),
        (UNKNOWN, None),
    ],
)
def test_a_setting_is_on_the_list_with_its_value(variable: str, rule: str | None) -> None:
    name = variable.partition("=")[0]
    kept = [one for one in ENVS if not str(one).startswith(f"{name}=") or "ROLE" in name]
    told = refused(GATEWAY, envs=[*kept, variable])
    assert told == ({rule: [f"envs[{len(kept)}] ({name})"]} if rule else {})


def test_names_in_clear_are_for_development() -> None:
    told = refused(GATEWAY, stack="prod")
    assert told == {
        "vpn-keeps-all-traffic": [f"envs[{at}] ({name})" for at, name in ((0, "DNS_ADDRESS"), (1, "DNS_SERVER"))]
    }


def test_a_gateway_is_known_by_its_setting_and_its_image() -> None:
    proxy: list[Json] = ["HTTPPROXY=on", "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/run/secrets/control_role"]
    cases: list[Props] = [
        {"envs": ["VPN_SERVICE_PROVIDER=custom", *proxy]},
        {"envs": proxy, "image": "a/qmcgaw/gluetun:3"},
    ]
    for props in cases:
        assert list(places(props, name="other", rules=RULES)) == ["vpn-keeps-all-traffic"]
    assert places({"envs": proxy}, name="other", rules=RULES) == {}


def test_the_control_server_has_a_role() -> None:
    without = [one for one in ENVS if "ROLE" not in str(one)]
    assert refused(GATEWAY, envs=without) == {"vpn-keeps-all-traffic": ["envs"]}
    assert refused(GATEWAY, envs=[*without, UNKNOWN]) == {}


def test_nothing_else_runs_in_a_gateway() -> None:
    assert refused(GATEWAY, entrypoints=["/bin/sh"], command=["x"]) == {"vpn-firewall": ["entrypoints", "command"]}
    assert refused(GATEWAY, entrypoints=UNKNOWN, command=[UNKNOWN]) == {}


def upload(file: Json, content: Json) -> Props:
    return {"file": file, "content": content, "permissions": "0400"}


DROP: Final = "iptables -I OUTPUT 1 -o eth+ -j DROP"


@pytest.mark.parametrize(
    ("file", "content", "rule"),
    [
        ("/iptables/post-rules.txt", f"# a remark\n\n{DROP}\nip6tables -A INPUT -j REJECT", None),
        ("/iptables/post-rules.txt", UNKNOWN, None),
        *(
            ("/iptables/post-rules.txt", f"{DROP}\n{line}", "vpn-firewall")
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
        ("/iptables/pre-rules.txt", DROP, "vpn-firewall"),
        ("/run/secrets/firewall", "off", "vpn-firewall"),
        ("/run/secrets/../../iptables/post-rules.txt", DROP, "vpn-firewall"),
        (UNKNOWN, "x", None),
        ("/run/secrets/control_role", '{"auth": "apikey", "apikey": "x"}', None),
        *(
            ("/run/secrets/control_role", content, "vpn-keeps-all-traffic")
            for content in ("", "[]", '{"auth": "none"}', '{"auth": "apikey", "apikey": ""}', "{" * 5000)
        ),
        ("/run/secrets/client.ovpn", "remote 198.51.100.7 1194\n# route-nopull\n", None),
        *(
            ("/run/secrets/client.ovpn", f"dev tun\n{line}\n", "vpn-keeps-all-traffic")
            for line in (
                *("route-nopull", " pull-filter ignore redirect-gateway", "script-security 2", "up /x"),
                *('pull-filter reject "route', "route 10.0.0.0 255.0.0.0 net_gateway", "redirect-private"),
            )
        ),
    ],
)
def test_a_file_of_a_gateway_is_on_the_list(file: Json, content: Json, rule: str | None) -> None:
    told = refused(INIT, uploads=[*UPLOADS, upload(file, content)])
    assert told == ({rule: [f"uploads[{len(UPLOADS)}].content"]} if rule else {})


def test_no_line_is_there_that_no_choice_needs() -> None:
    given = {
        str(one).partition("=")[0]
        for choice in CHOICES
        for container in declared(choice).of("Container")
        if container.name == GATEWAY
        for one in container.props["envs"]  # type: ignore[union-attr]
    }
    settings = pack.read().settings
    firewall, tunnel = settings["vpn-firewall"], settings["vpn-keeps-all-traffic"]
    listed = {*firewall["variables"], *tunnel["variables"], *tunnel["in-development"]}  # type: ignore[misc]
    assert listed == given
