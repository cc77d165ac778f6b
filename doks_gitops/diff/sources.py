"""The files that the rendering of a source can read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from doks_gitops.diff.documents import load

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
MOST_TEXTS = 100_000
"""Values of one field that are looked at."""

_ARGO = b"argoproj.io/"
_REFERENCE = re.compile(r"\$(?!ARGOCD_|KUBE_)[A-Za-z0-9_-]+/")
"""A path in another source of the Application; the others begin with a variable of the build.

https://argo-cd.readthedocs.io/en/stable/user-guide/build-environment/
"""


class _Unknown(Exception):
    """It can't be told what is read."""


@dataclass(frozen=True)
class Tree:
    """The files of one commit."""

    files: Path
    changed: frozenset[PurePosixPath]
    """Paths that differ from the other commit."""
    is_mentioned: Callable[[str], bool]
    """Whether a text names the repository itself by its URL, as remote bases do."""
    _known: dict[str, frozenset[PurePosixPath] | None] = field(default_factory=dict, init=False)
    _declaring: dict[PurePosixPath, bool] = field(default_factory=dict, init=False)

    def is_affected(self, source: Mapping[str, Any]) -> bool:
        """Whether the rendering of the source can depend on a changed file. True if in doubt."""
        if not self.changed:
            return False
        folders = self._folders(source)
        if folders is None:
            return True
        return any(
            path == folder or folder in path.parents for path in self.changed for folder in folders
        )

    def may_declare(self, source: Mapping[str, Any]) -> bool:
        """Whether objects of Argo CD may be among those of the source. True if in doubt."""
        folders = self._folders(source)
        if folders is None:
            return True
        return any(map(self._may_have_argo_objects, folders))

    def chart_repositories(self, source: Mapping[str, Any]) -> frozenset[str]:
        """The repositories of the charts that the source's chart depends on, by the URLs that a
        stack file has for them: a registry's is without `oci://`."""
        try:
            folder = _inside(PurePosixPath(), str(source.get("path") or "."))
            return frozenset(
                str(dependency.get("repository") or "").removeprefix("oci://")
                for dependency in _chart_dependencies(self.files / folder)
            )
        except _Unknown:
            return frozenset()

    def _may_have_argo_objects(self, folder: PurePosixPath) -> bool:
        if folder not in self._declaring:
            path = self.files / folder
            # The charts that a chart depends on may have some.
            self._declaring[folder] = (path / "Chart.yaml").is_file() or any(
                _ARGO in file.read_bytes() for file in _files(path)
            )
        return self._declaring[folder]

    def _folders(self, source: Mapping[str, Any]) -> frozenset[PurePosixPath] | None:
        """The files and folders that the source can read; None if that can't be told."""
        key = json.dumps(source, sort_keys=True)
        if key not in self._known:
            try:
                self._known[key] = frozenset(self._read_by(source))
            except _Unknown:
                self._known[key] = None
        return self._known[key]

    def _read_by(self, source: Mapping[str, Any]) -> Iterator[PurePosixPath]:
        """The files and folders that the source can read."""
        folder = _inside(PurePosixPath(), str(source.get("path") or "."))
        if source.get("ref"):
            # Charts of other sources may read every file of it.
            yield PurePosixPath()
        if any((self.files / folder).rglob("*.jsonnet")):
            # Its imports may be anywhere in the repository.
            raise _Unknown
        if any((self.files / folder).glob(".argocd-source*.yaml")):
            # It changes the source.
            raise _Unknown
        helm = source.get("helm") or {}
        names = [*helm.get("valueFiles", ()), *(x["path"] for x in helm.get("fileParameters", ()))]
        yield from (_inside(folder, name) for name in names if not _is_remote(_literal(name)))
        seen: set[PurePosixPath] = set()
        for name in (source.get("kustomize") or {}).get("components", ()):
            yield from self._kustomization(_inside(folder, name), seen)
        if (self.files / folder / "Chart.yaml").is_file():
            yield from self._dependencies(folder, seen)
        yield from self._kustomization(folder, seen)

    def _dependencies(
        self, folder: PurePosixPath, seen: set[PurePosixPath]
    ) -> Iterator[PurePosixPath]:
        for dependency in _chart_dependencies(self.files / folder):
            repository = str(dependency.get("repository") or "")
            if repository.startswith("file://"):
                path = _inside(folder, repository.removeprefix("file://"))
                if path not in seen:
                    seen.add(path)
                    yield path
                    yield from self._dependencies(path, seen)

    def _kustomization(
        self, folder: PurePosixPath, seen: set[PurePosixPath]
    ) -> Iterator[PurePosixPath]:
        """The folder, and what its Kustomization refers to."""
        if folder in seen:
            return
        seen.add(folder)
        yield folder
        self._refuse_links(folder)
        for name in _KUSTOMIZATIONS:
            if (self.files / folder / name).is_file():
                content = _load(self.files / folder / name)
                for key in _PATHS & content.keys():
                    for text in _texts(content[key]):
                        yield from self._named(folder, text, seen)

    def _named(
        self, folder: PurePosixPath, text: str, seen: set[PurePosixPath]
    ) -> Iterator[PurePosixPath]:
        if self.is_mentioned(text):
            raise _Unknown
        # A file of a generator is written NAME=PATH.
        for name in {text, text.partition("=")[2]}:
            if not name or "\n" in name or _is_remote(name):
                continue
            try:
                path = _inside(folder, name)
            except _Unknown:
                # Kustomize refuses it, or it is no path.
                continue
            if (self.files / path).is_dir():
                yield from self._kustomization(path, seen)
            else:
                # It may exist at the other commit only.
                yield path

    def _refuse_links(self, folder: PurePosixPath) -> None:
        path = self.files / folder
        if not path.resolve().is_relative_to(self.files.resolve()):
            raise _Unknown
        entries: Iterable[Path] = path.rglob("*") if path.is_dir() else ()
        if any(entry.is_symlink() for entry in entries):
            raise _Unknown


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (entry for entry in path.rglob("*") if entry.is_file())


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


def _literal(name: str) -> str:
    """The name of a value file, if it is no pattern and has no variable.

    https://argo-cd.readthedocs.io/en/stable/user-guide/helm/#values-files
    """
    if _REFERENCE.match(name) or "://" in name:
        # In a source of its own, or outside.
        return name
    if any(character in name for character in "$*?["):
        raise _Unknown
    return name


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


def _chart_dependencies(chart: Path) -> Sequence[Mapping[str, Any]]:
    return _load(chart / "Chart.yaml").get("dependencies") or ()


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = load(path.read_text())
    except (OSError, ValueError):
        raise _Unknown from None
    if not isinstance(content, Mapping):
        raise _Unknown
    return content
