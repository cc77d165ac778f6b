"""`bin/platform preview`, `deploy`, `drift` and `policy`: for people, and for workflows."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.cli.output import publish
from doks_gitops.cli.volumes import record_after
from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.errors import PlatformError

if TYPE_CHECKING:
    from doks_gitops.ci.preview import Preview
    from doks_gitops.stack import Stack

_PREVIEW, _DRIFT = "preview", "drift"
"""Names by which the comment and the issue are found again; the first is that of the check, too."""

app = typer.Typer()


@app.command(
    epilog=examples(
        ("bin/platform preview", "What `pulumi up` would change in each stack."),
        ("bin/platform preview --stack dev --comment 7", "The same, on pull request 7."),
    )
)
def preview(
    stacks: options.Stacks = None,
    comment: Annotated[
        int | None,
        typer.Option("--comment", metavar="NUMBER", help="Pull request to comment on."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="File to add the comment's text to."),
    ] = None,
    picture: options.Picture = None,
    exports: Annotated[
        Path | None,
        typer.Option(
            "--exports",
            metavar="FOLDER",
            help="Start from these exports of the stacks, without their state and secrets.",
        ),
    ] = None,
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Show what `pulumi up` would change in each stack, and the policies that this breaks.

    Fails if a preview fails or breaks a mandatory policy, after the comment is written.
    """
    from doks_gitops.ci.export import file_name
    from doks_gitops.ci.preview import of_stacks, preview_of_export
    from doks_gitops.ci.preview import preview as run
    from doks_gitops.ci.report import comment as report

    def run_export(stack: Stack) -> Preview:
        assert exports is not None
        return preview_of_export(stack, exports / file_name(stack.name))

    results = of_stacks(stacks or ENVIRONMENTS, cwd, run if exports is None else run_export)
    text = report(results, "Preview")
    _publish(results, text, file, as_json=as_json)
    if picture is not None:
        from doks_gitops.ci.picture import svg

        picture.write_text(svg(text))
    if comment is not None:
        from doks_gitops.github import Repository

        _report(Repository.from_environment().comment(comment, _PREVIEW, text))
    _require_allowed(results)


@app.command(
    epilog=examples(
        ("bin/platform deploy --stack dev", "Preview dev, check the policies, deploy it."),
        ("bin/platform deploy --stack dev -C ../platform", "The same of another checkout."),
    )
)
def deploy(
    stack: options.Stack,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FOLDER",
            help="Folder to write the deployed state to, without its secrets.",
        ),
    ] = None,
    allow_older: Annotated[
        bool,
        typer.Option("--allow-older", help="Deploy a commit without what was deployed last."),
    ] = False,
    cwd: options.Folder = Path(),
) -> None:
    """Run `pulumi up`, unless its preview fails or breaks a mandatory policy.

    Refuses a commit that does not contain the deployed one. A volume that can't be recorded after
    it is only a warning.
    """
    from doks_gitops.ci import commits
    from doks_gitops.ci.export import export as without_secrets
    from doks_gitops.ci.export import file_name
    from doks_gitops.ci.preview import of_stacks
    from doks_gitops.ci.preview import preview as run
    from doks_gitops.ci.report import comment
    from doks_gitops.policy.preview import PACK
    from doks_gitops.stack import Stack

    target = Stack(stack, cwd)
    check = None if allow_older else partial(commits.refuse_older, target)
    if check:
        check()
    results = of_stacks([stack], cwd, run)
    _publish(results, comment(results, f"Deployment of {stack}"))
    _require_allowed(results, "It was not deployed.")
    # Again, under Pulumi's lock: the preview has taken minutes, in which others may have deployed.
    target.up(policy_pack=PACK, check=check)
    if export is not None:
        without_secrets(target, commits.head(cwd)).write(export / file_name(stack))
    try:
        record_after(target)
    except PlatformError as error:
        # The stack is deployed: the stacks after it need not wait.
        fix = "".join(f"\nnext:  {line}" for line in (error.fix or "").splitlines())
        _report(f"warning: {error.problem}{fix}")


@app.command(
    epilog=examples(
        ("bin/platform exports exports", "The exports of dev, staging and prod."),
        ("bin/platform exports exports --stack dev --branch release", "Of another branch."),
    )
)
def exports(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write them to.")],
    stacks: options.Stacks = None,
    branch: Annotated[
        str, typer.Option("--branch", metavar="BRANCH", help="Branch that is deployed.")
    ] = "main",
) -> None:
    """Download the exports that the last deployments of the stacks have left on GitHub.

    A stack without a deployment gets an empty one.
    """
    from doks_gitops.ci.export import download
    from doks_gitops.github import Repository

    repository = Repository.from_environment()
    for stack in stacks or ENVIRONMENTS:
        download(repository, stack, branch, folder)


@app.command(
    epilog=examples(
        ("bin/platform comment 7 preview.md", "Write a preview on pull request 7."),
        ("bin/platform comment 7 preview.md diff.md", "Both texts, in one comment."),
        ("bin/platform comment 7 diff.md --check 3f2a91c", "The same as a check, which fails."),
    )
)
def comment(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The pull request.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The texts, in Markdown.")],
    check: Annotated[
        str | None,
        typer.Option("--check", metavar="COMMIT", help="Write a check on this commit, too."),
    ] = None,
    passed: Annotated[
        bool, typer.Option("--passed", help="The check passes; without this option, it fails.")
    ] = False,
) -> None:
    """Write the texts of files as the preview's comment on a pull request.

    For workflows, in which the preview itself may not write comments.
    """
    from doks_gitops.github import Repository
    from doks_gitops.markdown import together

    if passed and check is None:
        raise PlatformError("--passed is about a check.", "Add --check COMMIT.")
    text = together([_text(file) for file in files])
    repository = Repository.from_environment()
    _report(repository.comment(number, _PREVIEW, text))
    if check is not None:
        passed = passed and all(file.exists() for file in files)
        title = "Nothing would fail" if passed else "Something would fail, see below"
        _report(repository.check(check, _PREVIEW, title, text, passed=passed))


def _text(file: Path) -> str:
    if file.is_symlink():
        # What a pull request runs has written it: it may name a file with a token in it.
        raise PlatformError(f"{file} is a link.", "Pass the file itself.")
    try:
        return file.read_text()
    except FileNotFoundError:
        return f"### ❌ {file.stem}\n\nIt failed without a result: see the run of the workflow."
    except (OSError, UnicodeDecodeError) as error:
        raise PlatformError(f"{file} can't be read: {error}") from None


@app.command(
    epilog=examples(
        ("bin/platform drift", "What was changed by hand, in each stack."),
        ("bin/platform drift --stack dev --issue", "The same, as an issue on GitHub."),
    )
)
def drift(
    stacks: options.Stacks = None,
    issue: Annotated[
        bool, typer.Option("--issue", help="Open, update or close an issue on GitHub.")
    ] = False,
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Show what was changed in each stack since its last deployment.

    Compares with the program of the deployed commit. A node pool that the state does not have is
    drift, too. Drift is no failure; a stack that can't be compared is one, and no drift.
    """
    from doks_gitops.ci.preview import drift as run
    from doks_gitops.ci.preview import of_stacks
    from doks_gitops.ci.report import comment

    results = of_stacks(stacks or ENVIRONMENTS, cwd, run)
    drifted = [result.stack for result in results if result.changes or result.orphans]
    failed = [result for result in results if result.error]
    title = f"Drift in {', '.join(drifted)}" if drifted else "No drift"
    if failed:
        not_compared = f"{', '.join(result.stack for result in failed)} could not be compared"
        compared = drifted or len(failed) < len(results)
        title = f"{title}; {not_compared}" if compared else f"❌ {not_compared}"
    text = comment(results, title)
    _publish(results, text, as_json=as_json)
    if issue:
        from doks_gitops.github import Repository

        repository = Repository.from_environment()
        if drifted:
            if any(result.changes for result in results):
                text += "\n`pulumi up --refresh --stack STACK` reverts the changes.\n"
            _report(repository.issue(_DRIFT, title, text))
        elif not failed:
            repository.close_issue(_DRIFT, "There is no drift any more.")
    _fail_if(failed)


@app.command(
    epilog=examples(
        ("bin/platform policy", "Check the policies in each stack."),
        ("bin/platform policy --stack dev --json", "The same, for programs."),
    )
)
def policy(
    stacks: options.Stacks = None,
    as_json: options.Json = False,
    cwd: options.Folder = Path(),
) -> None:
    """Check the policies against the preview of each stack.

    Fails if a preview fails or breaks a mandatory policy.
    """
    from doks_gitops.ci.preview import of_stacks
    from doks_gitops.ci.preview import preview as run
    from doks_gitops.policy.rules import RULES

    results = of_stacks(stacks or ENVIRONMENTS, cwd, run)
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            print(*result.violations, sep="\n", end="\n" if result.violations else "")
            if result.error is None:
                verdict = "FORBIDDEN" if result.forbidden else "allowed"
                print(f"{result.stack}: {verdict} by {len(RULES)} policies")
    _require_allowed(results)


def _publish(
    results: Sequence[Preview], text: str, file: Path | None = None, *, as_json: bool = False
) -> None:
    publish(text, file, [asdict(result) for result in results] if as_json else None)


def _require_allowed(results: Sequence[Preview], consequence: str = "") -> None:
    """Raises `PlatformError` if a preview failed or breaks a mandatory policy."""
    _fail_if([result for result in results if result.error or result.forbidden], consequence)


def _fail_if(failed: Sequence[Preview], consequence: str = "") -> None:
    """Raises `PlatformError` if there are any."""
    if not failed:
        return
    problems = [
        f"The preview of {result.stack} failed: {result.error}"
        if result.error
        else f"{result.stack} breaks a mandatory policy, see above."
        for result in failed
    ]
    stacks = " ".join(f"--stack {result.stack}" for result in failed)
    raise PlatformError(
        "\n".join([*problems, consequence]).strip(), f"bin/platform preview {stacks}"
    )


def _report(text: str) -> None:
    print(text, file=sys.stderr)
