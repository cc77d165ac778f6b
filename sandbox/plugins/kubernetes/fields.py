"""Who owns which field of an object, as server-side apply records it.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.plugins.kubernetes.client import PROVIDER_MANAGER
from sandbox.plugins.kubernetes.diff import Path
from sandbox.plugins.kubernetes.objects import Object, metadata

# Before the first update, these owners' fields become the resource's own: a plain create by this
# provider, and what `kubectl apply` left. An edit by hand ("kubectl-edit") is not among them.
_TAKEN_OVER: Final = frozenset(
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
    """True if a plain create of this provider still owns fields."""
    return any(
        (item.get("manager"), item.get("operation")) == (PROVIDER_MANAGER, "Update")
        for item in entries(live)
    )


def take_over(live: Object, manager: str) -> list[dict[str, Any]]:
    """A JSON patch that hands `manager` what earlier owners of the same resource had.

    Empty if there is nothing to hand over.
    """
    kept: list[dict[str, Any]] = []
    taken: list[dict[str, Any]] = []
    for item in entries(live):
        owner = (item.get("manager"), item.get("operation"))
        old = owner in _TAKEN_OVER and not item.get("subresource")
        (taken if old else kept).append(item)
    if not taken:
        return []
    own = next(
        (
            item
            for item in kept
            if (item.get("manager"), item.get("operation")) == (manager, "Apply")
        ),
        None,
    )
    if own is None:
        own = {**taken[0], "manager": manager, "operation": "Apply"}
        kept.append(own)
    merged: dict[str, Any] = {}
    for item in [own, *taken]:
        merged = _union(merged, item.get("fieldsV1") or {})
    own["fieldsV1"] = merged
    version = metadata(live)["resourceVersion"]
    return [
        {"op": "replace", "path": "/metadata/managedFields", "value": kept},
        # Fails if someone else changed the object in between, instead of undoing that.
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _union(one.get(key) or {}, other.get(key) or {})
        for key in [*one, *(key for key in other if key not in one)]
    }


def _owns(item: Mapping[str, Any], path: Path) -> bool:
    level: Any = item.get("fieldsV1") or {}
    for step in path:
        if f"f:{step}" not in level:
            return False
        level = level[f"f:{step}"]
    return True


def leave_alone(inputs: Object, live: Object, ignored: Iterable[Path], manager: str) -> Object:
    """`inputs` with each ignored property as the cluster has it now.

    A property that only others own is left out, so that it stays theirs; otherwise its live value
    is sent again, since leaving it out would remove it.
    """
    inputs = copy.deepcopy(inputs)
    for path in ignored:
        owners = {item.get("manager") for item in entries(live) if _owns(item, path)}
        if owners and manager not in owners:
            _remove(inputs, path)
            continue
        found, value = _value(live, path)
        if found:
            _set(inputs, path, value)
    return inputs


def _value(item: Any, path: Path) -> tuple[bool, Any]:
    for step in path:
        if not isinstance(item, Mapping) or step not in item:
            return False, None
        item = item[step]
    return True, item


def _remove(item: Any, path: Path) -> None:
    found, parent = _value(item, path[:-1])
    if found and isinstance(parent, dict):
        parent.pop(path[-1], None)


def _set(item: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        item = item.setdefault(step, {})
    item[path[-1]] = copy.deepcopy(value)
