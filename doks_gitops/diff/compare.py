"""What Argo CD would apply in each environment at one commit against another."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from doks_gitops.diff import access, checks, environment, schemas
from doks_gitops.diff.checks import Finding
from doks_gitops.diff.environment import Environment
from doks_gitops.diff.objects import Change, Object, compare
from doks_gitops.diff.render import Rendered, Renderer, Rendering, changed_projects, same_repository
from doks_gitops.diff.repo_server import RenderError
from doks_gitops.diff.revisions import Revisions
from doks_gitops.environments import is_production
from doks_gitops.images import Tags

if TYPE_CHECKING:
    from doks_gitops.diff.live import ArgoCd


@dataclass(frozen=True)
class ApplicationDiff:
    """What changes in one Application."""

    name: str
    operation: str = "update"
    """`create`, `update` or `delete` of the Application itself."""
    changes: tuple[Change, ...] = ()
    error: str | None = None
    """Why it can't be rendered at head."""


@dataclass(frozen=True)
class EnvironmentDiff:
    """What changes in one environment."""

    stack: str
    applications: tuple[ApplicationDiff, ...] = ()
    """Those in which something changes, or that can't be rendered."""
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be evaluated."""
    rendered: int = 0
    """Applications that the change can affect, of all `declared` ones."""
    declared: int = 0

    @property
    def failed(self) -> bool:
        """Whether something can't be rendered or would fail."""
        return any(application.error for application in self.applications) or any(
            finding.mandatory for finding in self.findings
        )


@dataclass(frozen=True)
class Comparison:
    """How to compare.

    `tags`: see `checks.missing_images`; None: images are not looked up. `prune_allowed`: whether
    somebody allowed the deletion of data in prod.
    """

    revisions: Revisions
    project: Path | None
    """The project's folder inside the clone, so that each commit has stack files of its own."""
    folder: Path
    """The project's folder."""
    origin: str | None = None
    """URL of the clone's remote."""
    offline: bool = False
    prune_allowed: bool = False
    with_credentials: bool = False
    """Whether to decrypt the credentials of the stacks, for private repositories."""
    tags: Tags | None = field(default=None, repr=False)

    def run(self, stacks: Sequence[str]) -> list[EnvironmentDiff]:
        """The differences in each stack. Raises `RenderError` and `SettingsError`."""
        environments = {stack: self._environments(stack) for stack in stacks}
        urls = frozenset(
            url for pair in environments.values() for env in pair if env for url in self._urls(env)
        )
        results = []
        bases = {stack: pair[0] for stack, pair in environments.items() if pair[0]}
        with self._renderer(urls, bases) as renderer:
            for stack, (base, head) in environments.items():
                print(f"diff of {stack} ...", file=sys.stderr, flush=True)
                old, new = renderer.both(base, head)
                results.append(self.result(stack, old, new))
        return results

    def with_cluster(self, stack: str, argocd: ArgoCd) -> EnvironmentDiff:
        """The differences of what runs in the stack's cluster and of what Argo CD would apply at
        head. Raises `RenderError`, `SettingsError` and `ArgoCdError`."""
        from doks_gitops.diff import live

        base, head = self._environments(stack)
        if head is None:
            raise RenderError(f"There is no stack file of {stack}.", "Name another one: --stack")
        with self._renderer(self._urls(head), {stack: base} if base else {}) as renderer:
            _, rendering = renderer.both(None, head)
        return self.result(stack, *live.compared(argocd, rendering))

    def _renderer(self, urls: Collection[str], bases: Mapping[str, Environment]) -> Renderer:
        credentials = {
            env.stack: access.read(stack, self.folder, env.urls)
            for stack, env in bases.items()
            if self.with_credentials
        }
        return Renderer(self.revisions, urls, offline=self.offline, credentials=credentials)

    def _urls(self, env: Environment) -> Collection[str]:
        """The URLs of the environment's repositories that mean the clone: that of its remote, or
        the only one."""
        origin = self.origin
        same = [url for url in env.monorepos if origin is not None and same_repository(url, origin)]
        if same or len(env.monorepos) < 2:
            return same or env.monorepos
        raise RenderError(
            f"None of the repositories of {env.stack} is the clone, whose remote is {origin}.",
            "git remote set-url origin URL, with the URL of the stack file",
        )

    def _environments(self, stack: str) -> tuple[Environment | None, Environment | None]:
        if self.project is None:
            both = environment.read(stack, self.folder)
            return both, both
        sides = (self.revisions.base, self.revisions.head)
        base, head = (environment.read(stack, side.files / self.project) for side in sides)
        return base, head

    def result(self, stack: str, old: Rendering, new: Rendering) -> EnvironmentDiff:
        """What differs between two renderings of the stack."""
        applications: list[ApplicationDiff] = []
        findings: list[Finding] = []
        notes = list(new.notes)
        crds = checks.definitions([item for x in new.applications.values() for item in x.objects])
        unknown = _unknown_children(old, new)
        findings += self._sets(old, new, unknown)
        for name, reason in unknown.items():
            if reason is not None:
                words = f"It may be deleted. What declared it was not evaluated: {reason}"
                findings.append(self._unread_deletion(name, words, old, new))
        gone = (name for name in old.applications if name not in new.declared.keys() | unknown)
        for name in (*new.applications, *gone):
            before, after = old.applications.get(name), new.applications.get(name)
            if reason := _unread(before, after):
                notes.append(f"{name} was not rendered, nor what it may declare: {reason}")
                continue
            diff = _application(name, before, after)
            missing = list(_not_rendered(before, after))
            if diff.changes or diff.error or missing or diff.operation != "update":
                applications.append(diff)
                findings += missing
                findings += self._findings(diff, before, after, old, new, crds)
            if after is not None:
                findings += _forbidden(diff, after, old, new, crds)
        return EnvironmentDiff(
            stack,
            tuple(applications),
            tuple(dict.fromkeys(findings)),
            tuple(dict.fromkeys(notes)),
            len(new.applications),
            len(new.declared),
        )

    def _unread_deletion(self, name: str, words: str, old: Rendering, new: Rendering) -> Finding:
        production = _is_production(old, new)
        return checks.unread_deletion(
            name, words, production=production, allowed=self.prune_allowed
        )

    def _sets(self, old: Rendering, new: Rendering, unknown: Collection[str]) -> Iterator[Finding]:
        """ApplicationSets that could not be evaluated at one of both sides."""
        for name, generated in new.sets.items():
            before = old.sets.get(name)
            if generated.error:
                words = f"It is broken, so its Applications stay as they are: {generated.error}"
                yield Finding(
                    name, words, mandatory=before is None or before.error != generated.error
                )
            elif before is not None and before.error:
                words = "It was broken before the change, so its Applications are shown as new: "
                yield Finding(name, words + before.error, mandatory=False)
        for name, generated in old.sets.items():
            reason = generated.error or " ".join(generated.notes)
            if reason and name not in new.sets and name not in unknown:
                words = f"It is deleted, and its Applications could not be told: {reason}"
                yield self._unread_deletion(name, words, old, new)

    def _findings(
        self,
        diff: ApplicationDiff,
        before: Rendered | None,
        after: Rendered | None,
        old: Rendering,
        new: Rendering,
        crds: Sequence[Object],
    ) -> Iterator[Finding]:
        rendered = after or before
        assert rendered is not None
        declared, env = rendered.declared, new.environment
        production = _is_production(old, new)
        version = env.options.kube_version if env is not None else ""
        if after is None and rendered.error:
            words = f"What is deleted could not be read: {rendered.error}"
            yield self._unread_deletion(declared.name, words, old, new)
        for change in diff.changes:
            yield from checks.pruned(
                change,
                declared,
                production=production,
                allowed=self.prune_allowed,
                with_application=after is None,
            )
            if after is None:
                continue
            yield from checks.immutable(change, declared)
            sealed = env is not None and env.sealed_secrets
            yield from checks.plain_secret(change, declared, sealed=sealed)
            yield from schemas.invalid(change, declared, version, crds)
            yield from schemas.unknown_kind(change, declared, version, crds)
        if self.tags is not None:
            changed = [change.new for change in diff.changes if change.new is not None]
            yield from checks.missing_images(declared, changed, self.tags)


def _is_production(old: Rendering, new: Rendering) -> bool:
    environments = (old.environment, new.environment)
    return any(is_production(env.name) for env in environments if env is not None)


def _unknown_children(old: Rendering, new: Rendering) -> dict[str, str | None]:
    """The Applications and ApplicationSets of base whose parents could not be read at head, so that
    they may still be there. With the reason, if Argo CD could read the parent: it deletes nothing
    that belongs to one that it can't read either."""
    unread = {
        name: rendered.error if rendered.private else None
        for name, rendered in new.applications.items()
        if rendered.error
    }
    for name, generated in new.sets.items():
        before = old.sets.get(name)
        if generated.error:
            unread[name] = None
        elif generated.notes and (before is None or before.notes != generated.notes):
            unread[name] = " ".join(generated.notes)
    parents = {name: application.parent for name, application in old.declared.items()}
    parents |= {name: generated.parent for name, generated in old.sets.items()}
    unknown: dict[str, str | None] = {}
    for name in sorted(parents.keys() - new.declared.keys() - new.sets.keys()):
        parent = parents[name]
        while parent in parents and parent not in unread:
            parent = parents[parent]
        if parent in unread:
            unknown[name] = unread[parent]
    return unknown


def _unread(before: Rendered | None, after: Rendered | None) -> str | None:
    """Why an Application of other repositories, which the change does not touch, can't be rendered:
    no reason to refuse the change."""
    if before is None or after is None or before.declared.spec != after.declared.spec:
        return None
    return after.error if after.foreign and before.error == after.error else None


def _forbidden(
    diff: ApplicationDiff,
    rendered: Rendered,
    old: Rendering,
    new: Rendering,
    crds: Sequence[Object],
) -> Iterator[Finding]:
    """What the AppProject does not allow: of what changed, or of all if the project changed."""
    declared = rendered.declared
    project = new.projects.get(declared.project)
    before = old.declared.get(declared.name)
    if (
        before is None
        or before.project != declared.project
        or declared.project in changed_projects(old, new)
    ):
        items: Sequence[Object] = rendered.objects
        yield from checks.missing_project(declared, new.projects, old.projects)
        yield from checks.forbidden_sources(declared, project)
    else:
        items = [change.new for change in diff.changes if change.new is not None]
        if before.sources != declared.sources:
            yield from checks.forbidden_sources(declared, project)
    for item in items:
        yield from checks.forbidden(item, declared, project, crds)


def _not_rendered(before: Rendered | None, after: Rendered | None) -> Iterator[Finding]:
    """What one of both sides lacks, although the change is not to blame."""
    if after is None:
        return
    name = after.declared.name
    if after.error and after.private:
        words = f"It was not rendered, nor what it may declare: {after.error}"
        yield Finding(name, words, mandatory=False)
    elif before is not None and before.error and not after.error:
        words = "It could not be rendered before the change, so all that it has is shown as new: "
        yield Finding(name, words + before.error, mandatory=False)


def _application(name: str, before: Rendered | None, after: Rendered | None) -> ApplicationDiff:
    operation = "create" if before is None else "delete" if after is None else "update"
    if after is not None and after.error:
        return ApplicationDiff(name, operation, error=None if after.private else after.error)
    namespaces = [rendered.declared.namespace if rendered else "" for rendered in (before, after)]
    old, new = (rendered.objects if rendered else () for rendered in (before, after))
    return ApplicationDiff(name, operation, tuple(compare(old, new, *namespaces)))
