"""What keeps a whole stack from being destroyed."""

import pulumi


class Protection(pulumi.ComponentResource):
    """Nothing by itself. Made with `protect` and with everything else in `depends_on`, it is what
    `pulumi destroy` comes to first, and is refused at.

    Protection of a single resource is not enough: with `--skip-preview`, Pulumi would delete all
    that depends on it (Argo CD, the applications, what they deployed) before it comes to it.
    What leaves the state all the same is a component with nothing in it, such as a registry that is
    only looked up; the next `pulumi up` writes it down again.
    https://www.pulumi.com/docs/iac/concepts/options/protect/
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__("doks-gitops:index:Protection", name, {}, opts)
        self.register_outputs({})
