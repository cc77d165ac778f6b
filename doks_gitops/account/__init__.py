"""The DigitalOcean account: what it offers, what is in it, and whether a stack's settings fit.

Everything here only reads, except `restore_integration`.
"""

from semver import Version

from doks_gitops.account.check import check, resolve_version
from doks_gitops.account.client import AccountError, DigitalOceanClient
from doks_gitops.account.integration import restore_integration
from doks_gitops.account.model import Account, Prices, RunningCluster, Vpc
from doks_gitops.account.read import read, read_prices
from doks_gitops.account.replacement import (
    Change,
    creates_default_vpc,
    own_default_vpc,
    replacement,
    replacing_changes,
    warn,
)

__all__ = [
    "Account",
    "AccountError",
    "Change",
    "DigitalOceanClient",
    "Prices",
    "RunningCluster",
    "Version",
    "Vpc",
    "check",
    "creates_default_vpc",
    "own_default_vpc",
    "read",
    "read_prices",
    "replacement",
    "replacing_changes",
    "resolve_version",
    "restore_integration",
    "warn",
]
