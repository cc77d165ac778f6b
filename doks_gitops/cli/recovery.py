"""`bin/platform recover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.cli.volumes import decided, record_after

app = typer.Typer()


@app.command(
    epilog=examples(
        ("bin/platform recover --stack dev --dry-run", "Show the plan."),
        ("bin/platform recover --stack dev --cancel", "After a run that was killed."),
    )
)
def recover(
    stack: options.Stack,
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="First release the lock that a killed run left."),
    ] = False,
    new_state: Annotated[
        bool,
        typer.Option(
            "--new-state",
            help="The state is lost: create the stack, and let it own the cluster.",
        ),
    ] = False,
    abandon_cluster: Annotated[
        bool,
        typer.Option(
            "--abandon-cluster",
            help="The stack moves to another region: delete a cluster that does not answer.",
        ),
    ] = False,
    team: Annotated[
        str | None,
        typer.Option(
            "--team",
            metavar="UUID",
            help="The stack's DigitalOcean team, for a state that does not keep it yet.",
        ),
    ] = None,
    volumes: Annotated[
        list[str] | None,
        typer.Option(
            "--volume",
            metavar="VOLUME=NAMESPACE/CLAIM",
            help="Give the volume of this ID to the claim; may be repeated.",
        ),
    ] = None,
    left_volumes: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-volume",
            metavar="VOLUME",
            help="Do not bring back the volume of this ID, nor its snapshots; may be repeated.",
        ),
    ] = None,
    from_snapshots: Annotated[
        bool,
        typer.Option(
            "--from-snapshots",
            help="Restore the newest snapshots of volumes that are gone.",
        ),
    ] = False,
    from_copies: Annotated[
        bool,
        typer.Option(
            "--from-copies",
            help="Restore the newest copies of volumes that are in another region.",
        ),
    ] = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    cwd: options.Folder = Path(),
) -> None:
    """Bring a stack back after a loss: its cluster, Argo CD, its state, or the end of a killed run.

    Shows the plan, asks, and carries it out. It may be repeated at any time.

    Deletes nothing from the state that the account still has.
    """
    how = "to carry the plan out without a question, or --dry-run to only see it"
    options.require_an_answer(yes=yes or dry_run, how=how)
    from doks_gitops.recovery.observed import Consent
    from doks_gitops.recovery.run import Recovery
    from doks_gitops.stack import Stack

    def approve(question: str) -> None:
        if not yes:
            typer.confirm(question, abort=True)

    consent = Consent(
        new_state=new_state,
        abandon_cluster=abandon_cluster,
        team=team,
        volumes=decided(volumes or ()),
        left_volumes=frozenset(left_volumes or ()),
        snapshots=from_snapshots,
        copies=from_copies,
    )
    target = Stack(stack, cwd)
    settings = Recovery(target, None if dry_run else approve, consent).run(cancel=cancel)
    if settings is not None:
        record_after(target, settings)
