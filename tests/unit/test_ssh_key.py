"""The public half of a private SSH key."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from doks_gitops.settings.ssh_key import public_key

KEYS = (Ed25519PrivateKey.generate(), generate_private_key(65537, 2048))


def private(
    key: Ed25519PrivateKey = KEYS[0],
    form: PrivateFormat = PrivateFormat.OpenSSH,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


@pytest.mark.parametrize("key", KEYS, ids=["ed25519", "rsa"])
def test_public_key_belongs_to_the_private_key(key: Ed25519PrivateKey) -> None:
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert public_key(private(key)) == public.decode()
    assert public_key(private(key).replace("\n", "\r\n")) == public.decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (private(form=PrivateFormat.PKCS8), "is not in OpenSSH's format"),
        (private(encryption=BestAvailableEncryption(b"pass")), "needs a passphrase"),
        (private().replace("b3BlbnNz", "AAAAAAAA"), "is damaged"),
        (private().replace("b3BlbnNz", "!"), "is damaged"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\n"
            + base64.b64encode(b"openssh-key-v1\0\0\0\0\4no").decode()
            + "\n-----END OPENSSH PRIVATE KEY-----\n",
            "is damaged",
        ),
    ],
)
def test_unsuitable_key_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        public_key(text)
