"""Encryption of Actions secrets: libsodium sealed boxes, which only the private key can open.

https://docs.github.com/en/rest/guides/encrypting-secrets-for-the-rest-api
"""

import base64
import hashlib

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox


def new_private_key() -> str:
    """A new private key, in base64."""
    return base64.b64encode(bytes(PrivateKey.generate())).decode()


def public_key(private_key: str) -> str:
    """The public key of a private key, both in base64."""
    return base64.b64encode(bytes(_key(private_key).public_key)).decode()


def key_id(private_key: str) -> str:
    """The ID with which a client names the public key that it used."""
    digest = hashlib.sha256(public_key(private_key).encode()).hexdigest()
    return str(int(digest[:16], 16))


def decrypt(encrypted: str, private_key: str) -> str:
    """The text of a sealed box in base64. Raises ValueError if it was encrypted for another key."""
    try:
        box = SealedBox(_key(private_key))
        return box.decrypt(base64.b64decode(encrypted, validate=True)).decode()
    except (CryptoError, ValueError) as error:
        raise ValueError("it was not encrypted with this repository's public key") from error


def _key(private_key: str) -> PrivateKey:
    return PrivateKey(base64.b64decode(private_key))
