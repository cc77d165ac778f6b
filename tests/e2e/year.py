"""A year of a platform: a generated history of what happens to its stacks, after each event of
which the same must hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, Protocol, get_args

import hypothesis
from hypothesis import strategies as st

Loss = Literal["run", "registry", "Argo CD", "token", "credentials", "state", "cluster", "volume"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
"""In the order in which a world loses them: what is inside a cluster before the cluster."""
ByHand = Literal["workload", "project", "tags"]
Forbidden = Literal["destroy", "replace"]


@dataclass(frozen=True)
class Pass:
    """Nothing happens for some days."""

    days: int


@dataclass(frozen=True)
class Commit:
    """A commit changes the number of replicas and an image tag."""

    stack: str
    replicas: int


@dataclass(frozen=True)
class BadCommit:
    """A commit deploys an image that does not exist, and is reverted."""

    stack: str


@dataclass(frozen=True)
class Write:
    """An application writes to its volume."""

    stack: str


@dataclass(frozen=True)
class Snapshot:
    """The workflow of the volumes records the claims, and takes the snapshots that are due."""

    stack: str


@dataclass(frozen=True)
class Deploy:
    """The stack is deployed as it is."""

    stack: str


@dataclass(frozen=True)
class Scale:
    """The first node pool gets more or fewer nodes."""

    stack: str
    nodes: int


@dataclass(frozen=True)
class Upgrade:
    """The next patch or minor version of Kubernetes, if there is one."""

    stack: str


@dataclass(frozen=True)
class RenewKey:
    """A new sealing key, and a secret that is sealed with it."""

    stack: str


@dataclass(frozen=True)
class Drift:
    """Something is changed by hand."""

    stack: str
    what: ByHand


@dataclass(frozen=True)
class Forbid:
    """Somebody tries what is forbidden for a protected stack."""

    stack: str
    what: Forbidden


@dataclass(frozen=True)
class Lose:
    """One or two things are lost, and then recovered."""

    stack: str
    what: tuple[Loss, ...]
    moment: int = 0
    """After how many happenings the run is killed, if it is lost."""


@dataclass(frozen=True)
class Move:
    """The region is down, and the stack moves to another one."""

    stack: str


Event = (
    Pass | Commit | BadCommit | Write | Snapshot | Deploy | Scale | Upgrade | RenewKey | Drift
    | Forbid | Lose | Move
)  # fmt: skip


class World(Protocol):
    """What a year happens to: a sandbox, or what stands for one."""

    def begin(self) -> None:
        """Make everything as it was at the beginning of the first year."""

    def happen(self, event: Event) -> None:
        """Let it happen, and do about it what the documentation says. Raises if that fails."""

    def broken(self) -> Sequence[str]:
        """What should hold after each event and does not, in words."""


def generated(
    stacks: Sequence[str], protected: Sequence[str] = (), *, seed: int, length: int
) -> list[Event]:
    """A history of `length` events that happen to the stacks; the same one for the same seed.

    `protected`: those of them that must never be replaced.
    """
    histories: list[list[Event]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        # The first one is the simplest, in which days pass and nothing else.
        max_examples=2,
        phases=[hypothesis.Phase.generate],
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.lists(_events(stacks, protected), min_size=length, max_size=length))
    def draw(history: list[Event]) -> None:
        histories.append(history)

    draw()
    return histories[-1]


def _events(stacks: Sequence[str], protected: Sequence[str]) -> st.SearchStrategy[Event]:
    stack = st.sampled_from(stacks)
    losses = st.sampled_from([*((loss,) for loss in LOSSES), *combinations(LOSSES, 2)])
    kinds: list[tuple[int, st.SearchStrategy[Event]]] = [
        (1, st.builds(Pass, st.integers(1, 30))),
        (2, st.builds(Commit, stack, st.integers(1, 3))),
        (1, st.builds(BadCommit, stack)),
        (1, st.builds(Write, stack)),
        (2, st.builds(Snapshot, stack)),
        (1, st.builds(Deploy, stack)),
        (1, st.builds(Scale, stack, st.integers(1, 3))),
        (2, st.builds(Upgrade, stack)),
        (1, st.builds(RenewKey, stack)),
        (1, st.builds(Drift, stack, st.sampled_from(get_args(ByHand)))),
        (6, losses.flatmap(lambda what: _loss(stack, what))),
    ]
    if unprotected := [name for name in stacks if name not in protected]:
        kinds.append((1, st.builds(Move, st.sampled_from(unprotected))))
    if protected:
        forbidden = st.sampled_from(get_args(Forbidden))
        kinds.append((1, st.builds(Forbid, st.sampled_from(protected), forbidden)))
    weighted = [kind for weight, kind in kinds for _ in range(weight)]
    return st.sampled_from(weighted).flatmap(lambda kind: kind)


def _loss(stack: st.SearchStrategy[str], what: tuple[Loss, ...]) -> st.SearchStrategy[Event]:
    moment = st.integers(1, 40) if "run" in what else st.just(0)
    return st.builds(Lose, stack, st.just(what), moment)


def live(world: World, history: Sequence[Event], *, searching: float) -> None:
    """Let the history happen. Raises `Failure` with the shortest history that fails, too.

    `searching`: seconds after which no further one is tried. Hypothesis would try some hundreds of
    them, and each takes as long as its events.
    """
    try:
        _happen(world, history)
    except Failure as failure:
        shortest = _shortest(world, failure, time.monotonic() + searching)
        events = "\n".join(f"    {event}," for event in shortest.history)
        shortest.add_note(f"The shortest history that was found to fail:\n[\n{events}\n]")
        raise shortest from failure


class Failure(AssertionError):
    """After the last event of the history, something does not hold."""

    def __init__(self, history: Sequence[Event], broken: str) -> None:
        super().__init__(broken)
        self.history = [*history]


def _happen(world: World, history: Sequence[Event]) -> None:
    """Raises `Failure` at the first event after which something does not hold."""
    world.begin()
    for number, event in enumerate(history, 1):
        try:
            world.happen(event)
            broken = world.broken()
        except Exception as error:
            raise Failure(history[:number], f"{type(error).__name__}: {error}") from error
        if broken:
            raise Failure(history[:number], "\n".join(broken))


def _shortest(world: World, failure: Failure, deadline: float) -> Failure:
    """Take ever smaller parts out of the history, as long as what is left of it fails; then take
    one of two losses out of each event."""

    def attempt(history: Sequence[Event]) -> bool:
        nonlocal failure
        if time.monotonic() < deadline:
            try:
                _happen(world, history)
            except Failure as other:
                failure = other
                return True
        return False

    size = len(failure.history)
    while size := size // 2:
        start = 0
        while start < len(failure.history):
            rest = failure.history[:start] + failure.history[start + size :]
            if not rest or not attempt(rest):
                start += size
    for number, event in enumerate(failure.history):
        if isinstance(event, Lose) and len(event.what) > 1:
            for loss in event.what:
                simpler = replace(event, what=(loss,))
                if attempt([*failure.history[:number], simpler, *failure.history[number + 1 :]]):
                    break
    return failure
