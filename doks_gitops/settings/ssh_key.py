"""The public half of a private SSH key."""

import base64
import binascii
import re

_MAGIC = b"openssh-key-v1\0"


def public_key(private_key: str) -> str:
    """`type key`, as it is registered with a Git host.

    It stands in the open in OpenSSH's own format, so that nothing has to be computed
    (https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key). Raises ValueError for
    any other; its message completes "a key that ...".
    """
    found = re.search(
        r"-----BEGIN OPENSSH PRIVATE KEY-----(.*)-----END OPENSSH PRIVATE KEY-----",
        private_key,
        re.DOTALL,
    )
    if found is None:
        raise ValueError("is not in OpenSSH's format")
    try:
        content = base64.b64decode("".join(found[1].split()), validate=True)
        if not content.startswith(_MAGIC):
            raise ValueError
        cipher, rest = _text(content[len(_MAGIC) :])
        for _ in range(2):  # how the passphrase is used
            _, rest = _text(rest)
        public, _ = _text(rest[4:])  # after the number of keys
        kind, _ = _text(public)
    except (binascii.Error, ValueError, IndexError):
        raise ValueError("is damaged") from None
    if cipher != b"none":
        raise ValueError("needs a passphrase")
    return f"{kind.decode()} {base64.b64encode(public).decode()}"


def _text(data: bytes) -> tuple[bytes, bytes]:
    """The first string of the data, and what follows it. Raises ValueError if it is cut off."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length or len(data) < 4:
        raise ValueError
    return data[4 : 4 + length], data[4 + length :]
