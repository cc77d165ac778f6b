"""Renders the Applications of an environment at two commits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from doks_gitops.diff import applicationsets, environment
from doks_gitops.diff.environment import Declared, Environment, is_kind
from doks_gitops.diff.objects import Object
from doks_gitops.diff.repo_server import RenderError, RepoServer
from doks_gitops.diff.revisions import RevisionError, Revisions, Side
from doks_gitops.diff.sources import is_affected, may_declare

MOST_APPLICATIONS = 5000
"""Applications of an environment. More are a generator that has no end."""


@dataclass(frozen=True)
class Rendered:
    """One Application at one commit."""

    declared: Declared
    objects: tuple[Object, ...] = ()
    error: str | None = None
    """Why it can't be rendered."""


@dataclass
class Rendering:
    """An environment at one commit."""

    environment: Environment | None
    """None: its stack file is not there."""
    side: Side
    applications: dict[str, Rendered] = field(default_factory=dict)
    """By name in Argo CD. Those that the change can't affect are left out."""
    projects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """`spec` of the AppProjects, from the stack file and from Git."""
    notes: list[str] = field(default_factory=list)
    """What could not be evaluated."""
    declared: dict[str, Declared] = field(default_factory=dict)
    """All Applications."""


class Renderer:
    """Renders with one repo-server. What both commits have in common is rendered once."""

    def __init__(self, server: RepoServer, revisions: Revisions, origin: str | None) -> None:
        """`origin`: URL of the clone's remote, to tell which sources are in the clone."""
        self._server, self._revisions, self._origin = server, revisions, origin
        self._threads = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2))
        self._cache: dict[str, Future[list[dict[str, Any]]]] = {}

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def both(
        self, base: Environment | None, head: Environment | None
    ) -> tuple[Rendering, Rendering]:
        """The environment at both commits."""
        old, new = Rendering(base, self._revisions.base), Rendering(head, self._revisions.head)
        waiting = [dict(env.applications) if env else {} for env in (base, head)]
        for rendering in (old, new):
            if rendering.environment is not None:
                rendering.projects |= rendering.environment.projects
        # Each round renders what the one before declared: Applications of Applications.
        while any(waiting):
            names = self._needed(old, new, *waiting)
            started = []
            for rendering, declared in zip((old, new), waiting, strict=True):
                rendering.declared |= declared
                if len(rendering.declared) > MOST_APPLICATIONS:
                    raise RenderError(
                        f"{rendering.environment and rendering.environment.stack} has more than"
                        f" {MOST_APPLICATIONS} Applications: do they declare each other?"
                    )
                started.append(
                    [
                        (application, self._start(application, rendering))
                        for name, application in declared.items()
                        if name in names
                    ]
                )
            waiting = [
                self._next(rendering, [self._finish(*pair) for pair in pairs])
                for rendering, pairs in zip((old, new), started, strict=True)
            ]
        return old, new

    def _needed(
        self,
        old: Rendering,
        new: Rendering,
        old_declared: Mapping[str, Declared],
        new_declared: Mapping[str, Declared],
    ) -> set[str]:
        """Names of the Applications that the change can affect, or that may declare others."""
        names = set()
        for name in old_declared.keys() | new_declared.keys():
            pair = (old_declared.get(name), new_declared.get(name))
            specs = [application.spec if application else None for application in pair]
            if specs[0] != specs[1] or any(
                self._is_open(application, rendering)
                for application, rendering in zip(pair, (old, new), strict=True)
                if application is not None
            ):
                names.add(name)
        return names

    def _is_open(self, application: Declared, rendering: Rendering) -> bool:
        return any(
            self._is_affected(source, rendering) or may_declare(source, rendering.side.files)
            for source in application.sources
            if self._is_clone(str(source.get("repoURL")), rendering)
        )

    def _is_affected(self, source: Mapping[str, Any], rendering: Rendering) -> bool:
        return is_affected(source, rendering.side.files, self._revisions.changed)

    def _next(self, rendering: Rendering, round_: Sequence[Rendered]) -> dict[str, Declared]:
        """The Applications that those of this round declare."""
        env = rendering.environment
        assert env is not None or not round_
        declared: dict[str, Declared] = {}
        for parent in round_:
            rendering.applications[parent.declared.name] = parent
            for item in parent.objects:
                if is_kind(item, "AppProject"):
                    rendering.projects[item["metadata"]["name"]] = item.get("spec") or {}
                elif is_kind(item, "ApplicationSet"):
                    generated = applicationsets.generate(item, self._context(rendering))
                    rendering.notes += generated.notes
                    declared |= {child.name: child for child in generated.applications}
            if env is not None:
                for child in environment.children(parent.declared, parent.objects, env.namespace):
                    declared[child.name] = child
        return {name: child for name, child in declared.items() if name not in rendering.declared}

    def _context(self, rendering: Rendering) -> applicationsets.Context:
        env = rendering.environment
        return applicationsets.Context(
            files=rendering.side.files,
            is_clone=lambda url: self._is_clone(url, rendering),
            commit=lambda revision: self._revisions.resolve(revision, rendering.side),
            side_commit=rendering.side.commit,
            cluster_labels=env.facts if env else {},
        )

    def _finish(
        self, application: Declared, futures: Sequence[Future[list[dict[str, Any]]]] | str
    ) -> Rendered:
        if isinstance(futures, str):
            return Rendered(application, error=futures)
        try:
            objects = [item for future in futures for item in future.result()]
        except RenderError as error:
            return Rendered(application, error=error.problem)
        return Rendered(application, tuple(objects))

    def _start(
        self, application: Declared, rendering: Rendering
    ) -> Sequence[Future[list[dict[str, Any]]]] | str:
        """The renderings of the sources, or why there are none."""
        try:
            requests = list(self._requests(application, rendering))
        except (RenderError, RevisionError) as error:
            return error.problem
        return [self._cached(request) for request in requests]

    def _requests(self, application: Declared, rendering: Rendering) -> Iterator[Mapping[str, Any]]:
        """As Argo CD's controller makes them (`GetRepoObjs` in controller/state.go)."""
        env = rendering.environment
        assert env is not None
        options, project = env.options, str(application.spec.get("project", "default"))
        references = {
            f"${source['ref']}": {
                "repo": self._repository(source, rendering),
                "targetRevision": self._commit(source, rendering),
                "chart": source.get("chart", ""),
            }
            for source in application.sources
            if source.get("ref")
        }
        for source in application.sources:
            if source.get("ref") and not source.get("path") and not source.get("chart"):
                continue
            if "plugin" in source:
                raise RenderError("Config management plugins are off: they run code of Git.")
            yield {
                "repo": self._repository(source, rendering),
                "revision": self._commit(source, rendering, application.sources),
                "appLabelKey": options.label_key,
                "appName": application.name,
                "namespace": application.namespace,
                "applicationSource": source,
                "kustomizeOptions": {"buildOptions": options.build_options},
                "kubeVersion": options.kube_version,
                "apiVersions": list(options.api_versions),
                "trackingMethod": options.tracking_method,
                "hasMultipleSources": "sources" in application.spec,
                "refSources": references,
                "projectName": project,
                "projectSourceRepos": rendering.projects.get(project, {}).get("sourceRepos", []),
            }

    def _repository(self, source: Mapping[str, Any], rendering: Rendering) -> dict[str, Any]:
        url = str(source.get("repoURL"))
        if self._is_clone(url, rendering):
            return {"repo": self._revisions.url, "type": "git"}
        if urlsplit(url).scheme == "file" or url.startswith(("/", ".")):
            raise RenderError(f"The source {url} is a folder of this machine.")
        if source.get("chart"):
            is_oci = "://" not in url
            return {"repo": url, "type": "helm", "enableOCI": is_oci}
        return {"repo": url, "type": "oci" if url.startswith("oci://") else "git"}

    def _commit(
        self,
        source: Mapping[str, Any],
        rendering: Rendering,
        sources: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The revision to render: a commit, if the source is in the clone."""
        revision = str(source.get("targetRevision") or "")
        if not self._is_clone(str(source.get("repoURL")), rendering):
            return revision
        commit = self._revisions.resolve(revision, rendering.side)
        affected = any(self._is_affected(other, rendering) for other in (source, *sources))
        if commit == rendering.side.commit and not affected:
            # The same files at both commits, so one rendering does.
            return self._revisions.head.commit
        return commit

    def _is_clone(self, url: str, rendering: Rendering) -> bool:
        """Whether the URL is that of the clone."""
        env = rendering.environment
        if env is None:
            return False
        if self._origin is not None and is_same(url, self._origin):
            return True
        return len(env.monorepos) == 1 and url in env.monorepos

    def _cached(self, request: Mapping[str, Any]) -> Future[list[dict[str, Any]]]:
        key = json.dumps(request, sort_keys=True)
        if key not in self._cache:
            self._cache[key] = self._threads.submit(self._server.render, request)
        return self._cache[key]


def is_same(url: str, other: str) -> bool:
    """Whether the URLs name the same repository, by https or by SSH, with or without `.git`."""
    return _normal(url) == _normal(other)


def _normal(url: str) -> tuple[str, str]:
    if "://" not in url and ":" in url:
        url = "ssh://" + url.replace(":", "/", 1)
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.path.strip("/").removesuffix(".git").lower()
