"""Generated secrets are right, and no secret is anywhere but in an upload that is marked secret."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Iterator

import pytest

from components.arr import ARRS, Arr
from components.downloads import qbittorrent_pbkdf2
from components.errors import PlatformError
from components.secrets import ADMIN_USER, SecretBundle, wireguard_public_key
from tests import offers
from tests.components.recorder import Recorder, bcrypt, generated, run
from tests.components.stacks import CHOICES, built


def key(hexadecimal: str) -> str:
    """A key in WireGuard's form."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


class TestWireGuardPublicKey:
    @pytest.mark.parametrize(
        ("private", "public"),
        [
            # RFC 7748, section 6.1: Alice and Bob
            (
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            ),
            (
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            ),
        ],
        ids=["alice", "bob"],
    )
    def test_known_pairs(self, private: str, public: str) -> None:
        assert wireguard_public_key(key(private)) == key(public)

    @pytest.mark.parametrize("private", ["", "AAAA", key("00" * 31), key("00" * 33)])
    def test_a_key_of_another_length_is_refused(self, private: str) -> None:
        with pytest.raises(ValueError):
            wireguard_public_key(private)


class TestBundle:
    """A secret is declared by whoever it belongs to."""

    def test_one_of_its_own(self) -> None:
        stack = run(lambda: SecretBundle().password("newcomer-database", 32))
        made = stack.of("RandomPassword")["newcomer-database"]
        assert made.inputs == {"length": 32, "special": False}
        assert (made.protect, made.parent) == (True, "secrets")

    def test_one_name_for_two(self) -> None:
        def program() -> None:
            bundle = SecretBundle()
            bundle.hexadecimal("newcomer-key")
            bundle.base64("newcomer-key")

        with pytest.raises(PlatformError, match=r"^the generated secret newcomer-key is asked for twice"):
            run(program)

    @pytest.mark.parametrize("length", [0, 33])
    def test_more_bytes_than_there_are(self, length: int) -> None:
        with pytest.raises(PlatformError, match=f"^the generated secret newcomer-key: {length} bytes; 1 to 32"):
            run(lambda: SecretBundle().raw("newcomer-key", length))


class TestQbittorrentPassword:
    # The value that many published configurations share: user admin, password adminadmin.
    KNOWN = (
        "@ByteArray(ARQ77eY1NUZaQsuDHbIMCA==:"
        "0WMRkYTUWVT9wVvdDtHAjU9b3b7uB8NR1Gur2hmQCvCDpm39Q+PsJRJPaCU51dEiz+dTzh8qbPsL8WkFljQYFQ==)"
    )

    def test_known_value(self) -> None:
        salt = base64.b64decode(self.KNOWN.removeprefix("@ByteArray(").partition(":")[0])
        assert qbittorrent_pbkdf2("adminadmin", salt) == self.KNOWN

    def test_password_and_salt_both_matter(self) -> None:
        values = {qbittorrent_pbkdf2(word, salt * 16) for word in ("one", "two") for salt in (b"a", b"b")}
        assert len(values) == 4


def digest(name: str, length: int) -> bytes:
    """The bytes that the bundle makes of a generated text."""
    return hashlib.sha256(generated(name, 64).encode()).digest()[:length]


@functools.cache
def password_line() -> str:
    """What qBittorrent's file must contain."""
    return qbittorrent_pbkdf2(generated("admin-password", 24), digest("qbittorrent-salt", 16))


def in_base64(name: str) -> str:
    """A generated key of 32 bytes as `wg` prints it."""
    return base64.b64encode(digest(name, 32)).decode()


DELIVERED = {
    **{f"{app}:api_key": digest(f"{app}-api-key", 16).hex() for app in (app.name for app in ARRS)},
    "grafana:admin_password": generated("admin-password", 24),
    "traefik:users": f"{ADMIN_USER}:{bcrypt('admin-password')}",
    "vpn:control_role": json.dumps({"auth": "apikey", "apikey": digest("vpn-control-key", 16).hex()}),
    "vpn:wireguard_private_key": in_base64("vpn-client-key"),
    "vpn:wireguard_preshared_key": in_base64("vpn-preshared-key"),
    "vpn-peer:private_key": in_base64("vpn-peer-key"),
    "vpn-peer:preshared_key": in_base64("vpn-preshared-key"),
    "traefik:tls.crt": CHOICES["dev"].secrets["nexus:tls-certificate"],
    "traefik:tls.key": CHOICES["dev"].secrets["nexus:tls-key"],
}
"""Secret files of the dev stack, as service:file, and what each holds."""


def secret_files(stack: Recorder) -> dict[str, str]:
    """The files under /run/secrets of every service, as service:file."""
    return {
        f"{name}:{path.removeprefix('/run/secrets/')}": content
        for name in stack.of("Service")
        if f"{name}-seed" in stack.of("Container")
        for path, content in stack.seed(name).files.items()
        if path.startswith("/run/secrets/")
    }


class TestDelivery:
    def test_every_file_of_the_dev_stack(self) -> None:
        files = secret_files(built("dev"))
        configuration = files.pop("qbittorrent:qBittorrent.conf")
        assert DELIVERED.items() <= files.items()
        # Only where the settings have a certificate.
        certificate = {"traefik:tls.crt", "traefik:tls.key"}
        assert files.keys() - certificate == {
            f"{name}:{file}" for name, one in offers.SERVICES.items() for file in one.get("secrets", ())
        } - {"qbittorrent:qBittorrent.conf"}
        assert f'WebUI\\Password_PBKDF2="{password_line()}"\n' in configuration
        assert f"WebUI\\Username={ADMIN_USER}\n" in configuration
        assert "$" not in configuration, "a placeholder was left"

    @pytest.mark.parametrize("app", ARRS, ids=lambda app: app.name)
    def test_api_keys_are_as_the_apps_make_them(self, app: Arr) -> None:
        assert re.fullmatch("[0-9a-f]{32}", secret_files(built("dev"))[f"{app.name}:api_key"])

    def test_the_ends_of_the_embedded_tunnel_know_each_other(self) -> None:
        stack, files = built("dev"), secret_files(built("dev"))
        vpn, peer = stack.service("vpn").env, stack.service("vpn-peer").env
        assert vpn["WIREGUARD_PUBLIC_KEY"] == wireguard_public_key(files["vpn-peer:private_key"])
        assert peer["CLIENT_PUBLIC_KEY"] == wireguard_public_key(files["vpn:wireguard_private_key"])
        assert files["vpn:wireguard_private_key"] != files["vpn-peer:private_key"]
        assert vpn["WIREGUARD_ADDRESSES"] == f"{peer['CLIENT']}/32"
        assert vpn["WIREGUARD_ENDPOINT_PORT"] == peer["PORT"]

    @pytest.mark.parametrize(
        ("choice", "files"),
        [
            ("wireguard-mullvad", {"wireguard_private_key": "wireguard-private-key"}),
            (
                "wireguard-custom",
                {
                    "wireguard_private_key": "wireguard-private-key",
                    "wireguard_preshared_key": "wireguard-preshared-key",
                },
            ),
            ("openvpn", {"openvpn_user": "openvpn-user", "openvpn_password": "openvpn-password"}),
            ("openvpn-custom", {"client.ovpn": "openvpn-config"}),
        ],
    )
    def test_what_a_provider_asks_for_comes_from_the_settings(self, choice: str, files: dict[str, str]) -> None:
        delivered = {
            name.removeprefix("vpn:"): content
            for name, content in secret_files(built(choice)).items()
            if name.startswith("vpn:") and name != "vpn:control_role"
        }
        assert delivered == {name: CHOICES[choice].secrets[f"nexus:{key}"] for name, key in files.items()}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_no_file_ends_in_a_newline_that_is_not_its_own(self, choice: str) -> None:
        # An app takes the whole file for the key.
        for name, content in secret_files(built(choice)).items():
            assert content
            assert name == "qbittorrent:qBittorrent.conf" or not content.endswith("\n"), name


SHORTEST = 16
"""Letters of the shortest secret."""


def values(choice: str) -> Iterator[str]:
    """Every secret of a stack, in each form that the program or a reader of state could make of it."""
    for item in built(choice).of("RandomPassword").values():
        text = generated(item.name, int(str(item.inputs["length"])))
        whole = hashlib.sha256(text.encode()).digest()
        yield from (text, bcrypt(item.name))
        for part in (whole, whole[:16]):
            yield from (part.hex(), base64.b64encode(part).decode())
    yield from CHOICES[choice].secrets.values()
    yield password_line()


def forms(choice: str) -> set[str]:
    """Those values, also in base64."""
    plain = set(values(choice))
    assert all(len(value) >= SHORTEST for value in plain), "too short to be told from other text"
    return plain | {base64.b64encode(value.encode()).decode() for value in plain}


class TestNowhereElse:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_a_secret_is_in_marked_uploads_only(self, choice: str) -> None:
        stack, secrets = built(choice), forms(choice)
        kept = 0
        for item in stack.resources:
            for leaf in item.leaves:
                text = str(leaf.value)
                if len(text) < SHORTEST or not any(secret in text for secret in secrets):
                    continue
                # The path and not the value: a failed test prints what it compares.
                assert re.fullmatch(r"uploads\[\d+\]\.content", leaf.path), f"{item.name}: {leaf.path}"
                assert leaf.secret, f"{item.name}: {leaf.path} is not marked"
                kept += 1
        assert kept == len(secret_files(stack)) > 5

    @pytest.mark.parametrize("choice", CHOICES)
    def test_nothing_else_is_marked(self, choice: str) -> None:
        # A mark by contagion hides what a reviewer of a preview should see.
        marked = {
            (item.type.rpartition(":")[2], re.sub(r"\d+", "N", leaf.path))
            for item in built(choice).resources
            for leaf in item.leaves
            if leaf.secret
        }
        assert marked == {("Container", "uploads[N].content")}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_a_secret_file_is_marked_and_another_is_not(self, choice: str) -> None:
        stack = built(choice)
        for name in stack.of("Container"):
            seed = stack.of("Container")[name]
            marked = {leaf.path for leaf in seed.leaves if leaf.secret}
            assert marked == {
                f"uploads[{index}].content"
                for index, upload in enumerate(seed.tables("uploads"))
                if str(upload["file"]).startswith("/run/secrets/")
            }

    @pytest.mark.parametrize("choice", CHOICES)
    def test_exports_show_none_but_the_admin_password_which_is_marked(self, choice: str) -> None:
        exports = built(choice).exports
        assert {name for name, export in exports.items() if export.secret} == {"admin-password"}
        assert exports["admin-password"].value == generated("admin-password", 24)
        shown = json.dumps({name: export.value for name, export in exports.items() if not export.secret})
        assert not any(secret in shown for secret in forms(choice))

    @pytest.mark.parametrize("choice", CHOICES)
    def test_generated_ones_are_long_and_plain(self, choice: str) -> None:
        for item in built(choice).of("RandomPassword").values():
            assert int(str(item.inputs["length"])) >= 24, item.name
            assert item.inputs["special"] is False, "some of them are read by shells and configuration files"
