"""An emulator of GitHub's REST API for the sandbox's Git server.

https://docs.github.com/en/rest

It has what pulumi-github and the workflows use: repositories, deploy keys, webhooks (with signed
deliveries on push and for pull requests), rulesets (enforced on push and merge), environments with
reviewers, Actions secrets and variables, pull requests, issues, labels and comments. Of a fork, it
has only the pull requests. Not emulated: SSH, so a deploy key gives no access; Actions, so no
deployment waits for a review; webhook events other than `push`, `pull_request` and `ping`; GraphQL;
web pages.
"""
