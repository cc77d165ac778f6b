"""Pulumi's state differs from the account: an update is refused, and `recover` mends it."""

import json
from pathlib import Path

import pytest

from doks_gitops.account.recorded import CLUSTER
from tests.e2e.box import Sandbox, temporary

KEYS = {"version": "1.34.9-do.2", "region": "fra1", "vpc.ipRange": "10.77.0.0/20"}
UP = ("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview")
DESTROY = ("pulumi", "destroy", "--run-program", "--stack", "dev", "--yes", "--skip-preview")
RECOVER = ("run", "bin/platform", "recover", "--stack", "dev", "--yes")


def change(sandbox: Sandbox, key: str, value: str) -> None:
    path = f"doks-gitops:cluster.{key}"
    sandbox("pulumi", "config", "set", "--stack", "dev", "--path", path, value)


def cluster(sandbox: Sandbox) -> tuple[str, str]:
    """ID and version of the only cluster."""
    with sandbox.api() as api:
        clusters = api.get("/v2/kubernetes/clusters").raise_for_status().json()
    [only] = clusters["kubernetes_clusters"]
    return only["id"], only["version"]


def record_version(sandbox: Sandbox, version: str, file: Path) -> None:
    """Leave the state as DigitalOcean's provider does after a refused upgrade to `version`."""
    state = json.loads(sandbox.shell("pulumi stack export --stack dev"))
    [resource] = (x for x in state["deployment"]["resources"] if x["type"] == CLUSTER)
    resource["inputs"]["version"] = resource["outputs"]["version"] = version
    file.write_text(json.dumps(state))
    sandbox("pulumi", "stack", "import", "--stack", "dev", "--file", str(file))


@pytest.mark.weekly
def test_state_that_differs_from_the_account_costs_neither_the_cluster_nor_its_vpc(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with temporary(tmp_path_factory.mktemp("sandbox")) as dev:
        dev("start")
        for key, value in KEYS.items():
            change(dev, key, value)
        dev(*UP)
        made, version = cluster(dev)
        assert version == KEYS["version"]
        record_version(dev, "1.35.10-do.0", tmp_path_factory.mktemp("state") / "state.json")
        change(dev, "version", "1.34")
        change(dev, "upgrade", "true")
        for command in (UP, ("pulumi", "preview", "--stack", "dev"), (*UP, "--refresh")):
            output = dev(*command, fails=True)
            assert "bin/platform recover --stack dev" in output
        assert cluster(dev) == (made, version)
        dev(*RECOVER)
        assert cluster(dev) == (made, "1.34.11-do.0")

        dev(*DESTROY)
        output = dev(*UP, fails=True)
        assert "The account has the VPC microservices-demo-dev" in output
        assert "bin/platform recover --stack dev" in output
        assert "adopt the VPC" in dev(*RECOVER)
        dev("pulumi", "preview", "--stack", "dev", "--expect-no-changes")
