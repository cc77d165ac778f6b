"""GitOpsProject: the limits of an environment."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pulumi import ResourceOptions

from components.names import CLUSTER_NAMESPACES
from components.project import (
    GitOpsProject,
    GitOpsProjectArgs,
    JwtToken,
    OrphanedResource,
    OrphanedResources,
    ResourceKind,
    Role,
    SyncWindow,
)
from tests.unit.mocked import kubernetes_provider, refused, run


def arguments(**changes: Any) -> GitOpsProjectArgs:
    return GitOpsProjectArgs(
        **{
            "project_name": "dev",
            "argocd_namespace": "argocd",
            "source_repos": ["https://git.test/monorepo"],
            "namespaces": ["shop-dev"],
            **changes,
        }
    )


def program(**changes: Any) -> Callable[[], Mapping[str, Any]]:
    args = arguments(**changes)

    def body() -> Mapping[str, Any]:
        opts = ResourceOptions(providers=[kubernetes_provider()])
        return {"name": GitOpsProject("project", args, opts).project_name}

    return body


def test_project_is_limited_to_its_repositories_cluster_and_namespaces() -> None:
    project = run(program(description="Development")).one("AppProject")
    assert project.inputs["spec"] == {
        "description": "Development",
        "sourceRepos": ["https://git.test/monorepo"],
        "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "shop-dev"}],
        "clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": "shop-dev"}],
        "clusterResourceBlacklist": [
            *(
                {"group": "", "kind": "Namespace", "name": name}
                for name in ("argocd", "default", "kube-node-lease", "kube-public", "kube-system")
            ),
            {
                "group": "apiextensions.k8s.io",
                "kind": "CustomResourceDefinition",
                "name": "*.argoproj.io",
            },
            *(
                {"group": "rbac.authorization.k8s.io", "kind": kind, "name": "argocd-*"}
                for kind in ("ClusterRole", "ClusterRoleBinding")
            ),
        ],
        "namespaceResourceBlacklist": [
            {"group": "argoproj.io", "kind": kind}
            for kind in ("AppProject", "Application", "ApplicationSet")
        ],
    }


@pytest.mark.parametrize(
    ("namespaces", "names", "denied"),
    [
        (["shop-dev", "blog-dev"], ["shop-dev", "blog-dev"], set()),
        (["shop-[!ab]"], ["shop-[^ab]"], set()),
        # Everything is allowed that is not excluded.
        (["!billing-*"], [None], {"billing-*"}),
    ],
)
def test_project_allows_only_namespaces_that_its_applications_deploy_to(
    namespaces: list[str], names: list[str | None], denied: set[str]
) -> None:
    kinds = (ResourceKind("Namespace"), ResourceKind("StorageClass", group="storage.k8s.io"))
    args = {"namespaces": namespaces, "cluster_resources": kinds, "allow_any": True}
    spec = run(program(**args)).one("AppProject").inputs["spec"]
    *allowed, other = spec["clusterResourceWhitelist"]
    assert [entry.get("name") for entry in allowed] == names
    assert {entry["kind"] for entry in allowed} == {"Namespace"}
    assert other == {"group": "storage.k8s.io", "kind": "StorageClass"}
    platform = {"argocd", *CLUSTER_NAMESPACES, "*.argoproj.io", "argocd-*"}
    assert {entry["name"] for entry in spec["clusterResourceBlacklist"]} == platform | denied


def test_project_stays_until_no_application_uses_it() -> None:
    metadata = run(program()).one("AppProject").inputs["metadata"]
    assert metadata["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]
    assert (metadata["name"], metadata["namespace"]) == ("dev", "argocd")


@pytest.mark.parametrize(
    "patterns",
    [
        {"source_repos": ["*"]},
        {"source_repos": ["https://git.test/*"]},
        {"namespaces": ["shop-*"]},
        {"namespaces": ["shop-?"]},
        {"namespaces": ["shop-[ab]"]},
        {"namespaces": ["!kube-system"]},
        {"cluster_resources": [ResourceKind("*", group="*")]},
        {"cluster_resources": [ResourceKind("*", group="apps")]},
    ],
)
def test_patterns_need_allow_any(patterns: dict[str, Any]) -> None:
    with refused("project dev", next(iter(patterns)), "allow_any"):
        arguments(**patterns)
    run(program(**patterns, allow_any=True)).one("AppProject")


def test_project_without_cluster_resources_may_deploy_none() -> None:
    spec = run(program(cluster_resources=[])).one("AppProject").inputs["spec"]
    assert spec["clusterResourceWhitelist"] == []
    assert "clusterResourceBlacklist" not in spec


def test_project_can_be_limited_to_some_kinds() -> None:
    kinds = (ResourceKind("Application", group="argoproj.io"),)
    spec = run(program(namespace_resources=kinds, cluster_resources=())).one("AppProject").inputs
    assert spec["spec"]["namespaceResourceWhitelist"] == [
        {"group": "argoproj.io", "kind": "Application"}
    ]
    assert spec["spec"]["clusterResourceWhitelist"] == []
    assert "namespaceResourceBlacklist" not in spec["spec"]
    assert "namespaceResourceBlacklist" not in run(program(allow_any=True)).one(
        "AppProject"
    ).inputs["spec"]  # fmt: skip
    with refused("namespace_resources"):
        arguments(namespace_resources=(ResourceKind("*", group="*"),))


def test_project_has_roles_windows_and_denied_kinds_in_the_form_of_argo_cd_s_api() -> None:
    policy = "p, proj:dev:deployer, applications, sync, dev/*, allow"
    changes = {
        "denied_cluster_resources": [ResourceKind("Node")],
        "denied_namespace_resources": [ResourceKind("Ingress", group="networking.k8s.io")],
        "roles": {
            "deployer": Role(
                policies=[policy], groups=["team"], jwt_tokens=[JwtToken("ci", 1, exp=2)]
            )
        },
        "sync_windows": [
            SyncWindow("deny", "0 22 * * 5", "48h", time_zone="Europe/Berlin"),
            SyncWindow("allow", "0 8 * * *", "1h", applications=["shop"], manual_sync=True),
            SyncWindow("allow", "0 8 * * *", "1h", namespaces=["shop-dev"]),
        ],
        "orphaned_resources": OrphanedResources(
            warn=False, ignore=[OrphanedResource(kind="ConfigMap")]
        ),
    }
    spec = run(program(**changes)).one("AppProject").inputs["spec"]
    window = {"kind": "allow", "schedule": "0 8 * * *", "duration": "1h", "timeZone": "UTC"}
    plain_spec = run(program()).one("AppProject").inputs["spec"]
    for key, denied in {
        "clusterResourceBlacklist": {"group": "", "kind": "Node"},
        "namespaceResourceBlacklist": {"group": "networking.k8s.io", "kind": "Ingress"},
    }.items():
        assert spec[key] == [*plain_spec[key], denied]
    assert {key: spec[key] for key in spec.keys() - plain_spec.keys()} == {
        "roles": [
            {
                "name": "deployer",
                "policies": [policy],
                "groups": ["team"],
                "jwtTokens": [{"id": "ci", "iat": 1, "exp": 2}],
            }
        ],
        "syncWindows": [
            {
                "kind": "deny",
                "schedule": "0 22 * * 5",
                "duration": "48h",
                "timeZone": "Europe/Berlin",
                "applications": ["dev-*"],
            },
            {**window, "applications": ["dev-shop"], "manualSync": True},
            {**window, "namespaces": ["shop-dev"]},
        ],
        "orphanedResources": {"warn": False, "ignore": [{"kind": "ConfigMap"}]},
    }
