"""Packages the manifests of an Argo CD release as a stand-in for the chart `argo-cd`.

The chart contains the manifests unchanged, one file per object, and the templates of `template/`,
which apply the values to them. The chart's schema, derived from `values.yaml`, refuses unsupported
values.
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

# Services that a template makes if `metrics.enabled` is true, and objects that only the container
# needs that `_without_init` removes.
_OMITTED = {
    ("Service", "argocd-metrics"),
    ("Service", "argocd-server-metrics"),
    ("Service", "argocd-notifications-controller-metrics"),
    ("Role", "argocd-redis"),
    ("RoleBinding", "argocd-redis"),
}

# Maps in the values that have default keys but accept others, too.
_OPEN = {"configs.cm", "configs.params", "configs.rbac", "crds.annotations", "global.nodeSelector"}

Object = dict[str, Any]


class ChartError(Exception):
    """The manifests are missing, or are not those of an Argo CD release."""


def next_patch(version: str) -> str:
    """The patch version after `version`, to which a stack can be upgraded."""
    minor, _, patch = version.rpartition(".")
    return f"{minor}.{int(patch) + 1}"


def build_chart(manifests: Path, version: str, out: Path) -> Path:
    """Package `manifests` (the folder of an Argo CD release) as `<out>/argo-cd-<version>.tgz`.

    `version` is the chart version; the app version is that of the manifests. Equal inputs give
    equal bytes. Raises ChartError if the manifests can't be used.
    """
    objects = _load(manifests / "install.yaml")
    # Unlike ha/install.yaml, without the CRDs and cluster roles that install.yaml already has.
    available = _load(manifests / "ha" / "namespace-install.yaml")
    redis = [o for o in available if _component(o) == "redis-ha"]
    if not redis:
        raise ChartError(f"{manifests} has no highly available Redis in ha/namespace-install.yaml")
    files = dict(_files([*objects, *redis]))
    for path in sorted(_TEMPLATE.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(_TEMPLATE))] = path.read_bytes()
    values = yaml.safe_load(files["values.yaml"])
    files["values.schema.json"] = _json(_schema(values))
    files["Chart.yaml"] = _json(_chart(version, _app_version(objects, manifests)))
    package = out / f"{NAME}-{version}.tgz"
    _write(package, {f"{NAME}/{name}": data for name, data in files.items()})
    return package


def package_chart(folder: Path, out: Path) -> Path:
    """Package the chart in `folder` as `<out>/<name>-<version>.tgz`, unless that exists."""
    chart = yaml.safe_load((folder / "Chart.yaml").read_text())
    package = out / f"{chart['name']}-{chart['version']}.tgz"
    if not package.exists():
        files = {
            f"{chart['name']}/{path.relative_to(folder)}": path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        _write(package, files)
    return package


def _write(package: Path, files: dict[str, bytes]) -> None:
    package.parent.mkdir(parents=True, exist_ok=True)
    unfinished = package.with_suffix(".unfinished")
    unfinished.write_bytes(_archive(files))
    unfinished.replace(package)


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
    """The version of Argo CD's image in the manifests."""
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
    """The files of the chart with the objects."""
    for o in objects:
        kind, name, component = o["kind"], o["metadata"]["name"], _component(o)
        if kind == "CustomResourceDefinition":
            yield f"manifests/definitions/{name}.json", _json(o["spec"])
        elif (kind, name) in _OMITTED:
            continue
        elif component is None:
            yield f"manifests/configs/{name}.json", _json(o)
        else:
            yield f"manifests/components/{component}/{kind}.{name}.json", _json(_without_init(o))


def _component(o: Object) -> str | None:
    return _COMPONENTS.get(o["metadata"].get("labels", {}).get("app.kubernetes.io/name"))


def _without_init(o: Object) -> Object:
    """Without the init container that creates Redis's password: the chart has a Job for that."""
    pod = o["spec"]["template"]["spec"] if o["kind"] == "Deployment" else {}
    kept = [c for c in pod.pop("initContainers", []) if c["name"] != "secret-init"]
    if kept:
        pod["initContainers"] = kept
    return o


def _schema(value: object, path: str = "") -> Object:
    """The JSON schema of values with the default `value`."""
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
    """A .tgz that depends only on the files' names and content."""
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
