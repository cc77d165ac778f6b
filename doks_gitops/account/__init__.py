"""The DigitalOcean account: what it offers, what is in it, and whether a stack's settings fit.

This is what the program reads of the account and checks in it; `client` can also change it.
"""

from semver import Version

from doks_gitops.account.check import check, resolve_version
from doks_gitops.account.client import AccountError, DigitalOceanClient
from doks_gitops.account.integration import allow_pulls, provider_allows_pulls
from doks_gitops.account.linter import lint
from doks_gitops.account.marks import new_mark
from doks_gitops.account.model import (
    Account,
    Prices,
    Recorded,
    RunningCluster,
    Volume,
    VolumeSnapshot,
    Vpc,
)
from doks_gitops.account.ownership import Owner, check_team, keep_owner, other_state, with_mark
from doks_gitops.account.pools import NOT_IN_STATE, first_pool, unknown_pool_text, unknown_pools
from doks_gitops.account.read import read, read_prices, with_networks
from doks_gitops.account.recorded import check_recorded, of_export, with_recorded
from doks_gitops.account.replacement import (
    Change,
    creates_default_vpc,
    left_vpc,
    own_default_vpc,
    replacement,
    replacing_changes,
    running_cluster,
    warn,
)
from doks_gitops.account.verification import refuse_unexpected, verify

__all__ = [
    "NOT_IN_STATE",
    "Account",
    "AccountError",
    "Change",
    "DigitalOceanClient",
    "Owner",
    "Prices",
    "Recorded",
    "RunningCluster",
    "Version",
    "Volume",
    "VolumeSnapshot",
    "Vpc",
    "allow_pulls",
    "check",
    "check_recorded",
    "check_team",
    "creates_default_vpc",
    "first_pool",
    "keep_owner",
    "left_vpc",
    "lint",
    "new_mark",
    "of_export",
    "other_state",
    "own_default_vpc",
    "provider_allows_pulls",
    "read",
    "read_prices",
    "refuse_unexpected",
    "replacement",
    "replacing_changes",
    "resolve_version",
    "running_cluster",
    "unknown_pool_text",
    "unknown_pools",
    "verify",
    "warn",
    "with_mark",
    "with_networks",
    "with_recorded",
]
