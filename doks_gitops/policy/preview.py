"""The rules, checked against a preview's JSON.

Pulumi's engine runs the policy pack in each deployment (`doks_gitops.stack.Stack.up`). From the
JSON, the rules can also be checked without a deployment, and see what the engine does not tell a
pack: whether a resource is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from doks_gitops.policy.rules import ENVIRONMENT, RULES, Resource, unknown

PACK = Path(__file__).parent
"""The policy pack, as `pulumi up --policy-pack` takes it."""
CONFIG = PACK / "config.json"
"""The pack's configuration, as `pulumi up --policy-pack-config` takes it."""
SECRET = "[secret]"  # noqa: S105 (no secret itself)
"""Pulumi's placeholder for a secret."""
_REPLACING = ("replace", "create-replacement")
_DELETED = ("delete", "delete-replaced", "discard", "discard-replaced")


@dataclass(frozen=True)
class Verdict:
    """The violations in one preview."""

    violations: tuple[str, ...]
    """Those of mandatory rules first."""
    forbidden: bool
    """Whether one of them is mandatory."""


def check(stack: str, preview: Mapping[str, Any]) -> Verdict:
    """Check the rules against a preview of `stack`, see `doks_gitops.stack.Stack.preview`.

    Each rule is about one resource, so the preview's resources are all that is needed: the
    unchanged ones too, as in the engine.

    A rule that needs a secret, or a value that only the deployment will know, is reported as not
    checked: a mandatory one forbids the deployment.
    """
    environment = (preview.get("config") or {}).get(ENVIRONMENT)
    config: dict[str, dict[str, Any]] = json.loads(CONFIG.read_text())
    mandatory: list[str] = []
    advisory: list[str] = []
    for step in preview.get("steps") or []:
        state = step.get("newState")
        if state is None or step["op"] in _DELETED:
            continue
        properties = unknown_checking_proxy(_secrets_unknown(state.get("inputs") or {}))
        for rule in RULES:
            if state["type"] not in rule.types:
                continue
            resource = Resource(
                state["urn"],
                state["type"],
                properties,
                protect=bool(state.get("protect")),
                config=config.get(rule.name, {}),
                environment=environment,
                replaced=step["op"] in _REPLACING,
            )
            label = f"{rule.name} ({stack}, {state['urn'].rpartition('::')[2]})"
            try:
                violations = list(rule.violations(resource))
            except UnknownValueError as error:
                violations = [unknown(error.message)]
            (mandatory if rule.mandatory else advisory).extend(
                f"{label}: {text}" for text in violations
            )
    # A replaced resource has several steps with the same new state.
    return Verdict(tuple(dict.fromkeys((*mandatory, *advisory))), bool(mandatory))


def _secrets_unknown(value: Any) -> Any:
    """Returns the value with each secret replaced by Pulumi's mark of an unknown value."""
    if isinstance(value, Mapping):
        return {key: _secrets_unknown(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_secrets_unknown(element) for element in value]
    return UNKNOWN_STRING_VALUE if value == SECRET else value
