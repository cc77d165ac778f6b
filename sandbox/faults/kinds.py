"""Every kind of fault: what it does, and what can be said about it."""

from dataclasses import dataclass
from typing import Literal

Action = Literal["answer", "hold", "cut", "cut after", "delay"]
"""What is done to a request: answered in the service's place, held and then answered so, its
connection reset before or after it is carried out, or delayed."""


@dataclass(frozen=True)
class Kind:
    """One kind. `target` is empty for those that are about requests, of which `path` and `method`
    choose, and for those that are about all of the account."""

    name: str
    what: str
    """For people, as in the list that `bin/sandbox fault kinds` shows."""
    target: Literal["", "region", "cluster", "node size"] = ""
    action: Action | None = None
    path: str = ""
    """Pattern of the request's path (`*` stands for anything) unless the fault has its own."""
    status: int = 0
    """Of the answer; 0: there is none."""
    seconds: float = 0
    """Until the answer, or those of its Retry-After."""


_API = "/v2/*"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("region-down", "no cluster runs in the region, and none can be made there", "region"),
    )
}
