"""The command line: `bin/platform`. It edits a clone of the monorepo; Argo CD does the rest.

Run it where `pulumi stack output --stack STACK` works.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from doks_gitops.ci.github import GitHubError, Repository
from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.promotion import status
from doks_gitops.promotion.checks import Account, Refused, check_deployed
from doks_gitops.promotion.cluster import Unseen
from doks_gitops.promotion.layout import (
    TEMPLATE,
    App,
    LayoutError,
    Source,
    Wish,
    apps,
    argocd,
    files,
    sections,
)
from doks_gitops.promotion.overlay import FILE, OverlayError, images, with_tags
from doks_gitops.promotion.repository import GitError, WorkingTree


def layout(tree: WorkingTree, given: argparse.Namespace) -> int:
    """Lay out the GitOps folder of an environment; what is there already is left as it is."""
    _check(tree, given)
    section = sections(given.stacks, given.environment)
    wish = Wish(
        given.environment,
        given.url or tree.url(),
        given.revision or tree.branch(),
        argocd(section.get("argocd") or {}),
        [App(*words) for words in given.app] or apps(section.get("applications") or {}),
        Source(*given.source) if given.source else None,
    )
    missing = {
        Path(path): text
        for path, text in files(wish, given.template).items()
        if not (tree.folder / path).exists()
    }
    if not missing:
        print(f"{given.environment} is laid out already.")
        return 0
    for path in missing:
        print(f"+ {path}")
    known = {each.get("url") for each in (section.get("repositories") or {}).values()}
    if wish.repository not in known:
        print(
            f"note: Argo CD can read {wish.repository} only once the stack file has it, with"
            " exactly this URL, under doks-gitops:repositories (another spelling of it: --url)",
            file=sys.stderr,
        )
    if given.dry_run:
        return 0
    for path, text in missing.items():
        (tree.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (tree.folder / path).write_text(text)
    message = f"Lay out the GitOps folder of {given.environment}"
    return _push(tree, list(missing), message, f"layout/{given.environment}", given)


def promote(tree: WorkingTree, given: argparse.Namespace) -> int:
    """Give the overlay of one environment the tags of another's."""
    source, target = _overlay(given, given.source), _overlay(given, given.target)
    _check(tree, given)
    wanted, present = images(_read(tree, source)), images(_read(tree, target))
    tags = {
        name: each.tag
        for name, each in wanted.items()
        if name in present and present[name].tag != each.tag
    }
    name = f"{given.source}-{given.application}"
    check_deployed(given.source, name, [wanted[each] for each in tags], given.stacks)
    message = f"Promote {given.application} from {given.source} to {given.target}"
    return _propose(tree, target, tags, message, given, given.target)


def revert_images(tree: WorkingTree, given: argparse.Namespace) -> int:
    """Give the overlay of an environment the tags that it had before, and nothing else."""
    path = _overlay(given, given.environment)
    _check(tree, given)
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


def status_command(tree: WorkingTree, given: argparse.Namespace) -> int:
    """Show where each application stands in each environment, and how far behind the one before.

    Exit code 1 if an environment can't be looked at.
    """
    try:
        tree.git("fetch", "--quiet", "origin")
    except GitError as error:
        print(f"note: commits are counted with what is at hand: {error}", file=sys.stderr)
    found = status.look(given.environments, given.stacks, tree.commits_between)
    print(json.dumps(status.as_json(found), indent=2) if given.json else status.table(found))
    return int(bool(found.unseen))


def _check(tree: WorkingTree, given: argparse.Namespace) -> None:
    """Raises `GitError` for a clone that nothing can be proposed from."""
    tree.check_clean()
    tree.check_current()
    if given.pull_request:
        tree.check_begun()


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
    return _push(tree, [path], message, f"images/{environment}-{given.application}", given)


def _push(
    tree: WorkingTree, paths: Sequence[Path], message: str, branch: str, given: argparse.Namespace
) -> int:
    into = tree.branch()
    pushed = tree.commit(paths, message, branch=branch if given.pull_request else None)
    print(f"Pushed to {pushed}: {message}")
    if given.pull_request:
        print(Repository.of_environment().pull_request(branch, into, message))
    return 0


def _overlay(given: argparse.Namespace, environment: str) -> Path:
    return Path(given.overlay.format(env=environment, app=given.application)) / FILE


def _read(tree: WorkingTree, path: Path) -> str:
    try:
        return (tree.folder / path).read_text()
    except OSError as error:
        raise OverlayError(f"{tree.folder / path}: {error.strerror}") from error


@contextmanager
def _clone(repository: str) -> Iterator[WorkingTree]:
    """The clone in that folder, or one of that URL for as long as it is needed."""
    if "://" not in repository and ":" not in repository:
        yield WorkingTree(Path(repository).resolve())
        return
    with tempfile.TemporaryDirectory() as folder:
        WorkingTree(Path(folder)).git("clone", "--quiet", repository, ".")
        yield WorkingTree(Path(folder))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/platform", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    clone = argparse.ArgumentParser(add_help=False)
    clone.add_argument("--repo", default=".", help="clone of the repository, or its URL")
    clone.add_argument(
        "--stacks", type=Path, default=Path(), help="folder in which pulumi knows the stacks"
    )
    edit = argparse.ArgumentParser(add_help=False, parents=[clone])
    edit.add_argument("--dry-run", action="store_true", help="show what would change only")
    edit.add_argument(
        "--pull-request", action="store_true", help="push a branch and open a pull request"
    )
    overlays = argparse.ArgumentParser(add_help=False, parents=[edit])
    overlays.add_argument(
        "--overlay",
        default="kustomize/{env}",
        help="folder of an environment's overlay; {env} and {app} are put in",
    )

    one = commands.add_parser("layout", parents=[edit], help=layout.__doc__)
    one.set_defaults(run=layout)
    one.add_argument("environment", choices=ENVIRONMENTS)
    one.add_argument("--url", help="the repository's URL in the stack file; default: the clone's")
    one.add_argument("--revision", help="branch that Argo CD follows; default: the clone's")
    one.add_argument(
        "--app",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "PATH", "NAMESPACE"),
        help="an application, with the folder of its overlay; default: those in the stack file",
    )
    one.add_argument(
        "--source",
        nargs=2,
        metavar=("URL", "REVISION"),
        help="repository in which the applications' overlays are, if it is not this one",
    )
    one.add_argument("--template", type=Path, default=TEMPLATE, help="folder of another layout")

    two = commands.add_parser("promote", parents=[overlays], help=promote.__doc__)
    two.set_defaults(run=promote)
    two.add_argument("application")
    two.add_argument("source", help="environment to take the tags from")
    two.add_argument("target", help="environment to give them to")

    three = commands.add_parser("revert-images", parents=[overlays], help=revert_images.__doc__)
    three.set_defaults(run=revert_images)
    three.add_argument("application")
    three.add_argument("environment")
    three.add_argument("--to", metavar="REVISION", help="default: the last one with other tags")

    four = commands.add_parser("status", parents=[clone], help=status.__doc__)
    four.set_defaults(run=status_command)
    four.add_argument("environments", nargs="*", default=ENVIRONMENTS, metavar="ENVIRONMENT")
    four.add_argument("--json", action="store_true", help="for programs")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        with _clone(given.repo) as tree:
            code: int = given.run(tree, given)
            return code
    except (Refused, OverlayError, GitError, GitHubError, LayoutError, Unseen) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
