"""The statistics of the weights, timed beside the forward pass of the same problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from regard.attention import attend
from regard.bench.case import Case, Pass, Shape
from regard.bench.measure import Effort, Spread, rounds
from regard.bench.task import Task
from regard.engines import native
from regard.engines.native import statistics
from regard.problem import pose
from regard.rule import Rule

__all__ = ["Looked", "looks"]

FORWARD = "forward"


@dataclass(frozen=True)
class Looked:
    """One statistic of one type of numbers.

    Args:
        what: was asked for.
        dtype: of query and key.
        threads: how many.
        seconds: a call, or None where it was not timed.
        over_forward: its time as a multiple of the forward pass's, or None likewise.
        why: why it was not timed, else empty.
        disturbed: how many rounds were disturbed.
    """

    what: str
    dtype: str
    threads: int
    seconds: Spread | None = None
    over_forward: float | None = None
    why: str = ""
    disturbed: int = 0


def looks(effort: Effort, note: Callable[[str], None], shrink: int = 1) -> Iterator[Looked]:
    """Eight heads of 2,048 tokens, 64 numbers each, everything visible; with the threads that PyTorch has now.

    Args:
        effort: how long.
        note: told what takes long.
        shrink: by how much the sequence is shorter.
    """
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        note(f"statistics in {name}")
        task = Task.random(Case("statistics", Shape.square(1, 8, 2048 // shrink, 64), Rule(), dtype), Pass.FORWARD)
        yield from _beside_forward(task, name, effort)


def _beside_forward(task: Task, dtype: str, effort: Effort) -> Iterator[Looked]:
    query, key, value = task.inputs
    threads, problem = torch.get_num_threads(), pose(query, key, key, task.case.rule)
    why = native.refusal(problem)
    if why is not None:
        yield Looked("every statistic", dtype, threads, why=why)
        return
    rows = statistics.measure(problem)
    calls: dict[str, Callable[[], Any]] = {
        FORWARD: lambda: attend(query, key, value, task.case.rule, engine="native"),
        "lse": lambda: statistics.measure(problem, entropy=False),
        "entropy": lambda: statistics.measure(problem),
        "entropy and top 8": lambda: statistics.measure(problem, top=8),
        "received, given lse": lambda: statistics.collect(problem, rows, received=True),
    }
    timed = rounds(calls, effort)
    for what in calls:
        ratio = None if what == FORWARD else timed.ratio(FORWARD, what)
        yield Looked(what, dtype, threads, timed.spread(what), ratio, disturbed=timed.disturbed)
