"""The owners of an object's fields, as server-side apply records them.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.plugins.kubernetes.client import PROVIDER_MANAGER
from sandbox.plugins.kubernetes.diff import Path
from sandbox.plugins.kubernetes.objects import Object, metadata

# The first update transfers the fields of these managers to the resource's own: a create by this
# provider, and `kubectl apply`. A manual edit ("kubectl-edit") is not among them.
_EARLIER_MANAGERS: Final = frozenset(
    {
        (PROVIDER_MANAGER, "Update"),
        ("pulumi-resource-kubernetes", "Update"),
        ("kubectl", "Apply"),
        ("kubectl", "Update"),
        ("before-first-apply", "Update"),
    }
)


def entries(live: Object) -> list[dict[str, Any]]:
    return copy.deepcopy(metadata(live).get("managedFields") or [])


def created_by_provider(live: Object) -> bool:
    """True if a create of this provider still owns fields."""
    return any(_owner(entry) == (PROVIDER_MANAGER, "Update") for entry in entries(live))


def _owner(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    return entry.get("manager"), entry.get("operation")


def take_over(live: Object, manager: str) -> list[dict[str, Any]]:
    """A JSON patch that transfers the fields of earlier managers to `manager`.

    Empty if there is nothing to transfer.
    """
    kept: list[dict[str, Any]] = []
    transferred: list[dict[str, Any]] = []
    for entry in entries(live):
        earlier = _owner(entry) in _EARLIER_MANAGERS and not entry.get("subresource")
        (transferred if earlier else kept).append(entry)
    if not transferred:
        return []
    own = next((entry for entry in kept if _owner(entry) == (manager, "Apply")), None)
    if own is None:
        own = {**transferred[0], "manager": manager, "operation": "Apply"}
        kept.append(own)
    merged: dict[str, Any] = {}
    for entry in [own, *transferred]:
        merged = _union(merged, entry.get("fieldsV1") or {})
    own["fieldsV1"] = merged
    version = metadata(live)["resourceVersion"]
    return [
        {"op": "replace", "path": "/metadata/managedFields", "value": kept},
        # Refused with a conflict if the object has changed since it was read.
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]


def _union(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _union(left.get(key) or {}, right.get(key) or {})
        for key in [*left, *(key for key in right if key not in left)]
    }


def _owns(entry: Mapping[str, Any], path: Path) -> bool:
    level: Any = entry.get("fieldsV1") or {}
    for step in path:
        if f"f:{step}" not in level:
            return False
        level = level[f"f:{step}"]
    return True


def leave_alone(inputs: Object, live: Object, ignored: Iterable[Path], manager: str) -> Object:
    """`inputs` with the live value of each ignored property.

    A property that only other managers own is left out and so stays theirs. Any other one must be
    sent, since server-side apply removes what its owner leaves out.
    """
    inputs = copy.deepcopy(inputs)
    for path in ignored:
        owners = {entry.get("manager") for entry in entries(live) if _owns(entry, path)}
        if owners and manager not in owners:
            _remove(inputs, path)
            continue
        exists, value = _value(live, path)
        if exists:
            _set(inputs, path, value)
    return inputs


def _value(item: Any, path: Path) -> tuple[bool, Any]:
    for step in path:
        if not isinstance(item, Mapping) or step not in item:
            return False, None
        item = item[step]
    return True, item


def _remove(item: Any, path: Path) -> None:
    exists, parent = _value(item, path[:-1])
    if exists and isinstance(parent, dict):
        parent.pop(path[-1], None)


def _set(item: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        item = item.setdefault(step, {})
    item[path[-1]] = copy.deepcopy(value)
