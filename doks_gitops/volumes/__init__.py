"""Volumes of claims, which outlive the cluster that has made them.

Which volume was whose claim is known to the cluster's API alone, and lost with it. So it is kept in
tags on the volume itself (`tags`), and no third place has to outlive cluster, state and repository.
From there the claims of a new cluster get their volumes back before Argo CD's first sync.
"""

from doks_gitops.volumes.assignment import Choices, NotAssignable, assign
from doks_gitops.volumes.bring_back import bring_back, record_before_replacement
from doks_gitops.volumes.cluster import Cluster
from doks_gitops.volumes.record import Recorded, record
from doks_gitops.volumes.snapshots import create_from_snapshot
from doks_gitops.volumes.tags import Claim

__all__ = [
    "Choices",
    "Claim",
    "Cluster",
    "NotAssignable",
    "Recorded",
    "assign",
    "bring_back",
    "create_from_snapshot",
    "record",
    "record_before_replacement",
]
