"""From what is known to what is done: a pure function."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from components.names import ADMIN_SECRET, RELEASE_NAME
from doks_gitops.account import RunningCluster
from doks_gitops.recovery.facts import Facts, Known, Revision


class Refused(Exception):
    """Nothing may be done; says why, and what the person can do."""


@dataclass(frozen=True)
class TakeTurn:
    """See that no other run holds the stack's lock, before anything is done that needs no lock of
    Pulumi's; and take what a killed run was creating off the state's list of pending operations."""

    stack: str | None
    interrupted: tuple[str, ...] = ()


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
    """Let Argo CD's namespace go, which waits for an Argo CD that is not there any more.

    Needs no turn: whoever else is at the stack, a `pulumi destroy` included, waits for the same.
    """

    namespace: str


@dataclass(frozen=True)
class DropRevisions:
    """Remove records of Helm's, so that it installs over what is there or what was cut off.

    `outdated` stays and is marked as of another version, so that Helm applies the chart even where
    that is the very one which it had completed before. What a failed upgrade added to an object
    stays there, as it does with Helm itself.
    """

    namespace: str
    revisions: tuple[Revision, ...]
    outdated: Revision | None = None


@dataclass(frozen=True)
class Up:
    """Deploy; `adopt`: what is to be taken over, as `settings.model.Adopt` has it."""

    adopt: dict[str, object] = field(default_factory=dict)


Step = TakeTurn | Wait | Forget | FreeNamespace | DropRevisions | Up


def plan(facts: Facts) -> list[Step]:
    """The steps that bring the stack back. Raises `Refused`.

    - the cluster is gone from the account: forget what was in it, and make it all again
    - it is there and the state does not know it: take it over
    - it is there, but the stack file has moved to another region and it does not answer: forget
      what was in it; the deployment then replaces it
    - it is there and does not answer: nothing is forgotten
    - it is there and answers: mend what a killed run or a deleted Argo CD left
    """
    steps = _steps(facts)
    known = facts.known
    if known.interrupted or any(isinstance(each, DropRevisions) for each in steps):
        steps.insert(0, TakeTurn(known.stack, known.interrupted))
    return steps


def _steps(facts: Facts) -> list[Step]:
    known = facts.known
    if len(facts.running) > 1:
        raise Refused(
            f"The account has {len(facts.running)} clusters named {facts.settings.cluster.name}:"
            f" {' and '.join(each.id for each in facts.running)}. Nothing was changed.\n"
            "Delete the one that is too much: doctl kubernetes cluster delete ID"
        )
    if not facts.running:
        return [*_forget(known, "the cluster is gone from the account"), Up(_adopt(facts))]
    [running] = facts.running
    if running.region != facts.settings.cluster.region:
        return [*_moved(facts, running), Up(_adopt(facts))]
    if running.state != "provisioning" and facts.inside is None:
        raise Refused(_unreachable(facts, running))
    steps: list[Step] = []
    if known.cluster != running.id:
        # What the state knows is of another cluster.
        if gone := known.cluster_urn or known.provider:
            steps.append(Forget(gone, f"its cluster {known.cluster} is gone from the account"))
        known = replace(known, cluster=None, cluster_urn=None, provider=None, ids=frozenset())
        facts = replace(facts, known=known)
    if running.state == "provisioning":
        steps.append(Wait(running))
    return [*steps, *_mend(facts), Up(_adopt(facts, running))]


def _forget(known: Known, why: str) -> list[Step]:
    return [Forget(known.provider, why)] if known.provider else []


def _moved(facts: Facts, running: RunningCluster) -> list[Step]:
    wanted = facts.settings.cluster.region
    if facts.known.cluster != running.id:
        raise Refused(
            f"The stack file wants the cluster {running.name} in {wanted}. The account has it in"
            f" {running.region}, and the stack's state does not know it. Nothing was changed.\n"
            "To take it over: pulumi config set --path doks-gitops:cluster.region"
            f" {running.region} --stack {facts.settings.stack}, and bin/platform recover again.\n"
            f"To give it up: doctl kubernetes cluster delete {running.id}, and bin/platform recover again."
        )
    if facts.settings.cluster.protect:
        raise Refused(
            f"The stack file wants the cluster {running.name} in {wanted}; it is in"
            f" {running.region} and protected from deletion. Nothing was changed.\n"
            "If it is to be given up: pulumi config set --path doks-gitops:cluster.protect false"
            f" --stack {facts.settings.stack}, then"
            f" pulumi state unprotect --stack {facts.settings.stack} '{facts.known.cluster_urn}',"
            " and bin/platform recover --stack again"
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
            f" {facts.settings.stack}, then bin/platform recover --stack {facts.settings.stack}"
        )
    return text


def _mend(facts: Facts) -> list[Step]:
    inside, namespace = facts.inside, facts.settings.argocd.namespace
    if inside is None:
        return []
    if inside.terminating:
        return [FreeNamespace(namespace)]
    history = inside.history
    if f"{namespace}/{RELEASE_NAME}" not in facts.known.ids:
        return [DropRevisions(namespace, history.revisions)] if history.revisions else []
    if left := history.unfinished:
        return [DropRevisions(namespace, left, history.deployed)]
    return []


def _adopt(facts: Facts, running: RunningCluster | None = None) -> dict[str, object]:
    """What there is and the state does not know; `running` is the cluster that is to stay."""
    settings, known, inside = facts.settings, facts.known, facts.inside
    found: dict[str, object] = {}
    if running is not None:
        if known.cluster != running.id:
            found["cluster"] = running.id
        pools = running.node_pools
        wanted = [each.name for each in settings.cluster.node_pools[1:] if each.name in pools]
        if new := {name: pools[name] for name in wanted if pools[name] not in known.ids}:
            found["nodePools"] = new
        secret = f"{settings.argocd.namespace}/{ADMIN_SECRET}"
        if inside is not None and not inside.terminating and secret not in known.ids:
            found |= {"adminPassword": True} if inside.admin_password else {}
    vpc = settings.cluster.vpc
    if vpc is not None and vpc.ip_range is not None and facts.vpc and known.vpc is None:
        found["vpc"] = facts.vpc
    if settings.registry.create and facts.registry and known.registry is None:
        found["registry"] = True
    return found
