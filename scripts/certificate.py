"""A local certificate for domains that no public authority signs: `localhost` and what ends in `.localhost`.

Makes an authority that is good for such names only, shared by this user's stacks, and stores a certificate and its
key as secrets in this user's stack file. For every other domain the two secrets are the user's own business.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from components.settings.values import is_local as is_local
from scripts import options, stack
from scripts.console import UserError, finish, say
from scripts.engine import Engine, open_stack
from scripts.paths import Paths, find

CERTIFICATE: Final = "nexus:tls-certificate"
KEY: Final = "nexus:tls-key"
_CA_DAYS: Final = 3653
_DAYS: Final = 397
"""Browsers refuse a longer life (CA/Browser Forum, 398 days until 2026)."""
_RENEW: Final = datetime.timedelta(days=30)
_UNFINISHED: Final = "unfinished"
"""In place of the seal while the two secrets are being stored: an interrupted run is done again."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> str:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The private key as PEM (PKCS #8, not encrypted)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


def names(domain: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """The names of a certificate for `domain`.

    Browsers and OpenSSL refuse a wildcard directly below a top-level name, so beside `*.localhost` each app's own
    name is needed.
    """
    return (domain, f"*.{domain}", *sorted({f"{host}.{domain}" for host in hosts} - {domain}))


def new_ca(now: datetime.datetime) -> Pair:
    """A certificate authority for `localhost` and the names below it, good for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"NEXUS local CA of {os.environ.get('USER', 'root')}")])
    certificate = (
        _builder(name, name, key.public_key(), now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        # Whoever gets hold of the key can forge nothing but names of the victim's own machine.
        .add_extension(x509.NameConstraints([x509.DNSName("localhost")], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def new_certificate(ca: Pair, alternatives: Sequence[str], now: datetime.datetime) -> Pair:
    """A server certificate for the names in `alternatives`, good for 397 days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, alternatives[0])])
    certificate = (
        _builder(subject, ca.certificate.subject, key.public_key(), now, _DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in alternatives]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return Pair(certificate=certificate, key=key)


def stale(
    certificate: x509.Certificate, ca: x509.Certificate, alternatives: Sequence[str], now: datetime.datetime
) -> str | None:
    """Why a certificate has to be made anew, or None."""
    if certificate.not_valid_after_utc - now < _RENEW:
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if missing := set(alternatives) - set(san.get_values_for_type(x509.DNSName)):
        return f"it lacks {', '.join(sorted(missing))}"
    try:
        certificate.verify_directly_issued_by(ca)
    except Exception:  # the library raises a different type for each way in which it does not fit
        return "it was not signed by the present local CA"
    return None


def ensure_ca(paths: Paths, now: datetime.datetime) -> Pair:
    """The local authority, made if there is none or it ends before a new certificate would."""
    certificate_file, key_file = paths.ca / "ca.pem", paths.ca / "key.pem"
    if certificate_file.exists() and key_file.exists():
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except ValueError as error:
            raise UserError(
                f"{paths.ca}: the local CA cannot be read ({error}); remove that directory, and the next run makes a "
                "new CA, which has to be trusted anew"
            ) from error
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key():
            if certificate.not_valid_after_utc - now > datetime.timedelta(days=_DAYS):
                return Pair(certificate=certificate, key=key)
            say(f"certificate: the local CA ends on {certificate.not_valid_after_utc:%Y-%m-%d}, making a new one")
    ca = new_ca(now)
    paths.ca.mkdir(parents=True, exist_ok=True, mode=0o700)
    stack.replace(key_file, ca.key_pem)
    stack.replace(certificate_file, ca.certificate_pem)
    return ca


def ensure(engine: Engine, domain: str, hosts: Iterable[str]) -> bool:
    """Sees to it that a stack with a local domain has a certificate; True where a new one was stored.

    Leaves alone what the user has set, and every domain that is not local.
    """
    files = engine.files
    record = files.directory / "certificate.json"
    mine = _ours(engine, record)
    if not is_local(domain):
        if mine:
            say(f"certificate: removing the one for {mine.get('domain')}: {domain} needs a certificate of your own")
            stack.set_value(files, CERTIFICATE, None)
            stack.set_value(files, KEY, None)
            record.unlink()
        return False
    present = {CERTIFICATE, KEY} & stack.values(files).keys()
    if present and not mine:
        return False
    now = datetime.datetime.now(datetime.UTC)
    alternatives = names(domain, hosts)
    ca = ensure_ca(engine.paths, now)
    if mine and mine["seal"] != _UNFINISHED:
        why = stale(x509.load_pem_x509_certificate(mine["certificate"].encode()), ca.certificate, alternatives, now)
        if why is None:
            return False
        say(f"certificate: making a new one, {why}")
    else:
        say(f"certificate: making one for {domain}, signed by the local CA {engine.paths.ca / 'ca.pem'}")
    pair = new_certificate(ca, alternatives, now)
    files.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    stored = {"domain": domain, "certificate": pair.certificate_pem}
    stack.replace(record, json.dumps({**stored, "seal": _UNFINISHED}))
    # On stdin: a command line can be read by every user of the host.
    engine.output("config", "set", "--secret", CERTIFICATE, given=pair.certificate_pem)
    engine.output("config", "set", "--secret", KEY, given=pair.key_pem)
    stack.replace(record, json.dumps({**stored, "seal": _seal(stack.values(files))}))
    return True


def trust(paths: Paths) -> str:
    """How to make browsers and tools trust the local certificates."""
    ca = paths.ca / "ca.pem"
    return (
        f"the certificate is signed by your local CA, {ca}. To trust it: import that file under Authorities in your "
        f"browser's certificate settings; for the whole machine (Debian, Ubuntu) run `sudo cp {ca} "
        f"/usr/local/share/ca-certificates/nexus-local.crt && sudo update-ca-certificates`; for one command: "
        f"curl --cacert {ca}"
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    start = now - datetime.timedelta(minutes=5)  # clocks of containers and virtual machines run behind
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _seal(values: Mapping[str, object]) -> str:
    """A mark of the two encrypted values, by which our own certificate is told from one that the user has set."""
    return hashlib.sha256(json.dumps([values.get(CERTIFICATE), values.get(KEY)]).encode()).hexdigest()


def _ours(engine: Engine, record: Path) -> dict[str, str] | None:
    """The record of the certificate that we stored, or None where there is none or the user has set another."""
    try:
        content: object = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(content, dict) or not {"domain", "certificate", "seal"} <= content.keys():
        return None
    mine = {str(key): str(value) for key, value in content.items()}
    values = stack.values(engine.files)
    if mine["seal"] in (_UNFINISHED, _seal(values)):
        return mine
    if not {CERTIFICATE, KEY} <= values.keys():
        return None
    # The same value encrypted anew, as after a change of the passphrase, is still ours.
    same = engine.output("config", "get", CERTIFICATE).strip() == mine["certificate"].strip()
    return mine if same else None


def hosts(outputs: Mapping[str, object]) -> tuple[str, ...]:
    """The names that apps may answer at: what the images are called, and what the last `up` reported as `urls`."""
    from components.images import PINS

    urls = outputs.get("urls")
    return (*PINS, *(urls if isinstance(urls, dict) else ()))


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/run certificate`."""
    parser = options.parser("certificate", __doc__)
    given = parser.parse_args(arguments)
    paths = find()
    engine = open_stack(paths, given.stack, given.stack_file)
    domain = stack.settings(engine.files).edge.domain
    if not is_local(domain):
        raise UserError(
            f"{engine.files.config}: nexus:edge.domain is {domain}; a local certificate is for localhost and names "
            f"below it. Set your own: `scripts/pulumi -s {given.stack} config set --secret {CERTIFICATE} < "
            f"chain.pem` and the same for {KEY}"
        )
    made = ensure(engine, domain, hosts(engine.state().outputs))
    say("certificate: stored; `make up` puts it to use" if made else "certificate: the one that is set is good")
    print(trust(paths))
    return 0


if __name__ == "__main__":
    finish(main, "run it again")
