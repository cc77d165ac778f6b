"""What Pulumi's Terraform bridge does for every provider that is built with it: checks, plans,
diffs, and the state that is kept after a failure.

https://github.com/pulumi/pulumi-terraform-bridge
"""
