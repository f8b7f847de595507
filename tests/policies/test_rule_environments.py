"""Family `environments`: what serves development is refused on every other stack, and let alone on those."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from policies.rules import closed
from policies.rules.environments import DEVELOPMENT_AUTHORITY, RULES
from scripts import certificate as made
from tests.policies.harness import UNKNOWN, Props, places
from tests.policies.platform import declared, validated


def refused(props: Props, *, name: str = "sonarr-container", stack: str = "prod") -> dict[str, list[str]]:
    return places(props, name=name, stack=stack, rules=RULES)


def upload(file: str, content: str) -> Props:
    return {"uploads": [{"file": file, "content": content, "permissions": "0400"}]}


SETTINGS: Final = (
    *(
        ({"command": ["app", *words]}, "command[1]")
        for words in (
            ["--log.level", "swordfish,debug"],
            ["-loglevel=DEBUG"],
            ["--api.insecure"],
            ["--verbose", "-x"],
            ["--web.enable-admin-api"],
            ["--insecure-skip-verify=true"],
        )
    ),
    ({"entrypoints": ["sh", "-c", "LOG_LEVEL=debug exec app"]}, "entrypoints[2]"),
    (upload("/run/config/a.yml", "log: {level: DEBUG}"), "uploads[0].content[1]"),
    (upload("/run/config/a.yml", "tls_config:\n  insecure_skip_verify: true"), "uploads[0].content[2]"),
    (upload("/run/config/a.xml", "<C>\n<LogLevel>debug</LogLevel>\n</C>"), "uploads[0].content[2]"),
    (upload("/x/a.xml", "<a>\n<CertificateValidation>Disabled</CertificateValidation>"), "uploads[0].content[2]"),
    (upload("/x/a.xml", "<a>\n<AuthenticationMethod>None</AuthenticationMethod>"), "uploads[0].content[2]"),
    (upload("/run/config/a.conf", "[web]\nprofiling = on"), "uploads[0].content[2]"),
    (upload("/x/a.ini", "[auth.anonymous]\nallow_sign_up = true"), "uploads[0].content[2]"),
    (upload("/x/a.conf", "[Preferences]\nWebUI\\LocalHostAuth=false"), "uploads[0].content[2]"),
    (upload("/x/a.conf", "[Preferences]\nWebUI\\AuthSubnetWhitelistEnabled=true"), "uploads[0].content[2]"),
)
SERVERS: Final = (
    *(
        ({"envs": [f"WIREGUARD_ENDPOINT_IP={address}"]}, "envs[0]")
        for address in ("10.0.0.1", "127.0.0.1", "::ffff:172.16.0.1", "localhost", "vpn-peer")
    ),
    (upload("/run/secrets/client.ovpn", "dev tun\nremote 10.8.0.1 1194"), "uploads[0].content"),
)


@pytest.mark.parametrize(
    ("rule", "props", "place"),
    [
        *(("no-dev-bypass", *case) for case in SETTINGS),
        *(("no-embedded-vpn-peer", *case) for case in SERVERS),
    ],
)
def test_what_serves_development_is_refused_elsewhere(rule: str, props: Props, place: str) -> None:
    for stack in ("prod", "developer"):
        assert [one.partition(" ")[0] for one in refused(props, stack=stack)[rule]] == [place]
    for stack in ("dev", "anna-dev"):
        assert refused(props, stack=stack) == {}


@pytest.mark.parametrize(
    "variable", ["LOG_LEVEL=debug", "GF_AUTH_ANONYMOUS_ENABLED=true", "X__AUTH__METHOD=None", "NODE_ENV=development"]
)
def test_a_variable_that_no_line_names_is_refused_on_every_stack(variable: str) -> None:
    found = places({"envs": [variable]}, name="sonarr-container", rules=closed.RULES)
    assert found == {"known-environment": [f"envs[0] ({variable.partition('=')[0]})"]}


@pytest.mark.parametrize(
    "props",
    [
        {"envs": ["WIREGUARD_ENDPOINT_IP=198.51.100.7", UNKNOWN]},
        {"command": ["--log.level=warn", "--no-debug", "debug", UNKNOWN], "entrypoints": UNKNOWN},
        upload("/run/config/a.yml", "log: {level: INFO}\nauth: {type: oidc}\n"),
        upload("/run/config/a.yml", "log: ["),
        upload("/run/secrets/client.ovpn", "remote vpn.example.org 1194\n# remote 10.0.0.1"),
        {"uploads": [UNKNOWN, {"file": UNKNOWN, "content": UNKNOWN}]},
    ],
)
def test_what_only_looks_like_it_passes(props: Props) -> None:
    assert refused(props) == {}


@pytest.mark.parametrize("name", ["vpn-peer-container", "vpn-peer-seed"])
def test_the_peer_is_known_by_its_name(name: str) -> None:
    assert refused({}, name=name) == {"no-embedded-vpn-peer": ["name"]}


def test_the_whole_peer_is_named() -> None:
    report = validated(declared("dev", name="prod"), RULES)
    found = {one.resource.name for one in report.violations if one.resource and one.rule == "no-embedded-vpn-peer"}
    assert found == {"vpn-peer-container", "vpn-peer-seed", "vpn-container"}


def certificate(authority: str, *names: str) -> str:
    """A certificate of that authority for these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    day = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + timedelta(days=1))
    )
    if names:
        found = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(found, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


BROKEN: Final = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("chain", "good"),
    [
        (certificate(f"{DEVELOPMENT_AUTHORITY} of somebody", "media.example.org"), False),
        (certificate("R13", "media.example.org") + certificate(f"{DEVELOPMENT_AUTHORITY} of root"), False),
        (BROKEN + certificate("R13", "*.localhost", "localhost"), False),
        (certificate("R13", "media.example.org", "localhost"), True),
        (certificate("R13"), True),
        (BROKEN, True),
    ],
)
def test_a_certificate_of_development_is_refused(chain: str, good: bool) -> None:
    found = refused(upload("/run/secrets/tls.crt", chain))
    assert found == ({} if good else {"no-dev-certificate": ["uploads[0].content"]})


def test_the_name_of_the_authority_is_that_of_make_up() -> None:
    assert f'"{DEVELOPMENT_AUTHORITY} of ' in inspect.getsource(made)
