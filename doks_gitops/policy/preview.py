"""The same rules over what `pulumi preview --json` says, for where the engine can't run the pack.

The engine runs a policy pack by its language host; without one of Pulumi's own that can (as on a
machine that only reaches package registries), this is the other way: `bin/platform policy --stack STACK`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from doks_gitops.policy.rules import RULES, Resource

CONFIG = Path(__file__).with_name("config.json")
"""The pack's configuration, as `--policy-pack-config` takes it."""
_SECRET = "[secret]"  # noqa: S105 (what Pulumi shows in a secret's place)
_GONE = ("delete", "delete-replaced", "discard", "discard-replaced")


@dataclass(frozen=True)
class Verdict:
    """What the rules say of one preview."""

    messages: tuple[str, ...]
    """What is wrong, mandatory rules first."""
    forbidden: bool
    """Whether a mandatory rule is broken."""


def run(stack: str, *options: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    """`pulumi preview` of the stack in the working directory, and the JSON that it said: None if it
    said none. What was wrong before a change is wrong still, so what stays is in it too."""
    listed = ["--json", "--show-sames", "--non-interactive"]
    done = subprocess.run(
        ["pulumi", "preview", *listed, "--stack", stack, *options],
        check=False,
        text=True,
        capture_output=True,
    )
    try:
        return done, json.loads(done.stdout)
    except ValueError:
        return done, None


def errors(said: Mapping[str, Any]) -> list[str]:
    """What the JSON of a preview says that failed."""
    diagnostics = said.get("diagnostics") or []
    return [each["message"] for each in diagnostics if each["severity"] == "error"]


def check(stack: str, said: Mapping[str, Any]) -> Verdict:
    """The rules' verdict on `said`, the JSON of `pulumi preview --json` of `stack`.

    No rule is about more than one resource, so the stack's state is never read: what is asked is
    what `said` lists. Pulumi leaves out what does not change, which the engine's own policies do
    look at, unless it is previewed with `--show-sames`, as `run` does.

    A rule that needs a value which only the deployment will tell, or which is secret, says so and
    forbids nothing, as in the engine.
    """
    config: dict[str, dict[str, Any]] = json.loads(CONFIG.read_text())
    forbidden: list[str] = []
    advised: list[str] = []
    for step in said.get("steps") or []:
        state = step.get("newState")
        if state is None or step["op"] in _GONE:
            continue
        properties = unknown_checking_proxy(_without_secrets(state.get("inputs") or {}))
        for rule in (each for each in RULES if state["type"] in each.types):
            resource = Resource(
                state["urn"],
                state["type"],
                properties,
                protect=bool(state.get("protect")),
                config=config.get(rule.name, {}),
            )
            where = f"{rule.name} ({stack}, {state['urn'].rpartition('::')[2]})"
            try:
                found = forbidden if rule.mandatory else advised
                found += [f"{where}: {each}" for each in rule.violations(resource)]
            except UnknownValueError as error:
                advised.append(f"{where}: not asked, for a {error.message}")
    return Verdict((*forbidden, *advised), bool(forbidden))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_secrets(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return UNKNOWN_STRING_VALUE if value == _SECRET else value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bin/platform policy", description=__doc__)
    parser.add_argument("stack", metavar="STACK")
    stack = parser.parse_args(arguments).stack
    done, said = run(stack)
    if done.returncode:
        print("\n".join(errors(said or {})) or done.stderr or done.stdout, file=sys.stderr)
        print(f"error: {' '.join(done.args)} failed, so no policy was asked", file=sys.stderr)
        return done.returncode
    verdict = check(stack, said or {})
    for message in verdict.messages:
        print(message)
    print(f"{stack}: {'FORBIDDEN' if verdict.forbidden else 'allowed'} by {len(RULES)} policies")
    return int(verdict.forbidden)


if __name__ == "__main__":
    sys.exit(main())
