"""What a container gets from its pod's specification: environment, arguments, and volumes.

As the kubelet does it (https://kubernetes.io/docs/tasks/inject-data-application/).
"""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.cluster.api import Api, Object
from sandbox.cluster.roles import words_of
from sandbox.paths import write_private


class NotConfigured(Exception):
    """Something that the container refers to is not there (yet); says what."""


_REFERENCE = re.compile(r"\$(\$|\([^)]*\))")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace each `$(NAME)` by that variable; `$$` is one `$`, and an unknown name is kept."""

    def value(match: re.Match[str]) -> str:
        inner = match[1]
        return "$" if inner == "$" else env.get(inner[1:-1], match[0])

    return _REFERENCE.sub(value, text)


class Sources:
    """ConfigMaps and Secrets of one namespace, each read once."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._read: dict[tuple[str, str], dict[str, bytes] | None] = {}

    async def data(self, kind: str, name: str) -> dict[str, bytes] | None:
        """Contents of that object (`kind` is configmaps or secrets); None if there is none."""
        key = (kind, name)
        if key not in self._read:
            found = await self._api.get(f"/api/v1/namespaces/{self._namespace}/{kind}/{name}")
            self._read[key] = None if found is None else _contents(kind, found)
        return self._read[key]

    async def required(self, kind: str, name: str, optional: bool) -> dict[str, bytes]:
        """Its contents. Raises NotConfigured if there is no such object, unless it's optional."""
        data = await self.data(kind, name)
        if data is None and not optional:
            raise NotConfigured(f'{kind.removesuffix("s")} "{name}" not found')
        return data or {}


def _contents(kind: str, found: Object) -> dict[str, bytes]:
    data = found.get("data") or {}
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in data.items()}
    binary = found.get("binaryData") or {}
    return {key: value.encode() for key, value in data.items()} | {
        key: base64.b64decode(value) for key, value in binary.items()
    }


async def environment(pod: Object, container: Object, sources: Sources) -> dict[str, str]:
    """The container's own environment variables.

    A `resourceFieldRef` is left out: the sandbox gives no container a share of a machine. Raises
    NotConfigured if a ConfigMap, a Secret or a key is missing that is not optional.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for field, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if reference := source.get(field):
                data = await sources.required(
                    kind, reference["name"], reference.get("optional", False)
                )
                prefix = source.get("prefix", "")
                env |= {prefix + key: value.decode() for key, value in data.items()}
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
                return data[reference["key"]].decode()
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
    """The words after the program's name."""
    return [expand(word, env) for word in words_of(container)[1:]]


class Volumes:
    """The volumes of one pod as folders in `folder`.

    ConfigMaps, Secrets and projections of them are written there; every other kind of volume is an
    empty folder.
    """

    def __init__(self, folder: Path, pod: Object) -> None:
        self._folder = folder
        self._volumes: Sequence[Object] = pod["spec"].get("volumes") or []

    async def write(self, sources: Sources) -> None:
        """Write all contents, as they are now. Raises NotConfigured if one is missing."""
        for volume in self._volumes:
            folder = self.path(volume["name"])
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for source in (volume, *(volume.get("projected", {}).get("sources") or [])):
                for name, content in (await _files(source, sources)).items():
                    file = folder / name
                    if not (file.exists() and file.read_bytes() == content):
                        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                        write_private(file, content)

    def path(self, name: str) -> Path:
        """The folder of the volume of that name."""
        return self._folder / name

    def mounted(self, container: Object) -> dict[str, Path]:
        """The container's mount paths, and what is there."""
        return {
            mount["mountPath"]: self.path(mount["name"]) / mount.get("subPath", "")
            for mount in container.get("volumeMounts") or []
        }


async def _files(source: Object, sources: Sources) -> dict[str, bytes]:
    for field, kind in (("configMap", "configmaps"), ("secret", "secrets")):
        if reference := source.get(field):
            # A volume says secretName where a projection says name.
            name = reference.get("secretName") or reference["name"]
            data = await sources.required(kind, name, reference.get("optional", False))
            if not (items := reference.get("items")):
                return data
            return {item["path"]: data[item["key"]] for item in items if item["key"] in data}
    return {}


def relocate(text: str, mounted: Mapping[str, Path]) -> str:
    """`text` with a path inside a mounted volume (all of it, or after `=`) as it is here."""
    head, separator, tail = text.rpartition("=")
    for mount_path, here in sorted(mounted.items(), key=lambda item: -len(item[0])):
        if tail == mount_path or tail.startswith(f"{mount_path.rstrip('/')}/"):
            return f"{head}{separator}{here}{tail[len(mount_path.rstrip('/')) :]}"
    return text
