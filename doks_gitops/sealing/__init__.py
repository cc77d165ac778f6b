"""Secrets in Git, encrypted: sealing them, and the key pairs that the stacks own."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object."""
_ANNOTATIONS = "sealedsecrets.bitnami.com"


class Scope(StrEnum):
    """Where a SealedSecret can be unsealed: under its name, in its namespace, or anywhere in the
    cluster."""

    STRICT = "strict"
    NAMESPACE_WIDE = "namespace-wide"
    CLUSTER_WIDE = "cluster-wide"

    def label(self, namespace: str, name: str) -> bytes:
        """The label that values of this scope are encrypted with."""
        match self:
            case Scope.CLUSTER_WIDE:
                return b""
            case Scope.NAMESPACE_WIDE:
                return namespace.encode()
            case _:
                return f"{namespace}/{name}".encode()

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of an object with this scope."""
        return {} if self is Scope.STRICT else {f"{_ANNOTATIONS}/{self.value}": "true"}

    @classmethod
    def of(cls, item: Object) -> Scope:
        """The scope in the annotations of a Secret or SealedSecret."""
        annotations = (item.get("metadata") or {}).get("annotations") or {}
        for scope in (cls.CLUSTER_WIDE, cls.NAMESPACE_WIDE):
            if scope.annotations.items() <= annotations.items():
                return scope
        return cls.STRICT
