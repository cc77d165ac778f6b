"""The Applications of an ApplicationSet, as far as that needs no cluster and no network.

https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from components.project import IN_CLUSTER
from doks_gitops.diff import gotemplate
from doks_gitops.diff.documents import load
from doks_gitops.diff.environment import Declared
from doks_gitops.diff.repo_server import RenderError
from doks_gitops.git import GitError

Params = dict[str, Any]

_PLACEHOLDER = re.compile(r"{{\s*([^{}]*?)\s*}}")
_NOT_NORMAL = re.compile(r"[^a-z0-9.-]+")
LONGEST_NAME = 253


class NotEvaluated(Exception):
    """A generator needs what is not at hand."""


class Broken(Exception):
    """Argo CD can't generate anything from it."""


@dataclass(frozen=True)
class Context:
    """What generators can ask for."""

    files: Path
    """The files of the commit."""
    is_clone: Callable[[str], bool]
    """Whether a URL is that of the clone."""
    commit: Callable[[str], str]
    """The commit that a revision means. Raises `GitError`."""
    side_commit: str
    """The commit of `files`."""
    cluster_labels: Mapping[str, str]
    """Labels of the one cluster in Argo CD."""


@dataclass(frozen=True)
class Generated:
    """The Applications of one ApplicationSet, and what could not be evaluated."""

    name: str
    """As it is called as a parent: `ApplicationSet` and its name."""
    parent: str
    """The Application that has it among its objects."""
    applications: tuple[Declared, ...] = ()
    notes: tuple[str, ...] = ()
    """Generators that are not evaluated here."""
    error: str | None = None
    """What is broken. Argo CD then leaves all Applications of the set as they are."""


def generate(item: Mapping[str, Any], parent: str, context: Context) -> Generated:
    """The Applications of an ApplicationSet, which is among the objects of `parent`."""
    name, spec = f"ApplicationSet {item['metadata']['name']}", item.get("spec") or {}
    uses_go = bool(spec.get("goTemplate"))
    evaluation = _Evaluation(context, uses_go)
    applications: list[Declared] = []
    notes = []
    for generator in spec.get("generators") or ():
        try:
            params = list(evaluation.params(generator))
            rendered = evaluation.template(spec, generator, params)
        except (NotEvaluated, gotemplate.UnknownFunction) as reason:
            notes.append(f"{name}: {reason}")
            continue
        except (Broken, RenderError, GitError) as error:
            return Generated(name, parent, error=str(error))
        for application in rendered:
            metadata = application.get("metadata") or {}
            applications.append(
                Declared(str(metadata.get("name")), application.get("spec") or {}, name)
            )
    return Generated(name, parent, tuple(applications), tuple(notes))


@dataclass(frozen=True)
class _Evaluation:
    context: Context
    uses_go: bool

    def params(self, generator: Mapping[str, Any]) -> Iterator[Params]:
        """The parameters that a generator makes, those that its `selector` keeps."""
        kinds = {key: value for key, value in generator.items() if key in _GENERATORS}
        if len(kinds) != 1:
            names = ", ".join(sorted(generator.keys() - {"selector", "template"})) or "nothing"
            raise NotEvaluated(f"the generator {names} is not evaluated")
        [(kind, content)] = kinds.items()
        for params in _GENERATORS[kind](self, content or {}):
            if _selects(generator.get("selector"), _flat(params)):
                yield params

    def template(
        self, spec: Mapping[str, Any], generator: Mapping[str, Any], params: Sequence[Params]
    ) -> list[dict[str, Any]]:
        """The Applications of one generator."""
        template = _merged(spec.get("template") or {}, _own_template(generator))
        patch = spec.get("templatePatch")
        results = self._rendered([template, patch] if patch else [template], params)
        applications = []
        for parts in results:
            application = parts[0]
            if patch:
                application = _merged(application, _patch(parts[1]))
            applications.append(application)
        return applications

    def list_(self, content: Mapping[str, Any]) -> Iterator[Params]:
        if content.get("elementsYaml"):
            raise NotEvaluated("elementsYaml of the generator list is not evaluated")
        for element in content.get("elements") or ():
            yield dict(element) if self.uses_go else _flat(element)

    def clusters(self, content: Mapping[str, Any]) -> Iterator[Params]:
        labels = {"argocd.argoproj.io/secret-type": "cluster", **self.context.cluster_labels}
        if not _selects(content.get("selector"), labels):
            return
        params: Params = {
            "name": "in-cluster",
            "nameNormalized": "in-cluster",
            "server": IN_CLUSTER,
            "project": "",
            "metadata": {"labels": labels, "annotations": {}},
        }
        if not self.uses_go:
            params = _flat(params)
        yield self._with_values(params, content)

    def git(self, content: Mapping[str, Any]) -> Iterator[Params]:
        url, revision = str(content.get("repoURL")), str(content.get("revision") or "")
        if not self.context.is_clone(url):
            raise NotEvaluated(f"the generator git reads another repository, {url}")
        if self.context.commit(revision) != self.context.side_commit:
            raise NotEvaluated(f"the generator git reads the revision {revision}")
        if content.get("directories"):
            matches = self._directories(content["directories"])
        else:
            matches = self._files(content.get("files") or ())
        for path, filename, parameters in matches:
            yield self._with_values({**parameters, **self._path(path, filename, content)}, content)

    def matrix(self, content: Mapping[str, Any]) -> Iterator[Params]:
        first, second = self._two(content)
        for outer in self.params(first):
            # The second generator may use the parameters of the first.
            [[inner_generator]] = self._rendered([second], [outer])
            for inner in self.params(inner_generator):
                yield _merged(outer, inner)

    def merge(self, content: Mapping[str, Any]) -> Iterator[Params]:
        generators = list(content.get("generators") or ())
        keys = list(content.get("mergeKeys") or ())
        if not generators or not keys:
            raise Broken("the generator merge needs generators and mergeKeys")
        merged: dict[tuple[str, ...], Params] = {}
        for params in self.params(generators[0]):
            merged[self._values(params, keys)] = params
        for generator in generators[1:]:
            for params in self.params(generator):
                identity = self._values(params, keys)
                if identity in merged:
                    merged[identity] = _merged(merged[identity], params)
        yield from merged.values()

    def _two(self, content: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        generators = list(content.get("generators") or ())
        if len(generators) != 2:
            raise Broken("the generator matrix needs two generators")
        return generators[0], generators[1]

    def _values(self, params: Params, keys: Sequence[str]) -> tuple[str, ...]:
        flat = _flat(params)
        return tuple(str(flat.get(key)) for key in keys)

    def _directories(
        self, patterns: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[PurePosixPath, str, Params]]:
        for folder in sorted(self.context.files.rglob("*")):
            path = PurePosixPath(folder.relative_to(self.context.files).as_posix())
            if not folder.is_dir() or any(part.startswith(".") for part in path.parts):
                continue
            matches = [pattern for pattern in patterns if _matches(path, str(pattern.get("path")))]
            if matches and not any(pattern.get("exclude") for pattern in matches):
                yield path, "", {}

    def _files(
        self, patterns: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[PurePosixPath, str, Params]]:
        for file in sorted(self.context.files.rglob("*")):
            path = PurePosixPath(file.relative_to(self.context.files).as_posix())
            if not file.is_file() or ".git" in path.parts:
                continue
            # As a pathspec of Git, where `*` matches `/` too.
            texts = [(pattern, str(pattern.get("path"))) for pattern in patterns]
            matches = [pattern for pattern, text in texts if fnmatch.fnmatchcase(str(path), text)]
            if not matches or any(pattern.get("exclude") for pattern in matches):
                continue
            if not file.resolve().is_relative_to(self.context.files.resolve()):
                raise Broken(f"{path} is a link that leaves the repository")
            try:
                content = load(file.read_text())
            except ValueError as error:
                # Argo CD generates nothing at all then.
                raise Broken(f"{path} is broken: {' '.join(str(error).split())}") from None
            for element in content if isinstance(content, list) else [content or {}]:
                if not isinstance(element, Mapping):
                    raise Broken(f"{path} has no objects")
                yield path.parent, path.name, dict(element) if self.uses_go else _flat(element)

    def _path(self, path: PurePosixPath, filename: str, content: Mapping[str, Any]) -> Params:
        prefix = content.get("pathParamPrefix")
        values: Params = {
            "path": str(path),
            "basename": path.name,
            "basenameNormalized": _normalized(path.name),
            "segments": list(path.parts),
        }
        if filename:
            values |= {"filename": filename, "filenameNormalized": _normalized(filename)}
        if self.uses_go:
            return {str(prefix): {"path": values}} if prefix else {"path": values}
        name = f"{prefix}.path" if prefix else "path"
        segments = values.pop("segments")
        flat: Params = {name: values.pop("path")}
        flat |= {f"{name}.{key}": value for key, value in values.items()}
        return flat | {f"{name}[{index}]": part for index, part in enumerate(segments)}

    def _with_values(self, params: Params, content: Mapping[str, Any]) -> Params:
        values = content.get("values")
        if not values:
            return params
        [[rendered]] = self._rendered([values], [params])
        if self.uses_go:
            return {**params, "values": rendered}
        return {**params, **{f"values.{key}": value for key, value in rendered.items()}}

    def _rendered(self, templates: Sequence[Any], params: Sequence[Params]) -> list[list[Any]]:
        """Every template with every set of parameters; one list for each set."""
        if not params:
            return []
        if self.uses_go:
            return gotemplate.render(templates, params)
        return [[_replaced(template, flat) for template in templates] for flat in params]


_GENERATORS: Mapping[str, Callable[[_Evaluation, Mapping[str, Any]], Iterator[Params]]] = {
    "list": _Evaluation.list_,
    "clusters": _Evaluation.clusters,
    "git": _Evaluation.git,
    "matrix": _Evaluation.matrix,
    "merge": _Evaluation.merge,
}


def _patch(text: str) -> Any:
    try:
        return load(text) or {}
    except ValueError as error:
        raise Broken(f"the templatePatch is broken: {error}") from None


def _own_template(generator: Mapping[str, Any]) -> Mapping[str, Any]:
    for content in generator.values():
        if isinstance(content, Mapping) and isinstance(content.get("template"), Mapping):
            filled = _filled(content["template"])
            return filled if isinstance(filled, Mapping) else {}
    return {}


def _filled(value: Any) -> Any:
    """Without empty values, which stand for those of the ApplicationSet's own template."""
    if isinstance(value, Mapping):
        items = {key: _filled(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item not in ("", None, {}, [])}
    return value


def _matches(path: PurePosixPath, pattern: str) -> bool:
    """As Go's `path.Match`: `*` does not match `/`."""
    parts = PurePosixPath(pattern).parts
    return len(parts) == len(path.parts) and all(
        fnmatch.fnmatchcase(part, expected)
        for part, expected in zip(path.parts, parts, strict=True)
    )


def _normalized(name: str) -> str:
    """As a name of Kubernetes."""
    return _NOT_NORMAL.sub("-", name.lower())[:LONGEST_NAME].strip("-.")


def _selects(selector: Mapping[str, Any] | None, labels: Mapping[str, Any]) -> bool:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"""
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        if str(labels.get(key)) != str(value):
            return False
    for rule in (selector or {}).get("matchExpressions") or ():
        key, values = rule.get("key"), [str(value) for value in rule.get("values") or ()]
        present, value = key in labels, str(labels.get(key))
        allowed = {
            "In": present and value in values,
            "NotIn": not present or value not in values,
            "Exists": present,
            "DoesNotExist": not present,
        }
        if not allowed.get(str(rule.get("operator")), False):
            return False
    return True


def _flat(value: Mapping[str, Any]) -> Params:
    """Nested objects as keys with dots."""
    flat: Params = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= {f"{key}.{inner}": content for inner, content in _flat(item).items()}
        elif isinstance(item, list):
            flat |= {f"{key}.{index}": content for index, content in enumerate(item)}
        else:
            flat[key] = item if isinstance(item, str) else json.dumps(item)
    return flat


def _replaced(template: Any, params: Params) -> Any:
    """The template with its placeholders replaced; one without a parameter stays as it is."""
    if isinstance(template, str):
        return _PLACEHOLDER.sub(
            lambda match: str(params.get(match.group(1), match.group(0))), template
        )
    if isinstance(template, Mapping):
        return {_replaced(key, params): _replaced(item, params) for key, item in template.items()}
    if isinstance(template, list):
        return [_replaced(item, params) for item in template]
    return template


def _merged(first: Any, second: Any) -> Any:
    """The objects merged; `second` has the last word."""
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return second
    result = dict(first)
    for key, value in second.items():
        result[key] = _merged(result[key], value) if key in result else value
    return result
