"""`bin/platform diff`: what Argo CD would apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.cli.output import publish
from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.errors import PlatformError

if TYPE_CHECKING:
    from doks_gitops.diff.compare import EnvironmentDiff
    from doks_gitops.images import Tags

app = typer.Typer()


@app.command(
    epilog=examples(
        ("bin/platform diff", "What Argo CD would apply after the commits of this branch."),
        ("bin/platform diff --base v1.2 --head v1.3 --stack prod", "Between two releases."),
    )
)
def diff(
    stacks: options.Stacks = None,
    repo: options.Repo = ".",
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="REV", help="Branch to merge into. Default: the remote's own."
        ),
    ] = None,
    head: Annotated[
        str, typer.Option("--head", metavar="REV", help="The commits to merge.")
    ] = "HEAD",
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: no charts, no remote bases.")
    ] = False,
    allow_prune: Annotated[
        bool, typer.Option("--allow-prune", help="Allow the deletion of data in prod.")
    ] = False,
    check_images: Annotated[
        bool,
        typer.Option("--check-images", help="Look images up in the registry of your token."),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="File to add the comment's text to."),
    ] = None,
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Show what Argo CD would apply after a change of the monorepo, and what would fail.

    Nothing is deployed, and no cluster and no token are needed. Fails if an application can't be
    rendered, or if a check fails.
    """
    from doks_gitops.diff import report
    from doks_gitops.diff.compare import Comparison
    from doks_gitops.diff.revisions import checked_out
    from doks_gitops.promotion.repository import GitError, clone

    with clone(repo, cwd) as tree, checked_out(tree.folder, base, head) as revisions:
        folder = cwd.resolve()
        is_inside = folder.is_relative_to(revisions.clone)
        try:
            origin = tree.url()
        except GitError:
            origin = None
        comparison = Comparison(
            revisions,
            project=folder.relative_to(revisions.clone) if is_inside else None,
            folder=folder,
            origin=origin,
            offline=offline,
            prune_allowed=allow_prune,
            tags=_tags() if check_images else None,
        )
        diffs = comparison.run(stacks or ENVIRONMENTS)
    text = report.comment(diffs)
    publish(text, file, [_as_json(diff) for diff in diffs] if as_json else None)
    _require_passed(diffs)


def _tags() -> Tags:
    """The tags in the team's registry, read with the token in DIGITALOCEAN_TOKEN."""
    from functools import cache

    from doks_gitops.account import DigitalOceanClient

    return cache(DigitalOceanClient.from_environment().tags)


def _as_json(diff: EnvironmentDiff) -> dict[str, Any]:
    """The differences for programs. Objects are left out: they may be Secrets."""
    return {
        "stack": diff.stack,
        "applications": [
            {
                "name": application.name,
                "operation": application.operation,
                "error": application.error,
                "changes": [
                    {
                        "operation": change.operation,
                        **change.key._asdict(),
                        "renamedFrom": change.renamed_from and change.renamed_from._asdict(),
                        "diff": change.diff,
                    }
                    for change in application.changes
                ],
            }
            for application in diff.applications
        ],
        "findings": [asdict(finding) for finding in diff.findings],
        "notes": diff.notes,
        "rendered": diff.rendered,
        "declared": diff.declared,
    }


def _require_passed(diffs: Sequence[EnvironmentDiff]) -> None:
    failed = [diff.stack for diff in diffs if diff.failed]
    if failed:
        stacks = " ".join(f"--stack {stack}" for stack in failed)
        raise PlatformError(
            f"The change would fail in {', '.join(failed)}, see above.",
            f"Correct it, commit, then run: bin/platform diff {stacks}",
        )
