"""From which length on each approximation is faster than the exact equation: `python -m regard.compare.crossover`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from regard import approximate
from regard.attention import attend
from regard.bench.machine import machine
from regard.bench.measure import Effort, rounds
from regard.bench.text import spoken
from regard.compare.models import Attend
from regard.terms.pattern import Pattern, causal

__all__ = ["Crossing", "Method", "crossing", "main", "measure", "page"]

HEADS, DIM, FEATURES, LANDMARKS, MIXTURES = 8, 64, 256, 64, 256
LENGTHS = tuple(1 << power for power in range(6, 14))
JUDGED = 1024
"""The length at which errors are measured."""


@dataclass(frozen=True)
class Method:
    """An approximation as it is measured.

    Args:
        name: as the table shows it.
        pattern: of it and of the exact equation.
        make: for a length, the approximation.
    """

    name: str
    pattern: Pattern | None
    make: Callable[[int], Attend]


def methods() -> tuple[Method, ...]:
    """All of them."""
    drawn, seen = approximate.directions(FEATURES, DIM), causal()

    def linear(pattern: Pattern | None) -> Callable[[int], Attend]:
        return lambda length: partial(approximate.linear, rule=pattern)

    def performer(pattern: Pattern | None) -> Callable[[int], Attend]:
        return lambda length: partial(approximate.performer, rule=pattern, features=drawn)

    def nystrom(length: int) -> Attend:
        return partial(approximate.nystrom, landmarks=LANDMARKS)

    def linformer(length: int) -> Attend:
        mixtures = torch.randn(MIXTURES, length) / MIXTURES**0.5
        return partial(approximate.linformer, mix_keys=mixtures)

    return (
        Method("linear", None, linear(None)),
        Method("linear, causal", seen, linear(seen)),
        Method(f"performer, {FEATURES} features", None, performer(None)),
        Method(f"performer, {FEATURES} features, causal", seen, performer(seen)),
        Method(
            f"nystrom, {LANDMARKS} landmarks", None, lambda length: partial(approximate.nystrom, landmarks=LANDMARKS)
        ),
        Method(f"linformer, {MIXTURES} mixtures", None, linformer),
    )


@dataclass(frozen=True)
class Crossing:
    """What was measured of one approximation.

    Args:
        name: whose.
        ratios: how many times as fast as the exact equation, by length.
        error: its relative error at 1024 positions.
    """

    name: str
    ratios: Mapping[int, float]
    error: float

    @property
    def length(self) -> float | None:
        """Where it begins to be the faster one, read off between two lengths; None where it is not, up to the last."""
        return crossing(tuple(self.ratios.items()))


def crossing(ratios: Sequence[tuple[int, float]]) -> float | None:
    """The length at which ratios, ascending by length, pass 1 for good; both are logarithmic between two lengths."""
    if ratios[-1][1] < 1:
        return None
    for (low, before), (high, after) in zip(ratios[-2::-1], ratios[:0:-1], strict=True):
        if before < 1:
            return float(low * (high / low) ** (math.log(1 / before) / math.log(after / before)))
    return float(ratios[0][0])


def measure(lengths: Sequence[int], effort: Effort, note: Callable[[str], None]) -> tuple[list[Crossing], int]:
    """Every approximation beside the exact equation, round by round; and how many rounds were disturbed.

    Args:
        lengths: ascending.
        effort: how long at each length.
        note: told what takes long.
    """
    torch.manual_seed(0)
    every, disturbed = methods(), 0
    ratios: dict[str, dict[int, float]] = {method.name: {} for method in every}
    for length in lengths:
        note(f"{length} positions")
        query, key, value = torch.randn(3, 1, HEADS, length, DIM)
        calls: dict[str, Callable[[], Tensor]] = {"exact": partial(attend, query, key, value)}
        calls["exact, causal"] = partial(attend, query, key, value, causal())
        calls |= {method.name: partial(method.make(length), query, key, value) for method in every}
        with torch.no_grad():
            timed = rounds(calls, effort)
        disturbed += timed.disturbed
        for method in every:
            base = "exact" if method.pattern is None else "exact, causal"
            ratios[method.name][length] = timed.ratio(method.name, base)
        exact = spoken(timed.spread("exact").middle), spoken(timed.spread("exact, causal").middle)
        note(f"{length} positions: the exact equation takes {exact[0]}, causal {exact[1]}")
    return [Crossing(method.name, ratios[method.name], _error(method)) for method in every], disturbed


@torch.no_grad()
def _error(method: Method) -> float:
    query, key, value = torch.randn(3, 1, HEADS, JUDGED, DIM)
    return approximate.error(method.make(JUDGED)(query, key, value), query, key, value, method.pattern).relative


def page(found: Sequence[Crossing], disturbed: int) -> str:
    """The table in Markdown."""
    return "\n".join(_lines(found, disturbed)) + "\n"


def _lines(found: Sequence[Crossing], disturbed: int) -> Iterator[str]:
    here, lengths = machine(), list(found[0].ratios)
    yield "# From which length on an approximation is faster than the exact equation"
    yield ""
    yield f"Made by `make crossover` on {here.processor}, {here.cores} cores, {torch.get_num_threads()} threads;"
    yield f"kernels: {here.isa}; torch {here.versions['torch']}. Forward, float32, 1 × {HEADS} heads of {DIM}, normal"
    yield "random numbers; each beside `regard.attend` with the same pattern, medians over rounds."
    yield "The columns say how many times as fast as the exact equation."
    if disturbed:
        yield f"**{disturbed} rounds were disturbed by other processes and kept: not to be quoted.**"
    yield ""
    yield "| | exact is faster below | " + " | ".join(f"N = {n}" for n in lengths) + f" | error at {JUDGED} |"
    yield "|---|---|" + "---|" * (len(lengths) + 1)
    for one in found:
        cells = " | ".join(f"{ratio:.2f}" for ratio in one.ratios.values())
        yield f"| {one.name} | {_below(one, lengths)} | {cells} | {one.error:.2g} |"
    yield ""
    yield "The error is ‖out − exact‖₂ / ‖exact‖₂ on these random numbers, which have nothing in them that few features"
    yield "or landmarks could use; `linear` and `linformer` stand for models trained with them, not for this"
    yield "equation. Measure your own by `approximate.error`."


def _below(one: Crossing, lengths: Sequence[int]) -> str:
    at = one.length
    if at is None:
        return f"all lengths measured, up to {lengths[-1]}"
    return f"N ≈ {float(f'{at:.2g}'):.0f}" if at > lengths[0] else f"none measured, from {lengths[0]}"


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the table")
    parser.add_argument("--lengths", metavar="N", type=int, nargs="+", default=LENGTHS)
    asked = parser.parse_args(argv)
    effort = Effort(least=5, most=31, seconds=4, block=0.02, keep=True)
    found, disturbed = measure(sorted(asked.lengths), effort, lambda said: print(said, file=sys.stderr))
    made = page(found, disturbed)
    print(made, end="")
    if asked.save is not None:
        asked.save.parent.mkdir(parents=True, exist_ok=True)
        asked.save.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
