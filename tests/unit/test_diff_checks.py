"""What would fail, or lose data, is found before it is merged."""

from collections.abc import Sequence
from typing import Any

import pytest

from doks_gitops.diff import checks, schemas
from doks_gitops.diff.checks import Finding
from doks_gitops.diff.environment import Declared
from doks_gitops.diff.objects import Change, compare

NAMESPACE = "shop-prod"
KUBERNETES = "1.34.0"
PROJECT = {
    "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "shop-*"}],
    "clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": "shop-prod"}],
    "namespaceResourceBlacklist": [{"group": "argoproj.io", "kind": "Application"}],
}


def application(*, prune: bool = True, options: Sequence[str] = ()) -> Declared:
    automated = {"automated": {"prune": prune}, "syncOptions": list(options)}
    spec = {"project": "prod", "destination": {"namespace": NAMESPACE}, "syncPolicy": automated}
    return Declared("prod-shop", spec, "Pulumi.prod.yaml")


def item(kind: str, api_version: str = "v1", name: str = "x", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **fields.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def change(old: dict[str, Any] | None, new: dict[str, Any] | None) -> Change:
    [only] = compare([old] if old else [], [new] if new else [], NAMESPACE, NAMESPACE)
    return only


def messages(findings: Any) -> list[str]:
    return [finding.message for finding in findings]


SELECTOR = {"matchLabels": {"app": "web"}}
OTHER = {"matchLabels": {"app": "shop"}}


@pytest.mark.parametrize(
    ("kind", "api_version", "old", "new", "field"),
    [
        ("Deployment", "apps/v1", {"selector": SELECTOR}, {"selector": OTHER}, "spec.selector"),
        ("Job", "batch/v1", {"template": {"a": 1}}, {"template": {"a": 2}}, "spec.template"),
        ("StatefulSet", "apps/v1", {"serviceName": "a"}, {"serviceName": "b"}, "spec.serviceName"),
        ("Service", "v1", {"clusterIP": "None"}, {"clusterIP": "10.0.0.1"}, "spec.clusterIP"),
        (
            "PersistentVolumeClaim", "v1", {"accessModes": ["ReadWriteOnce"]},
            {"accessModes": ["ReadWriteMany"]}, "spec.accessModes",
        ),
    ],
)  # fmt: skip
def test_field_that_can_not_be_changed_is_told(
    kind: str, api_version: str, old: dict[str, Any], new: dict[str, Any], field: str
) -> None:
    changed = change(item(kind, api_version, spec=old), item(kind, api_version, spec=new))
    [message] = messages(checks.immutable(changed, application()))
    assert f"{field} can't be changed" in message
    replacing = application(options=["Force=true", "Replace=true"])
    assert messages(checks.immutable(changed, replacing)) == []


def test_hook_and_generated_object_are_made_anew_so_nothing_of_them_is_fixed() -> None:
    hook = {"annotations": {"argocd.argoproj.io/hook": "PreSync"}}
    old, new = (
        item("Job", "batch/v1", metadata=hook, spec={"template": {"a": number}})
        for number in (1, 2)
    )
    assert messages(checks.immutable(change(old, new), application())) == []
    old, new = (
        item("ConfigMap", name=f"a-{suffix}", immutable=True, data={"a": suffix})
        for suffix in ("4g2hk9m6c5", "7t5bb8ddkf")
    )
    assert messages(checks.immutable(change(old, new), application())) == []


def test_content_of_an_immutable_object_can_not_be_changed() -> None:
    old, new = (item("ConfigMap", immutable=True, data={"a": value}) for value in "xy")
    [message] = messages(checks.immutable(change(old, new), application()))
    assert "is immutable" in message


def test_fields_of_a_statefulset_that_can_be_changed_are_no_finding() -> None:
    old, new = ({"replicas": count, "template": {"a": count}} for count in (1, 2))
    changed = change(
        item("StatefulSet", "apps/v1", spec=old), item("StatefulSet", "apps/v1", spec=new)
    )
    assert messages(checks.immutable(changed, application())) == []


def prune(
    old: dict[str, Any], *, production: bool, allowed: bool = False, **changes: Any
) -> list[Finding]:
    return list(
        checks.pruned(
            change(old, None), application(**changes), production=production, allowed=allowed
        )
    )


@pytest.mark.parametrize(
    "kind",
    ["CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim",
     "StatefulSet"],
)  # fmt: skip
def test_deletion_of_data_in_prod_needs_a_label(kind: str) -> None:
    [finding] = prune(item(kind), production=True)
    assert finding.mandatory
    assert "allow-prune" in finding.message
    assert finding.message.startswith(f"**{kind} ")
    [allowed] = prune(item(kind), production=True, allowed=True)
    [elsewhere] = prune(item(kind), production=False)
    assert not allowed.mandatory
    assert not elsewhere.mandatory


def test_what_stays_in_the_cluster_is_told_as_such() -> None:
    [finding] = prune(item("StatefulSet"), production=True, prune=False)
    assert (finding.mandatory, "stays in the cluster" in finding.message) == (False, True)
    kept = {"annotations": {"argocd.argoproj.io/sync-options": "Prune=false"}}
    assert prune(item("StatefulSet", metadata=kept), production=True) == []
    assert prune(item("ConfigMap"), production=True) == []


def test_deleted_application_deletes_its_data_although_it_does_not_prune() -> None:
    deleted = change(item("StatefulSet"), None)
    [finding] = checks.pruned(
        deleted, application(prune=False), production=True, allowed=False, with_application=True
    )
    assert finding.mandatory


def test_project_that_excludes_namespaces_allows_the_others() -> None:
    destinations = [{"server": "*", "namespace": "!kube-system"}]
    project = {**PROJECT, "destinations": destinations}
    assert messages(checks.forbidden(item("Pod"), application(), project)) == []
    outside = item("Pod", metadata={"namespace": "kube-system"})
    assert messages(checks.forbidden(outside, application(), project)) != []


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (item("Namespace", name="argocd"), "does not allow the kind Namespace"),
        (item("ClusterRole", "rbac.authorization.k8s.io/v1"), "does not allow the kind"),
        (item("Application", "argoproj.io/v1alpha1"), "does not allow the kind"),
        (item("Pod", metadata={"namespace": "kube-system"}), "does not allow the namespace kube"),
    ],
)
def test_what_the_project_forbids_is_told(new: dict[str, Any], words: str) -> None:
    [message] = messages(checks.forbidden(new, application(), PROJECT))
    assert words in message


@pytest.mark.parametrize("new", [item("Namespace", name="shop-prod"), item("Pod")])
def test_what_the_project_allows_is_no_finding(new: dict[str, Any]) -> None:
    assert messages(checks.forbidden(new, application(), PROJECT)) == []


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        (["*"], True),
        (["https://git.test/team/*"], True),
        (["https://git.test/*"], False),
        (["https://git.test/TEAM/shop"], True),
        (["*", "!https://git.test/team/*"], False),
        (["!https://git.test/other"], True),
        ([], False),
    ],
)
def test_repository_that_the_project_does_not_allow_is_told(
    patterns: list[str], allowed: bool
) -> None:
    source = {"repoURL": "https://git.test/team/shop.git", "path": "."}
    declared = Declared("prod-shop", {"project": "prod", "source": source}, "Pulumi.prod.yaml")
    findings = messages(checks.forbidden_sources(declared, {"sourceRepos": patterns}))
    assert (findings == []) == allowed


def test_project_that_is_not_there_is_told() -> None:
    assert messages(checks.missing_project(application(), {"prod": {}}, {})) == []
    [deleted] = checks.missing_project(application(), {}, {"prod": {}})
    assert (deleted.mandatory, "is deleted" in deleted.message) == (True, True)
    [elsewhere] = checks.missing_project(application(), {}, {})
    assert not elsewhere.mandatory


def test_object_that_its_schema_refuses_is_told_with_the_field() -> None:
    new = item("Service", spec={"ports": [{"port": "http"}], "prots": []})
    findings = messages(schemas.invalid(change(None, new), application(), KUBERNETES))
    assert any("spec.ports.0.port" in message for message in findings)
    assert any("'prots' was unexpected" in message for message in findings)
    valid = item("Service", spec={"ports": [{"port": 80}]})
    assert messages(schemas.invalid(change(None, valid), application(), KUBERNETES)) == []


def test_value_of_an_invalid_secret_is_not_in_the_message() -> None:
    new = item("Secret", data={"a": ["hunter2"]})
    [message] = messages(schemas.invalid(change(None, new), application(), KUBERNETES))
    assert "data.a" in message
    assert "hunter2" not in message


CRD = item(
    "CustomResourceDefinition",
    "apiextensions.k8s.io/v1",
    spec={
        "group": "shop.test",
        "scope": "Cluster",
        "names": {"kind": "Shop"},
        "versions": [
            {
                "name": "v1",
                "schema": {"openAPIV3Schema": {"properties": {"size": {"type": "integer"}}}},
            }
        ],
    },
)


def test_custom_resource_is_checked_against_its_definition() -> None:
    shop = item("Shop", "shop.test/v1", size="large")
    new = change(None, shop)
    [message] = messages(schemas.invalid(new, application(), KUBERNETES, [CRD]))
    assert "'large' is not of type 'integer'" in message
    [forbidden] = messages(checks.forbidden(shop, application(), PROJECT, [CRD]))
    assert "does not allow the kind shop.test/Shop" in forbidden
    assert messages(schemas.unknown_kind(new, application(), KUBERNETES, [CRD])) == []
    [unknown] = schemas.unknown_kind(new, application(), KUBERNETES)
    assert not unknown.mandatory


def test_image_that_the_registry_lacks_is_told() -> None:
    host = "registry.digitalocean.com"
    containers = [{"image": f"{host}/team/web:v2"}, {"image": "nginx:1"}]
    pod = item("Pod", spec={"containers": containers, "initContainers": [{"image": "a b"}]})
    job = item("CronJob", "batch/v1", spec={"jobTemplate": {"spec": {"template": {"spec": {
        "containers": [{"image": f"{host}/team/job:v1"}]
    }}}}})  # fmt: skip

    def tags(registry: str, repository: str) -> list[str]:
        assert registry == "team"
        return {"web": ["v1"], "job": ["v1"]}[repository]

    findings = messages(checks.missing_images(application(), [pod, job], tags))
    assert findings[1:] == [f"The registry has no {host}/team/web:v2."]
    assert "a b is no image reference" in findings[0]


SECRET = item("Secret", stringData={"password": "hush"})
OF_CHART = {"labels": {"app.kubernetes.io/managed-by": "Helm"}}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_plain_secret_is_told_and_refused_in_a_stack_with_sealed_secrets(sealed: bool) -> None:
    [finding] = checks.plain_secret(change(None, SECRET), application(), sealed=sealed)
    assert finding.mandatory is sealed
    assert "Seal it: bin/platform seal" in finding.message
    assert "hush" not in finding.message
    of_chart = item("Secret", data={"password": "aHVzaA=="}, metadata=OF_CHART)
    [finding] = checks.plain_secret(change(None, of_chart), application(), sealed=sealed)
    assert not finding.mandatory


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SECRET, None),
        (None, item("Secret")),
        (None, item("Secret", data={"filled-in-later": ""})),
        (None, item("Secret", "example.com/v1", data={"a": "b"})),
        (None, item("SealedSecret", "bitnami.com/v1alpha1", spec={"encryptedData": {"a": "b"}})),
    ],
)
def test_what_has_no_value_in_clear_is_no_plain_secret(old: Any, new: Any) -> None:
    assert not list(checks.plain_secret(change(old, new), application(), sealed=True))


def test_charts_see_the_stable_apis_that_a_cluster_lists() -> None:
    apis = schemas.served_apis(KUBERNETES)
    assert {"v1", "v1/Pod", "batch/v1", "batch/v1/CronJob", "apps/v1/Deployment"} <= {*apis}
    assert {"v1/PodList", "v1/Binding", "v1/DeleteOptions"}.isdisjoint(apis)
    assert not any("alpha" in name or "beta" in name for name in apis)
