"""Which volume a claim gets in a new cluster, as a pure function of the account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from doks_gitops.account import Volume, VolumeSnapshot
from doks_gitops.account.marks import mark_in, same_stack
from doks_gitops.errors import PlatformError
from doks_gitops.volumes.snapshots import is_copied
from doks_gitops.volumes.tags import Claim, claims_in, clusters_in


class NotAssignable(PlatformError):
    """A volume can't be brought back without a decision of the user."""


@dataclass(frozen=True)
class Choices:
    """What the user has decided."""

    claims: Mapping[str, Claim] = field(default_factory=dict)
    """Claims by the IDs of the volumes that they get."""
    left: frozenset[str] = frozenset()
    """IDs of volumes, of snapshots, or of the volumes of snapshots that are not brought back."""
    former_states: bool = False
    """Take the volumes of any state of the stack: its own is new."""


@dataclass(frozen=True)
class Holdings:
    """What the account and the new cluster have."""

    volumes: Collection[Volume]
    region: str
    """The new cluster's."""
    mark: str
    """The mark of the stack's state."""
    snapshots: Collection[VolumeSnapshot] = ()
    clusters: frozenset[str] = frozenset()
    """IDs of the account's other clusters."""
    lost: frozenset[str | None] = frozenset()
    """IDs of clusters that are gone and may have been the stack's; None is passed over."""
    bound: frozenset[str] = frozenset()
    """IDs of the volumes that the cluster has already."""
    bound_claims: frozenset[Claim] = frozenset()
    """The claims of these."""
    copy_tag: str | None = None
    """The tag of snapshots with a copy that can be restored; None: the stack has no copies."""


@dataclass(frozen=True)
class Assignment:
    """What each claim gets: its volume, a snapshot if that is gone, or else a copy."""

    volumes: Mapping[Claim, Volume] = field(default_factory=dict)
    snapshots: Mapping[Claim, VolumeSnapshot] = field(default_factory=dict)
    copies: Mapping[Claim, VolumeSnapshot] = field(default_factory=dict)
    """The snapshots that were copied, by the claims whose volumes are in another region."""


def assign(holdings: Holdings, choices: Choices, stack: str) -> Assignment:
    """The volumes and snapshots that the recorded claims get. Raises `NotAssignable` with
    everything that has to be decided first. Others' volumes are passed over."""
    # A repeated run knows only the new cluster, but what was recorded tells which one was lost.
    recorded = (x.tags for x in holdings.volumes if _is_own(mark_in(x.tags), holdings, choices))
    lost = holdings.lost.union(*map(clusters_in, recorded)) - holdings.clusters
    holdings = replace(holdings, lost=lost)
    problems: list[tuple[str, str]] = []
    # A claim that was restored in this region keeps a former volume in another one.
    decided = {*holdings.bound_claims, *choices.claims.values()}
    candidates: defaultdict[Claim, list[Volume]] = defaultdict(list)
    elsewhere: defaultdict[Claim, list[Volume]] = defaultdict(list)
    """The volumes in other regions."""
    for volume in sorted(holdings.volumes, key=lambda volume: volume.id):
        if volume.id in choices.left | holdings.bound:
            continue
        claim, reason = _claim_of(volume, holdings, choices)
        if claim is None and reason is None:
            continue
        if claim is not None and volume.region != holdings.region:
            if volume.id in choices.claims or claim not in decided:
                elsewhere[claim].append(volume)
            continue
        reason = reason or _unusable(volume, holdings)
        if reason is not None:
            problems.append((f"The volume {_name(volume)} {reason}.", volume.id))
        elif claim is not None and claim not in holdings.bound_claims:
            candidates[claim].append(volume)
    for unknown in sorted(choices.claims.keys() - {volume.id for volume in holdings.volumes}):
        problems.append((f"The account has no volume {unknown}.", unknown))
    volumes: dict[Claim, Volume] = {}
    for claim, own in sorted(candidates.items()):
        # An explicit word outweighs what was recorded.
        chosen = [volume for volume in own if volume.id in choices.claims] or own
        if len(chosen) > 1:
            names = " and ".join(_name(volume) for volume in chosen)
            problems.append((f"The claim {claim} had several volumes: {names}.", chosen[0].id))
        volumes[claim] = chosen[0]
    copies: dict[Claim, VolumeSnapshot] = {}
    for claim, own in sorted(elsewhere.items()):
        copied = _copy_of(claim, own[0].id, holdings, choices)
        if len(own) > 1 or claim in volumes:
            copied = "the claim had another one too"
        if isinstance(copied, str):
            text = f"{_moved(own[0], holdings)}; {copied}"
            problems += [(f"The volume {_name(volume)} {text}.", volume.id) for volume in own]
        else:
            copies[claim] = copied
    snapshots: dict[Claim, VolumeSnapshot] = {}
    for claim, snapshot in _snapshots(holdings, choices, {*volumes, *elsewhere}):
        if holdings.region in snapshot.regions:
            snapshots[claim] = snapshot
        elif not isinstance(copied := _copy_of(claim, None, holdings, choices), str):
            copies[claim] = copied
        else:
            problems.append(
                (
                    f"The volume of the claim {claim} is gone, and its snapshot {snapshot.name} is"
                    f" in {', '.join(snapshot.regions)}, not in {holdings.region}; {copied}.",
                    snapshot.volume,
                )
            )
    if problems:
        texts, ids = zip(*problems, strict=True)
        leave = " ".join(f"--leave-volume {volume_id}" for volume_id in dict.fromkeys(ids))
        raise NotAssignable(
            "\n".join(texts),
            f"decide for each of them: bin/platform recover --stack {stack} --volume"
            f" VOLUME=NAMESPACE/CLAIM gives it to a claim; bin/platform recover --stack {stack}"
            f" {leave} leaves it in the account as it is",
        )
    return Assignment(volumes, snapshots, copies)


def _claim_of(
    volume: Volume, holdings: Holdings, choices: Choices
) -> tuple[Claim | None, str | None]:
    """The claim that the volume is for, or what is wrong with it; neither if it is not the
    stack's."""
    mark = mark_in(volume.tags)
    if (claim := choices.claims.get(volume.id)) is not None:
        if mark is not None and not same_stack(mark, holdings.mark):
            return None, f"belongs to another owner: {mark}"
        return claim, None
    if mark is None and (makers := sorted(clusters_in(volume.tags) & holdings.lost)):
        return None, (
            f"was made by the lost cluster {makers[0]} after the last record of the claims"
            f" ({volume.size} GiB)"
        )
    if not _is_own(mark, holdings, choices):
        if mark is not None and same_stack(mark, holdings.mark) and claims_in(volume.tags):
            return None, f"was recorded by another state of the stack, {mark}: --new-state takes it"
        return None, None
    match claims_in(volume.tags):
        case []:
            # Its claim has got another volume since.
            return None, None
        case [(recorded, claim)] if recorded in (volume.id, volume.name.removeprefix("pvc-")):
            return claim, None
        case [(recorded, claim)]:
            return None, (
                f"has a claim tag with another volume's ID ({claim}, {recorded}): it is probably a"
                " copy, for example one restored by hand"
            )
        case claims:
            names = " and ".join(str(claim) for _, claim in claims)
            return None, f"is recorded for several claims: {names}"


def _unusable(volume: Volume, holdings: Holdings) -> str | None:
    """Why the new cluster can't use the volume."""
    if others := sorted(clusters_in(volume.tags) & holdings.clusters):
        return f"is used by another cluster: {', '.join(others)}"
    if volume.droplets:
        return f"is still attached to the Droplet {', '.join(map(str, volume.droplets))}"
    return None


def _moved(volume: Volume, holdings: Holdings) -> str:
    return f"is in the region {volume.region}, and the cluster in {holdings.region}"


def _copy_of(
    claim: Claim, volume: str | None, holdings: Holdings, choices: Choices
) -> VolumeSnapshot | str:
    """The newest snapshot of the claim that has a copy, or why there is none. `volume`: only of the
    volume with that ID."""
    copied = [
        snapshot
        for snapshot in sorted(holdings.snapshots, key=lambda snapshot: snapshot.created)
        if volume in (None, snapshot.volume)
        and snapshot.id not in choices.left
        # A snapshot keeps the mark of its time. The state may have been lost since.
        and same_stack(mark_in(snapshot.tags) or "", holdings.mark)
        and any(known == claim for _, known in claims_in(snapshot.tags))
        and is_copied(snapshot)
    ]
    if not copied:
        return "no snapshot of it was copied to another region"
    if holdings.copy_tag is None:
        return "it was copied, but the stack file does not name the bucket and its credentials"
    readable = [snapshot for snapshot in copied if holdings.copy_tag in snapshot.tags]
    if not readable:
        return (
            "it was copied, but to another bucket, or with another password, than the stack file"
            " has in volumes.copies"
        )
    return readable[-1]


def _snapshots(
    holdings: Holdings, choices: Choices, claims: Collection[Claim]
) -> Iterator[tuple[Claim, VolumeSnapshot]]:
    """The newest snapshot of each recorded claim that has no volume any more, by any state of the
    stack."""
    existing = {volume.id for volume in holdings.volumes} | choices.left
    known = {*claims, *holdings.bound_claims}
    for snapshot in sorted(holdings.snapshots, key=lambda snapshot: snapshot.created, reverse=True):
        if snapshot.volume in existing or snapshot.id in choices.left:
            continue
        # A snapshot keeps the mark of its time. The state may have been lost since.
        if same_stack(mark_in(snapshot.tags) or "", holdings.mark):
            for _, claim in claims_in(snapshot.tags):
                if claim not in known:
                    known.add(claim)
                    yield claim, snapshot


def _is_own(mark: str | None, holdings: Holdings, choices: Choices) -> bool:
    if mark is None:
        return False
    own = holdings.mark.lower()
    return mark == own or (choices.former_states and same_stack(mark, own))


def _name(volume: Volume) -> str:
    return f"{volume.name} ({volume.id})"
