"""scripts/certificate.py: certificates that browsers and OpenSSL take, renewed in time, never over the user's own."""

from __future__ import annotations

import datetime
import json
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from scripts import certificate, stack
from scripts.certificate import CERTIFICATE, KEY, Pair
from scripts.console import UserError
from scripts.engine import Engine
from tests.scripts.test_engine import log

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HOSTS = ("sonarr", "radarr")


@pytest.fixture(scope="module")
def ca() -> Pair:
    return certificate.new_ca(NOW)


@pytest.fixture(scope="module")
def leaf(ca: Pair) -> Pair:
    return certificate.new_certificate(ca, certificate.names("localhost", HOSTS), NOW)


def dns_names(pair: Pair) -> list[str]:
    san = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return san.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize(
    ("domain", "local"),
    [
        ("localhost", True),
        ("home.localhost", True),
        ("example.org", False),
        ("notlocalhost", False),
        ("localhost.example.org", False),
    ],
)
def test_only_names_of_this_machine_are_local(domain: str, local: bool) -> None:
    assert certificate.is_local(domain) is local


def test_the_names_hold_the_domain_its_wildcard_and_each_app(leaf: Pair) -> None:
    assert dns_names(leaf) == ["localhost", "*.localhost", "radarr.localhost", "sonarr.localhost"]


def test_a_certificate_lasts_as_long_as_browsers_allow(leaf: Pair) -> None:
    life = leaf.certificate.not_valid_after_utc - leaf.certificate.not_valid_before_utc
    assert life == datetime.timedelta(days=397)
    assert leaf.certificate.not_valid_before_utc < NOW < leaf.certificate.not_valid_after_utc


def test_a_certificate_is_for_servers_and_signs_nothing(ca: Pair, leaf: Pair) -> None:
    leaf.certificate.verify_directly_issued_by(ca.certificate)
    extensions = leaf.certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False


def test_the_authority_can_sign_for_localhost_only(ca: Pair) -> None:
    extensions = ca.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName("localhost")]
    basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    assert ca.certificate.not_valid_after_utc - NOW > datetime.timedelta(days=3650)


def test_openssl_takes_it_for_an_apps_name(tmp_path: Path) -> None:
    """A whole handshake, in memory: what curl and Python do. With a wildcard alone it fails."""
    now = datetime.datetime.now(datetime.UTC)
    ca = certificate.new_ca(now)
    pair = certificate.new_certificate(ca, certificate.names("localhost", HOSTS), now)
    file = tmp_path / "server.pem"
    file.write_text(pair.certificate_pem + pair.key_pem, encoding="ascii")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(file)
    client_side = ssl.create_default_context(cadata=ca.certificate_pem)
    assert handshake(client_side, server_side, "sonarr.localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_side, server_side, "prowlarr.localhost")


def handshake(client_side: ssl.SSLContext, server_side: ssl.SSLContext, name: str) -> bool:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(down, up, server_hostname=name)
    server = server_side.wrap_bio(up, down, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    return len(done) == 2


@pytest.mark.parametrize(
    ("later", "hosts", "why"),
    [
        (datetime.timedelta(days=1), HOSTS, None),
        (datetime.timedelta(days=366), HOSTS, None),
        (datetime.timedelta(days=368), HOSTS, "it ends on 2027-02-0"),
        (datetime.timedelta(days=500), HOSTS, "it ends on"),
        (datetime.timedelta(0), (*HOSTS, "lidarr"), "it lacks lidarr.localhost"),
        (datetime.timedelta(0), HOSTS[:1], None),
    ],
)
def test_it_is_renewed_a_month_before_its_end_and_for_a_new_name(
    ca: Pair, leaf: Pair, later: datetime.timedelta, hosts: tuple[str, ...], why: str | None
) -> None:
    names = certificate.names("localhost", hosts)
    found = certificate.stale(leaf.certificate, ca.certificate, names, NOW + later)
    assert (found is None) if why is None else (found is not None and found.startswith(why))


def test_it_is_renewed_under_another_authority(leaf: Pair) -> None:
    other = certificate.new_ca(NOW)
    names = certificate.names("localhost", HOSTS)
    assert certificate.stale(leaf.certificate, other.certificate, names, NOW) is not None


def stored(engine: Engine) -> str | None:
    """The certificate in the stack file, decrypted as the stand-in for the CLI encrypts."""
    value = stack.values(engine.files).get(CERTIFICATE)
    return str(value["secure"])[::-1] if isinstance(value, dict) else None


def test_it_is_stored_once_and_both_parts_fit(engine: Engine) -> None:
    assert certificate.ensure(engine, "localhost", HOSTS)
    first = stored(engine)
    assert first
    made = x509.load_pem_x509_certificate(first.encode())
    value = stack.values(engine.files)[KEY]
    assert isinstance(value, dict)
    key = serialization.load_pem_private_key(str(value["secure"])[::-1].encode(), None)
    assert key.public_key() == made.public_key()
    assert not certificate.ensure(engine, "localhost", HOSTS)
    assert stored(engine) == first


def test_nothing_secret_lies_in_clear(engine: Engine) -> None:
    certificate.ensure(engine, "localhost", HOSTS)
    assert "PRIVATE KEY" not in json.dumps(log(engine.paths)), "on a command line"
    private = [
        path
        for path in engine.paths.state.rglob("*")
        if path.is_file() and "PRIVATE KEY" in path.read_text(encoding="utf-8")
    ]
    assert private == [engine.paths.ca / "key.pem"]
    assert stat.S_IMODE(private[0].stat().st_mode) == 0o600


def test_another_domain_gets_another_certificate(engine: Engine) -> None:
    certificate.ensure(engine, "localhost", HOSTS)
    assert certificate.ensure(engine, "home.localhost", HOSTS)
    made = x509.load_pem_x509_certificate((stored(engine) or "").encode())
    san = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "sonarr.home.localhost" in san.get_values_for_type(x509.DNSName)


def test_the_users_stacks_share_one_authority(engine: Engine) -> None:
    certificate.ensure(engine, "localhost", HOSTS)
    ca = (engine.paths.ca / "ca.pem").read_bytes()
    certificate.ensure(engine, "home.localhost", HOSTS)
    assert (engine.paths.ca / "ca.pem").read_bytes() == ca


def test_the_users_own_certificate_is_left_alone(engine: Engine) -> None:
    stack.set_value(engine.files, CERTIFICATE, {"secure": "mine"})
    stack.set_value(engine.files, KEY, {"secure": "mine"})
    assert not certificate.ensure(engine, "localhost", HOSTS)
    assert stack.values(engine.files)[CERTIFICATE] == {"secure": "mine"}
    assert not engine.paths.ca.exists()


def test_a_certificate_that_the_user_sets_later_is_left_alone(engine: Engine) -> None:
    certificate.ensure(engine, "localhost", HOSTS)
    engine.output("config", "set", "--secret", CERTIFICATE, given="mine")
    assert not certificate.ensure(engine, "home.localhost", HOSTS)
    assert stored(engine) == "mine"


def test_ours_encrypted_anew_is_still_ours(engine: Engine) -> None:
    certificate.ensure(engine, "localhost", HOSTS)
    record = engine.files.directory / "certificate.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**content, "seal": "of the old passphrase"}), encoding="utf-8")
    assert certificate.ensure(engine, "home.localhost", HOSTS)


def test_an_interrupted_run_is_done_again(engine: Engine) -> None:
    certificate.ensure(engine, "localhost", HOSTS)
    record = engine.files.directory / "certificate.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({**content, "seal": "unfinished"}), encoding="utf-8")
    stack.set_value(engine.files, KEY, None)
    assert certificate.ensure(engine, "localhost", HOSTS)
    assert KEY in stack.values(engine.files)


def test_a_public_domain_gets_none_and_loses_ours(engine: Engine) -> None:
    assert not certificate.ensure(engine, "media.example.org", HOSTS)
    assert CERTIFICATE not in stack.values(engine.files)
    certificate.ensure(engine, "localhost", HOSTS)
    assert not certificate.ensure(engine, "media.example.org", HOSTS)
    assert not {CERTIFICATE, KEY} & stack.values(engine.files).keys()


def test_a_public_domain_keeps_the_users_own(engine: Engine) -> None:
    stack.set_value(engine.files, CERTIFICATE, {"secure": "mine"})
    certificate.ensure(engine, "media.example.org", HOSTS)
    assert stack.values(engine.files)[CERTIFICATE] == {"secure": "mine"}


def test_an_authority_that_cannot_be_read_is_named(engine: Engine) -> None:
    engine.paths.ca.mkdir(parents=True)
    (engine.paths.ca / "ca.pem").write_text("not PEM", encoding="utf-8")
    (engine.paths.ca / "key.pem").write_text("not PEM", encoding="utf-8")
    with pytest.raises(UserError) as refused:
        certificate.ensure_ca(engine.paths, NOW)
    assert str(engine.paths.ca) in str(refused.value)


def test_every_app_that_has_an_address_is_among_the_names() -> None:
    hosts = certificate.hosts({"urls": {"new-app": "https://new-app.localhost"}})
    assert {"new-app", "sonarr", "jellyfin", "qbittorrent", "grafana"} <= set(hosts)
    assert "new-app" not in certificate.hosts({})
