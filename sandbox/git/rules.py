"""The rules for pushes, and the pre-receive hook that rejects a push that violates them.

Run as a script this is the hook (https://git-scm.com/docs/githooks#pre-receive): it decides before
any ref is moved, and its output is shown to the user who pushes. It uses only the standard library,
so that it starts fast.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

VARIABLE = "SANDBOX_PUSH_RULES"
"""Environment variable with the `Rules` of a push as JSON; unset: no rules."""

NO_COMMIT = "0" * 40
"""The commit of a ref that does not exist, as in Git's hooks."""


@dataclass(frozen=True)
class Ruleset:
    """Rules for the refs that match a pattern of `include` and none of `exclude`. In a pattern `*`
    and `?` match characters other than slashes, `**` matches anything."""

    name: str
    include: Sequence[str]
    exclude: Sequence[str]
    rules: Sequence[str]
    """GitHub's rule types: `creation`, `update`, `deletion` and `non_fast_forward` forbid that
    change, `required_linear_history` merge commits, `pull_request` direct pushes."""
    checks: Sequence[str] = ()
    """The status checks that a commit must have passed before a branch may be moved to it."""
    bypassed: bool = False
    """The user may bypass the rules; violations are only reported."""

    def covers(self, ref: str) -> bool:
        return _matches(self.include, ref) and not _matches(self.exclude, ref)


@dataclass(frozen=True)
class Rules:
    """The rules for one push."""

    rulesets: Sequence[Ruleset]
    passed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The status checks that each commit has passed."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Rules":
        content = json.loads(text)
        return cls([Ruleset(**ruleset) for ruleset in content["rulesets"]], content["passed"])


@dataclass(frozen=True)
class Update:
    """A ref that the push would move."""

    ref: str
    old: str
    new: str
    forced: bool = False
    """The old commit is not an ancestor of the new one."""
    merges: bool = False
    """The new commits contain merge commits."""


def violations(update: Update, ruleset: Ruleset, passed: Mapping[str, Sequence[str]]) -> list[str]:
    """The rules of `ruleset` that the update violates, in GitHub's words."""
    if not ruleset.covers(update.ref):
        return []
    created, deleted = update.old == NO_COMMIT, update.new == NO_COMMIT
    messages = {
        "creation": created and "Cannot create ref due to creations being restricted.",
        "deletion": deleted and "Cannot delete this branch",
        "update": not created and not deleted and "Cannot update this protected ref.",
        "non_fast_forward": update.forced and "Cannot force-push to this branch",
        "required_linear_history": update.merges and "This branch must not contain merge commits.",
        "pull_request": not created
        and not deleted
        and "Changes must be made through a pull request.",
    }
    violated = [message for rule in ruleset.rules if (message := messages[rule])]
    if not deleted:
        violated += [
            f'Required status check "{check}" is expected.'
            for check in ruleset.checks
            if check not in passed.get(update.new, ())
        ]
    return violated


def _matches(patterns: Iterable[str], ref: str) -> bool:
    return any(re.fullmatch(_expression(pattern), ref) for pattern in patterns)


def _expression(pattern: str) -> str:
    wildcards = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return "".join(wildcards.get(part, re.escape(part)) for part in parts)


def _updates(lines: Iterable[str]) -> Iterator[Update]:
    for line in lines:
        old, new, ref = line.split(maxsplit=2)
        moved = NO_COMMIT not in (old, new)
        yield Update(
            ref=ref.strip(),
            old=old,
            new=new,
            forced=moved and _git("merge-base", "--is-ancestor", old, new) is None,
            merges=moved and bool(_git("rev-list", "--min-parents=2", f"{old}..{new}")),
        )


def _git(*arguments: str) -> str | None:
    """Git's output; None if it failed."""
    result = subprocess.run(["git", *arguments], text=True, capture_output=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None


def main() -> int:
    rules = Rules.from_json(os.environ[VARIABLE])
    rejected = False
    for update in _updates(sys.stdin):
        for ruleset in rules.rulesets:
            violated = violations(update, ruleset, rules.passed)
            if not violated:
                continue
            rejected = rejected or not ruleset.bypassed
            title = (
                "Bypassed rule violations"
                if ruleset.bypassed
                else "error: GH013: Repository rule violations found"
            )
            lines = [f"{title} for {update.ref}:", "", *(f"- {text}" for text in violated), ""]
            print("\n".join(lines), file=sys.stderr)
    return int(rejected)


if __name__ == "__main__":
    sys.exit(main())
