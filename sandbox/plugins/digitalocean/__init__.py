"""A stand-in for pulumi-resource-digitalocean: clusters, node pools, registries and VPCs.

It makes the same API calls as the real plugin (a bridge to terraform-provider-digitalocean), and
keeps the same state. Property names are those of the Pulumi SDK, except in the bodies of requests.
"""
