"""Stand-in for `pulumi-resource-kubernetes`, over a cluster's real API and the real helm.

For the resources and settings that it supports, it behaves as version 4.34 of Pulumi's own plugin
and keeps the same state. It refuses all others by name.
https://www.pulumi.com/registry/packages/kubernetes/ describes the resources and the provider.
"""
