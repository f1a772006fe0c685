"""Which keys each run of queries sees, and therefore which keys travel."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regard.engines.ring.sharding import Run, Sharding
from regard.problem import Problem

__all__ = ["MOST", "Needs", "needs_of", "seen"]

GAP = 64
"""Keys that nobody sees, but which cost less to send than another message part and another call."""
MOST = 8
"""How many runs of an owner's run of keys travel; more are closed up, the smallest gaps first."""


@dataclass(frozen=True)
class Needs:
    """What one rank needs of every other.

    Args:
        own: of every run of queries, by rank that has them, the runs of keys that it sees.
        travel: by rank that has them, the runs of keys that any of them sees.
        pairs: visible pairs of every run of queries, over batch and heads.
    """

    own: tuple[tuple[tuple[Run, ...], ...], ...]
    travel: tuple[tuple[Run, ...], ...]
    pairs: tuple[int, ...]

    def of(self, queries: int, owners: Sequence[int]) -> list[Run]:
        """The runs of keys that a run of queries sees of some owners, touching ones joined."""
        return closed([run for owner in owners for run in self.own[queries][owner]], gap=0)


def seen(problem: Problem) -> tuple[list[Run], int]:
    """The runs of keys that any row sees, and how many pairs are visible; the problem is posed with all keys at 0."""
    square = problem.batch * problem.heads * problem.queries * problem.keys
    if problem.ranges is None:
        return ([(0, problem.keys)] if square else []), square
    found = [(int(a), int(b)) for form in problem.ranges.forms for a, b in form.spans(0, problem.queries)]
    return closed(found, GAP), problem.ranges.pairs(problem.batch, problem.heads)


def needs_of(found: Sequence[tuple[list[Run], int]], keys: Sharding) -> Needs:
    """What is seen by every run of queries, sorted by who has it; at most `MOST` runs of each of an owner's runs."""
    own = tuple(tuple(_within(runs, keys.runs[rank]) for rank in range(keys.ranks)) for runs, _ in found)
    travel = tuple(_within([run for each in own for run in each[rank]], keys.runs[rank]) for rank in range(keys.ranks))
    # What travels may have closed a gap between two runs of a query run; each then lies within one that travels.
    return Needs(own, travel, tuple(pairs for _, pairs in found))


def closed(runs: Iterable[Run], gap: int) -> list[Run]:
    """The union of runs, sorted, those at most `gap` apart joined."""
    made: list[Run] = []
    for first, end in sorted(runs):
        if made and first <= made[-1][1] + gap:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((first, end))
    return made


def _within(runs: Iterable[Run], places: Iterable[Run]) -> tuple[Run, ...]:
    """What of the runs lies in each place, in a few runs a place."""
    runs = closed(runs, GAP)
    made: list[Run] = []
    for low, high in places:
        inside = [(max(a, low), min(b, high)) for a, b in runs if a < high and b > low]
        made += _few(inside)
    return tuple(made)


def _few(runs: list[Run]) -> list[Run]:
    while len(runs) > MOST:
        gaps = [after[0] - before[1] for before, after in itertools.pairwise(runs)]
        least = gaps.index(min(gaps))
        runs[least : least + 2] = [(runs[least][0], runs[least + 1][1])]
    return runs
