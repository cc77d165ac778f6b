"""Makes a cluster refuse StatefulSets, so that Helm, which creates them last, fails half-way
(https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/)."""

import asyncio
import time

from sandbox.cluster.api import Api, ApiError, Object
from sandbox.processes import ProcessFailed

_NAME = "fault-helm-fails"
_KINDS = "/apis/admissionregistration.k8s.io/v1"
_POLICY = f"{_KINDS}/validatingadmissionpolicies/{_NAME}"
_BINDING = f"{_KINDS}/validatingadmissionpolicybindings/{_NAME}"
_SPECS: dict[str, tuple[str, Object]] = {
    _POLICY: (
        "ValidatingAdmissionPolicy",
        {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "resources": ["statefulsets"],
                        "operations": ["CREATE", "UPDATE"],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "the cluster has this fault"}],
        },
    ),
    _BINDING: (
        "ValidatingAdmissionPolicyBinding",
        {"policyName": _NAME, "validationActions": ["Deny"]},
    ),
}
_IN_EFFECT_WITHIN = 30.0
"""Seconds; the API server takes about one to notice a policy."""


async def refuse_statefulsets(api: Api, refuse: bool) -> None:
    """Turn the refusal on or off; returns when that is in effect."""
    for path, (kind, spec) in _SPECS.items():
        if refuse:
            version = "admissionregistration.k8s.io/v1"
            body = {"apiVersion": version, "kind": kind, "metadata": {"name": _NAME}, "spec": spec}
            await api.apply(path, body, manager="sandbox")
        else:
            await api.delete(path)
    deadline = time.monotonic() + _IN_EFFECT_WITHIN
    while await _refuses(api) != refuse:
        if time.monotonic() > deadline:
            raise ProcessFailed(f"the policy {_NAME} had no effect in {_IN_EFFECT_WITHIN:g} s")
        await asyncio.sleep(0.1)


async def _refuses(api: Api) -> bool:
    labels = {"app": _NAME}
    probe = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": _NAME},
        "spec": {
            "serviceName": _NAME,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "probe", "image": "probe"}]},
            },
        },
    }
    path = "/apis/apps/v1/namespaces/default/statefulsets"
    try:
        await api.call("POST", path, probe, params={"dryRun": "All"})
    except ApiError as error:
        if _NAME in str(error):
            return True
        raise
    return False
