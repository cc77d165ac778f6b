"""Options that a component hands to its children."""

import pulumi


def child_options(
    parent: pulumi.ComponentResource,
    inherited: pulumi.ResourceOptions | None,
    own: pulumi.ResourceOptions | None = None,
) -> pulumi.ResourceOptions:
    """Options for a resource inside `parent`: what the component waits for, it waits for too.

    Pulumi hands providers and protection down to children, but not `depends_on`
    (https://www.pulumi.com/docs/iac/concepts/options/dependson/). Without it the order in which a
    stack is built, and in reverse destroyed, would hold for components but not for what they make.
    """
    return pulumi.ResourceOptions.merge(
        pulumi.ResourceOptions(
            parent=parent, depends_on=inherited.depends_on if inherited is not None else None
        ),
        own,
    )
