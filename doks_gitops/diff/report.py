"""Differences in GitHub's Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from doks_gitops import markdown
from doks_gitops.diff.compare import ApplicationDiff, EnvironmentDiff

TITLE = "What Argo CD would apply"
LIVE_TITLE = "What Argo CD would change in the cluster"
MOST_FINDINGS = 20
"""Failed checks that stand below the table."""
_SIGN = {"create": "+", "delete": "-"}


def comment(diffs: Sequence[EnvironmentDiff], title: str = TITLE) -> str:
    """A table with a row for each environment, and the differences below it.

    If that is too long for GitHub, the environments with the most differences are left with their
    row alone.
    """
    return markdown.fit(summary(diffs, title), [details(diff) for diff in diffs])


def summary(diffs: Sequence[EnvironmentDiff], title: str = TITLE) -> str:
    """The table."""
    lines = [f"### {title}", "", "| stack | applications | objects | checks |"]
    lines += ["| --- | --- | --- | --- |"]
    for diff in diffs:
        cells = (
            f"`{markdown.cell(diff.stack)}`", _applications(diff), _objects(diff), _checks(diff)
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    # Here, so that no shortening leaves them out.
    mandatory = [(diff.stack, x) for diff in diffs for x in diff.findings if x.mandatory]
    for stack, finding in mandatory[:MOST_FINDINGS]:
        text = _line(f"{stack}, {finding.application}: {finding.message}", "❌ ")
        lines += [*([""] if lines[-1].startswith("|") else []), text]
    if len(mandatory) > MOST_FINDINGS:
        lines.append(f"- ❌ {len(mandatory) - MOST_FINDINGS} more, see below")
    return "\n".join(lines)


def _applications(diff: EnvironmentDiff) -> str:
    if not diff.applications:
        return f"none of {diff.declared} changed"
    return f"{len(diff.applications)} of {diff.declared} changed"


def _objects(diff: EnvironmentDiff) -> str:
    operations = Counter(
        change.operation for application in diff.applications for change in application.changes
    )
    words = [
        f"**{operations[operation]} to {operation}**"
        if operation == "delete"
        else f"{operations[operation]} to {operation}"
        for operation in ("create", "update", "rename", "delete")
        if operations[operation]
    ]
    return ", ".join(words) or "no changes"


def _checks(diff: EnvironmentDiff) -> str:
    count = len(diff.notes)
    return _result(diff) + (f", {count} note{'s' * (count > 1)}" if count else "")


def _result(diff: EnvironmentDiff) -> str:
    if any(application.error for application in diff.applications):
        return "❌ can't be rendered"
    mandatory = sum(finding.mandatory for finding in diff.findings)
    if mandatory:
        return f"❌ {mandatory} would fail"
    return f"⚠️ {len(diff.findings)} to look at" if diff.findings else "✅ passed"


def details(diff: EnvironmentDiff) -> str:
    """The differences of one environment; empty if there are none."""
    if not (diff.applications or diff.findings or diff.notes):
        return ""
    lines = [f"<details><summary><code>{escape(diff.stack)}</code>: applications</summary>", ""]
    for finding in diff.findings:
        sign = "❌ " if finding.mandatory else "⚠️ "
        lines.append(_line(f"{finding.application}: {finding.message}", sign))
    lines += map(_line, diff.notes)
    for application in diff.applications:
        lines += ["", *_application(application)]
    return "\n".join([*lines, "", "</details>", ""])


def _line(text: str, sign: str = "") -> str:
    return f"- {sign}{markdown.prose(markdown.shortened(text))}"


def _application(application: ApplicationDiff) -> Iterator[str]:
    name = escape(markdown.plain(application.name))
    verb = "" if application.operation == "update" else f", to {application.operation}"
    yield f"<details><summary><b>{name}</b>{verb}</summary>"
    yield ""
    if application.error:
        yield markdown.fenced("text", application.error)
    for change in application.changes:
        origin = f", was {change.renamed_from}" if change.operation == "rename" else ""
        head = f"{_SIGN.get(change.operation, '!')} {change.operation} {change.key}{origin}"
        yield markdown.fenced("diff", "\n".join([markdown.one_line(head), *change.diff]))
    yield ""
    yield "</details>"
