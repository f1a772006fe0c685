"""One pass of one case, timed: who took how long."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from regard.bench.case import Case, Pass
from regard.bench.ceiling import ceiling
from regard.bench.competitors import BASE, COMPETITORS, OURS, PLAINER
from regard.bench.measure import Effort, Rounds, Spread, rounds
from regard.bench.task import Competitor, Run, Task, Unable, distance, tolerance
from regard.planning import plan

__all__ = ["Entry", "Result", "measured"]

CEILING = "ceiling"


@dataclass(frozen=True)
class Entry:
    """One competitor in one pass of one case.

    Args:
        name: who.
        seconds: a call, or None where it was not timed.
        ratio: how many times as fast as SDPA, or None where one of them was not timed.
        share: of the ceiling, or None where there is none.
        error: the largest difference from the reference, as a share of its largest number.
        why: why it was not timed, else empty.
    """

    name: str
    seconds: Spread | None = None
    ratio: float | None = None
    share: float | None = None
    error: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Result:
    """One pass of one case with some number of threads.

    Args:
        case: what was computed.
        which: the pass.
        threads: how many.
        work: floating-point operations over visible pairs, or bytes in and out where memory bounds the case.
        ceiling: what bounds it and its rate, or None.
        entries: the competitors.
        rounds: how many were kept.
        disturbed: how many were disturbed.
        kept: whether disturbed rounds count all the same.
    """

    case: Case
    which: Pass
    threads: int
    work: int
    ceiling: tuple[str, float] | None
    entries: tuple[Entry, ...]
    rounds: int
    disturbed: int
    kept: bool

    def entry(self, name: str) -> Entry | None:
        """A competitor by name."""
        return next((entry for entry in self.entries if entry.name == name), None)

    @property
    def over_plainer(self) -> float | None:
        """The time of regard's kernels as a multiple of that without the case's own term."""
        ours, plainer = self.entry(OURS.name), self.entry(PLAINER.name)
        if ours is None or plainer is None or ours.seconds is None or plainer.seconds is None:
            return None
        return ours.seconds.middle / plainer.seconds.middle


def measured(
    case: Case,
    which: Pass,
    effort: Effort,
    note: Callable[[str], None] = lambda said: None,
    competitors: Sequence[Competitor] = COMPETITORS,
) -> Result:
    """Check every competitor against the reference, then time those that are right, side by side.

    Args:
        case: what to compute.
        which: the pass.
        effort: how long.
        note: told what takes long.
        competitors: who.

    Errors: BusyError.
    """
    task = Task.random(case, which)
    made = plan(*task.inputs, case.rule)
    work = made.bytes if case.memory else int(which.forwards * made.flops)
    top = ceiling(case, work)
    ready: dict[str, Callable[[], Any]] = {} if top is None else {CEILING: top.call}
    failed: dict[str, Entry] = {}
    errors: dict[str, float] = {}
    everyone = (*competitors, PLAINER) if case.plainer is not None else tuple(competitors)
    for competitor in everyone:
        note(f"{case.name}, {which.value}: {competitor.name}")
        try:
            run = _ready(competitor, task)
            errors[competitor.name] = _checked(competitor, task, run)
            ready[competitor.name] = run.call
        except Unable as unable:
            failed[competitor.name] = Entry(competitor.name, why=str(unable))
    note(f"{case.name}, {which.value}: {len(ready)} side by side")
    timed = rounds(ready, effort) if ready else Rounds({}, 0)
    rate = None if top is None else top.work / timed.spread(CEILING).middle
    entries = tuple(failed.get(each.name) or _entry(each.name, timed, work, rate, errors) for each in everyone)
    bound = None if top is None or rate is None else (f"{top.name} {rate / 1e9:.0f} {top.unit}", rate)
    return Result(case, which, torch.get_num_threads(), work, bound, entries, timed.count, timed.disturbed, effort.keep)


def _ready(competitor: Competitor, task: Task) -> Run:
    """The competitor's run; whatever another library raises is its reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = competitor.prepare(task)
            run.call()
            return run
    except Unable:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise Unable(f"it failed: {type(error).__name__}: {lines[0][:200]}") from error


def _checked(competitor: Competitor, task: Task, run: Run) -> float:
    """How far it is from the reference, or Unable where that is more than rounding makes."""
    expected = task.expected
    if competitor is PLAINER:
        return 0.0
    apart, allowed = distance(run.tensors(run.call()), expected), tolerance(task.case.dtype, task.which)
    if apart > allowed:
        raise Unable(f"wrong: it differs from the reference by {apart:.1e}, rounding allows {allowed:.0e}")
    return apart


def _entry(name: str, timed: Rounds, work: int, rate: float | None, errors: dict[str, float]) -> Entry:
    spread = timed.spread(name)
    ratio = timed.ratio(name, BASE.name) if BASE.name in timed.seconds else None
    return Entry(name, spread, ratio, None if rate is None else work / spread.middle / rate, errors[name])
