"""To which team and to which state the stack's cluster belongs.

The state keeps both from the first deployment on, in a resource that never changes
(https://www.pulumi.com/docs/iac/concepts/resources/stash/). The cluster carries a mark, a tag that
names the project, the stack and the state. So a token of another team is refused, and so is the
state of another backend, before anything is created.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pulumi

from doks_gitops.account.client import AccountError
from doks_gitops.account.marks import new_mark
from doks_gitops.account.model import Account, RunningCluster
from doks_gitops.settings import Settings

RESOURCE = "owner"
"""Logical name of the resource in the state."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What the state keeps."""

    team: str
    """UUID of the DigitalOcean team that the stack deploys to."""
    mark: str
    """Tag of the cluster."""


def keep_owner(settings: Settings, account: Account) -> pulumi.Output[str]:
    """Keeps the stack's owner in its state, and returns the mark of its cluster.

    The output raises `AccountError` if the state was deployed to another team, or if the cluster
    has the mark of another state. What must not be created then depends on it.
    """
    mark = settings.adopt.mark if settings.adopt else None
    owner = {
        "team": account.team,
        "mark": mark or new_mark(pulumi.get_project(), settings.stack),
    }
    kept = pulumi.Stash(
        RESOURCE, input=owner, opts=pulumi.ResourceOptions(ignore_changes=["input"])
    )

    def verified(output: Mapping[str, Any]) -> str:
        kept_owner = Owner(**output)
        check_team(settings.stack, kept_owner, account.team)
        for cluster in account.clusters_named(settings.cluster.name):
            if cluster.mark not in (None, kept_owner.mark.lower()):
                raise AccountError(*other_state(settings.stack, cluster))
        return kept_owner.mark

    return kept.output.apply(verified)


async def with_mark(account: Account, mark: pulumi.Output[str]) -> Account:
    """Returns `account`, in which the stack's cluster is the one with its mark.

    Raises what the output of `keep_owner` raises.
    """
    text = await mark.future()
    return replace(account, mark=text.lower()) if text else account


def check_team(stack: str, owner: Owner, team: str) -> None:
    """Raises `AccountError` if the token's `team` is not the owner's."""
    if team != owner.team:
        raise AccountError(
            f"The token is of another team than the stack {stack}: the stack was deployed to the"
            f" team {owner.team}, and the token is of the team {team}. Nothing was"
            " changed.",
            f"Use a token of the team {owner.team} (doctl account get shows the team of a token)."
            " To deploy to another team, create another stack: pulumi stack init NAME. If only the"
            f" stack's first run had the wrong token, take the resource {RESOURCE} out of the"
            f" state, and the next run records the team anew: pulumi state delete --stack {stack}",
        )


def other_state(stack: str, cluster: RunningCluster) -> tuple[str, str]:
    """Returns the problem of a cluster that another state owns, and what to do."""
    return (
        f"The cluster {cluster.name} ({cluster.id}) belongs to another state than the one that the"
        f" backend has for the stack {stack}: the cluster has "
        + (f"the tag {cluster.mark}" if cluster.mark else "no tag of this state")
        + ". Nothing was changed.",
        "Look whether this is the right backend: pulumi whoami --verbose, and the variable"
        " PULUMI_BACKEND_URL. Only if the other state is lost:"
        f" bin/platform recover --stack {stack} --new-state",
    )
