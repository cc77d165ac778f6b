"""The team's DigitalOcean Container Registry (DOCR), which all stacks share."""

from dataclasses import dataclass

import pulumi
import pulumi_digitalocean as digitalocean

from components.options import child_options

HOST = "registry.digitalocean.com"


@dataclass(frozen=True)
class ContainerRegistryArgs:
    """The registry, and whether this stack owns it.

    https://docs.digitalocean.com/products/container-registry/
    """

    registry_name: str
    """Unique across DigitalOcean."""
    create: bool = False
    """True: this stack creates the registry and protects it from deletion, because it also holds
    images of other stacks. At most one stack may create it. False: the registry is taken to exist.
    """
    tier: pulumi.Input[str] = "basic"
    """Subscription tier (starter, basic or professional), if this stack creates the registry."""
    region: pulumi.Input[str] | None = None
    """Region slug of the images. Default: DigitalOcean chooses one."""
    adopt: bool = False
    """Import the existing registry instead of creating it. Ignored if it is in the state."""


class ContainerRegistry(pulumi.ComponentResource):
    """A registry, created or existing. Needs a `digitalocean` provider in `opts`."""

    registry_name: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    """Prefix of image names: `registry.digitalocean.com/<name>`.
    https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
    """

    def __init__(
        self, name: str, args: ContainerRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:ContainerRegistry", name, {}, opts)
        if args.create:
            registry = digitalocean.ContainerRegistry(
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
            self.registry_name, self.endpoint = registry.name, registry.endpoint
        else:
            # The provider's lookup returns no values:
            # https://github.com/digitalocean/terraform-provider-digitalocean/issues/1535
            self.registry_name = pulumi.Output.from_input(args.registry_name)
            self.endpoint = pulumi.Output.from_input(f"{HOST}/{args.registry_name}")
        self.register_outputs({"registryName": self.registry_name, "endpoint": self.endpoint})
