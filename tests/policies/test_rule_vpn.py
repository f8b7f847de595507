"""Family `vpn`: a way past the tunnel is refused, however it is spelled; what is declared passes."""

from __future__ import annotations

import base64
import dataclasses
from typing import Final

import pytest
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.proxy import unknown_checking_proxy

from components.downloads import WEBUI_PORT
from policies.rules import vpn
from policies.rules.props import Unknown, Value, plain
from policies.rules.rule import Resource, Stack
from tests.components.stacks import CHOICES
from tests.policies.harness import (
    CONTAINER,
    SECRET,
    SERVICE,
    SERVICE_CONFIG,
    SIGNATURE,
    UNKNOWN,
    Json,
    Props,
    container,
    judge,
    positions,
    replaced,
    rules_of,
    service,
)
from tests.policies.platform import changed, declared, judged

OWN: Final = {rule.name for rule in vpn.RULES}
FILES: Final = "vpn-files-from-its-seed"
ROLE: Final = "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/run/secrets/control_role"
KEYED: Final = '{"auth": "apikey", "apikey": "x"}'


def own(
    props: Props,
    kind: str = CONTAINER,
    *,
    name: str = "vpn-container",
    stack: str = "prod",
    config: Props | None = None,
) -> set[str]:
    """The rules of this family that object."""
    return rules_of(judge(props, kind, name=name, stack=stack, config=config, rules=vpn.RULES))


def env(*entries: str) -> Props:
    return gateway(envs=["VPN_SERVICE_PROVIDER=mullvad", ROLE, *entries])


def gateway(**changes: Json) -> Props:
    """A container that is a way out, and breaks no rule of the family."""
    good: Props = {"envs": ["VPN_SERVICE_PROVIDER=mullvad", ROLE], "entrypoints": None}
    return container(**(good | changes))


def upload(name: str, text: str) -> Props:
    return container(uploads=[{"file": name, "content": text}])


def rows(*entries: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", entries)


@rows(
    "FIREWALL=off",
    "FIREWALL=0",
    "firewall=False",
    "Firewall= 'disabled' ",
    "FIREWALL=never mind",
    "FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT=off",
    "firewall_enabled_disabling_it_shoots_you_in_your_foot=no",
    "FIREWALL_SECRETFILE=/run/secrets/x",
    "FIREWALL_OUTBOUND_SUBNETS=0.0.0.0/1,128.0.0.0/1",
    "FIREWALL_OUTBOUND_SUBNETS=0.0.0.0/0",
    "FIREWALL_OUTBOUND_SUBNETS=10.0.0.0/8",
    "FIREWALL_OUTBOUND_SUBNETS=192.168.0.0/17,192.168.128.0/17,192.169.0.0/24",
    "FIREWALL_OUTBOUND_SUBNETS=10.0.0.0/16,10.1.0.0/16",
    "FIREWALL_OUTBOUND_SUBNETS=203.0.113.0/24",
    "FIREWALL_OUTBOUND_SUBNETS=::/0",
    "FIREWALL_OUTBOUND_SUBNETS=fd00::/8",
    "FIREWALL_OUTBOUND_SUBNETS=10.1.2.3/255.0.0.0",
    "FIREWALL_OUTBOUND_SUBNETS=everywhere",
    "firewall_outbound_subnets=8.8.8.8",
    "FIREWALL_OUTBOUND_SUBNETS_SECRETFILE=/run/secrets/x",
    "FIREWALL_OUTBOUND_SUBNETS_FILE=/gluetun/x",
    "EXTRA_SUBNETS=0.0.0.0/1",
    "FIREWALL_INPUT_PORTS=8080,8000",
    "FIREWALL_INPUT_PORTS=8000",
    "FIREWALL_INPUT_PORTS=1:65535",
    "FIREWALL_INPUT_PORTS=999999999999999999999",
    "FIREWALL_VPN_INPUT_PORTS=8080",
    "VPN_PORT_FORWARDING_LISTENING_PORT=8080",
    "VPN_PORT_FORWARDING_LISTENING_PORTS=8000",
    "VPN_UP_COMMAND=/bin/sh -c true",
    "VPN_PORT_FORWARDING_DOWN_COMMAND=iptables -F",
)
def test_a_hole_in_the_firewall_is_refused(entry: str) -> None:
    for stack in ("prod", "dev"):
        assert own(env(entry), stack=stack) == {"vpn-firewall"}


@rows(
    "FIREWALL=on",
    "FIREWALL=",
    "FIREWALL_ENABLED_DISABLING_IT_SHOOTS_YOU_IN_YOUR_FOOT=Enabled",
    "FIREWALL_OUTBOUND_SUBNETS=",
    "FIREWALL_OUTBOUND_SUBNETS=192.168.1.0/24, 10.77.0.0/16,",
    "FIREWALL_OUTBOUND_SUBNETS=fd12:3456:789a::/48",
    "FIREWALL_INPUT_PORTS=8080",
    "FIREWALL_VPN_INPUT_PORTS=",
    "VPN_PORT_FORWARDING=on",
    "VPN_PORT_FORWARDING_LISTENING_PORTS=0",
    "VPN_INTERFACE=tun0",
    "WIREGUARD_ALLOWED_IPS=0.0.0.0/0",
    "WIREGUARD_ALLOWED_IPS=0.0.0.0/0,::/0",
    "WIREGUARD_ALLOWED_IPS=0.0.0.0/1, 128.0.0.0/1, ::/0",
    "WIREGUARD_ADDRESSES=10.64.0.2/32",
    "WIREGUARD_PRIVATE_KEY_SECRETFILE=/run/secrets/wireguard_private_key",
    "HTTPPROXY=off",
    "HTTPPROXY_LOG=on",
    "PROXY=disabled",
    "SHADOWSOCKS=off",
    "DNS_KEEP_NAMESERVER=off",
    "DNS_SERVER=on",
    "DOT=on",
    "DNS_ADDRESS=127.0.0.1",
    "DNS_ADDRESS=9.9.9.9",
    "DNS_UPSTREAM_PLAIN_ADDRESSES=1.1.1.1:53,[2606:4700:4700::1111]:53",
    "DNS_UPSTREAM_RESOLVER_TYPE=DoH",
    "BLOCK_MALICIOUS=off",
    "OPENVPN_FLAGS=--mute 5",
    'HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE={"auth":"basic","username":"a","password":"b"}',
)
def test_what_is_harmless_passes(entry: str) -> None:
    for stack in ("prod", "dev"):
        assert own(env(entry), stack=stack) == set()


@rows(
    "VPN_INTERFACE=eth0",
    "vpn_interface=tun1",
    "OPENVPN_INTERFACE=eth0",
    "WIREGUARD_INTERFACE=eth0",
    "WIREGUARD_ALLOWED_IPS=10.0.0.0/8",
    "WIREGUARD_ALLOWED_IPS=0.0.0.0/1",
    "WIREGUARD_ALLOWED_IPS=::/0",
    "WIREGUARD_ALLOWED_IPS=nothing",
    "WIREGUARD_ALLOWED_IPS_SECRETFILE=/run/secrets/x",
    "AMNEZIAWG_ALLOWED_IPS=10.0.0.0/8",
    "OPENVPN_FLAGS=--route-nopull",
    "OPENVPN_FLAGS=--mute 3 --pull-filter ignore redirect-gateway",
    "OPENVPN_FLAGS=--route 1.1.1.1 255.255.255.255 net_gateway",
    "OPENVPN_FLAGS=--script-security 2 --up /x",
    "HTTPPROXY=on",
    "httpproxy=TRUE",
    "HTTP_PROXY=http://192.168.1.2:3128",
    "PROXY=on",
    "TINYPROXY=on",
    "SHADOWSOCKS=on",
    "SHADOWSOCKS=yes",
    "DNS_KEEP_NAMESERVER=on",
    "DNS_ADDRESS=192.168.1.1",
    "DNS_ADDRESS=127.0.0.11",
    "DNS_ADDRESS=10.64.0.1",
    "DNS_ADDRESS=resolver.lan",
    "DNS_PLAINTEXT_ADDRESS=192.168.1.1",
    "DNS_UPSTREAM_PLAIN_ADDRESSES=1.1.1.1:53,192.168.1.1:53",
    "DNS_UPSTREAM_PLAIN_ADDRESSES=[fd00::1]:53",
    'HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE={"auth":"none"}',
    'http_control_server_auth_default_role={"Auth": "none"}',
    "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE={}",
    "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE=[]",
    "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE=" + "[" * 100_000,
    "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/run/secrets/another",
)
def test_a_way_around_the_tunnel_is_refused(entry: str) -> None:
    for stack in ("prod", "dev"):
        assert own(env(entry), stack=stack) == {"vpn-keeps-all-traffic"}


@rows("DNS_SERVER=off", "DOT=off", "dns_server=0", "DNS_UPSTREAM_RESOLVER_TYPE=plain")
def test_names_in_clear_are_for_development(entry: str) -> None:
    assert own(env(entry)) == {"vpn-keeps-all-traffic"}
    assert own(env(entry), stack="dev") == set()


def test_the_control_server_has_a_role() -> None:
    assert own(gateway(envs=["TZ=UTC"])) == {"vpn-keeps-all-traffic"}
    assert own(gateway(envs=["TZ=UTC", UNKNOWN])) == set()
    assert own(gateway(envs=UNKNOWN)) == set()


@pytest.mark.parametrize(
    "line",
    [
        "iptables -I OUTPUT 1 -j ACCEPT",
        "iptables -I OUTPUT 1 -jACCEPT",
        "iptables -I OUTPUT --jump ACCEPT",
        "iptables -I OUTPUT --jum ACCEPT",
        "iptables -I OUTPUT -j RETURN",
        "iptables -I OUTPUT -g x",
        "iptables -A OUTPUT -j DROP -j ACCEPT",
        "iptables -P OUTPUT ACCEPT",
        "iptables -F",
        "iptables -F OUTPUT -j DROP",
        "iptables -D OUTPUT -j DROP",
        "iptables -DOUTPUT -A INPUT -j DROP",
        "iptables -t nat -A POSTROUTING -j MASQUERADE",
        "iptables -A OUTPUT",
        "iptables -A OUTPUT -j",
        "ip6tables -A OUTPUT -j ACCEPT",
        "iptables-nft -A OUTPUT -j ACCEPT",
        "  iptables-legacy -A OUTPUT -j ACCEPT\r",
        "ip route add default via 172.31.243.1",
        "# only drops\n\niptables -A OUTPUT -j DROP\niptables -A OUTPUT -o eth0 -j ACCEPT\n",
    ],
)
def test_a_line_that_does_more_than_drop_is_refused(line: str) -> None:
    encoded = base64.b64encode(line.encode()).decode()
    for props in (
        upload("/iptables/post-rules.txt", line),
        container(uploads=[{"file": "/else/post-rules.txt", "contentBase64": encoded}]),
    ):
        for name in ("vpn-seed", "vpn-container", "another"):
            assert "vpn-firewall" in own(props, name=name)
    assert own({"name": "post-rules.txt", "data": encoded}, SERVICE_CONFIG, name="x") == {"vpn-firewall"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n# what for\n  \n",
        "iptables -I OUTPUT 1 -o eth+ -s 10.13.13.2/32 -j DROP\n",
        "iptables -A OUTPUT ! -o tun0 -p udp --dport 53 -m state --state NEW -j REJECT\r\nip6tables -A INPUT -j DROP",
        UNKNOWN,
    ],
)
def test_lines_that_drop_pass(text: str) -> None:
    assert own(upload("/iptables/post-rules.txt", text), name="vpn-seed") == set()


def test_lines_that_are_no_text_are_refused() -> None:
    data = base64.b64encode(b"# \xff\niptables -P OUTPUT ACCEPT").decode()
    props = container(uploads=[{"file": "/iptables/post-rules.txt", "contentBase64": data}])
    assert own(props, name="vpn-seed", stack="dev") == {"vpn-firewall"}


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("/run/secrets/control_role", '{"auth": "none"}', "vpn-keeps-all-traffic"),
        ("/run/secrets/control_role", "{}", "vpn-keeps-all-traffic"),
        ("/run/secrets/control_role", "", "vpn-keeps-all-traffic"),
        ("/gluetun/auth/config.toml", '[[roles]]\nname="x"\nauth="none"\n', "vpn-keeps-all-traffic"),
        ("/gluetun/wireguard/wg0.conf", "[Peer]\nAllowedIPs=10.0.0.0/8\n", "vpn-keeps-all-traffic"),
        ("/gluetun/x.ovpn", "client\nroute-nopull\n", "vpn-keeps-all-traffic"),
        ("/gluetun/x.ovpn", 'pull-filter ignore "redirect-gateway"\n', "vpn-keeps-all-traffic"),
        ("/run/secrets/httpproxy", "on\n", "vpn-keeps-all-traffic"),
        ("/run/secrets/dns_keep_nameserver", "on", "vpn-keeps-all-traffic"),
        ("/run/secrets/firewall_outbound_subnets", "0.0.0.0/1", "vpn-firewall"),
        ("/gluetun/firewall_input_ports", "8000\n", "vpn-firewall"),
    ],
)
def test_a_file_that_goes_around_the_tunnel_is_refused(name: str, text: str, rule: str) -> None:
    assert own(upload(name, text), name="vpn-seed") == {rule}
    assert own(gateway(uploads=[{"file": name, "content": text}]), name="tunnel") == {rule}
    assert own(upload(name, text), name="another") == set()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("/run/secrets/control_role", KEYED),
        ("/gluetun/auth/config.toml", '[[roles]]\nname="x"\nauth="apikey"\n'),
        ("/gluetun/wireguard/wg0.conf", "[Peer]\nAllowedIPs = 0.0.0.0/0, ::/0\n"),
        ("/gluetun/x.ovpn", "client\n# route-nopull\n;route-nopull\nredirect-gateway def1\ndev tun\n"),
        ("/run/secrets/wireguard_private_key", "x"),
    ],
)
def test_the_files_of_a_way_out_pass(name: str, text: str) -> None:
    assert own(upload(name, text), name="vpn-seed") == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"entrypoints": ["sh", "-c", "iptables -P OUTPUT ACCEPT; exec /gluetun-entrypoint"]},
        {"command": ["sh"]},
        {"command": [UNKNOWN, "sh"]},
        {"uploads": [{"file": "/iptables/x", "source": "/srv/rules"}]},
        {"mounts": [{"type": "bind", "source": "/srv", "target": "/iptables"}]},
        {"mounts": [{"type": "bind", "source": "/srv", "target": "/gluetun/wireguard/"}]},
        {"mounts": [{"type": "bind", "source": "/srv", "target": "/run"}]},
        {"volumes": [{"hostPath": "/srv", "containerPath": "/gluetun"}]},
        {"volumes": ["/srv:/iptables:ro"]},
    ],
)
def test_what_no_rule_can_see_is_refused(changes: Props) -> None:
    assert own(gateway(**changes)) == {"vpn-firewall"}


def test_its_own_program_and_volumes_pass() -> None:
    mounts: Json = [
        {"type": "volume", "source": "rules", "target": "/iptables", "readOnly": True},
        {"type": "bind", "source": "/srv", "target": "/data"},
        UNKNOWN,
    ]
    assert own(gateway(entrypoints=["/gluetun-entrypoint"], command=[], mounts=mounts)) == set()


def test_a_way_out_is_known_by_name_image_and_setting() -> None:
    broken: Json = ["FIREWALL=off", ROLE]
    assert own(container(envs=broken, entrypoints=None), name="vpn-container") == {"vpn-firewall"}
    assert own(container(envs=broken, entrypoints=None), name="another") == set()
    for image in ("qmcgaw/gluetun", "registry.lan:5000/cache/qmcgaw/gluetun:v3@sha256:" + "4f" * 32):
        assert own(container(envs=broken, entrypoints=None, image=image), name="another") == {"vpn-firewall"}
    assert own(env("FIREWALL=off"), name="another") == {"vpn-firewall"}
    role: Props = {"VPN_SERVICE_PROVIDER": "x", "FIREWALL": "off", ROLE.partition("=")[0]: ROLE.partition("=")[2]}
    assert own(service(env=role, commands=None, args=None), SERVICE, name="x") == {"vpn-firewall"}
    named: Props = {"gateways": ["way-out-container"]}
    assert own(container(envs=broken, entrypoints=None), name="way-out-container", config=named) == {"vpn-firewall"}
    assert own(upload("/x/httpproxy", "on"), name="way-out-seed", config=named) == {"vpn-keeps-all-traffic"}


def test_ports_are_settings() -> None:
    ports: Props = {"input-ports": [9091], "vpn-input-ports": [6881.0]}
    assert own(env("FIREWALL_INPUT_PORTS=9091", "FIREWALL_VPN_INPUT_PORTS=6881"), config=ports) == set()
    assert own(env("FIREWALL_INPUT_PORTS=8080"), config=ports) == {"vpn-firewall"}
    (declared_ports,) = (one.settings["input-ports"]["default"] for one in vpn.RULES if one.name == "vpn-firewall")
    assert declared_ports == [WEBUI_PORT]


def test_an_exception_is_for_one_value() -> None:
    entry: Json = {
        "resource": "vpn-container",
        "value": "10.64.0.1",
        "reason": "the provider's own resolver",
        "until": "2999-01-01",
    }
    config: Props = {"exceptions": [entry]}
    assert own(env("DNS_ADDRESS=10.64.0.1"), config=config) == set()
    assert own(env("DNS_ADDRESS=10.64.0.2"), config=config) == {"vpn-keeps-all-traffic"}


@pytest.mark.parametrize(("choice", "preview"), [*((one, False) for one in CHOICES), ("dev", True), ("prod", True)])
def test_the_platform_passes(choice: str, preview: bool) -> None:
    for name in ("dev", *(("prod",) if "wireguard" in choice or choice in ("prod", "openvpn") else ())):
        assert judged(declared(choice, name=name, preview=preview), vpn.RULES).violations == ()


@pytest.mark.parametrize(
    ("resource", "rule", "entry"),
    [
        ("vpn-container", "vpn-firewall", "FIREWALL_OUTBOUND_SUBNETS=0.0.0.0/1,128.0.0.0/1"),
        ("vpn-container", "vpn-keeps-all-traffic", "WIREGUARD_ALLOWED_IPS=10.0.0.0/8"),
        ("vpn-container", "vpn-keeps-all-traffic", "DNS_SERVER=off"),
        ("vpn-seed", "vpn-firewall", "iptables -I OUTPUT 1 -j ACCEPT"),
    ],
)
def test_the_platform_with_a_hole_is_refused(resource: str, rule: str, entry: str) -> None:
    stack = declared("prod", name="prod")
    (one,) = (one for one in stack.resources if one.name == resource)
    known = one.props["envs" if resource == "vpn-container" else "uploads"]
    assert isinstance(known, list)
    if resource == "vpn-container":
        broken = changed(stack, resource, envs=[*known, entry])
    else:
        broken = changed(stack, resource, uploads=[{"file": "/iptables/post-rules.txt", "content": entry}])
    (found,) = judged(broken, vpn.RULES).violations
    assert (found.rule, found.resource.name if found.resource else "") == (rule, resource)


VOLUME_OF_THE_VPN: Final = "nexus-test-vpn-config-files"


@pytest.mark.parametrize(
    "mounted",
    [
        {"mounts": [{"type": "volume", "source": VOLUME_OF_THE_VPN, "target": "/x", "readOnly": False}]},
        {"mounts": [{"type": "volume", "source": VOLUME_OF_THE_VPN, "target": "/x"}]},
        {"volumes": [{"volumeName": VOLUME_OF_THE_VPN, "containerPath": "/x"}]},
        {"volumes": [f"{VOLUME_OF_THE_VPN}:/x"]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["sonarr-container", "sonarr-seed", "vpn-peer-container"])
def test_another_writer_of_the_vpns_files_is_refused(mounted: dict[str, Value], name: str) -> None:
    broken = changed(declared("dev"), name, **mounted)
    assert {(one.rule, one.resource.name) for one in judged(broken, vpn.RULES).violations if one.resource} == {
        (FILES, name)
    }


def test_a_seed_that_nobody_judges_is_refused() -> None:
    stack = declared("dev")
    (seed,) = (one for one in stack.resources if one.name == "vpn-seed")
    (container_,) = (one for one in stack.resources if one.name == "vpn-container")
    others = tuple(one for one in stack.resources if one.name not in ("vpn-seed", "vpn-container"))

    def found(*resources: Resource) -> set[str]:
        report = judged(dataclasses.replace(stack, resources=(*others, *resources)), vpn.RULES)
        return {one.resource.name for one in report.violations if one.resource and one.rule == FILES}

    assert found(seed, container_) == set()
    assert found(dataclasses.replace(seed, name="files-of-the-vpn"), container_) == {"files-of-the-vpn"}
    # A way out by its image or settings, whose seed is not known to `gateways`.
    assert found(dataclasses.replace(seed, name="x-seed"), dataclasses.replace(container_, name="x-container")) == {
        "x-seed"
    }
    service_ = Resource(
        type=SERVICE,
        name="writer",
        stack="dev",
        props={"taskSpec": {"containerSpec": {"mounts": [{"type": "volume", "source": VOLUME_OF_THE_VPN}]}}},
    )
    assert found(seed, container_, service_) == {"writer"}


def test_who_only_reads_the_vpns_files_passes() -> None:
    mount: Value = {"type": "volume", "source": VOLUME_OF_THE_VPN, "target": "/x", "readOnly": True}
    assert judged(changed(declared("dev"), "sonarr-container", mounts=[mount]), vpn.RULES).violations == ()


@pytest.mark.parametrize(
    ("props", "refused"),
    [
        ({"driverOpts": {"type": "none", "o": "bind", "device": "/srv/x"}}, True),
        ({"driverOpts": {"type": "nfs", "o": "addr=nas", "device": ":/x"}}, True),
        ({"driver": "someone/sshfs:1"}, True),
        ({"driverOpts": {"type": "tmpfs", "device": "tmpfs"}}, False),
        ({"driver": "local", "driverOpts": {}}, False),
        ({"driver": Unknown.UNKNOWN, "driverOpts": Unknown.UNKNOWN}, False),
    ],
    ids=repr,
)
def test_a_volume_of_the_vpn_is_the_engines_own(props: dict[str, Value], refused: bool) -> None:
    broken = changed(declared("dev"), "vpn-config-files", **props)
    found = {(one.rule, one.resource.name) for one in judged(broken, vpn.RULES).violations if one.resource}
    assert found == ({(FILES, "vpn-config-files")} if refused else set())


BROKEN: Final = gateway(
    envs=["VPN_SERVICE_PROVIDER=mullvad", "FIREWALL=off", "HTTPPROXY=on", ROLE],
    uploads=[
        {"file": "/iptables/post-rules.txt", "content": "iptables -F"},
        {"file": "/run/secrets/control_role", "content": "{}"},
    ],
)


@pytest.mark.parametrize(
    "junk",
    [UNKNOWN, None, 7, True, [], {}, [[]], {"a": [None]}, "", "=", "\0", {SIGNATURE: SECRET, "value": UNKNOWN}],
)
def test_junk_never_raises(junk: Json) -> None:
    odd: dict[str, Value] = {"gateways": 7, "input-ports": "x", "vpn-input-ports": [None, {}]}
    for path in positions(BROKEN):
        given = plain(unknown_checking_proxy(deserialize_properties(replaced(BROKEN, path, junk))))
        assert isinstance(given, dict)
        alone = Stack(
            name="prod", resources=(Resource(type=CONTAINER, name="vpn-container", stack="prod", props=given),)
        )
        # One broken place hides what is in it and no more.
        assert {rule.name for rule in vpn.RULES for _ in rule.verdicts(alone, {})} == OWN - {FILES}, path
        assert {rule.name for rule in vpn.RULES for _ in rule.verdicts(alone, odd)} <= OWN, path
