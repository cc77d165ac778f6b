"""From what is known to what is done: a pure function."""

from __future__ import annotations

from dataclasses import dataclass, field

from account import RunningCluster
from recovery.facts import Facts, Known, Revision


class Refused(Exception):
    """Nothing may be done; says why, and what the person can do."""


@dataclass(frozen=True)
class ClearInterrupted:
    """Take what a killed run was creating off the state's list of pending operations."""

    urns: tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """Until DigitalOcean has finished making the cluster."""

    cluster: RunningCluster


@dataclass(frozen=True)
class Forget:
    """Take what depends on `urn`, and itself, out of the state: it is gone with its cluster."""

    urn: str
    why: str


@dataclass(frozen=True)
class FreeNamespace:
    """Let Argo CD's namespace go, which waits for an Argo CD that is not there any more."""

    namespace: str


@dataclass(frozen=True)
class DropRevisions:
    """Remove records of Helm's, so that it installs over what is there or what was cut off."""

    namespace: str
    revisions: tuple[Revision, ...]


@dataclass(frozen=True)
class Up:
    """Deploy; `adopt`: what is to be taken over, as `settings.model.Adopt` has it."""

    adopt: dict[str, object] = field(default_factory=dict)


Step = ClearInterrupted | Wait | Forget | FreeNamespace | DropRevisions | Up


def plan(facts: Facts) -> list[Step]:
    """The steps that bring the stack back. Raises `Refused`.

    - the cluster is gone from the account: forget what was in it, and make it all again
    - it is there and the state does not know it: take it over
    - it is there, but the stack file has moved to another region and it does not answer: forget
      what was in it; the deployment then replaces it
    - it is there and does not answer: nothing is forgotten
    - it is there and answers: mend what a killed run or a deleted Argo CD left
    """
    known = facts.known
    steps: list[Step] = []
    if known.interrupted:
        steps.append(ClearInterrupted(known.interrupted))
    if len(facts.running) > 1:
        raise Refused(
            f"The account has {len(facts.running)} clusters named {facts.settings.cluster.name}:"
            f" {' and '.join(each.id for each in facts.running)}. Nothing was changed.\n"
            "Delete the one that is too much: doctl kubernetes cluster delete ID"
        )
    if not facts.running:
        return [*steps, *_forget(known, "the cluster is gone from the account"), Up()]
    [running] = facts.running
    if running.region != facts.settings.cluster.region:
        return [*steps, *_moved(facts, running), Up()]
    if running.state == "provisioning":
        return [*steps, *_forget_other(known, running), Wait(running), _up(facts, running)]
    if facts.inside is None:
        raise Refused(_unreachable(facts, running))
    return [*steps, *_forget_other(known, running), *_mend(facts), _up(facts, running)]


def _forget(known: Known, why: str) -> list[Step]:
    return [Forget(known.provider, why)] if known.provider else []


def _forget_other(known: Known, running: RunningCluster) -> list[Step]:
    """If the state speaks of another cluster than the one that there is."""
    if known.cluster in (None, running.id):
        return []
    why = f"its cluster {known.cluster} is gone from the account"
    steps = _forget(known, why)
    if known.cluster_urn:
        steps.append(Forget(known.cluster_urn, why))
    return steps


def _moved(facts: Facts, running: RunningCluster) -> list[Step]:
    wanted = facts.settings.cluster.region
    if facts.settings.cluster.protect:
        raise Refused(
            f"The stack file wants the cluster {running.name} in {wanted}; it is in"
            f" {running.region} and protected from deletion. Nothing was changed.\n"
            "If it is to be given up: pulumi config set --path doks-gitops:cluster.protect false"
            f" --stack {facts.settings.stack}, then"
            f" pulumi state unprotect --stack {facts.settings.stack} '{facts.known.cluster_urn}',"
            " and bin/recover again"
        )
    if facts.inside is not None:
        return _mend(facts)
    return _forget(
        facts.known,
        f"the cluster in {running.region} does not answer, and the stack moves to {wanted}",
    )


def _unreachable(facts: Facts, running: RunningCluster) -> str:
    text = (
        f"The cluster {running.name} ({running.id}) is not lost: the account says that it is"
        f" {running.state}, in {running.region}. But it does not answer. Nothing was forgotten.\n"
        "Look at the network, and at the token's scope kubernetes:access_cluster: doctl kubernetes"
        f" cluster get {running.id}"
    )
    if not facts.region_up:
        text += (
            f"\nDigitalOcean takes no clusters in {running.region} at present. To move the stack to"
            " another region: pulumi config set --path doks-gitops:cluster.region REGION --stack"
            f" {facts.settings.stack}, then bin/recover {facts.settings.stack}"
        )
    return text


def _mend(facts: Facts) -> list[Step]:
    inside, namespace = facts.inside, facts.settings.argocd.namespace
    assert inside is not None
    if inside.terminating:
        return [FreeNamespace(namespace)]
    left = tuple(each for each in inside.revisions if each.cut_off or not facts.known.release)
    return [DropRevisions(namespace, left)] if left else []


def _up(facts: Facts, running: RunningCluster) -> Up:
    if facts.known.cluster == running.id:
        return Up()
    others = [pool.name for pool in facts.settings.cluster.node_pools[1:]]
    pools = facts.node_pools or {}
    vpc = facts.settings.cluster.vpc
    inside = facts.inside
    adopt: dict[str, object] = {
        "cluster": running.id,
        "nodePools": {name: pools[name] for name in others if name in pools},
        "adminPassword": inside is not None and inside.admin_password and not inside.terminating,
    }
    if vpc is not None and vpc.ip_range is not None and facts.vpc:
        adopt["vpc"] = facts.vpc
    return Up(adopt)
