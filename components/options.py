"""Resource options of a component's children."""

from collections.abc import Mapping
from typing import Any

import pulumi


def child_options(
    parent: pulumi.ComponentResource,
    inherited: pulumi.ResourceOptions | None,
    own: pulumi.ResourceOptions | None = None,
) -> pulumi.ResourceOptions:
    """Options for a child of `parent`: it depends on everything that the component depends on.

    - `inherited`: the options of the component
    - `own`: more options of the child

    Children inherit providers and protection from a component, but not `depends_on`
    (https://www.pulumi.com/docs/iac/concepts/options/dependson/). Without it, Pulumi would create
    and destroy the components in the right order, but not their children.
    """
    return pulumi.ResourceOptions.merge(
        pulumi.ResourceOptions(
            parent=parent, depends_on=inherited.depends_on if inherited is not None else None
        ),
        own,
    )


def holds_outputs(value: Any) -> bool:
    """Whether there is an output, such as a secret, anywhere in `value`."""
    if isinstance(value, Mapping):
        return any(map(holds_outputs, value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds_outputs, value))
    return isinstance(value, pulumi.Output)
