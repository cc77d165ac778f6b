"""A container's environment, arguments and files, from its pod's specification.

As a kubelet does it (https://kubernetes.io/docs/tasks/inject-data-application/).
"""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from sandbox.cluster.api import Api, Object
from sandbox.cluster.roles import words_of


class NotConfigured(Exception):
    """The container refers to an object or key that does not exist; the text names it."""


_REFERENCE = re.compile(r"\$(\$|\([^)]*\))")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace each `$(NAME)` by that variable and `$$` by `$`; unknown names are kept."""

    def value(match: re.Match[str]) -> str:
        inner = match[1]
        return "$" if inner == "$" else env.get(inner[1:-1], match[0])

    return _REFERENCE.sub(value, text)


class Sources:
    """Reads ConfigMaps and Secrets of one namespace, each once."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._cache: dict[tuple[str, str], dict[str, str] | None] = {}

    async def data(self, kind: str, name: str) -> dict[str, str] | None:
        """The object's values that are text; None if it does not exist. `kind`: configmaps or
        secrets."""
        key = (kind, name)
        if key not in self._cache:
            manifest = await self._api.get(f"/api/v1/namespaces/{self._namespace}/{kind}/{name}")
            self._cache[key] = None if manifest is None else _data(kind, manifest)
        return self._cache[key]

    async def required(self, kind: str, name: str, optional: bool) -> dict[str, str]:
        """As `data`; raises NotConfigured if the object does not exist and is not optional."""
        data = await self.data(kind, name)
        if data is None and not optional:
            raise NotConfigured(f'{kind.removesuffix("s")} "{name}" not found')
        return data or {}


def _data(kind: str, manifest: Object) -> dict[str, str]:
    data = manifest.get("data") or {}
    if kind == "secrets":
        decoded = {key: base64.b64decode(value) for key, value in data.items()}
        return {key: text for key, value in decoded.items() if (text := _text(value)) is not None}
    return dict(data)


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


async def environment(pod: Object, container: Object, sources: Sources) -> dict[str, str]:
    """The environment variables of the container's specification.

    A `resourceFieldRef` is ignored, since containers have no resource limits here. Raises
    NotConfigured if a ConfigMap, Secret or key does not exist and is not optional.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for field, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if reference := source.get(field):
                data = await sources.required(
                    kind, reference["name"], reference.get("optional", False)
                )
                prefix = source.get("prefix", "")
                env |= {prefix + key: value for key, value in data.items()}
    for entry in container.get("env") or []:
        value = await _value(pod, entry, env, sources)
        if value is not None:
            env[entry["name"]] = value
    return env


async def _value(
    pod: Object, entry: Object, env: Mapping[str, str], sources: Sources
) -> str | None:
    origin = entry.get("valueFrom")
    if origin is None:
        return expand(entry.get("value") or "", env)
    if reference := origin.get("fieldRef"):
        return _field(pod, reference["fieldPath"])
    for field, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if reference := origin.get(field):
            optional = reference.get("optional", False)
            data = await sources.required(kind, reference["name"], optional)
            if reference["key"] in data:
                return data[reference["key"]]
            if not optional:
                raise NotConfigured(
                    f"couldn't find key {reference['key']} in {kind.removesuffix('s')}"
                    f" {reference['name']}"
                )
    return None


_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


def _field(pod: Object, path: str) -> str:
    if match := _SUBSCRIPT.match(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    value: object = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def arguments(container: Object, env: Mapping[str, str]) -> list[str]:
    """The container's command line without the program's name."""
    return [expand(word, env) for word in words_of(container)[1:]]


async def files_at(
    mount_path: str, pod: Object, container: Object, sources: Sources
) -> dict[str, str]:
    """The text files in the folder `mount_path` of the container, by name.

    They are from ConfigMaps and Secrets, projected or not; files in subfolders are left out. Raises
    NotConfigured if a required object does not exist.
    """
    mounted = {
        mount["name"]
        for mount in container.get("volumeMounts") or []
        if mount["mountPath"].rstrip("/") == mount_path and not mount.get("subPath")
    }
    files: dict[str, str] = {}
    for volume in pod["spec"].get("volumes") or []:
        if volume["name"] in mounted:
            for source in (volume, *(volume.get("projected", {}).get("sources") or [])):
                files |= await _files(source, sources)
    return {name: text for name, text in files.items() if Path(name).name == name != ".."}


async def _files(source: Object, sources: Sources) -> dict[str, str]:
    for field, kind in (("configMap", "configmaps"), ("secret", "secrets")):
        if reference := source.get(field):
            # The field is `secretName` in a volume and `name` in a projection.
            name = reference.get("secretName") or reference["name"]
            data = await sources.required(kind, name, reference.get("optional", False))
            if not (items := reference.get("items")):
                return data
            return {item["path"]: data[item["key"]] for item in items if item["key"] in data}
    return {}
