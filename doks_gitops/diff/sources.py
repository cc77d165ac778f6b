"""The files that the rendering of a source can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_PATHS = frozenset(
    {
        "resources", "bases", "components", "crds", "configurations", "generators", "transformers",
        "validators", "patchesStrategicMerge", "patchesJson6902", "patches", "replacements",
        "configMapGenerator", "secretGenerator", "helmCharts", "helmChartInflationGenerator",
        "helmGlobals", "openapi",
    }
)  # fmt: skip
"""The fields of a Kustomization whose texts can name files and folders.

https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""
LARGEST_KUSTOMIZATION = 1 << 20
"""Bytes of a Kustomization that is looked into."""
MOST_TEXTS = 100_000
"""Values of one field that are looked at."""


_ARGO = b"argoproj.io/"


class _Unknown(Exception):
    """It can't be told what is read."""


def is_affected(source: Mapping[str, Any], files: Path, changed: frozenset[PurePosixPath]) -> bool:
    """Whether the rendering of the source can depend on one of the changed files.

    `files`: the files of the commit. True if in doubt.
    """
    if not changed:
        return False
    try:
        folders = set(_folders(source, files))
    except _Unknown:
        return True
    return any(path == folder or folder in path.parents for path in changed for folder in folders)


def may_declare(source: Mapping[str, Any], files: Path) -> bool:
    """Whether objects of Argo CD may be among those of the source. True if in doubt."""
    try:
        folders = set(_folders(source, files))
    except _Unknown:
        return True
    return any(_ARGO in path.read_bytes() for folder in folders for path in _files(files / folder))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (entry for entry in path.rglob("*") if entry.is_file())


def _folders(source: Mapping[str, Any], files: Path) -> Iterator[PurePosixPath]:
    folder = _inside(PurePosixPath(), str(source.get("path") or "."))
    yield folder
    helm = source.get("helm") or {}
    names = [*helm.get("valueFiles", ()), *(x["path"] for x in helm.get("fileParameters", ()))]
    yield from (_inside(folder, name) for name in names if not _is_remote(name))
    for name in (source.get("kustomize") or {}).get("components", ()):
        yield from _kustomization(_inside(folder, name), files, set())
    if (files / folder / "Chart.yaml").is_file():
        yield from _chart(folder, files)
    yield from _kustomization(folder, files, set())


def _chart(folder: PurePosixPath, files: Path) -> Iterator[PurePosixPath]:
    for dependency in _load(files / folder / "Chart.yaml").get("dependencies") or ():
        repository = str(dependency.get("repository") or "")
        if repository.startswith("file://"):
            path = _inside(folder, repository.removeprefix("file://"))
            yield path
            yield from _chart(path, files)


def _kustomization(
    folder: PurePosixPath, files: Path, seen: set[PurePosixPath]
) -> Iterator[PurePosixPath]:
    """The folder, and what its Kustomization refers to."""
    if folder in seen:
        return
    seen.add(folder)
    yield folder
    _refuse_links(files / folder, files)
    for name in _KUSTOMIZATIONS:
        if (files / folder / name).is_file():
            content = _load(files / folder / name)
            for key in _PATHS & content.keys():
                for text in _texts(content[key]):
                    yield from _named(folder, text, files, seen)


def _named(
    folder: PurePosixPath, text: str, files: Path, seen: set[PurePosixPath]
) -> Iterator[PurePosixPath]:
    # A file of a generator is written NAME=PATH.
    for name in {text, text.partition("=")[2]}:
        if not name or "\n" in name or _is_remote(name):
            continue
        try:
            path = _inside(folder, name)
        except _Unknown:
            # Kustomize refuses it, or it is no path.
            continue
        if (files / path).is_dir():
            yield from _kustomization(path, files, seen)
        else:
            # It may exist at the other commit only.
            yield path


def _texts(value: object) -> Iterator[str]:
    values = [value]
    for _ in range(MOST_TEXTS):
        if not values:
            return
        item = values.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            values += item.values()
        elif isinstance(item, list):
            values += item
    # More than anyone writes: aliases of YAML that contain each other.
    raise _Unknown


def _is_remote(name: str) -> bool:
    return "://" in name or name.startswith("$")


def _inside(folder: PurePosixPath, name: str) -> PurePosixPath:
    """The normal form of a path relative to `folder`; one from `/` is relative to the top."""
    parts: list[str] = []
    path = PurePosixPath(name.lstrip("/")) if name.startswith("/") else folder / name
    for part in path.parts:
        if part == "..":
            if not parts:
                raise _Unknown
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def _refuse_links(folder: Path, files: Path) -> None:
    if not folder.resolve().is_relative_to(files.resolve()):
        raise _Unknown
    entries: Iterable[Path] = folder.rglob("*") if folder.is_dir() else ()
    if any(entry.is_symlink() for entry in entries):
        raise _Unknown


def _load(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > LARGEST_KUSTOMIZATION:
            raise _Unknown
        content = yaml.load(path.read_text(), Loader=_LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        raise _Unknown from None
    if not isinstance(content, Mapping):
        raise _Unknown
    return content
