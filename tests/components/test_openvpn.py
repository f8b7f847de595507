"""A user's own .ovpn file: what gluetun and its container cannot take is told by line, and what they can passes."""

from __future__ import annotations

import pytest

from components import openvpn

GOOD = """\
# canary's file
client
dev tun
proto udp
remote 198.51.100.7 1194
remote later.canary.example 443 tcp
auth-nocache
<ca>
remote canary.example
-----BEGIN CERTIFICATE-----
</ca>
key-direction 1
"""


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        "remote 198.51.100.7",
        "port 443\nremote 198.51.100.7 # ours\nproto tcp-client",
        "remote 198.51.100.7 443 tcp",
        "remote 198.51.100.7 443 tcp\nremote a.canary.example",
        "remote 198.51.100.7\n<tls-auth>\n-----\n</tls-auth>\nca [inline]\ntls-auth [inline] 1",
        "remote 198.51.100.7\n;ca /etc/ca.crt",
    ],
)
def test_what_passes(text: str) -> None:
    assert openvpn.problem(text) is None
    assert not openvpn.asks_for_user(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no line that begins with remote"),
        ("client\n# remote 198.51.100.7", "has no line that begins with remote"),
        ("remote canary.example 1194", "line 1: remote must be an IPv4 address"),
        ("client\nremote fd00::7 1194", "line 2: remote must be an IPv4 address"),
        ("remote", "line 1: must be remote, an address"),
        ("remote 198.51.100.7 1194 udp canary", "line 1: must be remote, an address"),
        ("remote 198.51.100.7 canary", "line 1: the port of remote"),
        ("remote 198.51.100.7 77310", "line 1: the port of remote"),
        ("remote 198.51.100.7 1194 udp4", "line 1: the protocol of remote"),
        ("proto canary\nremote 198.51.100.7", "line 1: gluetun takes proto with one of"),
        ("proto udp canary\nremote 198.51.100.7", "line 1: gluetun takes proto with one of"),
        ("port canary\nremote 198.51.100.7", "line 1: must be port"),
        (" remote 198.51.100.7", "line 1: begins with a blank"),
        ("<connection>\nremote 198.51.100.7\n</connection>", "line 1: gluetun takes its one remote out of"),
        ("remote 198.51.100.7\nca canary.crt", "line 2: ca names a file"),
        ("remote 198.51.100.7\n\ttls-auth canary.key 1", "line 2: tls-auth names a file"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    problem = openvpn.problem(text)
    assert problem is not None
    assert problem.startswith(said)
    assert "canary" not in problem
    assert "77310" not in problem


@pytest.mark.parametrize("line", ["auth-user-pass", "auth-user-pass login.txt", "  auth-user-pass"])
def test_a_user_is_asked_for(line: str) -> None:
    assert openvpn.asks_for_user(f"remote 198.51.100.7\n{line}\n")
    assert openvpn.problem(f"remote 198.51.100.7\n{line}\n") is None
