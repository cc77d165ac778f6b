"""The command line: `bin/platform`. Run it where `pulumi preview --stack STACK` works."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from doks_gitops.ci import report
from doks_gitops.github import GitHubError, Repository
from doks_gitops.ci.preview import Preview, Unreadable, preview
from doks_gitops.policy.preview import check
from doks_gitops.settings.scalars import ENVIRONMENTS

_PREVIEW, _DRIFT = "preview", "drift"


def previews(stacks: Sequence[str], *, refresh: bool = False) -> list[Preview]:
    """The previews of the stacks, with the policies that they break."""
    made = []
    for stack in stacks:
        print(f"preview of {stack} ...", file=sys.stderr, flush=True)
        try:
            found, said = preview(stack, refresh=refresh)
        except Unreadable as error:
            made.append(Preview(stack, error=str(error)))
            continue
        if found.error is None:
            verdict = check(stack, said)
            found = replace(found, violations=verdict.messages, forbidden=verdict.forbidden)
        made.append(found)
    return made


def _say(text: str, file: Path | None) -> None:
    """On the terminal, in `file`, and where a workflow's run shows its summary."""
    print(text)
    for path in [file, os.environ.get("GITHUB_STEP_SUMMARY")]:
        if path:
            with Path(path).open("a") as summary:
                summary.write(text + "\n")


def preview_command(
    stacks: Sequence[str], pull_request: int | None, file: Path | None, picture: Path | None
) -> int:
    """Exit code 1 if a preview fails or breaks a mandatory policy; the comment is made before."""
    found = previews(stacks)
    text = report.comment(found, "Preview")
    _say(text, file)
    if picture is not None:
        # What it is drawn with is not installed where only the program is.
        from doks_gitops.ci.picture import svg

        picture.write_text(svg(text))
    if pull_request is not None:
        print(Repository.from_environment().comment(pull_request, _PREVIEW, text), file=sys.stderr)
    return int(any(each.error or each.forbidden for each in found))


def drift_command(stacks: Sequence[str], *, issue: bool) -> int:
    """Exit code 0 whether there is drift or not, as long as it could be told; else 1."""
    found = previews(stacks, refresh=True)
    drifted = [each.stack for each in found if each.changes or each.error]
    title = f"Drift in {', '.join(drifted)}" if drifted else "No drift"
    text = report.comment(found, title)
    _say(text, None)
    if issue and drifted:
        more = "\n`pulumi up --refresh --stack STACK` puts it back.\n"
        print(Repository.from_environment().issue(_DRIFT, title, text + more), file=sys.stderr)
    elif issue:
        Repository.from_environment().close_issue(_DRIFT, "Nothing differs any more.")
    return int(any(each.error for each in found))


def deploy_command(stack: str) -> int:
    """`pulumi up`, unless its preview fails or breaks a mandatory policy."""
    [found] = previews([stack])
    _say(report.comment([found], f"Deployment of {stack}"), None)
    if found.error or found.forbidden:
        print(f"error: {stack} was not deployed; see above", file=sys.stderr)
        return 1
    command = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", stack]
    return subprocess.run(command, check=False).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bin/platform", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("preview", help="preview stacks, with policies, as one comment")
    one.add_argument("stacks", nargs="*", default=ENVIRONMENTS, metavar="STACK")
    one.add_argument("--comment", type=int, metavar="NUMBER", help="pull request to comment on")
    one.add_argument("--file", type=Path, help="file to add the comment's text to")
    one.add_argument("--picture", type=Path, metavar="FILE", help="draw the comment, as SVG")
    two = commands.add_parser("drift", help="what differs from what was deployed")
    two.add_argument("stacks", nargs="*", default=ENVIRONMENTS, metavar="STACK")
    two.add_argument("--issue", action="store_true", help="open, update or close an issue")
    three = commands.add_parser("deploy", help="pulumi up, if the policies allow it")
    three.add_argument("stack", metavar="STACK")
    given = parser.parse_args(arguments)
    try:
        if given.command == "preview":
            return preview_command(given.stacks, given.comment, given.file, given.picture)
        if given.command == "drift":
            return drift_command(given.stacks, issue=given.issue)
        return deploy_command(given.stack)
    except GitHubError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
