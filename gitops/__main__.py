"""The command line: `bin/gitops`. It edits a clone of the monorepo; Argo CD does the rest."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from delivery.github import GitHubError, Repository
from gitops.checks import Account, Refused, check_healthy
from gitops.overlay import FILE, OverlayError, images, with_tags
from gitops.repository import GitError, WorkingTree


def promote(tree: WorkingTree, given: argparse.Namespace) -> int:
    """Give the overlay of one environment the tags of another's."""
    source, target = _overlay(given, given.source), _overlay(given, given.target)
    tree.check_clean()
    check_healthy(given.source, f"{given.source}-{given.application}", given.stacks)
    wanted, present = images(_read(tree, source)), images(_read(tree, target))
    tags = {
        name: each.tag
        for name, each in wanted.items()
        if name in present and present[name].tag != each.tag
    }
    message = f"Promote {given.application} from {given.source} to {given.target}"
    return _propose(tree, target, tags, message, given, given.target)


def revert_images(tree: WorkingTree, given: argparse.Namespace) -> int:
    """Give the overlay of an environment the tags that it had before, and nothing else."""
    path = _overlay(given, given.environment)
    tree.check_clean()
    present = images(_read(tree, path))
    revision, before = _before(tree, path, given.to, {n: i.tag for n, i in present.items()})
    tags = {
        name: tag for name, tag in before.items() if name in present and present[name].tag != tag
    }
    message = (
        f"Revert the images of {given.application} in {given.environment} to those of"
        f" {revision[:7]}"
    )
    return _propose(tree, path, tags, message, given, given.environment)


def _before(
    tree: WorkingTree, path: Path, revision: str | None, now: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """The tags at `revision`, or else at the last commit at which they were others."""
    for commit in [revision] if revision else tree.history(path)[1:]:
        tags = {name: each.tag for name, each in images(tree.at(commit, path)).items()}
        if revision or any(tags[name] != now[name] for name in tags.keys() & now.keys()):
            return commit, tags
    raise Refused(f"{path} never had other image tags.")


def _propose(
    tree: WorkingTree,
    path: Path,
    tags: Mapping[str, str],
    message: str,
    given: argparse.Namespace,
    environment: str,
) -> int:
    if not tags:
        print(f"{path} has these image tags already.")
        return 0
    old = _read(tree, path)
    new = with_tags(old, tags)
    changed = images(new)
    Account().check_images(changed[name] for name in tags)
    diff = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    print("".join(diff), end="")
    if given.dry_run:
        return 0
    (tree.folder / path).write_text(new)
    branch = f"images/{environment}-{given.application}" if given.pull_request else None
    pushed = tree.commit(path, message, branch=branch)
    print(f"Pushed to {pushed}: {message}")
    if branch is not None:
        print(Repository.of_environment().pull_request(branch, "main", message))
    return 0


def _overlay(given: argparse.Namespace, environment: str) -> Path:
    return Path(given.overlay.format(env=environment)) / FILE


def _read(tree: WorkingTree, path: Path) -> str:
    try:
        return (tree.folder / path).read_text()
    except OSError as error:
        raise OverlayError(f"{tree.folder / path}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bin/gitops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--repo", type=Path, default=Path(), help="clone of the monorepo")
    common.add_argument(
        "--overlay", default="kustomize/{env}", help="folder of an environment's overlay in it"
    )
    common.add_argument(
        "--stacks", type=Path, default=Path(), help="folder in which pulumi knows the stacks"
    )
    common.add_argument("--dry-run", action="store_true", help="show the difference only")
    common.add_argument(
        "--pull-request", action="store_true", help="push a branch and open a pull request"
    )
    one = commands.add_parser("promote", parents=[common], help=promote.__doc__)
    one.add_argument("application")
    one.add_argument("source", help="environment to take the tags from")
    one.add_argument("target", help="environment to give them to")
    two = commands.add_parser("revert-images", parents=[common], help=revert_images.__doc__)
    two.add_argument("application")
    two.add_argument("environment")
    two.add_argument("--to", metavar="REVISION", help="default: the last one with other tags")
    given = parser.parse_args(arguments)
    run = promote if given.command == "promote" else revert_images
    try:
        return run(WorkingTree(given.repo.resolve()), given)
    except (Refused, OverlayError, GitError, GitHubError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
