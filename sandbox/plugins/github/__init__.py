"""A stand-in for pulumi-resource-github: what stands around a repository, not the repository.

It makes the API calls that the real plugin makes (a bridge to terraform-provider-github), with its
pause of a second after each request that writes, and keeps the same state. Property names are the
Pulumi SDK's everywhere but in the bodies of requests.
"""
