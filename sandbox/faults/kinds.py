"""The kinds of faults, what each does and which options it takes."""

from dataclasses import dataclass
from typing import Literal

Action = Literal["answer", "hold", "cut", "cut after", "delay"]
"""What happens to a request: `answer` responds instead of the service, `hold` does so after a wait,
`cut` resets the connection before the service gets the request and `cut after` after it has carried
it out, `delay` hands it on after a wait."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault. A kind with an `action` affects requests, by method and path. Of the
    others, a kind with a `target` affects what has that name, and the rest the whole account."""

    name: str
    description: str
    """As `bin/sandbox fault kinds` prints it."""
    target: Literal["", "region", "cluster", "node size"] = ""
    action: Action | None = None
    path: str = "/v2/*"
    """Default pattern of the request's path; `*` matches anything."""
    status: int = 0
    """HTTP status of the response; 0: there is none."""
    seconds: float = 0
    """Value of Retry-After (answer), or the wait before the response (hold, delay)."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("rate-limit", "the API answers 429", action="answer", status=429, seconds=1),
        Kind("server-error", "the API answers 500", action="answer", status=500),
        Kind(
            "timeout",
            "the API answers 504 after so many seconds",
            action="hold",
            status=504,
            seconds=30,
        ),
        Kind("reset", "the API's connections are reset before it reads the request", action="cut"),
        Kind(
            "lost-answer",
            "the API carries out the request, and the connection is reset before it answers",
            action="cut after",
        ),
        Kind("token-invalid", "every token of the account is invalid, in clusters too"),
        Kind("token-read-only", "every token of the account may only read"),
        Kind("quota", "the account's Droplet limit is reached"),
        Kind("no-capacity", "new nodes of that size do not start", "node size"),
        Kind("cluster-error", "a new cluster ends in the state error", "cluster"),
        Kind("cluster-degraded", "the cluster's state is degraded", "cluster"),
        Kind("lint-error", "the cluster linter finds an error", "cluster"),
        Kind("cluster-unreachable", "the cluster's API can't be reached from outside", "cluster"),
        Kind("helm-fails", "the cluster refuses StatefulSets, which Helm creates last", "cluster"),
        Kind("region-down", "clusters in the region stop, and none can be created there", "region"),
        Kind("git-down", "Git answers 503", action="answer", path="/git/*", status=503),
        Kind("git-slow", "Git waits so many seconds", action="delay", path="/git/*", seconds=5),
        Kind(
            "charts-down",
            "the chart repository answers 503",
            action="answer",
            path="/charts/*",
            status=503,
        ),
    )
}
