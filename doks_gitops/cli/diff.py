"""`bin/platform diff`: what Argo CD would apply."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
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
    from doks_gitops.diff.live import ArgoCd
    from doks_gitops.images import Tags

app = typer.Typer()


class Against(StrEnum):
    """What head is compared with."""

    BASE = "base"
    LIVE = "live"


@app.command(
    epilog=examples(
        ("bin/platform diff", "What Argo CD would apply after the commits of this branch."),
        ("bin/platform diff --base v1.2 --head v1.3 --stack prod", "Between two releases."),
        ("bin/platform diff --against live --stack dev", "What runs, against what is in Git."),
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
    against: Annotated[
        Against,
        typer.Option(
            "--against", help="What to compare with: another commit, or what runs in the cluster."
        ),
    ] = Against.BASE,
    argocd: Annotated[
        str | None,
        typer.Option(
            "--argocd",
            metavar="URL",
            help="Address of Argo CD, with --against live. Default: that of the stack's outputs.",
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: no charts, no remote bases.")
    ] = False,
    credentials: Annotated[
        bool,
        typer.Option("--credentials", help="Read private repositories, as the stacks' Argo CD."),
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
    picture: options.Picture = None,
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Show what Argo CD would apply after a change of the monorepo, and what would fail.

    Nothing is deployed, and no cluster and no token are needed, but for --against live. Fails if an
    application can't be rendered, or if a check fails.
    """
    from doks_gitops.diff import report
    from doks_gitops.diff.compare import Comparison
    from doks_gitops.diff.revisions import checked_out
    from doks_gitops.git import GitError
    from doks_gitops.promotion.repository import clone

    if against is Against.LIVE and len(stacks or ENVIRONMENTS) != 1:
        raise PlatformError(
            "--against live compares one stack, whose Argo CD the token is of.",
            "bin/platform diff --against live --stack STACK",
        )
    if argocd is not None and against is not Against.LIVE:
        raise PlatformError("--argocd needs --against live.", "Leave it out.")
    # What is compared with a cluster is head alone, but credentials are for the URLs of base.
    base_needed = against is Against.BASE or credentials
    with (
        clone(repo, cwd) as tree,
        checked_out(tree.folder, base, head, base_needed=base_needed) as revisions,
    ):
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
            with_credentials=credentials,
            tags=_tags() if check_images else None,
        )
        if against is Against.LIVE:
            [stack] = stacks or ENVIRONMENTS
            diffs = [comparison.with_cluster(stack, _argocd(stack, folder, argocd))]
        else:
            diffs = comparison.run(stacks or ENVIRONMENTS)
    text = report.comment(diffs, report.LIVE_TITLE if against is Against.LIVE else report.TITLE)
    publish(text, file, [_as_json(diff) for diff in diffs] if as_json else None)
    if picture is not None:
        from doks_gitops.ci.picture import svg

        picture.write_text(svg(text))
    _require_passed(diffs)


def _argocd(stack: str, folder: Path, url: str | None) -> ArgoCd:
    """The API of the stack's Argo CD. `url`: its address, unless the stack's outputs have it."""
    from doks_gitops.diff import live

    if url is None:
        from doks_gitops.stack import Stack

        outputs = Stack(stack, folder).outputs()
        if "argocdUrl" not in outputs:
            raise PlatformError(f"The stack {stack} is not deployed.", f"pulumi up --stack {stack}")
        url = str(outputs["argocdUrl"])
    return live.connect(url, os.environ.get(live.TOKEN))


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
