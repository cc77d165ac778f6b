"""GitOpsApplication: the Application's spec."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pulumi import ResourceOptions

from components.application import (
    Backoff,
    Directory,
    GitOpsApplication,
    GitOpsApplicationArgs,
    Helm,
    HelmParameter,
    IgnoreDifference,
    Info,
    Kustomize,
    NamespaceMetadata,
    Replicas,
    Retry,
    Source,
    Sync,
    application_spec,
)
from components.chart_values import SYNC_SECONDS
from tests.unit.mocked import kubernetes_provider, refused, run


def source(**changes: Any) -> Source:
    return Source(**{"repo_url": "https://git.test/monorepo", "path": "kustomize/dev", **changes})


def arguments(**changes: Any) -> GitOpsApplicationArgs:
    return GitOpsApplicationArgs(
        **{
            "application_name": "shop",
            "project_name": "dev",
            "argocd_namespace": "argocd",
            "sources": [source()],
            "namespace": "shop-dev",
            **changes,
        }
    )


def program(**changes: Any) -> Callable[[], Mapping[str, Any]]:
    args = arguments(**changes)

    def body() -> Mapping[str, Any]:
        opts = ResourceOptions(providers=[kubernetes_provider()])
        return {"name": GitOpsApplication("shop", args, opts).full_name}

    return body


def test_name_of_the_application_begins_with_its_project() -> None:
    result = run(program())
    assert result.one("Application").inputs["metadata"]["name"] == "dev-shop"
    assert result.outputs["name"].value == "dev-shop"


def test_application_is_synced_automatically_by_default() -> None:
    assert run(program()).one("Application").inputs["spec"] == {
        "project": "dev",
        "source": {
            "repoURL": "https://git.test/monorepo",
            "path": "kustomize/dev",
            "targetRevision": "HEAD",
        },
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop-dev"},
        "syncPolicy": {
            "automated": {"prune": True, "selfHeal": True},
            "retry": {
                "limit": 5,
                "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"},
            },
            "syncOptions": ["CreateNamespace=true"],
        },
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            Kustomize(
                name_prefix="dev-",
                images=["shop=shop:1.2"],
                replicas=[Replicas("shop", 0)],
                components=["../components/debug"],
                common_labels={"team.test/name": "shop"},
            ),
            {
                "kustomize": {
                    "namePrefix": "dev-",
                    "images": ["shop=shop:1.2"],
                    "replicas": [{"name": "shop", "count": 0}],
                    "components": ["../components/debug"],
                    "commonLabels": {"team.test/name": "shop"},
                }
            },
        ),
        (
            Directory(recurse=True, exclude="*.jsonnet"),
            {"directory": {"recurse": True, "exclude": "*.jsonnet"}},
        ),
        (
            Helm(
                release_name="shop",
                value_files=["values-dev.yaml"],
                values_object={"some_key": {"on": False}},
                parameters=[HelmParameter("image.tag", "1.10", force_string=True)],
            ),
            {
                "helm": {
                    "releaseName": "shop",
                    "valueFiles": ["values-dev.yaml"],
                    "valuesObject": {"some_key": {"on": False}},
                    "parameters": [{"name": "image.tag", "value": "1.10", "forceString": True}],
                }
            },
        ),
    ],
)
def test_source_has_the_form_of_argo_cd_s_api(options: Any, expected: dict[str, Any]) -> None:
    [kind] = expected
    spec = application_spec(arguments(sources=[source(**{kind: options})]))
    assert {key: spec["source"][key] for key in expected} == expected
    assert set(spec["source"]) == {"repoURL", "path", "targetRevision", *expected}


def test_two_kinds_of_source_are_refused() -> None:
    with refused("source: give at most one of kustomize"):
        source(kustomize=Kustomize(), helm=Helm())
    with refused("source: give either path or chart"):
        source(chart="redis")
    with refused("source: give path, chart or ref"):
        source(path=None)


def test_chart_can_have_its_values_from_git() -> None:
    sources = [
        source(
            repo_url="https://charts.test",
            path=None,
            chart="redis",
            revision="1.2.3",
            helm=Helm(value_files=["$values/redis.yaml"]),
        ),
        source(path=None, ref="values"),
    ]
    spec = application_spec(arguments(sources=sources))
    assert "source" not in spec
    assert spec["sources"] == [
        {
            "repoURL": "https://charts.test",
            "chart": "redis",
            "targetRevision": "1.2.3",
            "helm": {"valueFiles": ["$values/redis.yaml"]},
        },
        {"repoURL": "https://git.test/monorepo", "targetRevision": "HEAD", "ref": "values"},
    ]


def test_application_without_manifests_is_refused() -> None:
    with refused("application shop: give at least one source"):
        arguments(sources=[])
    with refused("application shop: a source with ref needs another source"):
        arguments(sources=[source(ref="values")])


def test_application_that_is_not_automated_has_no_automated_policy() -> None:
    policy = application_spec(arguments(sync=Sync(automated=False, options=())))["syncPolicy"]
    assert "automated" not in policy


def test_spec_has_no_empty_list_which_argo_cd_would_remove() -> None:
    policy = application_spec(arguments(sync=Sync(options=())))["syncPolicy"]
    assert "syncOptions" not in policy


def test_sync_policy_has_the_form_of_argo_cd_s_api() -> None:
    sync = Sync(
        prune=False,
        self_heal=False,
        retry=Retry(limit=0, backoff=Backoff("1s", 3, "1m")),
        options=["ServerSideApply=true"],
    )
    assert application_spec(arguments(sync=sync))["syncPolicy"] == {
        "automated": {"prune": False, "selfHeal": False},
        "retry": {"limit": 0, "backoff": {"duration": "1s", "factor": 3, "maxDuration": "1m"}},
        "syncOptions": ["ServerSideApply=true"],
    }


def test_application_has_what_argo_cd_shows_and_keeps_of_it() -> None:
    spec = application_spec(
        arguments(
            info=[Info("On call", "https://team.test")],
            revision_history_limit=0,
            sync=Sync(
                allow_empty=True,
                managed_namespace_metadata=NamespaceMetadata(labels={"team": "shop"}),
            ),
        )
    )
    assert spec["info"] == [{"name": "On call", "value": "https://team.test"}]
    assert spec["revisionHistoryLimit"] == 0
    assert spec["syncPolicy"]["automated"]["allowEmpty"] is True
    assert spec["syncPolicy"]["managedNamespaceMetadata"] == {"labels": {"team": "shop"}}


def test_ignored_differences_have_the_form_of_argo_cd_s_api() -> None:
    differences = [
        IgnoreDifference("Deployment", group="apps", json_pointers=["/spec/replicas"]),
        IgnoreDifference("Secret", name="tls", managed_fields_managers=["cert-manager"]),
    ]
    spec = application_spec(arguments(ignore_differences=differences))
    assert spec["ignoreDifferences"] == [
        {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]},
        {"kind": "Secret", "name": "tls", "managedFieldsManagers": ["cert-manager"]},
    ]


def test_deleting_the_application_deletes_its_objects_and_waits_for_it() -> None:
    application = run(program()).one("Application")
    assert application.inputs["metadata"]["finalizers"] == [
        "resources-finalizer.argocd.argoproj.io"
    ]
    assert application.delete_timeout == "20m"
    assert SYNC_SECONDS <= 20 * 60 / 2, "a sync that waits for ever ends long before"


def test_application_without_the_finalizer_leaves_its_objects() -> None:
    application = run(program(finalizer=False)).one("Application")
    assert "finalizers" not in application.inputs["metadata"]


def test_name_of_the_source_changes_it_so_that_argo_cd_tries_a_commit_again() -> None:
    assert "name" not in application_spec(arguments())["source"]
    assert application_spec(arguments(sources=[source(name="a")]))["source"]["name"] == "a"


def test_pulumi_sets_nothing_that_argocd_writes() -> None:
    assert set(run(program()).one("Application").inputs) == {
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    }
