"""Allows the stack's cluster to pull from the team's registry.

https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
"""

from __future__ import annotations

import pulumi

from components.registry import HOST
from doks_gitops.account import messages
from doks_gitops.account.client import DigitalOceanClient
from doks_gitops.account.model import Account, RunningCluster
from doks_gitops.account.replacement import replacement
from doks_gitops.settings import Settings


def provider_allows_pulls(settings: Settings, account: Account) -> bool:
    """Whether DigitalOcean's provider can allow the pulls when it creates the cluster.

    It names no registry in its request, which the API refuses in an account with several ones.
    """
    return {*account.registries, settings.registry.name} == {settings.registry.name}


def allow_pulls(
    settings: Settings,
    account: Account,
    registry_endpoint: pulumi.Output[str],
    cluster_id: pulumi.Output[str],
) -> pulumi.Output[str]:
    """Returns `registry_endpoint`, resolved after the cluster `cluster_id` may pull from it.

    DigitalOcean's provider can allow it only while it creates the cluster, and never reads it back.
    So Pulumi sees no difference when somebody removes the integration. Resources that take the
    returned endpoint wait for the request, which waits for the registry and the cluster: a cluster
    that this run replaces is never touched. A preview only warns. Needs the scopes
    `kubernetes:create` and `kubernetes:update`; without them the endpoint raises `AccountError`.
    """
    known = {cluster.id: cluster for cluster in account.clusters}
    if pulumi.runtime.is_dry_run():
        for cluster in account.stack_clusters(settings.cluster.name):
            # A new cluster is allowed to pull without a warning.
            if _may_not_pull(cluster) and replacement(settings, account) is None:
                messages.warn(f"{_problem(settings, cluster)}; `pulumi up` allows it again.")
        return registry_endpoint

    def allow(endpoint_and_id: list[str]) -> str:
        endpoint, cluster_id = endpoint_and_id
        cluster = known.get(cluster_id)
        if cluster is not None and _may_not_pull(cluster):
            _allow(settings, cluster_id)
            messages.warn(f"{_problem(settings, cluster)}; it has been allowed again.")
        elif not provider_allows_pulls(settings, account):
            # The account tells whether a cluster may pull, but not from which of its registries.
            _allow(settings, cluster_id)
        return endpoint

    return pulumi.Output.all(registry_endpoint, cluster_id).apply(allow)


def _may_not_pull(cluster: RunningCluster) -> bool:
    return cluster.state == "running" and not cluster.registry_enabled


def _problem(settings: Settings, cluster: RunningCluster) -> str:
    endpoint = f"{HOST}/{settings.registry.name}"
    return f"The cluster {cluster.name} ({cluster.id}) may not pull from {endpoint} any more"


def _allow(settings: Settings, cluster_id: str) -> None:
    with DigitalOceanClient.from_settings(settings.digitalocean) as client:
        client.allow_pulls(cluster_id, settings.registry.name)
