"""Protection of a stack and its secrets, with the real engine."""

from pathlib import Path

import pytest

from tests.contract.digitalocean_api import Emulator
from tests.contract.pulumi_stack import Stack

SECRETS = """
import pulumi
from components.sdk import disable_debug_messages

{hide}
component = pulumi.ComponentResource("test:index:Safe", "safe")
component.register_outputs({{"password": pulumi.Output.secret("open sesame")}})
pulumi.export("password", pulumi.Output.secret("open sesame"))
"""
PROTECTED = """
import pulumi
import pulumi_digitalocean as do
from components.protection import Protection

vpc = do.Vpc(
    "vpc", name="vpc", region="nyc1", ip_range="{ip_range}",
    opts=pulumi.ResourceOptions(protect={protect}),
)
after = do.Vpc(
    "after", name="after", region="nyc1", ip_range="10.30.0.0/20",
    opts=pulumi.ResourceOptions(depends_on=[vpc]),
)
Protection("protection", pulumi.ResourceOptions(protect={protect}, depends_on=[after]))
"""
DEFAULT_VPC = """
from components.cluster import DoksCluster, DoksClusterArgs, NodePool

DoksCluster(
    "cluster",
    DoksClusterArgs(
        cluster_name="demo",
        region="fra1",
        version="1.34.11-do.0",
        node_pools=[NodePool("default", "s-2vcpu-4gb", count=1)],
        access_token="token",
        vpc_ip_range="10.20.0.0/20",
        retain_vpc=True,
    ),
)
"""


@pytest.fixture
def stack(tmp_path: Path, do: Emulator) -> Stack:
    # The first VPC of a region is its default VPC, which can't be deleted.
    do.in_server(lambda: do.account.add_vpc("default", "nyc1"))
    return Stack.new(tmp_path, api_url=do.url, token=do.token)


def test_events_of_a_run_contain_no_secret_output_in_clear(stack: Stack) -> None:
    command = ("up", "--stack=dev", "--yes", "--skip-preview", "--json")
    stack.program(SECRETS.format(hide=""))
    assert "open sesame" in stack.run(*command).output, (
        "the SDK sends no secrets any more: remove disable_debug_messages"
    )
    stack.program(SECRETS.format(hide="disable_debug_messages()"))
    run = stack.run(*command)
    assert run.code == 0, run.output
    assert '"outputsEvent"' in run.output or '"resOutputsEvent"' in run.output
    assert "open sesame" not in run.output


@pytest.mark.parametrize("how", [(), ("--skip-preview",)])
def test_a_protected_stack_is_not_destroyed_even_in_part(
    stack: Stack, do: Emulator, how: tuple[str, ...]
) -> None:
    stack.program(PROTECTED.format(protect=True, ip_range="10.20.0.0/20"))
    assert stack.up().code == 0
    before = set(do.account.data.vpcs)
    assert len(before) == 3
    run = stack.run("destroy", "--yes", "--stack=dev", *how)
    assert run.code != 0
    assert "protect" in run.output
    assert set(do.account.data.vpcs) == before
    names = {resource["urn"].rpartition("::")[2] for resource in stack.resources()}
    assert names >= {"vpc", "after", "protection"}


def test_a_protected_resource_is_not_replaced(stack: Stack, do: Emulator) -> None:
    stack.program(PROTECTED.format(protect=True, ip_range="10.20.0.0/20"))
    assert stack.up().code == 0
    before = dict(do.account.data.vpcs)
    stack.program(PROTECTED.format(protect=True, ip_range="10.77.0.0/20"))
    run = stack.run("up", "--yes", "--stack=dev")
    assert run.code != 0
    assert "unable to replace resource" in run.output
    assert do.account.data.vpcs == before


def test_a_stack_with_the_default_vpc_of_its_region_is_destroyed_without_it(
    stack: Stack, do: Emulator
) -> None:
    stack.program(DEFAULT_VPC)
    run = stack.up()
    assert run.code == 0, run.output
    [vpc] = [vpc for vpc in do.account.data.vpcs.values() if vpc.name == "demo"]
    assert vpc.default
    run = stack.destroy()
    assert run.code == 0, run.output
    assert stack.resources() == []
    assert vpc.id in do.account.data.vpcs


def test_a_stack_without_protection_is_destroyed(stack: Stack) -> None:
    stack.program(PROTECTED.format(protect=True, ip_range="10.20.0.0/20"))
    assert stack.up().code == 0
    stack.program(PROTECTED.format(protect=False, ip_range="10.20.0.0/20"))
    assert stack.up().code == 0
    run = stack.run("destroy", "--yes", "--stack=dev", "--skip-preview")
    assert run.code == 0, run.output
    assert stack.resources() == []
