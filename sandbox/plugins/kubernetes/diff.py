"""The differences between an object in the cluster and the inputs of the program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.common import UNKNOWN
from sandbox.plugins.kubernetes.objects import Gvk

Kind = provider_pb2.PropertyDiff.Kind
_REPLACING: Final = {
    Kind.ADD: Kind.ADD_REPLACE,
    Kind.UPDATE: Kind.UPDATE_REPLACE,
    Kind.DELETE: Kind.DELETE_REPLACE,
}
_MISSING: Final = object()

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Change:
    """A change of one property; `value` is the new value (None for a deletion)."""

    path: Path
    kind: Kind.ValueType
    value: Any

    @property
    def name(self) -> str:
        """The path as Pulumi writes it: `spec.containers[0].image`."""
        name = ""
        for step in self.path:
            if isinstance(step, int):
                name += f"[{step}]"
            elif any(character in step for character in '."[]'):
                name += '["{}"]'.format(step.replace('"', '\\"'))
            else:
                name += f".{step}" if name else step
        return name


def changes(old: Any, new: Any, path: Path = ()) -> Iterator[Change]:
    """The changes from `old` to `new`, property by property; list items by position.

    As in a merge patch, None equals an absent property. An unknown differs from every value. In the
    place of a map, the merge patch of the real plugin deletes each of its keys.
    """
    if old is _MISSING or old is None:
        if new is not _MISSING and new is not None:
            yield Change(path, Kind.ADD, new)
    elif new is _MISSING or new is None:
        yield Change(path, Kind.DELETE, None)
    elif new is UNKNOWN and isinstance(old, Mapping):
        yield from (Change((*path, key), Kind.DELETE, None) for key in old)
    elif new is UNKNOWN:
        yield Change(path, Kind.UPDATE, new)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(key for key in old if key not in new)]:
            yield from changes(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else _MISSING
            after = new[index] if index < len(new) else _MISSING
            yield from changes(before, after, (*path, index))
    elif old != new:
        yield Change(path, Kind.UPDATE, new)


def parse_path(text: str) -> Path:
    """The inverse of `Change.name`. Raises ValueError for an invalid property path."""
    path: list[str | int] = []
    rest = text
    while rest:
        if rest.startswith('["'):
            end = rest.index('"]', 2)
            path.append(rest[2:end].replace('\\"', '"'))
            rest = rest[end + 2 :]
        elif rest.startswith("["):
            end = rest.index("]")
            inside = rest[1:end]
            path.append("*" if inside == "*" else int(inside))
            rest = rest[end + 1 :]
        else:
            rest = rest.removeprefix(".")
            end = min((at for at in (rest.find("."), rest.find("[")) if at >= 0), default=len(rest))
            if end == 0:
                raise ValueError(f"{text} is not a property path")
            path.append(rest[:end])
            rest = rest[end:]
    return tuple(path)


def covers(pattern: Path, path: Path) -> bool:
    """True if `path` is at or below `pattern`, in which `*` stands for any step."""
    return len(pattern) <= len(path) and all(
        expected in ("*", step) for expected, step in zip(pattern, path, strict=False)
    )


def detailed(
    differences: Sequence[Change], *, force_new: Sequence[str], ignored: Sequence[str]
) -> dict[str, provider_pb2.PropertyDiff]:
    """The changes in Pulumi's form, without those at `ignored` paths.

    Those that touch a `force_new` path are marked as replacing the resource.
    """
    patterns = [parse_path(text) for text in force_new]
    skipped = [parse_path(text) for text in ignored]
    result = {}
    for change in differences:
        if any(covers(pattern, change.path) for pattern in skipped):
            continue
        replacing = any(_touches(pattern, change.path, change.value) for pattern in patterns)
        result[change.name] = provider_pb2.PropertyDiff(
            kind=_REPLACING[change.kind] if replacing else change.kind,
            inputDiff=change.kind == Kind.DELETE,
        )
    return result


def _touches(pattern: Path, path: Path, value: Any) -> bool:
    if len(pattern) <= len(path):
        return covers(pattern, path)
    return covers(pattern[: len(path)], path) and _contains(value, pattern[len(path) :])


def _contains(value: Any, pattern: Path) -> bool:
    if not pattern:
        return True
    head, *tail = pattern
    match value:
        case list() if head == "*":
            return any(_contains(item, tuple(tail)) for item in value)
        case Mapping() if head in value:
            return _contains(value[head], tuple(tail))
        case _:
            return False


def replaces(diffs: Mapping[str, provider_pb2.PropertyDiff]) -> list[str]:
    """The paths in `diffs` that replace the resource."""
    kinds = set(_REPLACING.values())
    return [path for path, difference in diffs.items() if difference.kind in kinds]


_CONTAINER_FIELDS: Final = [
    "args",
    "command",
    "env",
    "imagePullPolicy",
    "image",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
]
_POD_FIELDS: Final = [
    "affinity",
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostname",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "volumes",
]
_VOLUME_SOURCES: Final = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
]
_FORCE_NEW: Final[dict[Gvk, list[str]]] = {
    Gvk("apps", "v1", "DaemonSet"): ["spec.selector"],
    Gvk("apps", "v1", "Deployment"): ["spec.selector"],
    Gvk("apps", "v1", "StatefulSet"): [
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ],
    Gvk("batch", "v1", "Job"): [
        "spec.completions",
        "spec.parallelism",
        "spec.selector",
        "spec.template",
    ],
    Gvk("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"): ["roleRef"],
    Gvk("rbac.authorization.k8s.io", "v1", "RoleBinding"): ["roleRef"],
    Gvk("storage.k8s.io", "v1", "StorageClass"): ["parameters", "provisioner"],
    Gvk("", "v1", "PersistentVolume"): [f"spec.{source}" for source in _VOLUME_SOURCES],
    Gvk("", "v1", "PersistentVolumeClaim"): [
        "spec.accessModes",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeName",
    ],
    Gvk("", "v1", "Pod"): [
        *(f"spec.{field}" for field in _POD_FIELDS),
        *(f"spec.containers[*].{field}" for field in _CONTAINER_FIELDS),
        *(f"spec.initContainers[*].{field}" for field in _CONTAINER_FIELDS),
    ],
    Gvk("", "v1", "ResourceQuota"): ["spec.scopes"],
    Gvk("", "v1", "Service"): ["spec.clusterIP"],
}


def force_new(
    item: Mapping[str, Any], *, mutable_secrets: bool, mutable_config_maps: bool
) -> list[str]:
    """The properties of `item` whose change replaces it.

    They include the data of a Secret or ConfigMap, unless the provider's enableSecretMutable or
    enableConfigMapMutable is set and the object itself is not immutable.
    """
    gvk = Gvk.of(item)
    paths = ["metadata.name", "metadata.namespace"]
    immutable = item.get("immutable") is True
    if gvk == Gvk("", "v1", "Secret"):
        data = [] if mutable_secrets and not immutable else ["stringData", "data"]
        return [*paths, "type", *data]
    if gvk == Gvk("", "v1", "ConfigMap"):
        return [*paths, *([] if mutable_config_maps and not immutable else ["binaryData", "data"])]
    return paths + _FORCE_NEW.get(gvk, [])
