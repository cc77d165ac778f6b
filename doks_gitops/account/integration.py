"""Restores a cluster's permission to pull from the account's registry after it was removed."""

from __future__ import annotations

import pulumi

from doks_gitops.account.client import DigitalOceanClient
from doks_gitops.account.model import Account
from doks_gitops.account.replacement import replacement
from doks_gitops.settings import Settings


def restore_integration(
    settings: Settings, account: Account, registry_endpoint: pulumi.Output[str]
) -> pulumi.Output[str]:
    """Returns `registry_endpoint`, resolved after the stack's running cluster may pull from it.

    DigitalOcean's provider sends `registry_integration` when it creates the cluster and never reads
    it back, so Pulumi sees no difference when somebody removes the integration. Resources that take
    the returned endpoint wait for the repair. The repair itself waits for the registry, which may
    have to be created again first. A preview only warns. Needs the scopes `kubernetes:create` and
    `kubernetes:update`; without them the endpoint raises `AccountError`.
    https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
    """
    disconnected = [
        cluster
        for cluster in account.clusters_named(settings.cluster.name)
        if cluster.state == "running"
        and not cluster.registry_enabled
        # The new cluster is created with the integration.
        and replacement(settings, account) is None
    ]

    def restore(endpoint: str) -> str:
        for cluster in disconnected:
            problem = (
                f"The cluster {cluster.name} ({cluster.id}) may not pull from {endpoint} any more"
            )
            if pulumi.runtime.is_dry_run():
                pulumi.warn(f"{problem}; `pulumi up` allows it again.")
                continue
            token = settings.digitalocean.token.get_secret_value()
            with DigitalOceanClient(token, settings.digitalocean.api_endpoint) as client:
                client.allow_pulls(cluster.id, settings.registry.name)
            pulumi.warn(f"{problem}; it has been allowed again.")
        return endpoint

    return registry_endpoint.apply(restore)
