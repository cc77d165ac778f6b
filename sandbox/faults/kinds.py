"""Every kind of fault: what it does, and what can be said about it."""

from dataclasses import dataclass
from typing import Literal

Action = Literal["answer", "hold", "cut", "cut after", "delay"]
"""What is done to a request: answered in the service's place, held and then answered so, its
connection reset before or after it was carried out, or delayed."""


@dataclass(frozen=True)
class Kind:
    """One kind. Those about requests have an `action`, and choose by method and path; of the others
    some choose by a `target`, and the rest befall all of the account."""

    name: str
    what: str
    """For people, as `bin/sandbox fault kinds` lists it."""
    target: Literal["", "region", "cluster", "node size"] = ""
    action: Action | None = None
    path: str = "/v2/*"
    """Pattern of the request's path (`*` stands for anything) unless the fault has its own."""
    status: int = 0
    """Of the answer; 0: there is none."""
    seconds: float = 0
    """Those of Retry-After (answer), or until the answer comes (hold, delay)."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("rate-limit", "the API answers 429", action="answer", status=429, seconds=1),
        Kind("server-error", "the API answers 500", action="answer", status=500),
        Kind(
            "timeout",
            "the API does not answer for so many seconds, then 504",
            action="hold",
            status=504,
            seconds=30,
        ),
        Kind("reset", "the API's connections are reset before it reads them", action="cut"),
        Kind(
            "lost-answer",
            "the API does what it is asked, and the connection is reset before it answers",
            action="cut after",
        ),
        Kind("token-invalid", "every token of the account is refused, by clusters too"),
        Kind("token-read-only", "every token of the account may only read"),
        Kind("quota", "no Droplets may be made beyond those that there are"),
        Kind("no-capacity", "new nodes of that size do not come up", "node size"),
        Kind("cluster-error", "a new cluster ends in the state error", "cluster"),
        Kind("cluster-degraded", "the cluster's state is degraded", "cluster"),
        Kind("cluster-unreachable", "nobody outside gets to the cluster's API", "cluster"),
        Kind("helm-fails", "the cluster refuses StatefulSets, which Helm makes last", "cluster"),
        Kind("region-down", "no cluster runs in the region, and none can be made there", "region"),
        Kind("git-down", "Git answers 503", action="answer", path="/git/*", status=503),
        Kind("git-slow", "Git takes so many seconds", action="delay", path="/git/*", seconds=5),
        Kind(
            "charts-down",
            "the chart repository answers 503",
            action="answer",
            path="/charts/*",
            status=503,
        ),
    )
}
