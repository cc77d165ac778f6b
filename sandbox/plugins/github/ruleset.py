"""Rulesets of a repository (https://docs.github.com/en/rest/repos/rules), with the rules that the
emulated GitHub enforces."""

from typing import Any, ClassVar

from sandbox.plugins.bridge.resource import api_name
from sandbox.plugins.bridge.schema import (
    Fields,
    Properties,
    boolean,
    integer,
    list_of,
    object_of,
    one_of,
    set_of,
    string,
)
from sandbox.plugins.common import Failure
from sandbox.plugins.github.api import Api

_SIMPLE_RULES = ("creation", "update", "deletion", "nonFastForward", "requiredLinearHistory")
_REVIEWS = (
    "dismissStaleReviewsOnPush",
    "requireCodeOwnerReview",
    "requireLastPushApproval",
    "requiredReviewThreadResolution",
)
_CHECKS = ("strictRequiredStatusChecksPolicy", "doNotEnforceOnCreate")


class Ruleset:
    type = "github:index/repositoryRuleset:RepositoryRuleset"
    fields: ClassVar[Fields] = {
        "name": string(required=True, autonamed=True),
        "target": string(required=True, rule=one_of("branch", "push", "tag")),
        "repository": string(required=True),
        "enforcement": string(required=True, rule=one_of("disabled", "active", "evaluate")),
        "bypassActors": set_of(
            object_of(
                {
                    "actorId": integer(),
                    "actorType": string(
                        required=True,
                        rule=one_of(
                            "RepositoryRole",
                            "Team",
                            "Integration",
                            "OrganizationAdmin",
                            "DeployKey",
                            "EnterpriseOwner",
                            "User",
                        ),
                    ),
                    "bypassMode": string(
                        required=True, rule=one_of("always", "pull_request", "exempt")
                    ),
                }
            )
        ),
        "conditions": object_of(
            {
                "refName": object_of(
                    {
                        "includes": list_of(string(), required=True),
                        "excludes": list_of(string(), required=True),
                    },
                    required=True,
                )
            }
        ),
        "rules": object_of(
            {
                **{name: boolean() for name in _SIMPLE_RULES},
                "updateAllowsFetchAndMerge": boolean(),
                "pullRequest": object_of(
                    {
                        **{name: boolean() for name in _REVIEWS},
                        "allowedMergeMethods": list_of(string(), computed=True),
                        "requiredApprovingReviewCount": integer(),
                    }
                ),
                "requiredStatusChecks": object_of(
                    {
                        **{name: boolean() for name in _CHECKS},
                        "requiredChecks": set_of(
                            object_of(
                                {"context": string(required=True), "integrationId": integer()}
                            ),
                            required=True,
                        ),
                    }
                ),
            },
            required=True,
        ),
        "nodeId": string(output=True),
        "rulesetId": integer(output=True),
        "etag": string(output=True),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        repository = api.repository(desired["repository"])
        await api.get(repository)
        return str((await api.send("POST", f"{repository}/rulesets", _body(desired)))["id"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        path = f"{api.repository(state['repository'])}/rulesets/{id}"
        outputs = await api.refresh(path, state, _describe)
        return outputs and {**outputs, "repository": state["repository"]}

    async def adopt(self, api: Api, id: str) -> Properties:
        raise Failure(f"the sandbox's github plugin can't import the ruleset {id}")

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        # The ETag belongs to the ruleset before this change.
        desired.pop("etag", None)
        path = f"{api.repository(desired['repository'])}/rulesets/{id}"
        await api.send("PUT", path, _body(desired))

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        await api.delete(f"{api.repository(state['repository'])}/rulesets/{id}")


def _describe(ruleset: Properties) -> Properties:
    refs = ruleset["conditions"]["ref_name"]
    return {
        "name": ruleset["name"],
        "target": ruleset["target"],
        "enforcement": ruleset["enforcement"],
        # GitHub hides them from a token without write permission.
        "bypassActors": [
            {
                "actorId": actor["actor_id"] or 0,
                "actorType": actor["actor_type"],
                "bypassMode": actor["bypass_mode"],
            }
            for actor in ruleset.get("bypass_actors") or ()
        ],
        "conditions": {"refName": {"includes": refs["include"], "excludes": refs["exclude"]}},
        "rules": _parse_rules(ruleset["rules"]),
        "nodeId": ruleset["node_id"],
        "rulesetId": ruleset["id"],
    }


def _body(desired: Properties) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": desired["name"],
        "target": desired["target"],
        "enforcement": desired["enforcement"],
        "bypass_actors": [
            {
                "actor_id": actor.get("actorId") or None,
                "actor_type": actor["actorType"],
                "bypass_mode": actor["bypassMode"],
            }
            for actor in desired.get("bypassActors") or ()
        ],
        "rules": _rules(desired["rules"]),
    }
    if desired.get("conditions"):
        refs = desired["conditions"]["refName"]
        body["conditions"] = {
            "ref_name": {"include": refs["includes"], "exclude": refs["excludes"]}
        }
    return body


def _rules(rules: Properties) -> list[dict[str, Any]]:
    """The rules in the form of the API."""
    body: list[dict[str, Any]] = [
        {"type": api_name(name)} for name in _SIMPLE_RULES if rules.get(name)
    ]
    if (review := rules.get("pullRequest")) is not None:
        parameters: dict[str, Any] = {api_name(name): review.get(name, False) for name in _REVIEWS}
        parameters["required_approving_review_count"] = review.get(
            "requiredApprovingReviewCount", 0
        )
        if methods := review.get("allowedMergeMethods"):
            parameters["allowed_merge_methods"] = methods
        body.append({"type": "pull_request", "parameters": parameters})
    if (status_checks := rules.get("requiredStatusChecks")) is not None:
        parameters = {api_name(name): status_checks.get(name, False) for name in _CHECKS}
        parameters["required_status_checks"] = [
            {"context": check["context"]}
            | ({"integration_id": check["integrationId"]} if check.get("integrationId") else {})
            for check in status_checks["requiredChecks"]
        ]
        body.append({"type": "required_status_checks", "parameters": parameters})
    return body


def _parse_rules(rules: list[dict[str, Any]]) -> Properties:
    by_type = {rule["type"]: rule.get("parameters") or {} for rule in rules}
    outputs: Properties = {name: api_name(name) in by_type for name in _SIMPLE_RULES}
    outputs["updateAllowsFetchAndMerge"] = False
    if (review := by_type.get("pull_request")) is not None:
        outputs["pullRequest"] = {
            **{name: review[api_name(name)] for name in _REVIEWS},
            "allowedMergeMethods": review["allowed_merge_methods"],
            "requiredApprovingReviewCount": review["required_approving_review_count"],
        }
    if (status_checks := by_type.get("required_status_checks")) is not None:
        outputs["requiredStatusChecks"] = {
            **{name: status_checks[api_name(name)] for name in _CHECKS},
            "requiredChecks": [
                {"context": check["context"], "integrationId": check.get("integration_id") or 0}
                for check in status_checks["required_status_checks"]
            ],
        }
    return outputs
