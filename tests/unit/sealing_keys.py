"""Key pairs of Sealed Secrets for tests."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from doks_gitops.sealing import keys
from doks_gitops.sealing.keys import KeyPair


@cache
def pair(name: str, *, year: int = 2026, bits: int = 2048) -> KeyPair:
    """The same pair for the same arguments; `year`: from when on it is valid."""
    return keys.generate(name, datetime(year, 1, 1, tzinfo=UTC), bits=bits)


def section(*pairs: KeyPair) -> dict[str, Any]:
    """The section `sealedSecrets` with these key pairs, decrypted."""
    return {
        "chart": {"version": "1.2.3"},
        "keys": [
            {"certificate": pair.certificate, "privateKey": pair.private_key} for pair in pairs
        ],
    }
