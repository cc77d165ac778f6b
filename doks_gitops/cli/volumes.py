"""`bin/platform volumes`: whose claim each volume is, snapshots, and their restoration."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.errors import PlatformError, raise_all

if TYPE_CHECKING:
    from doks_gitops.settings import Settings
    from doks_gitops.settings.model import Copies, CopyCredentials
    from doks_gitops.stack import Stack
    from doks_gitops.volumes import Claim
    from doks_gitops.volumes.stacks import StackVolumes

app = typer.Typer(
    no_args_is_help=True,
    help="Whose claim each volume is, snapshots, and their restoration.",
    epilog=examples(
        ("bin/platform volumes list", "What is recorded in the account, of each stack."),
        ("bin/platform volumes restore SNAPSHOT --stack dev", "Go back to a snapshot."),
    ),
)


@app.command(
    "list",
    epilog=examples(
        ("bin/platform volumes list", "The recorded volumes of every stack, and their snapshots."),
        ("bin/platform volumes list --stack prod --json", "The same of prod, for programs."),
    ),
)
def list_volumes(
    stacks: options.Stacks = None, as_json: options.Json = False, cwd: options.Folder = Path()
) -> None:
    """List the volumes and snapshots that are recorded in the account, also after a loss."""
    from doks_gitops.volumes.listing import listing, table

    rows = []

    def add(_: str, stack: StackVolumes | None) -> None:
        rows.extend(listing(stack) if stack is not None else [])

    failures = _of_each(stacks, cwd, add)
    print(json.dumps(rows, indent=2) if as_json else table(rows))
    raise_all(failures)


@app.command(
    epilog=examples(
        ("bin/platform volumes record", "What the workflow does every 15 minutes."),
        ("bin/platform volumes record --stack dev", "The same for one stack."),
    )
)
def record(stacks: options.Stacks = None, cwd: options.Folder = Path()) -> None:
    """Record in the account whose claim each volume is, as tags on the volumes.

    Volumes of a protected cluster, or with `volumes.retain`, outlive their claims from then on.
    Fails if a volume can't be recorded, after it has recorded the others.
    """

    def run(name: str, stack: StackVolumes | None) -> None:
        if stack is None:
            print(f"{name}: no volumes are recorded, as the stack file has no `volumes`.")
            return
        _record(name, stack, "bin/platform volumes list")

    raise_all(_of_each(stacks, cwd, run))


@app.command(
    epilog=examples(
        ("bin/platform volumes snapshot", "The snapshots that are due, and deletes the oldest."),
        ("bin/platform volumes snapshot --stack dev --now", "One of each volume, due or not."),
    )
)
def snapshot(
    stacks: options.Stacks = None,
    now: Annotated[bool, typer.Option("--now", help="Also those that are not due yet.")] = False,
    cwd: options.Folder = Path(),
) -> None:
    """Take the snapshots that are due by `volumes.snapshots`, and delete those beyond its number.

    Knows the volumes by what was recorded, so it needs no access to the clusters.
    """
    from doks_gitops.volumes.listing import take

    def run(name: str, stack: StackVolumes | None) -> None:
        if stack is None or stack.settings.snapshots is None:
            print(f"{name}: the stack file has no `volumes.snapshots`.")
            return
        for line in take(stack, stack.settings.snapshots, at_once=now):
            print(f"{name}: {line}", flush=True)

    raise_all(_of_each(stacks, cwd, run))


@app.command(
    epilog=examples(
        ("bin/platform volumes copy", "The copies that are due, and deletes the oldest."),
        ("bin/platform volumes copy --stack dev --now", "One of each volume, due or not."),
    )
)
def copy(
    stacks: options.Stacks = None,
    now: Annotated[bool, typer.Option("--now", help="Also those that are not due yet.")] = False,
    cwd: options.Folder = Path(),
) -> None:
    """Copy the newest snapshots to the bucket of `volumes.copies`, and delete the oldest copies.

    Runs in the stack's cluster, in a namespace of its own, on volumes that are made of the
    snapshots. The keys come from the environment; without them, from the stack file.
    """
    from doks_gitops.volumes.copies import copy as run_copy

    def run(name: str, stack: StackVolumes | None) -> None:
        copies = stack.settings.copies if stack is not None else None
        if stack is None or copies is None:
            print(f"{name}: the stack file has no `volumes.copies`.")
            return
        copies, credentials = _with_credentials(name, copies, cwd)
        for line in run_copy(stack, copies, credentials, at_once=now):
            print(f"{name}: {line}", flush=True)

    raise_all(_of_each(stacks, cwd, run))


def _with_credentials(name: str, copies: Copies, cwd: Path) -> tuple[Copies, CopyCredentials]:
    """The settings of the copies, completed by the environment if that has the credentials, so that
    no state and no passphrase is needed; else by the stack."""
    from doks_gitops.settings.load import with_copies_of_environment
    from doks_gitops.stack import Stack
    from doks_gitops.volumes.copies import required

    completed = with_copies_of_environment(name, copies, os.environ)
    if completed.credentials is not None:
        return completed, completed.credentials
    return required(Stack(name, cwd).settings())


@app.command(
    epilog=examples(
        ("bin/platform volumes restore SNAPSHOT --stack dev", "For the claim that it is of."),
        ("bin/platform volumes restore SNAPSHOT --stack dev --claim shop/data", "For another one."),
    )
)
def restore(
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="ID or name of a snapshot.")],
    stack: options.Stack,
    claim: Annotated[
        str | None,
        typer.Option(
            "--claim",
            metavar="NAMESPACE/NAME",
            help="The claim that gets it. Default: the one that it was taken for.",
        ),
    ] = None,
    yes: options.Yes = False,
    cwd: options.Folder = Path(),
) -> None:
    """Give one claim of a running cluster what its volume was when a snapshot was taken.

    Only the pods that use the claim start again. Its present volume stays in the account.
    """
    from doks_gitops.volumes.restore import restore as run
    from doks_gitops.volumes.stacks import VolumesError, volumes_from_environment

    options.require_an_answer(yes=yes, how="to restore without a question")

    def approve(question: str) -> None:
        if yes:
            _report(question)
        else:
            typer.confirm(question, abort=True)

    target = claim_of(claim) if claim is not None else None
    with volumes_from_environment(stack, cwd) as volumes:
        if volumes is None:
            raise VolumesError(
                f"The stack file of {stack} has no `volumes`.",
                f"pulumi config set --path doks-gitops:volumes.snapshots.keep 7 --stack {stack}",
            )
        run(volumes, snapshot, target, approve, print)


def _of_each(
    stacks: Sequence[str] | None, cwd: Path, run: Callable[[str, StackVolumes | None], None]
) -> list[PlatformError]:
    """Run it for each stack, also after one that fails; returns the failures."""
    from doks_gitops.volumes.stacks import volumes_from_environment

    failures = []
    for name in stacks or ENVIRONMENTS:
        try:
            with volumes_from_environment(name, cwd) as stack:
                run(name, stack)
        except PlatformError as error:
            failures.append(PlatformError(f"{name}: {error.problem}", error.fix))
    return failures


def claim_of(text: str) -> Claim:
    """The claim that an option names. Raises `BadParameter`."""
    from doks_gitops.volumes import Claim

    try:
        return Claim.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def decided(texts: Sequence[str]) -> dict[str, Claim]:
    """The claims by the volumes of options such as `VOLUME=NAMESPACE/CLAIM`."""
    claims = {}
    for text in texts:
        volume, _, claim = text.partition("=")
        claims[volume] = claim_of(claim)
    return claims


def record_after(stack: Stack, settings: Settings | None = None) -> None:
    """Record the claims after a run of the stack. Raises `PlatformError`.

    `settings`: the stack's; without them, they are read if its stack file has `volumes`.
    """
    from doks_gitops.settings import stackfile
    from doks_gitops.settings.model import NAMESPACE
    from doks_gitops.volumes.stacks import volumes_from_settings

    if settings is None:
        text = stack.file.read_text() if stack.file.exists() else ""
        if f"{NAMESPACE}:volumes" not in stackfile.values(text):
            return
        settings = stack.settings()
    with volumes_from_settings(settings) as volumes:
        if volumes is not None:
            _record(stack.name, volumes, f"bin/platform volumes record --stack {stack.name}")


def _record(name: str, volumes: StackVolumes, fix: str) -> None:
    recorded = volumes.record()
    for line in recorded.changed:
        _report(line)
    number = len(recorded.claims)
    _report(f"{name}: {number} volume{'' if number == 1 else 's'} recorded.")
    if recorded.problems:
        raise PlatformError("\n".join(recorded.problems), fix)


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
