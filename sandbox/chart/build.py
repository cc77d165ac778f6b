"""Packages the manifests of an Argo CD release as a stand-in of the chart `argo-cd`.

The chart's templates and values are in `template/`; the manifests go in as they are, one file per
object, and the templates change them as the values say. What the values can't say is refused by
the chart's schema, which is made of `values.yaml`.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

NAME = "argo-cd"
_TEMPLATE = Path(__file__).parent / "template"
_IMAGE = "quay.io/argoproj/argocd"

# The value key of each component, by the label `app.kubernetes.io/name` of its objects.
_COMPONENTS = {
    "argocd-application-controller": "controller",
    "argocd-applicationset-controller": "applicationSet",
    "argocd-dex-server": "dex",
    "argocd-notifications-controller": "notifications",
    "argocd-redis": "redis",
    "argocd-redis-ha": "redis-ha",
    "argocd-redis-ha-haproxy": "redis-ha",
    "argocd-repo-server": "repoServer",
    "argocd-server": "server",
}

# Services that the chart makes where `metrics.enabled` asks for them, and what only the container
# that `_without_init` takes out had a use for.
_LEFT_OUT = {
    ("Service", "argocd-metrics"),
    ("Service", "argocd-server-metrics"),
    ("Service", "argocd-notifications-controller-metrics"),
    ("Role", "argocd-redis"),
    ("RoleBinding", "argocd-redis"),
}

# Maps among the values whose keys are the user's own although the chart has some by default.
_OPEN = {"configs.cm", "configs.params", "configs.rbac", "crds.annotations", "global.nodeSelector"}

Object = dict[str, Any]


class ChartError(Exception):
    """Manifests that are not there, or not what an Argo CD release has."""


def next_patch(version: str) -> str:
    """The chart version after `version`: the one that there is to upgrade to."""
    minor, _, patch = version.rpartition(".")
    return f"{minor}.{int(patch) + 1}"


def build_chart(manifests: Path, version: str, out: Path) -> Path:
    """Package `manifests` (that folder of an Argo CD release) as `<out>/argo-cd-<version>.tgz`.

    `version` is the chart version that a stack pins; the app version is that of the manifests. The
    same input gives the same bytes. Raises ChartError if the manifests can't be used.
    """
    plain = _load(manifests / "install.yaml")
    # Beside the CRDs and cluster roles, which it shares with the other one.
    available = _load(manifests / "ha" / "namespace-install.yaml")
    redis = [o for o in available if _component(o) == "redis-ha"]
    if not redis:
        raise ChartError(f"{manifests} has no highly available Redis in ha/namespace-install.yaml")
    files = dict(_files([*plain, *redis]))
    for path in sorted(_TEMPLATE.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(_TEMPLATE))] = path.read_bytes()
    values = yaml.safe_load(files["values.yaml"])
    files["values.schema.json"] = _json(_schema(values))
    files["Chart.yaml"] = _json(_chart(version, _app_version(plain, manifests)))
    package = out / f"{NAME}-{version}.tgz"
    out.mkdir(parents=True, exist_ok=True)
    unfinished = package.with_suffix(".unfinished")
    unfinished.write_bytes(_archive({f"{NAME}/{name}": data for name, data in files.items()}))
    return unfinished.replace(package)


def _chart(version: str, app_version: str) -> Object:
    return {
        "apiVersion": "v2",
        "name": NAME,
        "version": version,
        "appVersion": app_version,
        "kubeVersion": ">=1.25.0-0",
        "description": (
            f"Stand-in of the argo-cd chart {version}, made from the manifests of Argo CD"
            f" {app_version}; it understands some of that chart's values and refuses the others"
        ),
        "home": "https://argo-cd.readthedocs.io/",
        "sources": ["https://github.com/argoproj/argo-cd"],
    }


def _app_version(objects: list[Object], manifests: Path) -> str:
    """The version that the manifests' own image has."""
    versions: set[str] = {
        container["image"].removeprefix(f"{_IMAGE}:")
        for o in objects
        if o["kind"] in ("Deployment", "StatefulSet")
        for container in o["spec"]["template"]["spec"]["containers"]
        if container["image"].startswith(f"{_IMAGE}:")
    }
    if len(versions) != 1:
        raise ChartError(f"{manifests} names no one version of {_IMAGE}: {sorted(versions)}")
    return versions.pop()


def _load(path: Path) -> list[Object]:
    try:
        with path.open("rb") as file:
            return [o for o in yaml.load_all(file, Loader=yaml.CSafeLoader) if o]
    except (OSError, yaml.YAMLError) as error:
        raise ChartError(f"can't read the manifests of an Argo CD release: {error}") from error


def _files(objects: list[Object]) -> Iterator[tuple[str, bytes]]:
    """The files of the chart that hold the objects."""
    for o in objects:
        kind, name, component = o["kind"], o["metadata"]["name"], _component(o)
        if kind == "CustomResourceDefinition":
            yield f"manifests/definitions/{name}.json", _json(o["spec"])
        elif (kind, name) in _LEFT_OUT:
            continue
        elif component is None:
            yield f"manifests/configs/{name}.json", _json(o)
        else:
            yield f"manifests/components/{component}/{kind}.{name}.json", _json(_without_init(o))


def _component(o: Object) -> str | None:
    return _COMPONENTS.get(o["metadata"].get("labels", {}).get("app.kubernetes.io/name"))


def _without_init(o: Object) -> Object:
    """Without the container that makes the password of Redis: the chart has a Job for that."""
    pod = o["spec"]["template"]["spec"] if o["kind"] == "Deployment" else {}
    kept = [c for c in pod.pop("initContainers", []) if c["name"] != "secret-init"]
    if kept:
        pod["initContainers"] = kept
    return o


def _schema(value: object, path: str = "") -> Object:
    """JSON schema of all values that differ from `value`, the defaults, only where they may."""
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case str():
            return {"type": ["string", "integer"]}
        case list():
            return {"type": "array"}
        case dict():
            schema: Object = {
                "type": "object",
                "properties": {
                    key: _schema(below, f"{path}.{key}".lstrip(".")) for key, below in value.items()
                },
            }
            if path in _OPEN:
                scalar = {"type": ["string", "boolean", "number"]}
                return {**schema, "additionalProperties": scalar}
            return {**schema, "additionalProperties": not value}
        case _:
            raise TypeError(f"no schema for the default of {path}: {value!r}")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _archive(files: dict[str, bytes]) -> bytes:
    """A .tgz that depends on nothing but the files' names and content."""
    archive = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=archive, mode="wb", filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()
