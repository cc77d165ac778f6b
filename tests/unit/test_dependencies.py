"""What Pulumi records as the dependencies of an input is changed, and nothing else."""

from typing import Any

import pulumi
import pytest
from pulumi_digitalocean import Vpc
from pulumi_kubernetes.core.v1 import ConfigMap

from components.dependencies import with_dependencies, without_dependencies
from tests.unit.mocked import OutputValue, Resource, digitalocean_provider, kubernetes_provider, run


def data_of(preview: bool, *, with_origin: bool) -> tuple[Resource, str, OutputValue]:
    """A ConfigMap with an input that is made of an output of a VPC, or of a value and that output;
    the URN of the VPC; and the input."""

    def program() -> dict[str, Any]:
        options = pulumi.ResourceOptions(provider=digitalocean_provider())
        vpc = Vpc("vpc", region="nyc1", opts=options)
        output = (
            with_dependencies("value", vpc.id)
            if with_origin
            else without_dependencies(vpc.id.apply(pulumi.Output.secret))
        )
        options = pulumi.ResourceOptions(provider=kubernetes_provider())
        ConfigMap("config", data={"key": output}, opts=options)
        return {"output": output}

    result = run(program, preview=preview)
    return result.one("ConfigMap"), result.one("Vpc").urn, result.outputs["output"]


@pytest.mark.parametrize("preview", [True, False])
def test_a_value_gets_the_dependencies_of_an_output_and_stays_known(preview: bool) -> None:
    config, vpc, output = data_of(preview, with_origin=True)
    assert config.input_dependencies["data"] == {vpc}
    assert output == OutputValue(value="value", known=True, secret=False)


def test_an_output_without_dependencies_keeps_its_value_and_its_secrecy() -> None:
    config, _, output = data_of(False, with_origin=False)
    assert not config.input_dependencies["data"]
    assert output == OutputValue(value="vpc-id", known=True, secret=True)


def test_a_value_without_an_origin_is_left_as_it_is() -> None:
    def program() -> dict[str, Any]:
        return {"output": with_dependencies(pulumi.Output.secret("value"), None)}

    assert run(program).outputs["output"] == OutputValue(value="value", known=True, secret=True)
