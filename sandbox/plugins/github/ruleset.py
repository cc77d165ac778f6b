"""Rulesets of a repository (https://docs.github.com/en/rest/repos/rules): those rules that the
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
from sandbox.plugins.github.api import Api, Unchanged

_PLAIN = ("creation", "update", "deletion", "nonFastForward", "requiredLinearHistory")
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
        # Their order means nothing.
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
                **{name: boolean() for name in _PLAIN},
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

    async def create(self, api: Api, wanted: Properties, seconds: float | None) -> str:
        repository = api.repository(wanted["repository"])
        await api.get(repository)
        return str((await api.send("POST", f"{repository}/rulesets", _body(wanted)))["id"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        path = f"{api.repository(state['repository'])}/rulesets/{id}"
        try:
            found = await api.find(path, state.get("etag", ""))
        except Unchanged:
            return state
        if found is None:
            return None
        ruleset, etag = found
        refs = ruleset["conditions"]["ref_name"]
        return {
            "name": ruleset["name"],
            "target": ruleset["target"],
            "repository": state["repository"],
            "enforcement": ruleset["enforcement"],
            # Not shown to a token that may not change them.
            "bypassActors": [
                {
                    "actorId": actor["actor_id"] or 0,
                    "actorType": actor["actor_type"],
                    "bypassMode": actor["bypass_mode"],
                }
                for actor in ruleset.get("bypass_actors") or ()
            ],
            "conditions": {"refName": {"includes": refs["include"], "excludes": refs["exclude"]}},
            "rules": _rules_of(ruleset["rules"]),
            "nodeId": ruleset["node_id"],
            "rulesetId": ruleset["id"],
            "etag": etag,
        }

    async def adopt(self, api: Api, id: str) -> Properties:
        raise Failure(f"the sandbox's github plugin can't import the ruleset {id}")

    async def update(
        self, api: Api, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        # What was seen before the change is not what is there after it.
        wanted.pop("etag", None)
        path = f"{api.repository(wanted['repository'])}/rulesets/{id}"
        await api.send("PUT", path, _body(wanted))

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        await api.delete(f"{api.repository(state['repository'])}/rulesets/{id}")


def _body(wanted: Properties) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": wanted["name"],
        "target": wanted["target"],
        "enforcement": wanted["enforcement"],
        "bypass_actors": [
            {
                "actor_id": actor.get("actorId") or None,
                "actor_type": actor["actorType"],
                "bypass_mode": actor["bypassMode"],
            }
            for actor in wanted.get("bypassActors") or ()
        ],
        "rules": _rules_for(wanted["rules"]),
    }
    if wanted.get("conditions"):
        refs = wanted["conditions"]["refName"]
        body["conditions"] = {
            "ref_name": {"include": refs["includes"], "exclude": refs["excludes"]}
        }
    return body


def _rules_for(rules: Properties) -> list[dict[str, Any]]:
    wanted: list[dict[str, Any]] = [{"type": api_name(name)} for name in _PLAIN if rules.get(name)]
    if (reviewed := rules.get("pullRequest")) is not None:
        parameters: dict[str, Any] = {
            api_name(name): reviewed.get(name, False) for name in _REVIEWS
        }
        parameters["required_approving_review_count"] = reviewed.get(
            "requiredApprovingReviewCount", 0
        )
        if methods := reviewed.get("allowedMergeMethods"):
            parameters["allowed_merge_methods"] = methods
        wanted.append({"type": "pull_request", "parameters": parameters})
    if (checked := rules.get("requiredStatusChecks")) is not None:
        parameters = {api_name(name): checked.get(name, False) for name in _CHECKS}
        parameters["required_status_checks"] = [
            {"context": each["context"]}
            | ({"integration_id": each["integrationId"]} if each.get("integrationId") else {})
            for each in checked["requiredChecks"]
        ]
        wanted.append({"type": "required_status_checks", "parameters": parameters})
    return wanted


def _rules_of(rules: list[dict[str, Any]]) -> Properties:
    by_type = {rule["type"]: rule.get("parameters") or {} for rule in rules}
    found: Properties = {name: api_name(name) in by_type for name in _PLAIN}
    found["updateAllowsFetchAndMerge"] = False
    if (reviewed := by_type.get("pull_request")) is not None:
        found["pullRequest"] = {
            **{name: reviewed[api_name(name)] for name in _REVIEWS},
            "allowedMergeMethods": reviewed["allowed_merge_methods"],
            "requiredApprovingReviewCount": reviewed["required_approving_review_count"],
        }
    if (checked := by_type.get("required_status_checks")) is not None:
        found["requiredStatusChecks"] = {
            **{name: checked[api_name(name)] for name in _CHECKS},
            "requiredChecks": [
                {"context": each["context"], "integrationId": each.get("integration_id") or 0}
                for each in checked["required_status_checks"]
            ],
        }
    return found
