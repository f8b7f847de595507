"""Bad settings are refused with the file, the key and no value; good ones become what the program reads."""

from __future__ import annotations

import ipaddress
import json
import re
import traceback
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, get_origin

import pydantic
import pytest
import yaml

from components.settings import load as loading
from components.settings import values
from components.settings.load import SettingsError
from components.settings.schema import (
    DriGpu,
    EmailReceiver,
    EmbeddedVpn,
    Images,
    NoGpu,
    NoReceiver,
    Section,
    Settings,
    Storage,
    WireGuardVpn,
)
from components.settings.secret import SECRET_KEYS, WIREGUARD_PRESHARED_KEY, SecretKey, required_secrets
from tests.components.recorder import Json, configuration, run
from tests.components.stacks import CHOICES, EMBEDDED, ROOT, Choice, given, stack_file

FILE = "Pulumi.test.yaml"

MANY = "canary" * 8
CUSTOM: dict[str, Json] = {
    "type": "wireguard",
    "provider": "custom",
    "addresses": "10.64.0.2/32",
    "endpoint-ip": "198.51.100.7",
    "endpoint-port": 51820,
    "public-key": "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
}
MULLVAD: dict[str, Json] = {"type": "wireguard", "provider": "mullvad", "addresses": "10.64.0.2/32"}
EMAIL: Mapping[str, Json] = {
    "type": "email",
    "to": "admin@example.org",
    "sender": "nexus@example.org",
    "smarthost": "smtp.example.org:587",
    "username": "nexus",
}


def load(choice: Choice) -> Settings:
    """The settings, from the engine's configuration."""
    with configuration(choice.config, choice.secrets):
        return loading.load("test")[0]


def refusal(choice: Choice) -> list[str]:
    """The lines of the refusal, after the file; the values must be nowhere in it, nor in its traceback."""
    with pytest.raises(SettingsError) as caught:
        load(choice)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{FILE}: ") for line in lines), lines
    printed = "".join(traceback.format_exception(caught.value))
    for value in [*choice.secrets.values(), "canary", "77310"]:
        assert value not in printed
    return [line.removeprefix(f"{FILE}: ") for line in lines]


def on(section: str, value: Json) -> Choice:
    """A good stack with one section set to `value`. What is wrong in it contains `canary` or 77310."""
    return Choice(config={**EMBEDDED, f"nexus:{section}": value})


def gpu(**keys: Json) -> Choice:
    """A good stack with this GPU."""
    return on("jellyfin", {"gpu": keys})


def receiver(**keys: Json) -> Choice:
    """A good stack with this receiver of alerts."""
    return on("monitoring", {"receiver": keys})


class TestOneMistake:
    """`said` is the whole beginning of the one line, so the key is exact."""

    @pytest.mark.parametrize(
        ("choice", "said"),
        [
            # unknown keys
            pytest.param(on("canaries", {}), "nexus:canaries: no such setting; allowed are", id="unknown"),
            pytest.param(on("edge", {"x": "canary"}), "nexus:edge.x: no such setting; allowed are", id="nested"),
            pytest.param(
                gpu(mode="dri", **{"render-gid": 993}, x="canary"),
                "nexus:jellyfin.gpu.x: no such setting; allowed are device, mode, render-gid",
                id="nested-twice",
            ),
            pytest.param(
                on("vpn", {"type": "embedded", "provider": "canary"}),
                "nexus:vpn.provider: no such setting; allowed are type",
                id="of-another-kind",
            ),
            pytest.param(
                receiver(type="webhook", email="canary"),
                "nexus:monitoring.receiver.email: no such setting; allowed are type",
                id="unknown-key-that-is-a-kind",
            ),
            pytest.param(
                receiver(type="webhook", webhook="canary"),
                "nexus:monitoring.receiver.webhook: no such setting; allowed are type",
                id="unknown-key-that-is-the-kind",
            ),
            pytest.param(on("none", {}), "nexus:none: no such setting", id="unknown-section-that-is-a-kind"),
            pytest.param(
                on("edge", {"http_port": 77310}),
                "nexus:edge.http_port: no such setting; allowed are bind-address, domain, http-port, https-port",
                id="snake-case",
            ),
            # wrong types
            pytest.param(on("edge", "canary"), "nexus:edge: must be an object with the keys bind", id="text"),
            pytest.param(on("edge", ["canary"]), "nexus:edge: must be an object with the keys bind", id="list"),
            pytest.param(on("edge", 77310), "nexus:edge: must be an object with the keys bind", id="number"),
            pytest.param(
                on("edge", '{"domain": "canary"'), "nexus:edge: must be an object with the keys bind", id="cut-off"
            ),
            pytest.param(
                on("jellyfin", {"gpu": "canary"}), "nexus:jellyfin.gpu: must be an object with the key", id="text-gpu"
            ),
            pytest.param(on("edge", {"domain": 77310}), "nexus:edge.domain: ", id="number-for-text"),
            pytest.param(on("edge", {"http-port": "canary"}), "nexus:edge.http-port: ", id="text-for-number"),
            pytest.param(on("edge", {"http-port": 8080.77310}), "nexus:edge.http-port: ", id="fraction"),
            pytest.param(on("edge", {"http-port": True}), "nexus:edge.http-port: ", id="true-for-number"),
            pytest.param(
                on("edge", {"bind-address": 77310}),
                "nexus:edge.bind-address: ",
                id="number-for-address",
            ),
            pytest.param(on("networks", {"pool": 77310}), "nexus:networks.pool: ", id="number-for-range"),
            # ranges and patterns
            pytest.param(on("docker", {"host": "canary://x"}), "nexus:docker.host: ", id="docker-host"),
            pytest.param(on("docker", {"socket-gid": -77310}), "nexus:docker.socket-gid: ", id="socket-gid"),
            pytest.param(on("docker", {"image-store": "canary"}), "nexus:docker.image-store: ", id="image-store"),
            *(
                pytest.param(
                    on("images", {"mirror": text}),
                    "nexus:images.mirror: must be a registry and a path, such as registry.lan:5000/cache",
                    id=f"mirror-{text}",
                )
                for text in ("https://canary", "Canary.lan", "canary.lan/a b", "", "canary.lan\n")
            ),
            pytest.param(
                on("images", {"lock": "canary", "mirror": "canary.lan"}),
                "nexus:images: lock and mirror exclude each other: remove one of them",
                id="lock-and-mirror",
            ),
            pytest.param(on("apps", {"uid": 0}), "nexus:apps.uid: ", id="root"),
            pytest.param(on("apps", {"gid": 0}), "nexus:apps.gid: ", id="root-group"),
            pytest.param(on("apps", {"uid": 77310}), "nexus:apps.uid: ", id="uid"),
            pytest.param(on("apps", {"gid": 77310}), "nexus:apps.gid: ", id="gid"),
            *(
                pytest.param(
                    on("apps", {"timezone": zone}),
                    f"nexus:apps.timezone: must be a time zone such as {near}",
                    id=f"timezone-{zone}",
                )
                for zone, near in (
                    ("Europe/Berln", "Europe/Berlin: there is none of that name"),
                    ("europe/berlin", "Europe/Berlin: there is none of that name"),
                    ("Europe", ""),
                    ("", "Europe/Berlin: there is none of that name"),
                    ("posix/Europe/Berlin", "Europe/Berlin"),
                )
            ),
            pytest.param(
                on("apps", {"timezone": "../canary"}), "nexus:apps.timezone: must be a time ", id="timezone"
            ),
            pytest.param(on("networks", {"pool": "canary"}), "nexus:networks.pool: ", id="pool"),
            pytest.param(
                on("networks", {"pool": "172.31.77.0/24"}),
                "nexus:networks.pool: must be /20 or larger (a smaller prefix number)",
                id="small-pool",
            ),
            pytest.param(
                on("networks", {"pool": "8.0.0.0/8"}),
                "nexus:networks.pool: must be a private range",
                id="public-pool",
            ),
            pytest.param(
                on("networks", {"pool": "127.0.0.0/8"}),
                "nexus:networks.pool: must be a private range",
                id="loopback",
            ),
            pytest.param(
                on("networks", {"pool": "169.254.0.0/16"}),
                "nexus:networks.pool: must be a private range",
                id="link-local",
            ),
            pytest.param(on("networks", {"pool": "172.31.77.5/20"}), "nexus:networks.pool: ", id="host-bits"),
            pytest.param(
                on("storage", {"data": "canary/srv/media"}),
                "nexus:storage.data: must be an absolute path at least two levels deep, such as /srv/media",
                id="relative",
            ),
            pytest.param(on("storage", {"data": "/canary"}), "nexus:storage.data: must be an absolute", id="shallow"),
            pytest.param(
                on("storage", {"data": "/srv/../canary"}), "nexus:storage.data: must be an absolute", id="upwards"
            ),
            pytest.param(
                on("storage", {"data": "//srv/canary"}), "nexus:storage.data: must be an absolute", id="two-slashes"
            ),
            pytest.param(
                on("storage", {"data": "/srv/a\ncanary"}), "nexus:storage.data: must be a path on one", id="two-lines"
            ),
            pytest.param(on("storage", {"min-free-gb": 0}), "nexus:storage.min-free-gb: ", id="no-free-disk"),
            *(
                pytest.param(on("edge", {"domain": domain}), f"nexus:edge.domain: {said}", id=f"domain-{domain[:24]}")
                for domain, said in (
                    ("Canary..org/canary", "must be a name alone"),
                    ("https://media.example.org", "must be a name alone, such as media.example.org, without https"),
                    ("media.example.org:8443", "must be a name of a-z, 0-9 and dashes"),
                    ("*.media.example.org", "must be a name of a-z, 0-9 and dashes"),
                    ("media.example.org.", "must be a name of a-z, 0-9 and dashes, with single dots between"),
                    ("media..example.org", "must be a name of a-z, 0-9 and dashes, with single dots between"),
                    ("-media.example.org", "must be a name of a-z, 0-9 and dashes"),
                    ("media example", "must be a name of a-z, 0-9 and dashes"),
                    ("", "must be a name of a-z, 0-9 and dashes"),
                    ("canary`)||Host(`x", "must be a name of a-z, 0-9 and dashes"),
                    ("media.example.org\n", "must be a name of a-z, 0-9 and dashes"),
                    ("192.168.1.10", "must be a name and not an address"),
                    ("fd00::1", "must be a name and not an address"),
                    ("[fd00::1]", "must be a name and not an address"),
                    ("media.10", "must not end in a number"),
                    ("Media.Example.org", "must be in lower case: media.example.org"),
                    ("my_home.lan", "must not have an underscore"),
                    ("münchen.example", "must be written in ASCII: xn--mnchen-3ya.example"),
                    ("BÜCHER.example", "must be written in ASCII: xn--bcher-kva.example"),
                    ("straße.example", "must be written in ASCII: xn--strae-oqa.example"),
                    (f"{'a' * 64}.org", "must have at most 63 characters between two dots, and has 64"),
                    (".".join(["a" * 60] * 4), "must have at most 189 characters, "),
                )
            ),
            pytest.param(on("edge", {"bind-address": "canary"}), "nexus:edge.bind-address: ", id="bind-address"),
            *(
                pytest.param(
                    on("edge", {"bind-address": address}),
                    "nexus:edge.bind-address: must be an IPv4 address such as 0.0.0.0: over IPv6 every client",
                    id=f"bind-address {address}",
                )
                for address in ("::", "::1", "2001:db8::7", "::ffff:192.0.2.1")
            ),
            pytest.param(on("edge", {"http-port": 77310}), "nexus:edge.http-port: ", id="http-port"),
            pytest.param(on("edge", {"https-port": 0}), "nexus:edge.https-port: ", id="https-port"),
            pytest.param(
                on("edge", {"http-port": 8443, "https-port": 8443}),
                "nexus:edge: http-port and https-port must differ",
                id="one-port-twice",
            ),
            *(
                pytest.param(
                    gpu(mode="nvidia", gpus=text), "nexus:jellyfin.gpu.gpus: must be all, a count", id=f"gpus-{text}"
                )
                for text in ("canary", "0", "device=", "device=0,", "device=0 2", "")
            ),
            pytest.param(gpu(mode="dri"), "nexus:jellyfin.gpu.render-gid: missing", id="no-render-gid"),
            pytest.param(
                gpu(mode="dri", **{"render-gid": "canary"}), "nexus:jellyfin.gpu.render-gid: ", id="group-name"
            ),
            pytest.param(
                gpu(mode="dri", **{"render-gid": -77310}),
                "nexus:jellyfin.gpu.render-gid: ",
                id="negative-group",
            ),
            pytest.param(
                gpu(mode="dri", **{"render-gid": 993}, device="canary"),
                "nexus:jellyfin.gpu.device: ",
                id="gpu-device",
            ),
            pytest.param(
                gpu(mode="dri", **{"render-gid": 993}, device="/dev/../canary"),
                "nexus:jellyfin.gpu.device: must be a path under /dev",
                id="upwards-from-dev",
            ),
            pytest.param(on("jellyfin", {"cpus": 0}), "nexus:jellyfin.cpus: ", id="no-processor"),
            pytest.param(on("jellyfin", {"cpus": "inf"}), "nexus:jellyfin.cpus: ", id="endless-processors"),
            pytest.param(on("jellyfin", {"transcode-mb": 63}), "nexus:jellyfin.transcode-mb: ", id="transcode-mb"),
            *(
                pytest.param(
                    on("monitoring", {"retention": text}),
                    "nexus:monitoring.retention: must be a whole number and h, d, w or y, such as 15d, ",
                    id=f"retention-{text}",
                )
                for text in ("canary", "15", "0d", "15 d", "1h30m", "-1d", "101y", "99999999999d", "15D", "15d\n")
            ),
            # kinds
            pytest.param(Choice(config={}), "nexus:vpn: missing", id="no-vpn"),
            pytest.param(on("vpn", {}), "nexus:vpn.type: missing", id="no-vpn-type"),
            pytest.param(
                on("vpn", {"type": "canary"}),
                "nexus:vpn.type: must be one of 'embedded', 'wireguard', 'openvpn'",
                id="vpn-type",
            ),
            pytest.param(gpu(device="canary"), "nexus:jellyfin.gpu.mode: missing", id="no-gpu-mode"),
            pytest.param(
                gpu(mode="canary"),
                "nexus:jellyfin.gpu.mode: must be one of 'none', 'dri', 'nvidia'",
                id="gpu-mode",
            ),
            pytest.param(receiver(to="canary"), "nexus:monitoring.receiver.type: missing", id="no-receiver-type"),
            pytest.param(
                receiver(type="canary"),
                "nexus:monitoring.receiver.type: must be one of 'none', 'webhook', 'email'",
                id="receiver-type",
            ),
            # the VPN's own
            pytest.param(on("vpn", {"type": "wireguard"}), "nexus:vpn.provider: missing", id="no-provider"),
            pytest.param(on("vpn", {"type": "openvpn"}), "nexus:vpn.provider: missing", id="no-openvpn-provider"),
            pytest.param(
                on("vpn", {"type": "wireguard", "provider": "Canary!"}), "nexus:vpn.provider: ", id="provider"
            ),
            pytest.param(
                on("vpn", {"type": "openvpn", "provider": "Canary!"}), "nexus:vpn.provider: ", id="openvpn-provider"
            ),
            pytest.param(
                on("vpn", {"type": "wireguard", "provider": "custom", "addresses": "10.64.0.2/32"}),
                "nexus:vpn: provider custom also needs endpoint-ip, endpoint-port, public-key",
                id="custom-not-whole",
            ),
            pytest.param(
                on("vpn", {**CUSTOM, "provider": "mullvad"}),
                "nexus:vpn: endpoint-ip, endpoint-port, public-key: only for provider custom",
                id="only-for-custom",
            ),
            pytest.param(on("vpn", {**CUSTOM, "endpoint-ip": "canary"}), "nexus:vpn.endpoint-ip: ", id="endpoint"),
            pytest.param(on("vpn", {**CUSTOM, "endpoint-port": 77310}), "nexus:vpn.endpoint-port: ", id="vpn-port"),
            pytest.param(on("vpn", {**CUSTOM, "public-key": "canary"}), "nexus:vpn.public-key: ", id="short-key"),
            pytest.param(on("vpn", {**CUSTOM, "public-key": MANY}), "nexus:vpn.public-key: ", id="long-key"),
            pytest.param(
                on("vpn", {**CUSTOM, "public-key": "x" * 44}), "nexus:vpn.public-key: must be a W", id="no-key"
            ),
            pytest.param(on("vpn", {**CUSTOM, "endpoint-ip": "127.7.73.10"}), "nexus:vpn.endpoint-ip: must", id="lo"),
            pytest.param(on("vpn", {**CUSTOM, "countries": "canary"}), "nexus:vpn.countries: ", id="countries"),
            pytest.param(
                on("vpn", {**CUSTOM, "countries": ["Sweden"]}),
                "nexus:vpn: gluetun knows no countries of custom: leave countries out",
                id="countries-of-custom",
            ),
            *(
                pytest.param(
                    on("vpn", {"type": "openvpn", "provider": provider, "countries": ["Japan"]}),
                    f"nexus:vpn: gluetun knows no countries of {provider}: ",
                    id=f"countries-of-{provider}",
                )
                for provider in ("giganews", "perfect privacy", "private internet access", "vyprvpn", "windscribe")
            ),
            *(
                pytest.param(
                    on("vpn", {**MULLVAD, "countries": [country]}),
                    "nexus:vpn.countries.0: must be the name of one country",
                    id=f"country-{country}",
                )
                for country in ("", " ", "canary, Sweden", "canary;Sweden", "canary/Sweden", "canary\nSweden")
            ),
            pytest.param(
                on("vpn", {**MULLVAD, "health-target": "10.77.3.10:9998"}),
                "nexus:vpn: health-target: only for provider custom",
                id="health-target-of-a-provider",
            ),
            *(
                pytest.param(
                    on("vpn", {**CUSTOM, "health-target": target}),
                    "nexus:vpn.health-target: must be an IPv4 address and a TCP port that is not 443",
                    id=f"health-{target}",
                )
                for target in (
                    "canary.org:80",
                    "10.77.3.10",
                    "10.77.3.10:77310",
                    "10.77.3.10:443",
                    "10.77.3.10:0443",
                    "[fd00::7731]:80",
                )
            ),
            *(
                pytest.param(
                    on("vpn", {"type": "wireguard", "provider": provider}),
                    f"nexus:vpn: provider {provider} also needs addresses: ",
                    id=f"no-addresses-{provider}",
                )
                for provider in ("airvpn", "fastestvpn", "ivpn", "mullvad", "surfshark", "windscribe")
            ),
            *(
                pytest.param(
                    on("vpn", {**MULLVAD, "addresses": addresses}),
                    f"nexus:vpn.addresses: {said}",
                    id=f"addresses-{addresses}",
                )
                for addresses, said in (
                    ("canary", "must be an IPv4 address, such as 10.64.0.2/32"),
                    ("", "must be an IPv4 address"),
                    ("10.77310.0.2/32", "must be an IPv4 address"),
                    ("10.64.0.2/77310", "must be an IPv4 address"),
                    ("10.64.0.2/32,", "must be an IPv4 address"),
                    ("fc00:7731:0::2/128", "has an IPv6 address, and the stack's networks have no IPv6"),
                    ("10.64.0.2/32,fc00:7731:0::2/128", "has an IPv6 address"),
                )
            ),
            *(
                pytest.param(
                    on("vpn", {"type": "wireguard", "provider": provider}),
                    "nexus:vpn.provider: Input should be 'airvpn', 'custom', 'fastestvpn', 'ivpn', 'mullvad', ",
                    id=f"wireguard-{provider}",
                )
                for provider in ("private internet access", "cyberghost", "mulvad")
            ),
            *(
                pytest.param(
                    on("vpn", {"type": "openvpn", "provider": provider}),
                    "nexus:vpn.provider: this provider asks for a certificate of yours: take provider custom",
                    id=f"openvpn-{provider}",
                )
                for provider in ("airvpn", "cyberghost", "vpn unlimited", "vpnsecure")
            ),
            *(
                pytest.param(
                    Choice(config={"nexus:vpn": {**CUSTOM, key: value}, "nexus:networks": {"pool": "10.112.0.0/16"}}),
                    f"nexus:vpn.{key}: lies in networks.pool",
                    id=f"{key}-in-the-pool",
                )
                for key, value in (("addresses", "10.112.77.3/32"), ("endpoint-ip", "10.112.77.3"))
            ),
            # the receiver's own
            *(
                pytest.param(
                    receiver(**{**EMAIL, key: text}), f"nexus:monitoring.receiver.{key}: {said}", id=f"{key}-{text}"
                )
                for key in ("to", "sender")
                for text, said in (
                    ("canary", "must be one address alone, such as admin@example.org"),
                    ("@example.org", "must be one address alone"),
                    ("Admin <admin@example.org>", "must be one address alone"),
                    ("a@example.org, b@example.org", "must be one address alone"),
                    ("admin@", "behind the @ it must be a name of"),
                    ("admin@ex_ample.org", "behind the @ it must not have an underscore"),
                )
            ),
            *(
                pytest.param(
                    receiver(**{**EMAIL, "smarthost": text}),
                    f"nexus:monitoring.receiver.smarthost: {said}",
                    id=f"smarthost-{text}",
                )
                for text, said in (
                    ("canary", "must be a host and a port, such as smtp.example.org:587"),
                    ("smtp.example.org", "must be a host and a port"),
                    ("smtp.example.org:", "must be a host and a port"),
                    (":587", "must be a host and a port"),
                    ("smtp.example.org:0", "must be a host and a port"),
                    ("smtp.example.org:77310", "must be a host and a port"),
                    ("smtp://smtp.example.org:587", "before the port it must be a name alone"),
                    ("2001:db8::1:587", "must have an IPv6 address in brackets"),
                )
            ),
            pytest.param(
                receiver(**{**EMAIL, "username": 77310}), "nexus:monitoring.receiver.username: ", id="user-name"
            ),
        ],
    )
    def test_is_one_line_with_file_and_key(self, choice: Choice, said: str) -> None:
        lines = refusal(choice)
        assert len(lines) == 1
        assert lines[0].startswith(said)
        assert lines[0].partition(": ")[2], "says what is wrong and not only where"

    @pytest.mark.parametrize(
        "choice",
        [
            on("vpn", {**CUSTOM, "countries": "canary"}),
            on("storage", {"data": 77310}),
        ],
        ids=["list", "path"],
    )
    def test_is_not_told_in_words_of_python(self, choice: Choice) -> None:
        (line,) = refusal(choice)
        assert "tuple" not in line
        assert "class" not in line


class TestManyMistakes:
    def test_each_has_its_line(self) -> None:
        lines = refusal(
            Choice(
                config={
                    "nexus:vpn": {**CUSTOM, "endpoint-port": 0, "public-key": "canary"},
                    "nexus:edge": {"domain": "Canary!", "x": 1, "http-port": True},
                    "nexus:apps": {"timezone": True},
                    "nexus:canaries": {},
                }
            )
        )
        assert sorted(line.split(": ")[0] for line in lines) == [
            "nexus:apps.timezone",
            "nexus:canaries",
            "nexus:edge.domain",
            "nexus:edge.http-port",
            "nexus:edge.x",
            "nexus:vpn.endpoint-port",
            "nexus:vpn.public-key",
        ]

    def test_what_is_allowed_names_every_section_and_secret(self) -> None:
        (line,) = refusal(on("canaries", {}))
        allowed = line.partition("allowed are ")[2].split(", ")
        assert sorted(allowed) == sorted([*Settings.model_fields, *(secret.key for secret in SECRET_KEYS)])


def without(key: str) -> dict[str, Json]:
    """A good stack's configuration without one section."""
    return {name: value for name, value in EMBEDDED.items() if name != f"nexus:{key}"}


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Settings, and the secrets they ask for besides the certificate and its key."""

    config: Mapping[str, Json]
    secrets: tuple[str, ...]
    optional: tuple[str, ...] = field(default=())


PUBLIC: Mapping[str, Json] = {**EMBEDDED, "nexus:edge": {"domain": "media.example.org"}}
DEMANDS = {
    "embedded": Demand(config=PUBLIC, secrets=()),
    "wireguard": Demand(
        config={**PUBLIC, "nexus:vpn": MULLVAD},
        secrets=("wireguard-private-key",),
        optional=("wireguard-preshared-key",),
    ),
    "airvpn": Demand(
        config={**PUBLIC, "nexus:vpn": {**MULLVAD, "provider": "airvpn"}},
        secrets=("wireguard-private-key", "wireguard-preshared-key"),
    ),
    "nordvpn": Demand(
        config={**PUBLIC, "nexus:vpn": {"type": "wireguard", "provider": "nordvpn"}},
        secrets=("wireguard-private-key",),
    ),
    "openvpn": Demand(
        config={**PUBLIC, "nexus:vpn": {"type": "openvpn", "provider": "mullvad"}},
        secrets=("openvpn-user", "openvpn-password"),
    ),
    "openvpn-custom": Demand(
        config={**PUBLIC, "nexus:vpn": {"type": "openvpn", "provider": "custom"}},
        secrets=("openvpn-config",),
        optional=("openvpn-user", "openvpn-password"),
    ),
    "webhook": Demand(
        config={**PUBLIC, "nexus:monitoring": {"receiver": {"type": "webhook"}}}, secrets=("alert-webhook-url",)
    ),
    "email": Demand(config={**PUBLIC, "nexus:monitoring": {"receiver": {**EMAIL}}}, secrets=("smtp-password",)),
}
ALWAYS = ("tls-certificate", "tls-key")


class TestSecretSettings:
    @pytest.mark.parametrize(
        ("demand", "absent"),
        [(name, key) for name, demand in DEMANDS.items() for key in (*ALWAYS, *demand.secrets)],
    )
    def test_each_that_is_needed_is_asked_for(self, demand: str, absent: str) -> None:
        secrets = given(*DEMANDS[demand].secrets)
        del secrets[f"nexus:{absent}"]
        (line,) = refusal(Choice(config=DEMANDS[demand].config, secrets=secrets))
        assert line.startswith(f"nexus:{absent}: missing (")
        # At its prompt the CLI takes one line.
        file = " < FILE" if absent in {secret.key for secret in SECRET_KEYS if secret.file} else ""
        assert line.endswith(f"run `pulumi config set --secret nexus:{absent} --stack test{file}`")

    def test_the_command_is_the_readers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NEXUS_ROOT", "/nexus")  # scripts/env.sh
        missing, _ = refusal(Choice(config=PUBLIC, secrets={}))
        assert missing.endswith("run `scripts/pulumi -s test config set --secret nexus:tls-certificate < FILE`")
        (clear,) = refusal(Choice(config={**EMBEDDED, "nexus:smtp-password": "canary"}, secrets={}))
        assert "run `scripts/pulumi -s test config set --secret nexus:smtp-password` with it" in clear

    @pytest.mark.parametrize(("key", "kind"), [("tls-certificate", "CERTIFICATE"), ("tls-key", "PRIVATE KEY")])
    @pytest.mark.parametrize("lost", [0, 1, 2], ids=["its first line", "what is in it", "its last line"])
    def test_a_certificate_or_key_that_is_not_whole(self, key: str, kind: str, lost: int) -> None:
        secrets = given()
        lines = secrets[f"nexus:{key}"].splitlines()
        secrets[f"nexus:{key}"] = "\n".join(lines[:lost] + lines[lost + 1 :])
        (line,) = refusal(Choice(config=PUBLIC, secrets=secrets))
        assert line.startswith(
            f"nexus:{key}: is not whole PEM text, from its line BEGIN {kind} to its line END; run "
        )

    @pytest.mark.parametrize("domain", ["localhost", "home.localhost"])
    def test_a_name_of_this_machine_needs_no_certificate(self, domain: str) -> None:
        config: Mapping[str, Json] = {**EMBEDDED, "nexus:edge": {"domain": domain}}
        assert load(Choice(config=config, secrets={})).edge.domain == domain
        for absent in ALWAYS:
            secrets = {key: value for key, value in given().items() if key != f"nexus:{absent}"}
            (line,) = refusal(Choice(config=config, secrets=secrets))
            assert line.startswith(f"nexus:{absent}: missing (")

    @pytest.mark.parametrize(
        ("url", "good"),
        [
            ("https://hooks.example.org/canary?key=x", True),
            ("http://10.0.0.1:8080", True),
            ("hooks.example.org/canary", False),
            ("https:///canary", False),
            ("https://hooks.example.org/canary x", False),
            ("slack://canary", False),
        ],
    )
    def test_a_webhook_is_an_address(self, url: str, good: bool) -> None:
        config: Mapping[str, Json] = {**EMBEDDED, "nexus:monitoring": {"receiver": {"type": "webhook"}}}
        choice = Choice(config=config, secrets={"nexus:alert-webhook-url": url})
        if good:
            assert load(choice)
        else:
            (line,) = refusal(choice)
            assert line.startswith("nexus:alert-webhook-url: must be an address that begins with https:// or http://")

    @pytest.mark.parametrize("demand", DEMANDS)
    def test_an_empty_one_is_refused(self, demand: str) -> None:
        text = " \t\t "  # told from what messages have anyway
        keys = [f"nexus:{key}" for key in (*ALWAYS, *DEMANDS[demand].secrets)]
        for key in keys:
            secrets = {**given(*DEMANDS[demand].secrets), key: text}
            (line,) = refusal(Choice(config=DEMANDS[demand].config, secrets=secrets))
            assert line.startswith(f"{key}: is empty; run `")

    @pytest.mark.parametrize("demand", DEMANDS)
    def test_nothing_else_is_asked_for(self, demand: str) -> None:
        chosen = load(Choice(config=DEMANDS[demand].config, secrets=given(*DEMANDS[demand].secrets)))
        needed = [secret.key for secret in required_secrets(chosen)]
        assert needed == [*ALWAYS, *DEMANDS[demand].secrets]

    def test_every_one_is_of_use_to_some_choice(self) -> None:
        used = {*ALWAYS, *(key for demand in DEMANDS.values() for key in (*demand.secrets, *demand.optional))}
        assert used == {secret.key for secret in SECRET_KEYS}

    @pytest.mark.parametrize("key", [secret.key for secret in SECRET_KEYS])
    def test_in_clear_is_refused(self, key: str) -> None:
        secrets = given()
        secrets.pop(f"nexus:{key}", None)
        (line,) = refusal(Choice(config={**EMBEDDED, f"nexus:{key}": "canary"}, secrets=secrets))
        assert line.startswith(f"nexus:{key}: is a secret but stored in clear; run `")
        assert f"config set --secret nexus:{key} --stack test`" in line

    @pytest.mark.parametrize("key", Settings.model_fields)
    @pytest.mark.parametrize("value", ['{"secure": "canary"}', "canary"])
    def test_a_plain_setting_as_a_secret_is_refused(self, key: str, value: str) -> None:
        (line,) = refusal(Choice(config=without(key), secrets={**given(), f"nexus:{key}": value}))
        assert line.startswith(f"nexus:{key}: is stored as a secret but is a plain setting; set it again without ")

    @pytest.mark.parametrize("key", Settings.model_fields)
    def test_a_key_below_that_is_unknown_is_so_as_a_secret_too(self, key: str) -> None:
        value = json.dumps({"type": "embedded", "canaries": "canary"})
        lines = refusal(Choice(config=without(key), secrets={**given(), f"nexus:{key}": value}))
        assert any(line.startswith(f"nexus:{key}.canaries: no such setting; allowed are ") for line in lines)
        assert not any("is stored as a secret" in line for line in lines)

    def test_an_unknown_key_is_unknown_as_a_secret_too(self) -> None:
        (line,) = refusal(Choice(config=EMBEDDED, secrets={**given(), "nexus:jelyfin": "canary"}))
        assert line.startswith("nexus:jelyfin: no such setting; allowed are ")

    def test_each_arrives_as_a_secret_output(self) -> None:
        secrets = given(*(secret.key for secret in SECRET_KEYS))
        found: list[tuple[str, str | None, bool]] = []

        async def read() -> None:
            road = loading.load("test")[1]
            for secret in SECRET_KEYS:
                for output in (road.require(secret), road.get(secret)):
                    assert output is not None
                    found.append((f"nexus:{secret.key}", await output.future(), await output.is_secret()))

        with configuration(EMBEDDED, secrets):
            run(read)
        assert sorted(found) == sorted((key, value, True) for key, value in secrets.items() for _ in range(2))

    def test_one_that_is_not_set_is_none(self) -> None:
        with configuration(EMBEDDED, given()):
            road = loading.load("test")[1]
            assert road.get(WIREGUARD_PRESHARED_KEY) is None

    @pytest.mark.parametrize(
        ("demand", "key", "value", "said"),
        [
            ("wireguard", "wireguard-private-key", "canary", "is no WireGuard key: 44 characters of base64"),
            ("wireguard", "wireguard-private-key", "x" * 44, "is no WireGuard key"),
            ("wireguard", "wireguard-preshared-key", "canary", "is no WireGuard key"),
            ("openvpn-custom", "openvpn-config", "remote canary 1194", "line 1: remote must be an IPv4 address"),
        ],
    )
    def test_one_that_is_of_no_use_is_refused(self, demand: str, key: str, value: str, said: str) -> None:
        secrets = {**given(*DEMANDS[demand].secrets), f"nexus:{key}": value}
        (line,) = refusal(Choice(config=DEMANDS[demand].config, secrets=secrets))
        assert line.startswith(f"nexus:{key}: {said}")

    @pytest.mark.parametrize("alone", ["openvpn-user", "openvpn-password"])
    def test_a_user_and_a_password_go_together(self, alone: str) -> None:
        choice = Choice(config=DEMANDS["openvpn-custom"].config, secrets=given("openvpn-config", alone))
        (line,) = refusal(choice)
        assert line.startswith("nexus:openvpn-")
        assert not line.startswith(f"nexus:{alone}: ")

    def test_a_configuration_that_asks_for_a_user_needs_one(self) -> None:
        config = "remote 198.51.100.7 1194\nauth-user-pass"
        secrets = {**given(), "nexus:openvpn-config": config}
        lines = refusal(Choice(config=DEMANDS["openvpn-custom"].config, secrets=secrets))
        assert [line.partition(": ")[0] for line in lines] == ["nexus:openvpn-user", "nexus:openvpn-password"]

    def test_what_is_still_encrypted_is_not_checked(self) -> None:
        secrets = {**given(), "nexus:wireguard-private-key": json.dumps({"secure": "v1:canary"})}
        with configuration({"nexus:vpn": MULLVAD}, secrets):
            assert loading.load("test")


class TestTemplates:
    @pytest.mark.parametrize("stack", ["prod", "staging"])
    def test_all_that_is_the_owners_is_named_at_once(self, stack: str) -> None:
        config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
        lines = refusal(Choice(config=config, secrets={}))
        assert [line.partition(": ")[0] for line in lines] == [
            "nexus:edge.domain",
            *["nexus:storage.data", "nexus:vpn.provider", "nexus:vpn.addresses"],
            *["nexus:tls-certificate", "nexus:tls-key", "nexus:wireguard-private-key", "nexus:alert-webhook-url"],
        ]
        assert all("is still the template's CHANGE-ME: write your own, such as " in line for line in lines[:4])
        assert "such as media.example.org. Apps answer at <app>.<domain>." in lines[0]

    def test_a_placeholder_may_be_a_part_of_a_value(self) -> None:
        (line,) = refusal(on("edge", {"domain": "CHANGE-ME.example.org"}))
        assert line.startswith("nexus:edge.domain: is still the template's CHANGE-ME")

    def test_one_of_a_kind_or_a_list_is_refused_too(self) -> None:
        kinds: tuple[dict[str, Json], ...] = ({"type": "CHANGE-ME"}, {**MULLVAD, "countries": ["CHANGE-ME"]})
        for vpn in kinds:
            lines = refusal(Choice(config={"nexus:vpn": vpn}, secrets=given("wireguard-private-key")))
            assert lines[-1].startswith("nexus:vpn.")
            assert "CHANGE-ME" in lines[-1]

    def test_other_mistakes_are_named_beside_them(self) -> None:
        lines = refusal(on("edge", {"domain": "CHANGE-ME", "http-port": 0}))
        assert [line.partition(": ")[0] for line in lines] == ["nexus:edge.http-port", "nexus:edge.domain"]

    def test_examples_may_stand_in(self) -> None:
        given = {"nexus:edge": '{"domain": "CHANGE-ME", "http-port": 8080}', "pulumi:tags": {"a": "CHANGE-ME"}}
        assert loading.filled(given) == {
            "nexus:edge": {"domain": "media.example.org", "http-port": 8080},
            "pulumi:tags": {"a": "CHANGE-ME"},
        }

    @pytest.mark.parametrize("section", [Settings, *Section.__subclasses__()])
    def test_each_example_is_good(self, section: type[pydantic.BaseModel]) -> None:
        for name, info in section.model_fields.items():
            for example in info.examples or ():
                alone = pydantic.create_model("Alone", **{name: (info.annotation, info)})  # type: ignore[call-overload]
                assert alone.model_validate({info.alias or name: example})


class TestSources:
    def test_what_the_engine_hands_over_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        secrets = given()
        monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"nexus:vpn": '{"type": "embedded"}', **secrets}))
        monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", json.dumps([*secrets]))
        assert isinstance(loading.load("test")[0].vpn, EmbeddedVpn)
        monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", "[]")
        with pytest.raises(SettingsError, match="stored in clear"):
            loading.load("test")

    @pytest.mark.parametrize(
        ("key", "write"),
        [
            ("docker:host", "nexus:docker.host"),
            ("nexsus:edge", "nexus:edge"),
            ("other:smtp-password", "nexus:smtp-password"),
            ("random:seed", "nexus:<setting>"),
        ],
    )
    def test_what_nothing_reads_is_refused(self, key: str, write: str) -> None:
        for secret in (False, True):
            config, secrets = {**EMBEDDED}, given()
            (secrets if secret else config)[key] = "canary"
            (line,) = refusal(Choice(config=config, secrets=secrets))
            assert line.startswith(f"{key}: no such setting, and nothing would read it; write {write} (")

    def test_the_engines_own_keys_are_its_own(self) -> None:
        assert load(Choice(config={**EMBEDDED, "pulumi:tags": {}})) == load(Choice(config=EMBEDDED))

    def test_a_number_that_the_engine_has_read_otherwise_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        # Plain Pulumi hands over 512.
        monkeypatch.chdir(tmp_path)
        choice = on("apps", {"uid": 512})
        assert load(choice)
        for name in (FILE, "elsewhere.yaml"):
            Path(FILE).unlink(missing_ok=True)
            Path(name).write_text("config:\n  nexus:apps:\n    uid: 01000\n", encoding="utf-8")
            monkeypatch.setenv("PULUMI_OPTION_CONFIG_FILE", "" if name == FILE else name)
            with pytest.raises(SettingsError, match=rf"\A{re.escape(name)}: line 3: a number with a leading zero"):
                load(choice)

    def test_the_file_is_that_of_the_stack(self) -> None:
        with configuration({}), pytest.raises(SettingsError, match=r"\APulumi\.night\.yaml: nexus:vpn: missing"):
            loading.load("night")


class TestGoodSettings:
    def test_defaults_are_safe(self) -> None:
        chosen = load(Choice(config=EMBEDDED))
        assert str(chosen.edge.bind_address) == "127.0.0.1"
        assert chosen.edge.domain == "localhost"
        assert (chosen.apps.uid, chosen.apps.gid) == (1000, 1000)
        assert chosen.jellyfin.gpu == NoGpu()
        assert chosen.monitoring.receiver == NoReceiver()
        assert chosen.storage.data is None
        assert chosen.images == Images()
        assert chosen.docker.local_socket is not None

    def test_values_get_their_types(self) -> None:
        chosen = load(
            Choice(
                config={
                    "nexus:vpn": {**CUSTOM, "addresses": " 10.64.0.2, 10.64.0.3/24"},
                    "nexus:storage": {"data": "/srv/media", "min-free-gb": 7},
                    "nexus:networks": {"pool": "10.77.0.0/16"},
                    "nexus:docker": {"host": "ssh://nexus@media.lan", "socket-gid": 121},
                    "nexus:jellyfin": {
                        "gpu": {"mode": "dri", "render-gid": 993, "device": "/dev/dri/renderD129"},
                        "transcode-mb": 64,
                        "cpus": 1.5,
                    },
                    "nexus:monitoring": {"retention": "8w", "receiver": {**EMAIL}},
                },
                secrets=given("wireguard-private-key", "smtp-password"),
            )
        )
        assert chosen.vpn == WireGuardVpn(
            type="wireguard",
            provider="custom",
            addresses="10.64.0.2/32,10.64.0.3/24",
            endpoint_ip=ipaddress.IPv4Address("198.51.100.7"),
            endpoint_port=51820,
            public_key="3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
        )
        assert chosen.storage == Storage(data=PurePosixPath("/srv/media"), min_free_gb=7)
        assert chosen.networks.pool == ipaddress.IPv4Network("10.77.0.0/16")
        assert chosen.docker.local_socket is None
        assert chosen.jellyfin.gpu == DriGpu(mode="dri", device=PurePosixPath("/dev/dri/renderD129"), render_gid=993)
        assert chosen.jellyfin.cpus == 1.5
        assert isinstance(chosen.monitoring.receiver, EmailReceiver)
        assert chosen.monitoring.receiver.smarthost == "smtp.example.org:587"

    @pytest.mark.parametrize("zone", ["EST5EDT", "GB-Eire", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "UTC"])
    def test_time_zones(self, zone: str) -> None:
        assert load(on("apps", {"timezone": zone})).apps.timezone == zone

    def test_time_zones_where_the_machine_knows_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zoneinfo, "available_timezones", set)
        values.time_zones.cache_clear()
        try:
            assert load(on("apps", {"timezone": "Europe/Berlin"})).apps.timezone == "Europe/Berlin"
            (line,) = refusal(on("apps", {"timezone": "../canary"}))
            assert line.startswith("nexus:apps.timezone: must be a time zone such as Europe/Berlin")
        finally:
            values.time_zones.cache_clear()

    @pytest.mark.parametrize(
        "domain",
        [
            "localhost",
            "lan",
            "media.example.org",
            "xn--mnchen-3ya.example",
            "a--b.org",
            "7.org",
            "x" * 63,
        ],
    )
    def test_domains(self, domain: str) -> None:
        chosen = Choice(config={**EMBEDDED, "nexus:edge": {"domain": domain}})
        assert load(chosen).edge.domain == domain

    @pytest.mark.parametrize("host", ["smtp.example.org:587", "SMTP.lan:25", "10.0.0.1:465", "[2001:db8::1]:587"])
    def test_smarthosts(self, host: str) -> None:
        chosen = receiver(**{**EMAIL, "smarthost": host})
        found = load(Choice(config=chosen.config, secrets=given("smtp-password"))).monitoring.receiver
        assert isinstance(found, EmailReceiver)
        assert found.smarthost == host

    def test_a_number_may_be_written_as_text(self) -> None:
        # `pulumi config set --path nexus:edge.http-port 8080` stores what it takes for a number as one, and text
        # that was quoted as text.
        assert load(on("edge", {"http-port": "8080"})).edge.http_port == 8080

    @pytest.mark.parametrize(
        ("edge", "url"),
        [
            ({}, "https://sonarr.localhost"),
            ({"https-port": 8443}, "https://sonarr.localhost:8443"),
            ({"domain": "media.example.org"}, "https://sonarr.media.example.org"),
        ],
    )
    def test_urls(self, edge: dict[str, Json], url: str) -> None:
        assert load(on("edge", edge)).edge.url("sonarr") == url

    @pytest.mark.parametrize("name", CHOICES)
    def test_every_stack_of_these_tests(self, name: str) -> None:
        assert load(CHOICES[name])

    def test_cannot_be_changed(self) -> None:
        chosen = load(Choice(config=EMBEDDED))
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            chosen.edge.http_port = 8080  # type: ignore[misc]


STACK_FILES = sorted(ROOT.glob("Pulumi.*.yaml"))


class TestFiles:
    """Pulumi.yaml and the stack files agree with components/settings."""

    def schema(self) -> dict[str, dict[str, Json]]:
        """The project's own keys that Pulumi.yaml declares."""
        declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
        return {key.removeprefix("nexus:"): value for key, value in declared.items() if key.startswith("nexus:")}

    def test_the_schema_has_the_sections_and_no_other_key(self) -> None:
        # Secret settings are not in it: the engine would ask each stack for each one.
        assert self.schema().keys() == Settings.model_fields.keys()

    @pytest.mark.parametrize("key", Settings.model_fields)
    def test_each_key_of_the_schema(self, key: str) -> None:
        entry = self.schema()[key]
        assert entry["type"] == "object"
        assert entry["description"] == Settings.model_fields[key].description
        assert "secret" not in entry
        if Settings.model_fields[key].is_required():
            assert "default" not in entry, "the engine must ask for it"
        else:
            assert entry["default"] == {}, "left out, it has its safe default"

    def test_there_is_a_stack_file_for_development_and_one_for_production(self) -> None:
        assert {"Pulumi.dev.yaml", "Pulumi.staging.yaml", "Pulumi.prod.yaml"} <= {path.name for path in STACK_FILES}

    @pytest.mark.parametrize("path", STACK_FILES, ids=lambda path: path.name)
    def test_each_stack_file_is_good(self, path: Path) -> None:
        # The salt of the one who committed it would make everyone else's passphrase wrong.
        assert yaml.safe_load(path.read_text()).keys() == {"config"}
        config = stack_file(path.name.removeprefix("Pulumi.").removesuffix(".yaml"))
        chosen = loading.parse({key.removeprefix("nexus:"): value for key, value in config.items()}, "-")
        wanted = [secret.key for secret in required_secrets(chosen)]
        assert load(Choice(config=config, secrets=given(*wanted))) == chosen
        assert {key.removeprefix("nexus:") for key in config} <= self.schema().keys()


def sections() -> list[type[pydantic.BaseModel]]:
    """Every object that a stack file may contain."""
    return [Settings, *(model for model in Section.__subclasses__() if model is not Settings)]


class TestDocumentation:
    @pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
    def test_each_section_and_field_says_what_it_is(self, section: type[pydantic.BaseModel]) -> None:
        assert section.__doc__
        for name, info in section.model_fields.items():
            if get_origin(info.annotation) is Literal and name in {"type", "mode"}:
                continue  # the section's own docstring says what the kind is
            assert info.description, name

    @pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
    def test_each_is_closed_frozen_and_silent(self, section: type[pydantic.BaseModel]) -> None:
        assert section.model_config.get("extra") == "forbid"
        assert section.model_config.get("frozen") is True
        assert section.model_config.get("hide_input_in_errors") is True

    @pytest.mark.parametrize("secret", SECRET_KEYS, ids=lambda secret: secret.key)
    def test_each_secret_says_what_it_is(self, secret: SecretKey) -> None:
        assert secret.what
        assert secret.key not in Settings.model_fields
