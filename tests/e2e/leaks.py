"""Finds secrets in clear."""

import base64
import json
from collections.abc import Iterator, Mapping

PLAIN_KEYS = ("token", "password", "rawConfig", "argocdServerAdminPassword", "githubSecret")
"""The names of secrets in the state, at any depth."""


def forms(secret: str) -> set[bytes]:
    """The secret, and the parts that are in the base64 of every text that contains it."""
    forms = {secret.encode(), json.dumps(secret)[1:-1].encode()}
    for before in range(3):
        text = base64.b64encode(b" " * before + secret.encode())
        # The first and the last characters depend on what stands beside the secret.
        inside = text[4 if before else 0 : len(text) // 4 * 4 - 4]
        forms |= {inside, inside.translate(bytes.maketrans(b"+/", b"-_"))}
    return forms


def leaks(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    """The secrets that are in clear, each with its place."""
    return [
        f"{name} in {place}"
        for name, secret in secrets.items()
        for place, content in places.items()
        if any(form in content for form in forms(secret))
    ]


def plain_texts(state: object) -> Iterator[tuple[str, str]]:
    """All secrets of `pulumi stack export --show-secrets`: key and value."""
    if isinstance(state, dict):
        if "plaintext" in state:
            yield from secret_keys(json.loads(state["plaintext"]))
        for key, value in state.items():
            if isinstance(value, dict) and "plaintext" in value:
                yield from secret_keys({key: json.loads(value["plaintext"])})
            else:
                yield from plain_texts(value)
    elif isinstance(state, list):
        for item in state:
            yield from plain_texts(item)


def secret_keys(value: object) -> Iterator[tuple[str, str]]:
    """The texts under one of PLAIN_KEYS that are not empty: key and value. The real plugin of
    Kubernetes keeps an empty password of the chart's repository."""
    if isinstance(value, dict):
        for key, item in value.items():
            if item and isinstance(item, str) and key in PLAIN_KEYS:
                yield key, item
            yield from secret_keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from secret_keys(item)
