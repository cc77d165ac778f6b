"""Compares the objects of two renderings."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import yaml

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Object = Mapping[str, Any]

HASH = re.compile(r"-(?=[a-z0-9]*[0-9])[bcdfghkmt2456789]{10}$")
"""The suffix that Kustomize gives the names of generated ConfigMaps and Secrets: ten characters of
an alphabet of its own.

https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/configmapgenerator/
"""
_GENERATED = ("ConfigMap", "Secret")
_NOISE = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "argocd.argoproj.io/tracking-id",
)
"""Annotations that repeat what the object has elsewhere."""
CLUSTER_SCOPED = frozenset(
    {
        "Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding",
        "CustomResourceDefinition", "StorageClass", "VolumeSnapshotClass", "IngressClass",
        "PriorityClass", "RuntimeClass", "APIService", "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding", "CSIDriver", "CSINode", "VolumeAttachment",
        "CertificateSigningRequest", "FlowSchema", "PriorityLevelConfiguration", "GatewayClass",
        "ClusterIssuer", "DeviceClass", "VolumeAttributesClass", "ServiceCIDR", "IPAddress",
    }
)  # fmt: skip
"""Kinds of Kubernetes, and well-known ones of others, whose objects have no namespace."""
SIMILAR = 0.8
"""Share of equal lines from which on a deleted and a new object are one that was renamed or
moved."""
HIDDEN = "[secret]"
HIDDEN_CHANGED = "[secret, changed]"
CONTEXT = 3
"""Unchanged lines around a change."""


class Key(NamedTuple):
    """What an object is known by in a cluster."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"


@dataclass(frozen=True)
class Change:
    """What happens to one object. `old` and `new` may be read, not shown: see `diff`."""

    key: Key
    operation: str
    """`create`, `update`, `delete` or `rename`."""
    old: Object | None = None
    new: Object | None = None
    renamed_from: Key | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    """New names of generated objects, and their old ones."""

    @property
    def diff(self) -> list[str]:
        """The lines that differ, with some around them, in the form of `diff -u`. Values of
        Secrets and the hashes of generated names are not in them."""
        old, new = _shown(self.old), _shown(self.new, self.old)
        if self.old is not None and self.new is not None:
            new = _folded(new, self.hashes)
        lines = difflib.unified_diff(_lines(old), _lines(new), n=CONTEXT, lineterm="")
        # The first two lines name the files.
        return list(lines)[2:]


def key_of(item: Object, namespace: str = "") -> Key:
    """The key of an object. `namespace`: of objects that name none."""
    metadata = item.get("metadata") or {}
    if item.get("kind") in CLUSTER_SCOPED:
        namespace = ""
    group = str(item.get("apiVersion", "")).rpartition("/")[0]
    name = metadata.get("name") or metadata.get("generateName") or ""
    own = metadata.get("namespace") or namespace
    return Key(group, str(item.get("kind")), str(own), str(name))


def compare(
    old: Sequence[Object], new: Sequence[Object], old_namespace: str, namespace: str
) -> Iterator[Change]:
    """What differs, in the order of the new objects and then of the deleted ones.

    `old_namespace`, `namespace`: of objects that name none.
    """
    old_by_key = {key_of(item, old_namespace): item for item in old}
    new_by_key = {key_of(item, namespace): item for item in new}
    deleted = {key: item for key, item in old_by_key.items() if key not in new_by_key}
    created = {key: item for key, item in new_by_key.items() if key not in old_by_key}
    renamed = dict(_renamed(deleted, created))
    moved_away = set(renamed.values())
    hashes = {key.name: old.name for key, old in renamed.items() if _is_generated(old, key)}
    for key, item in new_by_key.items():
        if key in renamed:
            origin = renamed[key]
            change = Change(key, "rename", old_by_key[origin], item, origin, hashes)
            if _is_generated(origin, key):
                # A new name of the same object, as each change of a generated one makes.
                change = replace(change, operation="update")
            yield change
        elif key in created:
            yield Change(key, "create", None, item)
        elif _plain(old_by_key[key]) != _plain(item):
            change = Change(key, "update", old_by_key[key], item, hashes=hashes)
            if change.diff:
                yield change
    for key, item in deleted.items():
        if key not in moved_away:
            yield Change(key, "delete", item)


def _renamed(
    deleted: Mapping[Key, Object], created: Mapping[Key, Object]
) -> Iterator[tuple[Key, Key]]:
    """The new key and the old key of each object that was renamed or moved."""
    left = dict(deleted)
    bodies = {key: _body(item) for key, item in left.items()} if created else {}
    for key, item in created.items():
        same_kind = [other for other in left if (other.group, other.kind) == (key.group, key.kind)]
        match = next((other for other in same_kind if _is_generated(other, key)), None)
        if match is None and same_kind:
            match = _most_similar(_body(item), {other: bodies[other] for other in same_kind})
        if match is not None:
            del left[match]
            yield key, match


def _most_similar(lines: Sequence[str], others: Mapping[Key, Sequence[str]]) -> Key | None:
    """The other one with the most lines in common; None if none has enough."""
    best, highest = None, SIMILAR
    # It keeps what it knows of the second sequence.
    matcher = difflib.SequenceMatcher(None, (), lines, autojunk=False)
    for key, other_lines in others.items():
        # Objects of a few lines are alike by chance.
        if min(len(lines), len(other_lines)) <= 2:
            continue
        matcher.set_seq1(other_lines)
        # The first two are upper limits of the third, and take a fraction of its time.
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) < highest:
            continue
        ratio = matcher.ratio()
        if ratio > highest or (best is None and ratio == highest):
            best, highest = key, ratio
        if ratio == 1:
            break
    return best


def _is_generated(old: Key, new: Key) -> bool:
    """Whether the names are those of one generated object, before and after a change."""
    return (
        new.kind in _GENERATED
        and old.namespace == new.namespace
        and HASH.search(old.name) is not None
        and HASH.search(new.name) is not None
        and HASH.sub("", old.name) == HASH.sub("", new.name)
    )


def _body(item: Object) -> list[str]:
    return _lines({key: value for key, value in item.items() if key != "metadata"})


def _plain(item: Object) -> dict[str, Any]:
    """The object without the annotations that repeat other fields."""
    metadata = dict(item.get("metadata") or {})
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key not in _NOISE
    }
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    return {**item, "metadata": metadata}


def _shown(item: Object | None, before: Object | None = None) -> dict[str, Any] | None:
    """The object as it may be shown: without the values of a Secret, but whether they differ from
    those of `before`."""
    if item is None:
        return None
    shown = _plain(item)
    if shown.get("kind") != "Secret":
        return shown
    for name in ("data", "stringData"):
        values, others = shown.get(name), (before or {}).get(name)
        if isinstance(values, Mapping):
            known = others if isinstance(others, Mapping) else {}
            shown[name] = {
                key: HIDDEN_CHANGED if key in known and known[key] != value else HIDDEN
                for key, value in values.items()
            }
    return shown


def _folded(new: dict[str, Any] | None, hashes: Mapping[str, str]) -> dict[str, Any] | None:
    """`new` with the old name of each generated object that only changed its hash."""

    def fold(value: Any) -> Any:
        if isinstance(value, str):
            return hashes.get(value, value)
        if isinstance(value, Mapping):
            return {key: fold(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fold(item) for item in value]
        return value

    folded = fold(new) if hashes else new
    return folded if isinstance(folded, dict) else None


def _lines(item: object) -> list[str]:
    if item is None:
        return []
    text: str = yaml.dump(
        json.loads(json.dumps(item)), Dumper=_DUMPER, sort_keys=True, width=1000, allow_unicode=True
    )
    return text.splitlines()
