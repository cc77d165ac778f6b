"""Private keys of SSH, and their public halves."""

import base64
import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from doks_gitops.settings.ssh_key import KEY_WITHOUT_PRIVATE_PART, public_key

KEYS = (
    Ed25519PrivateKey.generate(),
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP384R1()),
)
OPENSSH, PKCS8, TRADITIONAL = (
    PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
)  # fmt: skip
Key = Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | X25519PrivateKey


def private(
    key: Key = KEYS[0],
    form: PrivateFormat = OPENSSH,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


@pytest.mark.parametrize(
    ("key", "form"),
    [
        *((key, form) for key in KEYS for form in (OPENSSH, PKCS8)),
        *((key, TRADITIONAL) for key in KEYS[1:]),
    ],
)
def test_public_key_belongs_to_the_private_key_in_each_of_its_forms(
    key: Key, form: PrivateFormat
) -> None:
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert public_key(private(key, form)) == public.decode()
    assert public_key(private(key, form).replace("\n", "\r\n")) == public.decode()


def test_a_key_that_must_not_be_known_has_a_public_half() -> None:
    assert (
        public_key(KEY_WITHOUT_PRIVATE_PART) == f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"
    )


BODY = private().splitlines()[2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (private(encryption=BestAvailableEncryption(b"pass")), "needs a passphrase"),
        (private(form=PKCS8, encryption=BestAvailableEncryption(b"pass")), "needs a passphrase"),
        (private().replace("b3BlbnNz", "AAAAAAAA"), "is damaged"),
        (private().replace("b3BlbnNz", "!"), "is damaged"),
        (private().replace(f"{BODY}\n", ""), "is damaged"),
        (private(KEYS[1]).replace(private(KEYS[1]).splitlines()[9], "A" * 70), "is damaged"),
        (private(form=PKCS8).replace("MC4C", "AAAA"), "is damaged"),
        (private(X25519PrivateKey.generate(), PKCS8), "of another type"),
        (private(ec.generate_private_key(ec.SECP256K1()), PKCS8), "of another type"),
    ],
)
def test_unsuitable_key_is_refused_with_its_reason_and_nothing_of_it(
    text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        public_key(text)
    assert not any(line in str(refused.value) for line in text.splitlines())
    assert refused.value.__cause__ is None


# An ECDSA key whose public point is compressed, and an Ed25519 key that names another algorithm.
@example(KEYS[2], OPENSSH, 82, 2)
@example(KEYS[0], PKCS8, 11, 0x71)
@given(
    st.sampled_from((KEYS[0], KEYS[2])),
    st.sampled_from((OPENSSH, PKCS8)),
    st.integers(0, 500),
    st.integers(0, 255),
)
@limits(deadline=None)
def test_a_key_with_any_damaged_byte_is_taken_or_refused_with_a_reason(
    key: Key, form: PrivateFormat, position: int, value: int
) -> None:
    first, *body, last = private(key, form).splitlines()
    data = bytearray(base64.b64decode("".join(body)))
    data[position % len(data)] = value
    with contextlib.suppress(ValueError):
        public_key("\n".join((first, base64.b64encode(data).decode(), last, "")))
