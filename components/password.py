"""Argo CD's admin password, hashed as Argo CD wants it."""

import base64
import hashlib

import bcrypt

_ROUNDS = 10
_LONGEST = 72
_TO_BCRYPT = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
)


def password_hash(password: str, identity: str) -> str:
    """The bcrypt hash of `password`, the same one each time for the same `identity`.

    bcrypt's usual random salt would give another hash on each run, and each `pulumi up` would
    upgrade Argo CD. The salt is derived from `identity` (of the stack) instead. That costs no
    safety: a salt is no secret, it only has to differ from one password store to the next, so
    that equal passwords don't show and one table of hashes can't serve for two of them.

    Raises ValueError for an empty password and for one over 72 bytes, of which bcrypt would
    ignore the rest. https://argo-cd.readthedocs.io/en/stable/faq/#i-forgot-the-admin-password-how-do-i-reset-it
    """
    secret = password.encode()
    if not 0 < len(secret) <= _LONGEST:
        raise ValueError(
            f"Argo CD's admin password has {len(secret)} bytes; bcrypt takes 1 to {_LONGEST}"
        )
    salt = base64.b64encode(hashlib.sha256(identity.encode()).digest()[:16]).rstrip(b"=")
    return bcrypt.hashpw(secret, b"$2a$%d$" % _ROUNDS + salt.translate(_TO_BCRYPT)).decode()
