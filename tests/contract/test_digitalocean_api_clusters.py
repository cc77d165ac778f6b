"""Emulated clusters, node pools and credentials, tested with DigitalOcean's client."""

import base64
import errno
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from azure.core.exceptions import HttpResponseError

from sandbox.digitalocean import fields
from sandbox.digitalocean.backend import Taint
from tests.contract.digitalocean_api import (
    Emulator,
    cluster_request,
    error_of,
    pool_request,
    until,
)

CLUSTERS = "/v2/kubernetes/clusters"


def refusal(do: Emulator, method: str, path: str, body: object) -> tuple[int, str]:
    """Send a request that must be refused with 422 or 409, and return its status and message."""
    status, identifier, message = error_of(do.http().request(method, path, json=body))
    assert identifier in ("unprocessable_entity", "conflict")
    return status, message


def all_running(pool: dict[str, Any]) -> bool:
    """Whether the pool is ready by the criteria of the real provider."""
    nodes = pool["nodes"]
    return len(nodes) == pool["count"] and all(n["status"]["state"] == "running" for n in nodes)


def pool_of(do: Emulator, cluster_id: str, pool_id: str) -> dict[str, Any]:
    return dict(do.pydo().kubernetes.get_node_pool(cluster_id, pool_id)["node_pool"])


# Options


def test_sizes_have_their_list_price_by_month_and_by_hour(do: Emulator) -> None:
    sizes = do.pydo().sizes.list(per_page=200)["sizes"]
    offered = {size["slug"] for size in do.pydo().kubernetes.list_options()["options"]["sizes"]}
    assert {size["slug"] for size in sizes} == offered
    [size] = [size for size in sizes if size["slug"] == "s-2vcpu-4gb"]
    assert (size["price_monthly"], size["price_hourly"]) == (24.0, 0.03571)
    assert (size["vcpus"], size["memory"], size["disk"]) == (2, 4096, 80)


def test_options_name_versions_regions_and_sizes(do: Emulator) -> None:
    options = do.pydo().kubernetes.list_options()["options"]
    slugs = [version["slug"] for version in options["versions"]]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+-do\.\d+", slug) for slug in slugs)
    assert len({slug.rsplit(".", 2)[0].split(".", 2)[1] for slug in slugs}) >= 3
    assert options["versions"][0]["kubernetes_version"] == slugs[0].split("-")[0]
    assert "docr-integration" in options["versions"][0]["supported_features"]
    assert {"name": "New York 1", "slug": "nyc1"} in options["regions"]
    assert {"name": "s-2vcpu-4gb", "slug": "s-2vcpu-4gb"} in options["sizes"]


# Clusters


def test_a_cluster_is_provisioned_and_then_runs(do: Emulator) -> None:
    do.backend.gate.clear()
    created = do.create_cluster(ha=False)
    assert created["status"] == {"state": "provisioning", "message": "provisioning"}
    assert (created["endpoint"], created["ipv4"]) == ("", "")
    [pool] = created["node_pools"]
    assert [node["status"]["state"] for node in pool["nodes"]] == ["provisioning"] * 2
    assert [node["name"] for node in pool["nodes"]] == ["", ""]

    do.backend.gate.set()
    cluster = do.until_state(created["id"], "running")
    assert cluster["status"] == {"state": "running"}
    assert cluster["endpoint"] == "https://127.0.0.1:6443"
    assert cluster["ipv4"] == "127.0.0.1"
    [pool] = cluster["node_pools"]
    assert all_running(pool)
    for node in pool["nodes"]:
        assert re.fullmatch(r"default-[a-z0-9]{5}", node["name"])
        assert node["droplet_id"].isdecimal()


def test_a_cluster_has_the_requested_settings_and_those_that_digitalocean_adds(
    do: Emulator,
) -> None:
    cluster = do.running_cluster(
        tags=["team:web"],
        ha=True,
        auto_upgrade=True,
        surge_upgrade=True,
        maintenance_policy={"day": "sunday", "start_time": "04:00"},
        node_pools=[pool_request(tags=["terraform:default-node-pool"])],
        control_plane_firewall={"enabled": True, "allowed_addresses": ["203.0.113.0/24"]},
        routing_agent={"enabled": None},
    )
    identifier = cluster["id"]
    assert cluster["tags"] == ["k8s", f"k8s:{identifier}", "team:web"]
    assert (cluster["ha"], cluster["auto_upgrade"], cluster["surge_upgrade"]) == (True,) * 3
    assert cluster["ipv4"] == ""
    assert cluster["maintenance_policy"] == {
        "day": "sunday",
        "start_time": "04:00",
        "duration": "4h0m0s",
    }
    assert cluster["cluster_subnet"] == "10.244.0.0/16"
    assert cluster["service_subnet"] == "10.245.0.0/16"
    assert cluster["registry_enabled"] is False
    assert cluster["control_plane_firewall"]["allowed_addresses"] == ["203.0.113.0/24"]
    assert "routing_agent" not in cluster
    for moment in ("created_at", "updated_at"):
        assert datetime.fromisoformat(cluster[moment]).tzinfo is not None
    [pool] = cluster["node_pools"]
    assert pool["tags"] == ["k8s", f"k8s:{identifier}", "k8s:worker", "terraform:default-node-pool"]
    assert (pool["labels"], pool["taints"]) == (None, [])
    assert (pool["auto_scale"], pool["min_nodes"], pool["max_nodes"]) == (False, 0, 0)


def test_a_cluster_without_a_maintenance_policy_gets_one(do: Emulator) -> None:
    cluster = do.create_cluster(maintenance_policy=None)
    assert cluster["maintenance_policy"]["day"] == "any"


def test_a_cluster_joins_the_default_vpc_of_its_region(do: Emulator) -> None:
    first, second = do.create_cluster(name="one"), do.create_cluster(name="two")
    [vpc] = do.pydo().vpcs.list()["vpcs"]
    assert first["vpc_uuid"] == second["vpc_uuid"] == vpc["id"]
    assert (vpc["default"], vpc["region"]) == (True, "nyc1")


@pytest.mark.parametrize(
    ("requested", "version"),
    [
        ("1.34.9-do.1", "1.34.9-do.1"),
        ("1.34", "1.34.11-do.0"),
        ("latest", "1.36.3-do.0"),
    ],
)
def test_a_version_may_be_a_slug_a_minor_version_or_latest(
    do: Emulator, requested: str, version: str
) -> None:
    assert do.create_cluster(version=requested)["version"] == version


@pytest.mark.parametrize(("version", "ha"), [("1.35", False), ("1.36", True)])
def test_high_availability_is_the_default_since_1_36(do: Emulator, version: str, ha: bool) -> None:
    assert do.create_cluster(version=version)["ha"] is ha
    assert do.create_cluster(version=version, name="other", ha=not ha)["ha"] is not ha


def test_a_cluster_that_can_not_be_created_is_in_error(do: Emulator) -> None:
    do.backend.failure = "no room for a control plane"
    created = do.create_cluster()
    cluster = do.until_state(created["id"], "error")
    assert cluster["status"]["message"] == "no room for a control plane"
    assert error_of(do.http().get(f"{CLUSTERS}/{created['id']}/kubeconfig"))[0] == 404
    do.backend.failure = ""
    do.pydo().kubernetes.delete_cluster(created["id"])
    do.until_deleted(created["id"])


def test_a_cluster_that_failed_while_the_disk_was_full_runs_again_when_there_is_room(
    do: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = do.running_cluster()

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    do.backend.failure = "No space left on device"
    with monkeypatch.context() as full:
        full.setattr(do.account, "_save", fail)
        do.reconcile()
    failed = do.cluster(cluster["id"])["status"]
    do.backend.failure = ""
    do.reconcile()

    assert failed == {"state": "degraded", "message": "No space left on device"}
    assert do.cluster(cluster["id"])["status"]["state"] == "running"


def test_a_cluster_whose_nodes_can_not_be_changed_is_degraded_until_they_can(do: Emulator) -> None:
    cluster = do.running_cluster()
    [pool] = cluster["node_pools"]
    do.backend.failure = "no room for a node"
    do.pydo().kubernetes.update_node_pool(
        cluster["id"], pool["id"], body={"name": "default", "count": 3}
    )
    assert do.until_state(cluster["id"], "degraded")["status"]["message"] == "no room for a node"
    do.backend.failure = ""
    do.pydo().kubernetes.update_cluster(cluster["id"], body={"name": cluster["name"]})
    do.until_state(cluster["id"], "running")
    assert len(do.backend.nodes[cluster["id"]]) == 3


def test_an_update_of_a_cluster_changes_only_the_fields_that_it_has(do: Emulator) -> None:
    before = do.running_cluster(tags=["old"], surge_upgrade=True)
    response = do.pydo().kubernetes.update_cluster(
        before["id"],
        body={
            "name": "renamed",
            "tags": ["k8s", f"k8s:{before['id']}", "new"],
            "auto_upgrade": True,
            "ha": True,
            "maintenance_policy": {"day": "monday", "start_time": "01:00"},
        },
    )["kubernetes_cluster"]
    assert response["name"] == "renamed"
    cluster = do.until_state(before["id"], "running")
    assert cluster["tags"] == ["k8s", f"k8s:{before['id']}", "new"]
    assert (cluster["auto_upgrade"], cluster["surge_upgrade"], cluster["ha"]) == (True,) * 3
    assert cluster["maintenance_policy"]["day"] == "monday"
    assert cluster["endpoint"] == before["endpoint"]
    assert datetime.fromisoformat(cluster["updated_at"]) > datetime.fromisoformat(
        before["updated_at"]
    )


def test_high_availability_can_not_be_disabled(do: Emulator) -> None:
    cluster = do.running_cluster(ha=True)
    body = {"name": cluster["name"], "ha": False}
    assert refusal(do, "PUT", f"{CLUSTERS}/{cluster['id']}", body)[0] == 422
    assert do.cluster(cluster["id"])["ha"] is True


def test_a_cluster_is_listed_while_it_is_being_deleted_and_frees_its_name_at_once(
    do: Emulator,
) -> None:
    cluster = do.running_cluster()
    do.backend.gate.clear()
    do.pydo().kubernetes.delete_cluster(cluster["id"])
    assert do.cluster(cluster["id"])["status"]["state"] == "deleting"
    assert error_of(do.http().get(f"{CLUSTERS}/{cluster['id']}/credentials"))[0] == 404
    assert refusal(do, "PUT", f"{CLUSTERS}/{cluster['id']}", {"name": "new"})[0] == 409
    successor = do.create_cluster()
    do.backend.gate.set()
    do.until_deleted(cluster["id"])
    do.until_state(successor["id"], "running")
    assert list(do.backend.specs) == [successor["id"]]


def test_a_cluster_can_be_deleted_while_it_is_provisioned(do: Emulator) -> None:
    do.backend.gate.clear()
    cluster = do.create_cluster()
    do.pydo().kubernetes.delete_cluster(cluster["id"])
    do.backend.gate.set()
    do.until_deleted(cluster["id"])
    assert do.backend.specs == {}


# Validation


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"name": "Upper"}, "name must be 1 to 63"),
        ({"name": "a" * 64}, "name must be 1 to 63"),
        ({"name": "-dash"}, "name must be 1 to 63"),
        ({"name": None}, "name: Field required"),
        ({"name": 7}, "name: Input should be a valid string"),
        ({"region": "moon1"}, "invalid region"),
        ({"version": "1.20"}, "invalid version slug"),
        ({"version": "1.34.11"}, "invalid version slug"),
        ({"node_pools": []}, "at least one pool"),
        ({"node_pools": None}, "node_pools: Field required"),
        ({"tags": ["no spaces"]}, "tag 'no spaces'"),
        ({"maintenance_policy": {"day": "someday"}}, "day must be one of"),
        ({"maintenance_policy": {"start_time": "25:00"}}, "start_time must be HH:MM"),
        ({"vpc_uuid": "5f9aae51-0000-4000-8000-000000000000"}, "no VPC"),
        ({"cluster_subnet": "10.244.0.0"}, "cluster_subnet"),
        ({"service_subnet": "10.244.8.0/22"}, "service_subnet overlaps with cluster_subnet"),
        ({"cluster_subnet": "10.100.0.0/16"}, "cluster_subnet overlaps with vpc"),
        ({"routing_agent": {"enabled": "yes"}}, "routing_agent.enabled: Input should be"),
        ({"sso": {"enabled": True, "client_id": "doks"}}, "sso needs issuer_url and client_id"),
        ({"sso": {"required": True}}, "sso.required can only be true when sso.enabled is true"),
        ({"control_plane_firewall": {"allowed_addresses": ["me"]}}, "'me' is no IPv4 address"),
        (
            {"cluster_autoscaler_configuration": {"expanders": ["price"]}},
            "cluster_autoscaler_configuration.expanders.0: Input should be",
        ),
        ({"isolated_workers": True}, "isolated_workers requires a NAT gateway in the VPC"),
        ({"worker_subnet_uuid": "5f9aae51"}, "worker_subnet_uuid requires vpc_uuid"),
    ],
)
def test_an_invalid_cluster_is_refused(
    do: Emulator, invalid: dict[str, object], message: str
) -> None:
    status, text = refusal(do, "POST", CLUSTERS, cluster_request(**invalid))
    assert (status, message in text) == (422, True), text
    assert do.pydo().kubernetes.list_clusters()["kubernetes_clusters"] == []


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"size": "s-1vcpu-1tb"}, "worker_node_pool_specs[0].invalid droplet size"),
        ({"name": "p" * 56}, "pool names cannot be greater than 55 characters"),
        ({"name": "Pool"}, "pool names must be"),
        ({"count": 0}, "count must be greater than or equal to 1"),
        ({"count": None}, "count must be greater than or equal to 1"),
        ({"count": "2"}, "count: Input should be a valid integer"),
        ({"count": 26}, "26 additional nodes but not enough available droplet limit"),
        ({"auto_scale": True, "min_nodes": 0, "max_nodes": 3}, "min nodes must be greater"),
        ({"auto_scale": True, "min_nodes": 3, "max_nodes": 2}, "max nodes must be greater"),
        ({"auto_scale": True, "min_nodes": 3, "max_nodes": 5}, "count must be between"),
        ({"labels": {"no space": "x"}}, "invalid key"),
        ({"labels": {"ok": "no space"}}, "invalid value"),
        ({"taints": [{"key": "a", "value": "b", "effect": "Never"}]}, "effect"),
        ({"tags": ["no spaces"]}, "tag 'no spaces'"),
    ],
)
def test_an_invalid_node_pool_is_refused(
    do: Emulator, invalid: dict[str, object], message: str
) -> None:
    body = cluster_request(node_pools=[pool_request(**invalid)])
    status, text = refusal(do, "POST", CLUSTERS, body)
    assert (status, message in text) == (422, True), text


def test_the_names_of_clusters_and_of_a_cluster_s_pools_are_unique(do: Emulator) -> None:
    do.create_cluster()
    assert "already exists" in refusal(do, "POST", CLUSTERS, cluster_request())[1]
    body = cluster_request(name="other", node_pools=[pool_request(), pool_request()])
    assert "already exists" in refusal(do, "POST", CLUSTERS, body)[1]


def test_pydo_raises_an_exception_for_a_refused_request(do: Emulator) -> None:
    with pytest.raises(HttpResponseError, match="invalid version slug") as raised:
        do.create_cluster(version="1.20")
    assert raised.value.status_code == 422


# Upgrades


def test_upgrades_lead_to_newer_patches_first_and_then_to_the_next_minor_version(
    do: Emulator,
) -> None:
    kubernetes = do.pydo().kubernetes
    cluster = do.running_cluster(version="1.34.9-do.1")
    offered = kubernetes.get_available_upgrades(cluster["id"])["available_upgrade_versions"]
    assert [version["slug"] for version in offered] == ["1.34.11-do.0", "1.34.9-do.2"]
    path = f"{CLUSTERS}/{cluster['id']}/upgrade"
    for version in ("1.35.10-do.0", "1.34.9-do.1", "1.33.14-do.0"):
        assert refusal(do, "POST", path, {"version": version}) == (422, "invalid upgrade path")

    do.backend.gate.clear()
    assert do.http().post(path, json={"version": "1.34.11-do.0"}).status_code == 202
    upgrading = do.cluster(cluster["id"])
    assert (upgrading["status"]["state"], upgrading["version"]) == ("upgrading", "1.34.9-do.1")
    assert refusal(do, "POST", path, {"version": "1.34.11-do.0"})[0] == 422
    do.backend.gate.set()
    upgraded = do.until_state(cluster["id"], "running")
    assert (upgraded["version"], upgraded["endpoint"]) == ("1.34.11-do.0", cluster["endpoint"])
    assert do.backend.specs[cluster["id"]].version == "1.34.11-do.0"
    assert {node.version for node in do.backend.nodes[cluster["id"]]} == {"1.34.11-do.0"}

    offered = kubernetes.get_available_upgrades(cluster["id"])["available_upgrade_versions"]
    assert [version["slug"] for version in offered] == ["1.35.10-do.0", "1.35.9-do.1"]


def test_the_newest_version_has_no_upgrade_until_a_newer_one_is_offered(do: Emulator) -> None:
    cluster = do.running_cluster(version="latest")
    kubernetes = do.pydo().kubernetes
    upgrades = kubernetes.get_available_upgrades(cluster["id"])
    assert upgrades["available_upgrade_versions"] is None
    do.in_server(lambda: do.account.offer_versions(["1.36.3-do.0", "1.36.10-do.0"]))
    upgrades = kubernetes.get_available_upgrades(cluster["id"])
    assert [v["slug"] for v in upgrades["available_upgrade_versions"]] == ["1.36.10-do.0"]


# Node pools


def test_the_backend_gets_the_nodes_of_a_pool_with_its_labels_and_taints(do: Emulator) -> None:
    cluster = do.running_cluster(
        node_pools=[
            pool_request(
                labels={"role": "web"},
                taints=[{"key": "dedicated", "value": "web", "effect": "NoSchedule"}],
            )
        ]
    )
    [pool] = cluster["node_pools"]
    assert pool["labels"] == {"role": "web"}
    assert pool["taints"] == [{"key": "dedicated", "value": "web", "effect": "NoSchedule"}]
    specs = do.backend.nodes[cluster["id"]]
    assert [spec.name for spec in specs] == [node["name"] for node in pool["nodes"]]
    spec = specs[0]
    assert (spec.size, spec.vcpus, spec.memory) == ("s-2vcpu-4gb", 2, 4096)
    assert spec.labels["role"] == "web"
    assert spec.labels["doks.digitalocean.com/node-pool"] == "default"
    assert spec.labels["node.kubernetes.io/instance-type"] == "s-2vcpu-4gb"
    assert list(spec.taints) == [Taint("dedicated", "web", "NoSchedule")]


def test_a_pool_can_be_added_and_deleted(do: Emulator) -> None:
    kubernetes = do.pydo().kubernetes
    cluster = do.running_cluster()
    body = pool_request(name="burst", auto_scale=True, min_nodes=1, max_nodes=5, count=0)
    pool = kubernetes.add_node_pool(cluster["id"], body=body)["node_pool"]
    assert (pool["count"], pool["min_nodes"], pool["max_nodes"]) == (1, 1, 5)
    pools = kubernetes.list_node_pools(cluster["id"])["node_pools"]
    assert [pool["name"] for pool in pools] == ["default", "burst"]
    until(lambda: pool_of(do, cluster["id"], pool["id"]), all_running)

    kubernetes.delete_node_pool(cluster["id"], pool["id"])
    until(lambda: kubernetes.get_node_pool(cluster["id"], pool["id"]), lambda error: "id" in error)
    assert {spec.pool_name for spec in do.backend.nodes[cluster["id"]]} == {"default"}


def test_a_pool_grows_and_shrinks_and_keeps_its_first_nodes(do: Emulator) -> None:
    cluster = do.running_cluster()
    [pool] = cluster["node_pools"]
    for count in (4, 1):
        do.pydo().kubernetes.update_node_pool(
            cluster["id"], pool["id"], body={"name": "default", "count": count}
        )
        changed = until(lambda: pool_of(do, cluster["id"], pool["id"]), all_running)
        assert changed["count"] == count
        assert changed["nodes"][0]["id"] == pool["nodes"][0]["id"]


def test_an_update_of_a_pool_changes_only_the_fields_that_it_has(do: Emulator) -> None:
    cluster = do.running_cluster(node_pools=[pool_request(labels={"role": "web"}, tags=["t"])])
    [pool] = cluster["node_pools"]
    do.pydo().kubernetes.update_node_pool(
        cluster["id"],
        pool["id"],
        body={"name": "renamed", "count": 2, "auto_scale": True, "min_nodes": 1, "max_nodes": 3},
    )
    changed = until(lambda: pool_of(do, cluster["id"], pool["id"]), all_running)
    assert changed["name"] == "renamed"
    assert (changed["auto_scale"], changed["min_nodes"], changed["max_nodes"]) == (True, 1, 3)
    assert (changed["labels"], changed["tags"][3:]) == ({"role": "web"}, ["t"])
    assert changed["nodes"] == pool["nodes"]


def test_a_cluster_keeps_at_least_one_pool_of_one_node(do: Emulator) -> None:
    cluster = do.running_cluster(node_pools=[pool_request(count=1)])
    [pool] = cluster["node_pools"]
    path = f"{CLUSTERS}/{cluster['id']}/node_pools/{pool['id']}"
    assert refusal(do, "DELETE", path, None)[0] == 422
    assert refusal(do, "PUT", path, {"name": "default", "count": 0})[0] == 422
    assert refusal(do, "DELETE", f"{path}/nodes/{pool['nodes'][0]['id']}", None)[0] == 422


def test_a_node_can_be_deleted_and_replaced(do: Emulator) -> None:
    cluster = do.running_cluster()
    [pool] = cluster["node_pools"]
    first, second = (node["id"] for node in pool["nodes"])
    do.pydo().kubernetes.delete_node(cluster["id"], pool["id"], first, replace=1)
    replaced = until(
        lambda: pool_of(do, cluster["id"], pool["id"]),
        lambda p: all_running(p) and first not in [node["id"] for node in p["nodes"]],
    )
    assert replaced["count"] == 2
    do.pydo().kubernetes.delete_node(cluster["id"], pool["id"], second)
    reduced = until(lambda: pool_of(do, cluster["id"], pool["id"]), all_running)
    assert (reduced["count"], second in str(reduced["nodes"])) == (1, False)


def test_the_droplet_limit_applies_to_all_clusters_together(do: Emulator) -> None:
    do.create_cluster(node_pools=[pool_request(count=20)])
    body = cluster_request(name="other", node_pools=[pool_request(count=6)])
    assert "6 additional nodes but not enough" in refusal(do, "POST", CLUSTERS, body)[1]


# Credentials


def review_token(do: Emulator, cluster_id: str, token: str) -> dict[str, Any]:
    """The status of a TokenReview by the cluster."""
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["https://kubernetes.default.svc"]},
    }
    response = do.http().post(f"/webhook/authenticate/{cluster_id}", json=review).json()
    assert (response["apiVersion"], response["kind"]) == (review["apiVersion"], review["kind"])
    return dict(response["status"])


def test_the_kubeconfig_has_doctl_s_names_and_a_valid_token(do: Emulator) -> None:
    cluster = do.running_cluster()
    response = do.http().get(f"{CLUSTERS}/{cluster['id']}/kubeconfig")
    assert response.headers["content-type"].startswith("application/yaml")
    config = yaml.safe_load(response.text)
    name = "do-nyc1-microservices-demo"
    assert config["current-context"] == name
    assert config["contexts"] == [
        {"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}
    ]
    [server] = config["clusters"]
    assert server["cluster"]["server"] == cluster["endpoint"]
    assert base64.b64decode(server["cluster"]["certificate-authority-data"]) == b"certificate"
    [user] = config["users"]
    assert user["name"] == f"{name}-admin"
    status = review_token(do, cluster["id"], user["user"]["token"])
    assert status["authenticated"] is True
    assert "system:masters" in status["user"]["groups"]
    assert status["user"]["username"] == do.account.data.email


@pytest.mark.parametrize(
    ("query", "lifetime"),
    [
        ("", timedelta(days=7)),
        ("?expiry_seconds=0", timedelta(days=7)),
        ("?expiry_seconds=600", timedelta(minutes=10)),
    ],
)
def test_credentials_are_valid_until_they_expire(
    do: Emulator, query: str, lifetime: timedelta
) -> None:
    cluster = do.running_cluster()
    credentials = do.http().get(f"{CLUSTERS}/{cluster['id']}/credentials{query}").json()
    assert credentials["server"] == cluster["endpoint"]
    assert base64.b64decode(credentials["certificate_authority_data"]) == b"certificate"
    remaining = datetime.fromisoformat(credentials["expires_at"]) - do.account.clock.now()
    assert lifetime - timedelta(minutes=1) < remaining <= lifetime

    do.in_server(lambda: do.account.advance_clock(lifetime - timedelta(minutes=2)))
    assert review_token(do, cluster["id"], credentials["token"])["authenticated"] is True
    do.in_server(lambda: do.account.advance_clock(timedelta(minutes=2)))
    status = review_token(do, cluster["id"], credentials["token"])
    assert (status["authenticated"], "user" in status) == (False, False)
    assert do.http(credentials["token"]).get("/v2/account").status_code == 401


def test_an_api_token_is_valid_for_every_cluster_until_it_is_revoked(do: Emulator) -> None:
    cluster = do.running_cluster()
    token = do.token_with("kubernetes:access_cluster")
    do.in_server(lambda: do.account.advance_clock(timedelta(days=400)))
    assert review_token(do, cluster["id"], token)["authenticated"] is True
    do.in_server(lambda: do.account.revoke_token(token))
    assert review_token(do, cluster["id"], token)["authenticated"] is False


def test_other_tokens_are_invalid_for_a_cluster(do: Emulator) -> None:
    cluster, other = do.running_cluster(), do.running_cluster(name="other")
    other_token = do.pydo().kubernetes.get_credentials(other["id"])["token"]
    for token in ("", "unknown", other_token, do.token_with("read", "kubernetes:update")):
        assert review_token(do, cluster["id"], token)["authenticated"] is False
    assert (
        "kubernetes:access_cluster"
        in review_token(do, cluster["id"], do.token_with("kubernetes:read"))["error"]
    )
    assert review_token(do, "another", do.token)["authenticated"] is False


def test_the_webhook_refuses_a_body_that_is_not_a_token_review(do: Emulator) -> None:
    response = do.http().post("/webhook/authenticate/any", json={"kind": "Pod"})
    assert response.status_code == 400


def test_the_cluster_user_has_the_account_s_email(do: Emulator) -> None:
    cluster = do.running_cluster()
    user = do.pydo().kubernetes.get_cluster_user(cluster["id"])["kubernetes_cluster_user"]
    assert user == {"username": do.account.data.email, "groups": ["k8saas:authenticated"]}


# Fields that the emulator only keeps


def documented(do: Emulator, name: str, parts: Iterable[str]) -> bool:
    """Whether DigitalOcean's description of the API, of which pydo is made, has an object `name`
    with these parts; without parts, whether it has the field `name`."""
    text = do.pydo().kubernetes.create_cluster.__doc__ or ""
    start = text.index(f'"{name}": ')
    end = text.index("}", start)
    return all(f'"{part}": ' in text[start:end] for part in parts)


def test_the_fields_are_those_of_the_published_description_of_the_api(do: Emulator) -> None:
    for name, field in (*fields.CLUSTER.items(), *fields.NODE_POOL.items()):
        names = field.type.model_fields if hasattr(field.type, "model_fields") else ()
        assert documented(do, name, names), name


def test_a_switch_is_switched_off_and_what_an_update_leaves_out_is_kept(do: Emulator) -> None:
    sso = {"enabled": True, "issuer_url": "https://sso.example.com", "client_id": "doks"}
    cluster = do.running_cluster(nfs_csi_plugin={"enabled": True}, sso=sso, unknown={"a": 1})
    assert "unknown" not in cluster
    body = {"name": cluster["name"], "nfs_csi_plugin": {"enabled": False}, "sso": {}}
    do.http().put(f"{CLUSTERS}/{cluster['id']}", json=body).raise_for_status()
    updated = do.cluster(cluster["id"])
    assert (updated["nfs_csi_plugin"], updated["sso"]) == ({"enabled": False}, sso)


def test_what_is_decided_when_a_cluster_is_created_is_not_updated(do: Emulator) -> None:
    vpc = do.in_server(lambda: do.account.add_vpc("own", "nyc1")).id
    do.in_server(lambda: do.account.add_nat_gateway(vpc))
    mode = "AMD_PARTITION_MODE_SPX_NPS1"
    pools = [pool_request(gpu_partition_mode=mode)]
    cluster = do.running_cluster(vpc_uuid=vpc, isolated_workers=True, node_pools=pools)
    [pool] = cluster["node_pools"]
    path, changes = f"{CLUSTERS}/{cluster['id']}", {"isolated_workers": False}
    do.http().put(path, json={"name": cluster["name"], **changes}).raise_for_status()
    other = {"name": "default", "count": 2, "gpu_partition_mode": "AMD_PARTITION_MODE_DPX_NPS2"}
    do.http().put(f"{path}/node_pools/{pool['id']}", json=other).raise_for_status()
    updated = do.cluster(cluster["id"])
    assert updated["isolated_workers"] is True
    assert [pool["gpu_partition_mode"] for pool in updated["node_pools"]] == [mode]


def test_nat_gateways_are_listed_with_their_vpcs(do: Emulator) -> None:
    vpc = do.in_server(lambda: do.account.add_vpc("own", "nyc1")).id
    assert do.http().get("/v2/vpc_nat_gateways").json()["vpc_nat_gateways"] == []
    do.in_server(lambda: do.account.add_nat_gateway(vpc))
    [gateway] = do.http().get("/v2/vpc_nat_gateways").json()["vpc_nat_gateways"]
    assert (gateway["state"], gateway["vpcs"]) == ("ACTIVE", [{"vpc_uuid": vpc}])


def test_the_cluster_linter_is_run_and_its_results_are_read(do: Emulator) -> None:
    cluster = do.running_cluster()
    linter = do.pydo().kubernetes
    assert error_of(do.http().get(f"{CLUSTERS}/{cluster['id']}/clusterlint"))[0] == 404
    first = linter.run_cluster_lint(cluster["id"], body={})["run_id"]
    do.add_fault("lint-error", cluster["name"])
    linter.run_cluster_lint(cluster["id"], body={})
    clean = linter.get_cluster_lint_results(cluster["id"], run_id=first)
    assert (clean["run_id"], clean["diagnostics"]) == (first, [])
    assert clean["completed_at"]
    [finding] = linter.get_cluster_lint_results(cluster["id"])["diagnostics"]
    assert finding["severity"] == "error"
    assert finding["check_name"] == "admission-controller-webhook"
    assert "clusterlint" not in do.cluster(cluster["id"])
