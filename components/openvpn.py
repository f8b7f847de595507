"""A user's own OpenVPN configuration: what gluetun and the container it runs in cannot take, told before they run.

The rules are those of gluetun v3.41.1 (internal/openvpn/extract, internal/provider/custom), which reads the server's
address from the file's lines, writes some of them anew and hands the rest to OpenVPN. What does not belong here:
lines about routes, filters and programs, which the policy rule vpn-keeps-all-traffic refuses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

_PROTOCOLS: Final = ("tcp", "tcp4", "tcp6", "tcp-client", "udp", "udp4", "udp6")
_FILES: Final = (
    *("ca", "cert", "key", "extra-certs", "pkcs12", "crl-verify", "secret"),
    *("tls-auth", "tls-crypt", "tls-crypt-v2", "askpass", "config", "http-proxy-user-pass"),
)
"""Options whose argument is the path of a file."""


def problem(text: str) -> str | None:
    """What is wrong with a configuration, or None. Names its lines and never their content."""
    return next(_problems(text), None)


def asks_for_user(text: str) -> bool:
    """Whether the server wants a user name and a password, which the file then does not bring along."""
    return any(words[0] == "auth-user-pass" for _, words in _options(text))


def _problems(text: str) -> Iterator[str]:
    host = protocol = None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words and line[:1].isspace() and words[0] in ("remote", "proto", "port"):
            yield f"line {number}: begins with a blank, and gluetun then reads no {words[0]} from it: take it out"
        # gluetun reads these three up to the first address and protocol; what follows it leaves out.
        if host and protocol:
            continue
        match words:
            case ["proto", *rest]:
                if len(rest) != 1 or rest[0] not in _PROTOCOLS:
                    yield f"line {number}: gluetun takes proto with one of {', '.join(_PROTOCOLS)}"
                protocol = protocol or rest[0]
            case ["port", *rest]:
                if len(rest) != 1 or not is_port(rest[0]):
                    yield f"line {number}: must be port and a number from 1 to 65535"
            case ["remote", *rest]:
                yield from _remote(number, rest)
                host = host or rest[0]
                protocol = protocol or (rest[2] if len(rest) > 2 else None)
    if host is None:
        yield "has no line that begins with remote: write your server's, such as remote 198.51.100.7 1194 udp"
    for number, words in _options(text):
        if words[0] == "<connection>":
            yield f"line {number}: gluetun takes its one remote out of a <connection>: write it outside of any"
        if words[0] in _FILES and words[1:2] not in ([], ["[inline]"]):
            yield (
                f"line {number}: {words[0]} names a file, which the container does not have: write the file's "
                f"content between <{words[0]}> and </{words[0]}>"
            )


def _remote(number: int, words: list[str]) -> Iterator[str]:
    if not 1 <= len(words) <= 3:
        yield f"line {number}: must be remote, an address, and if need be a port and udp or tcp"
        return
    try:
        ipaddress.IPv4Address(words[0])
    except ValueError:
        yield f"line {number}: remote must be an IPv4 address: names cannot be looked up before the tunnel is there"
    if len(words) > 1 and not is_port(words[1]):
        yield f"line {number}: the port of remote must be a number from 1 to 65535"
    if len(words) > 2 and words[2] not in ("tcp", "udp"):
        yield f"line {number}: the protocol of remote must be udp or tcp"


def is_port(text: str) -> bool:
    """Whether a text is the number of a port."""
    return text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535


def _options(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are options, split into words; without remarks and what stands between <ca> and </ca>."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if inside:
            inside = "" if words[:1] == [f"</{inside}>"] else inside
        elif words and not words[0].startswith(("#", ";")):
            yield number, words
            if words[0].startswith("<") and words[0].endswith(">") and words[0] != "<connection>":
                inside = words[0][1:-1]
