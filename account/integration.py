"""The cluster's right to pull from the account's registry, where someone has taken it away."""

from __future__ import annotations

import pulumi

from account.api import allow_pulls
from account.model import Account
from settings import Settings


def restore_integration(settings: Settings, account: Account) -> None:
    """Let the stack's running cluster pull from the registry again, before anything is deployed.

    DigitalOcean's provider sends `registry_integration` when the cluster is made and never reads it
    back, so an integration that was removed by hand is no difference to Pulumi. A preview only
    says what would be done. Needs the scopes `kubernetes:create` and `kubernetes:update`; raises
    `AccountError` without them.
    https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
    """
    for cluster in account.clusters_named(settings.cluster.name):
        if cluster.registry_enabled or cluster.state != "running":
            continue
        what = f"The cluster {cluster.name} ({cluster.id}) may not pull from the registry any more"
        if pulumi.runtime.is_dry_run():
            pulumi.warn(f"{what}; `pulumi up` allows it again.")
            continue
        token = settings.digitalocean.token.get_secret_value()
        allow_pulls(token, settings.digitalocean.api_endpoint, cluster.id, settings.registry.name)
        pulumi.warn(f"{what}; it has been allowed again.")
