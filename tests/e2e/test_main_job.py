"""The main job in the sandbox, step by step on one sandbox, as a team would live through it."""

import base64
import json
import ssl
import subprocess
from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.box import REPOSITORY, Sandbox, until

GIB = 2**30
STACKS = ("dev", "staging", "prod")
APPLICATIONS = tuple(f"{stack}-microservices-demo" for stack in STACKS)
ARGOCD_DEPLOYMENTS = {
    "argocd-applicationset-controller",
    "argocd-dex-server",
    "argocd-notifications-controller",
    "argocd-redis",
    "argocd-repo-server",
    "argocd-server",
}


def test_first_command_brings_dev_from_nothing_to_synced_and_healthy(
    sandbox: Sandbox, monorepo: Path
) -> None:
    sandbox("up", "--repo", str(monorepo))
    assert sandbox.is_healthy("dev-microservices-demo")


def test_three_environments_live_side_by_side_within_five_gib(sandbox: Sandbox) -> None:
    sandbox("up", "staging", "prod")
    status = sandbox.status()
    assert [cluster["name"] for cluster in status["clusters"]] == [
        "microservices-demo-dev",
        "microservices-demo-production",
        "microservices-demo-staging",
    ]
    for application in APPLICATIONS:
        assert sandbox.is_healthy(application)
    assert status["memory"] < 5 * GIB


def test_the_networks_of_the_three_clusters_overlap_neither_each_other_nor_their_vpc(
    sandbox: Sandbox,
) -> None:
    with sandbox.api() as api:
        clusters = api.get("/v2/kubernetes/clusters").json()["kubernetes_clusters"]
        vpcs = api.get("/v2/vpcs").json()["vpcs"]
    ranges = [
        *(cluster[key] for cluster in clusters for key in ("cluster_subnet", "service_subnet")),
        *(vpc["ip_range"] for vpc in vpcs),
    ]
    networks = [IPv4Network(text) for text in ranges]
    assert len(networks) == 7
    assert not any(network.overlaps(other) for network, other in combinations(networks, 2))


def test_argo_cds_six_deployments_are_ready_in_each_cluster(sandbox: Sandbox) -> None:
    for cluster in sandbox.status()["clusters"]:
        ready = {workload["name"] for workload in cluster["argocd"] if workload["ready"]}
        redis_ha = {name for name in ready if name.startswith("argocd-redis-ha")}
        # Highly available, Redis is a set of three behind a proxy.
        assert ready >= ARGOCD_DEPLOYMENTS - ({"argocd-redis"} if redis_ha else set())


@pytest.mark.parametrize("stack", STACKS)
def test_up_after_up_changes_nothing(sandbox: Sandbox, stack: str) -> None:
    sandbox("pulumi", "preview", "--stack", stack, "--expect-no-changes")


def test_outputs_name_the_cluster_and_keep_secrets(sandbox: Sandbox) -> None:
    output = sandbox("pulumi", "stack", "output", "--stack", "dev", "--json")
    outputs = json.loads(output[output.index("{") :])
    assert outputs["kubeContext"] == "do-nyc1-microservices-demo-dev"
    assert outputs["registryEndpoint"] == "registry.digitalocean.com/microservices-demo"
    assert outputs["applications"] == ["dev-microservices-demo"]
    assert outputs["kubeconfig"] == outputs["argocdAdminPassword"] == "[secret]"


def test_the_admin_password_opens_argocd_and_the_kubeconfig_the_cluster(sandbox: Sandbox) -> None:
    [dev, *_] = sandbox.status()["clusters"]
    output = sandbox.shell("pulumi stack output --stack dev --show-secrets --json")
    outputs = json.loads(output)
    session = httpx.post(
        f"{dev['argocd_url']}/api/v1/session",
        json={"username": "admin", "password": outputs["argocdAdminPassword"]},
        verify=False,
    )
    assert session.json()["token"]
    kubeconfig = yaml.safe_load(outputs["kubeconfig"])
    assert kubeconfig["current-context"] == "do-nyc1-microservices-demo-dev"
    cluster = kubeconfig["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    nodes = httpx.get(
        f"{cluster['server']}/api/v1/nodes",
        headers={"Authorization": f"Bearer {kubeconfig['users'][0]['user']['token']}"},
        verify=ssl.create_default_context(cadata=authority),
    )
    assert len(nodes.json()["items"]) == 1


def test_what_is_changed_by_hand_is_put_back(sandbox: Sandbox) -> None:
    kubectl = "kubectl --context do-nyc1-microservices-demo-dev --namespace argocd"
    patch = json.dumps({"spec": {"sourceRepos": ["*"]}})
    sandbox.shell(f"{kubectl} patch appproject dev --type merge --patch '{patch}'")
    output = sandbox("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview", "--refresh")
    assert "~ 1 updated" in output
    project = json.loads(sandbox.shell(f"{kubectl} get appproject dev --output json"))
    [repository] = project["spec"]["sourceRepos"]
    assert repository.endswith("/git/monorepo.git")


@pytest.mark.weekly
def test_a_killed_sandbox_leaves_no_process_and_up_brings_it_back(sandbox: Sandbox) -> None:
    sandbox("up", "dev", "staging")
    before = sandbox.status()
    subprocess.run(["kill", "-9", str(sandbox.daemon["pid"])], check=True)
    until("no process is left", lambda: not sandbox.processes())
    sandbox("up", "dev", "--wait", "0")
    after = sandbox.status()
    for old, new in zip(before["clusters"], after["clusters"], strict=True):
        assert (old["id"], old["endpoint"]) == (new["id"], new["endpoint"])
    until("all are healthy again", lambda: all(map(sandbox.is_healthy, APPLICATIONS[:2])))


def test_destroy_leaves_nothing_behind(sandbox: Sandbox) -> None:
    sandbox("pulumi", "destroy", "--stack", "dev", "--yes")
    # DigitalOcean goes on deleting after it has confirmed the request.
    until("the cluster is gone", lambda: len(sandbox.status()["clusters"]) == 2)
    status = sandbox.status()
    assert [cluster["name"] for cluster in status["clusters"]] == [
        "microservices-demo-production",
        "microservices-demo-staging",
    ]
    clusters = {process["cluster"] for process in status["processes"]}
    assert "microservices-demo-dev" not in clusters
    state = json.loads(sandbox.shell("pulumi stack export --stack dev"))
    assert not state["deployment"].get("resources")
    assert len(list((sandbox.home / "clusters").iterdir())) == 2


def test_the_checkout_is_as_it_was(sandbox: Sandbox) -> None:
    del sandbox
    changed = subprocess.run(
        ["git", "status", "--porcelain", "Pulumi.*.yaml"],
        cwd=REPOSITORY, check=True, text=True, capture_output=True,
    ).stdout  # fmt: skip
    assert changed == ""
