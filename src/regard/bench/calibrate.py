"""Measure the rates that `regard.plan(calibration=…)` predicts with."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from regard.attention import attend
from regard.bench.case import Case, Pass, Shape
from regard.bench.measure import Effort, rounds
from regard.bench.task import Task
from regard.calibration import Calibration, Rate, processor, tile_counts
from regard.errors import EngineError
from regard.problem import pose
from regard.rule import Rule
from regard.terms.pattern import window

__all__ = ["ENGINES", "calibrate", "solved"]

ENGINES = ("native", "sdpa", "tiled")
TYPES = (torch.float32, torch.bfloat16)
HEADS, LENGTH, NARROW, WIDE = 8, 1024, 32, 128
TILE_WINDOW = 64

PROBES = {
    "nothing": Shape.square(1, 1, 1, 16),
    "narrow": Shape.square(1, HEADS, LENGTH, NARROW),
    "wide": Shape.square(1, HEADS, LENGTH, WIDE),
    "window": Shape.square(1, HEADS, LENGTH, NARROW),
    "rows": Shape.square(1, 1, LENGTH, 1),
    "read": Shape(1, 32, 8, 1, 8 * LENGTH, WIDE),
}


def calibrate(effort: Effort, note: Callable[[str], None], threads: tuple[int, ...]) -> Calibration:
    """The rates of every engine and type that this machine runs, with each number of threads.

    Args:
        effort: how long.
        note: told what takes long.
        threads: numbers of them.

    Errors: BusyError.
    """
    rates, before = [], torch.get_num_threads()
    try:
        for count in threads:
            torch.set_num_threads(count)
            for engine in ENGINES:
                for dtype in TYPES:
                    note(f"calibrating {engine}, {dtype}, {count} threads")
                    times = _times(engine, dtype, effort)
                    if times:
                        rates.append(solved(engine, dtype, count, times))
    finally:
        torch.set_num_threads(before)
    return Calibration(processor(), tuple(rates))


def _times(engine: str, dtype: torch.dtype, effort: Effort) -> dict[str, float]:
    """Seconds of every probe that the engine can do; nothing where it can't do the plain ones."""
    calls: dict[str, Callable[[], Any]] = {}
    for name, shape in PROBES.items():
        task = Task.random(Case(name, shape, _rule(name), dtype), Pass.FORWARD)
        try:
            attend(*task.inputs, task.case.rule, engine=engine)
        except EngineError:
            if _rule(name).pattern is None:
                return {}
            continue
        calls[name] = _call(task, engine)
    timed = rounds(calls, effort)
    return {name: median(seconds) for name, seconds in timed.seconds.items()}


def _call(task: Task, engine: str) -> Callable[[], Any]:
    return lambda: attend(*task.inputs, task.case.rule, engine=engine)


def _rule(name: str) -> Rule:
    return Rule(pattern=window(TILE_WINDOW)) if name in ("window", "rows") else Rule()


def solved(engine: str, dtype: torch.dtype, threads: int, times: dict[str, float]) -> Rate:
    """The rates from the probes' seconds, one after the other; what would come out below 0 is 0.

    `wide − narrow` gives `product`, `narrow` then `pair`; `rows`, one head of one number, gives `row`; `window`, whose
    tiles are all partial, gives `partial`; one query against many keys gives `read`.

    Args:
        engine: whose.
        dtype: in which type.
        threads: with how many.
        times: seconds of each probe; "window" and "rows" may be missing where the engine can't do them.
    """
    overhead = times["nothing"]
    pairs = HEADS * LENGTH * LENGTH
    product = max(0.0, (times["wide"] - times["narrow"]) / (pairs * 2 * (WIDE - NARROW)))
    pair = max(0.0, (times["narrow"] - overhead) / pairs - 2 * NARROW * product)
    row = partial = 0.0
    if "window" in times:
        full, cut = _tiles(HEADS)
        inner = (full + cut) * (pair + 2 * NARROW * product)
        one_full, one_cut = _tiles(1)
        thin = (one_full + one_cut) * (pair + 2 * product)
        row = max(0.0, (times["rows"] - overhead - thin) / LENGTH)
        partial = max(0.0, (times["window"] - overhead - row * LENGTH - inner) / cut)
    shape = PROBES["read"]
    size = torch.empty((), dtype=dtype).element_size()
    numbers = 2 * shape.dim * (shape.kv_heads * shape.keys + shape.heads * shape.queries)
    read = numbers * size / max(times["read"] - overhead, 1e-9)
    name = str(dtype).removeprefix("torch.")
    return Rate(engine, name, threads, overhead, pair, product, partial, row, read)


def _tiles(heads: int) -> tuple[int, int]:
    """Pairs in full and partial tiles of the window's probe."""
    thin = torch.zeros(1, heads, LENGTH, 1)
    lists = pose(thin, thin, thin, _rule("window")).ranges
    return tile_counts(lists, 1, heads, LENGTH, LENGTH)
