"""The cluster's right to pull from the account's registry, where someone has taken it away."""

from __future__ import annotations

import pulumi

from doks_gitops.account.api import allow_pulls
from doks_gitops.account.model import Account
from doks_gitops.settings import Settings


def restore_integration(
    settings: Settings, account: Account, registry_endpoint: pulumi.Output[str]
) -> pulumi.Output[str]:
    """`registry_endpoint`, once the stack's running cluster may pull from there again.

    DigitalOcean's provider sends `registry_integration` when the cluster is made and never reads it
    back, so an integration that was removed by hand is no difference to Pulumi. What takes the
    endpoint from here waits until it is restored, and it is restored only where there is a registry
    (one that was lost too is made anew first). A preview only says what would be done. Needs the
    scopes `kubernetes:create` and `kubernetes:update`; without them the endpoint raises
    `AccountError`.
    https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
    """
    cut_off = [
        cluster
        for cluster in account.clusters_named(settings.cluster.name)
        if cluster.state == "running" and not cluster.registry_enabled
    ]

    def restore(endpoint: str) -> str:
        for cluster in cut_off:
            what = (
                f"The cluster {cluster.name} ({cluster.id}) may not pull from {endpoint} any more"
            )
            if pulumi.runtime.is_dry_run():
                pulumi.warn(f"{what}; `pulumi up` allows it again.")
                continue
            token = settings.digitalocean.token.get_secret_value()
            api_url, registry = settings.digitalocean.api_endpoint, settings.registry.name
            allow_pulls(token, api_url, cluster.id, registry)
            pulumi.warn(f"{what}; it has been allowed again.")
        return endpoint

    return registry_endpoint.apply(restore)
