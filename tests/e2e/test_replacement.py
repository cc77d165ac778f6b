"""A cluster that lives is replaced by one `pulumi up`, and nothing of the old one stays."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sandbox import session
from sandbox.drills import lost_volumes, moments
from sandbox.paths import Home
from tests.e2e.box import REPOSITORY, Sandbox, temporary, until

CLUSTER = "doks-gitops:cluster"
APPLICATION = "dev-microservices-demo"
CREATES_CLUSTER = "account: POST /v2/kubernetes/clusters 201"
"""The cluster is being created, which takes minutes on a real account."""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A stack with an application that has a load balancer. The cluster's deletion alone would
    leave that in the account."""
    repository = tmp_path_factory.mktemp("monorepo")
    shutil.copytree(REPOSITORY / "sandbox" / "example", repository, dirs_exist_ok=True)
    overlay = repository / "kustomize" / "dev" / "kustomization.yaml"
    patch = [{"op": "add", "path": "/spec/type", "value": "LoadBalancer"}]
    target = {"kind": "Service", "name": "storefront"}
    patches = [{"target": target, "patch": json.dumps(patch)}]
    overlay.write_text(f"{overlay.read_text()}\npatches: {json.dumps(patches)}\n")
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "demo"]):
        subprocess.run([*git, *words], check=True)
    with temporary(tmp_path_factory.mktemp("sandbox")) as sandbox:
        sandbox("start", "--repo", str(repository))
        change(sandbox, "destroyAssociatedResources", "false")
        sandbox("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview")
        until("the application is healthy", lambda: is_well(sandbox))
        yield sandbox


def change(sandbox: Sandbox, key: str, value: str) -> None:
    path = f"{CLUSTER}.{key}"
    sandbox("pulumi", "config", "set", "--stack", "dev", "--path", path, value)


def holdings(sandbox: Sandbox) -> tuple[list[str], list[str], list[str]]:
    """IDs of the account's clusters, the clusters of its load balancers, and the VPCs by name."""
    with sandbox.api() as api:

        def get(kind: str, path: str) -> list[dict[str, Any]]:
            resources: list[dict[str, Any]] = api.get(f"/v2/{path}").raise_for_status().json()[kind]
            return resources

        return (
            [resource["id"] for resource in get("kubernetes_clusters", "kubernetes/clusters")],
            [
                resource["tag"].removeprefix("k8s:")
                for resource in get("load_balancers", "load_balancers")
            ],
            sorted(resource["name"] for resource in get("vpcs", "vpcs") if not resource["default"]),
        )


def is_well(sandbox: Sandbox) -> bool:
    clusters, load_balancers, _ = holdings(sandbox)
    return sandbox.is_healthy(APPLICATION) and load_balancers == clusters


@pytest.mark.parametrize(
    ("key", "value", "vpcs"),
    [
        ("region", "fra1", []),
        pytest.param("nodePools[0].size", "s-4vcpu-8gb", [], marks=pytest.mark.weekly),
        pytest.param(
            "vpc.ipRange", "10.77.0.0/20", ["microservices-demo-dev"], marks=pytest.mark.weekly
        ),
    ],
)
def test_one_up_replaces_the_cluster_and_everything_in_it(
    dev: Sandbox, key: str, value: str, vpcs: list[str]
) -> None:
    [old], _, _ = holdings(dev)
    change(dev, key, value)
    output = dev("pulumi", "up", "--stack", "dev", "--yes")
    preview, _, _ = output.partition("Updating (dev)")
    assert f"This update replaces the cluster microservices-demo-dev ({old})" in preview
    assert f"{CLUSTER}.{key} changes from " in preview
    until("the application is healthy", lambda: is_well(dev))
    [new], load_balancers, own_vpcs = holdings(dev)
    assert new != old
    assert load_balancers == [new]
    assert own_vpcs == vpcs
    dev("pulumi", "preview", "--stack", "dev", "--expect-no-changes")


@pytest.mark.weekly
def test_replacement_that_is_killed_is_completed_by_recover(dev: Sandbox) -> None:
    [old], _, _ = holdings(dev)
    change(dev, "vpc.ipRange", "10.88.0.0/20")
    daemon, engine = session.start(Home(dev.home), None, Console(quiet=True))
    run = asyncio.run(moments.up(engine, daemon, "dev", kill_at=CREATES_CLUSTER))
    assert run.killed, run.errors
    output = dev("run", "bin/platform", "recover", "--stack", "dev", "--cancel", "--yes")
    assert "Remove from the state what an interrupted replacement" in output
    until("the application is healthy", lambda: is_well(dev))
    [new], load_balancers, own_vpcs = holdings(dev)
    assert new != old
    assert load_balancers == [new]
    assert own_vpcs == ["microservices-demo-dev"]
    dev("pulumi", "preview", "--stack", "dev", "--expect-no-changes")


def volumes(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Those of the account."""
    with sandbox.api() as api:
        volumes: list[dict[str, Any]] = api.get("/v2/volumes").raise_for_status().json()["volumes"]
        return volumes


@pytest.mark.weekly
def test_one_up_that_replaces_the_cluster_gives_its_claims_their_volumes_with_their_content(
    dev: Sandbox, tmp_path: Path
) -> None:
    setting = ("doks-gitops:volumes.retain", "false")
    dev("pulumi", "config", "set", "--stack", "dev", "--path", *setting)
    clone = tmp_path / "clone"
    dev("clone", str(clone))
    overlay = clone / "kustomize" / "dev"
    (overlay / "ledger.yaml").write_text(lost_volumes.MANIFEST % {"name": "ledger"})
    resources = (overlay / "kustomization.yaml").read_text()
    (overlay / "kustomization.yaml").write_text(
        resources.replace("resources:\n", "resources:\n  - ledger.yaml\n", 1)
    )
    for words in (["add", "."], ["commit", "-q", "-m", "data"], ["push", "-q"]):
        subprocess.run(["git", "-C", str(clone), *words], check=True)
    until("the claim has its volume", lambda: any(x["droplet_ids"] for x in volumes(dev)))
    [volume] = volumes(dev)
    file = dev.home / "volumes" / volume["id"] / "volume" / "ledger"
    file.write_text("all of it")

    assert "dev: 1 volume recorded." in dev(
        "run", "bin/platform", "volumes", "record", "--stack=dev"
    )
    region = volume["region"]["slug"]
    listing = (
        f"dev  microservices-demo-dev/data-ledger-0  {volume['id']}  1 GiB, {region}, attached"
    )
    assert listing in dev("run", "bin/platform", "volumes", "list", "--stack=dev")
    [old], _, _ = holdings(dev)
    change(dev, "nodePools[0].size", "s-8vcpu-16gb")
    output = dev("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview")
    assert f"gets the volume {volume['name']}." in output
    until("the application is healthy", lambda: is_well(dev))
    until("the new cluster uses the volume", lambda: bool(volumes(dev)[0]["droplet_ids"]))
    [new], _, _ = holdings(dev)
    assert new != old
    assert [x["id"] for x in volumes(dev)] == [volume["id"]], "none was made in its place"
    assert file.read_text() == "all of it"
    assert "dev: 1 volume recorded." in dev(
        "run", "bin/platform", "volumes", "record", "--stack=dev"
    )
    assert listing in dev("run", "bin/platform", "volumes", "list", "--stack=dev")
    dev("pulumi", "preview", "--stack", "dev", "--expect-no-changes")
