"""What the processor can do at most, as one more competitor in every round."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from regard.bench.case import Case

__all__ = ["Ceiling", "ceiling", "names"]

SECONDS = 0.01
READ = "read"


@dataclass(frozen=True)
class Ceiling:
    """A call that does nothing but arithmetic in registers, or nothing but read memory.

    Args:
        name: what it does: "float32 avx512", "bfloat16 amx", "read", ….
        call: does the work.
        work: floating-point operations, or bytes, of one call.
    """

    name: str
    call: Callable[[], Any]
    work: int

    @property
    def unit(self) -> str:
        """Of a rate, in thousand millions."""
        return "GB/s" if self.name == READ else "GFLOP/s"


def names() -> tuple[str, ...]:
    """All that this processor has, the widest first; none where the kernels were not built."""
    try:
        return tuple(importlib.import_module("regard._native").ceilings())
    except ImportError:
        return ()


def ceiling(case: Case, work: int) -> Ceiling | None:
    """The one that bounds a case, for as many threads as PyTorch uses now, or None where nothing measures it.

    Args:
        case: what is computed.
        work: its floating-point operations; or where memory bounds it its bytes, of which as many are read: what stays
            in a cache is read from there.
    """
    kind = READ if case.memory else str(case.dtype).removeprefix("torch.")
    name = next((name for name in names() if name.split()[0] == kind), None)
    return None if name is None else _made(name, work)


def _made(name: str, work: int) -> Ceiling:
    worker = importlib.import_module("regard._native").Ceiling(name, torch.get_num_threads(), work)
    rounds, spent = 1, 0.0
    while spent < SECONDS:
        rounds *= 2
        spent = min(_seconds(worker, rounds) for _ in range(3))
    return Ceiling(name, lambda: worker.run(rounds), worker.run(rounds))


def _seconds(worker: Any, rounds: int) -> float:
    began = time.perf_counter()
    worker.run(rounds)
    return time.perf_counter() - began
