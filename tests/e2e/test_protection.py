"""What is protected stays, whatever is run against it."""

import json

import pytest

from tests.e2e.box import Sandbox, until

CLUSTER = "doks-gitops:cluster"


@pytest.fixture(scope="module")
def prod(sandbox: Sandbox) -> Sandbox:
    sandbox("up", "prod", "--wait", "0")
    until(120, "the application is healthy", lambda: sandbox.is_healthy("prod-microservices-demo"))
    return sandbox


def all_of(prod: Sandbox) -> tuple[object, ...]:
    """What the stack knows of (components are names), and its one cluster."""
    state = json.loads(prod.shell("pulumi stack export --stack prod"))
    [cluster] = [each for each in prod.status()["clusters"] if each["name"].endswith("-production")]
    resources = state["deployment"]["resources"]
    made = sorted(each["urn"] for each in resources if each["custom"])
    return made, cluster["id"], cluster["applications"]


@pytest.mark.parametrize("how", [(), ("--skip-preview",)])
def test_destroy_of_prod_is_refused_before_anything_is_deleted(
    prod: Sandbox, how: tuple[str, ...]
) -> None:
    before = all_of(prod)
    output = prod("pulumi", "destroy", "--stack", "prod", "--yes", *how, fails=True)
    assert "protect" in output
    assert all_of(prod) == before


@pytest.mark.parametrize(
    ("key", "value", "now"),
    [("region", "ams3", "nyc1"), ("nodePools[0].size", "s-2vcpu-4gb", "s-4vcpu-8gb")],
)
def test_replacement_of_prods_cluster_is_refused_with_how_to_go_on(
    prod: Sandbox, key: str, value: str, now: str
) -> None:
    before = all_of(prod)
    path = f"{CLUSTER}.{key}"
    prod("pulumi", "config", "set", "--stack", "prod", "--path", path, value)
    output = prod("pulumi", "up", "--stack", "prod", "--yes", "--skip-preview", fails=True)
    prod("pulumi", "config", "set", "--stack", "prod", "--path", path, now)
    assert f"Pulumi.prod.yaml: {path}" in output
    assert "give up its protection first" in output
    assert f"pulumi config set --path '{path}' {now} --stack prod" in output
    assert all_of(prod) == before


def test_pulumi_itself_refuses_what_the_settings_do_not_see(prod: Sandbox) -> None:
    """A VPC of its own, which the running cluster can't be moved to."""
    before = all_of(prod)
    path = f"{CLUSTER}.vpc.ipRange"
    prod("pulumi", "config", "set", "--stack", "prod", "--path", path, "10.77.0.0/20")
    output = prod("pulumi", "up", "--stack", "prod", "--yes", fails=True)
    prod("pulumi", "config", "rm", "--stack", "prod", "--path", f"{CLUSTER}.vpc")
    assert "unable to replace resource" in output
    assert all_of(prod) == before
