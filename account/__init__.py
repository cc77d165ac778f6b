"""A read-only look at the DigitalOcean account before anything is created: what it offers, what
runs in it, and whether a stack's settings fit."""

from account.api import AccountError, read
from account.check import check, resolve_version
from account.integration import restore_integration
from account.model import Account, RunningCluster
from account.version import Version

__all__ = [
    "Account",
    "AccountError",
    "RunningCluster",
    "Version",
    "check",
    "read",
    "resolve_version",
    "restore_integration",
]
