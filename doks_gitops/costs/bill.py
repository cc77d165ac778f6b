"""The bill of a stack: pure functions of its settings and the account's prices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from doks_gitops.account import Prices, Volume, VolumeSnapshot
from doks_gitops.settings import Cluster, Finding, Registry, SettingsError
from doks_gitops.settings.errors import closest, key_of, stack_file
from doks_gitops.settings.model import NAMESPACE

HIGHLY_AVAILABLE = Decimal(40)
"""US dollars per month for a highly available control plane. The API has no price for it.
https://docs.digitalocean.com/products/kubernetes/details/pricing/"""

LOAD_BALANCER = Decimal(12)
"""US dollars per month for one node of a regional load balancer, its size at first.
https://docs.digitalocean.com/products/networking/load-balancers/details/pricing/"""

VOLUME = Decimal("0.10")
"""US dollars per month for a GiB of a volume.
https://docs.digitalocean.com/products/volumes/details/pricing/"""

SNAPSHOT = Decimal("0.06")
"""US dollars per month for a GiB of a volume's snapshot.
https://docs.digitalocean.com/products/snapshots/details/pricing/"""

SPACES = Decimal(5)
"""US dollars per month for object storage, with 250 GiB, in all buckets of a team together.
https://docs.digitalocean.com/products/spaces/details/pricing/"""

NOT_INCLUDED = (
    "load balancers that applications create, and volumes of stacks without `volumes`",
    "traffic, stored images and copies beyond the included amounts",
    "taxes",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One item, in US dollars per month. `least` and `most` differ if it grows with the load."""

    what: str
    details: str
    least: Decimal
    most: Decimal


@dataclass(frozen=True, slots=True)
class Bill:
    """The items of one stack, or of what several stacks share."""

    title: str
    lines: tuple[Line, ...]

    @property
    def least(self) -> Decimal:
        return sum((line.least for line in self.lines), Decimal())

    @property
    def most(self) -> Decimal:
        return sum((line.most for line in self.lines), Decimal())


def of_stack(
    stack: str,
    cluster: Cluster,
    prices: Prices,
    *,
    exposed: bool = False,
    volumes: Sequence[Line] = (),
) -> Bill:
    """The bill of the cluster, of Argo CD's load balancer if it is `exposed` by one, and of the
    `volumes`.

    Raises `SettingsError` for sizes that the account does not have.
    """
    unknown = list(_unknown_sizes(stack, cluster, prices))
    if unknown:
        raise SettingsError(unknown)
    lines = []
    for pool in cluster.node_pools:
        price, most = prices.sizes[pool.size], pool.most
        nodes = str(most) if pool.fewest == most else f"{pool.fewest} to {most}"
        details = f"{nodes} x {pool.size} at {price:.2f}"
        lines.append(Line(f"node pool {pool.name}", details, price * pool.fewest, price * most))
    control_plane = HIGHLY_AVAILABLE if cluster.high_availability else Decimal()
    lines.append(
        Line(
            "control plane",
            "highly available" if cluster.high_availability else "one, free of charge",
            control_plane,
            control_plane,
        )
    )
    if exposed:
        lines.append(Line("load balancer", "Argo CD's, one node", LOAD_BALANCER, LOAD_BALANCER))
    return Bill(f"{stack}: {cluster.name}, {cluster.region}", (*lines, *volumes))


def of_volumes(
    volumes: Collection[Volume], snapshots: Collection[VolumeSnapshot], keep: int | None
) -> list[Line]:
    """The items of a stack's volumes and of their snapshots, of which `keep` are kept of each
    volume. At most, each snapshot is as large as its volume."""
    size, billed = sum(volume.size for volume in volumes), sum(x.size for x in snapshots)
    price = size * VOLUME
    details = f"{len(volumes)}, {size} GiB at {VOLUME} for a GiB"
    lines = [Line("volumes", details, price, price)] if volumes else []
    if volumes or snapshots:
        most = max(Decimal(billed), Decimal(size * (keep or 0)))
        details = f"{len(snapshots)}, {billed:.2f} GiB at {SNAPSHOT} for a GiB" + (
            f"; {keep} of each volume are kept" if keep is not None else ""
        )
        lines.append(Line("snapshots", details, billed * SNAPSHOT, most * SNAPSHOT))
    return lines


def of_account(
    name: str, owner: tuple[str, Registry] | None, prices: Prices, *, copies: bool = False
) -> Bill:
    """The bill of the account's one registry subscription, and of Spaces if a stack has `copies` of
    volumes.

    `owner`: the stack that creates the registry, and its settings, which name the tier; without
    one, the tier is the account's own.
    """
    tier = owner[1].tier if owner is not None else prices.tier
    price = prices.tiers[tier] if tier is not None else Decimal()
    created_by = f"created by {owner[0] if owner is not None else 'no stack'}"
    details = f"{tier}, {created_by}" if tier is not None else "the account has none yet"
    lines = [Line(f"registry {name}", details, price, price)]
    if copies:
        lines.append(Line("Spaces", "copies of volumes, 250 GiB included", SPACES, SPACES))
    return Bill("shared by all stacks", tuple(lines))


def _unknown_sizes(stack: str, cluster: Cluster, prices: Prices) -> Iterator[Finding]:
    for index, pool in enumerate(cluster.node_pools):
        if pool.size not in prices.sizes:
            close = closest(pool.size, prices.sizes)
            yield Finding(
                stack_file(stack),
                key_of(NAMESPACE, ("cluster", "nodePools", index, "size")),
                f'"{pool.size}", which is no size for this account',
                "a size that `doctl kubernetes options sizes` lists"
                + (f"; did you mean {close}?" if close else ""),
            )


def table(bills: Sequence[Bill]) -> str:
    """The bills for a terminal."""
    rows = [("", "", "US$ per month")]
    for bill in bills:
        rows.append((bill.title, "", ""))
        rows += [(f"  {line.what}", line.details, _range(line)) for line in bill.lines]
        if len(bill.lines) > 1:
            rows.append(("", "", _range(bill)))
    rows.append(("all together", "", _range(total(bills))))
    # A title has no cell beside it, so it may be wider than the columns.
    left, middle, right = (max(len(row[i]) for row in rows if row[2]) for i in range(3))
    lines = [
        f"{what:<{left}}  {details:<{middle}}  {money:>{right}}".rstrip()
        for what, details, money in rows
    ]
    return "\n".join([*lines, "", f"Not included: {'; '.join(NOT_INCLUDED)}."])


def as_json(bills: Sequence[Bill]) -> dict[str, object]:
    """The bills for programs: amounts are numbers."""
    return {
        "currency": "USD",
        "per": "month",
        "bills": [
            {
                "title": bill.title,
                "lines": [
                    {"what": line.what, "details": line.details, **_amounts(line)}
                    for line in bill.lines
                ],
                **_amounts(bill),
            }
            for bill in bills
        ],
        **_amounts(total(bills)),
        "notIncluded": list(NOT_INCLUDED),
    }


def total(bills: Sequence[Bill]) -> Bill:
    """All items in one bill."""
    return Bill("all together", tuple(line for bill in bills for line in bill.lines))


def _amounts(costs: Line | Bill) -> dict[str, float]:
    return {"least": float(costs.least), "most": float(costs.most)}


def _range(costs: Line | Bill) -> str:
    if costs.least == costs.most:
        return f"{costs.least:.2f}"
    return f"{costs.least:.2f} to {costs.most:.2f}"
