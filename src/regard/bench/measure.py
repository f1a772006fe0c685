"""Timing side by side: in every round each competitor once; disturbed rounds are thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from statistics import median, quantiles
from typing import Any

from regard.bench.pace import PAUSE, Pace
from regard.bench.quiet import BusyError, Reading, disturbed, reading

__all__ = ["Effort", "Rounds", "Spread", "rounds"]

WORST = 3
"""Before so many disturbed rounds in a row nobody gives up, however long they last."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        least: rounds that are kept at least.
        most: and at most.
        seconds: after which no further round begins, once there are enough.
        block: seconds for which a competitor is called again and again in a round.
        patience: seconds without a quiet round, and at least three rounds, before giving up.
        keep: whether disturbed rounds are kept all the same.
        pace: tells whether the processor is as fast as it was; where it is not, a round is disturbed. None: not asked.
    """

    least: int = 7
    most: int = 41
    seconds: float = 8.0
    block: float = 0.04
    patience: float = 60.0
    keep: bool = False
    pace: Pace | None = None


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and the quartiles around it."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: list[float]) -> Spread:
        """At least one number."""
        if len(numbers) == 1:
            return cls(numbers[0], numbers[0], numbers[0])
        low, middle, high = quantiles(numbers, n=4, method="inclusive")
        return cls(middle, low, high)


@dataclass(frozen=True)
class Rounds:
    """Seconds a call, a list for every name, entry by entry from the same rounds; how many rounds were disturbed."""

    seconds: Mapping[str, list[float]]
    disturbed: int

    @property
    def count(self) -> int:
        """How many rounds were kept."""
        return min(map(len, self.seconds.values()), default=0)

    def spread(self, name: str) -> Spread:
        """Seconds a call."""
        return Spread.of(self.seconds[name])

    def ratio(self, name: str, base: str) -> float:
        """How many times as fast as the base: the median over rounds."""
        return median(b / own for own, b in zip(self.seconds[name], self.seconds[base], strict=True))


def rounds(calls: Mapping[str, Callable[[], Any]], effort: Effort, read: Callable[[], Reading] = reading) -> Rounds:
    """Time every call in every round, in an order drawn for the round: what one leaves in the caches is no
    other's alone.

    Args:
        calls: what to time, by name.
        effort: how long.
        read: tells processor time; a test may give its own.

    Errors: BusyError where the machine is never quiet, or never long as fast as it was.
    """
    counts = {name: _count(call, effort.block) for name, call in calls.items()}
    every, fine = list[_Round](), list[_Round]()
    began = quiet = time.perf_counter()
    unfit = 0
    while len(kept := every if effort.keep else fine) < effort.most:
        if len(kept) >= effort.least and time.perf_counter() - began > effort.seconds:
            break
        every.append(_round(calls, counts, len(every), effort.pace, read))
        limit = 0.0 if effort.pace is None else effort.pace.limit()
        fine = [each for each in every if not each.disturbed(limit)]
        if effort.keep or not every[-1].disturbed(limit):
            quiet, unfit = time.perf_counter(), 0
            continue
        unfit += 1
        _give_up(every[-1], unfit, time.perf_counter() - quiet, effort)
    last = kept[-effort.most :]
    return Rounds({name: [each.times[name] for each in last] for name in calls}, len(every) - len(fine))


@dataclass(frozen=True)
class _Round:
    times: Mapping[str, float]
    busy: bool  # whether other processes took time
    pace: float  # of its beginning or its end, the slower

    def disturbed(self, limit: float) -> bool:
        return self.busy or self.pace < limit


def _round(
    calls: Mapping[str, Callable[[], Any]],
    counts: Mapping[str, int],
    number: int,
    pace: Pace | None,
    read: Callable[[], Reading],
) -> _Round:
    order, ask = Random(number).sample(list(calls), len(calls)), pace.read if pace else float
    before, first = read(), ask()
    times = {name: _seconds(calls[name], counts[name]) for name in order}
    return _Round(times, disturbed(before, read()), min(first, ask()))


def _give_up(last: _Round, in_a_row: int, seconds: float, effort: Effort) -> None:
    """A slow processor has its time to be forgotten as the faster one that it was."""
    to_forget = 0.0 if last.busy or effort.pace is None else effort.pace.memory
    if in_a_row < WORST or seconds <= effort.patience + to_forget:
        return
    began = f"no quiet round for {seconds:.0f} s, {in_a_row} in a row were disturbed"
    why = (
        "by other processes: end what else runs on the machine (`top` shows it)"
        if last.busy
        else "by a processor that is now fast, now slow: let it cool, or ask whoever shares the machine to wait"
    )
    raise BusyError(
        f"{began} {why}, or measure all the same with --busy, whose numbers are marked as unfit to be quoted"
    )


def _count(call: Callable[[], Any], block: float) -> int:
    """How many calls fill a block; the first calls warm up."""
    call()
    spent = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        call()
        spent = min(spent, time.perf_counter() - began)
        if spent > block:
            break
    return max(1, round(block / max(spent, 1e-7)))


def _seconds(call: Callable[[], Any], count: int) -> float:
    """Seconds a call. Threads of whoever came before go to sleep first, and ours wake up where a call is short."""
    time.sleep(PAUSE)
    if count > 1:
        call()
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
