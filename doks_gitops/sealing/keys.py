"""The key pairs of a stack. In its stack file, only the private keys are encrypted.

From there every `pulumi up` brings them into the state and into the cluster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from doks_gitops.errors import PlatformError
from doks_gitops.settings import sealing_key, stackfile
from doks_gitops.settings.model import NAMESPACE
from doks_gitops.settings.stackfile import StackFile, Storage
from doks_gitops.stack import Stack

CHART_VERSION = "2.19.3"
"""Version of the chart `sealed-secrets` in a stack file that gets its first key pair."""
SECTION = f"{NAMESPACE}:sealedSecrets"
ARGOCD = f"{NAMESPACE}:argocd"
BITS = 4096
VALID = timedelta(days=3650)
"""As the controller makes them: https://github.com/bitnami/sealed-secrets#secret-rotation"""

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, PEM."""

    certificate: str
    private_key: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.private_key.strip()}\n{self.certificate.strip()}\n"


def generate(stack: str, now: datetime, *, bits: int = BITS) -> KeyPair:
    """A new key pair, valid from `now` on. `stack` names it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"sealed-secrets {stack}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALID)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


def parse(text: str) -> list[KeyPair]:
    """The key pairs in a text of certificates and private keys, in any order. Raises
    `PlatformError`, which shows nothing of the text."""
    blocks = [(match[1], match[0] + "\n") for match in _PEM.finditer(text.replace("\r\n", "\n"))]
    certificates = [pem for kind, pem in blocks if kind == "CERTIFICATE"]
    private_keys = [pem for kind, pem in blocks if kind != "CERTIFICATE"]
    try:
        pairs = [
            KeyPair(certificate, private_key)
            for certificate in certificates
            for private_key in private_keys
            if sealing_key.belongs_to(private_key, certificate)
        ]
    except ValueError as error:
        raise PlatformError(f"The text has a part that {error}.") from None
    if not pairs or len(pairs) != len(certificates) or len(pairs) != len(private_keys):
        raise PlatformError(
            f"The text has {len(certificates)} certificates and {len(private_keys)} private keys,"
            f" of which {len(pairs)} belong together.",
            "It must have both parts of each key pair, PEM, each once.",
        )
    return pairs


def certificates(file: Path) -> list[str]:
    """The certificates in a stack file, without decrypting anything. Raises `PlatformError`; if the
    stack has none, too."""
    pems = list(_certificates(_content(file)))
    if not pems:
        raise PlatformError(
            f"{file.name} has no key pair for sealed secrets.",
            f"bin/platform sealing-keys new --stack {_stack_of(file)}",
        )
    for index, pem in enumerate(pems):
        try:
            sealing_key.certificate(pem)
        except ValueError as error:
            raise PlatformError(
                f"{file.name} has a text in {SECTION}.keys[{index}].certificate that {error}.",
                "Take back the change of the stack file that broke it.",
            ) from None
    return pems


def _stack_of(file: Path) -> str:
    return file.name.removeprefix("Pulumi.").removesuffix(".yaml")


def _content(file: Path) -> StackFile:
    try:
        return StackFile(stackfile.read(file))
    except ValueError as error:
        raise PlatformError(f"{file} is {error}.") from None


def _certificates(content: StackFile) -> Iterator[str]:
    index = 0
    while content.storage(SECTION, ("keys", index)) is not Storage.ABSENT:
        yield content.text(SECTION, "keys", index, "certificate") or ""
        index += 1


def sealing_certificate(file: Path, now: datetime) -> str:
    """The certificate in a stack file that secrets are sealed with. Raises `PlatformError`; also if
    it is not valid at `now`."""
    stack = _stack_of(file)
    pem = sealing_key.newest(certificates(file))
    certificate = sealing_key.certificate(pem)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise PlatformError(
            f"The newest certificate of {stack} is valid from"
            f" {certificate.not_valid_before_utc:%Y-%m-%d} to"
            f" {certificate.not_valid_after_utc:%Y-%m-%d}, and not now.",
            f"bin/platform sealing-keys renew --stack {stack}",
        )
    return pem


def descriptions(file: Path) -> Iterator[str]:
    """One line for each key pair in a stack file, without secrets. Raises `PlatformError`."""
    pems = certificates(file)
    newest = sealing_key.newest(pems)
    for pem in pems:
        certificate = sealing_key.certificate(pem)
        yield (
            f"{certificate.fingerprint(hashes.SHA256()).hex()[:10]}"
            f"  {certificate.not_valid_before_utc:%Y-%m-%d} to"
            f" {certificate.not_valid_after_utc:%Y-%m-%d}"
            f"  {'seals and reads' if pem == newest else 'reads'}"
        )


def unknown(file: Path, pairs: Sequence[KeyPair]) -> list[KeyPair]:
    """Those of `pairs` whose key the stack file does not have. Raises `PlatformError`."""
    pems = certificates(file) if any(_certificates(_content(file))) else []
    known = [sealing_key.public_key(pem) for pem in pems]
    return [pair for pair in pairs if sealing_key.public_key(pair.certificate) not in known]


def read(stack: Stack) -> list[KeyPair]:
    """The key pairs of a stack, decrypted. Raises `PlatformError`."""
    certificates(stack.file)
    section = json.loads(stack.config_value(SECTION))
    return [KeyPair(key["certificate"], key["privateKey"]) for key in section["keys"]]


def add(stack: Stack, pairs: Sequence[KeyPair]) -> None:
    """Write further key pairs into the stack file, and with the first one the chart. Raises
    `PlatformError`; then nothing has changed."""
    content = _content(stack.file)
    values: dict[str, str] = {}
    if content.storage(SECTION) is Storage.ABSENT:
        values[f"{SECTION}.chart.version"] = CHART_VERSION
        # A team that has a mirror of Argo CD's chart has all charts there.
        if repository := content.text(ARGOCD, "chart", "repository"):
            values[f"{SECTION}.chart.repository"] = repository
    count = len(list(_certificates(content)))
    secrets = []
    for index, pair in enumerate(pairs, count):
        key = f"{SECTION}.keys[{index}]"
        values[f"{key}.certificate"] = pair.certificate
        values[f"{key}.privateKey"] = pair.private_key
        secrets.append(f"{key}.privateKey")
    stack.set_values(values, secrets=secrets)


def has_section(stack: Stack) -> bool:
    """Whether the stack file has sealed secrets. Raises `PlatformError` if it can't be read."""
    return _content(stack.file).storage(SECTION) is not Storage.ABSENT


def now() -> datetime:
    """The time, in whole seconds, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)
