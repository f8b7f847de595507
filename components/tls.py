"""What is wrong with a certificate and its key, as browsers and Traefik would find it.

What does not belong here: whether the text is whole PEM (settings/secret.py), and making certificates
(scripts/certificate.py).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def certificate_problem(chain: str, domain: str) -> str | None:
    """Why the first certificate of a PEM chain does not do for the pages below `domain`, or None.

    None as well for what is no certificate at all: the made-up ones of `make policy` and of tests are none.
    """
    try:
        names = (
            x509.load_pem_x509_certificate(chain.encode())
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value.get_values_for_type(x509.DNSName)
        )
    except ValueError:
        return None
    except x509.ExtensionNotFound:
        names = []
    if any(name.lower().endswith(f".{domain}") and name.count(".") == domain.count(".") + 1 for name in names):
        return None
    found = ", ".join(names[:5]) or "no name at all"
    return f"is for {found}, and the pages are one name below {domain}: it has to be for *.{domain}"


def key_problem(chain: str, key: str) -> str | None:
    """Why a PEM private key does not do for the first certificate of a chain, or None; as well for what is no key."""
    if "ENCRYPTED" in key:
        return "asks for a passphrase, which Traefik has not: give it without, as `openssl pkey -in FILE` prints it"
    try:
        certificate = x509.load_pem_x509_certificate(chain.encode())
        mine = load_pem_private_key(key.encode(), None).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) == mine.public_bytes(*form):
        return None
    return "is the key of another certificate"
