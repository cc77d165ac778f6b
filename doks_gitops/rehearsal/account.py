"""What a rehearsal has made in the account, and nothing else.

A cluster belongs to a rehearsal if it has the rehearsal's name *and* a mark of a stack of that name
(`doks_gitops.account.marks`): the name is random, and the mark names project, stack and state. What
the cluster has made itself, load balancers and volumes, has a tag with the cluster's ID.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from doks_gitops.account import AccountError, DigitalOceanClient, RunningCluster
from doks_gitops.account.marks import PREFIX
from doks_gitops.errors import PlatformError

NAME = re.compile(r"rehearsal-[0-9a-f]{8,20}")
"""Names of the stacks and clusters of rehearsals: random, or the number of a workflow's run."""
_PAUSE_SECONDS = 5
_PATIENCE_SECONDS = 20 * 60
"""How long the deletion is tried."""
_SETTLED_SECONDS = 30
"""How long nothing must be seen before nothing is left: a request to create a cluster may still be
on its way when its sender is killed."""


def report(text: str) -> None:
    """Print on standard error. Nothing is raised if nobody reads it any more, as after a terminal
    was closed: what deletes must go on."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class LeftOver(PlatformError):
    """Something of a rehearsal is still in the account."""


def rehearsed_clusters(client: DigitalOceanClient) -> tuple[RunningCluster, ...]:
    """The clusters of all rehearsals. Raises `AccountError`."""
    return tuple(
        cluster
        for cluster in client.clusters()
        if NAME.fullmatch(cluster.name)
        and re.match(rf"{PREFIX}[^:]+:{cluster.name}:", cluster.mark or "")
    )


@dataclass(frozen=True)
class Rehearsed:
    """The resources of some rehearsals."""

    client: DigitalOceanClient
    names: Collection[str]

    def clusters(self) -> tuple[RunningCluster, ...]:
        """Raises `AccountError`."""
        return tuple(
            cluster for cluster in rehearsed_clusters(self.client) if cluster.name in self.names
        )

    def refuse_existing(self) -> None:
        """Raises `PlatformError` if the account has a cluster or VPC of a rehearsal's name."""
        names = {cluster.name for cluster in self.client.clusters()}
        names |= {vpc.name for vpc in self.client.vpcs()}
        if existing := names.intersection(self.names):
            raise PlatformError(
                f"The account has a cluster or VPC {min(existing)} already. Nothing was changed.",
                "run the command again with another name, or without --name",
            )

    def left(self, cluster_ids: Iterable[str]) -> list[str]:
        """What is in the account: clusters with their node pools, VPCs, and load balancers and
        volumes of the clusters `cluster_ids`. Raises `AccountError`."""
        clusters = self.clusters()
        ids = {*cluster_ids, *(cluster.id for cluster in clusters)}
        return [
            *(f"the cluster {cluster.name} ({cluster.id})" for cluster in clusters),
            *(
                f"the VPC {vpc.name} ({vpc.id})"
                for vpc in self.client.vpcs()
                if vpc.name in self.names
            ),
            *self.client.made_by_clusters(ids),
        ]

    def delete(self, cluster_ids: Iterable[str]) -> None:
        """Delete the clusters with all that they have made, until nothing is left for a while.

        Tries again after an error of the API. Raises `LeftOver`.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        ids = set(cluster_ids)
        left, clean_since = ["whatever it has made, as the account was never read"], None
        while time.monotonic() < deadline:
            try:
                for cluster in self.clusters():
                    ids.add(cluster.id)
                    self.client.delete_cluster(cluster.id)
                left = self.left(ids)
            except AccountError as error:
                report(error.problem)
                clean_since = None
            else:
                clean_since = None if left else (clean_since or time.monotonic())
                if clean_since and time.monotonic() - clean_since >= _SETTLED_SECONDS:
                    return
            time.sleep(_PAUSE_SECONDS)
        raise LeftOver(
            f"The account still has {', '.join(left)}.",
            "bin/platform rehearse --clean-up, or delete it in the control panel:"
            " https://cloud.digitalocean.com/kubernetes/clusters",
        )
