"""The settings of a stack: typed, immutable, and fully checked before any resource is created."""

from doks_gitops.settings.errors import Finding, SettingsError
from doks_gitops.settings.load import load, parse
from doks_gitops.settings.model import (
    Cluster,
    DigitalOcean,
    Project,
    Registry,
    Repository,
    Settings,
)

__all__ = [
    "Cluster",
    "DigitalOcean",
    "Finding",
    "Project",
    "Registry",
    "Repository",
    "Settings",
    "SettingsError",
    "load",
    "parse",
]
