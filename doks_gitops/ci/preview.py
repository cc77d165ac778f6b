"""What `pulumi up` would change in a stack, with the policies that this breaks."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from doks_gitops.account import NOT_IN_STATE
from doks_gitops.ci import commits
from doks_gitops.ci.export import Export, isolated
from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError
from doks_gitops.policy.preview import SECRET, check
from doks_gitops.stack import Stack

OPERATIONS = ("create", "update", "delete", "replace", "import", "read")
"""The engine's operations that are shown. The single steps of a replacement are not. Neither is
`refresh`, which each resource has: what differs is updated or created in a further step."""
_PATH_SEGMENT = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[\]]+)')


@dataclass(frozen=True)
class Field:
    """One property that differs, by its path as Pulumi writes it."""

    path: str
    old: object
    new: object


@dataclass(frozen=True)
class Change:
    """What would happen to one resource."""

    operation: str
    """One of `OPERATIONS`."""
    type: str
    name: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Preview:
    """The preview of one stack."""

    stack: str
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    error: str | None = None
    """The engine's messages if the preview failed; nothing else is known then."""
    warnings: tuple[str, ...] = ()
    """What the program and the providers warn of, such as a replacement of the cluster."""
    violations: tuple[str, ...] = ()
    """Policies that it breaks, mandatory ones first."""
    forbidden: bool = False
    """Whether one of them is mandatory."""

    @classmethod
    def from_json(cls, stack: str, preview: Mapping[str, Any]) -> Preview:
        """The changes in the JSON of `pulumi preview --json`, policies not checked yet.

        https://www.pulumi.com/docs/iac/cli/commands/pulumi_preview/
        """
        changes: dict[str, Change] = {}
        for step in preview.get("steps") or []:
            urn, operation = step["urn"], step["op"]
            if operation not in OPERATIONS or _type(urn).startswith("pulumi:"):
                continue
            # What a refresh finds gone has two steps: it is deleted from the state, and created.
            if urn not in changes or changes[urn].operation != "replace":
                changes[urn] = Change(operation, _type(urn), _name(urn), tuple(_fields(step)))
        return cls(
            stack,
            tuple(changes.values()),
            (preview.get("changeSummary") or {}).get("same", 0),
            warnings=tuple(
                diagnostic["message"].strip().removeprefix("warning: ")
                for diagnostic in preview.get("diagnostics") or []
                # The engine's own warnings, which are about the machine, name no resource.
                if diagnostic["severity"] == "warning" and diagnostic.get("urn")
            ),
        )

    @property
    def orphans(self) -> tuple[str, ...]:
        """The warnings of what exists beside the stack, such as a node pool of a killed run."""
        return tuple(warning for warning in self.warnings if warning.startswith(NOT_IN_STATE))

    @property
    def count(self) -> dict[str, int]:
        """How many resources are created, updated and so on."""
        operations = [change.operation for change in self.changes]
        return {operation: operations.count(operation) for operation in dict.fromkeys(operations)}


def preview(stack: Stack) -> Preview:
    """Preview the stack and check the policies. A preview that fails is a result too."""
    return _result(stack.name, stack.preview)


def preview_of_export(stack: Stack, file: Path) -> Preview:
    """The same from an export, see `doks_gitops.ci.export`: without the stack's state and secrets.

    The encrypted values that differ from the deployed ones are warnings, as nothing else is known
    of them; so is a deployment that the export does not contain.
    """

    warnings: list[str] = []

    def run() -> dict[str, Any]:
        export = Export.read(file)
        if short_name(export.stack) != short_name(stack.name):
            raise PlatformError(f"{file} is the export of the stack {export.stack}.")
        warnings.extend(
            f"{key} has another encrypted value than the deployed one"
            for key in export.changed_secrets(stack.text())
        )
        if export.state is None:
            warnings.append(
                "no workflow has deployed this stack: if it was deployed by hand, its state is not"
                " lost, and the next run of deploy.yml leaves the export that previews need"
            )
        if export.deployed not in (None, export.commit):
            warnings.append(
                f"this preview begins with the state after the commit {export.commit}, but"
                f" {export.deployed} has been deployed since: it may show what is done already"
            )
        with isolated(stack, export) as copy:
            return copy.preview()

    result = _result(stack.name, run)
    return replace(result, warnings=(*warnings, *result.warnings))


def drift(stack: Stack) -> Preview:
    """What differs between a stack and what was deployed: the program of the deployed commit, with
    what was changed outside of Pulumi."""

    def run() -> dict[str, Any]:
        with commits.checked_out(stack.folder, commits.deployed(stack)) as folder:
            return Stack(stack.name, folder).preview(refresh=True)

    return _result(stack.name, run)


def of_stacks(names: Sequence[str], folder: Path, run: Callable[[Stack], Preview]) -> list[Preview]:
    """The results of `run` for the stacks of the project in `folder`, one after the other."""
    results = []
    for name in dict.fromkeys(names):
        print(f"preview of {name} ...", file=sys.stderr, flush=True)
        results.append(run(Stack(name, folder)))
    return results


def _result(stack: str, run: Callable[[], dict[str, Any]]) -> Preview:
    """The preview whose JSON `run` returns, with the policies that it breaks."""
    try:
        json = run()
    except PlatformError as error:
        return Preview(stack, error=error.problem)
    verdict = check(stack, json)
    return replace(
        Preview.from_json(stack, json), violations=verdict.violations, forbidden=verdict.forbidden
    )


def _type(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _name(urn: str) -> str:
    return urn.split("::", 3)[3]


def _fields(step: Mapping[str, Any]) -> Iterator[Field]:
    states = [(step.get(key) or {}).get("inputs") or {} for key in ("oldState", "newState")]
    for path in sorted(step.get("detailedDiff") or {}):
        old, new = (_value_at(state, path) for state in states)
        yield Field(path, _masked(old, new), _masked(new, old))


def _masked(value: object, other: object) -> object:
    """`value` with `[secret]` where `other` has a secret: it was one before, or is one now."""
    if other == SECRET:
        return SECRET
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return {key: _masked(item, other.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(other, list):
        return [
            _masked(item, other[index] if index < len(other) else None)
            for index, item in enumerate(value)
        ]
    return value


def _value_at(value: object, path: str) -> object:
    for quoted, index, plain in _PATH_SEGMENT.findall(path):
        if index and isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        elif isinstance(value, Mapping):
            value = value.get(quoted or plain or index)
        else:
            return None
    return value
