"""A stand-in for pulumi-resource-digitalocean: clusters, node pools, registries and VPCs.

It makes the API calls that the real plugin makes (a bridge to terraform-provider-digitalocean), and
keeps the same state. Property names are the Pulumi SDK's everywhere but in the bodies of requests.
"""
