"""Promotes the image tags of an application, and reverts them: the overlays in Git change, and Argo
CD deploys them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doks_gitops.environments import short_name
from doks_gitops.promotion.checks import PromotionError, check_deployed, check_pushed
from doks_gitops.promotion.overlay import FILE, Overlay
from doks_gitops.promotion.proposal import Proposal
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.promotion.scaffold import read_environment, read_project, read_sections

OVERLAY_PATTERN = "kustomize/{env}"
"""Folder of an overlay; `{env}`, `{stack}` and `{app}` stand for the environment of the stack, its
name and the application."""


def promote(
    tree: WorkingTree,
    application: str,
    *,
    source: str,
    target: str,
    overlay_pattern: str = OVERLAY_PATTERN,
    folder: Path,
) -> Proposal:
    """The overlay of the stack `target` with the image tags of the stack `source`.

    `folder`: the project's folder. Raises `PromotionError` unless the application runs these tags
    in `source`, Synced and Healthy, and the registry has the images, and `LayoutError` if a stack
    file can't be read.
    """
    sections = read_sections(folder, source)
    old = _read(tree, overlay_pattern, target, application, read_sections(folder, target))
    new = _read(tree, overlay_pattern, source, application, sections)
    names = old.images.keys() | new.images.keys()
    if pinned := sorted((old.pinned | new.pinned) & names):
        raise PromotionError(
            f"{', '.join(pinned)}: {old.path} or {new.path} has a digest, so the tag does not"
            " decide which image runs.",
            "Replace the digest by a newTag in both overlays, or promote it by a commit.",
        )
    tags = _changed(old, new.tags)
    project = read_project(sections, source)
    check_deployed(source, f"{project}-{application}", [new.images[name] for name in tags], folder)
    message = f"Promote {application} from {source} to {target}"
    return _propose(tree, old, tags, message, f"images/{short_name(target)}-{application}")


def revert_images(
    tree: WorkingTree,
    application: str,
    *,
    stack: str,
    revision: str | None = None,
    overlay_pattern: str = OVERLAY_PATTERN,
    folder: Path,
) -> Proposal:
    """The overlay of a stack with the image tags of an earlier revision, and no other change.

    `revision`: by default the last one with other image tags. `folder`: the project's folder.
    Raises `PromotionError` if there is none, or if the registry no longer has the images, and
    `LayoutError` if the stack file can't be read.
    """
    overlay = _read(tree, overlay_pattern, stack, application, read_sections(folder, stack))
    commit, tags = _earlier(tree, overlay, revision)
    message = f"Revert the images of {application} in {stack} to those of {commit[:7]}"
    branch = f"images/{short_name(stack)}-{application}"
    return _propose(tree, overlay, _changed(overlay, tags), message, branch)


def _earlier(
    tree: WorkingTree, overlay: Overlay, revision: str | None
) -> tuple[str, dict[str, str]]:
    """The revision, or else the last one with other tags, and its tags by image."""
    for commit in [revision] if revision else tree.history(overlay.path)[1:]:
        tags = Overlay(overlay.path, tree.read_at(commit, overlay.path)).tags
        if revision or _changed(overlay, tags):
            return commit, tags
    raise PromotionError(
        f"{overlay.path} never had other image tags.", f"git log -- {overlay.path}"
    )


def _changed(overlay: Overlay, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that differ from those of the overlay, of the images that it has."""
    return {name: tag for name, tag in tags.items() if overlay.tags.get(name, tag) != tag}


def _propose(
    tree: WorkingTree, overlay: Overlay, tags: Mapping[str, str], message: str, branch: str
) -> Proposal:
    if not tags:
        return Proposal(tree, {}, message, branch)
    text = overlay.with_tags(tags)
    images = Overlay(overlay.path, text).images
    check_pushed(images[name] for name in tags)
    return Proposal(tree, {overlay.path: text}, message, branch)


def _read(
    tree: WorkingTree, pattern: str, stack: str, application: str, sections: Mapping[str, Any]
) -> Overlay:
    """The overlay of a stack, whose stack file has these `sections`."""
    environment = read_environment(sections, stack)
    try:
        path = pattern.format(env=environment, stack=short_name(stack), app=application)
    except (IndexError, KeyError, ValueError):
        raise PromotionError(
            f"The pattern {pattern} of an overlay has a wrong placeholder.",
            "Use {env}, {stack} and {app} only, for example --overlay 'apps/{app}/overlays/{env}'.",
        ) from None
    return Overlay(Path(path) / FILE, tree.read(Path(path) / FILE))
