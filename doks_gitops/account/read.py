"""Reads what the platform has to know of an account, with several requests at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from doks_gitops.account.client import AccountError, DigitalOceanClient
from doks_gitops.account.model import Account, Prices
from doks_gitops.account.replacement import replacement
from doks_gitops.settings import Settings


def read(token: str, api_url: str, *, vpcs: bool = False) -> Account:
    """What the account of `token` offers for clusters, and what is in it.

    Needs the scopes `account:read`, `kubernetes:read` and `registry:read`, with `vpcs` also
    `vpc:read`. Raises `AccountError`, with everything that failed.
    """
    with DigitalOceanClient(token, api_url) as client, ThreadPoolExecutor(5) as threads:
        team = threads.submit(client.team)
        options = threads.submit(client.options)
        clusters = threads.submit(client.clusters)
        registries = threads.submit(client.registries)
        networks = threads.submit(client.vpcs if vpcs else tuple)
        errors = [
            error
            for request in (team, options, clusters, registries, networks)
            if isinstance(error := request.exception(), AccountError)
        ]
        if errors:
            raise AccountError(
                "\n".join(dict.fromkeys(error.problem for error in errors)),
                "\n".join(dict.fromkeys(error.fix for error in errors if error.fix)),
            )
        return Account(
            regions=tuple(region.slug for region in options.result().regions),
            sizes=tuple(size.slug for size in options.result().sizes),
            versions=tuple(sorted((v.slug for v in options.result().versions), reverse=True)),
            clusters=clusters.result(),
            registries=registries.result(),
            vpcs=networks.result(),
            team=team.result(),
        )


def with_networks(settings: Settings, account: Account) -> Account:
    """Returns `account` with the networks that a cluster meets which is about to be created: the
    VPCs (scope `vpc:read`), and those with a NAT gateway if its nodes are isolated (scope
    `nat_gateway:read`). Raises `AccountError`."""
    cluster = settings.cluster
    if account.stack_clusters(cluster.name) and replacement(settings, account) is None:
        return account
    with DigitalOceanClient.from_settings(settings.digitalocean) as client:
        return replace(
            account,
            vpcs=account.vpcs or client.vpcs(),
            gateways=client.nat_gateways() if cluster.isolated_workers else frozenset(),
        )


def read_prices(token: str, api_url: str) -> Prices:
    """The account's prices of sizes and registry tiers.

    Needs the scopes `sizes:read` and `registry:read`. Raises `AccountError`.
    """
    with DigitalOceanClient(token, api_url) as client:
        return Prices(
            sizes=client.size_prices(),
            tiers=client.tier_prices(),
            tier=client.subscribed_tier(),
        )
