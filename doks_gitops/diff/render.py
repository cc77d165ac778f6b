"""Renders the Applications of an environment at two commits."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from doks_gitops.diff import applicationsets, environment
from doks_gitops.diff.access import Access
from doks_gitops.diff.applicationsets import Generated
from doks_gitops.diff.environment import Declared, Environment, is_kind
from doks_gitops.diff.objects import Object
from doks_gitops.diff.repo_server import Options, RenderError, RepoServer
from doks_gitops.diff.revisions import Revisions, Side
from doks_gitops.diff.schemas import served_apis
from doks_gitops.diff.sources import Tree
from doks_gitops.git import GitError

SAFE_BUILD_OPTIONS = frozenset({"--enable-helm", "--load-restrictor=LoadRestrictionsRootOnly"})
"""Options of `kustomize build` that run no program and read no file outside of the clone."""
MOST_APPLICATIONS = 5000
"""Applications of an environment. More are a generator that has no end."""


@dataclass(frozen=True)
class Rendered:
    """One Application at one commit."""

    declared: Declared
    objects: tuple[Object, ...] = ()
    error: str | None = None
    """Why it can't be rendered."""
    foreign: bool = False
    """Whether all its sources are in other repositories than the clone."""
    private: bool = False
    """Whether one of its sources has credentials in the stack file that the diff was not given."""


@dataclass
class Rendering:
    """An environment at one commit."""

    environment: Environment | None
    """None: its stack file is not there."""
    side: Side
    tree: Tree
    applications: dict[str, Rendered] = field(default_factory=dict)
    """By name in Argo CD. Those that the change can't affect are left out."""
    projects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """`spec` of the AppProjects, from the stack file and from Git."""
    notes: list[str] = field(default_factory=list)
    """What could not be evaluated."""
    declared: dict[str, Declared] = field(default_factory=dict)
    """All Applications."""
    sets: dict[str, Generated] = field(default_factory=dict)
    """All ApplicationSets, as parents are called."""


class Renderer:
    """Renders each commit with a repo-server that takes it for the monorepo's newest one. What both
    commits have in common is rendered once."""

    def __init__(
        self,
        revisions: Revisions,
        clone_urls: Collection[str],
        *,
        offline: bool = False,
        credentials: Mapping[str, Access] = MappingProxyType({}),
    ) -> None:
        """`clone_urls`: URLs that mean the clone. `offline`: see `RepoServer`. `credentials`: how
        the repositories of a stack are read, by its name; default: as anybody may."""
        self._revisions, self._clone_urls = revisions, tuple(clone_urls)
        self._credentials = credentials
        self._hint = "" if credentials else " (If the repository is private, pass --credentials.)"
        self._threads = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2))
        self._cache: dict[str, Future[list[dict[str, Any]]]] = {}
        self._servers = {
            side: RepoServer(offline, dict(self._local(side)), side.store / "objects")
            for side in (revisions.base, revisions.head)
        }

    def _local(self, side: Side) -> Iterator[tuple[str, str]]:
        for url in self._clone_urls:
            plain = url.removesuffix(".git")
            yield from ((name, side.url) for name in (plain, f"{plain}.git"))

    def __enter__(self) -> Renderer:
        with ExitStack() as stack:
            for server in self._servers.values():
                stack.push(server)
            # Side by side, for each takes a while to start.
            starts = [self._threads.submit(server.__enter__) for server in self._servers.values()]
            wait(starts)
            for start in starts:
                start.result()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._stack.close()

    def both(
        self, base: Environment | None, head: Environment | None
    ) -> tuple[Rendering, Rendering]:
        """The environment at both commits."""
        old, new = (
            self._rendering(base, self._revisions.base),
            self._rendering(head, self._revisions.head),
        )
        waiting = [dict(env.applications) if env else {} for env in (base, head)]
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
                self._next(rendering, [self._finish(*pair, rendering) for pair in pairs])
                for rendering, pairs in zip((old, new), started, strict=True)
            ]
        self._render_what_projects_changed(old, new)
        return old, new

    def _render_what_projects_changed(self, old: Rendering, new: Rendering) -> None:
        """Render the Applications whose AppProject is another one now, although they did not
        change themselves: the new one may not allow what they have."""
        names = changed_projects(old, new)
        left = [
            name
            for name, application in new.declared.items()
            if application.project in names and name not in new.applications
        ]
        for rendering in (old, new):
            started = [
                (application, self._start(application, rendering))
                for name in left
                if (application := rendering.declared.get(name))
            ]
            self._next(rendering, [self._finish(*pair, rendering) for pair in started])

    def _rendering(self, env: Environment | None, side: Side) -> Rendering:
        tree = Tree(side.files, self._revisions.changed, self._is_mentioned)
        return Rendering(env, side, tree, projects=dict(env.projects) if env else {})

    def _needed(
        self,
        old: Rendering,
        new: Rendering,
        old_declared: Mapping[str, Declared],
        new_declared: Mapping[str, Declared],
    ) -> set[str]:
        """Names of the Applications that the change can affect, or that may declare others."""
        if _options(old) != _options(new):
            return {*old_declared, *new_declared}
        names = set()
        for name in old_declared.keys() | new_declared.keys():
            pair = (old_declared.get(name), new_declared.get(name))
            specs = [application.spec if application else None for application in pair]
            if specs[0] != specs[1] or any(
                self._must_render(application, rendering)
                for application, rendering in zip(pair, (old, new), strict=True)
                if application is not None
            ):
                names.add(name)
        return names

    def _must_render(self, application: Declared, rendering: Rendering) -> bool:
        env = rendering.environment
        return any(
            rendering.tree.is_affected(source) or rendering.tree.may_declare(source)
            if self._is_clone(str(source.get("repoURL")))
            # Another repository may declare Applications whose sources are in the clone.
            else not source.get("chart") and env and application.namespace == env.namespace
            for source in application.sources
        )

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
                    generated = applicationsets.generate(
                        item, parent.declared.name, self._context(rendering)
                    )
                    rendering.notes += generated.notes
                    rendering.sets.setdefault(generated.name, generated)
                    declared |= {child.name: child for child in generated.applications}
            if env is not None:
                for child in environment.children(parent.declared, parent.objects, env.namespace):
                    declared[child.name] = child
        return {name: child for name, child in declared.items() if name not in rendering.declared}

    def _context(self, rendering: Rendering) -> applicationsets.Context:
        env = rendering.environment
        return applicationsets.Context(
            files=rendering.side.files,
            is_clone=self._is_clone,
            commit=lambda revision: self._revisions.resolve(revision, rendering.side),
            side_commit=rendering.side.commit,
            cluster_labels=env.facts if env else {},
        )

    def _finish(
        self,
        application: Declared,
        futures: Sequence[Future[list[dict[str, Any]]]] | str,
        rendering: Rendering,
    ) -> Rendered:
        urls = [str(source.get("repoURL")) for source in application.sources]
        foreign = not any(map(self._is_clone, urls))
        charts = [x for y in application.sources for x in rendering.tree.chart_repositories(y)]
        private = any(self._lacks_credentials(url, rendering) for url in (*urls, *charts))
        if isinstance(futures, str):
            return Rendered(application, error=futures, foreign=foreign, private=private)
        try:
            objects = [item for future in futures for item in future.result()]
        except RenderError as error:
            problem = error.problem
            if not all(map(self._is_clone, urls)):
                problem += self._hint
            return Rendered(application, error=problem, foreign=foreign, private=private)
        return Rendered(application, tuple(objects), foreign=foreign)

    def _side_of(self, application: Declared, rendering: Rendering) -> Side:
        """The side to render an Application from: head, if both have the same files for it, so that
        one rendering does."""
        sources = [x for x in application.sources if self._is_clone(str(x.get("repoURL")))]
        affected = any(rendering.tree.is_affected(source) for source in sources)
        return rendering.side if affected else self._revisions.head

    def _start(
        self, application: Declared, rendering: Rendering
    ) -> Sequence[Future[list[dict[str, Any]]]] | str:
        """The renderings of the sources, or why there are none."""
        try:
            side = self._side_of(application, rendering)
            requests = list(self._requests(application, rendering, side))
        except (RenderError, GitError) as error:
            return error.problem
        return [self._cached(request, side) for request in requests]

    def _requests(
        self, application: Declared, rendering: Rendering, side: Side
    ) -> Iterator[Mapping[str, Any]]:
        """As Argo CD's controller makes them (`GetRepoObjs` in controller/state.go)."""
        env = rendering.environment
        assert env is not None
        options, project = env.options, application.project
        if refused := set(options.build_options.split()) - SAFE_BUILD_OPTIONS:
            raise RenderError(
                f"kustomize.buildOptions has {' '.join(sorted(refused))}, which can run programs of"
                " the repository or read files outside of it, so the diff does not use it."
            )
        access = self._access(env)
        references = {
            f"${source['ref']}": {
                "repo": self._repository(source, side, access),
                "targetRevision": self._commit(source, side, access),
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
                "repo": self._repository(source, side, access),
                "revision": self._commit(source, side, access),
                "repos": access.of_charts(),
                # The repo-server looks a branch of another repository up in Git, not in a cache.
                "noRevisionCache": True,
                "appLabelKey": options.label_key,
                "appName": application.name,
                "namespace": application.namespace,
                "applicationSource": source,
                "kustomizeOptions": {"buildOptions": options.build_options},
                "kubeVersion": options.kube_version,
                "apiVersions": [*served_apis(options.kube_version), *options.api_versions],
                "trackingMethod": options.tracking_method,
                "helmOptions": {"valuesFileSchemes": ["https", "http"]},
                "hasMultipleSources": "sources" in application.spec,
                "refSources": references,
                "projectName": project,
                "projectSourceRepos": rendering.projects.get(project, {}).get("sourceRepos", []),
            }

    def _repository(self, source: Mapping[str, Any], side: Side, access: Access) -> dict[str, Any]:
        url = str(source.get("repoURL"))
        if self._is_clone(url):
            return {"repo": side.url, "type": "git"}
        if urlsplit(url).scheme == "file" or url.startswith(("/", ".")):
            raise RenderError(f"The source {url} is a folder of this machine.")
        fields = access.fields(url)
        if source.get("chart"):
            return {"repo": url, "type": "helm", "enableOCI": "://" not in url, **fields}
        return {"repo": url, "type": "oci" if url.startswith("oci://") else "git", **fields}

    def _commit(self, source: Mapping[str, Any], side: Side, access: Access) -> str:
        """The revision to render: a commit, if anybody may read the repository."""
        revision = str(source.get("targetRevision") or "")
        url = str(source.get("repoURL"))
        if self._is_clone(url):
            return self._revisions.resolve(revision, side)
        if source.get("chart") or url.startswith("oci://") or access.fields(url):
            return revision
        try:
            return self._servers[side].commit(url, revision)
        except RenderError as error:
            raise RenderError(f"{error.problem}{self._hint}") from None

    def _access(self, env: Environment) -> Access:
        return self._credentials.get(env.stack, Access(env.repositories))

    def _lacks_credentials(self, url: str, rendering: Rendering) -> bool:
        """Whether the stack file has credentials for the URL that were not given."""
        env = rendering.environment
        return (
            env is not None
            and not self._is_clone(url)
            and env.has_credentials(url)
            and not self._access(env).has_credentials(url)
        )

    def _is_clone(self, url: str) -> bool:
        return any(same_repository(url, known) for known in self._clone_urls)

    def _is_mentioned(self, text: str) -> bool:
        """Whether a text names the clone by its URL."""
        return any(all(part in text.lower() for part in normal(url)) for url in self._clone_urls)

    def _cached(self, request: Mapping[str, Any], side: Side) -> Future[list[dict[str, Any]]]:
        key = json.dumps(request, sort_keys=True)
        if key not in self._cache:
            self._cache[key] = self._threads.submit(self._servers[side].render, request)
        return self._cache[key]


def changed_projects(old: Rendering, new: Rendering) -> frozenset[str]:
    """Names of the AppProjects that differ, or that one of both lacks."""
    names = old.projects.keys() | new.projects.keys()
    return frozenset(name for name in names if old.projects.get(name) != new.projects.get(name))


def _options(rendering: Rendering) -> Options | None:
    return rendering.environment.options if rendering.environment else None


def same_repository(url: str, other: str) -> bool:
    """Whether the URLs name the same repository, by https or by SSH, with or without `.git`."""
    return normal(url) == normal(other)


def normal(url: str) -> tuple[str, str]:
    """Host and path of a repository's URL, in lower case and without `.git`."""
    if "://" not in url and ":" in url:
        url = "ssh://" + url.replace(":", "/", 1)
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.path.strip("/").removesuffix(".git").lower()
