"""All that is measured and simulated, as a value: what is written as JSON, and what tables and figure are made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from statistics import median
from typing import Any

import torch

from regard.attention import attend
from regard.bench.machine import machine
from regard.bench.scale.measured import CHECKED, Real, real
from regard.bench.scale.simulation import CAUSAL, LAYOUTS, Layer, Link, Outcome, Speed, simulated, steps_of

__all__ = ["LAYER", "LENGTHS", "LINKS", "MACHINES", "WINDOW", "Point", "Report", "made"]

LAYER = Layer()
LINKS = (Link("10 Gbit/s", 1.25e9, 5e-5), Link("100 Gbit/s", 1.25e10, 1e-5))
MACHINES = (8, 64, 512, 4096)
LENGTHS = tuple(1 << power for power in (20, 22, 24, 26, 28, 30))
"""1 to 1,074 million positions."""
WINDOW = 4096
OVERHEAD = 2e-4
"""Seconds that a step costs besides; stated: it hardly matters where steps are long."""


@dataclass(frozen=True)
class Point:
    """One simulated forward pass.

    Args:
        pattern: "causal" or "causal & window(…)".
        link: its name.
        machines: how many.
        length: positions.
        layout: ring, all-gather, ulysses.
        outcome: what it takes, or None where it can't be.
    """

    pattern: str
    link: str
    machines: int
    length: int
    layout: str
    outcome: Outcome | None


@dataclass(frozen=True)
class Checked:
    """A real ring beside what the model says of it.

    Args:
        ranks: processes.
        length: positions.
        measured: seconds.
        simulated: seconds.
    """

    ranks: int
    length: int
    measured: float
    simulated: float

    @property
    def ratio(self) -> float:
        """Simulated to measured."""
        return self.simulated / self.measured


@dataclass(frozen=True)
class Report:
    """What `python -m regard.bench.scale` found.

    Args:
        date: of the measurement.
        processor: on which it was made.
        rate: operations a second of one part's forward pass, bfloat16, all threads.
        threads: how many.
        reals: what real processes measured.
        checks: real rings beside the model.
        points: simulated.
    """

    date: str
    processor: str
    rate: float
    threads: int
    reals: tuple[Real, ...]
    checks: tuple[Checked, ...]
    points: tuple[Point, ...]

    def as_json(self) -> dict[str, Any]:
        """As it is written."""
        return {**asdict(self), "layer": asdict(LAYER), "links": [asdict(link) for link in LINKS]}


def made(quick: bool, note: Callable[[str], None]) -> Report:
    """Measure and simulate.

    Args:
        quick: short sequences, few rounds: a look, not a measurement.
        note: told what takes long.
    """
    note("the rate of the kernels")
    rate = _rate(512 if quick else 4096)
    lengths = (1024, 2048) if quick else (4096, 8192, 16384)
    reals = []
    for ranks in (2, 4):
        note(f"{ranks} real processes")
        reals.append(real(ranks, lengths))
    note("simulating")
    points = tuple(
        Point(name, link.name, count, length, layout, simulated(steps, layout, LAYER, Speed(rate, OVERHEAD), link))
        for name, window in (("causal", CAUSAL), (f"causal & window({WINDOW})", WINDOW))
        for count in MACHINES
        for length in LENGTHS
        for steps in [steps_of(length, count, window)]
        for link in LINKS
        for layout in LAYOUTS
    )
    here = machine()
    return Report(
        date=date.today().isoformat(),
        processor=f"{here.processor}, {here.cores} cores, kernels: {here.isa}",
        rate=rate,
        threads=torch.get_num_threads(),
        reals=tuple(reals),
        checks=tuple(_checks(reals)),
        points=points,
    )


def _checks(reals: list[Real]) -> list[Checked]:
    found = []
    for one in reals:
        for length, seconds in one.seconds.items():
            outcome = simulated(steps_of(length, one.ranks), "ring", CHECKED, one.speed, one.link)
            assert outcome is not None
            found.append(Checked(one.ranks, length, seconds, outcome.seconds))
    return found


def _rate(length: int) -> float:
    """Of a part in which all is seen, with as many heads as the layer has for one key head."""
    heads = LAYER.heads // LAYER.kv_heads
    query, key, value = (torch.randn(n, length, LAYER.dim, dtype=torch.bfloat16) for n in (heads, 1, 1))
    took = []
    for _ in range(6):
        began = time.perf_counter()
        attend(query, key, value)
        took.append(time.perf_counter() - began)
    return heads * length * length * 4 * LAYER.dim / median(took[1:])
