"""What a push must hold to, and the pre-receive hook that refuses one that doesn't.

Run as a script it is the hook (https://git-scm.com/docs/githooks#pre-receive): it decides before
anything of the push is visible, and its complaint is what the person who pushes reads. It needs
nothing but the standard library, so that it starts fast.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

VARIABLE = "SANDBOX_PUSH_RULES"
"""Environment variable that holds the `Rules` of a push as JSON; without it there are none."""

NO_COMMIT = "0" * 40
"""What stands for the commit of a ref that is not there, as in Git's own hooks."""


@dataclass(frozen=True)
class Ruleset:
    """Rules for the refs that match a pattern of `include` and none of `exclude`. In a pattern `*`
    and `?` stand for what has no slash in it, `**` for anything."""

    name: str
    include: Sequence[str]
    exclude: Sequence[str]
    rules: Sequence[str]
    """Of `creation`, `update`, `deletion`, `non_fast_forward`, `required_linear_history`,
    `pull_request`; each forbids that, or what is not that."""
    checks: Sequence[str] = ()
    """What must have been found good about a commit before a branch may be moved to it."""
    bypassed: bool = False
    """Whoever pushes may break them, and is told."""

    def covers(self, ref: str) -> bool:
        return _matches(self.include, ref) and not _matches(self.exclude, ref)


@dataclass(frozen=True)
class Rules:
    """All that holds for one push."""

    rulesets: Sequence[Ruleset]
    passed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By commit, the checks that it has passed."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Rules":
        content = json.loads(text)
        return cls([Ruleset(**each) for each in content["rulesets"]], content["passed"])


@dataclass(frozen=True)
class Update:
    """One ref that is to be moved."""

    ref: str
    old: str
    new: str
    forced: bool = False
    """The old commit is not an ancestor of the new one."""
    merges: bool = False
    """There are merge commits among the new ones."""


def violations(update: Update, ruleset: Ruleset, passed: Mapping[str, Sequence[str]]) -> list[str]:
    """What of `ruleset` the update breaks, in GitHub's words."""
    if not ruleset.covers(update.ref):
        return []
    created, deleted = update.old == NO_COMMIT, update.new == NO_COMMIT
    broken = {
        "creation": created and "Cannot create ref due to creations being restricted.",
        "deletion": deleted and "Cannot delete this branch",
        "update": not created and not deleted and "Cannot update this protected ref.",
        "non_fast_forward": update.forced and "Cannot force-push to this branch",
        "required_linear_history": update.merges and "This branch must not contain merge commits.",
        "pull_request": not created
        and not deleted
        and "Changes must be made through a pull request.",
    }
    found = [text for rule in ruleset.rules if (text := broken[rule])]
    if not deleted:
        good = passed.get(update.new, ())
        found += [
            f'Required status check "{check}" is expected.'
            for check in ruleset.checks
            if check not in good
        ]
    return found


def _matches(patterns: Iterable[str], ref: str) -> bool:
    return any(re.fullmatch(_expression(pattern), ref) for pattern in patterns)


def _expression(pattern: str) -> str:
    stands_for = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return "".join(stands_for.get(part, re.escape(part)) for part in parts)


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
    """What Git printed; None if it said no."""
    done = subprocess.run(["git", *arguments], text=True, capture_output=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def main() -> int:
    rules = Rules.from_json(os.environ[VARIABLE])
    refused = False
    for update in _updates(sys.stdin):
        for ruleset in rules.rulesets:
            found = violations(update, ruleset, rules.passed)
            if not found:
                continue
            refused = refused or not ruleset.bypassed
            says = (
                "Bypassed rule violations"
                if ruleset.bypassed
                else "error: GH013: Repository rule violations found"
            )
            lines = [f"{says} for {update.ref}:", "", *(f"- {text}" for text in found), ""]
            print("\n".join(lines), file=sys.stderr)
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
