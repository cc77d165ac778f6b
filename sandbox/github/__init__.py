"""GitHub's REST API on the sandbox's Git server, as far as pulumi-github and the workflows use it.

https://docs.github.com/en/rest

Repositories, deploy keys, webhooks (real signed deliveries on push), rulesets (enforced on push and
merge), environments with reviewers, Actions secrets and variables, pull requests, issues and
comments. Not emulated: SSH, so a deploy key opens nothing; Actions, so nobody is asked to review a
deployment; webhook events other than `push` and `ping`; GraphQL; web pages.
"""
