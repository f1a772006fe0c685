"""Measure the rates that `regard.plan(calibration=…)` predicts with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np
import torch

from regard.attention import attend
from regard.bench.case import Case, Pass, Shape
from regard.bench.measure import Effort, rounds
from regard.bench.task import Task
from regard.calibration import Calibration, Rate, Work, counted, processor
from regard.errors import EngineError
from regard.problem import pose
from regard.rule import Rule
from regard.terms.bias import alibi
from regard.terms.pattern import causal, mask, window

__all__ = ["calibrate", "solved"]

ENGINES = ("native", "tiled")
"""Those that `plan` chooses on a CPU."""
TYPES = (torch.float32, torch.bfloat16)
NOTHING, READ = "nothing", "read"


def probes(length: int = 1024) -> dict[str, tuple[Shape, Rule]]:
    """Small problems, each heavy in one of the rates."""
    shown = torch.rand(length, length, generator=torch.Generator().manual_seed(0)) < 0.5
    return {
        NOTHING: (Shape.square(1, 1, 1, 16), Rule()),
        READ: (Shape(1, 32, 8, 1, 8 * length, 128), Rule()),
        "pair": (Shape.square(1, 8, length, 32), Rule()),
        "product": (Shape.square(1, 8, length, 128), Rule()),
        "move": (Shape.square(8, 12, length // 8, 64), Rule()),
        "partial": (Shape.square(1, 8, 2 * length, 64), Rule(pattern=window(length // 8))),
        "both": (Shape.square(1, 8, length, 64), Rule(pattern=causal())),
        "listed": (Shape.square(1, 1, 4 * length, 8), Rule(pattern=window(length // 64))),
        "moved": (Shape.square(1, 8, length, 64), Rule(bias=alibi())),
        "bits": (Shape.square(1, 8, length, 64), Rule(pattern=mask(shown))),
    }


def calibrate(effort: Effort, note: Callable[[str], None], threads: tuple[int, ...]) -> Calibration:
    """The rates of every engine and type that this machine runs, with each number of threads.

    Args:
        effort: how long.
        note: told what takes long.
        threads: numbers of them.

    Errors: BusyError.
    """
    rates, before = list[Rate](), torch.get_num_threads()
    try:
        for count in threads:
            torch.set_num_threads(count)
            for engine in ENGINES:
                for dtype in TYPES:
                    note(f"calibrating {engine}, {dtype}, {count} threads")
                    rates += _measured(engine, dtype, effort)
    finally:
        torch.set_num_threads(before)
    return Calibration(processor(), tuple(rates))


def _measured(engine: str, dtype: torch.dtype, effort: Effort) -> list[Rate]:
    """One rate, or none where the engine does not run the type."""
    calls: dict[str, Callable[[], Any]] = {}
    works: dict[str, Work] = {}
    for name, (shape, rule) in probes().items():
        task = Task.random(Case(name, shape, rule, dtype), Pass.FORWARD)
        calls[name] = _call(task, engine)
        works[name] = counted(pose(*task.inputs, rule), engine)
    try:
        calls[NOTHING]()
    except EngineError:
        return []
    timed = rounds(calls, effort)
    times = {name: median(seconds) for name, seconds in timed.seconds.items()}
    return [solved(engine, str(dtype).removeprefix("torch."), torch.get_num_threads(), works, times)]


def _call(task: Task, engine: str) -> Callable[[], Any]:
    return lambda: attend(*task.inputs, task.case.rule, engine=engine)


def solved(engine: str, dtype: str, threads: int, works: Mapping[str, Work], times: Mapping[str, float]) -> Rate:
    """The rates that come nearest to the probes' seconds, none below 0.

    `min over x ≥ 0 of Σ_probes ((amounts · x + overhead − seconds) / seconds)²`

    Args:
        engine: whose.
        dtype: in which type.
        threads: with how many.
        works: what each probe has to do; "nothing" gives the overhead, "read" the bytes a second.
        times: how many seconds each took.
    """
    overhead = times[NOTHING]
    names = [name for name in works if name not in (NOTHING, READ)]
    amounts = np.array([works[name].amounts for name in names], dtype=np.float64)
    seconds = np.array([times[name] for name in names])
    rates = _positive(amounts / seconds[:, None], (seconds - overhead) / seconds)
    read = works[READ].bytes / max(times[READ] - overhead, 1e-9)
    pair, product, partial, bits, moved, move, listed = map(float, rates)
    return Rate(engine, dtype, threads, overhead, pair, product, partial, bits, moved, move, listed, read)


def _positive(
    matrix: np.ndarray[Any, np.dtype[np.float64]], right: np.ndarray[Any, np.dtype[np.float64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """min over x ≥ 0 of ‖matrix · x − right‖², one coordinate after the other, again and again."""
    size = np.linalg.norm(matrix, axis=0)
    size[size == 0] = 1
    scaled = matrix / size
    gram, goal = scaled.T @ scaled, scaled.T @ right
    x = np.zeros(len(goal))
    for _ in range(20_000):
        for n in range(len(goal)):
            if gram[n, n]:
                x[n] = max(0.0, x[n] + (goal[n] - gram[n] @ x) / gram[n, n])
    found: np.ndarray[Any, np.dtype[np.float64]] = x / size
    return found
