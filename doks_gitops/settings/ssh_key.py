"""The public half of a private SSH key."""

import base64
import binascii
import re

_MAGIC = b"openssh-key-v1\0"


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


KEY_WITHOUT_PRIVATE_PART = "\n".join(
    (
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        base64.b64encode(
            _MAGIC
            + 2 * _string(b"none")
            + _string(b"")
            + (1).to_bytes(4, "big")
            + _string(_string(b"ssh-ed25519") + _string(bytes(32)))
        ).decode(),
        "-----END OPENSSH PRIVATE KEY-----",
        "",
    )
)
"""In the place of a key that must not be known: it has a public half, of zeros, and no other."""


def public_key(private_key: str) -> str:
    """The public key as `TYPE KEY`, the form in which it is registered with a Git host.

    A private key in OpenSSH's own format contains its public key in plain text
    (https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key). Raises ValueError for
    other formats, for damaged keys and for keys with a passphrase; the message completes
    "a key that ...".
    """
    match = re.search(
        r"-----BEGIN OPENSSH PRIVATE KEY-----(.*)-----END OPENSSH PRIVATE KEY-----",
        private_key,
        re.DOTALL,
    )
    if match is None:
        raise ValueError("is not in OpenSSH's format")
    try:
        content = base64.b64decode("".join(match[1].split()), validate=True)
        if not content.startswith(_MAGIC):
            raise ValueError
        cipher, rest = _split_string(content[len(_MAGIC) :])
        for _ in range(2):  # name and options of the passphrase's key derivation
            _, rest = _split_string(rest)
        public, _ = _split_string(rest[4:])  # after the number of keys
        kind, _ = _split_string(public)
    except (binascii.Error, ValueError, IndexError):
        raise ValueError("is damaged") from None
    if cipher != b"none":
        raise ValueError("needs a passphrase")
    return f"{kind.decode()} {base64.b64encode(public).decode()}"


def _split_string(data: bytes) -> tuple[bytes, bytes]:
    """The first string in `data`, and the bytes after it. Raises ValueError if it is cut off."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length or len(data) < 4:
        raise ValueError
    return data[4 : 4 + length], data[4 + length :]
