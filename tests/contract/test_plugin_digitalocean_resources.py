"""The digitalocean plugin on an emulated account: its requests and its state."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sandbox.plugins.common import Failure, InitFailed, Secret, plain
from sandbox.plugins.digitalocean import resource
from sandbox.plugins.digitalocean.api import Api
from sandbox.plugins.digitalocean.configuration import Configuration
from sandbox.plugins.digitalocean.provider import DigitalOceanProvider
from tests.contract.bridged_plugin import Created, Plugin
from tests.contract.digitalocean_api import Emulator, InMemoryBackend, emulator, until
from tests.contract.digitalocean_plugin import (
    CLUSTER,
    NODE_POOL,
    REGISTRY,
    VPC,
    cluster_inputs,
)


class Recorder(httpx.AsyncHTTPTransport):
    """Sends every request, and records it with its body."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.bodies: dict[str, Any] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        line = f"{request.method} {request.url.raw_path.decode()}"
        self.requests.append(line)
        if request.content:
            self.bodies[line] = json.loads(request.content)
        return await super().handle_async_request(request)

    def body(self, line: str) -> Any:
        return self.bodies[line]

    def clear(self) -> None:
        self.requests.clear()
        self.bodies.clear()


@pytest.fixture
def backend() -> InMemoryBackend:
    return InMemoryBackend()


@pytest.fixture
def do(tmp_path: Path, backend: InMemoryBackend) -> Iterator[Emulator]:
    with emulator(tmp_path / "account.json", backend) as served:
        yield served


@pytest.fixture
def wire() -> Recorder:
    return Recorder()


@pytest.fixture
def plugin(do: Emulator, wire: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    monkeypatch.setattr(resource, "POLL", 0.02)
    provider = DigitalOceanProvider(lambda config: Api(config, transport=wire))
    with asyncio.Runner() as runner:
        plugin = Plugin.stand_in(runner, provider)
        plugin.configure(token=do.token, apiEndpoint=do.url)
        yield plugin


def create_registry(plugin: Plugin, name: str = "microservices-demo") -> Created:
    return plugin.create(REGISTRY, {"name": name, "subscriptionTierSlug": "basic"})


# Clusters: creation


def test_a_cluster_is_created_by_the_calls_that_the_real_plugin_makes(
    plugin: Plugin, wire: Recorder
) -> None:
    create_registry(plugin)
    wire.clear()
    created = plugin.create(
        CLUSTER,
        cluster_inputs(
            tags=["shop"],
            registryIntegration=True,
            kubeconfigExpireSeconds=600,
            nodePool={
                "name": "default",
                "size": "s-2vcpu-4gb",
                "nodeCount": 2,
                "labels": {"team": "shop"},
                "tags": ["pool"],
                "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}],
            },
        ),
    )
    path = f"/v2/kubernetes/clusters/{created.id}"
    first, *polls, integration, read, credentials = wire.requests
    assert first == "POST /v2/kubernetes/clusters"
    assert polls
    assert set(polls) == {f"GET {path}"}
    assert integration == "POST /v2/kubernetes/registry"
    assert read == f"GET {path}"
    assert credentials == f"GET {path}/credentials?expiry_seconds=600"
    assert wire.body(integration) == {"cluster_uuids": [created.id]}
    assert wire.body(first) == {
        "name": "microservices-demo",
        "region": "nyc1",
        "version": "1.34.11-do.0",
        "tags": ["shop"],
        "maintenance_policy": None,
        "auto_upgrade": False,
        "surge_upgrade": True,
        "node_pools": [
            {
                "name": "default",
                "size": "s-2vcpu-4gb",
                "count": 2,
                "tags": ["pool", "terraform:default-node-pool"],
                "labels": {"team": "shop"},
                "taints": [{"Key": "k", "Value": "v", "Effect": "NoSchedule"}],
            }
        ],
    }


def test_the_outputs_of_a_cluster_are_those_of_the_api(plugin: Plugin, do: Emulator) -> None:
    created = plugin.create(
        CLUSTER,
        cluster_inputs(ha=True, maintenancePolicy={"day": "sunday", "startTime": "04:00"}),
    )
    outputs = plain(created.outputs)
    cluster = do.cluster(created.id)
    pool = outputs["nodePool"]
    assert outputs["endpoint"] == cluster["endpoint"]
    assert outputs["status"] == "running"
    assert outputs["ha"] is True
    assert outputs["vpcUuid"] == cluster["vpc_uuid"]
    assert outputs["clusterUrn"] == f"do:kubernetes:{created.id}"
    assert outputs["maintenancePolicy"]["day"] == "sunday"
    assert outputs["maintenancePolicy"]["startTime"] == "04:00"
    assert outputs["registryIntegration"] is False
    assert outputs["createdAt"].endswith(" +0000 UTC")
    assert outputs["tags"] == []
    assert pool["id"] == cluster["node_pools"][0]["id"]
    assert pool["nodeCount"] == pool["actualNodeCount"] == len(pool["nodes"]) == 2
    assert pool["tags"] == []
    assert {node["status"] for node in pool["nodes"]} == {"running"}


def test_credentials_are_a_secret_that_kubectl_can_use(plugin: Plugin, do: Emulator) -> None:
    created = plugin.create(CLUSTER, cluster_inputs())
    secret = created.outputs["kubeConfigs"]
    assert isinstance(secret, Secret)
    [access] = secret.value
    config = yaml.safe_load(access["rawConfig"])
    [cluster], [user], [context] = config["clusters"], config["users"], config["contexts"]
    assert config["current-context"] == context["name"] == "do-nyc1-microservices-demo"
    assert context["context"] == {
        "cluster": "do-nyc1-microservices-demo",
        "user": "do-nyc1-microservices-demo-admin",
    }
    assert cluster["cluster"] == {
        "server": access["host"],
        "certificate-authority-data": access["clusterCaCertificate"],
    }
    assert user["user"] == {"token": access["token"]}
    assert datetime.fromisoformat(access["expiresAt"]) > datetime.now(UTC) + timedelta(days=6)


def test_a_cluster_that_does_not_become_ready_is_an_error_and_not_in_the_state(
    plugin: Plugin, do: Emulator, backend: InMemoryBackend
) -> None:
    backend.failure = "no machines left"
    with pytest.raises(Failure, match="Error creating Kubernetes cluster: no machines left") as e:
        plugin.create(CLUSTER, cluster_inputs())
    assert not isinstance(e.value, InitFailed)
    [orphan] = do.pydo().kubernetes.list_clusters()["kubernetes_clusters"]
    assert orphan["name"] == "microservices-demo"


def test_a_cluster_that_takes_too_long_is_an_error(
    plugin: Plugin, backend: InMemoryBackend
) -> None:
    backend.gate.clear()
    with pytest.raises(Failure, match="Timeout waiting to create cluster"):
        plugin.create(CLUSTER, cluster_inputs(), seconds=0.2)


def test_a_cluster_whose_registry_integration_failed_is_in_the_state(
    plugin: Plugin, do: Emulator
) -> None:
    with pytest.raises(InitFailed, match="Error enabling registry integration") as error:
        plugin.create(CLUSTER, cluster_inputs(registryIntegration=True))
    [cluster] = do.pydo().kubernetes.list_clusters()["kubernetes_clusters"]
    assert error.value.id == cluster["id"]
    assert error.value.properties["name"] == "microservices-demo"
    assert "creating urn:pulumi:dev::tests::" in error.value.reasons[0]


def test_a_refused_cluster_is_reported_with_the_apis_response(plugin: Plugin) -> None:
    with pytest.raises(Failure) as error:
        plugin.create(CLUSTER, cluster_inputs(version="0.1.0-do.0"))
    assert "Error creating Kubernetes cluster: POST http://127.0.0.1:" in str(error.value)
    assert ": 422 (request " in str(error.value)


# Clusters: refresh and import


def test_a_refresh_of_an_unchanged_cluster_changes_nothing_with_one_request(
    plugin: Plugin, wire: Recorder
) -> None:
    created = plugin.create(CLUSTER, cluster_inputs(tags=["shop"]))
    wire.clear()
    read = plugin.refresh(created)
    assert plain(read.outputs) == plain(created.outputs)
    assert wire.requests == [f"GET /v2/kubernetes/clusters/{created.id}"]
    assert isinstance(read.outputs["kubeConfigs"], Secret)
    diff = plugin.diff(
        CLUSTER, read.outputs, plugin.checked(CLUSTER, cluster_inputs(tags=["shop"]))
    )
    assert diff.changes == diff.DIFF_NONE


def test_a_refresh_finds_manual_changes(plugin: Plugin, do: Emulator) -> None:
    created = plugin.create(CLUSTER, cluster_inputs(tags=["shop"]))
    do.pydo().kubernetes.update_cluster(
        created.id, body={"name": "microservices-demo", "auto_upgrade": True, "tags": ["other"]}
    )
    read = plugin.refresh(created)
    assert read.outputs["autoUpgrade"] is True
    assert read.outputs["tags"] == ["other"]
    diff = plugin.diff(CLUSTER, read.outputs, created.inputs)
    assert list(diff.diffs) == ["autoUpgrade", "tags"]


def test_a_refresh_does_not_see_that_the_registry_integration_was_removed(
    plugin: Plugin, do: Emulator
) -> None:
    create_registry(plugin)
    created = plugin.create(CLUSTER, cluster_inputs(registryIntegration=True))
    do.http().request("DELETE", "/v2/kubernetes/registry", json={"cluster_uuids": [created.id]})
    assert not do.cluster(created.id)["registry_enabled"]
    read = plugin.refresh(created)
    assert read.outputs["registryIntegration"] is True


def test_a_refresh_renews_credentials_only_once_they_have_expired(
    plugin: Plugin, wire: Recorder
) -> None:
    created = plugin.create(CLUSTER, cluster_inputs())
    [access] = plain(created.outputs["kubeConfigs"])
    fresh = plugin.refresh(created)
    assert plain(fresh.outputs["kubeConfigs"]) == [access]
    stale = {**access, "expiresAt": "2020-01-01T00:00:00Z"}
    created.outputs["kubeConfigs"] = Secret([stale])
    wire.clear()
    renewed = plugin.refresh(created)
    [new_access] = plain(renewed.outputs["kubeConfigs"])
    assert new_access["token"] != access["token"]
    assert wire.requests[-1].endswith("/credentials?expiry_seconds=0")


@pytest.mark.parametrize("type", [CLUSTER, NODE_POOL, REGISTRY, VPC])
def test_a_refresh_removes_what_no_longer_exists(plugin: Plugin, type: str) -> None:
    gone = Created(type, "0000", {}, {"clusterId": "0000", "name": "x"})
    assert plugin.read(gone) is None


def test_a_cluster_is_imported_by_its_id_and_its_only_pool_becomes_the_default(
    plugin: Plugin, do: Emulator
) -> None:
    existing = do.running_cluster()
    imported = plugin.import_(CLUSTER, existing["id"])
    assert imported.inputs["name"] == "microservices-demo"
    assert imported.inputs["nodePool"]["size"] == "s-2vcpu-4gb"
    assert "endpoint" not in imported.inputs
    assert isinstance(imported.outputs["kubeConfigs"], Secret)
    [pool] = do.cluster(existing["id"])["node_pools"]
    assert "terraform:default-node-pool" in pool["tags"]
    _, failures = plugin.check(CLUSTER, imported.inputs)
    assert not failures


def test_a_cluster_with_several_pools_and_no_default_one_is_not_imported(
    plugin: Plugin, do: Emulator
) -> None:
    pools = [{"name": name, "size": "s-2vcpu-4gb", "count": 1} for name in ("first", "second")]
    existing = do.running_cluster(node_pools=pools)
    with pytest.raises(Failure, match="Manually add the `terraform:default-node-pool` tag"):
        plugin.import_(CLUSTER, existing["id"])


# Clusters: changes and end


def test_a_cluster_is_updated_in_place(plugin: Plugin, do: Emulator, wire: Recorder) -> None:
    create_registry(plugin)
    created = plugin.create(CLUSTER, cluster_inputs())
    wire.clear()
    changes = cluster_inputs(
        name="renamed",
        tags=["new"],
        autoUpgrade=True,
        registryIntegration=True,
        maintenancePolicy={"day": "monday", "startTime": "01:00"},
        nodePool={"name": "default", "size": "s-2vcpu-4gb", "nodeCount": 3},
    )
    updated = plugin.update(created, changes)
    path = f"/v2/kubernetes/clusters/{created.id}"
    [put, put_pool] = [line for line in wire.requests if line.startswith("PUT")]
    assert put == f"PUT {path}"
    assert put_pool.startswith(f"PUT {path}/node_pools/")
    assert wire.body(put_pool)["tags"] == ["terraform:default-node-pool"]
    cluster = do.cluster(created.id)
    assert cluster["name"] == updated.outputs["name"] == "renamed"
    assert cluster["auto_upgrade"]
    assert cluster["registry_enabled"]
    assert cluster["maintenance_policy"]["day"] == "monday"
    assert updated.outputs["nodePool"]["actualNodeCount"] == 3
    assert updated.outputs["registryIntegration"] is True
    diff = plugin.diff(CLUSTER, updated.outputs, plugin.checked(CLUSTER, changes))
    assert diff.changes == diff.DIFF_NONE


def test_a_newer_version_is_an_upgrade(plugin: Plugin, do: Emulator, wire: Recorder) -> None:
    older, newer = sorted(do.account.data.versions)[:2]
    created = plugin.create(CLUSTER, cluster_inputs(version=older))
    wire.clear()
    plugin.update(created, cluster_inputs(version=newer))
    upgrade = f"POST /v2/kubernetes/clusters/{created.id}/upgrade"
    assert wire.body(upgrade) == {"version": newer}
    until(lambda: do.cluster(created.id), lambda cluster: cluster["version"] == newer)


def test_a_preview_of_an_update_keeps_what_the_api_decided(plugin: Plugin, wire: Recorder) -> None:
    created = plugin.create(CLUSTER, cluster_inputs())
    wire.clear()
    planned = plugin.update(created, cluster_inputs(tags=["new"]), preview=True)
    assert not wire.requests
    assert planned.outputs["tags"] == ["new"]
    assert planned.outputs["endpoint"] == created.outputs["endpoint"]
    assert planned.outputs["kubeConfigs"] == created.outputs["kubeConfigs"]
    assert planned.outputs["nodePool"] == created.outputs["nodePool"]


def test_a_failed_update_leaves_the_new_values_in_the_state_until_the_next_refresh(
    plugin: Plugin,
) -> None:
    created = plugin.create(CLUSTER, cluster_inputs(ha=True))
    with pytest.raises(InitFailed, match="Unable to update cluster: PUT ") as error:
        plugin.update(created, cluster_inputs(ha=False))
    assert error.value.id == created.id
    assert error.value.properties["ha"] is False
    after = plugin.refresh(created)
    assert after.outputs["ha"] is True


@pytest.mark.usefixtures("default_vpc")
def test_an_update_of_what_no_longer_exists_is_an_error(plugin: Plugin, do: Emulator) -> None:
    created = plugin.create(VPC, {"name": "net", "region": "nyc1"})
    do.http().delete(f"/v2/vpcs/{created.id}")
    with pytest.raises(Failure, match="404"):
        plugin.update(created, {"name": "other", "region": "nyc1"})


def test_deleting_a_cluster_requests_its_deletion(
    plugin: Plugin, do: Emulator, wire: Recorder
) -> None:
    created = plugin.create(CLUSTER, cluster_inputs())
    wire.clear()
    plugin.delete(created)
    assert wire.requests == [f"DELETE /v2/kubernetes/clusters/{created.id}"]
    do.until_deleted(created.id)
    plugin.delete(created)  # deleting it again is no error


def test_a_cluster_is_deleted_with_its_associated_resources(
    plugin: Plugin, do: Emulator, wire: Recorder
) -> None:
    created = plugin.create(CLUSTER, cluster_inputs(destroyAllAssociatedResources=True))
    wire.clear()
    plugin.delete(created)
    path = f"/v2/kubernetes/clusters/{created.id}/destroy_with_associated_resources"
    assert wire.requests == [f"GET {path}", f"DELETE {path}/dangerous"]
    do.until_deleted(created.id)


def test_a_failed_deletion_is_an_error_so_that_the_cluster_stays_in_the_state(
    plugin: Plugin, do: Emulator
) -> None:
    created = plugin.create(CLUSTER, cluster_inputs())
    reader = do.token_with("kubernetes:read")
    plugin.configure(token=reader, apiEndpoint=do.url)
    with pytest.raises(Failure, match=r"Unable to delete cluster: DELETE .*: 403 "):
        plugin.delete(created)
    assert do.cluster(created.id)


# Node pools


@pytest.fixture
def cluster(plugin: Plugin) -> Created:
    return plugin.create(CLUSTER, cluster_inputs())


def pool_inputs(cluster: Created, **changes: object) -> dict[str, Any]:
    return {
        "clusterId": cluster.id,
        "name": "burst",
        "size": "s-2vcpu-4gb",
        "nodeCount": 1,
        **changes,
    }


def test_a_node_pool_is_created_updated_and_deleted(
    plugin: Plugin, do: Emulator, cluster: Created, wire: Recorder
) -> None:
    created = plugin.create(NODE_POOL, pool_inputs(cluster, labels={"a": "b"}))
    assert created.outputs["actualNodeCount"] == 1
    assert [node["status"] for node in created.outputs["nodes"]] == ["running"]

    changes = pool_inputs(
        cluster,
        nodeCount=2,
        labels={"c": "d"},
        tags=["batch"],
        taints=[{"key": "k", "value": "v", "effect": "NoExecute"}],
    )
    updated = plugin.update(created, changes)
    assert updated.outputs["actualNodeCount"] == 2
    assert updated.outputs["tags"] == ["batch"]
    assert updated.outputs["labels"] == {"c": "d"}
    diff = plugin.diff(NODE_POOL, updated.outputs, plugin.checked(NODE_POOL, changes))
    assert diff.changes == diff.DIFF_NONE

    autoscaled = plugin.update(
        updated, pool_inputs(cluster, nodeCount=None, autoScale=True, minNodes=1, maxNodes=3)
    )
    assert autoscaled.outputs["autoScale"] is True
    assert autoscaled.outputs["maxNodes"] == 3

    wire.clear()
    plugin.delete(autoscaled)
    path = f"/v2/kubernetes/clusters/{cluster.id}/node_pools/{created.id}"
    assert wire.requests[0] == f"DELETE {path}"
    assert set(wire.requests[1:]) == {f"GET {path}"}
    assert len(do.cluster(cluster.id)["node_pools"]) == 1


def test_a_node_pool_that_takes_too_long_is_an_error(
    plugin: Plugin, cluster: Created, backend: InMemoryBackend
) -> None:
    backend.gate.clear()
    with pytest.raises(Failure, match="Timeout waiting to create nodepool"):
        plugin.create(NODE_POOL, pool_inputs(cluster), seconds=0.2)


def test_a_node_pool_is_imported_by_its_id_alone(
    plugin: Plugin, do: Emulator, cluster: Created
) -> None:
    existing = plugin.create(NODE_POOL, pool_inputs(cluster))
    imported = plugin.import_(NODE_POOL, existing.id)
    assert imported.outputs == existing.outputs
    assert imported.inputs["clusterId"] == cluster.id


def test_the_default_pool_is_not_imported_as_a_resource_of_its_own(
    plugin: Plugin, cluster: Created
) -> None:
    with pytest.raises(Failure, match="import the owning KubernetesCluster instead"):
        plugin.import_(NODE_POOL, cluster.outputs["nodePool"]["id"])
    with pytest.raises(Failure, match="Did not find the cluster owning the node pool 0000"):
        plugin.import_(NODE_POOL, "0000")


# Registry and VPC


@pytest.fixture
def default_vpc(plugin: Plugin) -> Created:
    """The first VPC of a region is its default VPC, which can't be deleted."""
    return plugin.create(VPC, {"name": "first", "region": "nyc1"})


def test_a_registry_is_created_updated_imported_and_deleted(plugin: Plugin, do: Emulator) -> None:
    created = create_registry(plugin)
    assert created.id == "microservices-demo"
    assert created.outputs["endpoint"] == "registry.digitalocean.com/microservices-demo"
    assert created.outputs["serverUrl"] == "registry.digitalocean.com"
    assert created.outputs["subscriptionTierSlug"] == "basic"
    changes = {"name": "microservices-demo", "subscriptionTierSlug": "professional"}
    updated = plugin.update(created, changes)
    assert updated.outputs["subscriptionTierSlug"] == "professional"
    imported = plugin.import_(REGISTRY, created.id)
    assert imported.outputs == updated.outputs
    plugin.delete(updated)
    assert do.account.data.registries == {}


@pytest.mark.usefixtures("default_vpc")
def test_a_vpc_is_created_updated_imported_and_deleted(plugin: Plugin, do: Emulator) -> None:
    created = plugin.create(VPC, {"name": "net", "region": "nyc1", "ipRange": "10.77.0.0/20"})
    assert created.outputs["vpcUrn"] == f"do:vpc:{created.id}"
    assert created.outputs["ipRange"] == "10.77.0.0/20"
    assert created.outputs["default"] is False
    updated = plugin.update(
        created,
        {"name": "network", "region": "nyc1", "ipRange": "10.77.0.0/20", "description": "text"},
    )
    assert updated.outputs["name"] == "network"
    imported = plugin.import_(VPC, created.id)
    assert imported.outputs == updated.outputs
    plugin.delete(updated)
    assert do.http().get(f"/v2/vpcs/{created.id}").status_code == 404


@pytest.mark.usefixtures("default_vpc")
def test_deleting_a_vpc_waits_until_its_members_are_gone(
    plugin: Plugin, do: Emulator, backend: InMemoryBackend
) -> None:
    vpc = plugin.create(VPC, {"name": "net", "region": "nyc1"})
    member = plugin.create(CLUSTER, cluster_inputs(vpcUuid=vpc.id))
    with pytest.raises(Failure, match=r"Error deleting VPC: DELETE .*: 409 "):
        plugin.delete(vpc, seconds=0.1)
    backend.gate.clear()
    plugin.delete(member)
    threading.Timer(0.5, backend.gate.set).start()
    plugin.delete(vpc)
    assert do.http().get(f"/v2/vpcs/{vpc.id}").status_code == 404


# Requests


def responding(
    *statuses: int, retry_after: str | None = None
) -> tuple[httpx.MockTransport, list[str]]:
    """A transport that responds with these statuses in turn, and its list of requests."""
    requests: list[str] = []
    remaining = list(statuses)

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request.method)
        headers = {"Retry-After": retry_after} if retry_after else {}
        body = {"vpc": {"id": "1"}, "message": "what went wrong", "request_id": "r-1"}
        return httpx.Response(remaining.pop(0), json=body, headers=headers)

    return httpx.MockTransport(respond), requests


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_requests_are_retried_when_the_api_is_busy_or_broken(status: int) -> None:
    transport, requests = responding(status, status, 200)
    config = Configuration(httpRetryWaitMin=0.001)
    response = asyncio.run(Api(config, transport=transport).post("/v2/vpcs", {"name": "x"}))
    assert response["vpc"] == {"id": "1"}
    assert requests == ["POST"] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 501])
def test_refused_requests_are_not_retried(status: int) -> None:
    transport, requests = responding(status)
    api = Api(Configuration(), transport=transport)
    with pytest.raises(Failure) as error:
        asyncio.run(api.get("/v2/vpcs"))
    assert requests == ["GET"]
    assert str(error.value) == (
        f'GET https://api.digitalocean.com/v2/vpcs: {status} (request "r-1") what went wrong'
    )


def test_requests_fail_after_the_configured_number_of_attempts() -> None:
    transport, requests = responding(500, 500, 500)
    config = Configuration(httpRetryMax=2, httpRetryWaitMin=0.001)
    with pytest.raises(Failure, match=r"500 .*; giving up after 3 attempt\(s\)$"):
        asyncio.run(Api(config, transport=transport).get("/v2/vpcs"))
    assert len(requests) == 3


def test_retries_wait_as_long_as_the_api_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    for retry_after in ("7", None):
        transport, _ = responding(429, 429, 200, retry_after=retry_after)
        asyncio.run(Api(Configuration(), transport=transport).get("/v2/vpcs"))
    assert [seconds for seconds in waits if seconds] == [7, 7, 1, 2]


def test_an_unreachable_api_is_reported_with_its_address() -> None:
    config = Configuration(apiEndpoint="http://127.0.0.1:1", httpRetryMax=0)
    with pytest.raises(Failure, match=r"GET http://127\.0\.0\.1:1/v2/vpcs: "):
        asyncio.run(Api(config).get("/v2/vpcs"))
