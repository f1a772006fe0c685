"""Which positions stand on which rank."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

from regard.errors import InputError

__all__ = ["Run", "Sharding", "contiguous", "zigzag"]

Run = tuple[int, int]
"""Positions first … end − 1."""


@dataclass(frozen=True)
class Sharding:
    """A sequence cut into runs of positions, each on one rank.

    Args:
        runs: of every rank the runs (first, end) in the order of its rows; together every position exactly once.
    """

    runs: tuple[tuple[Run, ...], ...]

    def __post_init__(self) -> None:
        place = 0
        for first, end in sorted(run for own in self.runs for run in own):
            if first != place or end <= first:
                raise InputError(
                    f"a Sharding needs every position on exactly one rank, in runs (first, end) that are not empty; "
                    f"({first}, {end}) follows {place}"
                )
            place = end

    @property
    def ranks(self) -> int:
        """How many."""
        return len(self.runs)

    @property
    def length(self) -> int:
        """Of the whole sequence."""
        return sum(self.lengths)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """How many positions stand on every rank; some may be 0."""
        return tuple(sum(end - first for first, end in own) for own in self.runs)

    def row(self, rank: int, position: int) -> int:
        """The local row of a position of a rank."""
        passed = 0
        for first, end in self.runs[rank]:
            if first <= position < end:
                return passed + position - first
            passed += end - first
        raise InputError(f"position {position} does not stand on rank {rank}, which has {self.runs[rank]}")


def zigzag(length: int, ranks: int) -> Sharding:
    """Of 2·ranks equal chunks, rank r has chunk r and chunk 2·ranks − 1 − r: as much work for each under `causal`.

    A chunk near the start is seen by many queries and sees few keys, one near the end the other way round; a pair of
    them is the same for every rank.

    Source: Brandon et al. 2023, "Striped Attention"; the zigzag form of ring-flash-attention, 2024.
    """
    _check(length, ranks)
    edges = [length * chunk // (2 * ranks) for chunk in range(2 * ranks + 1)]
    both = [((edges[r], edges[r + 1]), (edges[2 * ranks - 1 - r], edges[2 * ranks - r])) for r in range(ranks)]
    return Sharding(tuple(_joined([run for run in pair if run[0] < run[1]]) for pair in both))


def contiguous(lengths: tuple[int, ...]) -> Sharding:
    """One run a rank, one after the other, of any lengths, 0 among them."""
    edges = [sum(lengths[:rank]) for rank in range(len(lengths) + 1)]
    if any(length < 0 for length in lengths):
        raise InputError(f"lengths must be ≥ 0, got {lengths}")
    return Sharding(tuple(((a, b),) if a < b else () for a, b in itertools.pairwise(edges)))


def _check(length: int, ranks: int) -> None:
    if length < 0 or ranks < 1:
        raise InputError(f"zigzag needs a length ≥ 0 and at least one rank, got {length} and {ranks}")


def _joined(runs: list[Run]) -> tuple[Run, ...]:
    """Two runs that touch are one."""
    if len(runs) == 2 and runs[0][1] == runs[1][0]:
        return ((runs[0][0], runs[1][1]),)
    return tuple(runs)
