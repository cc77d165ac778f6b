"""Seals Secrets, so that only the controller of Sealed Secrets can read them.

The format is that of `pkg/crypto` and `pkg/apis/sealedsecrets/v1alpha1` in
https://github.com/bitnami/sealed-secrets: each value is encrypted by AES-GCM with a key of its own,
which RSA-OAEP encrypts with the certificate's key. The label of RSA-OAEP is what binds a value to
its namespace and name.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Mapping
from typing import cast

import yaml
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from doks_gitops.errors import PlatformError
from doks_gitops.sealing import Object, Scope

_API_VERSION = "bitnami.com/v1alpha1"
_SESSION_KEY = 32
"""Bytes of the key of one value."""
_NONCE = bytes(12)
"""Of zeros, because each key encrypts one value only."""
_KEPT = ("labels", "annotations")
"""Metadata of a Secret that the Secret in the cluster gets, besides its name and namespace."""
_COPIES = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubecfg.ksonnet.io/last-applied-configuration",
)
"""Annotations with a copy of the Secret in clear."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def encrypt(plaintext: bytes, key: RSAPublicKey, label: bytes) -> bytes:
    """One value, encrypted: the length of the encrypted session key in two bytes, that key, and the
    value."""
    session_key = os.urandom(_SESSION_KEY)
    encrypted_key = key.encrypt(session_key, _padding(label))
    ciphertext = AESGCM(session_key).encrypt(_NONCE, plaintext, None)
    return len(encrypted_key).to_bytes(2, "big") + encrypted_key + ciphertext


def decrypt(ciphertext: bytes, keys: Iterable[RSAPrivateKey], label: bytes) -> bytes:
    """The value that `encrypt` made. Raises ValueError if none of the keys can decrypt it with this
    label."""
    length = int.from_bytes(ciphertext[:2], "big")
    encrypted_key, value = ciphertext[2 : 2 + length], ciphertext[2 + length :]
    for key in keys:
        try:
            return AESGCM(key.decrypt(encrypted_key, _padding(label))).decrypt(_NONCE, value, None)
        except (ValueError, InvalidTag):
            continue
    raise ValueError("no key can decrypt it")


def _padding(label: bytes) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)


def seal(
    secret: Object,
    key: RSAPublicKey,
    *,
    name: str | None = None,
    namespace: str | None = None,
    scope: Scope | None = None,
) -> Object:
    """The SealedSecret of a Secret. `name`, `namespace` and `scope` replace those of the Secret.

    Raises `PlatformError` for what is no valid Secret; it shows no value.
    """
    metadata = secret.get("metadata") or {}
    scope = scope or Scope.of(secret)
    name = name or metadata.get("name")
    namespace = namespace or metadata.get("namespace")
    _check_identity(name, namespace, scope)
    label = scope.label(str(namespace), str(name))
    identity = {"name": name, **({"namespace": namespace} if namespace else {})}
    kept = {field: dict(metadata[field]) for field in _KEPT if metadata.get(field)}
    annotations = {
        key: value
        for key, value in kept.pop("annotations", {}).items()
        if key not in _COPIES and key not in _all_scope_annotations()
    } | scope.annotations
    template: Object = {
        "metadata": {**identity, **kept, **({"annotations": annotations} if annotations else {})},
        **{field: secret[field] for field in ("type", "immutable") if secret.get(field)},
    }
    return {
        "apiVersion": _API_VERSION,
        "kind": "SealedSecret",
        "metadata": {
            **identity,
            **({"annotations": scope.annotations} if scope.annotations else {}),
        },
        "spec": {
            "encryptedData": {
                field: base64.b64encode(encrypt(value, key, label)).decode()
                for field, value in sorted(_values(secret).items())
            },
            "template": template,
        },
    }


def reseal(
    sealed: Object,
    keys: Iterable[RSAPrivateKey],
    key: RSAPublicKey,
    *,
    namespace: str | None = None,
) -> Object:
    """A SealedSecret, sealed anew with another key. `keys` can read it. `namespace` replaces its
    own. Raises `PlatformError`."""
    keys = tuple(keys)
    metadata, spec = sealed.get("metadata") or {}, sealed.get("spec") or {}
    if sealed.get("kind") != "SealedSecret" or not isinstance(spec.get("encryptedData"), Mapping):
        raise PlatformError("The input is no SealedSecret.", "Seal a Secret: bin/platform seal")
    scope = Scope.of(sealed)
    old_label = scope.label(str(metadata.get("namespace")), str(metadata.get("name")))
    namespace = namespace or metadata.get("namespace")
    _check_identity(metadata.get("name"), namespace, scope)
    new_label = scope.label(str(namespace), str(metadata.get("name")))

    def anew(field: str, text: object) -> str:
        try:
            value = decrypt(base64.b64decode(str(text), validate=True), keys, old_label)
        except ValueError:
            raise PlatformError(
                f"No key of the stack can read {field} of {metadata.get('name')}.",
                "Look whether it was sealed for this stack, and whether its name, namespace and"
                " scope are those that it was sealed with.",
            ) from None
        return base64.b64encode(encrypt(value, key, new_label)).decode()

    def moved(fields: Object) -> Object:
        return {**fields, "namespace": namespace} if "namespace" in fields else fields

    template = dict(spec.get("template") or {})
    if template.get("metadata"):
        template["metadata"] = moved(template["metadata"])
    encrypted = {field: anew(field, text) for field, text in spec["encryptedData"].items()}
    return {
        **{field: value for field, value in sealed.items() if field != "status"},
        "metadata": moved(metadata),
        "spec": {**spec, "encryptedData": encrypted, "template": template},
    }


def load(text: str, kind: str) -> Object:
    """The only object in `text`, of `kind`. Raises `PlatformError`, which shows nothing of it."""
    try:
        items = [item for item in yaml.safe_load_all(text) if item is not None]
    except yaml.YAMLError:
        raise PlatformError("The input is no YAML.") from None
    if len(items) != 1 or not isinstance(items[0], dict) or items[0].get("kind") != kind:
        raise PlatformError(
            f"The input is not one {kind}.",
            "kubectl create secret generic NAME --from-file=FILE --dry-run=client -o yaml writes a"
            " Secret",
        )
    return cast(Object, items[0])


def dump(item: Object) -> str:
    return yaml.safe_dump(item, sort_keys=False, width=1 << 20)


def _check_identity(name: object, namespace: object, scope: Scope) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PlatformError("The Secret has no valid name.", "Give it one: --name NAME")
    if scope is Scope.CLUSTER_WIDE and not namespace:
        return
    if not isinstance(namespace, str) or not _NAME.fullmatch(namespace):
        raise PlatformError(
            f"The Secret {name} has no valid namespace.",
            "Give it the namespace of the application: --namespace NAMESPACE",
        )


def _all_scope_annotations() -> set[str]:
    return {key for scope in Scope for key in scope.annotations}


def _values(secret: Object) -> dict[str, bytes]:
    """The values of a Secret by their keys. Raises `PlatformError`."""
    values: dict[str, bytes] = {}
    for source in ("data", "stringData"):
        for field, text in (secret.get(source) or {}).items():
            if not isinstance(field, str) or not _KEY.fullmatch(field):
                raise PlatformError(
                    f"A key in {source} of the Secret has other characters than letters, digits,"
                    " '-', '_' and '.'."
                )
            if not isinstance(text, str):
                raise PlatformError(
                    f"{source}.{field} of the Secret is no text.", "Write it in quotes."
                )
            try:
                values[field] = (
                    base64.b64decode(text, validate=True) if source == "data" else text.encode()
                )
            except (binascii.Error, ValueError):
                raise PlatformError(
                    f"data.{field} of the Secret is no base64.", "Put texts into stringData."
                ) from None
    if not values:
        raise PlatformError("The Secret has no values.")
    return values
