"""A stand-in for pulumi-resource-github: settings of a repository, not the repository itself.

It makes the same API calls as the real plugin (a bridge to terraform-provider-github), with its
pause of a second after each request that writes, and keeps the same state. Property names are those
of the Pulumi SDK, except in the bodies of requests.
"""
