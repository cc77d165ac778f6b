"""Which inputs count as coming from a cluster, so that Pulumi can replace a cluster in one run.

Before Pulumi replaces a cluster, it deletes the cluster's dependents that would be replaced too:
each resource with an input that depends on the cluster, if the resource's provider answers that an
unknown value of that input replaces the resource. It deletes them in the reverse order of their
dependencies. So Argo CD is still running while it deletes what the Applications have deployed, load
balancers and volumes included.

Both functions here change what Pulumi records as the dependencies of an input, not its value:

- The namespace of everything in a cluster depends on the cluster. Its value does not: it is known
  in every preview.
- The cluster identifier of the Kubernetes provider does not depend on the cluster. Otherwise Pulumi
  would find in advance that the provider is replaced, and close it (seen with 3.259): deletions in
  the cluster fail with "grpc: the client connection is closing". The provider is still replaced
  when the identifier has changed, after the new cluster has been created.

Source: `calculateDependentReplacements` in pkg/resource/deploy/step_generator.go and
`Registry.Diff` in pkg/resource/deploy/providers/registry.go of github.com/pulumi/pulumi.
"""

from collections.abc import Awaitable
from typing import Any, TypeVar, cast

import pulumi

T = TypeVar("T")


def with_dependencies(value: pulumi.Input[T], origin: pulumi.Input[Any]) -> pulumi.Output[T]:
    """Returns `value` with the dependencies of `origin` added to its own.

    Unlike `pulumi.Output.all`, it does not need the value of `origin`.
    """
    output, other = pulumi.Output.from_input(value), pulumi.Output.from_input(origin)

    async def resources() -> set[pulumi.Resource]:
        return await output.resources() | await other.resources()

    return _output(resources(), output)


def without_dependencies(output: pulumi.Output[T]) -> pulumi.Output[T]:
    """Returns `output` without its dependencies.

    A resource with this input needs `depends_on`, or Pulumi may delete it too late.
    """
    return _output(set(), output)


def _output(
    resources: Awaitable[set[pulumi.Resource]] | set[pulumi.Resource], output: pulumi.Output[T]
) -> pulumi.Output[T]:
    value = cast(Awaitable[T], output.future(with_unknowns=True))
    return pulumi.Output(resources, value, output.is_known(), output.is_secret())
