"""Rounds: judged by processor time, thrown away when others took some, the same number for everyone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest
import torch

from regard.bench.ceiling import names
from regard.bench.measure import Effort, Rounds, Spread, rounds
from regard.bench.pace import MEMORY, Pace
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


def run_at(*rates: float) -> Pace:
    """A pace that reads these, two for each round; the last goes on for ever. A second passes at every reading."""
    left, seconds = iter(rates), count()
    return Pace(lambda: next(left, rates[-1]), lambda: float(next(seconds)))


@pytest.mark.parametrize(
    ("rates", "disturbed"),
    [
        ((100.0,), 0),
        ((100.0, 100.0, 50.0, 100.0, 100.0, 50.0, 96.0), 2),  # slow at its beginning or at its end
        ((50.0, 50.0, 50.0, 50.0, 100.0), 2),  # what was as fast as ever is slow beside what comes later
        ((0.0,), 0),  # nothing measures it
    ],
)
def test_rounds_of_a_slow_processor_are_rejected_and_repeated(rates: tuple[float, ...], disturbed: int) -> None:
    timed = rounds({"a": int, "b": int}, replace(FEW, pace=run_at(*rates)), told(0.0))
    assert (timed.count, timed.disturbed) == (3, disturbed)
    kept = rounds({"a": int}, Effort(3, 3, 0.0, 0.0, keep=True, pace=run_at(*rates)), told(0.0))
    assert kept.count == 3 and bool(kept.disturbed) == bool(disturbed)


def test_a_processor_that_stays_slow_is_measured_as_it_is() -> None:
    pace, turns = run_at(100.0, 100.0, 50.0), count()
    timed = rounds({"a": lambda: next(turns)}, replace(FEW, pace=pace), told(0.0))
    assert next(turns) == pytest.approx(MEMORY / 2, abs=6)  # two readings, thus two seconds, a round; some warm up
    assert (timed.count, timed.disturbed) == (FEW.most, 0)  # what seemed slow is how it is
    assert 45.0 < pace.limit() < 50.0


def test_a_processor_that_is_now_fast_and_now_slow() -> None:
    left = iter((100.0, 50.0) * 50)
    pace = Pace(lambda: next(left), lambda: 0.0, memory=1e-9)
    with pytest.raises(BusyError, match=r"3 in a row were disturbed by a processor.*let it cool.*--busy"):
        rounds({"a": int}, replace(FEW, pace=pace, patience=0.0), told(0.0))


def test_each_number_of_threads_has_its_pace() -> None:
    pace, before = run_at(100.0, 200.0), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        pace.read()
        assert 90.0 < pace.limit() < 100.0
        torch.set_num_threads(2)
        assert pace.limit() == 0.0
        pace.read()
        assert 180.0 < pace.limit() < 200.0
    finally:
        torch.set_num_threads(before)


def test_the_pace_of_this_processor() -> None:
    pace = Pace()
    if not names():
        assert pace.read() == 0.0  # nothing measures it where the kernels were not built
        return
    rate = pace.read()
    assert rate > 1e8 and 0.9 * rate < pace.limit() < rate


def test_everyone_has_every_neighbour() -> None:
    called: list[str] = []
    calls = {name: lambda name=name: called.append(name) for name in "abc"}
    rounds(calls, Effort(41, 41, 0.0, 0.0), told(0.0))
    by_round = ["".join(called[n : n + 3]) for n in range(len(called) - 123, len(called), 3)]
    assert set(by_round) == {"abc", "acb", "bac", "bca", "cab", "cba"}


def test_medians_quartiles_and_ratios() -> None:
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)
    made = Rounds({"base": [2.0, 6.0, 20.0], "own": [1.0, 2.0, 4.0]}, 0)
    assert made.ratio("own", "base") == 3.0  # the median of 2, 3 and 5
    assert made.ratio("base", "base") == 1.0 and made.count == 3
