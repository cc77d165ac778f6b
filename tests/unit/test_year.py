"""A failing year prints the shortest history that fails."""

from collections.abc import Callable

import pytest

from tests.e2e import year
from tests.e2e.year import Commit, Event, Lose, RenewKey

STACKS = ("dev", "prod")


class Fake:
    """A world in which nothing takes time, with a fault of its own."""

    def __init__(self, fails: Callable[[list[Event]], bool]) -> None:
        self._fails = fails
        self._history: list[Event] = []
        self.years = 0

    def begin(self) -> None:
        self._history = []
        self.years += 1

    def happen(self, event: Event) -> None:
        self._history.append(event)

    def broken(self) -> list[str]:
        return ["a secret is unreadable"] if self._fails(self._history) else []


def loses_a_renewed_key(history: list[Event]) -> bool:
    """The fault: a new state of dev does not have the keys that were renewed before."""
    renewed = RenewKey("dev") in history
    last = history[-1]
    return renewed and isinstance(last, Lose) and last.stack == "dev" and "state" in last.what


@pytest.mark.parametrize("seed", range(5))
def test_the_shortest_history_that_fails_is_printed(seed: int) -> None:
    history = year.generated(STACKS, ["prod"], seed=seed, length=200)
    world = Fake(loses_a_renewed_key)
    with pytest.raises(year.Failure, match="a secret is unreadable") as failure:
        year.live(world, history, searching=60)
    [note] = failure.value.__notes__
    assert note.endswith("""[
    RenewKey(stack='dev'),
    Lose(stack='dev', what=('state',), moment=0),
]""")
    # The text is code, with which the history can be repeated.
    assert eval(note.partition("\n")[2], vars(year)) == failure.value.history
    # Each takes minutes in a sandbox.
    assert world.years < 40


def test_the_search_ends_when_its_time_is_over() -> None:
    world = Fake(loses_a_renewed_key)
    history: list[Event] = [Commit("dev", 1), RenewKey("dev"), Lose("dev", ("state", "cluster"))]
    with pytest.raises(year.Failure) as failure:
        year.live(world, history, searching=0)
    assert (failure.value.history, world.years) == (history, 1)


def test_an_event_that_raises_is_the_end_of_a_history(monkeypatch: pytest.MonkeyPatch) -> None:
    def happen(event: Event) -> None:
        raise OSError("no disk")

    world = Fake(lambda history: False)
    monkeypatch.setattr(world, "happen", happen)
    with pytest.raises(year.Failure, match="OSError: no disk") as failure:
        year.live(world, [Commit("dev", 1), Commit("dev", 2)], searching=0)
    assert failure.value.history == [Commit("dev", 1)]


def test_a_year_has_every_kind_of_event_and_the_same_ones_for_the_same_seed() -> None:
    history = year.generated(STACKS, ["prod"], seed=1, length=300)
    assert {type(event) for event in history} == set(year.Event.__args__)
    losses = {event.what for event in history if isinstance(event, Lose)}
    assert {loss for what in losses for loss in what} == {*year.LOSSES}
    assert any(len(what) == 2 for what in losses)
    assert history == year.generated(STACKS, ["prod"], seed=1, length=300)
    assert history != year.generated(STACKS, ["prod"], seed=2, length=300)
