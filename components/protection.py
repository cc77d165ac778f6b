"""Protects a whole stack from being destroyed."""

import pulumi


class Protection(pulumi.ComponentResource):
    """An empty component. With `protect` and with all other resources in `depends_on`, it is the
    first resource that `pulumi destroy` would delete, and Pulumi refuses to.

    Protecting single resources is not enough: with `--skip-preview`, Pulumi would delete everything
    that depends on them (Argo CD, the applications and their objects) before it refuses. A
    component without children, such as a registry of another stack, needs `protect` itself:
    nothing in the state depends on it.
    https://www.pulumi.com/docs/iac/concepts/options/protect/
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__("doks-gitops:index:Protection", name, {}, opts)
        self.register_outputs({})
