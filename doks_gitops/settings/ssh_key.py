"""Private keys of SSH, and their public halves."""

import base64

_TYPES = (b"ssh-ed25519 ", b"ssh-rsa ", b"ecdsa-sha2-")
_REASON = "is damaged, or of another type than Ed25519, RSA and ECDSA"


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


_PUBLIC_PART = _string(b"ssh-ed25519") + _string(bytes(32))
KEY_WITHOUT_PRIVATE_PART = "\n".join(
    (
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        base64.b64encode(
            b"openssh-key-v1\0"
            + 2 * _string(b"none")
            + _string(b"")
            + (1).to_bytes(4, "big")
            + _string(_PUBLIC_PART)
        ).decode(),
        "-----END OPENSSH PRIVATE KEY-----",
        "",
    )
)
"""In the place of a key that must not be known: it has a public half, of zeros, and no other."""


def is_unknown(private_key: str) -> bool:
    """Whether `KEY_WITHOUT_PRIVATE_PART` is in the key's place."""
    return private_key.strip() == KEY_WITHOUT_PRIVATE_PART.strip()


def public_key(private_key: str) -> str:
    """The public key as `TYPE KEY`, the form in which it is registered with a Git host.

    Takes a key in OpenSSH's own format or in another PEM form. Raises ValueError for a damaged key,
    for one with a passphrase, which Argo CD can't ask for, and for one of a type that Argo CD can't
    use; the message completes "a key that ...".
    """
    if is_unknown(private_key):
        return f"ssh-ed25519 {base64.b64encode(_PUBLIC_PART).decode()}"
    # The import takes a tenth of a second, which only a stack with a key needs.
    from cryptography.hazmat.primitives import serialization

    is_openssh = "BEGIN OPENSSH PRIVATE KEY" in private_key
    try:
        key = (
            serialization.load_ssh_private_key(private_key.encode(), None)
            if is_openssh
            else serialization.load_pem_private_key(private_key.encode(), None)
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    # The library's own messages may have parts of the key.
    except TypeError:
        raise ValueError("needs a passphrase") from None
    # Beside those that it documents, it raises others for damaged keys, such as its InternalError.
    except Exception:
        raise ValueError(_REASON) from None
    if not public.startswith(_TYPES):
        raise ValueError(_REASON)
    return public.decode()
