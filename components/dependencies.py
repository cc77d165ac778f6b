"""What Pulumi replaces together with a cluster, and in which order.

Before Pulumi deletes a cluster to replace it, it deletes what would be replaced with it: each
resource that has an input which comes from the cluster, or from another such resource, and whose
provider says that another value of that input replaces it. The order is that of the dependencies,
so that Argo CD deletes what it has deployed, load balancers and volumes included, while it is still
there (`calculateDependentReplacements` in the engine, pkg/resource/deploy/step_generator.go).

The inputs here are what decides it. A namespace is told to come from its cluster, whose ID is no
part of its name. The cluster identifier of a Kubernetes provider is told not to: an engine (seen
with 3.259) that finds a provider among what is to be replaced closes it, and has none to delete
with what is in the cluster ("grpc: the client connection is closing").
"""

from typing import Any, TypeVar

import pulumi

T = TypeVar("T")


def with_dependencies(value: pulumi.Input[T], origin: pulumi.Input[Any]) -> pulumi.Output[T]:
    """`value`, but for Pulumi it also comes from the resources that `origin` comes from.

    Unlike an output of `pulumi.Output.all` it is known as soon as `value` is.
    """
    output, other = pulumi.Output.from_input(value), pulumi.Output.from_input(origin)

    async def resources() -> set[pulumi.Resource]:
        return await output.resources() | await other.resources()

    return pulumi.Output(
        resources(), output.future(with_unknowns=True), output.is_known(), output.is_secret()
    )


def without_dependencies(output: pulumi.Output[T]) -> pulumi.Output[T]:
    """`output`, but for Pulumi it comes from nowhere. A resource that takes it has to depend on
    what it does come from (`depends_on`)."""
    return pulumi.Output(
        set(), output.future(with_unknowns=True), output.is_known(), output.is_secret()
    )
