"""Kubernetes objects as Pulumi sees them: identity, normal form, and the shape in the state."""

import base64
import binascii
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.plugins.common import UNKNOWN, Failure, Secret, has_secret, has_unknown, plain

Object = dict[str, Any]

AUTONAMED: Final = "pulumi.com/autonamed"
SKIP_AWAIT: Final = "pulumi.com/skipAwait"
TIMEOUT_SECONDS: Final = "pulumi.com/timeoutSeconds"
PATCH_FORCE: Final = "pulumi.com/patchForce"
DELETION_PROPAGATION: Final = "pulumi.com/deletionPropagationPolicy"
HONOURED_ANNOTATIONS: Final = frozenset(
    {AUTONAMED, SKIP_AWAIT, TIMEOUT_SECONDS, PATCH_FORCE, DELETION_PROPAGATION}
)
"""Pulumi's annotations that this plugin supports."""

_BUILT_IN_GROUPS: Final = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)

_SERVER_OWNED_METADATA: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)

# The SDKs can't spell these keys of a CustomResourceDefinition's schema with dashes.
_DASHED: Final = {
    name.replace("-", "_"): name
    for name in (
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    )
}
_UNDERSCORED: Final = {dashed: underscored for underscored, dashed in _DASHED.items()}


@dataclass(frozen=True)
class Gvk:
    """The group, version and kind of an object; the core group is the empty string."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def built_in(self) -> bool:
        """True if Kubernetes itself defines the group: not a custom resource."""
        return self.group in _BUILT_IN_GROUPS

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}"

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Gvk":
        """From the fields apiVersion and kind of `item`."""
        group, _, version = str(item.get("apiVersion", "")).rpartition("/")
        return cls("" if group == "core" else group, version, str(item.get("kind", "")))

    @classmethod
    def of_type(cls, token: str) -> "Gvk":
        """From a Pulumi type such as `kubernetes:core/v1:Secret`.

        Raises Failure for a type that is not an object of the Kubernetes API.
        """
        package, _, rest = token.partition(":")
        module, _, kind = rest.rpartition(":")
        group, slash, version = module.rpartition("/")
        if package != "kubernetes" or not slash or not kind:
            raise Failure(
                f"the stand-in plugin has no resource {token}; it knows helm.sh/v3:Release and the"
                " objects of the Kubernetes API, custom resources included"
            )
        return cls("" if group == "core" else group, version, kind)


def section(item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping at `key`, empty if there is none, or if its value is no mapping."""
    value = item.get(key)
    return value if isinstance(value, Mapping) else {}


def metadata(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return section(item, "metadata")


def name_of(item: Mapping[str, Any]) -> str:
    return _text(metadata(item).get("name"))


def namespace_of(item: Mapping[str, Any]) -> str:
    return _text(metadata(item).get("namespace"))


def annotation(item: Mapping[str, Any], key: str) -> str:
    return _text(section(metadata(item), "annotations").get(key))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def is_true(item: Mapping[str, Any], key: str) -> bool:
    """True if the annotation `key` is `true`."""
    return annotation(item, key) == "true"


def set_metadata(item: Object, key: str, value: Any) -> None:
    """Set one field of the metadata; an empty value removes it. Unknown metadata stays unknown."""
    fields = item["metadata"] = item.get("metadata") or {}
    if fields is UNKNOWN:
        return
    if value == "":
        fields.pop(key, None)
    else:
        fields[key] = value


def object_id(item: Mapping[str, Any]) -> str:
    """The resource's id in Pulumi: `namespace/name`, or the name of a cluster-scoped object."""
    namespace = namespace_of(item)
    return f"{namespace}/{name_of(item)}" if namespace else name_of(item)


def parse_id(id: str) -> tuple[str, str]:
    """The namespace (or an empty string) and the name in `id`."""
    namespace, _, name = id.rpartition("/")
    return namespace, name


def as_object(properties: Mapping[str, Any]) -> Object:
    """A property map in the form of the API: secrets unwrapped, keys spelled with dashes."""
    item: Object = _rename(plain(properties), _DASHED)
    return item


def _rename(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case Mapping():
            return {names.get(key, key): _rename(item, names) for key, item in value.items()}
        case list():
            return [_rename(item, names) for item in value]
        case _:
            return value


def normalize(item: Object) -> Object:
    """A copy in the form in which the API server returns it, for comparisons.

    A Secret's stringData becomes data, and fields that the server sets are removed.
    """
    item = copy.deepcopy(item)
    gvk = Gvk.of(item)
    if gvk == Gvk("", "v1", "Secret") and not has_unknown(item):
        _normalize_secret(item)
    if gvk.group == "apiextensions.k8s.io" and gvk.kind == "CustomResourceDefinition":
        item.pop("status", None)
        spec = item.get("spec")
        if isinstance(spec, dict) and spec.get("preserveUnknownFields") is False:
            del spec["preserveUnknownFields"]
    fields = item.get("metadata")
    if isinstance(fields, dict):
        for key in _SERVER_OWNED_METADATA:
            fields.pop(key, None)
    return item


def _normalize_secret(item: Object) -> None:
    texts = item.pop("stringData", None) or {}
    data = item.get("data") or {}
    for key, value in data.items():
        try:
            # As in the server: decoding and encoding removes whitespace and line breaks.
            data[key] = base64.b64encode(base64.b64decode(value)).decode()
        except (binascii.Error, TypeError, ValueError):
            continue  # The server's own error message says what is invalid.
    data |= {key: base64.b64encode(str(text).encode()).decode() for key, text in texts.items()}
    if data:
        item["data"] = data


def prune(live: Any, shape: Any) -> Any:
    """`live` reduced to the fields that `shape` has, such as those of the inputs."""
    if isinstance(live, Mapping) and isinstance(shape, Mapping):
        return {key: prune(item, shape[key]) for key, item in live.items() if key in shape}
    if isinstance(live, list) and isinstance(shape, list):
        if live and shape and type(live[0]) is not type(shape[0]):
            return live
        return [prune(item, part) for item, part in zip(live, shape, strict=False)]
    return live


def mark_secrets(values: dict[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, in which everything that is secret in `source` is marked secret.

    A list that contains a secret becomes secret as a whole, since its order may change. The data of
    a Secret is always secret.
    """
    if values.get("kind") == "Secret":
        return {
            key: _as_secret(value) if key in ("data", "stringData") else value
            for key, value in values.items()
        }
    marked = dict(values)
    for key, origin in source.items():
        if key not in marked:
            continue
        if isinstance(marked[key], Mapping) and isinstance(origin, Mapping):
            marked[key] = mark_secrets(dict(marked[key]), origin)
        elif has_secret(origin):
            marked[key] = _as_secret(marked[key])
    return marked


def _as_secret(value: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def checkpoint(
    inputs: Object, live: Object, source: Mapping[str, Any], *, api_version: str, manager: str
) -> dict[str, Any]:
    """The resource's state: the live object, and what the next operations need to know.

    Secrets are marked in `source`. `manager` is the field manager of server-side apply.
    """
    return mark_secrets(_rename(live, _UNDERSCORED), source) | {
        "__inputs": mark_secrets(_rename(inputs, _UNDERSCORED), source),
        "__initialApiVersion": api_version,
        "__fieldManager": manager,
    }


def parse_checkpoint(state: Mapping[str, Any]) -> tuple[Object, Object]:
    """The inputs and the live object in a state that `checkpoint` made."""
    live = as_object(state)
    inputs = live.pop("__inputs", {})
    live.pop("__initialApiVersion", None)
    live.pop("__fieldManager", None)
    return inputs, live
