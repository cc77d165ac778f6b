"""A look at the DigitalOcean account before anything is created: what it offers, what runs in it,
and whether a stack's settings fit. Nothing in it is changed but a registry integration that was
removed."""

from doks_gitops.account.api import AccountError, read, read_prices
from doks_gitops.account.check import check, resolve_version
from doks_gitops.account.integration import restore_integration
from doks_gitops.account.model import Account, Prices, RunningCluster
from doks_gitops.account.version import Version

__all__ = [
    "Account",
    "AccountError",
    "Prices",
    "RunningCluster",
    "Version",
    "check",
    "read",
    "read_prices",
    "resolve_version",
    "restore_integration",
]
