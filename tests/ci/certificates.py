"""A certificate authority and one certificate of it, for a server on loopback."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Writes the authority, a certificate for `name` and its key, as PEM; the three files."""
    now = datetime.datetime.now(datetime.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return builder.sign(root_key, hashes.SHA256())

    leaf = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    texts = {
        "authority.pem": certificate(root, root_key.public_key(), authority=True).public_bytes(
            serialization.Encoding.PEM
        ),
        "leaf.pem": certificate(leaf, key.public_key(), authority=False).public_bytes(serialization.Encoding.PEM),
        "leaf.key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    paths = []
    for file, text in texts.items():
        paths.append(folder / file)
        paths[-1].write_bytes(text)
    authority_file, chain, key_file = paths
    return authority_file, chain, key_file
