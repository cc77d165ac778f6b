"""Stand-in for `pulumi-resource-kubernetes`, over a cluster's real API and the real helm.

Behaves as version 4.34 of Pulumi's own plugin does for what a program here uses, and keeps the
state in the same shape. Whatever it does not know it refuses by name.
https://www.pulumi.com/registry/packages/kubernetes/ describes the resources and the provider.
"""
