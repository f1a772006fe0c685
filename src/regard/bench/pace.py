"""Is the processor as fast as it was? A guest is not told when its host gives half of a core to another."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import torch

from regard.bench.ceiling import names

__all__ = ["MEMORY", "PAUSE", "Pace"]

SLOW = 0.92
"""Of the fastest: what is below is slow."""
MEMORY = 180.0
"""Seconds after which the fastest is forgotten: a processor that stays slow, for it is hot, is measured as it is."""
PAUSE = 0.005
"""Seconds after which threads that wait for more work have gone to sleep."""
WORK = 100_000_000
"""Operations of one thread, about a millisecond: long beside waking threads."""


class Pace:
    """Products in registers a second, with as many threads as PyTorch uses, beside the most that was seen of late.

    Args:
        measure: tells the rate of now; a test may give its own.
        clock: tells seconds.
        memory: of these after which a rate is forgotten.
    """

    def __init__(
        self,
        measure: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        memory: float = MEMORY,
    ) -> None:
        self._measure, self._clock, self.memory = measure or _Products().rate, clock, memory
        self._seen: dict[int, list[tuple[float, float]]] = {}

    def read(self) -> float:
        """The rate of now; 0 where nothing measures it, since the kernels were not built."""
        now, rate, threads = self._clock(), self._measure(), torch.get_num_threads()
        before = self._seen.get(threads, [])
        self._seen[threads] = [(then, seen) for then, seen in before if now - then < self.memory] + [(now, rate)]
        return rate

    def limit(self) -> float:
        """What is below is slow: clearly less than the most that was seen of late."""
        return SLOW * max((seen for _, seen in self._seen.get(torch.get_num_threads(), ())), default=0.0)


class _Products:
    """The widest unit for float32, at work for a moment."""

    def __init__(self) -> None:
        self._name = next((name for name in names() if name.startswith("float32")), None)
        self._workers: dict[int, tuple[Any, int]] = {}

    def rate(self) -> float:
        """The best of five, so that one hiccup is not a slow processor; others' threads go to sleep first."""
        if self._name is None:
            return 0.0
        threads = torch.get_num_threads()
        if threads not in self._workers:
            worker = importlib.import_module("regard._native").Ceiling(self._name, threads, WORK)
            self._workers[threads] = worker, 1 + WORK * threads // worker.run(1)
        worker, times = self._workers[threads]
        time.sleep(PAUSE)
        return max(_rate(worker, times) for _ in range(5))


def _rate(worker: Any, times: int) -> float:
    began = time.perf_counter()
    work: int = worker.run(times)
    return work / (time.perf_counter() - began)
