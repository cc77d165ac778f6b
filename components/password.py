"""What is derived from Argo CD's admin password or another secret."""

import base64
import hashlib
import hmac

import bcrypt

_ROUNDS = 10
_LONGEST = 72
_TO_BCRYPT = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
)


def password_hash(password: str, identity: str) -> str:
    """The bcrypt hash of `password`, always the same for the same `identity`.

    A random salt would give another hash in every run, and every `pulumi up` would upgrade Argo CD.
    Therefore the salt is derived from `identity`, the identity of the stack. That is as safe: a
    salt is no secret, it only must differ between password stores.

    Raises ValueError for an empty password and for one of more than 72 bytes, because bcrypt would
    ignore the rest. https://argo-cd.readthedocs.io/en/stable/faq/#i-forgot-the-admin-password-how-do-i-reset-it
    """
    secret = password.encode()
    if not 0 < len(secret) <= _LONGEST:
        raise ValueError(
            f"Argo CD's admin password has {len(secret)} bytes; bcrypt takes 1 to {_LONGEST}"
        )
    salt = base64.b64encode(hashlib.sha256(identity.encode()).digest()[:16]).rstrip(b"=")
    return bcrypt.hashpw(secret, b"$2a$%d$" % _ROUNDS + salt.translate(_TO_BCRYPT)).decode()


def unknown_secret(known: str, identity: str) -> str:
    """A secret that nobody needs to know, always the same for the same secret and `identity`."""
    return hmac.digest(known.encode(), f"{identity} webhooks".encode(), "sha256").hex()


def checksum(known: str, identity: str) -> str:
    """A text that changes with the secret `known`, too short to tell by it which guess is right."""
    return hmac.digest(known.encode(), f"{identity} checksum".encode(), "sha256").hex()[:8]
