"""A key pair of Sealed Secrets: an RSA key, and a certificate of it that has no issuer.

https://github.com/bitnami/sealed-secrets/blob/main/docs/bring-your-own-certificates.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.x509 import Certificate

# Importing `cryptography` takes a tenth of a second, which only a stack with sealed secrets needs.

SMALLEST = 2048
"""Bits of the smallest key that is accepted."""
_ONE_CERTIFICATE = re.compile(
    r"\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*"
)


def certificate(pem: str) -> Certificate:
    """The certificate `pem`. Raises ValueError for any other text, for a key that is not RSA, and
    for one of less than `SMALLEST` bits; the message completes "a text that ..."."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    # The library skips what else is in the text, such as a private key.
    if not _ONE_CERTIFICATE.fullmatch(pem):
        raise ValueError("is not one certificate in PEM form")
    try:
        parsed = x509.load_pem_x509_certificate(pem.encode())
        key = parsed.public_key()
    # Beside ValueError, it raises others for damaged certificates, such as its InvalidVersion.
    except Exception:
        raise ValueError("is not one certificate in PEM form") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("is no certificate of an RSA key")
    if key.key_size < SMALLEST:
        raise ValueError(f"is the certificate of a key of {key.key_size} bits")
    return parsed


def is_certificate(pem: str) -> bool:
    try:
        certificate(pem)
    except ValueError:
        return False
    return True


def private_key(pem: str) -> RSAPrivateKey:
    """The key in `pem`, which has no passphrase. Raises ValueError for any other text; the message
    completes "a text that ..."."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    # The library's messages may have parts of the text. TypeError: it has a passphrase. Others than
    # those that it documents, such as its InternalError: it is damaged.
    except Exception:
        raise ValueError("is no private key in PEM form without a passphrase") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("is no RSA key")
    return key


def public_key(pem: str) -> RSAPublicKey:
    """The public key in the certificate `pem`. Raises ValueError as `certificate` does."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = certificate(pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def belongs_to(private_pem: str, certificate_pem: str) -> bool:
    """Whether the certificate is one of the private key. Raises ValueError for an invalid one."""
    return private_key(private_pem).public_key() == public_key(certificate_pem)


def newest(certificates: Iterable[str]) -> str:
    """The certificate that secrets are sealed with: the one whose validity begins last, as in the
    controller; of several, the last. Raises ValueError for an invalid one."""
    ordered = sorted(certificates, key=lambda pem: certificate(pem).not_valid_before_utc)
    return ordered[-1]
