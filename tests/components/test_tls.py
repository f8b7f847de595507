"""components/tls.py: a certificate for other pages, and a key of another certificate, are refused before `up`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from components.settings.load import SettingsError
from components.tls import certificate_problem, key_problem
from tests.ci.certificates import make
from tests.components.recorder import Json
from tests.components.stacks import Choice, build

DOMAIN = "media.example.org"


def pair(folder: Path, name: str = f"*.{DOMAIN}") -> tuple[str, str]:
    folder.mkdir()
    _, chain, key = make(folder, name)
    return chain.read_text(), key.read_text()


@pytest.mark.parametrize("name", [f"*.{DOMAIN}", f"*.{DOMAIN}".upper(), f"jellyfin.{DOMAIN}"])
def test_one_that_is_for_the_pages_passes(tmp_path: Path, name: str) -> None:
    chain, key = pair(tmp_path / "a", name)
    assert certificate_problem(chain, DOMAIN) is None
    assert key_problem(chain, key) is None


@pytest.mark.parametrize("name", [DOMAIN, "*.example.org", "*.example.com", f"a.b.{DOMAIN}", f"*.x{DOMAIN}"])
def test_one_for_other_names_is_refused(tmp_path: Path, name: str) -> None:
    chain, _ = pair(tmp_path / "a", name)
    assert certificate_problem(chain, DOMAIN) == (
        f"is for {name}, and the pages are one name below {DOMAIN}: it has to be for *.{DOMAIN}"
    )


def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    chain, _ = pair(tmp_path / "a")
    _, other = pair(tmp_path / "b")
    assert key_problem(chain, other) == "is the key of another certificate"


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    chain, key = pair(tmp_path / "a")
    locked = serialization.load_pem_private_key(key.encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    assert "asks for a passphrase" in str(key_problem(chain, locked.decode()))


def test_what_is_no_certificate_says_nothing() -> None:
    made_up = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
    assert certificate_problem(made_up, DOMAIN) is None
    assert key_problem(made_up, made_up) is None


def test_the_program_refuses_both_and_names_the_keys(tmp_path: Path) -> None:
    chain, _ = pair(tmp_path / "a", "*.example.com")
    _, other = pair(tmp_path / "b")
    config: dict[str, Json] = {"nexus:vpn": {"type": "embedded"}, "nexus:edge": {"domain": DOMAIN}}
    with pytest.raises(SettingsError) as refused:
        build(Choice(config=config, secrets={"nexus:tls-certificate": chain, "nexus:tls-key": other}))
    first, second = str(refused.value).splitlines()
    assert "nexus:tls-certificate: is for *.example.com, and" in first
    assert "nexus:tls-key: is the key of another certificate; run `" in second
