"""Rounds: judged by processor time, thrown away when others took some, the same number for everyone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from regard.bench.measure import Effort, Rounds, Spread, rounds
from regard.bench.quiet import BusyError, Reading, disturbance, disturbed, reading

START = Reading(wall=100.0, own=50.0, busy=80.0, stolen=7.0)


def after(wall: float = 1.0, own: float = 2.0, others: float = 0.0, stolen: float = 0.0) -> Reading:
    return Reading(START.wall + wall, START.own + own, START.busy + own + others, START.stolen + stolen)


@pytest.mark.parametrize(
    ("later", "took", "is_disturbed"),
    [
        (after(), 0.0, False),
        (after(others=0.07), 0.07, False),  # 5 % of 1 s, and 0.03 s for ticks
        (after(others=0.09), 0.09, True),
        (after(stolen=0.09), 0.09, True),
        (after(others=0.05, stolen=0.05), 0.1, True),
        (after(wall=10.0, own=20.0, others=0.5), 0.5, False),
        (after(wall=10.0, own=20.0, others=0.6), 0.6, True),
        (after(others=-0.02), 0.0, False),  # ticks are counted late
    ],
)
def test_a_round_is_judged_by_what_others_took(later: Reading, took: float, is_disturbed: bool) -> None:
    assert disturbance(START, later) == pytest.approx(took)
    assert disturbed(START, later) == is_disturbed


def test_readings_never_run_backwards() -> None:
    first = reading()
    sum(range(100_000))
    second = reading()
    assert second.wall > first.wall and second.own >= first.own and second.busy >= first.busy


def told(*others: float) -> Callable[[], Reading]:
    """Readings before and after each round, in which others took so many seconds of one; the last goes on for ever."""

    def readings() -> Iterator[Reading]:
        for place in range(1_000):
            yield START
            yield after(others=others[min(place, len(others) - 1)])

    made = readings()
    return lambda: next(made)


FEW = Effort(least=3, most=5, seconds=0.0, block=0.0)


def test_disturbed_rounds_are_rejected_and_repeated() -> None:
    timed = rounds({"a": int, "b": int}, FEW, told(0.0, 0.5, 0.5, 0.0))
    assert (timed.count, timed.disturbed) == (3, 2)
    assert [len(seconds) for seconds in timed.seconds.values()] == [3, 3]


def test_disturbed_rounds_can_be_kept_and_are_counted() -> None:
    timed = rounds({"a": int}, Effort(3, 3, 0.0, 0.0, keep=True), told(0.5))
    assert (timed.count, timed.disturbed) == (3, 3)


def test_a_machine_that_is_never_quiet() -> None:
    with pytest.raises(BusyError, match=r"no quiet round for 0 s, 3 in a row were disturbed.*--busy"):
        rounds({"a": int}, replace(FEW, patience=0.0), told(0.0, 0.5))


def test_the_order_turns() -> None:
    called: list[str] = []
    rounds({name: lambda name=name: called.append(name) for name in "abc"}, FEW, told(0.0))
    assert "".join(called[-9:]) == "abc" + "bca" + "cab"


def test_medians_quartiles_and_ratios() -> None:
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)
    made = Rounds({"base": [2.0, 6.0, 20.0], "own": [1.0, 2.0, 4.0]}, 0)
    assert made.ratio("own", "base") == 3.0  # the median of 2, 3 and 5
    assert made.ratio("base", "base") == 1.0 and made.count == 3
