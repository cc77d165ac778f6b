"""The sums: pure functions of stack files and prices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from doks_gitops.account import Prices
from doks_gitops.settings import Cluster, Finding, Registry, SettingsError
from doks_gitops.settings.errors import closest, key_of, stack_file
from doks_gitops.settings.model import NAMESPACE

HIGHLY_AVAILABLE = Decimal(40)
"""US dollars per month for a replicated control plane; the API does not tell it.
https://docs.digitalocean.com/products/kubernetes/details/pricing/"""

LOAD_BALANCER = Decimal(12)
"""US dollars per month for one node of a regional load balancer, which is how it starts.
https://docs.digitalocean.com/products/networking/load-balancers/details/pricing/"""

NOT_INCLUDED = (
    "load balancers and volumes that applications make",
    "traffic and stored images beyond what is included",
    "taxes",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to pay for, in US dollars per month; `least` and `most` differ if it grows with
    the load."""

    what: str
    details: str
    least: Decimal
    most: Decimal


@dataclass(frozen=True, slots=True)
class Bill:
    """The lines of one stack, or of what stacks share."""

    title: str
    lines: tuple[Line, ...]

    @property
    def least(self) -> Decimal:
        return sum((line.least for line in self.lines), Decimal())

    @property
    def most(self) -> Decimal:
        return sum((line.most for line in self.lines), Decimal())


def of_stack(stack: str, cluster: Cluster, prices: Prices, *, exposed: bool = False) -> Bill:
    """What the cluster costs, and the load balancer of an Argo CD that is `exposed` by one.

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
    replicated = cluster.high_availability
    control_plane = HIGHLY_AVAILABLE if replicated else Decimal()
    lines.append(
        Line(
            "control plane",
            "highly available" if replicated else "one, free of charge",
            control_plane,
            control_plane,
        )
    )
    if exposed:
        lines.append(Line("load balancer", "Argo CD's, one node", LOAD_BALANCER, LOAD_BALANCER))
    return Bill(f"{stack}: {cluster.name}, {cluster.region}", tuple(lines))


def of_registry(name: str, owner: tuple[str, Registry] | None, prices: Prices) -> Bill:
    """What the account's one registry subscription costs, by the tier that the stack which creates
    the registry (`owner`) asks for, or else the one that the account has."""
    tier = owner[1].tier if owner is not None else prices.tier
    price = prices.tiers[tier] if tier is not None else Decimal()
    made = f"created by {owner[0]}" if owner is not None else "created by no stack"
    details = f"{tier}, {made}" if tier is not None else "the account has none yet"
    line = Line(f"registry {name}", details, price, price)
    return Bill("shared by all stacks", (line,))


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
    # A title may be longer than what is below it: nothing stands beside it.
    left, middle, right = (max(len(row[i]) for row in rows if row[2]) for i in range(3))
    lines = [
        f"{what:<{left}}  {details:<{middle}}  {money:>{right}}".rstrip()
        for what, details, money in rows
    ]
    return "\n".join([*lines, "", f"Not in it: {'; '.join(NOT_INCLUDED)}."])


def as_json(bills: Sequence[Bill]) -> dict[str, object]:
    """The same for programs: amounts are numbers."""
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
    """All lines as one bill."""
    return Bill("all together", tuple(line for bill in bills for line in bill.lines))


def _amounts(costs: Line | Bill) -> dict[str, float]:
    return {"least": float(costs.least), "most": float(costs.most)}


def _range(costs: Line | Bill) -> str:
    if costs.least == costs.most:
        return f"{costs.least:.2f}"
    return f"{costs.least:.2f} to {costs.most:.2f}"
