"""The team's DigitalOcean Container Registry (DOCR), which all stacks share."""

from dataclasses import dataclass

import pulumi
import pulumi_digitalocean as digitalocean

from components.options import child_options


@dataclass(frozen=True)
class ContainerRegistryArgs:
    """Which registry, and whether this stack owns it.

    https://docs.digitalocean.com/products/container-registry/
    """

    registry_name: str
    """Unique across DigitalOcean."""
    create: bool = False
    """True: this stack makes the registry, protected from deletion since other stacks' images are
    in it too. At most one stack may. False: it is looked up, and `pulumi up` fails if the account
    has no registry of this name."""
    tier: pulumi.Input[str] = "basic"
    """Subscription tier: starter, basic or professional. Only for a registry that is made."""
    region: pulumi.Input[str] | None = None
    """Region slug where the images are stored. Default: DigitalOcean picks one."""
    adopt: bool = False
    """The registry to make exists and is taken over; means nothing once it is in the state."""


class ContainerRegistry(pulumi.ComponentResource):
    """A registry, made or looked up. Needs a `digitalocean` provider in `opts`."""

    registry_name: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    """What image names begin with: `registry.digitalocean.com/<name>`."""

    def __init__(
        self, name: str, args: ContainerRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:ContainerRegistry", name, {}, opts)
        found: (
            digitalocean.ContainerRegistry | pulumi.Output[digitalocean.GetContainerRegistryResult]
        )
        if args.create:
            found = digitalocean.ContainerRegistry(
                name,
                name=args.registry_name,
                subscription_tier_slug=args.tier,
                region=args.region,
                opts=child_options(
                    self,
                    opts,
                    pulumi.ResourceOptions(
                        protect=True, import_=args.registry_name if args.adopt else None
                    ),
                ),
            )
        else:
            found = digitalocean.get_container_registry_output(
                name=args.registry_name, opts=pulumi.InvokeOutputOptions(parent=self)
            )
        self.registry_name = found.name
        self.endpoint = found.endpoint
        self.register_outputs({"registryName": self.registry_name, "endpoint": self.endpoint})
