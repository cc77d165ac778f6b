"""`bin/platform status`, `promote`, `revert-images` and `layout`: the monorepo."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.errors import PlatformError

if TYPE_CHECKING:
    from doks_gitops.promotion.proposal import Proposal

app = typer.Typer()

Application = Annotated[
    str, typer.Argument(metavar="APP", help="An application, without its project's name.")
]
Overlay = Annotated[
    str,
    typer.Option(
        "--overlay",
        metavar="PATTERN",
        help="Folder of an overlay; {env}, {stack} and {app} stand for the stack's environment, its"
        " name and the application.",
    ),
]


class NamedApp(NamedTuple):
    """The three values of `--app`."""

    name: str
    path: str
    namespace: str


class _LayoutCommand(TyperCommand):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.name == "apps":
                # Typer has no option that takes three values and may be repeated.
                parameter.nargs = len(NamedApp._fields)


@app.command(
    epilog=examples(
        ("bin/platform status", "Every environment."),
        ("bin/platform status --stack dev --stack staging --json", "Two of them, for programs."),
    )
)
def status(
    stacks: options.Stacks = None,
    repo: options.Repo = ".",
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Show where each application stands in each environment, and how far behind the one before it.

    Exit code 1 if an environment can't be read.
    """
    from doks_gitops.git import GitError
    from doks_gitops.promotion import status
    from doks_gitops.promotion.repository import clone

    with clone(repo, cwd) as tree:
        try:
            tree.git("fetch", "--quiet", "origin")
        except GitError as error:
            _note(f"commits are counted without those that were not fetched: {error.problem}")
        result = status.read(stacks or ENVIRONMENTS, cwd, tree.commits_between)
    print(json.dumps(status.as_json(result), indent=2) if as_json else status.table(result))
    if result.unreachable:
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        ("bin/platform promote shop --from dev --to staging --dry-run", "Only show the change."),
        ("bin/platform promote shop --from staging --to prod --pull-request", "Propose it."),
    )
)
def promote(
    application: Application,
    source: Annotated[
        str, typer.Option("--from", metavar="STACK", help="The stack to take the tags from.")
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="STACK", help="The stack whose overlay gets the tags.")
    ],
    repo: options.Repo = ".",
    overlay: Overlay = "kustomize/{env}",
    dry_run: options.DryRun = False,
    pull_request: options.PullRequest = False,
    cwd: options.Folder = Path(),
) -> None:
    """Give the overlay of one stack the image tags of another.

    The application must run these tags there, Synced and Healthy, and the registry must have them.
    """
    from doks_gitops.promotion.promote import promote
    from doks_gitops.promotion.repository import clone

    with clone(repo, cwd) as tree:
        tree.check_ready(pull_request=pull_request)
        proposal = promote(
            tree, application, source=source, target=target, overlay_pattern=overlay, folder=cwd
        )
        _show_and_publish(
            proposal,
            f"The overlay of {target} has these image tags already.",
            dry_run=dry_run,
            pull_request=pull_request,
        )


@app.command(
    epilog=examples(
        ("bin/platform revert-images shop --stack dev", "To the tags before the last change."),
        ("bin/platform revert-images shop --stack dev --to 3f2a91c", "To those of a commit."),
    )
)
def revert_images(
    application: Application,
    stack: options.Stack,
    revision: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="REVISION", help="Default: the last revision with other image tags."
        ),
    ] = None,
    repo: options.Repo = ".",
    overlay: Overlay = "kustomize/{env}",
    dry_run: options.DryRun = False,
    pull_request: options.PullRequest = False,
    cwd: options.Folder = Path(),
) -> None:
    """Give the overlay of a stack the image tags of an earlier revision, and no other change."""
    from doks_gitops.promotion.promote import revert_images
    from doks_gitops.promotion.repository import clone

    with clone(repo, cwd) as tree:
        tree.check_ready(pull_request=pull_request)
        proposal = revert_images(
            tree,
            application,
            stack=stack,
            revision=revision,
            overlay_pattern=overlay,
            folder=cwd,
        )
        _show_and_publish(
            proposal,
            f"The overlay of {stack} has these image tags already.",
            dry_run=dry_run,
            pull_request=pull_request,
        )


@app.command(
    cls=_LayoutCommand,
    epilog=examples(
        (
            "bin/platform layout --stack dev --app shop kustomize/dev shop-dev --dry-run",
            "Only show the files for one application.",
        ),
        ("bin/platform layout --stack dev --check", "Check what is in Git already."),
    ),
)
def layout(
    stack: options.Stack,
    repo: options.Repo = ".",
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The repository's URL in the stack file; default: the clone's."
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="REV", help="Branch that Argo CD follows; default: the clone's."),
    ] = None,
    apps: Annotated[
        list[NamedApp] | None,
        typer.Option(
            "--app",
            metavar="NAME PATH NAMESPACE",
            help="An application, and the folder of its overlay; may be repeated. Default: those"
            " of the stack file.",
        ),
    ] = None,
    source: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="URL REVISION",
            help="Repository with the applications' overlays, if it is another one.",
        ),
    ] = None,
    template: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder with another layout.")
    ] = None,
    owners: Annotated[
        str | None,
        typer.Option(
            metavar="@ORG/TEAM", help="GitHub team that owns the platform's folders (CODEOWNERS)."
        ),
    ] = None,
    limits: Annotated[
        bool,
        typer.Option(
            "--limits",
            help="Write only the chart with the limits of pull requests' environments.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if something in Git is wrong.")
    ] = False,
    dry_run: options.DryRun = False,
    pull_request: options.PullRequest = False,
    cwd: options.Folder = Path(),
) -> None:
    """Scaffold the GitOps folder of a stack's environment. Existing files stay as they are."""
    from doks_gitops.promotion.layout import TEMPLATE
    from doks_gitops.promotion.repository import clone
    from doks_gitops.promotion.scaffold import findings, scaffold

    of_scaffold: dict[str, object] = {
        "--url": url, "--revision": revision, "--app": apps, "--source": source,
        "--template": template, "--owners": owners,
    }  # fmt: skip
    if check:
        others = {"--limits": limits, "--pull-request": pull_request}
        options.refuse_without_effect("--check", of_scaffold | others)
    if limits:
        options.refuse_without_effect("--limits", of_scaffold)
    with clone(repo, cwd) as tree:
        if check:
            problems = findings(tree, stack, folder=cwd)
            print(*(problems or [f"The GitOps folder of {stack} is in order."]), sep="\n")
            if problems:
                raise typer.Exit(1)
            return
        tree.check_ready(pull_request=pull_request)
        if limits:
            from doks_gitops.promotion.pull_requests import chart_of_limits, read_settings

            settings, _, _ = read_settings(cwd, stack)
            _note(f"who may commit to {settings.limits_path} sets these limits (CODEOWNERS).")
            _show_and_publish(
                chart_of_limits(tree, settings),
                f"{settings.limits_path} is there already.",
                dry_run=dry_run,
                pull_request=pull_request,
            )
            return
        proposal, notes = scaffold(
            tree,
            stack,
            folder=cwd,
            url=url,
            revision=revision,
            named_apps=apps or (),
            source=source,
            template=cwd / template if template else TEMPLATE,
            owners=owners,
        )
        for note in notes:
            _note(note)
        _show_and_publish(
            proposal,
            f"{stack} is laid out already.",
            dry_run=dry_run,
            pull_request=pull_request,
        )


@app.command(
    name="pull-requests",
    epilog=examples(
        ("bin/platform pull-requests --stack dev", "All of them."),
        ("bin/platform pull-requests --stack dev --number 7 --wait 300", "Wait for one."),
    ),
)
def review_pull_requests(
    stack: options.Stack,
    number: Annotated[
        int | None,
        typer.Option(
            "--number",
            metavar="NUMBER",
            help="Tell on this pull request, and on those that lose their label.",
        ),
    ] = None,
    wait: Annotated[
        int,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="How long to wait for what was asked for."
        ),
    ] = 0,
    cwd: options.Folder = Path(),
) -> None:
    """Tell on each pull request what its environment is like, and take the label of those whose
    time is over, that are too many, or that are an unapproved fork's.

    With --wait: fails if an environment is not Healthy, or not gone, in this time.
    """
    from doks_gitops.github import Repository
    from doks_gitops.promotion.cluster import connected
    from doks_gitops.promotion.pull_requests import check_repository, read_settings, review

    settings, environment, name = read_settings(cwd, stack)
    repository = Repository.from_environment()
    check_repository(repository, name)
    with connected(stack, cwd) as cluster:
        result = review(
            repository, cluster, settings, environment=environment, number=number, wait=wait
        )
    lines = (f"pull request {item.number}: {item.text}\n" for item in result.reports)
    print(*lines, sep="\n", end="")
    if result.errors:
        raise PlatformError(
            "Argo CD can't read the pull requests: "
            + "; ".join(f"{name}: {text}" for name, text in sorted(result.errors.items())),
            f"If a token has expired, set doks-gitops:pullRequests.token, then: pulumi up --stack"
            f" {stack}",
        )
    if wait and not result.settled:
        raise typer.Exit(1)


def _show_and_publish(
    proposal: Proposal, unchanged: str, *, dry_run: bool, pull_request: bool
) -> None:
    if not proposal.files:
        print(unchanged)
        return
    print(proposal.summary(), end="")
    if dry_run:
        return
    branch, url = proposal.publish(pull_request=pull_request)
    print(f"Pushed to {branch}: {proposal.message}")
    if url is not None:
        print(url)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
