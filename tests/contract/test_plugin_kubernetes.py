"""Objects of the Kubernetes API through the stand-in plugin, on a real control plane."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from sandbox.cluster.controlplane import ControlPlane
from sandbox.plugins.common import UNKNOWN, Secret, encode
from sandbox.processes import free_port
from tests.contract.kubernetes_plugin import (
    Plugin,
    PluginError,
    Resource,
    changed,
    custom_resource_definition,
    urn,
)

pytest_plugins = ["tests.contract.kubernetes_fixtures"]
pytestmark = pytest.mark.anyio

NAMESPACE = "kubernetes:core/v1:Namespace"
SECRET = "kubernetes:core/v1:Secret"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
SERVICE = "kubernetes:core/v1:Service"
DEFINITION = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"

PropertyDiff = provider_pb2.PropertyDiff


def namespace(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def config_map(name: str, data: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": data,
    }


def secret(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **fields}


def deployment(name: str, *, replicas: int = 1, **metadata: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    }


def never_ready(name: str) -> dict[str, Any]:
    inputs = deployment(name, annotations={"pulumi.com/timeoutSeconds": "1"})
    inputs["spec"]["template"]["spec"]["nodeSelector"] = {"no": "such-node"}
    return inputs


def definition(plural: str, kind: str, *, scope: str = "Namespaced") -> dict[str, Any]:
    return custom_resource_definition(
        plural, kind, scope=scope, any_fields="x_kubernetes_preserve_unknown_fields"
    )


def custom(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


async def told(plugin: Plugin, text: str) -> None:
    """Wait until the plugin has said that text."""
    async with asyncio.timeout(30):
        while not any(text in line for line in plugin.messages):
            await asyncio.sleep(0.01)


async def edit_manually(cluster: ControlPlane, resource: Resource, path: str, patch: Any) -> None:
    """Change an object as with `kubectl edit`."""
    await cluster.api.call(
        "PATCH",
        path,
        patch,
        params={"fieldManager": "kubectl-edit"},
        content_type="application/merge-patch+json",
    )


# --- names and inputs ---------------------------------------------------------------------------


async def test_an_object_without_a_name_gets_one_and_keeps_it(plugin: Plugin) -> None:
    inputs = config_map("", {})
    del inputs["metadata"]
    created = await plugin.create(CONFIG_MAP, "settings", inputs)
    name = created.inputs["metadata"]["name"]
    assert name.startswith("settings-")
    assert len(name) == len("settings-") + 8
    assert created.id == f"default/{name}"
    assert not changed(await plugin.diff(created, inputs))


async def test_objects_without_a_namespace_get_that_of_the_provider(
    cluster: ControlPlane, kubeconfig: dict[str, Any], plugin: Plugin
) -> None:
    await plugin.create(NAMESPACE, "elsewhere", namespace("elsewhere"))
    async with Plugin.serving(kubeconfig=kubeconfig, namespace="elsewhere") as other:
        created = await other.create(CONFIG_MAP, "placed", config_map("placed", {"a": "1"}))
        cluster_scoped, _ = await other.check(urn(NAMESPACE, "x"), namespace("x"))
    assert created.id == "elsewhere/placed"
    assert "namespace" not in cluster_scoped["metadata"]


@pytest.mark.parametrize(
    ("token", "what"),
    [
        ("kubernetes:core/v1:NamespacePatch", "Patch resources"),
        ("kubernetes:core/v1:SecretList", "lists of objects"),
        ("kubernetes:yaml:ConfigFile", "no resource kubernetes:yaml:ConfigFile"),
    ],
)
async def test_unsupported_resource_types_are_refused_by_name(
    plugin: Plugin, token: str, what: str
) -> None:
    with pytest.raises(PluginError, match=what):
        await plugin.check(urn(token, "x"), namespace("x"))


async def test_components_and_functions_are_refused_by_name(plugin: Plugin) -> None:
    with pytest.raises(PluginError, match=r"does not offer kubernetes:helm\.sh/v4:Chart"):
        await plugin.call(
            "Construct", provider_pb2.ConstructRequest(type="kubernetes:helm.sh/v4:Chart")
        )
    with pytest.raises(PluginError, match="no function kubernetes:yaml:decode"):
        await plugin.call("Invoke", provider_pb2.InvokeRequest(tok="kubernetes:yaml:decode"))


async def test_an_annotation_that_would_have_no_effect_is_refused(plugin: Plugin) -> None:
    inputs = config_map("x", {}, annotations={"pulumi.com/waitFor": "condition=Ready"})
    _, failures = await plugin.check(urn(CONFIG_MAP, "x"), inputs)
    assert failures == ["the stand-in plugin does not honour the annotation pulumi.com/waitFor"]


# --- the life of an object ----------------------------------------------------------------------


async def test_an_object_is_created_refreshed_updated_and_deleted(
    cluster: ControlPlane, plugin: Plugin
) -> None:
    path = "/api/v1/namespaces/default/configmaps/life"
    inputs = config_map("life", {"a": "1"}, labels={"team": "a"})
    created = await plugin.create(CONFIG_MAP, "life", inputs)
    assert created.id == "default/life"
    assert created.state["metadata"]["uid"]
    assert created.state["__initialApiVersion"] == "v1"
    assert created.state["__fieldManager"].startswith("pulumi-kubernetes-")

    read = await plugin.read(created)
    assert read.inputs == created.inputs
    assert not changed(await plugin.diff(read, inputs))

    more = config_map("life", {"a": "1"}, labels={"team": "b", "tier": "x"})
    diff = await plugin.diff(read, more)
    assert {path: change.kind for path, change in diff.detailedDiff.items()} == {
        "metadata.labels.team": PropertyDiff.UPDATE,
        "metadata.labels.tier": PropertyDiff.ADD,
    }
    assert not diff.replaces
    updated = await plugin.update(read, more)
    live = await cluster.api.get(path)
    assert live is not None
    assert live["metadata"]["labels"] == {"team": "b", "tier": "x"}

    fewer = config_map("life", {"a": "1"}, labels={"tier": "x"})
    diff = await plugin.diff(updated, fewer)
    assert diff.detailedDiff["metadata.labels.team"].kind == PropertyDiff.DELETE
    updated = await plugin.update(updated, fewer)
    live = await cluster.api.get(path)
    assert live is not None
    assert live["metadata"]["labels"] == {"tier": "x"}

    await plugin.delete(updated)
    assert await cluster.api.get(path) is None
    assert (await plugin.read(updated)).id == ""
    await plugin.delete(updated)


async def test_a_create_does_not_adopt_an_existing_object(plugin: Plugin) -> None:
    await plugin.create(CONFIG_MAP, "mine", config_map("taken", {"a": "1"}))
    with pytest.raises(PluginError, match=r'configmaps "taken" already exists[\s\S]*pulumi import'):
        await plugin.create(CONFIG_MAP, "other", config_map("taken", {"a": "2"}))


async def test_a_create_adopts_an_existing_object_with_upsert(
    kubeconfig: dict[str, Any], plugin: Plugin
) -> None:
    await plugin.create(CONFIG_MAP, "mine", config_map("upserted", {"a": "1"}))
    async with Plugin.serving(kubeconfig=kubeconfig, upsertExistingObjects="true") as other:
        created = await other.create(CONFIG_MAP, "other", config_map("upserted", {"b": "2"}))
    assert created.state["data"] == {"a": "1", "b": "2"}


async def test_a_create_waits_for_its_namespace(cluster: ControlPlane, plugin: Plugin) -> None:
    late = asyncio.create_task(
        plugin.create(CONFIG_MAP, "early", config_map("early", {}, namespace="to-come"))
    )
    await told(plugin, "Retry #0")
    await plugin.create(NAMESPACE, "to-come", namespace("to-come"))
    assert (await late).id == "to-come/early"


# --- replacement --------------------------------------------------------------------------------


async def test_a_renamed_object_is_created_before_the_old_one_is_deleted(plugin: Plugin) -> None:
    created = await plugin.create(CONFIG_MAP, "named", config_map("name-a", {"a": "1"}))
    diff = await plugin.diff(created, config_map("name-b", {"a": "1"}))
    assert list(diff.replaces) == ["metadata.name"]
    assert not diff.deleteBeforeReplace


async def test_a_changed_secret_is_replaced_and_deleted_first_if_the_program_names_it(
    kubeconfig: dict[str, Any], plugin: Plugin
) -> None:
    created = await plugin.create(SECRET, "key", secret("key", stringData={"token": "one"}))
    diff = await plugin.diff(created, secret("key", stringData={"token": "two"}))
    assert list(diff.replaces) == ["data.token"]
    assert diff.deleteBeforeReplace
    async with Plugin.serving(kubeconfig=kubeconfig, enableSecretMutable="true") as mutable:
        diff = await mutable.diff(created, secret("key", stringData={"token": "two"}))
    assert changed(diff)
    assert not diff.replaces


async def test_a_deployment_is_replaced_only_for_its_selector(plugin: Plugin) -> None:
    inputs = deployment("selected", replicas=0)
    created = await plugin.create(DEPLOYMENT, "selected", inputs)
    assert not changed(await plugin.diff(created, inputs))
    scaled = deployment("selected", replicas=2)
    assert not (await plugin.diff(created, scaled)).replaces
    scaled["spec"]["selector"]["matchLabels"] = {"app": "other"}
    diff = await plugin.diff(created, scaled)
    assert list(diff.replaces) == ["spec.selector.matchLabels.app"]


# --- secrets ------------------------------------------------------------------------------------


async def test_the_data_of_a_secret_is_secret_in_inputs_and_state(plugin: Plugin) -> None:
    inputs = secret("sealed", stringData={"password": "hunter2"})
    created = await plugin.create(SECRET, "sealed", inputs)
    encoded = base64.b64encode(b"hunter2").decode()
    assert created.inputs["data"] == Secret({"password": encoded})
    assert "stringData" not in created.inputs
    assert created.state["data"] == Secret({"password": encoded})
    assert created.state["__inputs"]["data"] == Secret({"password": encoded})
    assert not changed(await plugin.diff(await plugin.read(created), inputs))
    assert not any("hunter2" in line or encoded in line for line in plugin.messages)


async def test_a_secret_value_in_any_object_stays_secret(plugin: Plugin) -> None:
    created = await plugin.create(
        CONFIG_MAP, "half", config_map("half", {"a": Secret("x"), "b": "y"})
    )
    assert created.state["data"] == {"a": Secret("x"), "b": "y"}
    assert (await plugin.read(created)).state["data"] == {"a": Secret("x"), "b": "y"}


# --- drift, field managers ----------------------------------------------------------------------


async def test_the_repair_of_a_manual_change_is_refused_with_the_field_and_its_manager(
    cluster: ControlPlane, plugin: Plugin
) -> None:
    inputs = config_map("drifts", {"a": "1"})
    created = await plugin.create(CONFIG_MAP, "drifts", inputs)
    path = "/api/v1/namespaces/default/configmaps/drifts"
    await edit_manually(cluster, created, path, {"data": {"a": "2", "theirs": "x"}})
    read = await plugin.read(created)
    assert read.inputs["data"] == {"a": "2"}
    assert list((await plugin.diff(read, inputs)).detailedDiff) == ["data.a"]
    # As with Pulumi's own plugin, an edit by another manager is not overwritten without force.
    with pytest.raises(PluginError) as refused:
        await plugin.update(read, inputs)
    assert 'conflict with "kubectl-edit" using v1: .data.a' in str(refused.value)
    assert f'field manager "{created.state["__fieldManager"]}"' in str(refused.value)
    assert refused.value.state["data"]["a"] == "2"


@pytest.mark.parametrize("how", ["annotation", "provider"])
async def test_a_manual_change_is_reverted_with_patch_force(
    cluster: ControlPlane, kubeconfig: dict[str, Any], how: str
) -> None:
    forced = {"annotations": {"pulumi.com/patchForce": "true"}} if how == "annotation" else {}
    settings = {} if how == "annotation" else {"enablePatchForce": "true"}
    name = f"forced-{how}"
    inputs = config_map(name, {"a": "1"}, **forced)
    async with Plugin.serving(kubeconfig=kubeconfig, **settings) as plugin:
        created = await plugin.create(CONFIG_MAP, name, inputs)
        path = f"/api/v1/namespaces/default/configmaps/{name}"
        await edit_manually(cluster, created, path, {"data": {"a": "2", "theirs": "x"}})
        repaired = await plugin.update(await plugin.read(created), inputs)
    assert repaired.state["data"] == {"a": "1", "theirs": "x"}


async def test_an_ignored_property_keeps_its_live_value(
    cluster: ControlPlane, plugin: Plugin
) -> None:
    created = await plugin.create(CONFIG_MAP, "left", config_map("left", {"a": "1", "b": "1"}))
    path = "/api/v1/namespaces/default/configmaps/left"
    await edit_manually(cluster, created, path, {"data": {"a": "2"}})
    read = await plugin.read(created)
    inputs = config_map("left", {"a": "1", "b": "2"})
    diff = await plugin.diff(read, inputs, ignored=["data.a"])
    assert list(diff.detailedDiff) == ["data.b"]
    updated = await plugin.update(read, inputs, ignored=["data.a"])
    assert updated.state["data"] == {"a": "2", "b": "2"}


# --- previews -----------------------------------------------------------------------------------


async def test_a_preview_is_validated_by_the_server_and_changes_nothing(
    cluster: ControlPlane, plugin: Plugin
) -> None:
    tried = await plugin.create(CONFIG_MAP, "try", config_map("try", {"a": "1"}), preview=True)
    assert tried.id == ""
    assert tried.state["metadata"]["uid"]
    with pytest.raises(PluginError, match="Invalid value"):
        await plugin.create(CONFIG_MAP, "bad", config_map("Bad_Name", {}), preview=True)
    created = await plugin.create(CONFIG_MAP, "try", config_map("try", {"a": "1"}))
    later = await plugin.update(created, config_map("try", {"a": "2"}), preview=True)
    assert later.state["data"] == {"a": "2"}
    live = await cluster.api.get("/api/v1/namespaces/default/configmaps/try")
    assert live is not None
    assert live["data"] == {"a": "1"}


async def test_a_preview_accepts_unknown_values_kinds_and_namespaces(plugin: Plugin) -> None:
    unknown = await plugin.create(
        CONFIG_MAP, "later", config_map("later", {"a": UNKNOWN}), preview=True
    )
    assert unknown.state["data"] == {"a": UNKNOWN}
    no_kind = await plugin.create(
        "kubernetes:example.com/v1:Absent", "cr", custom("Absent", "cr", a=1), preview=True
    )
    assert no_kind.state["spec"] == {"a": 1}
    no_namespace = await plugin.create(
        CONFIG_MAP, "lost", config_map("lost", {"a": "1"}, namespace="not-there"), preview=True
    )
    assert no_namespace.state["data"] == {"a": "1"}


async def test_an_unknown_value_is_a_change(plugin: Plugin) -> None:
    created = await plugin.create(CONFIG_MAP, "becomes", config_map("becomes", {"a": "1"}))
    diff = await plugin.diff(created, config_map("becomes", {"a": UNKNOWN, "b": UNKNOWN}))
    assert {path: change.kind for path, change in diff.detailedDiff.items()} == {
        "data.a": PropertyDiff.UPDATE_REPLACE,
        "data.b": PropertyDiff.ADD_REPLACE,
    }


async def test_unknown_metadata_replaces_an_object(plugin: Plugin) -> None:
    """Which Pulumi asks about before it replaces the cluster that the metadata depends on."""
    inputs = config_map("of-a-cluster", {"a": "1"})
    created = await plugin.create(CONFIG_MAP, "of-a-cluster", inputs)
    diff = await plugin.diff(created, {**inputs, "metadata": UNKNOWN})
    assert set(diff.replaces) == {"metadata.name", "metadata.namespace"}
    assert diff.detailedDiff["metadata.name"].kind == PropertyDiff.DELETE_REPLACE


# --- custom resources ---------------------------------------------------------------------------


async def test_a_custom_resource_waits_for_its_definition_in_the_same_run(
    plugin: Plugin,
) -> None:
    token = "kubernetes:example.com/v1:Widget"
    inputs = custom("Widget", "w", size=3, empty={})
    # The garbage collector, which ends a foreground deletion, learns of new kinds every 30 s only.
    inputs["metadata"]["annotations"] = {"pulumi.com/deletionPropagationPolicy": "background"}
    early = asyncio.create_task(plugin.create(token, "w", inputs))
    await told(plugin, 'no matches for kind "Widget"')
    crd = await plugin.create(DEFINITION, "widgets", definition("widgets", "Widget"))
    created = await early
    assert created.id == "default/w"
    assert not changed(await plugin.diff(await plugin.read(created), inputs))
    assert not changed(await plugin.diff(await plugin.read(crd), definition("widgets", "Widget")))
    await plugin.delete(created)
    await plugin.delete(crd)
    # Without the kind, all of its objects are gone.
    assert (await plugin.read(created)).id == ""
    await plugin.delete(created)


async def test_a_cluster_scoped_custom_resource_gets_no_namespace(plugin: Plugin) -> None:
    inputs = custom("Globe", "g", size=1)
    before, _ = await plugin.check(urn("kubernetes:example.com/v1:Globe", "g"), inputs)
    # Before the definition exists, the plugin assumes a namespace; later it removes it.
    assert before["metadata"]["namespace"] == "default"
    await plugin.create(DEFINITION, "globes", definition("globes", "Globe", scope="Cluster"))
    answer = await plugin.call(
        "Create",
        provider_pb2.CreateRequest(
            urn=urn("kubernetes:example.com/v1:Globe", "g"), properties=encode(before)
        ),
    )
    assert answer.id == "g"


# --- readiness ----------------------------------------------------------------------------------


async def test_a_create_of_a_deployment_waits_until_its_pods_are_ready(plugin: Plugin) -> None:
    created = await plugin.create(DEPLOYMENT, "ready", deployment("ready", replicas=2))
    assert created.state["status"]["availableReplicas"] == 2
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "ready"},
        "spec": {"selector": {"app": "ready"}, "ports": [{"port": 80}]},
    }
    assert (await plugin.create(SERVICE, "ready", service)).id == "default/ready"


async def test_an_object_that_does_not_become_ready_is_updated_by_the_next_run(
    plugin: Plugin,
) -> None:
    inputs = never_ready("stuck")
    with pytest.raises(PluginError) as failed:
        await plugin.create(DEPLOYMENT, "stuck", inputs)
    details = failed.value.init_failed
    assert details is not None
    assert details.id == "default/stuck"
    assert failed.value.state["status"]["unavailableReplicas"] == 1
    assert "failed to fully initialize or become live: 'stuck' timed out" in str(failed.value)
    assert (
        "Deployment default/stuck: 0 of 1 replicas are available, 1 are updated" in details.reasons
    )
    assert details.reasons[-1] == "look on with: kubectl describe deployment/stuck -n default"

    stuck = Resource(urn(DEPLOYMENT, "stuck"), details.id, inputs, failed.value.state)
    with pytest.raises(PluginError, match="was created but failed to initialize"):
        await plugin.read(stuck)
    repaired = await plugin.update(stuck, deployment("stuck"))
    assert repaired.state["status"]["availableReplicas"] == 1


async def test_skip_await_does_not_wait_until_an_object_is_ready(plugin: Plugin) -> None:
    inputs = never_ready("unawaited")
    inputs["metadata"]["annotations"] = {"pulumi.com/skipAwait": "true"}
    created = await plugin.create(DEPLOYMENT, "unawaited", inputs)
    assert (await plugin.read(created)).id == "default/unawaited"


async def test_custom_timeouts_take_precedence_over_the_annotation(plugin: Plugin) -> None:
    inputs = never_ready("hasty")
    inputs["metadata"]["annotations"] = {"pulumi.com/timeoutSeconds": "600"}
    with pytest.raises(PluginError, match="timed out waiting to be Ready"):
        await plugin.create(DEPLOYMENT, "hasty", inputs, seconds=1)


async def test_a_failed_job_is_reported_at_once(cluster: ControlPlane, plugin: Plugin) -> None:
    inputs: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "fails"},
        "spec": {
            "activeDeadlineSeconds": 1,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "nodeSelector": {"no": "such-node"},
                    "containers": [{"name": "job", "image": "job:1"}],
                }
            },
        },
    }
    async with asyncio.timeout(30):
        with pytest.raises(PluginError, match="the Job failed: DeadlineExceeded"):
            await plugin.create("kubernetes:batch/v1:Job", "fails", inputs)


# --- deletion -----------------------------------------------------------------------------------


async def test_a_deletion_that_times_out_names_the_finalizer_and_the_object(
    cluster: ControlPlane, plugin: Plugin
) -> None:
    inputs = config_map("held", {}, finalizers=["example.com/hold"])
    created = await plugin.create(CONFIG_MAP, "held", inputs)
    with pytest.raises(PluginError) as failed:
        await plugin.delete(created, seconds=1)
    assert "timed out waiting for ConfigMap default/held to be deleted" in str(failed.value)
    assert "finalizers might be preventing deletion" in str(failed.value)
    assert "example.com/hold" in str(failed.value)
    path = "/api/v1/namespaces/default/configmaps/held"
    await cluster.api.merge(path, {"metadata": {"finalizers": None}})
    await plugin.delete(created)
    assert await cluster.api.get(path) is None


async def test_a_deletion_of_a_namespace_that_times_out_names_what_blocks_it(
    plugin: Plugin,
) -> None:
    created = await plugin.create(NAMESPACE, "hangs", namespace("hangs"))
    inside = config_map("held", {}, namespace="hangs", finalizers=["example.com/hold"])
    await plugin.create(CONFIG_MAP, "inside", inside)
    with pytest.raises(PluginError) as failed:
        # The namespace controller lets 5 s pass before it begins.
        await plugin.delete(created, seconds=8)
    assert "example.com/hold in 1 resource instances" in str(failed.value)


# --- import -------------------------------------------------------------------------------------


async def test_an_import_finds_the_inputs_of_a_built_in_kind(
    cluster: ControlPlane, plugin: Plugin
) -> None:
    item = config_map("found", {"a": "1"}, namespace="default", labels={"x": "y"})
    await cluster.api.call("POST", "/api/v1/namespaces/default/configmaps", item)
    read = await plugin.read(Resource(urn(CONFIG_MAP, "found"), "default/found", {}, {}))
    assert read.id == "default/found"
    assert read.inputs == item
    assert not changed(await plugin.diff(read, config_map("found", {"a": "1"}, labels={"x": "y"})))


# --- unreachable clusters -----------------------------------------------------------------------


def with_closed_port(kubeconfig: dict[str, Any]) -> dict[str, Any]:
    entry = kubeconfig["clusters"][0]
    closed_cluster = {**entry["cluster"], "server": f"https://127.0.0.1:{free_port()}"}
    return {**kubeconfig, "clusters": [{**entry, "cluster": closed_cluster}]}


def with_user(kubeconfig: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    entry = kubeconfig["users"][0]
    return {**kubeconfig, "users": [{**entry, "user": user}]}


def without_access(kubeconfig: dict[str, Any], how: str) -> dict[str, Any]:
    if how == "gone":
        return with_closed_port(kubeconfig)
    return with_user(kubeconfig, {"token": "expired"})


@pytest.mark.parametrize("how", ["gone", "wrong token"])
async def test_reads_and_deletes_on_an_unreachable_cluster_fail_and_name_the_option(
    kubeconfig: dict[str, Any], plugin: Plugin, how: str
) -> None:
    name = f"far-{how.split()[0]}"
    created = await plugin.create(CONFIG_MAP, name, config_map(name, {"a": "1"}))
    async with Plugin.serving(kubeconfig=without_access(kubeconfig, how)) as unreachable:
        with pytest.raises(
            PluginError,
            match=r"failed to read resource state due to unreachable cluster\..*"
            "PULUMI_K8S_DELETE_UNREACHABLE",
        ):
            await unreachable.read(created)
        with pytest.raises(PluginError, match="PULUMI_K8S_DELETE_UNREACHABLE"):
            await unreachable.delete(created)
        with pytest.raises(PluginError, match="configured Kubernetes cluster is unreachable"):
            await unreachable.update(created, config_map(name, {"a": "2"}))
        assert any(
            "configured Kubernetes cluster is unreachable" in line for line in unreachable.messages
        )


@pytest.mark.parametrize("how", ["gone", "wrong token"])
@pytest.mark.parametrize("switch", ["setting", "environment"])
async def test_delete_unreachable_removes_from_the_state_even_if_only_the_token_is_wrong(
    kubeconfig: dict[str, Any],
    plugin: Plugin,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    switch: str,
) -> None:
    """As in Pulumi's own plugin, so it must be set only for a cluster that does not exist."""
    name = f"forgotten-{how.split()[0]}-{switch}"
    created = await plugin.create(CONFIG_MAP, name, config_map(name, {"a": "1"}))
    settings = {"deleteUnreachable": "true"} if switch == "setting" else {}
    if switch == "environment":
        monkeypatch.setenv("PULUMI_K8S_DELETE_UNREACHABLE", "true")
    async with Plugin.serving(
        kubeconfig=without_access(kubeconfig, how), **settings
    ) as unreachable:
        assert (await unreachable.read(created)).id == ""
        await unreachable.delete(created)
        assert any("Deleting the unreachable resource" in line for line in unreachable.messages)
    assert (await plugin.read(created)).id == created.id


async def test_skip_update_unreachable_keeps_the_state(
    kubeconfig: dict[str, Any], plugin: Plugin
) -> None:
    created = await plugin.create(CONFIG_MAP, "skipped", config_map("skipped", {"a": "1"}))
    async with Plugin.serving(
        kubeconfig=with_closed_port(kubeconfig), skipUpdateUnreachable="true"
    ) as unreachable:
        read = await unreachable.read(created)
    assert (read.id, read.state) == (created.id, created.state)


# --- who is asking ------------------------------------------------------------------------------


async def service_account_token(cluster: ControlPlane) -> str:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}}
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    if await cluster.api.get(f"{accounts}/deployer") is None:
        await cluster.api.call("POST", accounts, account)
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "deployer"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": "default"}],
        }
        await cluster.api.call(
            "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding
        )
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    response = await cluster.api.call("POST", f"{accounts}/deployer/token", request)
    return str(response["status"]["token"])


@pytest.mark.parametrize("how", ["token", "exec"])
async def test_a_kubeconfig_may_hold_a_token_or_a_command_that_prints_one(
    cluster: ControlPlane, kubeconfig: dict[str, Any], tmp_path: Path, how: str
) -> None:
    token = await service_account_token(cluster)
    user: dict[str, Any] = {"token": token}
    if how == "exec":
        answer = tmp_path / "answer.json"
        answer.write_text(
            '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
            f' "status": {{"token": "{token}"}}}}'
        )
        user = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": "cat",
                "args": [str(answer)],
                "interactiveMode": "Never",
            }
        }
    async with Plugin.serving(kubeconfig=with_user(kubeconfig, user)) as plugin:
        created = await plugin.create(CONFIG_MAP, how, config_map(f"by-{how}", {"a": "1"}))
    assert created.id == f"default/by-{how}"


async def test_a_kubeconfig_may_be_a_path_and_an_invalid_one_is_never_quoted(
    cluster: ControlPlane, tmp_path: Path
) -> None:
    async with Plugin.serving(kubeconfig=str(cluster.kubeconfig("admin"))) as plugin:
        created = await plugin.create(CONFIG_MAP, "path", config_map("by-path", {"a": "1"}))
    assert created.id == "default/by-path"
    async with Plugin.serving(kubeconfig="{token: hunter2") as broken:
        with pytest.raises(PluginError, match="configured Kubernetes cluster is unreachable"):
            await broken.create(CONFIG_MAP, "x", config_map("x", {}))
        with pytest.raises(PluginError):
            await broken.read(created)
        assert broken.messages
        assert not any("hunter2" in line for line in broken.messages)
