"""What the value of a setting may be: functions that give it back, or raise ValueError with what to write instead."""

from __future__ import annotations

import base64
import binascii
import difflib
import functools
import ipaddress
import re
import unicodedata
import zoneinfo
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from components import openvpn


def host_name(text: str) -> str:
    """A DNS name (RFC 1123), as browsers and certificates take it. Raises ValueError with what to write instead."""
    if "://" in text or "/" in text:
        raise ValueError("must be a name alone, such as media.example.org, without https:// and without a path")
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        pass
    else:
        raise ValueError("must be a name and not an address, such as media.example.org")
    labels = text.split(".")
    if not text.isascii():
        # Normalised and in lower case, its Punycode is the A-label of IDNA 2008 (RFC 5891).
        plain = [unicodedata.normalize("NFC", label).lower() for label in labels]
        coded = [one if one.isascii() else f"xn--{one.encode('punycode').decode()}" for one in plain]
        raise ValueError(f"must be written in ASCII: {'.'.join(coded)}" if _fits(coded) else _NAME_SHAPE)
    if text != text.lower() and _fits(text.lower().split(".")):
        raise ValueError(f"must be in lower case: {text.lower()}")
    if "_" in text:
        raise ValueError("must not have an underscore: browsers and certificates take no such name; write a dash")
    if long := [label for label in labels if len(label) > 63]:
        raise ValueError(f"must have at most 63 characters between two dots, and has {len(long[0])}")
    if not _fits(labels):
        raise ValueError(_NAME_SHAPE)
    if labels[-1].isdecimal():
        raise ValueError("must not end in a number: browsers take that for an address; such as media.example.org")
    return text


_NAME_SHAPE: Final = "must be a name of a-z, 0-9 and dashes, with single dots between, such as media.example.org"


def _fits(labels: Iterable[str]) -> bool:
    return all(len(one) < 64 and re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", one) for one in labels)


def domain(text: str) -> str:
    """A name that leaves room for an app's before it: 253 characters in all, a label of 63, a dot."""
    if len(host_name(text)) > 189:
        raise ValueError(
            f"must have at most 189 characters, so that an app's name fits before it, and has {len(text)}"
        )
    return text


def is_local(domain: str) -> bool:
    """Whether a domain names this machine itself (RFC 6761), so that no public authority signs it."""
    return domain == "localhost" or domain.endswith(".localhost")


@functools.cache
def time_zones() -> frozenset[str]:
    """The zones that this machine knows; none where it has no time zone data."""
    return frozenset(zoneinfo.available_timezones())


def time_zone(text: str) -> str:
    known = time_zones()
    # The shape alone where nothing is known: it is the containers that need the zone.
    if text in known or (not known and re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", text)):
        return text
    (near,) = difflib.get_close_matches(text, known, n=1) or ["Europe/Berlin"]
    raise ValueError(f"must be a time zone such as {near}: there is none of that name")


def mail_address(text: str) -> str:
    name, at, host = text.rpartition("@")
    if not at or not re.fullmatch(r"[^\s@<>,;:\"()\[\]]+", name):
        raise ValueError("must be one address alone, such as admin@example.org")
    try:
        host_name(host.lower())
    except ValueError as error:
        raise ValueError(f"behind the @ it {error}") from None
    return text


def host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not openvpn.is_port(port):
        raise ValueError("must be a host and a port, such as smtp.example.org:587")
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        try:
            host_name(host.lower())
        except ValueError as error:
            raise ValueError(f"before the port it {error}") from None
    else:
        if ":" in host and not host.startswith("["):
            raise ValueError("must have an IPv6 address in brackets, such as [2001:db8::1]:587")
    return text


_HOURS: Final = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}


def retention(text: str) -> str:
    found = re.fullmatch(r"([0-9]+)([hdwy])", text)
    # Prometheus takes 0 for "not set", and a duration of more than 292 years overflows.
    if not found or not 1 <= int(found[1]) * _HOURS[found[2]] <= 100 * _HOURS["y"]:
        raise ValueError("must be a whole number and h, d, w or y, such as 15d, from 1h to 100y")
    return text


def host_path(path: PurePosixPath) -> PurePosixPath:
    """An absolute path on the Docker host, at least two levels deep."""
    text = str(path)
    if not text.isprintable():
        raise ValueError("must be a path on one line, without control characters")
    if not path.is_absolute() or text.startswith("//") or ".." in path.parts or len(path.parts) < 3:
        raise ValueError("must be an absolute path at least two levels deep, such as /srv/media")
    return path


def mirror(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?", text):
        raise ValueError("must be a registry and a path, such as registry.lan:5000/cache, without https://")
    return text


def gpus(text: str) -> str:
    if not re.fullmatch(r"all|[1-9]\d*|device=[^\s,]+(,[^\s,]+)*", text):
        raise ValueError("must be all, a count such as 1, or devices such as device=0,2")
    return text


def country(text: str) -> str:
    # Letters of any script, as in Côte d'Ivoire.
    if not all(one.isalpha() or one in " .'()&-" for one in text) or not text.strip():
        raise ValueError("must be the name of one country; several are several items of the list")
    return text.strip()


def health_target(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        address = None
    if address is None or not openvpn.is_port(port) or int(port) == 443:
        raise ValueError("must be an IPv4 address and a TCP port that is not 443, such as 10.64.0.1:9998")
    return f"{address}:{int(port)}"


def is_wireguard_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.removesuffix("\n"), validate=True)) == 32
    except (binascii.Error, ValueError):
        return False
