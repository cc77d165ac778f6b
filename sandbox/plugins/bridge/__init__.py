"""What Pulumi's Terraform bridge does for every provider that is built with it, and so does for
each stand-in: checks, plans, diffs, and the state that is kept when something fails.

https://github.com/pulumi/pulumi-terraform-bridge
"""
