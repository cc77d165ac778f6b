"""Actions secrets travel in a sealed box: only who holds the private key can read them.

https://docs.github.com/en/rest/guides/encrypting-secrets-for-the-rest-api
"""

import base64
import hashlib

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox


def new_private_key() -> str:
    """Base64."""
    return base64.b64encode(bytes(PrivateKey.generate())).decode()


def public_key(private_key: str) -> str:
    """Base64 of the public key that belongs to it."""
    return base64.b64encode(bytes(_key(private_key).public_key)).decode()


def key_id(private_key: str) -> str:
    """The name by which a client says which public key it used."""
    digest = hashlib.sha256(public_key(private_key).encode()).hexdigest()
    return str(int(digest[:16], 16))


def opened(sealed: str, private_key: str) -> str:
    """The text in a sealed box. Raises ValueError if it was not sealed for this key."""
    try:
        box = SealedBox(_key(private_key))
        return box.decrypt(base64.b64decode(sealed, validate=True)).decode()
    except (CryptoError, ValueError) as error:
        raise ValueError("it was not encrypted with this repository's public key") from error


def _key(private_key: str) -> PrivateKey:
    return PrivateKey(base64.b64decode(private_key))
