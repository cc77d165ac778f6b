"""Reads what the platform has to know of an account, with several requests at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from doks_gitops.account.client import AccountError, DigitalOceanClient
from doks_gitops.account.model import Account, Prices


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
