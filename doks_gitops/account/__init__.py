"""The DigitalOcean account: what it offers, what is in it, and whether a stack's settings fit.

Everything here only reads, except `restore_integration`.
"""

from semver import Version

from doks_gitops.account.check import check, resolve_version
from doks_gitops.account.client import AccountError, DigitalOceanClient
from doks_gitops.account.integration import restore_integration
from doks_gitops.account.marks import new_mark
from doks_gitops.account.model import Account, Prices, RunningCluster, Vpc
from doks_gitops.account.ownership import Owner, check_team, keep_owner, other_state
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
    "Owner",
    "Prices",
    "RunningCluster",
    "Version",
    "Vpc",
    "check",
    "check_team",
    "creates_default_vpc",
    "keep_owner",
    "new_mark",
    "other_state",
    "own_default_vpc",
    "read",
    "read_prices",
    "replacement",
    "replacing_changes",
    "resolve_version",
    "restore_integration",
    "warn",
]
